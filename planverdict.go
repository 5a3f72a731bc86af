package esm

import (
	"cmp"
	"slices"
	"time"
)

// A verdict is an outcome with what belongs to it. It is data: whoever calls the
// function makes it, once, where the call returned. What it holds are texts that
// were made, and errors that were looked through, so nobody runs a method of the
// user's where it is read, under the engine's lock. The engine's plan, hooks and
// discards read it.
type verdict struct {
	outcome  planOutcome
	err      error         // nil on success; kept by guard
	after    time.Duration // how long the function asked to be left alone
	failures []failure     // which records failed, if that is known: by part, in their order
	busy     bool          // a throttle that cannot be about the records
	refused  bool          // a halt, unless other calls are answered

	// What other calls say of it: see evidence.weigh.
	apart     bool // a throttle of records that are suspected: only these wait
	suspected int  // how many throttles of them count
	blamed    bool // a throttle that is a failure of its records
}

// A failure is what was said of one record of an invocation: of which part, and
// which of its records.
type failure struct {
	part, record int
	err          error // kept by guard
	outcome      planOutcome
	stopped      bool
	blamed       bool // its throttle is a failure: see evidence.weigh
}

// of returns the failures of one part.
func (v *verdict) of(part int) []failure {
	i, _ := slices.BinarySearchFunc(v.failures, part, func(f failure, part int) int { return cmp.Compare(f.part, part) })
	j := i
	for j < len(v.failures) && v.failures[j].part == part {
		j++
	}
	return v.failures[i:j]
}
