// Package earlier is the policy of this library before it looked at the function:
// a backlog could take ten seconds, and pollers that were not needed stayed for a
// minute. It is here to be compared with, as it was, without its reasons.
package earlier

import (
	"math"
	"time"

	"github.com/seed429fd032/esm/scaling"
)

// A Scaler decides how many pollers there are, as scaling.Scaler did.
type Scaler struct {
	mode  scaling.Mode
	rates rates

	asked     bool
	throttles int64

	evaluated   time.Time
	throttledAt int64

	quietSince time.Time
	quietMost  int

	limit      int
	limitUntil time.Time

	trial *trial
}

const (
	horizon       = 10 * time.Second // in which a backlog is to be dealt with
	quiet         = time.Minute      // before pollers are taken away
	limitStep     = 15 * time.Second // between steps back to where it throttled
	limitAfter    = time.Minute      // after a throttle
	limitMisguess = 5 * time.Minute  // after a step that did not help
	onDemandEvery = time.Minute
	completions   = 10
)

// New makes a Scaler that has seen no sample.
func New(m scaling.Mode) *Scaler { return &Scaler{mode: m} }

// Decide says how many pollers there are to be from now on.
func (s *Scaler) Decide(in scaling.Sample) (pollers int) {
	s.rates.learn(&in)
	throttled := s.asked && in.Throttled > s.throttles
	s.asked, s.throttles = true, in.Throttled
	if in.Idle {
		s.trial, s.quietSince = nil, time.Time{}
		return in.Pollers
	}
	n := s.need(&in)
	if s.mode == scaling.OnDemand {
		return clamp(s.onDemand(&in, n), in.Least, in.Most)
	}
	return clamp(s.provisioned(&in, n, throttled), in.Least, in.Most)
}

func (s *Scaler) onDemand(in *scaling.Sample, n need) (pollers int) {
	if s.evaluated.IsZero() {
		s.evaluated, s.throttledAt = in.At, in.Throttled
	}
	if in.At.Sub(s.evaluated) < onDemandEvery {
		return in.Pollers
	}
	throttled := in.Throttled > s.throttledAt
	s.evaluated, s.throttledAt = in.At, in.Throttled
	switch {
	case throttled:
		return max(in.Least, in.Pollers/2)
	case !n.known || n.unknown > 0 && n.pollers < in.Pollers:
		return in.Pollers
	case n.pollers > in.Pollers && in.Waiting > 0:
		return in.Pollers
	}
	return n.pollers
}

func (s *Scaler) provisioned(in *scaling.Sample, n need, throttled bool) (pollers int) {
	quietSince := s.quietSince
	if throttled {
		s.trial, s.quietSince = nil, time.Time{}
		half := max(in.Least, in.Pollers/2)
		s.limit, s.limitUntil = half, in.At.Add(limitAfter)
		return half
	}
	if undo, ok := s.judge(in); ok {
		s.limit, s.limitUntil = undo, in.At.Add(limitMisguess)
		return undo
	}
	if !n.known {
		s.quietSince = time.Time{}
		return in.Pollers
	}
	if in.Completed < completions && n.pollers > in.Pollers {
		return in.Pollers
	}
	s.quietSince = time.Time{}
	if in.MemoryLimited {
		return in.Pollers
	}
	target := clamp(n.pollers, in.Least, in.Most)
	if limit := s.limited(in); limit > 0 && target > limit {
		target = max(limit, in.Least)
	}
	switch {
	case target > in.Pollers && in.Waiting > 0:
		return in.Pollers
	case target > in.Pollers:
		s.try(in, target)
		return target
	case target == in.Pollers:
		return target
	case n.unknown > 0:
		return in.Pollers
	}
	if s.quietSince = quietSince; s.quietSince.IsZero() {
		s.quietSince, s.quietMost = in.At, target
	}
	s.quietMost = max(s.quietMost, target)
	if in.At.Sub(s.quietSince) < quiet {
		return in.Pollers
	}
	s.quietSince = time.Time{}
	return s.quietMost
}

