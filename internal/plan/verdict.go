package plan

import (
	"cmp"
	"slices"
	"time"
)

// A Verdict is an outcome with what belongs to it. It is data: whoever calls the
// function makes it, once, where the call returned. What it holds are texts that
// were made, and errors that were looked through, so nobody runs a method of the
// user's where it is read, under the engine's lock. The engine's plan, hooks and
// discards read it.
type Verdict struct {
	Outcome  Outcome
	Err      error         // nil on success; kept by guard
	After    time.Duration // how long the function asked to be left alone
	Failures []Failure     // which records failed, if that is known: by part, in their order
	Busy     bool          // a throttle that cannot be about the records
	Refused  bool          // a halt, unless other calls are answered

	// What other calls say of it: see Evidence.Weigh.
	Apart     bool // a throttle of records that are suspected: only these wait
	Suspected int  // how many throttles of them count
	Blamed    bool // a throttle that is a failure of its records
}

// A Failure is what was said of one record of an invocation: of which part, and
// which of its records.
type Failure struct {
	Part, Record int
	Err          error // kept by guard
	Outcome      Outcome
	Stopped      bool
	blamed       bool // its throttle is a failure: see Evidence.Weigh
}

// of returns the failures of one part.
func (v *Verdict) of(part int) []Failure {
	i, _ := slices.BinarySearchFunc(v.Failures, part, func(f Failure, part int) int { return cmp.Compare(f.Part, part) })
	j := i
	for j < len(v.Failures) && v.Failures[j].Part == part {
		j++
	}
	return v.Failures[i:j]
}
