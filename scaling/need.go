package scaling

import (
	"math"
	"time"
)

const (
	// A backlog is to be dealt with in a round of calls, or on demand in ten seconds:
	// so a partition asks for a whole slot if it has a batch.
	shortestHorizon = 5 * time.Millisecond
	onDemandHorizon = 10 * time.Second
	// grace is for how long what arrives may pile up before it is a backlog, besides
	// the time in which it has to: that of a call, which its partition has, and of
	// another one, until there is a slot.
	grace = time.Second
	// utilised is how busy slots may be with what arrives. Those that there are
	// for it are kept while they would be busier than kept: so noise does not
	// move the number.
	utilised = 0.95
	mostBusy = 0.8 // with what arrives, as far as what waits is judged by it
	kept     = 0.85
)

// A need is how many pollers the records ask for.
type need struct {
	pollers int // whatever the bounds; 0 if known is false
	known   bool
	flow    int     // of these, what arrives asks for
	calls   float64 // that wait
	unknown int     // of how many partitions the lag is unknown
	why     Reason
}

// because is the reason of a limit that came up now.
func (n *need) because(c Cause, allowed int) Reason {
	return Reason{Cause: c, Lag: n.why.Lag, Partitions: n.why.Partitions, Wanted: n.pollers, Allowed: allowed, Limit: c}
}

// unknownReason is why the number stays.
func (n *need) unknownReason() Reason {
	return Reason{Cause: UnknownLag, Lag: n.why.Lag, Partitions: n.unknown, Wanted: n.pollers}
}

// A demand is what the lanes of a sample ask for.
type demand struct {
	lagging, backoff int     // lanes that a slot would help, and that wait to try again
	backlogged       int     // of these, lanes that have more than what just arrived
	slots            float64 // at most one a lane,
	flow             float64 // of these, for what arrives
	records          float64 // a second, of those
	calls            float64 // that the backlog takes
	slotRate         float64 // records a second of one slot
}

// demand sums up the lanes: each asks for the rate at which records arrive, and
// for its backlog to be dealt with within the horizon.
func (s *Scaler) demand(in *Sample) demand {
	d := demand{slotRate: in.BatchRecords / in.BatchTime.Seconds()}
	horizon, allowance, full := max(in.BatchTime, shortestHorizon), (grace + 2*in.BatchTime).Seconds(), utilised
	// Of what waits, as much comes anew until it is dealt with as slots are busy with
	// what arrives.
	spare := 1 - min(mostBusy, s.rates.all(in)/(d.slotRate*float64(max(1, in.Slots))))
	if s.mode == OnDemand {
		horizon, allowance, full, spare = onDemandHorizon, 0, 1, 1
	}
	busy := in.Busy
	for i := range in.Lanes {
		l := &in.Lanes[i]
		if l.Backoff {
			d.backoff++
		}
		if l.Lag < 0 || l.Backoff {
			continue
		}
		arrive := s.rates.of(l, s.mode)
		flow := arrive / full
		backlog := max(0, float64(max(0, l.Lag-l.Waiting))*spare-arrive*allowance)
		asked := flow + backlog/horizon.Seconds()
		if asked <= 0 {
			continue
		}
		d.lagging++
		if backlog > 0 {
			d.backlogged++
			d.calls += backlog / in.BatchRecords
		}
		if l.Waiting > 0 {
			busy--
		}
		d.slots += min(1, asked/d.slotRate)
		d.flow += min(1, arrive/kept/d.slotRate)
		d.records += min(asked, d.slotRate)
	}
	if d.backlogged > 0 && s.mode == Provisioned {
		// Calls whose partitions ask for nothing more have their slots yet.
		d.slots += float64(max(0, busy))
	}
	return d
}

// need is what a sample asks for. It notes the limit that falls short of it.
func (s *Scaler) need(in *Sample) need {
	lag, unknown := in.lag()
	n := need{known: true, unknown: unknown, why: Reason{Lag: lag}}
	if unknown == len(in.Lanes) && unknown > 0 {
		n.known, n.why = false, Reason{Cause: UnknownLag, Partitions: unknown}
		return n
	}
	if in.BatchTime <= 0 || in.BatchRecords <= 0 {
		switch {
		case lag == 0:
			n.why.Cause = NoLag
		case in.Throttled > 0:
			n.known, n.why.Cause = false, Throttles
		default:
			n.known, n.why.Cause = false, Measuring
			n.pollers, n.calls, n.why.Partitions = in.untried()
			n.why.Wanted = n.pollers
		}
		return n
	}
	d := s.demand(in)
	limit := NoLimit
	if most := in.MaxConcurrency; most != Unlimited && d.slots > float64(most) {
		limit = MaxConcurrency
		d.records *= float64(most) / d.slots
		d.flow *= float64(most) / d.slots
		d.slots = float64(most)
	}
	concurrency := float64(max(1, in.Concurrency))
	bySlots := ceil(d.slots / concurrency)
	n.flow = ceil(d.flow / concurrency)
	byBytes, perRecord := 0, in.BatchBytes/in.BatchRecords
	if in.ByteRate != Unlimited {
		byBytes = ceil(d.records * perRecord / float64(max(1, in.ByteRate)))
		n.flow = max(n.flow, ceil(d.flow*d.slotRate*perRecord/float64(max(1, in.ByteRate))))
	}
	switch {
	case byBytes > max(bySlots, in.Most):
		limit = PollerByteRate
	case bySlots > in.Most:
		limit = MaxPollers
	}
	if unknown == 0 {
		s.short.look(limit, lag, in.At)
	}
	n.pollers, n.calls = max(bySlots, byBytes), d.calls
	n.why = Reason{Lag: lag, Partitions: d.lagging, Wanted: n.pollers, SlotRate: d.slotRate}
	switch {
	case d.lagging == 0 && lag == 0:
		n.why = Reason{Cause: NoLag}
	case d.lagging == 0 && d.backoff > 0:
		n.why = Reason{Cause: Backoff, Lag: lag, Partitions: d.backoff}
	case d.lagging == 0:
		n.why = Reason{Cause: InFlight, Lag: lag}
	case byBytes > bySlots:
		n.why.Cause = ByteRate
		n.why.NeededByteRate = ceil(d.records * perRecord / float64(clamp(bySlots, max(1, in.Least), max(1, in.Most))))
	case d.backlogged > 0:
		n.why.Cause, n.why.Partitions = Backlog, d.backlogged
	default:
		n.why.Cause = Arrivals
	}
	return n
}

// untried is how many pollers could work on what waits while nothing is known of how
// long that takes, how many calls it is, and how many partitions lag.
func (in *Sample) untried() (pollers int, calls float64, lagging int) {
	slots, batch := 0.0, max(1, in.BatchRecords)
	for i := range in.Lanes {
		if l := &in.Lanes[i]; !l.Backoff && l.Lag > 0 {
			lagging++
			waiting := float64(max(0, l.Lag-l.Waiting)) / batch
			slots += min(1, waiting)
			calls += waiting
		}
	}
	slots += float64(max(0, in.Busy))
	if in.MaxConcurrency != Unlimited {
		slots = min(slots, float64(in.MaxConcurrency))
	}
	return ceil(slots / float64(max(1, in.Concurrency))), calls, lagging
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
