package esm

import (
	"fmt"
	"math"
	"time"
)

// A ScaleSample is what the scaler knows at one moment. With the settings in
// it, it is all that a decision depends upon, beside the samples before it: a
// recorded trace of samples can be replayed.
type ScaleSample struct {
	At    time.Time
	Lanes []LaneSample
	// Pollers is how many there are, of Concurrency invocations each, and
	// Least and Most are their bounds.
	Pollers, Concurrency, Least, Most int
	// ByteRate is what one poller may move a second, or Unlimited.
	ByteRate int
	// MaxConcurrency is how many invocations may run at once, or Unlimited.
	MaxConcurrency int
	// Busy is how many invocations run, of Slots, and Waiting how many of them
	// wait for a place of the function's own ([Waiting]).
	Busy, Slots, Waiting int
	// BatchTime is how long one invocation with a full batch takes, and
	// BatchRecords and BatchBytes are what such a batch has. While nothing has
	// completed, the time is that of the longest invocation that runs, which
	// is a lower bound. All are 0 while nothing is known.
	BatchTime    time.Duration
	BatchRecords float64
	BatchBytes   float64
	// Completed, Settled and Throttled count invocations, records and
	// throttles since the start.
	Completed, Settled, Throttled int64
	// MemoryLimited is whether slots are idle because the memory budget is
	// used up.
	MemoryLimited bool
	// Idle is whether the Mapping is paused, halted or stopping.
	Idle bool
}

// A LaneSample is what the scaler knows of one partition.
type LaneSample struct {
	TopicPartition
	// Lag is the number of offsets between the frontier and the end, and -1
	// where it is unknown.
	Lag int64
	// End is the end of the partition, -1 where it is unknown.
	End int64
	// Waiting is how many records of the lag wait on purpose, so that a slot
	// would not help them: in an open window or in flight.
	Waiting int64
	// Backoff is whether the partition waits to try a failed batch again.
	Backoff bool
}

// A scaler decides how many pollers there are. It has no clock and no
// goroutine: everything it knows comes in with a sample, so that a decision
// can be replayed, and asked why.
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
type scaler struct {
	onDemand bool

	last     *ScaleSample
	ends     map[TopicPartition]endSample
	arrivals map[TopicPartition]float64 // records a second
	rate     float64                    // records settled a second,
	rateAt   time.Time                  // until when that was measured,
	rateOf   int64                      // and how many were settled by then

	evaluated   time.Time // on-demand: the last evaluation,
	throttledAt int64     // and how many throttles there were by then

	quietSince time.Time // since when fewer would do
	quietMost  int       // how many would have done at most

	limit      int // no more than so many, 0 for none
	limitUntil time.Time

	trial *trial

	short shortage
}

// A shortage is a setting that keeps the Mapping from what the records ask
// for. It is worth a word only if the lag grows under it.
type shortage struct {
	option string // "" for none
	since  time.Time
	lag    int64 // at that time
	grows  bool  // as the last look said
}

type endSample struct {
	end int64
	at  time.Time
}

// A trial is a step up that is not judged yet.
type trial struct {
	from, to int
	at       time.Time
	rate     float64 // before it
	settled  int64   // at its beginning
}

const (
	scaleHorizon  = 10 * time.Second // in which a backlog is to be dealt with
	scaleQuiet    = time.Minute      // before pollers are taken away
	scaleMinimum  = 10               // completions before the first decision
	shortEvery    = time.Minute      // in which a lag grows or does not
	limitStep     = 15 * time.Second // between steps back to where it throttled
	limitAfter    = time.Minute      // after a throttle
	limitMisguess = 5 * time.Minute  // after a step that did not help
	onDemandEvery = time.Minute
)

