package esmtest

import (
	"context"
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
