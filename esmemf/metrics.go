package esmemf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// A MetricsConfig is what [NewMetrics] needs.
type MetricsConfig struct {
	// Writer gets a line of JSON at each Write. Required.
	Writer io.Writer
	// Namespace is CloudWatch's: 1 to 255 letters, digits and .-_/#: and not AWS/.
	// Default: esm.
	Namespace string
	// Logger is told that lines cannot be written, once until they can be again. Default:
	// slog.Default().
	Logger *slog.Logger
}

// Metrics writes the metrics of Mappings.
type Metrics struct {
	namespace string
	alarm     alarm
	added     chan struct{} // rung by Add

	// slot is held by whoever makes a line and writes it, until the writer has returned,
	// even after a Flush gave up waiting for it. It guards the pen, and what sources say was
	// written: so no count is in two lines, and whether a line that came late was written
	// is known before the next one is made.
	slot chan struct{}
	pen  pen

	mu    sync.Mutex // guards the rest, and is held for moments
	of    []*source
	first *source // where the next Flush begins, or nil
	// whole has the Mappings of which all was written, as long as they exist: one that is
	// added again is not counted again.
	whole map[weak.Pointer[esm.Mapping]]struct{}
}

// NewMetrics makes Metrics.
func NewMetrics(c MetricsConfig) (*Metrics, error) {
	if c.Namespace == "" {
		c.Namespace = "esm"
	}
	switch {
	case guard.IsNil(c.Writer):
		return nil, errors.New("esmemf: MetricsConfig.Writer is required")
	case strings.HasPrefix(strings.ToUpper(c.Namespace), "AWS/"):
		return nil, fmt.Errorf("esmemf: MetricsConfig.Namespace %q belongs to AWS: CloudWatch takes it from nobody else, so choose another", guard.Cut(c.Namespace, 300))
	case len(c.Namespace) > 255 || strings.Trim(c.Namespace, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_/#:") != "":
		return nil, fmt.Errorf("esmemf: MetricsConfig.Namespace %q must be 1 to 255 characters, with letters, digits and .-_/#: only", guard.Cut(c.Namespace, 300))
	}
	return &Metrics{
		namespace: c.Namespace, pen: pen{to: c.Writer}, slot: make(chan struct{}, 1), added: make(chan struct{}, 1), whole: map[weak.Pointer[esm.Mapping]]struct{}{},
		alarm: alarm{logger: loggerOr(c.Logger), fails: "metrics cannot be written; their counts are kept for later lines", works: "metrics can be written again"},
	}, nil
}

// Add has the metrics of a Mapping written from now on, as long as it runs. What it has
// counted since its Start is in the first line. Add it to one Metrics only, and as often as
// you like: after the first time that changes its Subject. No Mapping (nil) is none. Add
// never waits for the Writer.
func (m *Metrics) Add(mapping *esm.Mapping, s Subject) {
	if mapping == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, written := m.whole[weak.Make(mapping)]; written {
		return
	}
	if i := slices.IndexFunc(m.of, func(o *source) bool { return o.mapping == mapping }); i >= 0 {
		m.of[i].subject = s.known()
		return
	}
	m.of = append(m.of, &source{mapping: mapping, subject: s.known()})
	select {
	case m.added <- struct{}{}:
	default:
	}
}

// Run writes a line of each Mapping once a minute, when it stops, and when ctx ends. A Mapping
// that stops after that is written by a Flush.
func (m *Metrics) Run(ctx context.Context) {
	timer := time.NewTimer(untilNext(time.Now()))
	defer timer.Stop()
	for {
		cases := []reflect.SelectCase{
			{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ctx.Done())},
			{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(timer.C)},
			{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(m.added)},
		}
		for _, done := range m.ends() {
			cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(done)})
		}
		switch chosen, _, _ := reflect.Select(cases); chosen {
		case 0:
			_ = m.Flush() // the logger is told
			return
		case 1:
			_ = m.Flush()
			timer.Reset(untilNext(time.Now()))
		case 2:
		default:
			_ = m.flush(func(s *source) bool { return s.ends() })
		}
	}
}

// ends are the Mappings whose end nobody has seen yet. Afterwards each minute tries to write
// what is left of them.
func (m *Metrics) ends() (done []<-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.of {
		if !s.ended.Load() {
			done = append(done, s.mapping.Done())
		}
	}
	return done
}

// Flush writes what is not written yet. Call it when all Mappings have stopped, if Run ended
// before. It returns within about ten seconds, whatever the Writer does. What was not
// written by then is in the next lines, but for what is of the moment.
func (m *Metrics) Flush() error { return m.flush(func(*source) bool { return true }) }

// flush writes a line of each Mapping that is wanted.
func (m *Metrics) flush(wanted func(*source) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeWithin)
	defer cancel()
	var first error
	lines, failed := 0, 0
	all := m.sources(wanted)
	for i, s := range all {
		said, err := m.write(ctx, s)
		if said || err != nil {
			lines++
		}
		if err == nil {
			continue
		}
		if failed++; first == nil {
			first = err
		}
		if ctx.Err() != nil { // the others come first the next time
			lines, failed = lines+len(all)-i-1, failed+len(all)-i-1
			m.begin(all[(i+1)%len(all)])
			break
		}
	}
	m.forget()
	if failed > 0 {
		first = fmt.Errorf("esmemf: the Writer failed with %d of %d lines of metrics: %w", failed, lines, first)
	}
	if lines > 0 {
		m.alarm.tell(first)
	}
	return first
}

// sources are those that are wanted, in turn.
func (m *Metrics) sources(wanted func(*source) bool) (all []*source) {
	m.mu.Lock()
	defer m.mu.Unlock()
	begin := max(0, slices.Index(m.of, m.first))
	for i := range m.of {
		if s := m.of[(begin+i)%len(m.of)]; wanted(s) {
			all = append(all, s)
		}
	}
	return all
}

// begin has the next Flush begin with a source.
func (m *Metrics) begin(s *source) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.first = s
}

// write writes the line of a Mapping, if there is something to say. It returns when the writer
// does, or when ctx ends: whether the line was written is found out later then.
func (m *Metrics) write(ctx context.Context, s *source) (said bool, err error) {
	select {
	case m.slot <- struct{}{}:
	case <-ctx.Done():
		return false, errBusy
	}
	m.mu.Lock()
	subject := s.subject
	m.mu.Unlock()
	line, settle := s.line(m.namespace, &subject)
	if line == nil {
		settle()
		<-m.slot
		return false, nil
	}
	outcome := make(chan error, 1)
	go func() {
		written, err := m.pen.put(line)
		if written {
			settle()
		}
		<-m.slot
		outcome <- err
	}()
	select {
	case err = <-outcome:
	case <-ctx.Done():
		err = errBusy
	}
	return true, err
}

// errBusy says that the writer holds everybody up.
var errBusy = fmt.Errorf("the Writer is not done after %s, and is not called again before it has returned", writeWithin)

// forget takes out the Mappings of which all was written.
func (m *Metrics) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.whole {
		if p.Value() == nil {
			delete(m.whole, p)
		}
	}
	m.of = slices.DeleteFunc(m.of, func(s *source) bool {
		if !s.whole.Load() {
			return false
		}
		m.whole[weak.Make(s.mapping)] = struct{}{}
		return true
	})
}

// loggerOr is a logger, or the default.
func loggerOr(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.Default()
	}
	return l
}
