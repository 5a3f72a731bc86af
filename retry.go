package esm

import (
	"cmp"
	"slices"
	"time"
)

// A portion is records of one partition that are tried together: a batch, or what
// is left of one. They are in offset order, and need not be neighbours.
type portion struct {
	records  []record
	attempts int // that failed and were charged
	repeats  int // those of just these records
	// due is the end of the back-off after an attempt that was charged, the
	// zero time if there is none.
	due        time.Time
	deliveries int // of the first record that failed
	// reason is why the records are given up, planReasonNone while they are not.
	reason planReason
	// searching is whether they are a piece of a batch that failed, split to find
	// what fails it.
	searching bool
	suspicion suspicion
	account   account
}

// An account is what is told of records that fail.
type account struct {
	firstAt, lastAt   time.Time // zero if no attempt failed
	firstErr, lastErr error
	batchID           string // of the last invocation
	batchRecords      int
}

// failed returns the account after one more failure.
func (a account) failed(err error, now time.Time) account {
	if a.firstErr == nil {
		a.firstAt, a.firstErr = now, err
	}
	a.lastAt, a.lastErr = now, err
	return a
}

// policy is what the options say of failures.
type policy struct {
	maxRetries int           // negative for no limit
	maxAge     time.Duration // 0 for no limit
	bisect     bool
	discards   bool          // there is a destination: records may be given up
	backoff    time.Duration // after this failure, if it is one
}

// A sequel is what follows from an invocation for one partition.
type sequel struct {
	settled []record  // these are done with
	left    []portion // these are not
}

// A decision is what follows from an invocation.
type decision struct {
	step    step
	sequels []sequel // one for each portion, if the step is stepSettle
}

// step is what to do next with the records of an invocation that ended.
type step int

const (
	// stepSettle: each partition goes on for itself.
	stepSettle step = iota
	// stepSplit: the batch holds several partitions, and one of them fails it, or
	// may be why it is throttled again. Try its halves, without counting an
	// attempt to anybody, until the partition that fails is alone.
	stepSplit
	// stepAgain: nothing was learned about the records. They go back to where
	// they were.
	stepAgain
)

// plan says what follows from an outcome, for an invocation that carried these
// portions, one a partition.
//
// It is a pure function, because this is where records are lost in other
// systems: each rule can be read here and tested alone, and testdata/retry has
// a scenario for each.
//
// # Who is charged
//
// An attempt is charged only to records of which it is known that they failed.
// So a batch of several partitions is split until the partition that fails it
// is alone; with bisection a batch of several records, after its second
// failure, until the record is; and neither a throttle, nor a call that the
// engine cut short, nor one that was too large, says anything about a record. (A
// throttle that does is a failure when it comes here: see suspicion.)
//
// # Why the second failure
//
// The first failure of a batch is more often an outage than a poison record.
// Split at once, an outage would use up the attempts of every record alone. The
// search itself does not wait: its pieces are tried one after the other, the
// first half before the second, so during an outage it stops at the first
// record, which then waits for its back-off alone.
func plan(v verdict, tried []portion, p policy, now time.Time) decision {
	if !p.discards && v.outcome == planOutcomePermanent {
		v.outcome = planOutcomeFailure
	}
	switch {
	case len(tried) > 1 && (v.outcome == planOutcomeFailure || v.outcome == planOutcomeTooLarge):
		return decision{step: stepSplit}
	case v.outcome == planOutcomeThrottled && v.failures == nil && !v.busy && len(tried) > 1 && slices.ContainsFunc(tried, portion.throttledBefore):
		return decision{step: stepSplit}
	case v.outcome == planOutcomeThrottled && v.failures == nil && v.apart && len(tried) == 1:
		return decision{sequels: []sequel{{left: []portion{p.apart(tried[0], v.err, now)}}}}
	case (v.outcome == planOutcomeThrottled || v.outcome == planOutcomeHalt) && v.failures == nil, v.outcome == planOutcomeAbandoned:
		return decision{step: stepAgain}
	}
	d := decision{sequels: make([]sequel, len(tried))}
	for i, r := range tried {
		s := &d.sequels[i]
		switch v.outcome {
		case planOutcomeSuccess:
			s.settled = r.records
		case planOutcomeFailure:
			s.left = p.failed(r, v.err, now)
		case planOutcomeTooLarge:
			s.left = p.tooLarge(r, v.err, now)
		case planOutcomePermanent:
			s.left = []portion{p.discard(r, planReasonPermanent, v.err, now)}
		default: // partial, or a throttle or a halt of some records
			*s = p.partial(r, v.of(i), now)
		}
	}
	return d
}

// failed says what becomes of records that failed together.
func (p policy) failed(r portion, err error, now time.Time) []portion {
	was := r
	r.account = r.account.failed(err, now)
	r.attempts++
	r.repeats++
	r.due = now.Add(p.backoff)
	exhausted := p.maxRetries >= 0 && r.attempts > p.maxRetries
	if p.bisect && len(r.records) > 1 && (r.searching || r.repeats > 1 || exhausted) {
		was.account = r.account
		return was.halve(true)
	}
	if exhausted {
		r.reason, r.due = planReasonRetriesExhausted, time.Time{}
	}
	return []portion{r}
}

