package engine

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// An Unreadable is a batch of a partition that cannot be read, however often that
// is tried.
type Unreadable struct {
	From, To int64 // the first offset that cannot be read, and the one after the batch
	Err      error // what is wrong with it
}

// Said keeps what the client said about a partition: it may have been the last
// thing, since it says some things once and then leaves the partition alone. If
// what comes up to some offset cannot be read, it said that, and will not try
// again; to is -1 otherwise.
func (e *Engine) Said(tp partition.ID, err error, to int64) {
	err = guard.Keep(err)
	now := e.world.Now()
	e.mu.Lock()
	defer e.unlock()
	l := e.lanes[tp]
	if l == nil || l.skipping != nil {
		return // it was taken away meanwhile, or is to be passed over
	}
	l.said, l.named = err, true
	if !l.rewinding && l.next >= 0 && l.next < to { // or it said that of another position
		e.unread(l, &Unreadable{l.next, to, err}, now)
		return
	}
	e.problem(ProblemWith(tp.Topic, tp.Partition), err, now)
}

// Skip has a lane pass over what cannot be read.
func (e *Engine) Skip(tp partition.ID, from int64, now time.Time) error {
	e.mu.Lock()
	defer e.unlock()
	l := e.lanes[tp]
	switch {
	case l == nil:
		return fmt.Errorf("esm: skip: %s/%d is not assigned to this process", tp.Topic, tp.Partition)
	case l.unreadable == nil || l.unreadable.From != from:
		return fmt.Errorf("esm: skip: no unreadable records of %s/%d begin at offset %d: its position is %d", tp.Topic, tp.Partition, from, l.next)
	}
	u := l.unreadable
	l.unreadable, l.skipping = nil, u
	l.still = standstill{}
	if l.state == laneIdle {
		e.schedule(l, now)
	}
	e.problem(ProblemWith(tp.Topic, tp.Partition), nil, now)
	return nil
}

// unread notes that records of a lane cannot be read. The lane is not fetched
// any more: the client would try the same again and again, or does not try at
// all, which it says once.
func (e *Engine) unread(l *lane, u *Unreadable, now time.Time) {
	u.Err = guard.Keep(u.Err)
	l.unreadable, l.named = u, true
	l.still.tries++
	l.still.due = now.Add(askAgainAfter(l.still.tries))
	e.problem(ProblemWith(l.Topic, l.Partition), e.world.Unreadable(l.ID, u), now)
	e.later(e.repause)
}

// skipped makes the work of a lane that passes over what cannot be read, when
// nothing that comes before it is left, and has what comes after it fetched.
func (e *Engine) skipped(l *lane, now time.Time) *work {
	u := l.skipping
	l.skipping = nil
	records := []plan.Record{{Offset: u.To - 1}}
	f := &firstPart{part: part{lane: l, from: l.taken, records: records, kafka: []*kgo.Record{{Topic: l.Topic, Partition: l.Partition, Offset: u.From, Timestamp: time.UnixMilli(-1)}}}}
	f.heads.first = head{from: u.From, epoch: l.leaderEpoch}
	first, last := e.world.Unreadable(l.ID, u), e.world.Unreadable(l.ID, u)
	f.left[0] = plan.Portion{Records: records, Reason: plan.ReasonUnreadable, Account: plan.Account{FirstAt: now, LastAt: now, FirstErr: first, LastErr: last}}
	f.part.left = f.left[:1:1]
	l.taken = u.To
	// Only now: what comes after it would stand in one queue with what comes before.
	l.next, l.nudge = max(l.next, u.To), true
	e.rewind(l)
	return f.alone()
}

// passing is what a lane is about to pass over because it cannot be read, as far
// as that is not settled, or nil.
func (l *lane) passing() *Unreadable {
	if l.skipping != nil {
		return l.skipping
	}
	if p := l.part(); p != nil && len(p.left) > 0 && p.left[0].Reason == plan.ReasonUnreadable {
		return &Unreadable{From: p.heads.first.from, To: p.to()}
	}
	return nil
}
