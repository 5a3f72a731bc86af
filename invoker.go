package esm

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
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