// decide returns how many pollers there should be, and why.
func (s *scaler) decide(in ScaleSample) (pollers int, reason string) {
	s.learn(&in)
	if in.Idle {
		s.last, s.trial, s.short, s.quietSince = &in, nil, shortage{}, time.Time{}
		return in.Pollers, "nothing is invoked now"
	}
	throttled := s.last != nil && in.Throttled > s.last.Throttled
	s.last = &in

	need, unknown, why := s.need(&in)
	if s.onDemand {
		if s.evaluated.IsZero() {
			s.evaluated, s.throttledAt = in.At, in.Throttled
		}
		if in.At.Sub(s.evaluated) < onDemandEvery {
			return in.Pollers, "on-demand: evaluated once a minute"
		}
		throttled = in.Throttled > s.throttledAt
		s.evaluated, s.throttledAt = in.At, in.Throttled
		if throttled {
			return max(in.Least, in.Pollers/2), "the function throttles"
		}
		if need < 0 || unknown > 0 && need < in.Pollers {
			return in.Pollers, s.unknownReason(unknown, why)
		}
		if need > in.Pollers && in.Waiting > 0 {
			return in.Pollers, placesReason(&in)
		}
		return clamp(need, in.Least, in.Most), why
	}

	if throttled {
		s.trial, s.quietSince = nil, time.Time{}
		n := max(in.Least, in.Pollers/2)
		s.limit, s.limitUntil = n, in.At.Add(limitAfter)
		return n, "the function throttles"
	}
	if undo, ok := s.judge(&in); ok {
		s.limit, s.limitUntil = undo, in.At.Add(limitMisguess)
		return undo, "undone: more pollers did not settle more records"
	}
	if need < 0 {
		s.quietSince = time.Time{}
		return in.Pollers, s.unknownReason(unknown, why)
	}
	if in.Completed < scaleMinimum && need > in.Pollers {
		return in.Pollers, fmt.Sprintf("%d of the %d invocations that say how long they take have completed", in.Completed, scaleMinimum)
	}
	if in.MemoryLimited {
		s.quietSince = time.Time{}
		return in.Pollers, "the memory budget is the limit"
	}

	target := clamp(need, in.Least, in.Most)
	if limit := s.limited(&in); limit > 0 && target > limit {
		target = max(limit, in.Least)
		why = fmt.Sprintf("%s; not more than %d for a while", why, limit)
	}
	switch {
	case target > in.Pollers && in.Waiting > 0:
		s.quietSince = time.Time{}
		return in.Pollers, placesReason(&in)
	case target > in.Pollers:
		s.quietSince = time.Time{}
		rate := s.rate
		if rate <= 0 {
			// Nothing to compare with yet, but how long they take.
			rate = float64(in.Busy) * in.BatchRecords / in.BatchTime.Seconds()
		}
		s.trial = &trial{from: in.Pollers, to: target, at: in.At, rate: rate, settled: in.Settled}
		return target, why
	case target == in.Pollers:
		s.quietSince = time.Time{}
		return target, why
	case unknown > 0:
		s.quietSince = time.Time{}
		return in.Pollers, s.unknownReason(unknown, why)
	}
	if s.quietSince.IsZero() {
		s.quietSince, s.quietMost = in.At, target
	}
	s.quietMost = max(s.quietMost, target)
	if in.At.Sub(s.quietSince) < scaleQuiet {
		return in.Pollers, fmt.Sprintf("fewer would do, and go after a minute of that: %s", why)
	}
	s.quietSince = time.Time{}
	return s.quietMost, "fewer did for a minute: " + why
}

// placesReason is why more pollers would not help.
func placesReason(in *ScaleSample) string {
	return fmt.Sprintf("%d of %d calls wait for a place of the function's own", in.Waiting, in.Busy)
}

func (s *scaler) unknownReason(unknown int, why string) string {
	if unknown > 0 {
		return fmt.Sprintf("the lag of %s is unknown", plural(unknown, "partition", "partitions"))
	}
	return why
}

// learn takes rates from the difference to the sample before.
func (s *scaler) learn(in *ScaleSample) {
	ends := make(map[TopicPartition]endSample, len(in.Lanes))
	arrivals := make(map[TopicPartition]float64, len(in.Lanes))
	for i := range in.Lanes {
		l := &in.Lanes[i]
		was, seen := s.ends[l.TopicPartition]
		if l.End < 0 {
			if seen {
				ends[l.TopicPartition], arrivals[l.TopicPartition] = was, s.arrivals[l.TopicPartition]
			}
			continue
		}
		now := endSample{l.End, in.At}
		if !seen {
			ends[l.TopicPartition] = now
			continue
		}
		seconds := in.At.Sub(was.at).Seconds()
		if seconds < 0.5 {
			// Too close for a rate: measure from where it was.
			ends[l.TopicPartition], arrivals[l.TopicPartition] = was, s.arrivals[l.TopicPartition]
			continue
		}
		rate := float64(max(0, l.End-was.end)) / seconds
		if old, ok := s.arrivals[l.TopicPartition]; ok {
			rate = old + (rate-old)*0.5
		}
		ends[l.TopicPartition], arrivals[l.TopicPartition] = now, rate
	}
	s.ends, s.arrivals = ends, arrivals
	// Records are settled by the batch, and often many batches at once: what
	// comes in less time than an invocation takes is no rate.
	switch ran := in.At.Sub(s.rateAt); {
	case s.rateAt.IsZero():
		s.rateAt, s.rateOf = in.At, in.Settled
	case ran >= max(500*time.Millisecond, 2*in.BatchTime):
		s.rate = float64(in.Settled-s.rateOf) / ran.Seconds()
		s.rateAt, s.rateOf = in.At, in.Settled
	}
}

