// Package plan says what follows from what a function returned: which records are
// settled, which are tried again and when, which are given up, and what a throttle
// says of records. It is pure: data in, data out, without a lock, a clock, Kafka, or
// the words of the library's face.
package plan

import (
	"cmp"
	"slices"
	"time"
)

// A Portion is records of one partition that are tried together: a batch, or what
// is left of one. They are in offset order, and need not be neighbours.
type Portion struct {
	Records  []Record // shared with whoever made them: nobody writes into them
	Attempts int      // that failed and were charged
	repeats  int      // those of just these records
	// Due is the end of the back-off after an attempt that was charged, the
	// zero time if there is none.
	Due        time.Time
	Deliveries int // of the first record that failed
	// Reason is why the records are given up, ReasonNone while they are not.
	Reason Reason
	// searching is whether they are a piece of a batch that failed, split to find
	// what fails it.
	searching bool
	Suspicion Suspicion
	Account   Account
}

// An Account is what is told of records that fail.
type Account struct {
	FirstAt, LastAt   time.Time // zero if no attempt failed
	FirstErr, LastErr error
	BatchID           string // of the last invocation
	BatchRecords      int
}

// Failed returns the account after one more failure.
func (a Account) Failed(err error, now time.Time) Account {
	if a.FirstErr == nil {
		a.FirstAt, a.FirstErr = now, err
	}
	a.LastAt, a.LastErr = now, err
	return a
}

// A Policy is what the options say of failures.
type Policy struct {
	MaxRetries int           // negative for no limit
	MaxAge     time.Duration // 0 for no limit
	Bisect     bool
	Discards   bool          // there is a destination: records may be given up
	Backoff    time.Duration // after this failure, if it is one
	Room       []Sequel      // for what follows, if it is as long as what was tried: zero values
}

// A Sequel is what follows from an invocation for one partition.
type Sequel struct {
	Settled []Record  // these are done with
	Left    []Portion // these are not
}

// A Decision is what follows from an invocation.
type Decision struct {
	Step    Step
	Sequels []Sequel // one for each portion, if the step is Settle
}

// A Step is what to do next with the records of an invocation that ended.
type Step int

const (
	// Settle: each partition goes on for itself.
	Settle Step = iota
	// Split: the batch holds several partitions, and one of them fails it, or
	// may be why it is throttled again. Try its halves, without counting an
	// attempt to anybody, until the partition that fails is alone.
	Split
	// Again: nothing was learned about the records. They go back to where
	// they were.
	Again
)

// After says what follows from an outcome, for an invocation that carried these
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
// throttle that does is a failure when it comes here: see Suspicion.)
//
// # Why the second failure
//
// The first failure of a batch is more often an outage than a poison record.
// Split at once, an outage would use up the attempts of every record alone. The
// search itself does not wait: its pieces are tried one after the other, the
// first half before the second, so during an outage it stops at the first
// record, which then waits for its back-off alone.
func After(v Verdict, tried []Portion, p Policy, now time.Time) Decision {
	if !p.Discards && v.Outcome == OutcomePermanent {
		v.Outcome = OutcomeFailure
	}
	switch {
	case len(tried) > 1 && (v.Outcome == OutcomeFailure || v.Outcome == OutcomeTooLarge):
		return Decision{Step: Split}
	case v.Outcome == OutcomeThrottled && v.Failures == nil && !v.Busy && len(tried) > 1 && slices.ContainsFunc(tried, Portion.throttledBefore):
		return Decision{Step: Split}
	case v.Outcome == OutcomeThrottled && v.Failures == nil && v.Apart && len(tried) == 1:
		return Decision{Sequels: []Sequel{{Left: []Portion{p.apart(tried[0], v.Err, now)}}}}
	case (v.Outcome == OutcomeThrottled || v.Outcome == OutcomeHalt) && v.Failures == nil, v.Outcome == OutcomeAbandoned:
		return Decision{Step: Again}
	}
	d := Decision{Sequels: p.Room}
	if len(d.Sequels) != len(tried) {
		d.Sequels = make([]Sequel, len(tried))
	}
	for i, r := range tried {
		s := &d.Sequels[i]
		switch v.Outcome {
		case OutcomeSuccess:
			s.Settled = r.Records
		case OutcomeFailure:
			s.Left = p.failed(r, v.Err, now)
		case OutcomeTooLarge:
			s.Left = p.tooLarge(r, v.Err, now)
		case OutcomePermanent:
			s.Left = []Portion{p.discard(r, ReasonPermanent, v.Err, now)}
		default: // partial, or a throttle or a halt of some records
			*s = p.partial(r, v.of(i), now)
		}
	}
	return d
}

// failed says what becomes of records that failed together.
func (p Policy) failed(r Portion, err error, now time.Time) []Portion {
	was := r
	r.Account = r.Account.Failed(err, now)
	r.Attempts++
	r.repeats++
	r.Due = now.Add(p.Backoff)
	exhausted := p.MaxRetries >= 0 && r.Attempts > p.MaxRetries
	if p.Bisect && len(r.Records) > 1 && (r.searching || r.repeats > 1 || exhausted) {
		was.Account = r.Account
		return was.halve(true)
	}
	if exhausted {
		r.Reason, r.Due = ReasonRetriesExhausted, time.Time{}
	}
	return []Portion{r}
}

// throttledBefore reports whether that was not the first throttle of the records
// in a row.
func (r Portion) throttledBefore() bool { return r.Suspicion.throttles > 1 }

