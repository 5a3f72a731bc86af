// Package scaling decides how many pollers a Mapping has, and says why.
//
// A Mapping (package esm) asks a [Scaler] once a second, and does what it says.
// Its hooks Sampled and Scaled get each [Decision] with the [Sample] that it was
// made on. So a trace can be recorded as JSON, and [Replay] decides again on it.
package scaling

import (
	"fmt"
	"time"
)

// A Mode is how the number of pollers follows the load.
type Mode int

const (
	// Provisioned: within bounds, as soon as it is known what is needed.
	Provisioned Mode = iota
	// OnDemand: from one poller, once a minute (esm.WithOnDemand).
	OnDemand
)

// String is "provisioned" or "on-demand".
func (m Mode) String() string {
	switch m {
	case Provisioned:
		return "provisioned"
	case OnDemand:
		return "on-demand"
	}
	return fmt.Sprintf("Mode(%d)", int(m))
}

// A Scaler decides how many pollers there are. It has no clock and no goroutine:
// everything it knows comes in with a sample, so that a decision can be replayed,
// and asked why. It is for one goroutine at a time; [New] makes one.
//
// # Provisioned
//
// What is needed is the rate at which records arrive, and to deal with the
// backlog in ten seconds, over the rate of one slot; at most one slot for each
// partition that lags, because a partition has one batch in flight; and enough
// pollers for the bytes of that. It goes up in one step as soon as it knows,
// since a step costs nothing: no rebalance, no refetch. It goes down only to
// what was needed at most during a quiet minute.
//
// A step up is judged once its invocations had time to end, if they were
// there: where twice the pollers do not settle more, the function is the
// bottleneck, and the step is undone.
//
// # On-demand
//
// As AWS documents it: one poller at first, and once a minute what is needed.
//
// # Unknown
//
// An unknown lag is no lag of zero: while one is unknown, the number of
// pollers does not go down. Where others are known, it may go up for them.
type Scaler struct {
	mode  Mode
	rates rates

	asked     bool  // once at least,
	throttles int64 // and how many throttles there were by then

	evaluated   time.Time // on-demand: the last evaluation,
	throttledAt int64     // and how many throttles there were by then

	quietSince time.Time // since when fewer would do
	quietMost  int       // how many would have done at most

	limit      int // no more than so many, 0 for none
	limitUntil time.Time

	trial *trial
	short shortage
}

const (
	horizon       = 10 * time.Second // in which a backlog is to be dealt with
	quiet         = time.Minute      // before pollers are taken away
	shortEvery    = time.Minute      // in which a lag grows or does not
	limitStep     = 15 * time.Second // between steps back to where it throttled
	limitAfter    = time.Minute      // after a throttle
	limitMisguess = 5 * time.Minute  // after a step that did not help
	onDemandEvery = time.Minute
)

// Completions is how many invocations must have completed before a provisioned
// Scaler goes up: fewer do not say how long one takes.
const Completions = 10

// New makes a Scaler that has seen no sample.
func New(m Mode) *Scaler { return &Scaler{mode: m} }

// Decide says how many pollers there are to be from now on: within the bounds of
// the sample, whatever it says. The times of samples must not go back.
func (s *Scaler) Decide(in Sample) Decision {
	n, why := s.decide(&in)
	return Decision{Sample: in, From: in.Pollers, To: clamp(n, in.Least, in.Most), Reason: why, Short: s.short.holds()}
}

func (s *Scaler) decide(in *Sample) (pollers int, why string) {
	s.rates.learn(in)
	throttled := s.asked && in.Throttled > s.throttles
	s.asked, s.throttles = true, in.Throttled
	if in.Idle {
		s.trial, s.short, s.quietSince = nil, shortage{}, time.Time{}
		return in.Pollers, "nothing is invoked now"
	}
	n := s.need(in)
	if s.mode == OnDemand {
		return s.decideOnDemand(in, n)
	}
	return s.decideProvisioned(in, n, throttled)
}

