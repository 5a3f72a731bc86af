package esmtest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/seed429fd032/esm"
)

// An answer is how a call of Invoke ended.
type answer struct {
	err error
	odd string // how else than by returning
}

func (a answer) String() string {
	if a.odd != "" {
		return a.odd
	}
	return fmt.Sprintf("returned %v", a.err)
}

// begin calls Invoke on a goroutine of its own. A panic there, or a Goexit, is
// an answer too.
func begin(ctx context.Context, inv esm.Invoker, b *esm.Batch) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		a := answer{odd: "called runtime.Goexit"}
		defer func() { answers <- a }()
		defer func() {
			if v := recover(); v != nil {
				a.odd = fmt.Sprintf("panicked with %v\n%s", v, debug.Stack())
			}
		}()
		err := inv.Invoke(ctx, b)
		a = answer{err: err}
	}()
	return answers
}

// The following say what is wrong with an answer, if anything is.

func notSuccess(a answer) string {
	if a.err != nil || a.odd != "" {
		return fmt.Sprintf("Invoke %s, but the target succeeded", a)
	}
	return ""
}

// notError is what is wrong with it as an answer of a target that did not
// succeed.
func notError(who string, a answer) string {
	switch {
	case a.odd != "":
		return fmt.Sprintf("Invoke of %s %s", who, a)
	case a.err == nil:
		return fmt.Sprintf("Invoke of %s returned nil: its records would count as handled", who)
	}
	return ""
}

func notFailure(who string, a answer) string {
	switch wrong := notError(who, a); {
	case wrong != "":
		return wrong
	case isHalt(a.err):
		return fmt.Sprintf("Invoke of %s says that the Mapping must halt: %v", who, a.err)
	case errors.Is(a.err, esm.ErrThrottled):
		return fmt.Sprintf("Invoke of %s says that the function is throttled, so that no attempt would count: %v", who, a.err)
	}
	return ""
}

// notThrottle and notHalt take any error if they are to be lenient.
func notThrottle(a answer, lenient bool) string {
	const who = "a target that is throttled"
	switch wrong := notError(who, a); {
	case wrong != "":
		return wrong
	case isHalt(a.err):
		return fmt.Sprintf("Invoke of %s says that the Mapping must halt: %v", who, a.err)
	case !lenient && !errors.Is(a.err, esm.ErrThrottled):
		return fmt.Sprintf("Invoke of %s returned an error that is not esm.ErrThrottled: %v. A wrapper wraps errors with %%w; an Invoker that cannot carry this is tested with esmtest.NoThrottle", who, a.err)
	}
	return ""
}

func notHalt(a answer, lenient bool) string {
	const who = "a target that says esm.Halt"
	switch wrong := notError(who, a); {
	case wrong != "":
		return wrong
	case !lenient && !isHalt(a.err):
		return fmt.Sprintf("Invoke of %s returned an error that is no *esm.HaltError: %v. A wrapper wraps errors with %%w; an Invoker that cannot carry this is tested with esmtest.NoHalt", who, a.err)
	}
	return ""
}

func isHalt(err error) bool {
	var halt *esm.HaltError
	return errors.As(err, &halt)
}