// apart says what becomes of records that were throttled and are suspected to be
// why: they wait, as after an attempt, and none is charged.
func (p Policy) apart(r Portion, err error, now time.Time) Portion {
	r.Account = r.Account.Failed(err, now)
	r.Due = now.Add(p.Backoff)
	return r
}

// tooLarge says what becomes of records that are too many, or one too large.
func (p Policy) tooLarge(r Portion, err error, now time.Time) []Portion {
	switch {
	case len(r.Records) > 1:
		r.Account = r.Account.Failed(err, now)
		return r.halve(r.searching)
	case p.Discards:
		return []Portion{p.discard(r, ReasonTooLarge, err, now)}
	}
	return p.failed(r, err, now)
}

// With is a portion of other records with the same history. It waits for
// nothing.
func (r Portion) With(records []Record) Portion {
	if len(records) != len(r.Records) {
		r.repeats, r.Deliveries, r.Suspicion = 0, 0, r.Suspicion.Part()
	}
	r.Records, r.Due = records, time.Time{}
	return r
}

// halve splits a portion, and charges nobody.
func (r Portion) halve(searching bool) []Portion {
	r.searching = searching
	half := (len(r.Records) + 1) / 2
	return []Portion{r.With(r.Records[:half:half]), r.With(r.Records[half:])}
}

// discard gives records up after a call that said so.
func (p Policy) discard(r Portion, reason Reason, err error, now time.Time) Portion {
	r.Account = r.Account.Failed(err, now)
	r.Attempts++
	r.Reason, r.Due = reason, time.Time{}
	return r
}

// partial says what becomes of records of which some failed: failures, in the
// order of the records.
func (p Policy) partial(r Portion, failures []Failure, now time.Time) (s Sequel) {
	stop := len(r.Records) // those after it were not tried
	for _, f := range failures {
		if f.Stopped {
			stop = f.Record
			break
		}
	}
	var again, untried Portion
	blamed := false
	var firstErr, throttledErr error
	var lost []Portion
	for i, rec := range r.Records {
		failed := len(failures) > 0 && failures[0].Record == i
		var f Failure
		if failed {
			f, failures = failures[0], failures[1:]
		}
		switch one := r.With([]Record{rec}); {
		case i > stop, throttles(f.Outcome):
			if throttledErr == nil && i <= stop {
				throttledErr = f.Err
			}
			untried.Records = append(untried.Records, rec)
		case !failed:
			s.Settled = append(s.Settled, rec)
		case f.Outcome == OutcomePermanent && p.Discards:
			lost = append(lost, p.discard(one, ReasonPermanent, f.Err, now))
		case f.Outcome == OutcomeTooLarge && p.Discards:
			lost = append(lost, p.discard(one, ReasonTooLarge, f.Err, now))
		default:
			if firstErr == nil {
				firstErr = f.Err
			}
			again.Records, blamed = append(again.Records, rec), blamed || f.blamed
		}
	}
	s.Left = lost
	if len(again.Records) > 0 {
		// It is known of each that it failed, so there is nothing to search
		// now. When they fail together later, that may be an outage.
		again = r.With(again.Records)
		again.searching, again.Suspicion = false, Suspicion{}
		if blamed {
			again.Suspicion = r.Suspicion // these are the records that are meant
		}
		for _, a := range p.noSearch().failed(again, firstErr, now) {
			a.repeats = 0
			s.Left = append(s.Left, a)
		}
	}
	if len(untried.Records) > 0 {
		untried = r.With(untried.Records)
		switch {
		case throttledErr == nil:
			untried.Suspicion = Suspicion{} // what failed before them is why they were not tried
		case r.Suspicion.Suspected():
			untried = p.apart(untried, throttledErr, now)
		}
		s.Left = append(s.Left, untried)
	}
	return s
}

// Remaining is what is left of a batch after its first portion was tried: what is
// left of that and the rest, in offset order of their first records, which is
// the order in which they are tried.
func Remaining(of []Portion, s Sequel) []Portion {
	return InOrder(append(s.Left, of[1:]...))
}

// InOrder sorts portions by their first records.
func InOrder(left []Portion) []Portion {
	slices.SortStableFunc(left, func(a, b Portion) int { return cmp.Compare(a.Records[0].Offset, b.Records[0].Offset) })
	return left
}

// noSearch is the policy for records of which each is known to fail.
func (p Policy) noSearch() Policy {
	p.Bisect = false
	return p
}

// Expire says which of the records that are to be tried are too old for it. It
// is asked before each attempt, the first one too. A record without a timestamp
// has no age.
func (p Policy) Expire(r Portion, now time.Time) []Portion {
	if p.MaxAge <= 0 || !p.Discards {
		return []Portion{r}
	}
	n := 0
	for i := range r.Records {
		if r.Records[i].age(now) > p.MaxAge {
			n++
		}
	}
	if n == 0 {
		return []Portion{r}
	}
	young := make([]Record, 0, len(r.Records)-n)
	aged := make([]Record, 0, n)
	for _, rec := range r.Records {
		if rec.age(now) > p.MaxAge {
			aged = append(aged, rec)
		} else {
			young = append(young, rec)
		}
	}
	gone := r.With(aged)
	gone.Reason = ReasonTooOld
	if len(young) == 0 {
		return []Portion{gone}
	}
	return []Portion{gone, r.With(young)}
}
