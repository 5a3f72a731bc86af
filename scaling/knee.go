package scaling

import (
	"math"
	"time"
)

const (
	kneeTolerance    = 1.2                  // calls may take this much longer than at best
	kneeNoise        = 2 * time.Millisecond // and so much, whatever that is
	kneeForgets      = 10 * time.Minute
	kneeDeadBand     = 0.95
	kneeMoved        = 1.3  // times what was allowed: that is no noise
	kneeRound        = 0.25 // of a poller: three quarters of one make one
	kneePatience     = time.Second
	kneeJudged       = 5 * time.Second // or five calls: a step down is judged within that
	kneeMostPatience = time.Minute
	kneeHelps        = 0.85 // of the time before: what fewer calls must bring at least
	kneeFewer        = 1.7  // times: how many fewer they must be to be judged by that
)

// A knee is where more calls at once begin to make each take longer: the function,
// or what is behind it, has as much as it can do, and the rest waits inside. Beyond
// it, more calls bring no more records, only more latency.
//
// It is found as congestion control does (TCP Vegas; Netflix's gradient limits): of c
// calls at once that take t, where one took best at best, c·best/t are worked on,
// and the others wait in a queue. So c·best/t of them are enough. A fifth more is
// allowed, and the square root of c, so that it looks for more: with a function whose
// calls take best·c/k from k on, that is 1.7·k at k = 8.
//
// What it reads is the median of the calls that began after the number of pollers
// had changed, with full batches, and succeeded. Cold starts are few and long, so
// a median hardly sees them; failures are often quick.
//
// The limit goes down at once, and up after a second; each time that it was raised
// and went down again, it waits twice as long, up to a minute, unless the function can
// do much more than was allowed.
//
// The best time is the least of a curve: the time at so many calls at once, for
// each power of the square root of two. One number for it would be wrong for good
// once the function changed for another reason. So a step down is judged: where fewer
// calls take as long as before, it was not their number, and the curve begins
// anew. And points of it that are ten minutes old are forgotten.
type knee struct {
	curve map[int]point
	slots float64 // at most so many at once, 0 for any number
	read  Reason  // what was read last

	changed  time.Time     // when that was
	raised   bool          // the last time
	patience time.Duration // before it is raised again

	before time.Duration // the longest time since it began to go down,
	with   float64       // and how many calls at once that was, 0 once that was judged

	// What is measured now: since when, and what there was by then.
	since   time.Time
	busy    time.Duration
	round   int64
	pollers int

	knows bool // what so many pollers do to the function
}

// steady reports whether the times of the last calls are near enough to each other, or
// the calls so many, that their median is good for a tenth of itself: it deviates by
// 1.25 deviations over the root of their number, and the spread is 1.35 of these.
func (in *Sample) steady() bool {
	n := min(in.Round, mostOfRound)
	return n == mostOfRound || in.RoundSpread.Seconds() <= 0.1*in.RoundTime.Seconds()*math.Sqrt(float64(n))*1.35/1.25
}

// A point is how long a call takes.
type point struct {
	took time.Duration
	at   time.Time
}

// limit is how many pollers there may be, 0 for any number, and what was read.
func (k *knee) limit(in *Sample) (pollers int, why Reason) {
	switch {
	case k.since.IsZero() && in.Round >= in.round(): // the first sample comes late
		k.measured(in, float64(in.Busy))
		k.begin(in, in.Pollers, in.Round)
		k.knows = true
	case k.since.IsZero() || in.Pollers != k.pollers || in.Round < k.round:
		k.begin(in, in.Pollers, in.Round) // somebody else changed it
	case 2*(in.Round-k.round) >= in.round() && in.steady() && in.At.After(k.since):
		// Those that leave are in the time of the slots, and not in the calls.
		k.measured(in, min(float64(in.Slots), (in.BusyTime-k.busy).Seconds()/in.At.Sub(k.since).Seconds()))
		k.begin(in, in.Pollers, in.Round)
		k.knows = true
	}
	for at, p := range k.curve {
		if in.At.Sub(p.at) > kneeForgets {
			delete(k.curve, at)
		}
	}
	if len(k.curve) == 0 {
		k.slots = 0
	}
	if k.slots == 0 {
		return 0, k.read
	}
	return max(1, int(k.slots/float64(max(1, in.Concurrency))+kneeRound)), k.read
}

// decided notes a step, after which half a round says what it does.
func (k *knee) decided(in *Sample, to int) {
	if to != in.Pollers {
		k.begin(in, to, 0)
		k.knows = false
	}
}

func (k *knee) begin(in *Sample, pollers int, round int64) {
	k.since, k.busy, k.round, k.pollers = in.At, in.BusyTime, round, pollers
}

// measured takes in how long a call takes with so many at once.
func (k *knee) measured(in *Sample, calls float64) {
	calls = max(1, calls)
	took := max(in.RoundTime, time.Nanosecond)
	if in.At.Sub(k.changed) > max(kneeJudged, 5*took) {
		k.with = 0 // that is an old story
	}
	if k.with > 0 && calls <= k.with/kneeFewer {
		if took >= time.Duration(kneeHelps*float64(k.before)) {
			k.curve, k.slots = nil, 0 // it was not their number
		}
		k.with = 0
	}
	if k.curve == nil {
		k.curve, k.patience = map[int]point{}, kneePatience
	}
	at := int(math.Round(2 * math.Log2(calls)))
	p, known := k.curve[at]
	if known {
		p.took += (took - p.took) / 2
	} else {
		p.took = took
	}
	p.at = in.At
	k.curve[at] = p

	best := took
	for _, p := range k.curve {
		best = min(best, p.took)
	}
	k.read = Reason{CallTime: took, BestTime: best, BusySlots: int(math.Round(calls))}
	allowed := func(took time.Duration) float64 {
		ratio := 1.0
		if took > best+kneeNoise {
			ratio = best.Seconds() / took.Seconds()
		}
		return kneeTolerance*calls*ratio + math.Sqrt(calls)
	}
	switch n := allowed(took); {
	case n < kneeDeadBand*calls:
		if k.raised {
			k.patience = min(2*k.patience, kneeMostPatience)
		}
		if k.with == 0 {
			k.before, k.with = took, calls
		}
		k.before = max(k.before, took) // the first time is one before a change, in part
		k.slots, k.changed, k.raised = n, in.At, false
	case k.slots == 0 || calls < 0.75*float64(in.Slots): // or it is not known what more of them do
	case n >= kneeMoved*k.slots:
		k.slots, k.changed, k.raised, k.patience, k.with = n, in.At, true, kneePatience, 0
	case in.At.Sub(k.changed) >= k.patience:
		if n := allowed(p.took); n > k.slots {
			k.slots, k.changed, k.raised, k.with = n, in.At, true, 0
		}
	}
	if k.slots >= float64(in.Most*in.Concurrency) {
		k.slots = 0
	}
}
