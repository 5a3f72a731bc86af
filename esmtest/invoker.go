package esmtest

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// An Invoker is a function with a script. It succeeds, except for the calls
// that [Invoker.Fail], [Invoker.Return] and the others say something else of,
// in the order in which they were said, and remembers all calls.
//
// It also watches the Mapping: two calls at once for one partition, or a batch
// whose records of one partition do not stand together and in order, fail the
// test. So does a script that changes bytes of records in place ([MayWrite]).
//
// Its methods may be called on any goroutine and at any time.
type Invoker struct {
	t      testing.TB
	bubble string // where it was made

	mu      sync.Mutex
	script  []esm.InvokerFunc
	always  esm.InvokerFunc
	delay   time.Duration
	calls   []Call
	busy    map[esm.TopicPartition]int // calls that run, which should be one
	running int
	most    int
	changed chan struct{}
	over    chan struct{} // closed at the end of the test
}

// A Call is one call of an [Invoker] that has ended.
type Call struct {
	// At is when it began, and Ended when it returned.
	At, Ended time.Time
	// Batch is a copy of what it got.
	Batch *esm.Batch
	// Err is what it returned, and an [*esm.PanicError] if it panicked or
	// called runtime.Goexit.
	Err error
}

// Values returns the values of the records.
func (c Call) Values() []string {
	vs := make([]string, len(c.Batch.Records))
	for i, r := range c.Batch.Records {
		vs[i] = string(r.Value)
	}
	return vs
}

// String describes the call in one line.
func (c Call) String() string {
	return fmt.Sprintf("call at %s, attempt %d, %d records, %v", c.At.Format("15:04:05.000"), c.Batch.Attempt, len(c.Batch.Records), c.Err)
}

// NewInvoker makes an Invoker. Inside a testing/synctest bubble it must be
// called in the bubble, with its t.
func NewInvoker(t testing.TB) *Invoker {
	t.Helper()
	needOwn(t, "NewInvoker")
	watchClock(t)
	i := &Invoker{t: t, bubble: bubbleHere(), busy: map[esm.TopicPartition]int{}, over: make(chan struct{})}
	// A call that hangs must not outlive the test. This runs after the cleanup
	// of Start, which needs the Invoker first, so a call that ignores its
	// context is still there to fail the test.
	t.Cleanup(func() { close(i.over) })
	return i
}

// Then makes the next call that nothing is said of yet do this.
func (i *Invoker) Then(f func(ctx context.Context, b *esm.Batch) error) *Invoker {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.script = append(i.script, f)
	return i
}

// Return makes the next calls return these errors, nil for a success.
func (i *Invoker) Return(errs ...error) *Invoker {
	for _, err := range errs {
		i.Then(func(context.Context, *esm.Batch) error { return err })
	}
	return i
}

// Fail makes the next n calls return err.
func (i *Invoker) Fail(n int, err error) *Invoker {
	return i.Return(slices.Repeat([]error{err}, n)...)
}

// Throttle makes the next n calls be throttled for this long.
func (i *Invoker) Throttle(n int, after time.Duration) *Invoker {
	return i.Fail(n, esm.Throttled(after, nil))
}

// Panic makes the next call panic.
func (i *Invoker) Panic(v any) *Invoker {
	return i.Then(func(context.Context, *esm.Batch) error { panic(v) })
}

// Goexit makes the next call end its goroutine, as t.FailNow does.
func (i *Invoker) Goexit() *Invoker {
	return i.Then(func(context.Context, *esm.Batch) error {
		runtime.Goexit()
		return nil
	})
}

// Block makes the next call wait until release is called, and succeed then. It
// returns early if its context ends, with the cause as its error. release may
// be called before the call comes, and more than once.
func (i *Invoker) Block() (release func()) {
	return i.block(false)
}

// Hang makes the next call wait until release is called, whatever becomes of
// its context, or else to the very end of the test. A Mapping that must stop
// meanwhile does not stop well.
func (i *Invoker) Hang() (release func()) {
	return i.block(true)
}

