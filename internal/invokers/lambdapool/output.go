package lambdapool

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/seed429fd032/esm/internal/invokers/lambdaresult"
)

const (
	// maxLine is where a line of output is cut in two.
	maxLine = 64 << 10
	// maxOutput is how much is logged of one invocation.
	maxOutput = 1 << 20
)

// output logs what a process writes.
type output struct {
	logger   *slog.Logger
	function string
	pid      int
	secret   string // of the address, which runtime clients write in errors; may be empty

	mu      sync.Mutex
	request string // the last invocation that began
	written int    // of it
	dropped int    // of that
	last    string // line, the beginning of it
}

// begin says that what comes is of an invocation. A line that was written
// before and read after counts as its.
func (o *output) begin(request string) {
	o.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.request, o.written = request, 0
}

// read logs a stream, until its end.
func (o *output) read(stream string, r io.Reader) {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			o.log(stream, line)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// log logs one line.
func (o *output) log(stream string, line []byte) {
	o.mu.Lock()
	request := o.request
	text := strings.ToValidUTF8(strings.TrimRight(string(line), "\r\n"), "\ufffd")
	if o.secret != "" {
		text = strings.ReplaceAll(text, o.secret, "/...")
	}
	if strings.TrimSpace(text) != "" {
		o.last = lambdaresult.Excerpt([]byte(text))
	}
	over := o.written+len(line) > maxOutput
	if over {
		o.dropped += len(line)
	} else {
		o.written += len(line)
	}
	o.mu.Unlock()
	if !over && text != "" {
		o.say(slog.LevelInfo, text, slog.String("stream", stream), slog.String("request", request))
	}
}

// lastLine is the last one that was read.
func (o *output) lastLine() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// flush says how much was dropped.
func (o *output) flush() {
	o.mu.Lock()
	request, dropped := o.request, o.dropped
	o.dropped = 0
	o.mu.Unlock()
	if dropped > 0 {
		o.say(slog.LevelWarn, "output of the function was dropped: an invocation may write 1 MiB", slog.Int("bytes", dropped), slog.String("request", request))
	}
}

// say logs. A handler that panics is the host's, and must not end it here.
func (o *output) say(level slog.Level, text string, attrs ...slog.Attr) {
	defer func() { _ = recover() }()
	o.logger.LogAttrs(context.Background(), level, text, append([]slog.Attr{slog.String("function", o.function), slog.Int("pid", o.pid)}, attrs...)...)
}
