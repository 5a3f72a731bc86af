package esm

import (
	"context"
	"time"

	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
)

// assign makes lanes for partitions that the group gave to this process. Where
// they begin is said later, by place. A partition that it has already, and that
// nobody took away, keeps its lane: the client may be past what the lane holds,
// and would not bring it again. If it does, the lane is reset.
func (e *engine) assign(tps []partition.ID, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	var added []partition.ID
	for _, tp := range tps {
		if e.lanes[tp] != nil {
			continue
		}
		l := newLane(tp)
		if s, ok := e.stood[tp]; ok && now.Sub(s.at) <= carryFor {
			l.still = s.carry(now)
		}
		delete(e.stood, tp)
		e.lanes[tp] = l
		e.schedule(l, now)
		added = append(added, tp)
	}
	e.member = true
	e.counts.rebalances++
	e.fit("partitions were assigned", now)
	info := AssignedInfo{Mapping: e.watch.name, Added: topicPartitions(added), Total: len(e.lanes)}
	e.later(func() { fire(e.watch, func(h *Hooks) func(AssignedInfo) { return h.Assigned }, info) })
}

// A placement says where a lane begins.
type placement struct {
	tp          partition.ID
	at          int64
	leaderEpoch int32
	committed   bool  // the group has this offset already
	anchor      bool  // commit it at once, although nothing was settled
	late        *lane // which the client has at a placeholder, and for which this was asked
}

// place says where lanes begin that nothing has arrived for. Others go on, or
// back, with what the client brings.
func (e *engine) place(ps []placement) {
	e.mu.Lock()
	anchors := false
	for _, p := range ps {
		l := e.lanes[p.tp]
		if l == nil || l.next > l.start || l.rereading() {
			continue
		}
		if p.late != nil && (p.late != l || !l.unplaced) {
			continue // somebody else may have committed more since that was asked
		}
		l.place(p.at, p.leaderEpoch)
		l.said = nil
		if l.unplaced {
			l.unplaced = false
			if p.late != nil {
				e.rewind(l) // until then what arrives is from the placeholder
			}
			e.later(e.repause)
		}
		if p.committed {
			l.committed = p.at
		}
		if p.anchor {
			l.anchor, anchors = true, true
			e.soil(l)
		}
	}
	if anchors {
		e.commitBell.ring()
	}
	e.unlock()
}

// shelve takes a lane that no call runs for out of all queues, and frees what
// it holds.
func (e *engine) shelve(l *lane) {
	if p := l.part(); p != nil {
		e.free(p)
	}
	e.unfile(l)
	e.freeQueue(l)
	l.work = nil
	l.state = laneIdle
}

// kill ends a lane: nothing of it counts any more, and a call that runs for it
// is cancelled. Its records are freed, except for those that the call has.
func (e *engine) kill(l *lane, cause error) {
	if !l.dead {
		if l.state == laneLeased {
			e.busy[l.ID].cancel(cause)
			e.freeQueue(l)
		} else {
			e.shelve(l)
		}
		l.dead = true
		e.died.fire()
	}
	if e.lanes[l.ID] == l {
		delete(e.lanes, l.ID)
		if l.still.stood > 0 {
			e.stood[l.ID] = l.still
		}
		e.problem(problemWith(l.Topic, l.Partition), nil, time.Now())
	}
	e.reviewDestination(time.Now())
	e.gateBell.ring()
	if l.paused || l.gone || l.unplaced || l.unreadable != nil || l.skipping != nil {
		e.later(e.repause)
	}
}

// leave notes that there is no group any more: the partitions, and with
// them the lag, are unknown.
func (e *engine) leave(now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	e.member = false
	e.memory.Forget()
	e.scale(0, "out of the group", now)
}

// lose drops partitions that belong to somebody else already.
func (e *engine) lose(tps []partition.ID, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	cancelled := 0
	for _, tp := range tps {
		if l := e.lanes[tp]; l != nil {
			if l.state == laneLeased {
				cancelled++
			}
			e.kill(l, errRevoked)
		}
	}
	e.fit("partitions were lost", now)
	e.member = false
	e.sessionLost.fire()
	if len(tps) == 0 {
		return
	}
	info := RevokedInfo{Mapping: e.watch.name, Partitions: topicPartitions(tps), Lost: true, Cancelled: cancelled}
	e.later(func() { fire(e.watch, func(h *Hooks) func(RevokedInfo) { return h.Revoked }, info) })
}

