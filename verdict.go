package esm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
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

	said  []RecordFailure // as the function said it
	whole bool            // all were said to be permanent or too large
	left  int             // errors that may still be looked at
}

// A failure is what was said of one record of an invocation.
type failure struct {
	part, record int
	err          error
	outcome      Outcome
	stopped      bool
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
func judge(err, cause error) verdict { return judgeWithin(err, cause, maxErrors) }

// judgeWithin is judge, and looks at so many errors at most.
func judgeWithin(err, cause error, most int) (v verdict) {
	if err == nil {
		return verdict{outcome: OutcomeSuccess}
	}
	if cause == ErrStopping || cause == ErrRevoked {
		return verdict{outcome: OutcomeAbandoned, err: err}
	}
	v = verdict{err: err, left: most}
	defer func() {
		if p := recover(); p != nil {
			v = verdict{outcome: OutcomeFailure, err: fmt.Errorf("%s (a method of the error panicked: %s)", guard.Text(err), guard.Sprint(p))}
		}
	}()
	v.look(err, maxErrorDepth)
	if v.left < 0 {
		// What was found is not all that it says.
		return verdict{outcome: OutcomeFailure, err: err}
	}
	if cause == ErrInvokeTimeout {
		if v.outcome == OutcomeThrottled && v.said == nil {
			// The time was over before the function was reached: nothing was
			// learned about the records, nor about the function.
			return verdict{outcome: OutcomeAbandoned, err: err}
		}
		return verdict{outcome: OutcomeFailure, err: fmt.Errorf("%w: %w", ErrInvokeTimeout, guard.Keep(err))}
	}
	switch {
	case v.outcome == OutcomeSuccess:
		v.outcome = OutcomeFailure // an error that holds none
	case v.outcome != OutcomePartial:
		v.said = nil // it was said of the whole call
	case v.whole:
		// Which records would be given up, and which settled, is not said.
		v.outcome, v.said = OutcomeFailure, nil
	default:
		if v.items(); v.left < 0 {
			return verdict{outcome: OutcomeFailure, err: err}
		}
	}
	if v.outcome != OutcomeThrottled {
		v.after = 0
	}
	return v
}

// An error may hold itself. One that is deeper or larger than this is not
// looked through.
const (
	maxErrorDepth = 100
	maxErrors     = 100_000
)

// strength orders outcomes by which of two in one error holds.
var strength = [...]int{
	OutcomeSuccess: 0, OutcomePermanent: 1, OutcomeTooLarge: 2, OutcomePartial: 3,
	OutcomeFailure: 4, OutcomeThrottled: 5, OutcomeHalt: 6,
}

// look finds everything that an error holds. It goes no deeper than what the
// library made: the reason inside is the user's.
func (v *verdict) look(err error, depth int) {
	if v.left--; v.left < 0 || depth == 0 {
		v.left = -1
		return
	}
	found := OutcomeFailure
	if says, ok := err.(interface{ Is(error) bool }); ok && says.Is(ErrThrottled) {
		v.note(OutcomeThrottled) // a user's own kind of error
	}
	switch e := err.(type) {
	case *guard.Error:
		if kept := e.Unwrap(); len(kept) > 0 {
			for _, err := range kept {
				v.look(err, depth-1)
			}
			return
		}
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
		v.said = append(v.said, e.items...)
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			v.look(inner, depth-1)
			return
		}
	case interface{ Unwrap() []error }:
		if inner := e.Unwrap(); len(inner) > 0 {
			for _, err := range inner {
				if err != nil {
					v.look(err, depth-1)
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
	for _, item := range v.said {
		of := judgeWithin(item.Err, nil, v.left)
		if v.left = min(v.left-1, of.left); v.left < 0 {
			return
		}
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
	partitions := map[TopicPartition]int{}
	for i, p := range parts {
		partitions[p.lane.TopicPartition] = i
		for j := range p.left[0].records {
			handed[p.handed(j)] = place{i, j}
		}
	}
	found := map[place]failure{}
	for _, said := range v.said {
		at, known := handed[said.Record]
		if !known {
			if at.part, known = partitions[said.TopicPartition]; known {
				at.record, known = find(parts[at.part].left[0].records, said.Offset)
			}
		}
		if !known {
			*v = verdict{outcome: OutcomeFailure, err: fmt.Errorf("%s/%d offset %d is no record of this batch: %w", said.Topic, said.Partition, said.Offset, v.err)}
			return
		}
		f, twice := found[at]
		if err := guard.Keep(said.Err); twice {
			f.err = errors.Join(f.err, err) // in doubt it is tried again
		} else {
			f.err = err
		}
		of := judge(f.err, nil)
		f.part, f.record, f.outcome, f.stopped = at.part, at.record, of.outcome, f.stopped || said.Stopped
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