// decideOnDemand follows the need once a minute. What it hears of throttles is
// what came since it looked last.
func (s *Scaler) decideOnDemand(in *Sample, n need) (pollers int, why string) {
	if s.evaluated.IsZero() {
		s.evaluated, s.throttledAt = in.At, in.Throttled
	}
	if in.At.Sub(s.evaluated) < onDemandEvery {
		return in.Pollers, "on-demand: evaluated once a minute"
	}
	throttled := in.Throttled > s.throttledAt
	s.evaluated, s.throttledAt = in.At, in.Throttled
	switch {
	case throttled:
		return max(in.Least, in.Pollers/2), "the function throttles"
	case !n.known || n.unknown > 0 && n.pollers < in.Pollers:
		return in.Pollers, n.unknownReason()
	case n.pollers > in.Pollers && in.Waiting > 0:
		return in.Pollers, placesReason(in)
	}
	return n.pollers, n.why
}

// decideProvisioned follows the need at once where that is more, and after a quiet
// minute where it is less, unless something is known that speaks against it.
func (s *Scaler) decideProvisioned(in *Sample, n need, throttled bool) (pollers int, why string) {
	quietSince := s.quietSince
	if throttled {
		s.trial, s.quietSince = nil, time.Time{}
		half := max(in.Least, in.Pollers/2)
		s.limit, s.limitUntil = half, in.At.Add(limitAfter)
		return half, "the function throttles"
	}
	if undo, ok := s.judge(in); ok {
		s.limit, s.limitUntil = undo, in.At.Add(limitMisguess)
		return undo, "undone: more pollers did not settle more records"
	}
	if !n.known {
		s.quietSince = time.Time{}
		return in.Pollers, n.unknownReason()
	}
	if in.Completed < Completions && n.pollers > in.Pollers {
		return in.Pollers, fmt.Sprintf("%d of the %d invocations that say how long they take have completed", in.Completed, Completions)
	}
	s.quietSince = time.Time{} // what follows ends a quiet time, but for its end
	if in.MemoryLimited {
		return in.Pollers, "the memory budget is the limit"
	}

	target, why := clamp(n.pollers, in.Least, in.Most), n.why
	if limit := s.limited(in); limit > 0 && target > limit {
		target = max(limit, in.Least)
		why = fmt.Sprintf("%s; not more than %d for a while", why, limit)
	}
	switch {
	case target > in.Pollers && in.Waiting > 0:
		return in.Pollers, placesReason(in)
	case target > in.Pollers:
		s.try(in, target)
		return target, why
	case target == in.Pollers:
		return target, why
	case n.unknown > 0:
		n.why = why
		return in.Pollers, n.unknownReason()
	}
	if s.quietSince = quietSince; s.quietSince.IsZero() {
		s.quietSince, s.quietMost = in.At, target
	}
	s.quietMost = max(s.quietMost, target)
	if in.At.Sub(s.quietSince) < quiet {
		return in.Pollers, fmt.Sprintf("fewer would do, and go after a minute of that: %s", why)
	}
	s.quietSince = time.Time{}
	return s.quietMost, "fewer did for a minute: " + why
}

// limited is how many pollers there may be after a throttle or a step that did
// not help, or 0. What was limited comes back in steps.
func (s *Scaler) limited(in *Sample) int {
	if s.limit == 0 || in.At.Before(s.limitUntil) {
		return s.limit
	}
	s.limit += max(1, s.limit/4)
	s.limitUntil = in.At.Add(limitStep)
	if s.limit >= in.Most {
		s.limit = 0
	}
	return s.limit
}

// placesReason is why more pollers would not help.
func placesReason(in *Sample) string {
	return fmt.Sprintf("%d of %d calls wait for a place of the function's own", in.Waiting, in.Busy)
}

// unknownReason is why the number stays.
func (n need) unknownReason() string {
	if n.unknown > 0 {
		return fmt.Sprintf("the lag of %s is unknown", plural(n.unknown, "partition", "partitions"))
	}
	return n.why
}

func clamp(n, least, most int) int { return min(max(n, least), most) }
