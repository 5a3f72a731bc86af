package esm

import (
	"context"
	"sync"
	"sync/atomic"
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
	// clock is there if the call has a time, or waits for a place. Without a time,
	// every method is that of the lease's context, so that package context
	// recognizes it.
	clock atomic.Pointer[callClock]
}

// A callClock is the time of a call, and how much of it does not count.
type callClock struct {
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

// timed is the clock, if the call has a time.
func (c *callContext) timed() *callClock {
	if k := c.clock.Load(); k != nil && k.timed {
		return k
	}
	return nil
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
	k := &callClock{timed: true, done: make(chan struct{}), deadline: time.Now().Add(timeout)}
	c.clock.Store(k)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(timeout, func() {
		if k.expired() {
			l.cancel(ErrInvokeTimeout) // which ends this one
		}
	})
	k.unset = context.AfterFunc(l.ctx, k.end)
}

// release ends the context with its call.
func (c *callContext) release() {
	if k := c.timed(); k != nil {
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

// end ends the context of a call that has a time, after the lease's or with the
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
	if c.clock.Load() == nil {
		c.clock.CompareAndSwap(nil, &callClock{})
	}
	k := c.clock.Load()
	k.mu.Lock()
	defer k.mu.Unlock()
	began, ended := n > 0 && k.waits == 0, n < 0 && k.waits == 1
	k.waits += n
	switch {
	case began:
		k.waitsSince = now
		if k.timed && k.err == nil && k.timer.Stop() {
			k.left = max(1, k.deadline.Sub(now))
		}
	case ended:
		k.waited += now.Sub(k.waitsSince)
		if k.left > 0 && k.err == nil {
			k.deadline = now.Add(k.left)
			k.timer.Reset(k.left)
			k.left = 0
		}
	}
}

// waitedFor reports how long the call has waited for a place, and whether it does.
func (c *callContext) waitedFor(now time.Time) (d time.Duration, waits bool) {
	k := c.clock.Load()
	if k == nil {
		return 0, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waits > 0 {
		return k.waited + now.Sub(k.waitsSince), true
	}
	return k.waited, false
}

// Deadline is when its time is over, unless it stands still.
func (c *callContext) Deadline() (time.Time, bool) {
	k := c.timed()
	if k == nil {
		return c.Context.Deadline()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deadline, k.left == 0
}

// Done is closed when it has ended.
func (c *callContext) Done() <-chan struct{} {
	if k := c.timed(); k != nil {
		return k.done
	}
	return c.Context.Done()
}

// Err is why.
func (c *callContext) Err() error {
	k := c.timed()
	if k == nil {
		return c.Context.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
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
	k := c.timed()
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
