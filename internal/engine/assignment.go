package engine

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/scaling"
)

// Assign makes lanes for partitions that the group gave to this process. Where
// they begin is said later, by place. A partition that it has already, and that
// nobody took away, keeps its lane: the client may be past what the lane holds,
// and would not bring it again. If it does, the lane is reset. What was lost with
// a member's id, and is not among what is assigned, is the client's still, and
// begins where its commit says: see unplaced.
func (e *Engine) Assign(tps []partition.ID, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	var added []partition.ID
	var lanes []*lane
	e.recall(tps) // the client asks where they begin
	for i, tp := range slices.Concat(tps, e.forgotten()) {
		if e.lanes[tp] != nil {
			continue
		}
		l := newLane(tp)
		l.fetchedFrom = now
		l.unplaced = i >= len(tps)
		if s, ok := e.stood[tp]; ok && now.Sub(s.at) <= carryFor {
			l.still = s.carry(now)
		}
		delete(e.stood, tp)
		e.lanes[tp], e.stale = l, true
		e.schedule(l, now)
		added, lanes = append(added, tp), append(lanes, l)
	}
	e.member = true
	e.counts.Rebalances++
	e.fit(scaling.Assignment, now)
	total := len(e.lanes)
	if e.memory.SetLanes(total, now) {
		e.later(e.resize)
	}
	if len(added) > 0 && len(added) < total {
		e.welcome(lanes, now)
	}
	e.later(func() { e.watch.Assigned(added, total) })
}

