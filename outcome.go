package esm

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors that the engine gives as the cause (context.Cause) of a context that
// it cancelled, to the function that is still running.
var (
	// ErrStopping: the Mapping stops, and the time for its invocations to end
	// is over.
	ErrStopping = errors.New("esm: the mapping is stopping")
	// ErrRevoked: a partition of the batch belongs to another process now, or
	// will in a moment. What the call returns does not count for it.
	ErrRevoked = errors.New("esm: the partition was taken away")
	// ErrInvokeTimeout: the call took longer than [WithInvokeTimeout]. This
	// one is a failure and an attempt.
	ErrInvokeTimeout = errors.New("esm: the invocation took longer than its timeout")
)

// ErrThrottled is what every error made by [Throttled] is, for errors.Is.
var ErrThrottled = errors.New("esm: the function is throttled")

// Throttled says that the function was not reached because it is busy, and
// that it makes sense to wait for this long before anybody calls it again. The
// records are kept and no attempt is counted; no invocation of this Mapping
// starts before the time is over, and the scaler halves the number of pollers
// and keeps it there for a minute, then goes up step by step. With after zero
// or less the Mapping chooses, by [WithBackoff].
//
// err is the reason, which may be nil.
func Throttled(after time.Duration, err error) error {
	return &throttledError{max(after, 0), err}
}

type throttledError struct {
	after time.Duration
	err   error
}

func (e *throttledError) Error() string {
	if e.err == nil {
		return ErrThrottled.Error()
	}
	return fmt.Sprintf("%v: %v", ErrThrottled, e.err)
}

func (e *throttledError) Unwrap() []error {
	if e.err == nil {
		return []error{ErrThrottled}
	}
	return []error{ErrThrottled, e.err}
}

// Halt says that going on makes no sense: the function was deleted, or may not
// be called. The Mapping starts nothing more, lets what runs end, commits and
// leaves the group, and [Mapping.Run] returns what the function returned: a
// [*HaltError], with what was wrapped around it. With [WithPauseOnHalt] it
// stays in the group and waits for [Mapping.Resume].
//
// The records of this call stay unsettled. err is the reason, which may be
// nil.
func Halt(err error) error { return &HaltError{Err: err} }

// HaltError is why a Mapping halted: what [Mapping.Run] and [Mapping.Err]
// return then is one, for errors.As. [Halt] makes one.
type HaltError struct {
	// Err is the reason that the function gave. It may be nil.
	Err error
}

// Error says that the function halted the Mapping, and why.
func (e *HaltError) Error() string {
	if e.Err == nil {
		return "esm: halted by the function"
	}
	return fmt.Sprintf("esm: halted by the function: %v", e.Err)
}

// Unwrap returns the reason.
func (e *HaltError) Unwrap() error { return e.Err }

// Permanent says that trying again makes no sense: the records cannot be
// handled, whatever is done. They are given up at once, and go to the
// Destination ([WithDestination]). Without one nothing is given up, and this is
// a failure like any other. err is the reason, which may be nil.
//
// It is said of all records of the batch, also of those that were handled. For
// some of them there is [Failures.Add].
func Permanent(err error) error { return &permanentError{err} }

type permanentError struct{ err error }

func (e *permanentError) Error() string { return withReason("esm: permanent failure", e.err) }

func (e *permanentError) Unwrap() error { return e.err }

// TooLarge says that the function, or the way to it, does not take a batch of
// this size. The batch is tried again at once in two halves, and no attempt is
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
	return what + ": " + errorText(err)
}

// An Outcome is what became of one invocation.
type Outcome int

const (
	// OutcomeSuccess: the records are settled.
	OutcomeSuccess Outcome = iota
	// OutcomeFailure: the batch failed and is tried again.
	OutcomeFailure
	// OutcomeThrottled: the function was not reached.
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
	names := [...]string{"success", "failure", "throttled", "abandoned", "halt", "partial", "too-large", "permanent"}
	if o < 0 || int(o) >= len(names) {
		return fmt.Sprintf("Outcome(%d)", int(o))
	}
	return names[o]
}

