package esm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

// A verdict is an Outcome with what belongs to it.
//
// # Where it is made
//
// A verdict is made once, where the call returned: on the goroutine of the
// call, without a lock, and before it counts as returned. To judge an error is
// to run methods of the user's, which may panic, never return, or ask the
// Mapping something; one that never returns is then a call that never returns,
// which revoke and stop know to deal with. What the verdict holds afterwards
// are texts that were made, and errors that were looked through: nobody runs a
// method of the user's under the engine's lock. The engine's plan, hooks and
// discards read the verdict.
type verdict struct {
	outcome  Outcome
	err      error         // nil on success; kept by guard
	after    time.Duration // how long the function asked to be left alone
	failures []failure     // which records failed, if that is known: by part, in their order
	panicked *PanicError   // if it did not return
	busy     bool          // a throttle that cannot be about the records
	refused  bool          // a halt, unless other calls are answered

	// What other calls say of it: see evidence.weigh.
	apart     bool // a throttle of records that are suspected: only these wait
	suspected int  // how many throttles of them count
	blamed    bool // a throttle that is a failure of its records

	said []remark // as the function said it
}

// A remark is what a function said of one record, and the outcome that means.
type remark struct {
	RecordFailure
	outcome Outcome
}

// A failure is what was said of one record of an invocation.
type failure struct {
	part, record int
	err          error
	outcome      Outcome
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

// judge says what became of a call that returned err on a context whose cause
// is cause (nil while it is not cancelled).
//
// In doubt it retries: success is only the nil error, and what the engine cut
// short itself proves nothing about the batch. An error that holds several, by
// joining or wrapping them, is what the strongest of them says: halt before
// throttled, that before a plain failure, and that before what would give
// records up. Failures of records beside something that would give all of them
// up are a plain failure: to settle the others would lose them. So is an error
// whose own methods panic, or that holds itself.
func judge(err, cause error) verdict {
	left := maxErrors
	return judgeWithin(err, cause, &left)
}

// judgeWithin is judge, and counts the errors that it looks at off left.
func judgeWithin(err, cause error, left *int) (v verdict) {
	if err == nil {
		return verdict{outcome: OutcomeSuccess}
	}
	if cause == ErrStopping || cause == ErrRevoked {
		return verdict{outcome: OutcomeAbandoned, err: err}
	}
	defer func() {
		if p := recover(); p != nil {
			v = verdict{outcome: OutcomeFailure, err: fmt.Errorf("%s (a method of the error panicked: %s)", guard.Text(err), guard.Sprint(p))}
		}
	}()
	r := reading{left: left}
	r.look(err, maxErrorDepth)
	r.items()
	v = verdict{outcome: r.outcome, err: err}
	switch {
	case r.endless || r.outcome == OutcomeSuccess: // what was found is not all that it says, or it holds no error
		v.outcome = OutcomeFailure
	case cause == ErrInvokeTimeout && r.outcome == OutcomeThrottled && r.said == nil:
		// The time was over before the function was reached: nothing was learned
		// about the records, nor about the function.
		v.outcome = OutcomeAbandoned
	case cause == ErrInvokeTimeout:
		v = verdict{outcome: OutcomeFailure, err: fmt.Errorf("%w: %w", ErrInvokeTimeout, guard.Keep(err))}
	case r.said == nil: // it was said of the whole call
	case r.whole:
		// Which records would be given up, and which settled, is not said.
		v.outcome = OutcomeFailure
	default:
		v.said = r.said
		if r.err != nil {
			v.err = r.err
		}
	}
	switch v.outcome {
	case OutcomeThrottled:
		v.after, v.busy = r.after, !r.plain
	case OutcomeHalt:
		v.refused = !r.final
	}
	return v
}

// An error may hold itself. One that is deeper or larger than this is not
// looked through, nor is that of one record that is larger than maxOfRecord.
const (
	maxErrorDepth = 100
	maxErrors     = 100_000
	maxOfRecord   = 1000
)

// strength orders outcomes by which of two in one error holds.
var strength = [...]int{
	OutcomeSuccess: 0, OutcomePermanent: 1, OutcomeTooLarge: 2, OutcomePartial: 3,
	OutcomeFailure: 4, OutcomeThrottled: 5, OutcomeHalt: 6,
}

// stronger is the one of two outcomes that holds.
func stronger(a, b Outcome) Outcome {
	if strength[b] > strength[a] {
		return b
	}
	return a
}

// A reading is what was found so far in an error.
type reading struct {
	left    *int // errors that may still be looked at
	endless bool // there were more of them, or deeper ones

	outcome Outcome       // the strongest
	after   time.Duration // how long the function asked to be left alone
	plain   bool          // a throttle that may be about records
	final   bool          // a halt that holds whatever other calls return
	said    []remark      // of records, unless something stronger was said of all
	whole   bool          // all records are said to be permanent or too large
	err     error         // what was said of a record, if that holds for all
}

// look finds everything that an error holds. It goes no deeper than what the
// library made: the reason inside is the user's.
func (r *reading) look(err error, depth int) {
	if *r.left--; *r.left < 0 || depth == 0 {
		r.endless = true
		return
	}
	found := OutcomeFailure
	if says, ok := err.(interface{ Is(error) bool }); ok && says.Is(ErrThrottled) {
		r.outcome, r.plain = stronger(r.outcome, OutcomeThrottled), true // a user's own kind of error
	}
	switch e := err.(type) {
	case *guard.Error:
		if kept := e.Unwrap(); len(kept) > 0 {
			for _, err := range kept {
				r.look(err, depth-1)
			}
			return
		}
	case *PanicError:
		// The function did not come to the records that it would have named, but
		// it may have been told not to go on.
		if inner := e.Unwrap(); inner != nil {
			of := judgeWithin(inner, nil, r.left)
			if of.outcome == OutcomeHalt || of.outcome == OutcomeThrottled {
				found = of.outcome
				r.found(&of)
			}
		}
	case *HaltError:
		found = OutcomeHalt
		r.final = r.final || !e.refused
	case *throttledError:
		found = OutcomeThrottled
		r.after, r.plain = max(r.after, e.after), r.plain || !e.busy
	case *permanentError:
		found, r.whole = OutcomePermanent, true
	case *tooLargeError:
		found, r.whole = OutcomeTooLarge, true
	case *failuresError:
		found = OutcomePartial
		for _, item := range e.items {
			r.said = append(r.said, remark{RecordFailure: item})
		}
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			r.look(inner, depth-1)
			return
		}
	case interface{ Unwrap() []error }:
		if inner := e.Unwrap(); len(inner) > 0 {
			for _, err := range inner {
				if err != nil {
					r.look(err, depth-1)
				}
			}
			return
		}
	}
	if err == ErrThrottled {
		found, r.plain = OutcomeThrottled, true
	}
	r.outcome = stronger(r.outcome, found)
}

