package scaling

import "time"

const (
	stepFactor   = 4 // after a round of calls
	blindFactor  = 2 // where none has ended
	blindEvery   = time.Second
	blindSeldom  = 15 * time.Second
	mostOfRound  = 63                   // calls that say how long one takes, however many slots there are
	blindQuarter = 4                    // of a call's time between two blind steps
	firstCalls   = 5                    // must have ended where a trace begins in the middle
	firstLook    = 5 * time.Millisecond // of a call, after which it has said that it waits
	fewCalls     = 4                    // of a slot: then there is nothing to be learned from a round
)

// A growth says how far the number of pollers may go up at once. What so many calls
// at once do to a function is not known before they are made. So a step is bounded,
// and the next one waits for a round of calls, which tells whether this one harmed;
// or, where calls take long, for a part of that time.
type growth struct {
	at        time.Time // of the last step, or of the first sample
	completed int64     // by then
}

// decided notes a step.
func (g *growth) decided(in *Sample, to int) {
	if g.at.IsZero() || to > in.Pollers {
		g.at, g.completed = in.At, in.Completed
	}
}

// Round is how many calls are a round: one for each slot that can be busy, with so
// many partitions, and 63 at most. When one has ended after a step, a [Scaler] is
// better asked at once.
func Round(slots, partitions int) int64 {
	return int64(clamp(min(slots, partitions), 1, mostOfRound))
}

func (in *Sample) round() int64 { return Round(in.Slots, len(in.Lanes)) }

// every is the time between two steps of which nothing is known.
func (g *growth) every(in *Sample) time.Duration {
	if in.Completed == 0 {
		return blindEvery
	}
	return min(max(in.BatchTime/blindQuarter, blindEvery), blindSeldom)
}

// may is how many pollers there may be now. known is whether it is known what those
// that there are do to the function. That is not to be had from calls that are all
// smaller than they could be; but these are no sign of much work either.
func (g *growth) may(in *Sample, known bool) int {
	switch {
	case g.at.IsZero():
		// The first sample, which may come in the middle: after a pause, or in a
		// replay.
		if in.Completed >= firstCalls {
			return stepFactor * in.Pollers
		}
		return in.Pollers
	case in.Completed-g.completed >= in.round() && (known || in.Round == 0):
		return stepFactor * in.Pollers
	case in.Busy*10 >= in.Slots*8 && in.At.Sub(g.at) >= g.every(in):
		return blindFactor * in.Pollers
	}
	return in.Pollers
}

// early reports whether nothing is known of the function, not even that its calls
// wait for a place of its own, which they say as they begin.
func (g *growth) early(in *Sample) bool { return in.Completed == 0 && in.BatchTime < firstLook }

// up is a step up to the target, or towards it. The target is had at once where each of
// its slots gets a few calls only: after a round of them it would be over.
func (g *growth) up(in *Sample, target int, known bool, calls float64, why Reason) (int, Reason) {
	may := g.may(in, known)
	if g.early(in) {
		may = in.Pollers
	} else if slots := target * max(1, in.Concurrency); calls <= float64(fewCalls*slots) {
		may = max(may, target)
	}
	switch {
	case may <= in.Pollers:
		r := Reason{Cause: Measuring, Lag: why.Lag, Partitions: why.Partitions, Wanted: why.Wanted, Calls: in.Completed - g.completed, Of: in.round(), Limit: Measuring}
		if g.at.IsZero() {
			r.Calls = 0
		}
		return in.Pollers, r
	case may < target && why.Limit == NoCause:
		why.Allowed, why.Limit = may, Measuring
	}
	return min(may, target), why
}
