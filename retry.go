package esm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/plan"
)

// Errors that the engine gives as the cause (context.Cause) of a context that
// it cancelled, to the function that is still running.
var (
	// ErrStopping: the Mapping stops, and the time for its invocations to end
	// is over.
	ErrStopping = engine.ErrStopping
	// ErrRevoked: a partition of the batch belongs to another process now, or
	// will in a moment. What the call returns does not count for it.
	ErrRevoked = engine.ErrRevoked
	// ErrInvokeTimeout: the call took longer than [WithInvokeTimeout]. This one is
	// a failure and an attempt, unless the call says that the function was not
	// reached ([Throttled]).
	ErrInvokeTimeout = errors.New("esm: the invocation took longer than its timeout")
)

// ErrThrottled matches, with errors.Is, every error made by [Throttled] or [Busy].
var ErrThrottled = errors.New("esm: the function is throttled")

// Throttled says that the function was not reached because it is busy, and
// that it makes sense to wait for this long before anybody calls it again. The
// records are kept and no attempt is counted; no invocation of this Mapping
// starts before the time is over, and the scaler halves the number of pollers
// and keeps it there for a minute, then goes up step by step. With after zero
// or less the Mapping chooses, by [WithBackoff].
//
// A call whose context ended before it reached the function says so with
// Throttled too. If it was [WithInvokeTimeout] that ended it, nobody was busy but
// the function's own places: the records are tried again at once, no attempt is
// counted, and the Mapping does not hold off.
//
// A server may say so because of a record: a proxy that answers 503 for the one
// that the record has killed. So a throttle that the same records get again and
// again while others are answered is about them. One counts against them if since
// the last one that counted at least 20 other calls were answered, with success or
// with a failure, and 20 more for each batch that was throttled for the first
// time meanwhile. From the second one that counts, the partition of these records
// waits alone, and from the fifth each one that counts is a failure, with an
// attempt, bisection, retries and a [Destination] like any other. A batch of
// several partitions that is throttled twice goes on in halves. So an outage, and
// a function that throttles at random however much, cost no attempt; and where
// there is nothing to compare with, it stays a throttle and becomes a [Problem].
// What cannot be about records is said with [Busy].
//
// err is the reason, which may be nil.
func Throttled(after time.Duration, err error) error {
	return &throttledError{max(after, 0), err, false}
}

// Busy is a [Throttled] that never counts against the records, because nobody has
// looked at them: the function has no room, or nothing was sent to it. However
// often the same records get it, it is no failure of theirs. (AWS Lambda's
// TooManyRequestsException.)
func Busy(after time.Duration, err error) error {
	return &throttledError{max(after, 0), err, true}
}

type throttledError struct {
	after time.Duration
	err   error
	busy  bool
}

func (e *throttledError) Error() string {
	what := ErrThrottled.Error()
	if e.busy {
		what = "esm: the function is busy"
	}
	return withReason(what, e.err)
}

func (e *throttledError) Unwrap() []error {
	if e.err == nil {
		return []error{ErrThrottled}
	}
	return []error{ErrThrottled, e.err}
}

// Halt makes an error that stops the whole Mapping, because going on makes no
// sense: the function was deleted, or may not be called. The Mapping starts nothing more, lets what runs end, commits and
// leaves the group, and [Mapping.Run] returns what the function returned: a
// [*HaltError], with what was wrapped around it. With [WithPauseOnHalt] it
// stays in the group and waits for [Mapping.Resume].
//
// The records of this call stay unsettled. err is the reason, which may be
// nil.
//
// It is obeyed at once, whatever other calls return. Who only was told something
// of the kind by somebody else says [Refused].
func Halt(err error) error { return &HaltError{Err: err} }

// Refused makes an error that halts the Mapping if every call is refused for a
// minute, and is a throttle until then. It says that the function, or what stands
// before it, refuses the call, and that each later call will be refused too, as far
// as the answer goes: it does not exist, or may not be called. It is a [Halt] if all calls are refused for a
// minute, or for twice the time that a call takes on average: nothing is
// answered, with success or with a failure, from the first refusal to the last,
// with less than that between them. Until then, and as long as
// others are answered, it is [Throttled], with all that follows from it: a deploy
// may have no route for a moment, and a firewall may dislike one record.
//
// [Classify] calls it a halt, since it knows of no other calls. err is the
// reason, which may be nil.
func Refused(err error) error { return &HaltError{Err: err, refused: true} }