// shelve takes a lane that no call runs for out of all queues, and frees what
// it holds.
func (e *Engine) shelve(l *lane) {
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
func (e *Engine) kill(l *lane, cause error, now time.Time) {
	if !l.dead {
		if l.state == laneLeased {
			e.busy[l.ID].Cancel(cause)
			e.freeQueue(l)
		} else {
			e.shelve(l)
		}
		l.dead = true
		e.died.fire()
	}
	if e.lanes[l.ID] == l {
		delete(e.lanes, l.ID)
		e.stale = true
		if l.still.stood > 0 {
			e.stood[l.ID] = l.still
		}
		e.problem(ProblemWith(l.Topic, l.Partition), nil, now)
	}
	e.reviewDestination(now)
	e.GateBell.Ring()
	if l.paused || l.gone || l.unplaced || l.unreadable != nil || l.skipping != nil {
		e.later(e.repause)
	}
}

// Leave notes that there is no group any more: the partitions, and with
// them the lag, are unknown.
func (e *Engine) Leave(now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	e.member = false
	e.memory.Forget()
	e.scale(scaling.Decision{To: 0, Reason: scaling.Reason{Cause: scaling.NoMember}}, now)
}

// Lose drops partitions that belong to somebody else already.
func (e *Engine) Lose(tps []partition.ID, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	e.lose(e.recall(tps), now)
}

// lose drops partitions, and the session with the group. The lock is held.
func (e *Engine) lose(tps []partition.ID, now time.Time) {
	cancelled := 0
	for _, tp := range tps {
		if l := e.lanes[tp]; l != nil {
			if l.state == laneLeased {
				cancelled++
			}
			e.kill(l, ErrRevoked, now)
		}
	}
	e.fit(scaling.Assignment, now)
	e.member, e.membership.id = false, ""
	e.sessionLost.fire()
	if len(tps) == 0 {
		return
	}
	gone := RevokeEvent{Partitions: slices.Clone(tps), Lost: true, Cancelled: cancelled, Total: len(e.lanes)}
	e.later(func() { e.watch.Revoked(gone) })
}

// Revoke lets what runs for partitions end, for most at most, has it committed
// by flush, and gives the partitions up. With bounds of the group it waits as long for
// other calls, until those that run fit what is left of the bounds. It returns the
// topics of which none is left. What was lost with the member's id is not revoked any
// more.
//
// # The order
//
// The lanes die after the commit, or nothing of them could be committed, and
// before revoke returns: from then on the partitions are somebody else's, and a
// commit that is still on its way must find them dead. See Books.
func (e *Engine) Revoke(ctx context.Context, ids []partition.ID, most time.Duration, flush func() error) (bereft []string) {
	e.mu.Lock()
	ids = e.recall(ids)
	e.unlock()
	if len(ids) == 0 {
		return nil
	}
	began := e.world.Now()
	var ours []*lane
	drain, done := context.WithTimeout(ctx, most)
	gone := RevokeEvent{Partitions: slices.Clone(ids)} // hooks may write into theirs
	gone.Cancelled = e.drain(drain, func() []*lane {
		for _, id := range ids {
			if l := e.lanes[id]; l != nil {
				ours = append(ours, l)
			}
		}
		return ours
	}, ErrRevoked, e.fits)
	done()
	gone.Waited = e.world.Now().Sub(began)
	gone.CommitErr = flush()

	e.mu.Lock()
	defer e.unlock()
	now := e.world.Now()
	for _, l := range ours {
		gone.Again += l.again()
		e.kill(l, ErrRevoked, now)
	}
	e.fit(scaling.Assignment, now)
	gone.Total = len(e.lanes)
	e.later(func() { e.watch.Revoked(gone) })
	return e.bereft(ids)
}

// bereft lists the topics of partitions that went, of which none is left. They
// may have gone because the topic is no more: a group of KIP-848 takes them
// away before a fetch could fail. If the Mapping stops, that is the reason. The
// lock is held.
func (e *Engine) bereft(went []partition.ID) []string {
	if e.holds&HoldStop != 0 {
		return nil
	}
	gone := map[string]bool{}
	for _, id := range went {
		gone[id.Topic] = true
	}
	for id := range e.lanes {
		delete(gone, id.Topic)
	}
	return slices.Collect(maps.Keys(gone))
}

// Diverged moves a lane back to where the log of the broker diverged from what
// was read.
func (e *Engine) Diverged(id partition.ID, to int64, err error, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	l := e.lanes[id]
	if l == nil || l.ending || l.next < 0 || to >= l.next {
		return
	}
	e.reset(l, to, err, now)
}

// A TopicFate is what became of a topic that was under suspicion.
type TopicFate int

const (
	TopicIsThere TopicFate = iota
	TopicGone              // it was deleted: nothing of it is fetched
	TopicAnew              // it was made again: what its lanes have is of the one before
)

// ReviewTopic does what the fate of a topic means for its lanes.
func (e *Engine) ReviewTopic(name string, fate TopicFate) {
	e.mu.Lock()
	defer e.unlock()
	for id, l := range e.lanes {
		switch {
		case id.Topic != name:
		case fate == TopicAnew:
			e.kill(l, ErrRevoked, e.world.Now())
		default:
			l.gone = fate == TopicGone
		}
	}
	e.later(e.repause)
}

// reset makes a new lane for a partition whose position moved backward, or
// whose broker lost what came after an offset. What was read before that
// offset and is not settled is kept, and begins anew; the rest will be read
// again.
func (e *Engine) reset(l *lane, to int64, err error, now time.Time) *lane {
	from := l.next
	n := newLane(l.ID)
	n.committed, n.offered, n.logStart, n.newest = l.committed, l.offered, l.logStart, l.newest
	n.end, n.endAt, n.endHeard, n.asked, n.fetchedFrom = l.end, l.endAt, l.endHeard, l.asked, l.fetchedFrom
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
	if l.rereading() || lowered || l.ahead.wrong {
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
	e.kill(l, ErrRevoked, now)
	e.lanes[n.ID] = n
	switch {
	case l.anchor, l.marked, max(n.committed, n.offered) > at:
		// Backward, so that a crash does not skip what is read again; or the commit
		// says that some of it is settled; or where to begin is to be written down,
		// and was not.
		n.anchor = true
		e.markDirty(n)
		e.Books.Bell.Ring()
	case n.committed >= 0 && n.committed < at, n.committed < 0 && l.next >= 0 && at > l.start:
		e.markDirty(n) // what the earlier lane settled and did not commit
	}
	e.schedule(n, now)
	e.counts.Resets++
	tp := n.ID
	e.later(func() { e.watch.PositionReset(tp, from, to, err) })
	return n
}

// keep queues what an earlier lane read of some offsets and did not settle: it
// will not be read again. A call for the earlier lane may still have it.
func (l *lane) keep(e *Engine, earlier *lane, from, to int64) {
	keep := func(s segment) {
		i, _ := plan.Find(s.records, from)
		j, _ := plan.Find(s.records, to)
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
		i, _ := plan.Find(p.records, r.Offset)
		s.records, s.kafka = append(s.records, p.records[i]), append(s.kafka, p.kafka[i])
		if p.contexts.each != nil {
			s.contexts.each = append(s.contexts.each, p.contexts.each[i])
		}
	}
	s.bytes = weight(s.records)
	s.cost = s.bytes + int64(len(s.records))*RecordOverhead
	return s
}
