package plan

import (
	"fmt"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// A Suspicion is what is known of records that were throttled or refused:
// whether that is about the function, or about them.
//
// # The rule
//
// A throttle of records counts against them if, since the last one that counted,
// at least 20 other calls were answered, with success or with a failure, and 20
// more for each batch that was throttled for the first time meanwhile. From the
// second one that counts, the records are suspected: their throttles hold up
// their own partition, and no longer the Mapping. From the fifth, each one that
// counts is a failure: an attempt. One that does not count is a throttle, always.
// If less than 20 calls were answered for each batch that was throttled anew,
// the function throttles others too, and the count begins anew; so it does when
// the records get any other answer. A refusal ([Refused]) is a throttle here;
// one that is [Busy] never counts.
//
// # Why it convicts nobody else
//
// While a function throttles each call with the probability p, whatever is in
// it, five throttles of the same records in a row with four such spans between
// them come once in 200 million batches at most, for any p: where p is large the
// spans are not clean, and where it is small the throttles do not repeat. In an
// outage no call is answered, so nothing counts.
//
// Only the first throttle of a batch is held against the function, because a
// record that is throttled for ever would else excuse another one. A function
// that throttles at random throttles new batches too.
//
// A quota that is used up by the same order of calls again and again would not
// be at random. So a batch that was throttled is tried before all others when
// the pause is over, and after the next throttle behind them, and so on: the
// first finds an untouched quota, and the second lets others be compared with it,
// even if only one call runs at a time.
//
// # What "these records" are
//
// The very records that were tried together. Of several partitions that were
// throttled twice each half goes on alone, and a half of a batch that is searched
// keeps the suspicion, but three more throttles have to count before one is a
// failure: it may be the half without the record that is meant.
type Suspicion struct {
	throttles int     // in a row, of any kind that may count
	behind    bool    // its last call was none of them, nor answered: it had its turn
	Times     int     // those that count
	seen      answers // when the last one did
}

// answers is what became of calls.
type answers struct {
	given  int64 // calls that were answered
	denied int64 // batches that were throttled for the first time, and calls for which the function was busy
}

// An Evidence is what calls of the function showed.
type Evidence struct {
	answers
	Others int64 // how many are answered between two throttles that count
	Fail   int   // from which of those on each is a failure

	refusedFrom, refusedLast time.Time // of refusals with no answer between them
}

const (
	// suspected is how many throttles have to count before they hold up their own
	// partition only.
	suspected = 2
	// RefusalLasts is how long a function refuses all calls before that halts:
	// longer than a deploy has no route, and shorter than anybody's patience.
	RefusalLasts = time.Minute
)

// NewEvidence has seen nothing yet.
func NewEvidence() Evidence { return Evidence{Others: 20, Fail: 5} }

// again is a suspicion after one more throttle, and whether that counts.
func (s Suspicion) again(e *Evidence) (next Suspicion, counts bool) {
	given, denied := e.given-s.seen.given, e.denied-s.seen.denied
	s.throttles++
	s.behind = false
	switch {
	case s.Times == 0, given < e.Others*denied:
		s.Times, s.seen = 1, e.answers
	case given >= e.Others*(1+denied):
		s.Times, s.seen, counts = s.Times+1, e.answers, true
	}
	return s, counts
}

// Part is the suspicion of some of the records.
func (s Suspicion) Part() Suspicion {
	s.Times = min(s.Times, suspected)
	return s
}

// Suspected reports whether throttles of the records hold up their own partition
// only.
func (s Suspicion) Suspected() bool { return s.Times >= suspected }

// First reports whether the records go before all others: in turns, while they
// are throttled.
func (s Suspicion) First() bool { return s.throttles%2 == 1 && !s.behind }

// Answered books a call that was answered.
func (e *Evidence) Answered() {
	e.given++
	e.refusedFrom = time.Time{}
}

// Weigh says what a verdict is in the light of other calls, and notes it in what
// was tried. A refusal becomes a throttle or a halt, and a throttle that is about
// the records a failure. lasts is how long a refusal has to last to be a halt.
func (e *Evidence) Weigh(v Verdict, tried []Portion, lasts time.Duration, now time.Time) Verdict {
	switch {
	case v.Outcome == OutcomeAbandoned, v.Outcome == OutcomeHalt && !v.Refused:
		for i := range tried {
			tried[i].Suspicion.behind = true
		}
		return v
	case v.Outcome == OutcomeHalt:
		for i := range tried {
			if v.throttledAt(i) != 0 {
				e.refusedFrom = time.Time{} // records of it were answered
			}
		}
		if e.refused(lasts, now) {
			return v
		}
		v.Outcome = OutcomeThrottled
	case v.Outcome != OutcomeThrottled:
		for i := range tried {
			tried[i].Suspicion = Suspicion{}
		}
		return v
	case v.Busy:
		for i := range tried {
			tried[i].Suspicion.behind = true
		}
		e.denied++
		return v
	}
	fresh := true
	for i := range tried {
		s := &tried[i].Suspicion
		if first := v.throttledAt(i); first > 0 {
			*s = Suspicion{} // the records before it were answered
		} else if first == 0 && s.throttles > 0 {
			fresh = false
		}
	}
	if fresh {
		e.denied++
	}
	v.Apart = true
	left := 0 // of the parts, those for which it stays a throttle
	for i := range tried {
		if v.throttledAt(i) < 0 {
			continue
		}
		next, counts := tried[i].Suspicion.again(e)
		tried[i].Suspicion = next
		v.Apart = v.Apart && next.Suspected()
		v.Suspected = max(v.Suspected, next.Times)
		alone := v.Failures != nil || len(tried) == 1
		if !alone || !counts || next.Times < e.Fail {
			left++
			continue
		}
		for j := range v.of(i) {
			if f := &v.of(i)[j]; throttles(f.Outcome) {
				f.Outcome, f.blamed, f.Err = OutcomeFailure, true, aboutRecords(f.Err)
			}
		}
	}
	switch {
	case left > 0:
	case v.Failures != nil:
		v.Outcome, v.Blamed = OutcomePartial, true
	default:
		v.Outcome, v.Blamed = OutcomeFailure, true
	}
	if v.Blamed {
		v.Err = aboutRecords(v.Err)
	}
	return v
}

// ForgetRefusals gives a function that refuses calls its time again.
func (e *Evidence) ForgetRefusals() { e.refusedFrom = time.Time{} }

// refused books a refusal, and reports whether the function has refused each
// call for so long.
func (e *Evidence) refused(lasts time.Duration, now time.Time) bool {
	if e.refusedFrom.IsZero() || now.Sub(e.refusedLast) > lasts {
		e.refusedFrom = now
	}
	e.refusedLast = now
	return now.Sub(e.refusedFrom) >= lasts
}

// throttledAt is which record of a part was throttled first: 0 if it was said of
// the whole call, -1 if of none.
func (v *Verdict) throttledAt(part int) int {
	if v.Failures == nil {
		return 0
	}
	for _, f := range v.of(part) {
		if throttles(f.Outcome) {
			return f.Record
		}
	}
	return -1
}

// aboutRecords is the error of records whose throttle is a failure.
func aboutRecords(err error) error {
	return guard.Keep(fmt.Errorf("esm: throttled or refused again and again while others are answered, so it is a failure of these records: %w", err))
}