// HaltError is why a Mapping halted: what [Mapping.Run] and [Mapping.Err]
// return then is one, for errors.As. [Halt] and [Refused] make one.
type HaltError struct {
	// Err is the reason that the function gave. It may be nil.
	Err error

	refused bool // it holds only while no other call is answered
}

// Error says that the function halted the Mapping, or refuses calls, and why.
func (e *HaltError) Error() string {
	if e.refused {
		return withReason("esm: the function refuses calls", e.Err)
	}
	return withReason("esm: halted by the function", e.Err)
}

// MarshalText is Error, for JSON and logs.
func (e *HaltError) MarshalText() ([]byte, error) { return []byte(guard.Text(e)), nil }

// Unwrap returns the reason.
func (e *HaltError) Unwrap() error { return e.Err }

// Permanent makes an error that gives records up, because trying again makes no
// sense: they cannot be handled, whatever is done. They are given up at once, and go to the
// Destination ([WithDestination]). Without one nothing is given up, and this is
// a failure like any other. err is the reason, which may be nil.
//
// It is said of all records of the batch, even of those that were handled. For
// some of them there is [Failures.Add].
func Permanent(err error) error { return &permanentError{err} }

type permanentError struct{ err error }

func (e *permanentError) Error() string { return withReason("esm: permanent failure", e.err) }

func (e *permanentError) Unwrap() error { return e.err }

// TooLarge makes an error by which an Invoker says that the function, or the way
// to it, does not take a batch of this size. The batch is tried again at once in two halves, and no attempt is
// counted. A single record that is too large is given up, as [Permanent] does.
// err is the reason, which may be nil.
func TooLarge(err error) error { return &tooLargeError{err} }

type tooLargeError struct{ err error }

func (e *tooLargeError) Error() string { return withReason("esm: too large for the function", e.err) }

func (e *tooLargeError) Unwrap() error { return e.err }

func withReason(what string, err error) string {
	if err == nil {
		return what
	}
	return what + ": " + guard.Text(err)
}

// An Outcome is what became of one invocation.
type Outcome int

// OutcomeRunning is the outcome of an [Invocation] that is still running.
const OutcomeRunning Outcome = Outcome(plan.OutcomeRunning)

const (
	// OutcomeSuccess: the records are settled.
	OutcomeSuccess Outcome = iota
	// OutcomeFailure: the batch failed and is tried again.
	OutcomeFailure
	// OutcomeThrottled: the function was not reached, or [Refused] the call while
	// others are answered.
	OutcomeThrottled
	// OutcomeAbandoned: the engine had cancelled the call.
	OutcomeAbandoned
	// OutcomeHalt: the function asked the Mapping to stop.
	OutcomeHalt
	// OutcomePartial: some records failed, the others are settled.
	OutcomePartial
	// OutcomeTooLarge: the batch is tried again in halves.
	OutcomeTooLarge
	// OutcomePermanent: the records are given up.
	OutcomePermanent
)

// String returns the outcome in one word.
func (o Outcome) String() string {
	return plan.Outcome(o).String()
}

// MarshalText is String, for JSON and logs.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Classify says what the engine makes of the error that an invocation with
// this context returns, for an [Invoker] that wraps another one: a circuit
// breaker counts failures, but neither throttles nor calls that were cut short.
// The engine uses the same code, and knows besides which records the batch has,
// whether there is a Destination, and what other calls are told: a throttle that
// is about records ([Throttled]) is a failure for it, and what is [Refused] a
// throttle while others are answered. ctx is the context that the invocation
// got; it matters, because what a call says after the engine cancelled it proves
// nothing.
func Classify(ctx context.Context, err error) Outcome {
	return Outcome(judge(err, context.Cause(ctx)).Outcome)
}

