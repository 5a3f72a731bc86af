package esmotel

import "context"

// An afterFuncer is a context that package context asks to be told of its end, instead of
// waiting for that with a goroutine. That of a call is one.
type afterFuncer interface {
	AfterFunc(f func()) (stop func() bool)
}

// A passed context is that of a call with a span in it. A context of package context alone
// would hide the AfterFunc below, and each context that the function makes of it would take a
// goroutine.
type passed struct {
	context.Context
	below afterFuncer
}

// AfterFunc is that of the call.
func (p *passed) AfterFunc(f func()) (stop func() bool) { return p.below.AfterFunc(f) }

// passing makes a context that ends as the one below it does.
func passing(below, with context.Context) context.Context {
	if a, ok := below.(afterFuncer); ok && with.Done() == below.Done() {
		return &passed{with, a}
	}
	return with
}