// found notes a throttle or a halt that was judged apart.
func (r *reading) found(of *verdict) {
	r.after = max(r.after, of.after)
	r.plain = r.plain || of.outcome == OutcomeThrottled && !of.busy
	r.final = r.final || of.outcome == OutcomeHalt && !of.refused
}

// items judges what was said of records. A throttle or a halt that is said of one
// holds for the Mapping.
func (r *reading) items() {
	if r.outcome != OutcomePartial || r.whole {
		if r.outcome != OutcomePartial {
			r.said = nil // it was said of the whole call
		}
		return
	}
	for i := range r.said {
		item := &r.said[i]
		most := min(*r.left, maxOfRecord)
		left := most
		of := judgeWithin(item.Err, nil, &left)
		*r.left -= most - max(left, 0) + 1
		if *r.left < 0 {
			r.endless = true
			return
		}
		item.outcome = of.outcome
		if of.outcome == OutcomeHalt || of.outcome == OutcomeThrottled {
			r.found(&of)
			if s := stronger(r.outcome, of.outcome); s != r.outcome {
				r.outcome = s
				r.err = fmt.Errorf("%s/%d offset %d: %w", item.Topic, item.Partition, item.Offset, item.Err)
			}
		}
	}
}

// keep makes the texts of a verdict, and forgets what is too large. A halt is
// one for whoever looks, even if what held it was.
func (v *verdict) keep() {
	v.err = guard.Keep(v.err)
	if v.outcome != OutcomeHalt {
		return
	}
	if _, ok := guard.Find[*HaltError](v.err); !ok {
		v.err = guard.Holding(v.err.Error(), &HaltError{Err: v.err})
	}
}

// resolve finds the records that were said to have failed in what was handed
// over: by the very record, since user code may have forwarded it, or else by
// topic, partition and offset. If one is not there, nobody knows what else is
// wrong, and the whole batch failed.
func (v *verdict) resolve(parts []*part) {
	if len(v.said) == 0 {
		return // as after nearly every invocation: an index of all records is dear
	}
	type place struct{ part, record int }
	handed := map[*kgo.Record]place{}
	partitions := map[partition.ID]int{}
	for i, p := range parts {
		partitions[p.lane.ID] = i
		for j := range p.left[0].records {
			handed[p.handed(j)] = place{i, j}
		}
	}
	found := map[place]failure{}
	for _, said := range v.said {
		at, known := handed[said.Record]
		if !known {
			if at.part, known = partitions[partition.ID(said.TopicPartition)]; known {
				at.record, known = find(parts[at.part].left[0].records, said.Offset)
			}
		}
		if !known {
			*v = verdict{outcome: OutcomeFailure, err: fmt.Errorf("%s/%d offset %d is no record of this batch: %w", said.Topic, said.Partition, said.Offset, v.err)}
			return
		}
		f, twice := found[at]
		if err := guard.Keep(said.Err); twice {
			f.err = errors.Join(f.err, err)
		} else {
			f.err = err
		}
		// In doubt it is tried again.
		f.part, f.record, f.outcome, f.stopped = at.part, at.record, stronger(f.outcome, said.outcome), f.stopped || said.Stopped
		found[at] = f
	}
	v.failures = make([]failure, 0, len(found))
	for _, f := range found {
		f.err = guard.Keep(f.err)
		v.failures = append(v.failures, f)
	}
	slices.SortFunc(v.failures, func(a, b failure) int { return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.record, b.record)) })
	v.said = nil
}