// Failures is what an [Invoker] returns when some records of a batch failed and
// the others did not:
//
//	var f esm.Failures
//	for _, r := range b.Records {
//		f.Add(r, handle(ctx, r))
//	}
//	return f.Err()
//
// Records that are not mentioned are settled. Those that failed are tried
// again, alone, while their partition waits; the records that came after them
// in the batch may have been handled by then, so a function that needs the
// order within a partition uses [Failures.StopAt]. A record of the batch is
// known as itself, whatever was written into it since; any other one, such as a
// copy, by its topic, partition and offset. One that is not of the batch makes
// the whole batch a failure, because nobody knows then what else is wrong.
//
// The zero value is ready. Its methods may be called on several goroutines at
// once. (AWS: ReportBatchItemFailures.)
type Failures struct {
	mu    sync.Mutex
	items []RecordFailure
}

// A RecordFailure is one record of a batch that failed, with its error: see [FailuresOf].
type RecordFailure struct {
	// What the record had in it when it was named.
	TopicPartition
	Offset int64 // -1 if what failed is no record
	// Record is the record that was named, nil if that was none.
	Record *kgo.Record
	Err    error // never nil
	// Stopped is whether the later records of the partition were not tried,
	// [Failures.StopAt].
	Stopped bool
}

// MarshalJSON writes all of it but the Record, whose data is not a log's.
func (f RecordFailure) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		TopicPartition
		Offset  int64
		Err     string
		Stopped bool
	}{f.TopicPartition, f.Offset, guard.Text(f.Err), f.Stopped})
}

// Add says that a record failed, with this error; if err is nil it says
// nothing. err may be made by [Permanent] or [TooLarge], which then hold for
// this record only; if it is made by [Throttled] or [Halt], the record counts as
// not tried, and the Mapping waits or halts, as if that were said of the call.
func (f *Failures) Add(r *kgo.Record, err error) {
	if err != nil {
		f.add(r, err, false)
	}
}

// StopAt says that a record failed and that the later records of its partition
// were not tried. Those are not charged with an attempt; they come again, as
// records of the same batch, once this one is settled. If err is nil, an error
// that says just that takes its place.
func (f *Failures) StopAt(r *kgo.Record, err error) {
	if err == nil {
		err = errStopped
	}
	f.add(r, err, true)
}

var errStopped = errors.New("the function stopped here")

func (f *Failures) add(r *kgo.Record, err error, stop bool) {
	item := RecordFailure{Offset: -1, Err: err, Stopped: stop} // no record of any batch
	if r != nil {
		item.TopicPartition, item.Offset, item.Record = TopicPartition{r.Topic, r.Partition}, r.Offset, r
	}
	f.put(item)
}

func (f *Failures) put(item RecordFailure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items = append(f.items, item)
}

// Err returns nil if no record failed, and otherwise an error that says which
// did: what the Invoker returns.
func (f *Failures) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.items) == 0 {
		return nil
	}
	return &failuresError{append([]RecordFailure(nil), f.items...)}
}

type failuresError struct{ items []RecordFailure }

// Error names the first of the records.
func (e *failuresError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "esm: %d records of the batch failed: ", len(e.items))
	for i, item := range e.items {
		if i == 3 {
			fmt.Fprintf(&b, "; and %d more", len(e.items)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s/%d offset %d: %s", item.Topic, item.Partition, item.Offset, guard.Text(item.Err))
	}
	return b.String()
}

// Unwrap returns the errors of the records.
func (e *failuresError) Unwrap() []error {
	errs := make([]error, len(e.items))
	for i, item := range e.items {
		errs[i] = item.Err
	}
	return errs
}

// FailuresOf returns which records an error says failed, in the order in which
// that was said: what a [Failures] was told, through wrapping and joins. It is
// for an [Invoker] that wraps another one, and for a server that answers for
// one. It returns nil if the error is of the whole batch, as [Classify] sees it.
func FailuresOf(err error) []RecordFailure {
	var failed []RecordFailure
	for _, said := range judge(err, nil).said {
		failed = append(failed, said.RecordFailure)
	}
	return failed
}
