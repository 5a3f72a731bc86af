// Package scaling decides how many pollers a Mapping has, and says why.
//
// A Mapping (package esm) asks a [Scaler] once a second and whenever there is
// news, and does what it says. Its hooks Sampled and Scaled get each [Decision]
// with the [Sample] that it was made on. So a trace can be recorded as JSON, and
// [Replay] decides again on it.
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
// A backlog takes the same poller-seconds with few pollers as with many, and a
// step costs nothing: no rebalance, no refetch. So a backlog gets all the pollers
// that can work on it at once: a slot for each batch that waits, but one for each
// partition at most, because a partition has one batch in flight. What arrives gets
// as many as keep up with it, and what it has piled up within a second is no backlog:
// otherwise noise would move the number up and down. Where bytes are limited, there
// are enough pollers for the bytes of that.
//
// It is the function that holds this back:
//
//   - A step multiplies the pollers by four at most, and the next one waits until as
//     many calls have ended as there are slots. Where calls are slow, it doubles after
//     a second, or a quarter of a call's time, up to 15 s. A backlog of four calls for
//     each slot or less gets its slots at once: a round of them would teach nothing.
//   - Where calls take longer the more there are, there are as many as take little
//     longer than at best. The argument stands at knee.
//   - A throttle halves the pollers. They come back in steps after a minute.
//   - While most calls fail, there are no more than there are.
//
// Pollers that are not needed go after a tenth of the time for which they were, so
// that they cost a tenth more at most; those that what arrives needed at most in
// a minute stay. Where that turns out to be wrong, since they are needed again
// within a minute, the next wait is twice as long, up to a minute.
//
// # On-demand
//
// As AWS documents it: one poller at first, and once a minute what deals with the
// backlog in ten seconds.
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

	throttled throttleLimit
	knee      knee
	growth    growth
	release   release
	failures  failures
	short     shortage
}

const (
	onDemandEvery = time.Minute
	soonest       = 20 * time.Millisecond // that a Scaler wants to be asked again
)

// New makes a Scaler that has seen no sample.
func New(m Mode) *Scaler { return &Scaler{mode: m} }

// Decide says how many pollers there are to be from now on: within the bounds of
// the sample, whatever it says. The times of samples must not go back.
func (s *Scaler) Decide(in Sample) Decision {
	d := Decision{Sample: in, From: in.Pollers}
	d.To, d.Reason = s.decide(&in)
	d.To = clamp(d.To, in.Least, in.Most)
	d.Short = s.short.holds()
	if s.mode == Provisioned {
		s.knee.decided(&in, d.To)
		s.growth.decided(&in, d.To)
		s.release.decided(&in, d.To)
		d.Again = s.again(&d)
	}
	return d
}

// again is when the decision may come out otherwise without news.
func (s *Scaler) again(d *Decision) time.Duration {
	switch {
	case d.Reason.Left > 0:
		return d.Reason.Left
	case d.Reason.Limit == Measuring && d.Sample.Busy > 0 && s.growth.early(&d.Sample):
		return firstLook
	case d.Reason.Limit == Measuring:
		if left := s.growth.every(&d.Sample) - d.Sample.At.Sub(s.growth.at); left > 0 {
			return max(left, soonest) // and where that is over, calls have to end or begin
		}
	case d.Reason.Cause == Backlog && d.To > d.Sample.Least:
		// It may be over before a second is.
		slots := min(d.To*max(1, d.Sample.Concurrency), max(1, d.Reason.Partitions))
		if seconds := float64(d.Reason.Lag) / (float64(slots) * d.Reason.SlotRate); seconds < 1 {
			return max(time.Duration(seconds*float64(time.Second)), soonest)
		}
	}
	return 0
}

func (s *Scaler) decide(in *Sample) (pollers int, why Reason) {
	s.rates.learn(in)
	throttled := s.asked && in.Throttled > s.throttles
	s.asked, s.throttles = true, in.Throttled
	s.failures.learn(in)
	if in.Idle {
		s.short, s.release, s.growth = shortage{}, release{}, growth{}
		return in.Pollers, Reason{Cause: Idle}
	}
	if s.mode == OnDemand {
		return s.onDemand(in)
	}
	return s.provisioned(in, throttled)
}