// drain starts nothing more for the lanes, and waits until nothing runs for
// them. When the time is over it cancels what runs, with this cause, and waits
// a moment longer. It returns how many calls it cancelled.
//
// A lane whose call goes on even then is dead afterwards. The others keep what
// they settled, and give up the rest.
func (e *engine) drain(ctx context.Context, lanes func() []*lane, cause error) (cancelled int) {
	e.mu.Lock()
	// Nobody waits again for a lane that was given up by an earlier drain: its
	// call ignores that its context ended.
	var ours []*lane
	for _, l := range lanes() {
		if l.dead {
			continue
		}
		ours = append(ours, l)
		l.ending = true
		if l.state == laneLeased {
			e.freeQueue(l)
		} else {
			e.shelve(l)
		}
	}
	e.awaitCalls(ctx, ours)
	calls := map[*lease]bool{}
	for _, l := range ours {
		if l.state == laneLeased {
			c := e.busy[l.ID]
			calls[c] = true
			c.cancel(cause)
		}
	}
	if len(calls) > 0 {
		// Most functions return at once when their context ends, and what
		// they say then still counts.
		grace, done := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
		e.awaitCalls(grace, ours)
		done()
	}
	for _, l := range ours {
		if l.state == laneLeased {
			l.dead = true
			e.died.fire()
		} else {
			e.shelve(l)
		}
	}
	e.unlock()
	return len(calls)
}

// drainAll is drain for all lanes, because the Mapping stops.
func (e *engine) drainAll(ctx context.Context) (cancelled int) {
	return e.drain(ctx, e.everyLane, errStopping)
}

// everyLane lists all lanes.
func (e *engine) everyLane() []*lane {
	lanes := make([]*lane, 0, len(e.lanes))
	for _, l := range e.lanes {
		lanes = append(lanes, l)
	}
	return lanes
}

// awaitCalls gives up the lock until no call runs for any of the lanes, or
// until ctx ends.
func (e *engine) awaitCalls(ctx context.Context, lanes []*lane) {
	for {
		running := false
		for _, l := range lanes {
			running = running || l.state == laneLeased
		}
		if !running || ctx.Err() != nil {
			return
		}
		changed := e.changed.wait()
		e.unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		e.mu.Lock()
	}
}

// cancelGrace is how long a cancelled call has to return before it counts as
// one that ignores its context.
const cancelGrace = 250 * time.Millisecond

// reset makes a new lane for a partition whose position moved backward, or
// whose broker lost what came after an offset. What was read before that
// offset and is not settled is kept, and begins anew; the rest will be read
// again.
func (e *engine) reset(l *lane, to int64, err error, now time.Time) *lane {
	from := l.next
	n := newLane(l.ID)
	n.committed, n.end, n.endAt, n.logStart = l.committed, l.end, l.endAt, l.logStart
	at, lowered := to, false
	if l.next >= 0 {
		at = min(to, l.settled.Frontier())
	}
	n.place(at, -1)
	if u := l.passing(); u != nil && u.From < to {
		// Nor would what was to be passed over be met again.
		at, lowered = min(at, u.From), true
		n.place(at, -1)
	}
	if l.rereading() || lowered {
		// What is missing below the new position would not come.
		n.rewinding = true
		e.rewinds = append(e.rewinds, n)
	} else {
		n.next = to
		if l.next >= 0 {
			n.settled = l.settled.Below(to)
		}
		n.keep(e, l, at, to)
	}
	e.kill(l, errRevoked)
	e.lanes[n.ID] = n
	switch {
	case n.committed > at:
		n.anchor = true // backward, so that a crash does not skip what is read again
		e.soil(n)
		e.commitBell.ring()
	case n.committed >= 0 && n.committed < at, n.committed < 0 && l.next >= 0 && at > l.start:
		e.soil(n) // what the earlier lane settled and did not commit
	}
	e.schedule(n, now)
	e.counts.resets++
	info := ResetInfo{Mapping: e.watch.name, TopicPartition: TopicPartition(n.ID), From: from, To: to, Err: err}
	e.later(func() { fire(e.watch, func(h *Hooks) func(ResetInfo) { return h.PositionReset }, info) })
	return n
}

// keep queues what an earlier lane read of some offsets and did not settle: it
// will not be read again. A call for the earlier lane may still have it.
func (l *lane) keep(e *engine, earlier *lane, from, to int64) {
	keep := func(s segment) {
		i, _ := find(s.records, from)
		j, _ := find(s.records, to)
		if i == j {
			return
		}
		s = s.cut(i, j, weight(s.records[i:j]))
		s.chunk = &memory.Chunk{Bytes: s.cost, Records: j - i}
		e.memory.Hold(s.chunk)
		l.push(s)
	}
	if p := earlier.part(); p != nil {
		keep(p.rest())
	}
	for _, s := range earlier.queue {
		keep(s)
	}
}

// rest are the records of a part that are not settled, as a segment.
func (p *part) rest() segment {
	s := segment{exposed: p.exposed, contexts: contexts{all: p.contexts.all}, heads: p.heads}
	for _, r := range p.unsettled() {
		i, _ := find(p.records, r.offset)
		s.records, s.kafka = append(s.records, p.records[i]), append(s.kafka, p.kafka[i])
		if p.contexts.each != nil {
			s.contexts.each = append(s.contexts.each, p.contexts.each[i])
		}
	}
	s.bytes = weight(s.records)
	s.cost = s.bytes + int64(len(s.records))*recordOverhead
	return s
}
