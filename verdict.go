package esm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// A judgement is a verdict that is being made.
//
// # Where
//
// It is made once, where the call returned: on the goroutine of the call, without
// a lock, and before it counts as returned. To judge an error is to run methods of
// the user's, which may panic, never return, or ask the Mapping something; one that
// never returns is then a call that never returns, which revoke and stop know to
// deal with.
type judgement struct {
	plan.Verdict
	said []remark // as the function said it
}

// A remark is what a function said of one record, and the outcome that means.
type remark struct {
	RecordFailure
	outcome plan.Outcome
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
func judge(err, cause error) judgement {
	if err == nil {
		return judgement{} // success; the rest costs an allocation
	}
	left := maxErrors
	return judgeWithin(err, cause, &left)
}

// judgeWithin is judge, and counts the errors that it looks at off left.
func judgeWithin(err, cause error, left *int) (v judgement) {
	if err == nil {
		return judgement{} // success
	}
	if cause == ErrStopping || cause == ErrRevoked {
		return judgement{Verdict: plan.Verdict{Outcome: plan.OutcomeAbandoned, Err: err}}
	}
	defer func() {
		if p := recover(); p != nil {
			v = judgement{Verdict: plan.Verdict{Outcome: plan.OutcomeFailure, Err: fmt.Errorf("%s (a method of the error panicked: %s)", guard.Text(err), guard.Sprint(p))}}
		}
	}()
	r := reading{left: left}
	r.look(err, maxErrorDepth)
	r.items()
	v = judgement{Verdict: plan.Verdict{Outcome: r.outcome, Err: err}}
	switch {
	case r.endless || r.outcome == plan.OutcomeSuccess: // what was found is not all that it says, or it holds no error
		v.Outcome = plan.OutcomeFailure
	case cause == ErrInvokeTimeout && r.outcome == plan.OutcomeThrottled && r.said == nil:
		// The time was over before the function was reached: nothing was learned
		// about the records, nor about the function.
		v.Outcome = plan.OutcomeAbandoned
	case cause == ErrInvokeTimeout:
		v = judgement{Verdict: plan.Verdict{Outcome: plan.OutcomeFailure, Err: fmt.Errorf("%w: %w", ErrInvokeTimeout, guard.Keep(err))}}
	case r.said == nil: // it was said of the whole call
	case r.whole:
		// Which records would be given up, and which settled, is not said.
		v.Outcome = plan.OutcomeFailure
	default:
		v.said = r.said
		if r.err != nil {
			v.Err = r.err
		}
	}
	switch v.Outcome {
	case plan.OutcomeThrottled:
		v.After, v.Busy = r.after, !r.plain
	case plan.OutcomeHalt:
		v.Refused = !r.final
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

// A reading is what was found so far in an error.
type reading struct {
	left    *int // errors that may still be looked at
	endless bool // there were more of them, or deeper ones

	outcome plan.Outcome  // the strongest
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
	found := plan.OutcomeFailure
	if says, ok := err.(interface{ Is(error) bool }); ok && says.Is(ErrThrottled) {
		r.outcome, r.plain = plan.Stronger(r.outcome, plan.OutcomeThrottled), true // a user's own kind of error
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
			if of.Outcome == plan.OutcomeHalt || of.Outcome == plan.OutcomeThrottled {
				found = of.Outcome
				r.found(&of)
			}
		}
	case *HaltError:
		found = plan.OutcomeHalt
		r.final = r.final || !e.refused
	case *throttledError:
		found = plan.OutcomeThrottled
		r.after, r.plain = max(r.after, e.after), r.plain || !e.busy
	case *permanentError:
		found, r.whole = plan.OutcomePermanent, true
	case *tooLargeError:
		found, r.whole = plan.OutcomeTooLarge, true
	case *failuresError:
		found = plan.OutcomePartial
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
		found, r.plain = plan.OutcomeThrottled, true
	}
	r.outcome = plan.Stronger(r.outcome, found)
}

// found notes a throttle or a halt that was judged apart.
func (r *reading) found(of *judgement) {
	r.after = max(r.after, of.After)
	r.plain = r.plain || of.Outcome == plan.OutcomeThrottled && !of.Busy
	r.final = r.final || of.Outcome == plan.OutcomeHalt && !of.Refused
}

// items judges what was said of records. A throttle or a halt that is said of one
// holds for the Mapping.
func (r *reading) items() {
	if r.outcome != plan.OutcomePartial || r.whole {
		if r.outcome != plan.OutcomePartial {
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
		item.outcome = of.Outcome
		if of.Outcome == plan.OutcomeHalt || of.Outcome == plan.OutcomeThrottled {
			r.found(&of)
			if s := plan.Stronger(r.outcome, of.Outcome); s != r.outcome {
				r.outcome = s
				r.err = fmt.Errorf("%s/%d offset %d: %w", item.Topic, item.Partition, item.Offset, item.Err)
			}
		}
	}
}

// keep makes the texts of a verdict, and forgets what is too large. A halt is
// one for whoever looks, even if what held it was.
func (v *judgement) keep() {
	v.Err = guard.Keep(v.Err)
	if v.Outcome != plan.OutcomeHalt {
		return
	}
	if _, ok := guard.Find[*HaltError](v.Err); !ok {
		v.Err = guard.Holding(v.Err.Error(), &HaltError{Err: v.Err})
	}
}

// resolve finds the records that were said to have failed in what was handed
// over: by the very record, since user code may have forwarded it, or else by
// topic, partition and offset. What is said twice of one is merged. If one is not
// there, nobody knows what else is wrong, and the whole batch failed.
func (v *judgement) resolve(shares []engine.Share) {
	if len(v.said) == 0 {
		return
	}
	type place struct{ part, record int }
	handed := map[*kgo.Record]place{}
	partitions := map[partition.ID]int{}
	for i, s := range shares {
		partitions[s.ID] = i
		for j, r := range s.Kafka {
			handed[r] = place{i, j}
		}
	}
	found := map[place]plan.Failure{}
	for _, said := range v.said {
		at, known := handed[said.Record]
		if !known {
			if at.part, known = partitions[partition.ID(said.TopicPartition)]; known {
				at.record, known = plan.Find(shares[at.part].Records, said.Offset)
			}
		}
		if !known {
			*v = judgement{Verdict: plan.Verdict{Outcome: plan.OutcomeFailure, Err: fmt.Errorf("%s/%d offset %d is no record of this batch: %w", said.Topic, said.Partition, said.Offset, v.Err)}}
			return
		}
		f, twice := found[at]
		if err := guard.Keep(said.Err); twice {
			f.Err = errors.Join(f.Err, err)
		} else {
			f.Err = err
		}
		// In doubt it is tried again.
		f.Part, f.Record, f.Outcome, f.Stopped = at.part, at.record, plan.Stronger(f.Outcome, said.outcome), f.Stopped || said.Stopped
		found[at] = f
	}
	v.Failures = make([]plan.Failure, 0, len(found))
	for _, f := range found {
		f.Err = guard.Keep(f.Err)
		v.Failures = append(v.Failures, f)
	}
	slices.SortFunc(v.Failures, func(a, b plan.Failure) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Record, b.Record))
	})
	v.said = nil
}
