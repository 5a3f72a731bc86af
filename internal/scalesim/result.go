package scalesim

import (
	"math"
	"time"
)

// A Result is what a run showed.
type Result struct {
	// Drained is when the last record was settled, and Left is how many were not
	// when the run ended, but for those of poison partitions.
	Drained time.Duration
	Ended   time.Duration
	Settled int64
	Left    int64

	// Lag is how long records took from when they came to when they were settled,
	// and CallTime how long calls took that succeeded.
	Lag, CallTime Histogram

	// PollerTime is the time of all pollers together, even of those that are leaving
	// and still have a call.
	PollerTime time.Duration
	// WorkTime is that in which the function worked on calls, had each gone at full
	// speed, over the calls of a poller: the pollers that it would have kept busy.
	WorkTime time.Duration

	Calls, Failed, Throttled int64

	// Steps are the changes of the number of pollers.
	Steps []Step
	Peak  int // pollers at most
	// Needed is how many pollers were busy at most in any second on average, but
	// for calls beyond the knee.
	Needed int

	Series []Point
}

// A Step is a change of the number of pollers.
type Step struct {
	At       time.Duration
	From, To int
	// Bounds is whether only these moved it.
	Bounds bool
}

// A Point is how it was at a time.
type Point struct {
	At      time.Duration
	Lag     int64
	Pollers int
	Busy    int
	Settled int64
	Calls   int64 // which have succeeded
}

// Turns is how often the number of pollers turned from up to down, or from down to
// up, from one time to another. What only the bounds moved is no turn.
func (r *Result) Turns(from, to time.Duration) (n int) {
	way := 0
	for _, s := range r.Steps {
		if s.Bounds || s.From == s.To {
			continue
		}
		now := 1
		if s.To < s.From {
			now = -1
		}
		if way != 0 && now != way && s.At >= from && s.At < to {
			n++
		}
		way = now
	}
	return n
}

// Overshoot is how many pollers there were at most that nothing needed.
func (r *Result) Overshoot() int { return max(0, r.Peak-r.Needed) }

// A Histogram is how often something took how long, within one percent.
type Histogram struct {
	counts []float64
	zero   float64
	total  float64
	most   time.Duration
}

const histogramStep = 1.02

var histogramLog = math.Log(histogramStep)

// Add counts something that took so long, so many times.
func (h *Histogram) Add(d time.Duration, n float64) {
	h.total += n
	h.most = max(h.most, d)
	if d < 1000 {
		h.zero += n
		return
	}
	at := int(math.Log(float64(d)/1000) / histogramLog)
	for at >= len(h.counts) {
		h.counts = append(h.counts, 0)
	}
	h.counts[at] += n
}

// Count is how many there are.
func (h *Histogram) Count() float64 { return h.total }

// Max is the longest.
func (h *Histogram) Max() time.Duration { return h.most }

// Quantile is how long that share of them took at most; 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	left := q * h.total
	if left -= h.zero; left <= 0 {
		return 0
	}
	for at, n := range h.counts {
		if left -= n; left <= 1e-9*h.total {
			return min(h.most, time.Duration(1000*math.Exp((float64(at)+0.5)*histogramLog)))
		}
	}
	return h.most
}