// MarshalText is String, for JSON and logs.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Classify says what the engine makes of the error that an invocation with
// this context returns, for an [Invoker] that wraps another one: a circuit
// breaker counts failures, but neither throttles nor calls that were cut short.
// The engine uses the same code, and knows besides which records the batch has,
// and whether there is a Destination. ctx is the context that the invocation
// got; it matters, because what a call says after the engine cancelled it proves
// nothing.
func Classify(ctx context.Context, err error) Outcome {
	return judge(err, context.Cause(ctx)).outcome
}

// verdict is an Outcome with what belongs to it.
type verdict struct {
	outcome  Outcome
	err      error           // nil on success
	after    time.Duration   // how long the function asked to be left alone
	failures []RecordFailure // which records failed, if that is known
	whole    bool            // all were said to be permanent or too large
}

// judge says what became of a call that returned err on a context whose cause
// is cause (nil while it is not cancelled).
//
// In doubt it retries: success is only the nil error, and what the engine cut
// short itself proves nothing about the batch. An error that holds several, by
// joining or wrapping them, is what the strongest of them says: halt before
// throttled, that before a plain failure, and that before what would give
// records up. Failures of records beside something that would give all of them
// up are a plain failure: to settle the others would lose them.
func judge(err, cause error) verdict {
	if err == nil {
		return verdict{outcome: OutcomeSuccess}
	}
	if errors.Is(cause, ErrStopping) || errors.Is(cause, ErrRevoked) {
		return verdict{outcome: OutcomeAbandoned, err: err}
	}
	if errors.Is(cause, ErrInvokeTimeout) {
		if !errors.Is(err, ErrInvokeTimeout) {
			err = fmt.Errorf("%w: %w", ErrInvokeTimeout, err)
		}
		return verdict{outcome: OutcomeFailure, err: err}
	}
	v := verdict{err: err}
	v.look(err)
	switch {
	case v.outcome == OutcomeSuccess:
		v.outcome = OutcomeFailure // an error that holds none
	case v.outcome != OutcomePartial:
		v.failures = nil // it was said of the whole call
	case v.whole:
		// Which records would be given up, and which settled, is not said.
		v.outcome, v.failures = OutcomeFailure, nil
	default:
		v.items()
	}
	if v.outcome != OutcomeThrottled {
		v.after = 0
	}
	return v
}

// strength orders outcomes by which of two in one error holds.
var strength = [...]int{
	OutcomeSuccess: 0, OutcomePermanent: 1, OutcomeTooLarge: 2, OutcomePartial: 3,
	OutcomeFailure: 4, OutcomeThrottled: 5, OutcomeHalt: 6,
}

// look finds everything that an error holds. It goes no deeper than what the
// library made: the reason inside is the user's.
func (v *verdict) look(err error) {
	found := OutcomeFailure
	if says, ok := err.(interface{ Is(error) bool }); ok && says.Is(ErrThrottled) {
		v.note(OutcomeThrottled) // a user's own kind of error
	}
	switch e := err.(type) {
	case *HaltError:
		found = OutcomeHalt
	case *throttledError:
		found = OutcomeThrottled
		v.after = max(v.after, e.after)
	case *permanentError:
		found, v.whole = OutcomePermanent, true
	case *tooLargeError:
		found, v.whole = OutcomeTooLarge, true
	case *failuresError:
		found = OutcomePartial
		v.failures = append(v.failures, e.items...)
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			v.look(inner)
			return
		}
	case interface{ Unwrap() []error }:
		if inner := e.Unwrap(); len(inner) > 0 {
			for _, err := range inner {
				if err != nil {
					v.look(err)
				}
			}
			return
		}
	}
	if err == ErrThrottled {
		found = OutcomeThrottled
	}
	v.note(found)
}

// items lets a throttle or a halt that is said of a record hold for the
// Mapping.
func (v *verdict) items() {
	for _, item := range v.failures {
		of := judge(item.Err, nil)
		if of.outcome == OutcomeHalt || of.outcome == OutcomeThrottled {
			v.after = max(v.after, of.after)
			if strength[of.outcome] > strength[v.outcome] {
				v.outcome = of.outcome
				v.err = fmt.Errorf("%s/%d offset %d: %w", item.Topic, item.Partition, item.Offset, item.Err)
			}
		}
	}
}

// note keeps the stronger of two outcomes.
func (v *verdict) note(found Outcome) {
	if strength[found] > strength[v.outcome] {
		v.outcome = found
	}
}
