package engine

import (
	"time"

	"github.com/seed429fd032/esm/scaling"
)

// Sample is what the scaler gets to know. There is nothing to scale before the
// group has given an assignment, even an empty one.
func (e *Engine) Sample(now time.Time) (s scaling.Sample, ok bool) {
	e.mu.Lock()
	defer e.unlock()
	if e.counts.Rebalances == 0 {
		return s, false
	}
	b := e.bounds()
	s = scaling.Sample{
		At: now, Lanes: make([]scaling.Lane, 0, len(e.lanes)),
		Pollers: e.pool.Size(), Concurrency: b.slots, Least: b.least, Most: b.most, ByteRate: e.cfg.PollerByteRate,
		MaxConcurrency: b.concurrency, Busy: e.pool.Busy(), Slots: e.pool.Slots(),
		Completed: e.pace.Completed, Settled: e.counts.Settled, Throttled: e.counts.Throttles - e.counts.apart,
		Failed: e.pace.Failed, Round: e.pace.Round.Full, BusyTime: e.pool.BusyTime(now),
		Idle: e.holds != 0, MemoryBudget: e.memory.Budget(),
	}
	s.RoundTime, s.RoundSpread = e.pace.Round.Times()
	for l := range e.leases {
		if _, waits := l.ran(now); waits {
			s.Waiting++
		}
	}
	s.BatchTime, s.BatchRecords, s.BatchBytes = e.pace.Batch(e.cfg.BatchSize, e.recordBytes())
	if e.pace.Completed == 0 {
		for l := range e.leases {
			ran, _ := l.ran(now)
			s.BatchTime = max(s.BatchTime, ran)
		}
	}
	closed := !e.limitedAt.IsZero() && !e.queue.any()
	for _, l := range e.lanes {
		// While each lane has an invocation, memory holds nobody up.
		if closed && (l.state == laneIdle || l.state == laneFilling) && e.starved(l, e.cfg.BatchSize, now) {
			s.MemoryLimited = true
		}
		ls := scaling.Lane{Topic: l.Topic, Partition: l.Partition, Lag: -1, End: l.end, Backoff: l.state == laneWaiting || l.discarding()}
		if lag, known := l.lag(now); known {
			ls.Lag = lag
		}
		if l.state == laneFilling {
			ls.Waiting = int64(l.count)
		} else if p := l.part(); p != nil {
			ls.Waiting = int64(len(p.records))
		}
		s.Lanes = append(s.Lanes, ls)
	}
	return s, true
}

// Decided does what the scaler decided. Partitions may have come or gone since the
// sample that it decided on.
func (e *Engine) Decided(d scaling.Decision, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	e.scaleReason = d.Reason
	e.scale(d, now)
	e.fit(scaling.Assignment, now)
}

// fit keeps the number of pollers within its bounds, of which the assigned
// partitions are one, and says why it had to.
func (e *Engine) fit(why scaling.Cause, now time.Time) {
	b := e.bounds()
	if b.slots != e.slots {
		e.slots = b.slots
		e.pool.Reconfigure(b.slots, e.cfg.PollerByteRate, now)
		e.pace.Round.Begin(now)
	}
	e.scale(scaling.Decision{To: min(max(e.pool.Size(), b.least), b.most), Reason: scaling.Reason{Cause: why}}, now)
	if e.cfg.GroupBounds {
		e.kick(now) // the calls may have got more room, whatever the pollers
	}
}

// scale sets the number of pollers.
func (e *Engine) scale(d scaling.Decision, now time.Time) {
	d.From = e.pool.Size()
	if d.From == d.To {
		return
	}
	e.pool.Resize(d.To, now)
	e.pace.Round.Begin(now)
	e.askedFor = 0
	e.scaleReason = d.Reason
	e.later(func() { e.watch.Scaled(d) })
	e.kick(now)
}

// Between two questions to the scaler because calls wait lies this much, and this
// much for each partition, which a sample looks at.
const (
	askAfter  = 5 * time.Millisecond
	askPerOne = 20 * time.Microsecond
)

// ask rings for the scaler if more wait for a slot than slots will be free after
// one call each. It is asked every second anyway; but a call may take less.
func (e *Engine) ask(now time.Time) {
	slots := e.pool.Slots()
	if e.pool.Busy() < slots || e.queue.size() <= slots {
		e.askedFor = 0
		return
	}
	if e.holds != 0 || e.throttledUntil.After(now) || e.saturated() {
		return
	}
	if e.pool.Size() >= e.bounds().most {
		return
	}
	// Not again for the same crowd: what was answered is not going to be different.
	switch next := e.askedAt.Add(askAfter + time.Duration(len(e.lanes))*askPerOne); {
	case e.queue.size() <= e.askedFor+e.askedFor/4:
	case now.Before(next):
		e.askAgain = next
		e.alarm(next)
	default:
		e.askedAt, e.askedFor, e.askAgain = now, e.queue.size(), time.Time{}
		e.ScaleBell.Ring()
	}
}
