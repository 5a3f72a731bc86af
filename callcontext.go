package esm

import (
	"context"
	"sync"
	"time"
)

// A callContext is the context of a call of the function. It is that of the
// lease, with the time of [WithInvokeTimeout], if there is one.
//
// It is one of our own because its clock stands still while the function says
// that it waits for a place ([Waiting]): to wait is not the function's doing, and
// a call that had its place after 2.9 of 3 seconds would be cut short in the
// middle of its work. A context of package context has a deadline for good.
type callContext struct {
	context.Context // the lease's: whoever ends the lease cancels it
	lease           *lease

	// The rest is for a call that has a time. Without one, every method is that of
	// the lease's context, so that package context recognizes it.
	timed bool
	done  chan struct{}
	unset func() bool // of the end of the lease's context

	mu       sync.Mutex // a leaf
	err      error
	over     bool // its time is
	deadline time.Time
	left     time.Duration // while it stands still
	timer    *time.Timer
	after    map[*afterCall]struct{}

	waits      int // who wait for a place now,
	waitsSince time.Time
	waited     time.Duration // and how long some did before
}

// An afterCall is what is to be done when the context ends.
type afterCall struct{ do func() }

// leaseKey is where a call finds its lease.
type leaseKey struct{}

// begin starts the clock of a call, if it has one.
func (c *callContext) begin(l *lease, timeout time.Duration) {
	c.Context, c.lease = l.ctx, l
	if timeout <= 0 {
		return
	}
	c.timed, c.done, c.deadline = true, make(chan struct{}), time.Now().Add(timeout)
	c.timer = time.AfterFunc(timeout, c.expire)
	c.unset = context.AfterFunc(l.ctx, c.end)
}

// release ends the context with its call.
func (c *callContext) release() {
	if c.timed {
		c.unset()
		c.end()
	}
}

// expire ends the lease's context because the time is over.
func (c *callContext) expire() {
	c.mu.Lock()
	c.over = c.left == 0 && c.err == nil
	over := c.over
	c.mu.Unlock()
	if over {
		c.lease.cancel(ErrInvokeTimeout) // which ends this one
	}
}

// end ends this context, after the lease's or with the call.
func (c *callContext) end() {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.timer.Stop()
	c.err = context.Canceled
	if c.over {
		c.err = context.DeadlineExceeded
	}
	after := c.after
	c.after = nil
	c.mu.Unlock()
	close(c.done)
	for a := range after {
		go a.do()
	}
}

// wait counts who waits for a place within the call, and stops and starts the
// clock.
func (c *callContext) wait(n int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began, ended := n > 0 && c.waits == 0, n < 0 && c.waits == 1
	c.waits += n
	switch {
	case began:
		c.waitsSince = now
		if c.timed && c.err == nil && c.timer.Stop() {
			c.left = max(1, c.deadline.Sub(now))
		}
	case ended:
		c.waited += now.Sub(c.waitsSince)
		if c.left > 0 && c.err == nil {
			c.deadline = now.Add(c.left)
			c.timer.Reset(c.left)
			c.left = 0
		}
	}
}

// waitedFor reports how long the call has waited for a place, and whether it does.
func (c *callContext) waitedFor(now time.Time) (d time.Duration, waits bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waits > 0 {
		return c.waited + now.Sub(c.waitsSince), true
	}
	return c.waited, false
}

// Deadline is when its time is over, unless it stands still.
func (c *callContext) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadline, c.timed && c.left == 0
}

// Done is closed when it has ended.
func (c *callContext) Done() <-chan struct{} {
	if c.timed {
		return c.done
	}
	return c.Context.Done()
}

// Err is why.
func (c *callContext) Err() error {
	if !c.timed {
		return c.Context.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Value finds the lease, and what the host gave to Start.
func (c *callContext) Value(key any) any {
	if key == (leaseKey{}) {
		return c.lease
	}
	return c.Context.Value(key)
}

// AfterFunc is what package context asks a context of somebody else for, so that
// it needs no goroutine for each context that is made of this one.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	if !c.timed {
		return context.AfterFunc(c.Context, f)
	}
	a := &afterCall{f}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = map[*afterCall]struct{}{}
	}
	c.after[a] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waits := c.after[a]
		delete(c.after, a)
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
	l, ok := ctx.Value(leaseKey{}).(*lease)
	if !ok {
		return func() {}
	}
	l.call.wait(1, time.Now())
	return sync.OnceFunc(func() { l.call.wait(-1, time.Now()) })
}

// ran is how long a call has been running, without what it waited for a place,
// and whether it waits for one.
func (l *lease) ran(now time.Time) (ran time.Duration, waits bool) {
	waited, waits := l.call.waitedFor(now)
	return max(0, now.Sub(l.started)-waited), waits
}