// onDemand follows the need once a minute. What it hears of throttles is
// what came since it looked last.
func (s *Scaler) onDemand(in *Sample) (pollers int, why Reason) {
	n := s.need(in)
	if s.evaluated.IsZero() {
		s.evaluated, s.throttledAt = in.At, in.Throttled
	}
	if in.At.Sub(s.evaluated) < onDemandEvery {
		n.why.Cause = Cadence
		return in.Pollers, n.why
	}
	throttled := in.Throttled > s.throttledAt
	s.evaluated, s.throttledAt = in.At, in.Throttled
	switch {
	case throttled:
		half := max(in.Least, in.Pollers/2)
		return half, n.because(Throttles, half)
	case !n.known:
		return in.Pollers, n.why
	case in.MemoryLimited:
		return in.Pollers, memoryReason(in, &n)
	case n.unknown > 0 && n.pollers < in.Pollers:
		return in.Pollers, n.unknownReason()
	case n.pollers > in.Pollers && in.Waiting > 0:
		return in.Pollers, placesReason(in)
	}
	return n.pollers, n.why
}

// provisioned follows the need at once where that is more, and after a while where
// it is less, unless something is known that speaks against it.
func (s *Scaler) provisioned(in *Sample, throttled bool) (pollers int, why Reason) {
	n := s.need(in)
	limit, limitWhy := s.knee.limit(in)
	if throttled && !s.throttled.same(in) {
		half := max(in.Least, in.Pollers/2)
		s.throttled.set(in, half)
		return half, n.because(Throttles, half)
	}
	if !n.known {
		if n.why.Cause == Measuring && n.pollers > in.Pollers && in.Waiting == 0 {
			return s.growth.up(in, min(n.pollers, in.Most), false, n.calls, n.why)
		}
		return in.Pollers, n.why
	}
	flow := s.release.arrived(in, n.flow, s.rates.over)
	if in.MemoryLimited {
		return in.Pollers, memoryReason(in, &n)
	}
	target, why := max(n.pollers, in.Least), n.why
	if most := s.throttled.most(in); most > 0 && target > most {
		target, why.Allowed, why.Limit = max(most, in.Least), most, Throttles
	}
	if limit > 0 && target > limit {
		target, why.Allowed, why.Limit = max(limit, in.Least), limit, Latency
		why.CallTime, why.BestTime, why.BusySlots = limitWhy.CallTime, limitWhy.BestTime, limitWhy.BusySlots
		if why.Allowed <= in.Pollers { // it is what decides
			why.Cause = Latency
		}
	}
	target = clamp(target, in.Least, in.Most)
	switch {
	case target > in.Pollers && in.Waiting > 0:
		return in.Pollers, placesReason(in)
	case target > in.Pollers && s.failures.most():
		return in.Pollers, Reason{Cause: Failures, Lag: why.Lag, Partitions: why.Partitions, Wanted: n.pollers, Calls: s.failures.failed, Of: s.failures.calls}
	case target > in.Pollers:
		return s.growth.up(in, target, s.knee.knows, n.calls, why)
	case target == in.Pollers:
		return target, why
	case why.Limit == Latency:
		return target, why // the function struggles now
	case n.unknown > 0:
		return in.Pollers, n.unknownReason()
	}
	return s.release.down(in, target, min(flow, in.Most), why)
}

// placesReason is why more pollers would not help.
func placesReason(in *Sample) Reason {
	return Reason{Cause: Places, Calls: int64(in.Waiting), Of: int64(in.Busy)}
}

// memoryReason is why slots are idle, and the budget with which they would not be:
// what the calls have now that run, for as many as there are slots and partitions.
func memoryReason(in *Sample, n *need) Reason {
	why := Reason{Cause: Memory, Lag: n.why.Lag, Partitions: n.why.Partitions, Wanted: n.pollers}
	lanes := 0
	for i := range in.Lanes {
		if l := &in.Lanes[i]; l.Lag != 0 && !l.Backoff {
			lanes++
		}
	}
	most := min(in.Slots, lanes)
	if in.MaxConcurrency > 0 {
		most = min(most, in.MaxConcurrency)
	}
	if in.Busy > 0 && most > in.Busy {
		const unit = 1 << 20
		why.Calls, why.Of = int64(in.Busy), int64(most)
		why.NeededMemory = (int64(float64(in.MemoryBudget)*float64(most)/float64(in.Busy)) + unit - 1) / unit * unit
	}
	return why
}

func clamp(n, least, most int) int { return min(max(n, least), most) }
