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
	least, most := bounds(e.cfg, len(e.lanes))
	s = scaling.Sample{
		At: now, Lanes: make([]scaling.Lane, 0, len(e.lanes)),
		Pollers: e.pool.Size(), Concurrency: e.cfg.PollerConcurrency, Least: least, Most: most, ByteRate: e.cfg.PollerByteRate,
		MaxConcurrency: e.cfg.MaxConcurrency, Busy: e.pool.Busy(), Slots: e.pool.Slots(),
		Completed: e.pace.completed, Settled: e.counts.Settled, Throttled: e.counts.Throttles - e.counts.apart,
		Idle: e.holds != 0,
	}
	perRecord := 0.0
	if e.counts.Polled > 0 {
		perRecord = float64(e.counts.PolledBytes) / float64(e.counts.Polled)
	}
	for l := range e.leases {
		if _, waits := l.ran(now); waits {
			s.Waiting++
		}
	}
	s.BatchTime, s.BatchRecords, s.BatchBytes = e.pace.batch(e.cfg.BatchSize, perRecord)
	if e.pace.completed == 0 {
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

// bounds are how few and how many pollers there may be with so many
// partitions.
func bounds(c *Settings, partitions int) (least, most int) {
	partitions = max(1, partitions)
	if c.OnDemand {
		return 1, partitions
	}
	return min(c.MinPollers, partitions), min(c.MaxPollers, partitions)
}

// Decided does what the scaler decided. Partitions may have come or gone since the
// sample that it decided on.
func (e *Engine) Decided(d scaling.Decision, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	e.scaleReason = d.Reason
	e.scale(d, now)
	e.fit("partitions were assigned or revoked", now)
}

// fit keeps the number of pollers within its bounds, of which the assigned
// partitions are one, and says why it had to.
func (e *Engine) fit(why string, now time.Time) {
	least, most := bounds(e.cfg, len(e.lanes))
	e.scale(scaling.Decision{To: min(max(e.pool.Size(), least), most), Reason: why}, now)
}

// scale sets the number of pollers.
func (e *Engine) scale(d scaling.Decision, now time.Time) {
	d.From = e.pool.Size()
	if d.From == d.To {
		return
	}
	e.pool.Resize(d.To, now)
	e.scaleReason = d.Reason
	e.later(func() { e.watch.Scaled(d) })
	e.kick(now)
}
