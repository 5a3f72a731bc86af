package esm

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/plan"
)

// An Invoker gets batches of records. It is called from many goroutines at
// once, but never with two batches of one partition at once.
//
// What it returns decides what becomes of the batch:
//
//   - nil: its records are settled.
//   - an error made by [Throttled]: the function was not reached. The Mapping
//     waits and calls again; this is no attempt. After [WithInvokeTimeout] ended
//     the call it says only that: nothing waits. If the same records get it again
//     and again while others are answered, it becomes a failure of theirs;
//     [Busy] does not.
//   - an error made by [Halt]: the Mapping stops itself. One made by [Refused]
//     stops it if no call is answered for a minute, and is a throttle until then.
//   - the error of a [Failures]: these records failed, the others are settled.
//   - an error made by [Permanent]: the records are given up now.
//   - an error made by [TooLarge]: the batch is tried again in halves at once,
//     which is no attempt; a single record is given up.
//   - any other error, a panic, a runtime.Goexit, or a call cut short by
//     [WithInvokeTimeout]: the batch failed, which is an attempt. It is tried
//     again after [WithBackoff]'s pause: as often as [WithMaxRetries] allows,
//     which is for ever if nobody says otherwise, and in pieces with
//     [WithBisect].
//   - any error after the Mapping cancelled ctx because it stops or because
//     the partition moved away (context.Cause is [ErrStopping] or
//     [ErrRevoked]): the call is abandoned. This is no attempt and no failure;
//     the records are read again by whoever owns the partition next.
//
// These errors are found through wrapping and joins; where one holds several,
// [Halt] comes before [Throttled], that before a plain failure, and that before
// [Failures], [TooLarge] and [Permanent]: in doubt it is tried again.
// [Classify] tells a wrapper what becomes of an error.
//
// A combined batch that fails is tried again in halves of its partitions, at
// once and without counting an attempt, until the partition that fails is
// alone: it waits, and the others go on. One that is throttled goes on in halves
// from the second time on.
//
// An Invoker that does not return holds its partitions and its place until it
// does, even after its context ended: a second call is never started beside
// it. [Stats] and [Hooks] show it as stuck.
type Invoker interface {
	Invoke(ctx context.Context, b *Batch) error
}

// InvokerFunc makes an [Invoker] of a function.
type InvokerFunc func(ctx context.Context, b *Batch) error

// Invoke calls f.
func (f InvokerFunc) Invoke(ctx context.Context, b *Batch) error { return f(ctx, b) }

// Each makes an [Invoker] of a function that takes one record at a time. It
// calls f for the records of a partition one after the other. At an error it
// stops there, as [Failures.StopAt] does, and goes on with the next partition
// of the batch: the records before the one that failed are settled, and those
// after it come once it is settled. An error made by [Permanent] or [TooLarge]
// gives just that record up. One made by [Throttled] or [Halt] ends the call.
//
// The error of the call has the coordinates of the records.
func Each(f func(ctx context.Context, r *kgo.Record) error) Invoker {
	if f == nil {
		return nil // which New reports
	}
	return InvokerFunc(func(ctx context.Context, b *Batch) error {
		var failed Failures
		var ends error // the whole call
		for tp, records := range b.ByPartition() {
			if ends != nil {
				failed.StopAt(records[0], ends)
				continue
			}
			for _, r := range records {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				item := RecordFailure{TopicPartition: tp, Offset: r.Offset, Record: r} // before f writes into it
				if item.Err = f(ctx, r); item.Err == nil {
					continue
				}
				outcome := Classify(ctx, item.Err)
				if outcome == OutcomeThrottled || outcome == OutcomeHalt {
					ends = item.Err
				}
				item.Stopped = outcome != OutcomePermanent && outcome != OutcomeTooLarge
				if failed.put(item); item.Stopped {
					break
				}
			}
		}
		return failed.Err()
	})
}

// A PanicError is what becomes of a panic or a runtime.Goexit in an
// [Invoker]: the error of that invocation.
type PanicError struct {
	// Value is what the function panicked with, nil for a Goexit.
	Value any
	// Goexit is whether the function called runtime.Goexit, as
	// testing.T.FailNow does.
	Goexit bool
	// Stack is the stack of the goroutine at that moment.
	Stack []byte
}

// Error describes the panic without its stack.
func (e *PanicError) Error() string {
	if e.Goexit {
		return "the function called runtime.Goexit"
	}
	return "the function panicked: " + guard.Sprint(e.Value)
}

// MarshalText is Error, for JSON and logs.
func (e *PanicError) MarshalText() ([]byte, error) { return []byte(guard.Text(e)), nil }

// Unwrap returns the error that the function panicked with, if it was one.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// panicked is the error of a call that did not return.
func panicked(f *guard.Failure) *PanicError {
	v := f.Value
	if text := guard.Sprint(v); len(text) > guard.TextLimit {
		v = text // it is kept for as long as the records are
	}
	return &PanicError{Value: v, Goexit: f.Goexit, Stack: f.Stack}
}

