package esm

// step is what to do next with the records of an invocation that ended.
type step int

const (
	// stepSettle: they are done with.
	stepSettle step = iota
	// stepRetry: an attempt was used; the partition waits, and then all of
	// its records are tried again.
	stepRetry
	// stepSplit: the batch holds several partitions and one of them fails it.
	// Try its halves at once, without counting an attempt to anybody, until
	// the partition that fails is alone.
	stepSplit
	// stepAgain: nothing was learned about the records. They go back to where
	// they were.
	stepAgain
)

// history is what was done with a batch before.
type history struct {
	// attempts is how many attempts were used up before this one.
	attempts int
}

// plan says what follows from an outcome, for a batch of so many partitions
// with such a history. It returns the history that the batch has from now on.
//
// It is a pure function, because this is where records are lost in other
// systems: each rule can be read here and tested alone. Retry and age limits,
// bisection, partial failures and discards are further cases of the same
// function.
func plan(outcome Outcome, partitions int, h history) (step, history) {
	switch outcome {
	case OutcomeSuccess:
		return stepSettle, history{}
	case OutcomeFailure:
		if partitions > 1 {
			return stepSplit, h
		}
		h.attempts++
		return stepRetry, h
	default:
		// Throttled, abandoned, halted: the function did not get to say
		// anything about the records.
		return stepAgain, h
	}
}
