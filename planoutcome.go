package esm

import "fmt"

// An planOutcome is what became of one invocation. It is the public Outcome, in the
// same order and with the same words; a test of the root holds them together.
type planOutcome int

// The outcomes. The public ones say what each means.
const (
	planOutcomeSuccess planOutcome = iota
	planOutcomeFailure
	planOutcomeThrottled
	planOutcomeAbandoned
	planOutcomeHalt
	planOutcomePartial
	planOutcomeTooLarge
	planOutcomePermanent
)

// String returns the outcome in one word.
func (o planOutcome) String() string {
	names := [...]string{"success", "failure", "throttled", "abandoned", "halt", "partial", "too-large", "permanent"}
	if o < 0 || int(o) >= len(names) {
		return fmt.Sprintf("Outcome(%d)", int(o))
	}
	return names[o]
}

// strength orders outcomes by which of two in one error holds.
var strength = [...]int{
	planOutcomeSuccess: 0, planOutcomePermanent: 1, planOutcomeTooLarge: 2, planOutcomePartial: 3,
	planOutcomeFailure: 4, planOutcomeThrottled: 5, planOutcomeHalt: 6,
}

// stronger is the one of two outcomes that holds.
func stronger(a, b planOutcome) planOutcome {
	if strength[b] > strength[a] {
		return b
	}
	return a
}

// throttles reports whether an outcome of records says that they were not tried.
func throttles(o planOutcome) bool { return o == planOutcomeThrottled || o == planOutcomeHalt }

// A planReason is why records are given up: the public Reason, in the same order and
// with the same words.
type planReason uint8

// The reasons. The public ones say what each means.
const (
	planReasonNone planReason = iota // they are not
	planReasonRetriesExhausted
	planReasonTooOld
	planReasonTooLarge
	planReasonPermanent
	planReasonUnreadable
)

// String returns the reason in a word or two.
func (r planReason) String() string {
	names := [...]string{"none", "retries-exhausted", "too-old", "too-large", "permanent", "unreadable"}
	if int(r) >= len(names) {
		return fmt.Sprintf("Reason(%d)", int(r))
	}
	return names[r]
}
