package esm

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// An Invoker gets batches of records. It is called from many goroutines at
// once, but never with two batches of one partition at once.
//
// What it returns decides what becomes of the batch:
//
//   - nil: its records are settled.
//   - an error made by [Throttled]: the function was not reached. The Mapping
//     waits and calls again; this is no attempt.
//   - an error made by [Halt]: the Mapping stops itself.
//   - any other error, a panic, a runtime.Goexit, or a call cut short by
//     [WithInvokeTimeout]: the batch failed, which is an attempt. It is tried
//     again, whole, after [WithBackoff]'s pause, for ever.
//   - any error after the Mapping cancelled ctx because it stops or because
//     the partition moved away (context.Cause is [ErrStopping] or
//     [ErrRevoked]): the call is abandoned. This is no attempt and no failure;
//     the records are read again by whoever owns the partition next.
//
// These errors are found through wrapping and joins; where a join holds
// several, [Halt] comes before [Throttled], and that before all others.
//
// A combined batch that fails is tried again in halves of its partitions, at
// once and without counting an attempt, until the partition that fails is
// alone: it waits, and the others go on.
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
// calls f for the records of a batch one after the other and stops at the
// first error, which it returns with the record's coordinates. The batch is
// then tried again from its beginning, so f sees the records before the one
// that failed again.
func Each(f func(ctx context.Context, r *kgo.Record) error) Invoker {
	if f == nil {
		return nil // which New reports
	}
	return InvokerFunc(func(ctx context.Context, b *Batch) error {
		for _, r := range b.Records {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if err := f(ctx, r); err != nil {
				return fmt.Errorf("%s/%d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
			}
		}
		return nil
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
	return fmt.Sprintf("the function panicked: %v", e.Value)
}

// Unwrap returns the error that the function panicked with, if it was one.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// isolated runs f on a goroutine of its own and waits for it. It is for user
// code on goroutines that must go on whatever happens: a runtime.Goexit in f
// ends only that goroutine.
func isolated(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}