// A caller calls the function for the engine: it makes the Batch and the context,
// and judges what comes back.
type caller struct {
	invoker Invoker
	watch   *watch
	group   string
	origin  origin
}

// caller is that of a Mapping.
func (m *Mapping) caller() *caller {
	return &caller{invoker: m.invoker, watch: m.watch, group: m.source.Group, origin: origin{m.source.ARN, m.source.Brokers}}
}

// An invocation is what a call of the function gets.
type invocation struct {
	batch Batch // the function's: it may write into it, and keep it
	ctx   callContext
}

// invoke calls the function, and fills in the verdict. It is the only place that
// recovers from the function itself. Whatever does not return is a failure, even
// a panic whose value is nil.
//
// The verdict is made before the call counts as returned, because that runs
// methods of the user's errors, which may panic or exit the goroutine as well:
// see judgement.
func (c *caller) invoke(call *engine.Call) {
	in := &invocation{batch: Batch{Records: call.Records, Attempt: call.Attempt, ID: call.ID, Mapping: c.watch.name, Group: c.group, origin: &c.origin}}
	returned, judged := false, false
	defer func() {
		if !judged {
			c.failed(call, &guard.Failure{Goexit: true, Stack: guard.Stack()})
		}
		in.ctx.release()
	}()
	defer func() {
		if !returned {
			r := recover()
			c.failed(call, &guard.Failure{Value: r, Goexit: r == nil, Stack: guard.Stack()})
		}
		judged = true
	}()
	c.watch.called(&in.batch, call.Bytes)
	if cause := call.TakenAway(); cause != nil {
		// Since it was leased: hooks ran in between, or the whole process stood
		// still.
		call.Verdict = plan.Verdict{Outcome: plan.OutcomeAbandoned, Err: cause}
	} else {
		in.ctx.begin(call)
		call.Verdict = verdictOf(call, c.invoker.Invoke(&in.ctx, &in.batch))
	}
	returned = true
}

// called tells that a batch is handed over.
func (w *watch) called(b *Batch, bytes int64) {
	hook := func(h *Hooks) func(Invocation) { return h.InvokeStarted }
	if !wanted(w, hook) {
		return
	}
	call := Invocation{Mapping: w.name, BatchID: b.ID, Attempt: b.Attempt, Records: len(b.Records), Bytes: bytes, Outcome: OutcomeRunning, Batch: b}
	for tp := range b.ByPartition() {
		call.Partitions = append(call.Partitions, tp)
	}
	fire(w, hook, call)
}

// failed fills in the verdict of a call that did not return. After a Goexit nothing
// of the user's may run on this goroutine, and nothing does: such an error holds
// none.
func (c *caller) failed(call *engine.Call, f *guard.Failure) {
	p := panicked(f)
	call.Verdict = verdictOf(call, p)
	if id := call.ID; call.Verdict.Outcome != plan.OutcomeAbandoned {
		call.After = func() { c.watch.write(func() { c.watch.logPanic(id, p.Error(), p.Stack) }) }
	}
}

// verdictOf makes the verdict of a call that returned err.
func verdictOf(call *engine.Call, err error) plan.Verdict {
	v := judge(err, context.Cause(call.Ctx))
	if len(v.said) > 0 { // seldom, and an index of all records is expensive
		v.resolve(call.Shares())
	}
	v.keep()
	return v.Verdict
}

// A callContext is the context of a call of the function. It is that of the
// engine, with the time of [WithInvokeTimeout], if there is one.
//
// It is one of our own because its clock stands still while the function says
// that it waits for a place ([Waiting]): to wait is not the function's doing, and
// a call that had its place after 2.9 of 3 seconds would be cut short in the
// middle of its work. A context of package context has a deadline for good.
type callContext struct {
	context.Context // the engine's: it cancels it when the call ends
	call            *engine.Call
	// clock is there if the call has a time. Without one, every method is that of
	// the engine's context, so that package context recognizes it.
	clock *callClock
}

// A callClock is the time of a call.
type callClock struct {
	done  chan struct{}
	unset func() bool // of the end of the engine's context

	mu       sync.Mutex // a leaf, but for that of the call's PlaceClock
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
func (c *callContext) begin(call *engine.Call) {
	c.Context, c.call = call.Ctx, call
	if call.Timeout <= 0 {
		return
	}
	k := &callClock{done: make(chan struct{}), deadline: time.Now().Add(call.Timeout)}
	c.clock = k
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(call.Timeout, func() {
		if k.expired() {
			call.Cancel(ErrInvokeTimeout) // which ends this one
		}
	})
	k.unset = context.AfterFunc(call.Ctx, k.end)
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
		c.call.Places.Wait(n, now)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch began, ended := c.call.Places.Wait(n, now); {
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
