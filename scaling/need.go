package scaling

import (
	"fmt"
	"math"
	"time"
)

// A need is how many pollers the records ask for.
type need struct {
	pollers int  // at least; 0 if known is false
	known   bool // anything can be said
	unknown int  // of how many partitions the lag is unknown
	why     string
}

// A demand is what the lanes of a sample ask for.
type demand struct {
	lagging, backoff int     // lanes that a slot would help, and that wait to try again
	slots            float64 // at most one a lane
	records          float64 // a second, of those
	slotRate         float64 // records a second of one slot
}

// demand sums up the lanes: each asks for the rate at which records arrive, and
// for its backlog to be dealt with within the horizon.
func (r *rates) demand(in *Sample) demand {
	d := demand{slotRate: in.BatchRecords / in.BatchTime.Seconds()}
	for i := range in.Lanes {
		l := &in.Lanes[i]
		if l.Backoff {
			d.backoff++
		}
		if l.Lag < 0 || l.Backoff {
			continue
		}
		asked := r.arrivals[l.partition()] + float64(max(0, l.Lag-l.Waiting))/horizon.Seconds()
		if asked <= 0 {
			continue
		}
		d.lagging++
		d.slots += min(1, asked/d.slotRate)
		d.records += min(asked, d.slotRate)
	}
	return d
}

// need is what a sample asks for. It notes the limit that falls short of it.
func (s *Scaler) need(in *Sample) need {
	lag, unknown := in.lag()
	n := need{pollers: in.Least, known: true, unknown: unknown}
	if unknown == len(in.Lanes) && unknown > 0 {
		return need{unknown: unknown}
	}
	if in.BatchTime <= 0 || in.BatchRecords <= 0 {
		switch {
		case lag == 0:
			n.why = "no lag"
			return n
		case in.Throttled > 0:
			return need{unknown: unknown, why: "the function throttles, and no invocation has completed"}
		}
		return need{unknown: unknown, why: "no invocation has completed"}
	}
	d := s.rates.demand(in)
	short := NoLimit
	if most := in.MaxConcurrency; most != Unlimited && d.slots > float64(most) {
		short = MaxConcurrency
		d.records *= float64(most) / d.slots
		d.slots = float64(most)
	}
	bySlots := ceil(d.slots / float64(max(1, in.Concurrency)))
	byBytes := 0
	if in.ByteRate != Unlimited {
		byBytes = ceil(d.records * in.BatchBytes / in.BatchRecords / float64(max(1, in.ByteRate)))
	}
	switch {
	case byBytes > max(bySlots, in.Most):
		short = PollerByteRate
	case bySlots > in.Most:
		short = MaxPollers
	}
	if unknown == 0 {
		s.short.look(short, lag, in.At)
	}
	behind := plural(lag, "record", "records")
	switch {
	case d.lagging == 0 && lag == 0:
		n.why = "no lag"
	case d.lagging == 0 && d.backoff > 0:
		n.why = fmt.Sprintf("a lag of %s, %s in back-off", behind, plural(d.backoff, "partition", "partitions"))
	case d.lagging == 0:
		n.why = fmt.Sprintf("a lag of %s, all in flight or in open windows", behind)
	case byBytes > bySlots:
		n.pollers, n.why = byBytes, fmt.Sprintf("a lag of %s, limited by the byte rate of a poller", behind)
	case int(math.Ceil(d.slots)) >= d.lagging:
		n.pollers, n.why = bySlots, fmt.Sprintf("a lag of %s in %s, one slot each", behind, plural(d.lagging, "partition", "partitions"))
	default:
		n.pollers, n.why = bySlots, fmt.Sprintf("a lag of %s, %.0f a second a slot", behind, d.slotRate)
	}
	return n
}

// lag sums up the lags that are known, and counts the others.
func (in *Sample) lag() (sum int64, unknown int) {
	for i := range in.Lanes {
		if in.Lanes[i].Lag < 0 {
			unknown++
		} else {
			sum += in.Lanes[i].Lag
		}
	}
	return sum, unknown
}

// ceil rounds up, but for what is an error of rounding, to an int that exists.
func ceil(x float64) int {
	return int(min(math.Ceil(x-1e-9), math.MaxInt32))
}

// A shortage is a limit that keeps the Mapping from what the records ask for. It
// is reported only while the lag grows.
type shortage struct {
	limit Limit
	since time.Time
	lag   int64 // at that time
	grows bool  // as the last look said
}

// look notes the limit that falls short now, if there is one.
func (s *shortage) look(limit Limit, lag int64, now time.Time) {
	if limit != s.limit || limit == NoLimit {
		*s = shortage{limit: limit, since: now, lag: lag}
		return
	}
	if now.Sub(s.since) >= shortEvery {
		s.grows = lag > s.lag
		s.since, s.lag = now, lag
	}
}

// holds is the limit under which the lag grows.
func (s *shortage) holds() Limit {
	if !s.grows {
		return NoLimit
	}
	return s.limit
}

// plural is a number with the word for one, or for several.
func plural[N int | int64](n N, one, several string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, several)
}