func (s *Scaler) limited(in *scaling.Sample) int {
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

type need struct {
	pollers int
	known   bool
	unknown int
}

func (s *Scaler) need(in *scaling.Sample) need {
	lag, unknown := int64(0), 0
	for _, l := range in.Lanes {
		if l.Lag < 0 {
			unknown++
		} else {
			lag += l.Lag
		}
	}
	if unknown == len(in.Lanes) && unknown > 0 {
		return need{unknown: unknown}
	}
	if in.BatchTime <= 0 || in.BatchRecords <= 0 {
		return need{pollers: in.Least, known: lag == 0, unknown: unknown}
	}
	slotRate := in.BatchRecords / in.BatchTime.Seconds()
	slots, records := 0.0, 0.0
	for i := range in.Lanes {
		l := &in.Lanes[i]
		if l.Lag < 0 || l.Backoff {
			continue
		}
		asked := s.rates.arrivals[l.Partition] + float64(max(0, l.Lag-l.Waiting))/horizon.Seconds()
		if asked <= 0 {
			continue
		}
		slots += min(1, asked/slotRate)
		records += min(asked, slotRate)
	}
	if most := float64(in.MaxConcurrency); most != scaling.Unlimited && slots > most {
		records *= most / slots
		slots = most
	}
	pollers := ceil(slots / float64(max(1, in.Concurrency)))
	if in.ByteRate != scaling.Unlimited {
		pollers = max(pollers, ceil(records*in.BatchBytes/in.BatchRecords/float64(max(1, in.ByteRate))))
	}
	return need{pollers: pollers, known: true, unknown: unknown}
}

// A trial is a step up that is not judged yet.
type trial struct {
	from, to int
	at       time.Time
	rate     float64
	settled  int64
}

func (s *Scaler) try(in *scaling.Sample, to int) {
	rate := s.rates.settled
	if rate <= 0 {
		rate = float64(in.Busy) * in.BatchRecords / in.BatchTime.Seconds()
	}
	s.trial = &trial{from: in.Pollers, to: to, at: in.At, rate: rate, settled: in.Settled}
}

func (s *Scaler) judge(in *scaling.Sample) (undo int, ok bool) {
	t := s.trial
	if t == nil {
		return 0, false
	}
	ran := in.At.Sub(t.at)
	if ran < max(3*in.BatchTime, time.Second) {
		return 0, false
	}
	s.trial = nil
	expected := float64(t.to)/float64(max(1, t.from)) - 1
	busy := float64(in.Busy) >= 0.8*float64(t.to*in.Concurrency)
	if in.Pollers != t.to || !busy || t.rate <= 0 || expected < 0.2 {
		return 0, false
	}
	gain := float64(in.Settled-t.settled)/ran.Seconds()/t.rate - 1
	if gain >= 0.2*min(expected, 1) {
		return 0, false
	}
	return max(t.from, in.Least), true
}

// rates are of one topic.
type rates struct {
	ends     map[int32]end
	arrivals map[int32]float64

	settled    float64
	measuredAt time.Time
	measured   int64
}

type end struct {
	offset int64
	at     time.Time
}

func (r *rates) learn(in *scaling.Sample) {
	ends := make(map[int32]end, len(in.Lanes))
	arrivals := make(map[int32]float64, len(in.Lanes))
	for i := range in.Lanes {
		l := &in.Lanes[i]
		was, seen := r.ends[l.Partition]
		if l.End < 0 {
			if seen {
				ends[l.Partition], arrivals[l.Partition] = was, r.arrivals[l.Partition]
			}
			continue
		}
		now := end{l.End, in.At}
		if !seen {
			ends[l.Partition] = now
			continue
		}
		seconds := in.At.Sub(was.at).Seconds()
		if seconds < 0.5 {
			ends[l.Partition], arrivals[l.Partition] = was, r.arrivals[l.Partition]
			continue
		}
		rate := float64(max(0, l.End-was.offset)) / seconds
		if old, ok := r.arrivals[l.Partition]; ok {
			rate = old + (rate-old)*0.5
		}
		ends[l.Partition], arrivals[l.Partition] = now, rate
	}
	r.ends, r.arrivals = ends, arrivals
	switch ran := in.At.Sub(r.measuredAt); {
	case r.measuredAt.IsZero():
		r.measuredAt, r.measured = in.At, in.Settled
	case ran >= max(500*time.Millisecond, 2*in.BatchTime):
		r.settled = float64(in.Settled-r.measured) / ran.Seconds()
		r.measuredAt, r.measured = in.At, in.Settled
	}
}

func ceil(x float64) int { return int(min(math.Ceil(x-1e-9), math.MaxInt32)) }

func clamp(n, least, most int) int { return min(max(n, least), most) }
