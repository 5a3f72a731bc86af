package plan

import "fmt"

// An Outcome is what became of one invocation. The public Outcome has the same
// constants in the same order, which a test of the root holds together, and takes
// its words from here.
type Outcome int

// OutcomeRunning is that of an invocation that goes on. No plan is made of it.
const OutcomeRunning Outcome = -1

// The outcomes. The public ones say what each means.
const (
	OutcomeSuccess Outcome = iota
	OutcomeFailure
	OutcomeThrottled
	OutcomeAbandoned
	OutcomeHalt
	OutcomePartial
	OutcomeTooLarge
	OutcomePermanent
)

// String returns the outcome in one word.
func (o Outcome) String() string {
	names := [...]string{"success", "failure", "throttled", "abandoned", "halt", "partial", "too-large", "permanent"}
	if o == OutcomeRunning {
		return "running"
	}
	if o < 0 || int(o) >= len(names) {
		return fmt.Sprintf("Outcome(%d)", int(o))
	}
	return names[o]
}

// strength orders outcomes by which of two in one error holds.
var strength = [...]int{
	OutcomeSuccess: 0, OutcomePermanent: 1, OutcomeTooLarge: 2, OutcomePartial: 3,
	OutcomeFailure: 4, OutcomeThrottled: 5, OutcomeHalt: 6,
}

// Stronger is the one of two outcomes that holds.
func Stronger(a, b Outcome) Outcome {
	if strength[b] > strength[a] {
		return b
	}
	return a
}

// throttles reports whether an outcome of records says that they were not tried.
func throttles(o Outcome) bool { return o == OutcomeThrottled || o == OutcomeHalt }

// A Reason is why records are given up. The public Reason is to it what the public
// Outcome is to Outcome.
type Reason uint8

// The reasons. The public ones say what each means.
const (
	ReasonNone Reason = iota // they are not given up; not public
	ReasonRetriesExhausted
	ReasonTooOld
	ReasonTooLarge
	ReasonPermanent
	ReasonUnreadable
)

// String returns the reason in a word or two.
func (r Reason) String() string {
	names := [...]string{"none", "retries-exhausted", "too-old", "too-large", "permanent", "unreadable"}
	if int(r) >= len(names) {
		return fmt.Sprintf("Reason(%d)", int(r))
	}
	return names[r]
}
