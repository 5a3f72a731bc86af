package esm

import (
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
)

// String returns the outcome in one word.
func (o Outcome) String() string {
	switch o {
	case OutcomeSuccess:
		return "success"
	case OutcomeFailure:
		return "failure"
	case OutcomeThrottled:
		return "throttled"
	case OutcomeAbandoned:
		return "abandoned"
	case OutcomeHalt:
		return "halt"
	}
	return fmt.Sprintf("Outcome(%d)", int(o))
}

// MarshalText is String, for JSON and logs.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// verdict is an Outcome with what belongs to it.
type verdict struct {
	outcome Outcome
	err     error         // nil on success
	after   time.Duration // how long the function asked to be left alone
}

// judge says what became of a call that returned err on a context whose cause
// is cause (nil while it is not cancelled).
//
// In doubt it retries: success is only the nil error, and what the engine cut
// short itself proves nothing about the batch.
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
	if halt := (*HaltError)(nil); errors.As(err, &halt) {
		return verdict{outcome: OutcomeHalt, err: err}
	}
	if throttled := (*throttledError)(nil); errors.As(err, &throttled) {
		return verdict{outcome: OutcomeThrottled, err: err, after: throttled.after}
	}
	if errors.Is(err, ErrThrottled) {
		return verdict{outcome: OutcomeThrottled, err: err}
	}
	return verdict{outcome: OutcomeFailure, err: err}
}