// throttledBefore reports whether that was not the first throttle of the records
// in a row.
func (r portion) throttledBefore() bool { return r.suspicion.throttles > 1 }

// apart says what becomes of records that were throttled and are suspected to be
// why: they wait, as after an attempt, and none is charged.
func (p policy) apart(r portion, err error, now time.Time) portion {
	r.account = r.account.failed(err, now)
	r.due = now.Add(p.backoff)
	return r
}

// tooLarge says what becomes of records that are too many, or one too large.
func (p policy) tooLarge(r portion, err error, now time.Time) []portion {
	switch {
	case len(r.records) > 1:
		r.account = r.account.failed(err, now)
		return r.halve(r.searching)
	case p.discards:
		return []portion{p.discard(r, planReasonTooLarge, err, now)}
	}
	return p.failed(r, err, now)
}

// with is a portion of other records with the same history. It waits for
// nothing.
func (r portion) with(records []record) portion {
	if len(records) != len(r.records) {
		r.repeats, r.deliveries, r.suspicion = 0, 0, r.suspicion.part()
	}
	r.records, r.due = records, time.Time{}
	return r
}

// halve splits a portion, and charges nobody.
func (r portion) halve(searching bool) []portion {
	r.searching = searching
	half := (len(r.records) + 1) / 2
	return []portion{r.with(r.records[:half:half]), r.with(r.records[half:])}
}

// discard gives records up after a call that said so.
func (p policy) discard(r portion, reason planReason, err error, now time.Time) portion {
	r.account = r.account.failed(err, now)
	r.attempts++
	r.reason, r.due = reason, time.Time{}
	return r
}

// partial says what becomes of records of which some failed: failures, in the
// order of the records.
func (p policy) partial(r portion, failures []failure, now time.Time) (s sequel) {
	stop := len(r.records) // those after it were not tried
	for _, f := range failures {
		if f.stopped {
			stop = f.record
			break
		}
	}
	var again, untried portion
	blamed := false
	var firstErr, throttledErr error
	var lost []portion
	for i, rec := range r.records {
		failed := len(failures) > 0 && failures[0].record == i
		var f failure
		if failed {
			f, failures = failures[0], failures[1:]
		}
		switch one := r.with([]record{rec}); {
		case i > stop, throttles(f.outcome):
			if throttledErr == nil && i <= stop {
				throttledErr = f.err
			}
			untried.records = append(untried.records, rec)
		case !failed:
			s.settled = append(s.settled, rec)
		case f.outcome == planOutcomePermanent && p.discards:
			lost = append(lost, p.discard(one, planReasonPermanent, f.err, now))
		case f.outcome == planOutcomeTooLarge && p.discards:
			lost = append(lost, p.discard(one, planReasonTooLarge, f.err, now))
		default:
			if firstErr == nil {
				firstErr = f.err
			}
			again.records, blamed = append(again.records, rec), blamed || f.blamed
		}
	}
	s.left = lost
	if len(again.records) > 0 {
		// It is known of each that it failed, so there is nothing to search
		// now. When they fail together later, that may be an outage.
		again = r.with(again.records)
		again.searching, again.suspicion = false, suspicion{}
		if blamed {
			again.suspicion = r.suspicion // these are the records that are meant
		}
		for _, a := range p.noSearch().failed(again, firstErr, now) {
			a.repeats = 0
			s.left = append(s.left, a)
		}
	}
	if len(untried.records) > 0 {
		untried = r.with(untried.records)
		switch {
		case throttledErr == nil:
			untried.suspicion = suspicion{} // what failed before them is why they were not tried
		case r.suspicion.suspected():
			untried = p.apart(untried, throttledErr, now)
		}
		s.left = append(s.left, untried)
	}
	return s
}

// remaining is what is left of a batch after its first portion was tried: what is
// left of that and the rest, in offset order of their first records, which is
// the order in which they are tried.
func remaining(of []portion, s sequel) []portion {
	return inOrder(append(s.left, of[1:]...))
}

// inOrder sorts portions by their first records.
func inOrder(left []portion) []portion {
	slices.SortStableFunc(left, func(a, b portion) int { return cmp.Compare(a.records[0].offset, b.records[0].offset) })
	return left
}

// noSearch is the policy for records of which each is known to fail.
func (p policy) noSearch() policy {
	p.bisect = false
	return p
}

// expire says which of the records that are to be tried are too old for it. It
// is asked before each attempt, the first one too. A record without a timestamp
// has no age.
func (p policy) expire(r portion, now time.Time) []portion {
	if p.maxAge <= 0 || !p.discards {
		return []portion{r}
	}
	n := 0
	for i := range r.records {
		if r.records[i].age(now) > p.maxAge {
			n++
		}
	}
	if n == 0 {
		return []portion{r}
	}
	young := make([]record, 0, len(r.records)-n)
	aged := make([]record, 0, n)
	for _, rec := range r.records {
		if rec.age(now) > p.maxAge {
			aged = append(aged, rec)
		} else {
			young = append(young, rec)
		}
	}
	gone := r.with(aged)
	gone.reason = planReasonTooOld
	if len(young) == 0 {
		return []portion{gone}
	}
	return []portion{gone, r.with(young)}
}