func (i *Invoker) block(deaf bool) func() {
	ch := make(chan struct{})
	i.Then(func(ctx context.Context, _ *esm.Batch) error {
		if deaf {
			select {
			case <-ch:
			case <-i.over:
			}
			return nil
		}
		select {
		case <-ch:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	return sync.OnceFunc(func() { close(ch) })
}

// Always makes every call do this that nothing else is said of.
func (i *Invoker) Always(f func(ctx context.Context, b *esm.Batch) error) *Invoker {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.always = f
	return i
}

// Takes makes every call wait this long before it does what it does. If its
// context ends meanwhile it returns the cause and does nothing else.
func (i *Invoker) Takes(d time.Duration) *Invoker {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.delay = d
	return i
}

// Invoke is for the Mapping.
func (i *Invoker) Invoke(ctx context.Context, b *esm.Batch) (err error) {
	call := Call{At: time.Now(), Batch: copyBatch(b)}
	f, delay := i.begin(call.Batch)
	var was []content
	if f != nil && !hasWatcher(ctx) {
		was = look(b.Records)
	}
	returned := false
	defer func() {
		if why := whatChanged(was, whileInvoke); why != "" {
			i.t.Error(why)
		}
		var v any
		if !returned {
			v = recover() // nil for a Goexit
			err = &esm.PanicError{Value: v, Goexit: v == nil, Stack: debug.Stack()}
		}
		call.Ended, call.Err = time.Now(), err
		i.end(call)
		if v != nil {
			panic(v)
		}
	}()
	err = i.play(ctx, b, f, delay)
	returned = true
	return err
}

// play does what the script says.
func (i *Invoker) play(ctx context.Context, b *esm.Batch, f esm.InvokerFunc, delay time.Duration) error {
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if f == nil {
		return nil
	}
	return f(ctx, b)
}

// begin notes a call, judges its batch, and says what it is to do.
func (i *Invoker) begin(b *esm.Batch) (esm.InvokerFunc, time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running++
	i.most = max(i.most, i.running)
	own := map[esm.TopicPartition]bool{}
	for tp, records := range b.ByPartition() {
		if own[tp] {
			i.t.Errorf("esmtest: the records of %s/%d do not stand together", tp.Topic, tp.Partition)
		} else if i.busy[tp] > 0 {
			i.t.Errorf("esmtest: two calls at once for %s/%d", tp.Topic, tp.Partition)
		}
		own[tp] = true
		i.busy[tp]++
		for n, r := range records[1:] {
			if last := records[n].Offset; r.Offset <= last {
				i.t.Errorf("esmtest: the records of %s/%d are not in order: offset %d comes after %d", tp.Topic, tp.Partition, r.Offset, last)
				break
			}
		}
	}
	f := i.always
	if len(i.script) > 0 {
		f, i.script = i.script[0], i.script[1:]
	}
	return f, i.delay
}

func (i *Invoker) end(c Call) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running--
	for tp := range c.Batch.ByPartition() {
		i.busy[tp]--
	}
	i.calls = append(i.calls, c)
	if i.changed != nil {
		close(i.changed)
		i.changed = nil
	}
}

// copyBatch makes a copy that stays when the batch is gone.
func copyBatch(b *esm.Batch) *esm.Batch {
	records := make([]*kgo.Record, len(b.Records))
	for i, r := range b.Records {
		c := *r
		c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
		for j := range c.Headers {
			c.Headers[j].Value = bytes.Clone(c.Headers[j].Value)
		}
		records[i] = &c
	}
	return b.With(records)
}

// Calls returns the calls that have ended, in the order in which they did.
func (i *Invoker) Calls() []Call {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.calls)
}

// Values returns the values of all records of calls that succeeded, in the
// order in which they did.
func (i *Invoker) Values() []string {
	var vs []string
	for _, c := range i.Calls() {
		if c.Err == nil {
			vs = append(vs, c.Values()...)
		}
	}
	return vs
}

// Running returns how many calls run now, and how many ran at once at most.
func (i *Invoker) Running() (now, most int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.running, i.most
}

// Wait waits until this many calls have ended, but at most a minute, then it
// fails the test. It is for tests in real time: in a bubble, time.Sleep does.
// It must be called on the test's goroutine.
func (i *Invoker) Wait(calls int) {
	i.t.Helper()
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	for {
		i.mu.Lock()
		n := len(i.calls)
		if n >= calls {
			i.mu.Unlock()
			return
		}
		if i.changed == nil {
			i.changed = make(chan struct{})
		}
		changed := i.changed
		i.mu.Unlock()
		select {
		case <-changed:
		case <-timeout.C:
			i.t.Fatalf("esmtest: after a minute there were %d calls, not %d", n, calls)
		}
	}
}
