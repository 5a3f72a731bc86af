// Package guard is where the code and the words of others come in: functions
// that may panic, exit their goroutine or never return, and texts that are as
// large as the other side likes.
package guard

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"
)

// A Failure is how a function ended that did not return.
type Failure struct {
	// Value is what it panicked with, nil for a Goexit.
	Value any
	// Goexit is whether it called runtime.Goexit.
	Goexit bool
	// Stack is the stack of its goroutine at that moment, cut to StackLimit.
	Stack []byte
}

// String says how the function ended, without the stack.
func (f *Failure) String() string {
	if f.Goexit {
		return "it called runtime.Goexit"
	}
	return "it panicked: " + Sprint(f.Value)
}

// Go runs f on a goroutine of its own, and then ended, with nil if f returned.
// It is for what has to go on whatever f does: a Goexit ends only that
// goroutine, after ended returned.
func Go(f func(), ended func(*Failure)) {
	go func() {
		returned := false
		defer func() {
			if returned {
				ended(nil)
				return
			}
			v := recover()
			ended(&Failure{Value: v, Goexit: v == nil, Stack: Stack()})
		}()
		f()
		returned = true
	}()
}

// Call is Go, and waits for it.
func Call(f func()) *Failure {
	done := make(chan *Failure, 1)
	Go(f, func(failure *Failure) { done <- failure })
	return <-done
}

// Within is Call, and waits no longer than that. It reports whether f ended.
func Within(d time.Duration, f func()) (failure *Failure, ended bool) {
	done := make(chan *Failure, 1)
	Go(f, func(failure *Failure) { done <- failure })
	limit := time.NewTimer(d)
	defer limit.Stop()
	select {
	case failure = <-done:
		return failure, true
	case <-limit.C:
		return nil, false
	}
}

// Ask has user code find something, with a context that ends after d. A panic is returned as
// an error. If f has not returned a second after its context ended, that is an error too, and
// the goroutine is left behind. what names f.
func Ask[T any](ctx context.Context, d time.Duration, what string, f func(ctx context.Context) (T, error)) (T, error) {
	var none, found T
	var err error
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	done := make(chan *Failure, 1)
	Go(func() {
		if found, err = f(ctx); err != nil {
			err = Keep(err)
		}
	}, func(failure *Failure) { done <- failure })
	var failure *Failure
	select {
	case failure = <-done:
	case <-ctx.Done():
		late := time.NewTimer(time.Second)
		defer late.Stop()
		select {
		case failure = <-done:
		case <-late.C: // it may still write into found
			return none, fmt.Errorf("%s did not return, although its context ended: %w", what, context.Cause(ctx))
		}
	}
	switch {
	case failure != nil:
		return none, fmt.Errorf("%s failed: %s", what, failure)
	case err != nil:
		return none, err
	}
	return found, nil
}

// StackLimit is how much is kept of a stack: the frames that are nearest to
// the panic.
const StackLimit = 16 << 10

// Stack is the stack of this goroutine, cut to StackLimit.
func Stack() []byte {
	s := debug.Stack()
	if len(s) <= StackLimit {
		return s
	}
	return append(make([]byte, 0, StackLimit), s[:StackLimit]...)
}

// TextLimit is how many bytes are kept of a text of somebody else.
const TextLimit = 4 << 10

// Cut returns at most so many bytes of s, in whole runes, and says how many it
// left out. What it returns of a longer text does not keep that in memory.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	n := most
	for n > 0 && n > most-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return fmt.Sprintf("%s... (%d bytes more)", s[:n], len(s)-n)
}

// Sprint is fmt.Sprint of a value of somebody else, cut to TextLimit. It
// survives methods of the value that panic.
func Sprint(v any) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("%T, which cannot be printed", v)
		}
	}()
	// A string that is cut must not be what fmt returned: that is as large.
	return strings.ToValidUTF8(Cut(fmt.Sprint(v), TextLimit), "\uFFFD")
}
