package lambdaresult

import (
	"encoding/json"
	"strings"
)

// An Error is what a Lambda function reports of an error of its own, in the
// JSON that all runtimes use.
type Error struct {
	Type    string
	Message string
	// Stack are the lines of the stack trace as the runtime gives them: of each
	// language in another form.
	Stack []string
}

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
	e := Error{Type: object.Type, Message: object.Message}
	for _, line := range append(object.Trace, object.Lines...) {
		var text string
		if json.Unmarshal(line, &text) != nil {
			text = string(line)
		}
		e.Stack = append(e.Stack, strings.TrimRight(text, "\n"))
	}
	return e
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
