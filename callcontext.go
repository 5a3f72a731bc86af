package esm

import (
	"context"
	"sync"
	"time"
)

// A callContext is the context of a call of the function. It is that of the
// engine, with the time of [WithInvokeTimeout], if there is one.
//
// It is one of our own because its clock stands still while the function says
// that it waits for a place ([Waiting]): to wait is not the function's doing, and
// a call that had its place after 2.9 of 3 seconds would be cut short in the
// middle of its work. A context of package context has a deadline for good.
type callContext struct {
	context.Context // the engine's: it cancels it when the call ends
	call            *call
	// clock is there if the call has a time. Without one, every method is that of
	// the engine's context, so that package context recognizes it.
	clock *callClock
}

// A callClock is the time of a call.
type callClock struct {
	done  chan struct{}
	unset func() bool // of the end of the engine's context

	mu       sync.Mutex // a leaf, but for that of the call's placeClock
	err      error
	over     bool // its time is
	deadline time.Time
	left     time.Duration // while it stands still
	timer    *time.Timer
	after    map[*afterCall]struct{}
}

// An afterCall is what is to be done when the context ends.
type afterCall struct{ do func() }

// callKey is where a call finds its context.
type callKey struct{}

// begin starts the clock of a call, if it has one.
func (c *callContext) begin(call *call) {
	c.Context, c.call = call.ctx, call
	if call.timeout <= 0 {
		return
	}
	k := &callClock{done: make(chan struct{}), deadline: time.Now().Add(call.timeout)}
	c.clock = k
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(call.timeout, func() {
		if k.expired() {
			call.cancel(ErrInvokeTimeout) // which ends this one
		}
	})
	k.unset = context.AfterFunc(call.ctx, k.end)
}

// release ends the context with its call.
func (c *callContext) release() {
	if k := c.clock; k != nil {
		k.unset()
		k.end()
	}
}

// expired reports whether the time is over.
func (k *callClock) expired() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = k.left == 0 && k.err == nil
	return k.over
}

// end ends the context of a call that has a time, after the engine's or with the
// call.
func (k *callClock) end() {
	k.mu.Lock()
	if k.err != nil {
		k.mu.Unlock()
		return
	}
	k.timer.Stop()
	k.err = context.Canceled
	if k.over {
		k.err = context.DeadlineExceeded
	}
	after := k.after
	k.after = nil
	k.mu.Unlock()
	close(k.done)
	for a := range after {
		go a.do()
	}
}

// wait counts who waits for a place within the call, and stops and starts the
// clock.
func (c *callContext) wait(n int, now time.Time) {
	k := c.clock
	if k == nil {
		c.call.places.wait(n, now)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch began, ended := c.call.places.wait(n, now); {
	case began && k.err == nil && k.timer.Stop():
		k.left = max(1, k.deadline.Sub(now))
	case ended && k.err == nil && k.left > 0:
		k.deadline = now.Add(k.left)
		k.timer.Reset(k.left)
		k.left = 0
	}
}

// Deadline is when its time is over, unless it stands still.
func (c *callContext) Deadline() (time.Time, bool) {
	k := c.clock
	if k == nil {
		return c.Context.Deadline()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deadline, k.left == 0
}

// Done is closed when it has ended.
func (c *callContext) Done() <-chan struct{} {
	if k := c.clock; k != nil {
		return k.done
	}
	return c.Context.Done()
}

// Err is why.
func (c *callContext) Err() error {
	k := c.clock
	if k == nil {
		return c.Context.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Value finds the context itself, and what the host gave to Start.
func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// AfterFunc is what package context asks a context of somebody else for, so that
// it needs no goroutine for each context that is made of this one.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	k := c.clock
	if k == nil {
		return context.AfterFunc(c.Context, f)
	}
	a := &afterCall{f}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		go f()
		return func() bool { return false }
	}
	if k.after == nil {
		k.after = map[*afterCall]struct{}{}
	}
	k.after[a] = struct{}{}
	return func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		_, waits := k.after[a]
		delete(k.after, a)
		return waits
	}
}

// Waiting says that the invocation with this context waits for a place, of a pool
// or a semaphore of the function's own, until done is called:
//
//	done := esm.Waiting(ctx)
//	select {
//	case places <- struct{}{}:
//		done()
//		defer func() { <-places }()
//	case <-ctx.Done():
//		return esm.Throttled(0, context.Cause(ctx)) // the function was not reached
//	}
//
// Time spent waiting does not count: not for [WithInvokeTimeout], whose clock
// stands still, and not as a part of how long an invocation takes. While calls
// wait, the scaler adds no pollers, which would only wait too. Calls on several
// goroutines of one invocation count as one. done may be called more than once.
// With another context Waiting does nothing.
//
// [WithMaxConcurrency] has what cannot run wait in the Mapping instead, and holds
// no partition for that; prefer it where the number is known.
func Waiting(ctx context.Context) (done func()) {
	c, ok := ctx.Value(callKey{}).(*callContext)
	if !ok {
		return func() {}
	}
	c.wait(1, time.Now())
	return sync.OnceFunc(func() { c.wait(-1, time.Now()) })
}
