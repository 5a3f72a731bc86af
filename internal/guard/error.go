package guard

import (
	"fmt"
	"strings"
)

// An Error is what is kept of an error of somebody else. Its text was made
// once, so that nothing of the other side runs where it is read, and is at most
// about TextLimit long.
//
// errors.Is and errors.As find what the error holds, as far as that is no
// larger than the text may be: an error of ten megabytes would be kept for as
// long as the records that it is about. Of one that is larger they find the
// parts that are not. Of one that holds itself, or whose Unwrap panics, they
// find nothing: they would not end, or panic too.
type Error struct {
	text string
	kept []error
}

// Keep makes an Error of an error. It calls methods of the error, which may
// panic, exit the goroutine or never return: call it where that harms nobody. Of
// what was kept before, it calls none.
func Keep(err error) error {
	switch e := err.(type) {
	case nil:
		return nil
	case *Error:
		if e != nil {
			return e
		}
	}
	e := &Error{text: Text(err)}
	left := maxParts
	if kept, _, ok := keep(err, maxDepth, &left); ok {
		e.kept = kept
	}
	return e
}

// Holding makes an Error of a text, in which errors.Is and errors.As find these.
func Holding(text string, errs ...error) error { return &Error{text: text, kept: errs} }

// An error may hold itself. Whoever looks for something in it would never end,
// or run out of stack, so of one that is deeper or larger than this nothing is
// kept but the text.
const (
	maxDepth = 100
	maxParts = 50_000
)

// keep lists what is kept of an error: it, if its text and those of all that it
// holds are short, and otherwise those of its parts of which that is true. It
// counts what it looks at off left, and reports false if that is too much.
func keep(err error, depth int, left *int) (found []error, whole, ok bool) {
	if *left--; *left < 0 || depth == 0 {
		return nil, false, false
	}
	if e, is := err.(*Error); is { // what it holds was looked at
		return []error{e}, true, true
	}
	parts, ok := Parts(err)
	if !ok {
		return nil, false, false
	}
	_, long := textOf(err)
	whole = !long
	for _, part := range parts {
		of, all, ok := keep(part, depth-1, left)
		if !ok {
			return nil, false, false
		}
		found, whole = append(found, of...), whole && all
	}
	if whole {
		found = []error{err}
	}
	return found, whole, true
}

// Parts lists what an error holds directly, without nil, unless its Unwrap
// method panics.
func Parts(err error) (parts []error, ok bool) {
	defer func() {
		if !ok {
			_ = recover()
			parts = nil
		}
	}()
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if part := e.Unwrap(); part != nil {
			parts = []error{part}
		}
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			if part != nil {
				parts = append(parts, part)
			}
		}
	}
	return parts, true
}

// Find looks for an error of a type in an error that was kept, and calls no
// method that errors.As would.
func Find[T error](err error) (found T, ok bool) {
	if found, ok = err.(T); ok {
		return found, true
	}
	parts, _ := Parts(err)
	for _, part := range parts {
		if found, ok = Find[T](part); ok {
			return found, true
		}
	}
	return found, false
}

// Text is what an error says, cut to TextLimit. It survives an Error method
// that panics.
func Text(err error) string {
	text, _ := textOf(err)
	return text
}

// textOf is what an error says, cut, and whether it had to be.
func textOf(err error) (text string, long bool) {
	defer func() {
		if v := recover(); v != nil {
			text, long = fmt.Sprintf("%T, whose Error method panicked: %s", err, Sprint(v)), false
		}
	}()
	text = err.Error()
	if len(text) > TextLimit {
		return strings.ToValidUTF8(Cut(text, TextLimit), "\uFFFD"), true
	}
	return text, false
}

// Error is the text.
func (e *Error) Error() string { return e.text }

// Unwrap returns what was kept of the error.
func (e *Error) Unwrap() []error { return e.kept }

// MarshalText is the text, for JSON and logs.
func (e *Error) MarshalText() ([]byte, error) { return []byte(e.text), nil }
