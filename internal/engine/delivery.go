package engine

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/plan"
)

// Deliveries take records that are given up to the Destination.
//
// # The invariant
//
// A record that is given up is settled only after the Destination took it. So
// the committed offset never passes a record of which nobody knows anything,
// whatever becomes of the Destination. AWS drops what it cannot deliver.
//
// A delivery is a lease without a poller: its lane is busy, revoke and stop wait
// for it and cancel it like an invocation, and what it says for a lane that
// died does not count. It takes no poller's slot, since those are for the
// function; there is at most one for each partition. Between failed deliveries
// the lane waits as in any back-off.

// startDeliveries starts one for each lane that waits for it.
func (e *Engine) startDeliveries(now time.Time) {
	for e.holds == 0 && len(e.discards) > 0 {
		l := e.discards[0]
		e.discards = e.discards[1:]
		e.workers++
		next := e.newLease(l.work, now)
		e.world.Go(func() { e.deliverer(next) })
	}
}

// deliverer delivers the records of a lease one after the other, until one is
// not taken or the lane ends.
func (e *Engine) deliverer(l *lease) {
	defer e.deliveryOver()
	p := l.work.parts[0]
	for more := true; more; {
		if p.left[0].Reason == plan.ReasonUnreadable {
			// There is nothing to make it of.
			p.kafka[0] = &kgo.Record{Topic: p.lane.Topic, Partition: p.lane.Partition, Offset: p.heads.first.from, Timestamp: time.UnixMilli(-1)}
		} else if p.again && !p.renew(1) {
			e.giveBack(l, []*part{p}, e.world.Now())
			return
		}
		record := p.handed(0)
		p.again = true
		e.mu.Lock()
		r := p.left[0]
		l.started, l.told = e.world.Now(), 0 // each record is a call of its own
		e.mu.Unlock()
		told := discardOf(&r, record)
		began := e.world.Now()
		dropped, err := false, l.TakenAway() // while hooks were told of the record before, or earlier
		if err == nil {
			dropped, err = e.world.Deliver(l.Ctx, record, r)
		}
		more = e.delivered(l, p, dropped, told, err, e.world.Now().Sub(began))
	}
}

// delivered books what became of a delivery, and reports whether the next
// record may be delivered at once.
func (e *Engine) delivered(l *lease, p *part, dropped bool, told DiscardEvent, err error, took time.Duration) (more bool) {
	delay := time.Duration(0)
	if err != nil {
		e.mu.Lock()
		backoff := e.cfg.Backoff
		e.mu.Unlock()
		delay = backoff(p.left[0].Deliveries + 1)
	}

	e.mu.Lock()
	defer e.unlock()
	now := e.world.Now()
	e.progress = now
	lane, r := p.lane, &p.left[0]
	cut := err != nil && l.TakenAway() != nil
	switch {
	case err == nil:
		e.counted(dropped, told, took)
		if !lane.dead {
			e.settle(p, r.Records[:1])
		}
		r.Records, r.Deliveries = r.Records[1:], 0
		e.reviewDestination(now)
	case !cut && !lane.dead:
		r.Deliveries++
		r.Due = now.Add(delay)
		e.counts.Undelivered++
		offset := r.Records[0].Offset
		e.problem("destination", guard.Keep(fmt.Errorf("%s/%d offset %d: %w", lane.Topic, lane.Partition, offset, err)), now)
		told.Took, told.DeliveryErr, told.Next = took, err, r.Due
		e.later(func() { e.watch.DeliveryFailed(told) })
	}
	if err == nil && len(r.Records) > 0 && !lane.dead && !lane.ending && e.holds == 0 {
		return true
	}
	e.unlease(l)
	if !lane.dead {
		if len(r.Records) == 0 {
			p.left = p.left[1:]
		}
		lane.state, lane.work = laneIdle, p.alone()
		switch {
		case len(p.left) == 0:
			e.finish(p, now)
		case !lane.ending:
			e.schedule(lane, now)
		}
	}
	e.unblock([]*part{p}, now)
	e.reviewDestination(now)
	e.changed.fire()
	e.GateBell.Ring()
	e.kick(now)
	return false
}

// deliveryOver counts the goroutine of a delivery off. Hooks have been told of
// all that it did: a stop waits for goroutines that are not counted off.
func (e *Engine) deliveryOver() {
	e.mu.Lock()
	defer e.unlock()
	e.workers--
	e.changed.fire()
}

// reviewDestination ends the problem with the destination if no lane has a
// record any more that it did not take.
func (e *Engine) reviewDestination(now time.Time) {
	if e.trouble("destination") == nil {
		return
	}
	for _, l := range e.lanes {
		if p := l.part(); p != nil && len(p.left) > 0 && p.left[0].Deliveries > 0 {
			return
		}
	}
	e.problem("destination", nil, now)
}

// counted notes a record that the Destination took.
func (e *Engine) counted(dropped bool, told DiscardEvent, took time.Duration) {
	if dropped {
		e.counts.Dropped++
	} else {
		e.counts.Delivered++
	}
	told.Took, told.Dropped = took, dropped
	e.later(func() { e.watch.Discarded(told) })
}

// discardOf describes the first record of a portion to the watcher. The record is a copy:
// a client of the Destination writes into the one that it gets.
func discardOf(r *plan.Portion, record *kgo.Record) DiscardEvent {
	own := *record
	return DiscardEvent{
		Record: &own, Reason: r.Reason, Attempts: r.Attempts, FirstErr: r.Account.FirstErr, Err: r.Account.LastErr,
		FirstFailed: r.Account.FirstAt, LastFailed: r.Account.LastAt, BatchID: r.Account.BatchID, BatchRecords: r.Account.BatchRecords,
		Delivery: r.Deliveries + 1,
	}
}

// heldUpAfter is how long a partition is held up by one batch before that is
// told.
const heldUpAfter = time.Minute

// watchBlockers tells of partitions that are held up.
func (e *Engine) watchBlockers(now time.Time) {
	for _, l := range e.lanes {
		if l.since.IsZero() || l.told || now.Sub(l.since) < heldUpAfter {
			continue
		}
		if b, held := l.blocker(); held {
			l.told = true
			e.later(func() { e.watch.HeldUp(b) })
		}
	}
}

// blocker is what holds a lane up, if anything does.
func (l *lane) blocker() (b BlockEvent, held bool) {
	p := l.part()
	if p == nil || len(p.left) == 0 || l.since.IsZero() && !l.discarding() {
		return b, false
	}
	b = l.heldBy(&p.left[0])
	if l.state == laneWaiting {
		b.Next = l.due
	}
	return b, true
}

// heldBy describes the records that hold a lane up.
func (l *lane) heldBy(r *plan.Portion) BlockEvent {
	b := BlockEvent{ID: l.ID, Offset: r.Records[0].Offset, Records: len(r.Records), Attempts: r.Attempts, Since: l.since,
		Err: r.Account.LastErr, Reason: r.Reason, Deliveries: r.Deliveries, BatchID: r.Account.BatchID}
	if r.Suspicion.Suspected() {
		b.Throttles = r.Suspicion.Times
	}
	return b
}
