package lambdaresult

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/seed429fd032/esm/internal/guard"
)

// An Error is what a Lambda function reports of an error of its own, in the
// JSON that all runtimes use. A function may report as much as it likes; this is
// what is kept of it.
type Error struct {
	// Type has at most MaxName bytes, and Message guard.TextLimit.
	Type    string
	Message string
	// Stack are the lines of the stack trace as the runtime gives them: of each
	// language in another form. There are at most maxLines, of maxLine bytes and
	// maxStack together; the last one says how many were left out.
	Stack []string
}

const (
	// MaxName is how many bytes are kept of what has a short text: a type, an id,
	// a reason.
	MaxName  = 256
	maxLine  = 1 << 10
	maxLines = 100
	maxStack = guard.StackLimit
)

// ReadError reads the payload of a call that failed in the function. What is
// no such JSON is the message.
func ReadError(payload []byte) Error {
	var object struct {
		Type    string            `json:"errorType"`
		Message string            `json:"errorMessage"`
		Trace   []json.RawMessage `json:"stackTrace"`
		Lines   []json.RawMessage `json:"trace"`
	}
	if err := json.Unmarshal(payload, &object); err != nil || object.Type == "" && object.Message == "" {
		return Error{Message: Excerpt(payload)}
	}
	return Error{
		Type: Short(object.Type, MaxName), Message: Short(object.Message, guard.TextLimit),
		Stack: stack(append(object.Trace, object.Lines...)),
	}
}

// stack is what is kept of a stack trace.
func stack(lines []json.RawMessage) (kept []string) {
	size := 0
	for i, line := range lines {
		var text string
		if json.Unmarshal(line, &text) != nil {
			text = string(line)
		}
		text = Short(strings.TrimRight(text, "\n"), maxLine)
		if size += len(text); i == maxLines || size > maxStack {
			return append(kept, fmt.Sprintf("... (%d lines more)", len(lines)-i))
		}
		kept = append(kept, text)
	}
	return kept
}

// String is the error in one line.
func (e Error) String() string {
	switch {
	case e.Type == "":
		return e.Message
	case e.Message == "":
		return e.Type
	}
	return e.Type + ": " + e.Message
}

// Short is at most so many bytes of what the other side said, and how many were
// left out. It keeps nothing else in memory.
func Short(s string, most int) string {
	return strings.Clone(strings.ToValidUTF8(guard.Cut(s, most), "\ufffd"))
}

// Excerpt is the beginning of what a function said, for errors.
func Excerpt(b []byte) string {
	const most = 500
	n := len(b)
	if n > most {
		for n = most; n > most-utf8.UTFMax && !utf8.RuneStart(b[n]); {
			n--
		}
	}
	text := strings.ToValidUTF8(string(b[:n]), "\ufffd")
	if left := len(b) - n; left > 0 {
		return fmt.Sprintf("%s... (%d bytes more)", text, left)
	}
	return text
}
