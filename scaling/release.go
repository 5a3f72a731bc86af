package scaling

import "time"

const (
	keptShare    = 10 // pollers are kept for this part of the time for which they were needed,
	keptLeast    = 100 * time.Millisecond
	keptMost     = 30 * time.Second
	keptAtMost   = time.Minute // with regrets
	regretWithin = time.Minute
	regretFades  = 10 * time.Minute
	mostRegrets  = 8

	flowFor   = time.Minute     // what arrives keeps its pollers for so long
	flowEnded = 2 * time.Second // when nothing has come for so long, it has ended
)

// A release takes pollers away that are not needed. They are kept for a tenth of the
// time for which they were needed, so that they cost a tenth more at most. That alone
// would make the number go up and down with any load that comes and goes: so each time
// that pollers are needed again within a minute, the next wait is twice as long.
type release struct {
	upAt   time.Time // of the last step up, or of the first sample
	since  time.Time // since when fewer would do
	fewer  bool      // would do now
	downAt time.Time // when pollers went, because fewer did

	regrets int

	wanted mosts // since fewer would do
	flow   mosts // what arrives
}

// decided notes a decision.
func (r *release) decided(in *Sample, to int) {
	switch {
	case r.upAt.IsZero():
		r.upAt = in.At
	case to > in.Pollers:
		switch ago := in.At.Sub(r.downAt); {
		case r.downAt.IsZero():
		case ago > regretFades:
			r.regrets = 0
		case ago < regretWithin:
			r.regrets = min(r.regrets+1, mostRegrets)
		}
		r.upAt, r.downAt = in.At, time.Time{} // further steps are of the same regret
	}
	if !r.fewer || to > in.Pollers {
		r.since = time.Time{}
	}
	r.fewer = false
}

// arrived notes how many pollers what arrives needs now, and returns how many it
// has needed at most of late.
func (r *release) arrived(in *Sample, pollers int, ended bool) int {
	if ended {
		r.flow = r.flow[:0]
	}
	return r.flow.add(in.At, pollers, flowFor)
}

// down is a step down to the target, or the time until that.
func (r *release) down(in *Sample, target, flow int, why Reason) (int, Reason) {
	if flow >= in.Pollers {
		return in.Pollers, Reason{Cause: Arrivals, Lag: why.Lag, Partitions: why.Partitions, Wanted: flow, SlotRate: why.SlotRate}
	}
	r.fewer = true
	if r.upAt.IsZero() {
		r.upAt = in.At
	}
	if r.since.IsZero() {
		r.since, r.wanted = in.At, r.wanted[:0]
	}
	wait := min(max(r.since.Sub(r.upAt)/keptShare, keptLeast), keptMost)
	wait = min(wait<<r.regrets, keptAtMost)
	target = r.wanted.add(in.At, max(target, flow), wait)
	if left := wait - in.At.Sub(r.since); left > 0 {
		why.Wanted, why.Left = target, left
		return in.Pollers, why
	}
	if target == in.Pollers {
		return target, why
	}
	r.downAt = in.At
	return target, why
}

// mosts are how many pollers were needed at most, over short times.
type mosts []most

type most struct {
	at      time.Time // the end of that time
	pollers int
}

// add adds how many are needed now, and returns how many were at most for so long.
func (m *mosts) add(now time.Time, pollers int, last time.Duration) int {
	all := *m
	if n := len(all); n > 1 && now.Sub(all[n-2].at) < last/32 {
		all[n-1] = most{now, max(all[n-1].pollers, pollers)}
	} else {
		all = append(all, most{now, pollers})
	}
	old := 0
	for now.Sub(all[old].at) > last {
		old++
	}
	all = append(all[:0], all[old:]...)
	*m = all
	n := 0
	for _, f := range all {
		n = max(n, f.pollers)
	}
	return n
}
