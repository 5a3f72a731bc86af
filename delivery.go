package esm

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
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
func (e *engine) startDeliveries(now time.Time) {
	for e.holds == 0 && len(e.discards) > 0 {
		l := e.discards[0]
		e.discards = e.discards[1:]
		e.workers++
		go e.deliverer(e.newLease(l.work, now))
	}
}

// deliverer delivers the records of a lease one after the other, until one is
// not taken or the lane ends.
func (e *engine) deliverer(l *lease) {
	p := l.work.parts[0]
	for more := true; more; {
		if p.left[0].reason == planReasonUnreadable {
			// There is nothing to make it of.
			p.kafka[0] = &kgo.Record{Topic: p.lane.Topic, Partition: p.lane.Partition, Offset: p.heads.first.from, Timestamp: time.UnixMilli(-1)}
		} else if p.again && !p.renew(1) {
			now := time.Now()
			e.giveBack(l, []*part{p}, now)
			e.mu.Lock()
			e.deliveryOver(now)
			e.unlock()
			return
		}
		record := p.handed(0)
		p.again = true
		e.mu.Lock()
		r := p.left[0]
		l.started, l.told = time.Now(), 0 // each record is a call of its own
		e.mu.Unlock()
		began := time.Now()
		dropped, err := false, l.takenAway() // while hooks were told of the record before, or earlier
		if err == nil {
			dropped, err = e.world.deliver(l.ctx, record, r)
		}
		more = e.delivered(l, p, dropped, err, time.Since(began))
	}
}

// delivered books what became of a delivery, and reports whether the next
// record may be delivered at once.
func (e *engine) delivered(l *lease, p *part, dropped bool, err error, took time.Duration) (more bool) {
	delay := time.Duration(0)
	if err != nil {
		e.mu.Lock()
		backoff := e.cfg.backoff
		e.mu.Unlock()
		delay = backoff(p.left[0].deliveries + 1)
	}

	e.mu.Lock()
	defer e.unlock()
	now := time.Now()
	e.progress = now
	lane, r := p.lane, &p.left[0]
	cut := err != nil && l.takenAway() != nil
	switch {
	case err == nil:
		e.counted(lane, dropped, r, took)
		if !lane.dead {
			e.settle(p, r.records[:1])
		}
		r.records, r.deliveries = r.records[1:], 0
		e.reviewDestination(now)
	case !cut && !lane.dead:
		r.deliveries++
		r.due = now.Add(delay)
		e.counts.undelivered++
		offset := r.records[0].offset
		e.problem("destination", guard.Keep(fmt.Errorf("%s/%d offset %d: %w", lane.Topic, lane.Partition, offset, err)), now)
		info := DeliveryFailedInfo{Mapping: e.watch.name, TopicPartition: TopicPartition(lane.ID), Offset: offset,
			Reason: Reason(r.reason), Deliveries: r.deliveries, Delay: delay, Err: err}
		e.later(func() { fire(e.watch, func(h *Hooks) func(DeliveryFailedInfo) { return h.DeliveryFailed }, info) })
	}
	if err == nil && len(r.records) > 0 && !lane.dead && !lane.ending && e.holds == 0 {
		return true
	}
	e.unlease(l)
	if !lane.dead {
		if len(r.records) == 0 {
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
	e.deliveryOver(now)
	return false
}

// deliveryOver counts the goroutine of a delivery off. It calls no user code any
// more.
func (e *engine) deliveryOver(now time.Time) {
	e.workers--
	e.changed.fire()
	e.gateBell.ring()
	e.kick(now)
}

// reviewDestination ends the problem with the destination if no lane has a
// record any more that it did not take.
func (e *engine) reviewDestination(now time.Time) {
	if e.problems["destination"] == nil {
		return
	}
	for _, l := range e.lanes {
		if p := l.part(); p != nil && len(p.left) > 0 && p.left[0].deliveries > 0 {
			return
		}
	}
	e.problem("destination", nil, now)
}

// counted notes a record that the Destination took.
func (e *engine) counted(l *lane, dropped bool, r *portion, took time.Duration) {
	if dropped {
		e.counts.dropped++
	} else {
		e.counts.delivered++
	}
	info := DiscardedInfo{Mapping: e.watch.name, TopicPartition: TopicPartition(l.ID), Offset: r.records[0].offset, Reason: Reason(r.reason),
		Attempts: r.attempts, Err: r.account.lastErr, Dropped: dropped, Took: took}
	e.later(func() { fire(e.watch, func(h *Hooks) func(DiscardedInfo) { return h.Discarded }, info) })
}

// heldUpAfter is how long a partition is held up by one batch before that is
// told.
const heldUpAfter = time.Minute

// watchBlockers tells of partitions that are held up.
func (e *engine) watchBlockers(now time.Time) {
	for _, l := range e.lanes {
		if l.since.IsZero() || l.told || now.Sub(l.since) < heldUpAfter {
			continue
		}
		if b := l.blocker(); b != nil {
			l.told = true
			info := HeldUpInfo{Mapping: e.watch.name, Blocker: *b}
			e.later(func() { fire(e.watch, func(h *Hooks) func(HeldUpInfo) { return h.HeldUp }, info) })
		}
	}
}

// blocker is the record that holds a lane up, or nil.
func (l *lane) blocker() *Blocker {
	p := l.part()
	if p == nil || len(p.left) == 0 || l.since.IsZero() && !l.discarding() {
		return nil
	}
	r := &p.left[0]
	b := &Blocker{TopicPartition: TopicPartition(l.ID), Offset: r.records[0].offset, Records: len(r.records), Attempts: r.attempts,
		Since: l.since, Err: r.account.lastErr, Reason: Reason(r.reason), Deliveries: r.deliveries}
	if l.state == laneWaiting {
		b.Next = l.due
	}
	return b
}

// A Blocker is a record that holds its partition up: the first one of those
// that are being tried again, or that wait for their [Destination].
type Blocker struct {
	TopicPartition
	Offset int64
	// Records is how many are tried together, it first.
	Records int
	// Attempts is how many attempts failed.
	Attempts int
	// Since is when the first attempt of its batch failed.
	Since time.Time
	// Next is when the next try is due, the zero time while one runs or is
	// about to.
	Next time.Time
	// Err is what the last attempt failed with.
	Err error
	// Reason is why it is given up, "none" while it is not, and Deliveries how
	// often the Destination has not taken it.
	Reason     Reason
	Deliveries int
}

// String says all of it in one line.
func (b Blocker) String() string {
	s := fmt.Sprintf("%s/%d is held up at offset %d (%d records, %d attempts", b.Topic, b.Partition, b.Offset, b.Records, b.Attempts)
	if !b.Since.IsZero() {
		s += " since " + b.Since.Format(time.TimeOnly)
	}
	if b.Reason != 0 {
		s += fmt.Sprintf(", given up: %s, delivery %d failed", b.Reason, b.Deliveries)
	}
	if !b.Next.IsZero() {
		s += ", next at " + b.Next.Format(time.TimeOnly)
	}
	s += ")"
	if b.Err != nil {
		s += ": " + guard.Text(b.Err)
	}
	return s
}
