package scaling

import "time"

// rates are what the differences between samples say: how many records a second
// arrive in each partition, and how many are settled.
type rates struct {
	ends     map[partition]end
	arrivals map[partition]float64

	settled    float64
	measuredAt time.Time // until when that was measured,
	measured   int64     // and how many were settled by then
}

type end struct {
	offset int64
	at     time.Time
}

// learn takes rates from the difference to the sample before.
func (r *rates) learn(in *Sample) {
	ends := make(map[partition]end, len(in.Lanes))
	arrivals := make(map[partition]float64, len(in.Lanes))
	for i := range in.Lanes {
		l := &in.Lanes[i]
		p := l.partition()
		was, seen := r.ends[p]
		if l.End < 0 {
			if seen {
				ends[p], arrivals[p] = was, r.arrivals[p]
			}
			continue
		}
		now := end{l.End, in.At}
		if !seen {
			ends[p] = now
			continue
		}
		seconds := in.At.Sub(was.at).Seconds()
		if seconds < 0.5 {
			// Too close for a rate: measure from where it was.
			ends[p], arrivals[p] = was, r.arrivals[p]
			continue
		}
		rate := float64(max(0, l.End-was.offset)) / seconds
		if old, ok := r.arrivals[p]; ok {
			rate = old + (rate-old)*0.5
		}
		ends[p], arrivals[p] = now, rate
	}
	r.ends, r.arrivals = ends, arrivals
	// Records are settled by the batch, and often many batches at once: what
	// comes in less time than an invocation takes is no rate.
	switch ran := in.At.Sub(r.measuredAt); {
	case r.measuredAt.IsZero():
		r.measuredAt, r.measured = in.At, in.Settled
	case ran >= max(500*time.Millisecond, 2*in.BatchTime):
		r.settled = float64(in.Settled-r.measured) / ran.Seconds()
		r.measuredAt, r.measured = in.At, in.Settled
	}
}
