package scaling

import (
	"math"
	"time"
)

// rates are what the differences between samples say: how many records a second
// arrive in each partition.
type rates struct {
	lanes  map[partition]*arrivals
	grewAt time.Time // when an end was last seen to have moved
	over   bool      // that is a while ago
	round  int       // of learn
}

// arrivals are the records of one partition.
type arrivals struct {
	end   int64
	at    time.Time
	n     int     // how many times it was measured
	slow  float64 // records a second, over ten seconds
	fast  float64 // the same, over two looks: for on-demand
	round int     // of learn that saw it last
}

const (
	arrivalsOver  = 10 * time.Second
	arrivalsLeast = 500 * time.Millisecond // a shorter time gives no rate
)

// learn takes rates from the difference to the sample before.
func (r *rates) learn(in *Sample) {
	if r.lanes == nil {
		r.lanes = make(map[partition]*arrivals, len(in.Lanes))
	}
	r.round++
	for i := range in.Lanes {
		l := &in.Lanes[i]
		a := r.lanes[l.partition()]
		if a == nil {
			if l.End >= 0 {
				r.lanes[l.partition()] = &arrivals{end: l.End, at: in.At, round: r.round}
			}
			continue
		}
		a.round = r.round
		if l.End < 0 {
			continue
		}
		if l.End > a.end {
			r.grewAt = in.At
		}
		ran := in.At.Sub(a.at)
		if ran < arrivalsLeast {
			continue // measure from where it was
		}
		rate := float64(max(0, l.End-a.end)) / ran.Seconds()
		a.end, a.at = l.End, in.At
		if a.n++; a.n == 1 {
			a.slow, a.fast = rate, rate
			continue
		}
		a.fast += (rate - a.fast) / 2
		a.slow += (rate - a.slow) * max(1/float64(a.n), 1-math.Exp(-ran.Seconds()/arrivalsOver.Seconds()))
	}
	r.over = in.At.Sub(r.grewAt) >= flowEnded
	if len(r.lanes) > len(in.Lanes) {
		for p, a := range r.lanes {
			if a.round != r.round {
				delete(r.lanes, p)
			}
		}
	}
}

// all is how many records a second arrive in all lanes.
func (r *rates) all(in *Sample) (sum float64) {
	for i := range in.Lanes {
		sum += r.of(&in.Lanes[i], Provisioned)
	}
	return sum
}

// of is how many records a second arrive in a lane.
func (r *rates) of(l *Lane, m Mode) float64 {
	a := r.lanes[l.partition()]
	switch {
	case a == nil:
		return 0
	case m == OnDemand:
		return a.fast
	case r.over:
		return 0
	}
	return a.slow
}