// need is how many pollers the records ask for, -1 if nothing can be said, and
// of how many partitions the lag is unknown.
func (s *scaler) need(in *ScaleSample) (pollers, unknown int, why string) {
	var lag int64
	for i := range in.Lanes {
		if in.Lanes[i].Lag < 0 {
			unknown++
		} else {
			lag += in.Lanes[i].Lag
		}
	}
	if unknown == len(in.Lanes) && unknown > 0 {
		return -1, unknown, ""
	}
	if in.BatchTime <= 0 || in.BatchRecords <= 0 {
		switch {
		case lag == 0:
			return in.Least, unknown, "no lag"
		case in.Throttled > 0:
			return -1, unknown, "the function throttles, and no invocation has completed"
		}
		return -1, unknown, "no invocation has completed"
	}
	slotRate := in.BatchRecords / in.BatchTime.Seconds()
	var slots, records float64
	lagging, backoff := 0, 0
	for i := range in.Lanes {
		l := &in.Lanes[i]
		if l.Backoff {
			backoff++
		}
		if l.Lag < 0 || l.Backoff {
			continue
		}
		demand := s.arrivals[l.TopicPartition] + float64(max(0, l.Lag-l.Waiting))/scaleHorizon.Seconds()
		if demand <= 0 {
			continue
		}
		lagging++
		slots += min(1, demand/slotRate)
		records += min(demand, slotRate)
	}
	option := ""
	if most := in.MaxConcurrency; most != Unlimited && slots > float64(most) {
		option = "WithMaxConcurrency"
		records *= float64(most) / slots
		slots = float64(most)
	}
	bySlots := int(math.Ceil(slots/float64(in.Concurrency) - 1e-9))
	byBytes := 0
	if in.ByteRate != Unlimited {
		byBytes = int(math.Ceil(records*in.BatchBytes/in.BatchRecords/float64(in.ByteRate) - 1e-9))
	}
	switch {
	case byBytes > max(bySlots, in.Most):
		option = "WithPollerByteRate"
	case bySlots > in.Most:
		option = "WithMaxPollers"
	}
	if unknown == 0 {
		s.short.look(option, lag, in.At)
	}
	behind := plural(lag, "record", "records")
	switch {
	case lagging == 0 && lag == 0:
		return in.Least, unknown, "no lag"
	case lagging == 0 && backoff > 0:
		return in.Least, unknown, fmt.Sprintf("a lag of %s, %s in back-off", behind, plural(backoff, "partition", "partitions"))
	case lagging == 0:
		return in.Least, unknown, fmt.Sprintf("a lag of %s, all in flight or in open windows", behind)
	case byBytes > bySlots:
		return byBytes, unknown, fmt.Sprintf("a lag of %s, limited by the byte rate of a poller", behind)
	case int(math.Ceil(slots)) >= lagging:
		return bySlots, unknown, fmt.Sprintf("a lag of %s in %s, one slot each", behind, plural(lagging, "partition", "partitions"))
	}
	return bySlots, unknown, fmt.Sprintf("a lag of %s, %.0f a second a slot", behind, slotRate)
}

// look notes the setting that is too small now, if there is one.
func (s *shortage) look(option string, lag int64, now time.Time) {
	if option != s.option || option == "" {
		*s = shortage{option: option, since: now, lag: lag}
		return
	}
	if now.Sub(s.since) >= shortEvery {
		s.grows = lag > s.lag
		s.since, s.lag = now, lag
	}
}

// holds names the setting under which the lag grows, or is "".
func (s *shortage) holds() string {
	if !s.grows {
		return ""
	}
	return s.option
}

// limited is how many pollers there may be after a throttle or a step that did
// not help, or 0. What was limited comes back in steps.
func (s *scaler) limited(in *ScaleSample) int {
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

// judge says whether a step up is to be undone, and to what. It waits for
// three invocations, and judges only what was tried: slots that were busy, and
// enough of them to make a difference that can be told from noise.
func (s *scaler) judge(in *ScaleSample) (undo int, ok bool) {
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

func clamp(n, least, most int) int { return min(max(n, least), most) }

// bounds are how few and how many pollers there may be with so many
// partitions.
func bounds(c *settings, partitions int) (least, most int) {
	partitions = max(1, partitions)
	if c.onDemand {
		return 1, partitions
	}
	return min(c.minPollers, partitions), min(c.maxPollers, partitions)
}
