package esm

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

// An UnreadableError says that records of a partition cannot be read, however
// often that is tried: their batch is corrupt, or expands beyond what the client
// may decompress at once (kgo.MaxDecompressBatchBytes, 1 GiB unless
// [Source].Client says otherwise). It is the Err of a [Problem] and in what
// [Mapping.Healthy] returns. The partition waits; no other does. Its leader is
// asked again now and then, in case that another broker has a copy that can be
// read. [Mapping.SkipUnreadable] passes over the records.
type UnreadableError struct {
	TopicPartition
	// From is the first offset that cannot be read, and To the one after the
	// last of its batch. Between them may be fewer records than offsets.
	From, To int64
	// Err is what is wrong with it.
	Err error
}

// Error says what cannot be read and what to do.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("offsets %d to %d of %s/%d cannot be read: %s; Mapping.SkipUnreadable passes over them", e.From, e.To-1, e.Topic, e.Partition, guard.Text(e.Err))
}

// Unwrap returns what is wrong.
func (e *UnreadableError) Unwrap() error { return e.Err }

// SkipUnreadable passes over records of a partition that cannot be read, from an
// offset on: [UnreadableError].From, so that nobody passes over others than he
// has looked at. It only asks for that, and it has to be asked for again if what
// comes before is read again meanwhile: the Problem is then there again. Once all
// that comes before is settled, the [Destination] gets one [Discard] for all of
// them, with [ReasonUnreadable], the *UnreadableError as its Err, and a Record that
// has only coordinates. Without a Destination they are dropped. Until that was done
// and committed another member of the group, or this one after a crash, meets them
// again.
//
// It returns an error if the partition is not this process's, or if no
// unreadable records begin at that offset.
func (m *Mapping) SkipUnreadable(tp TopicPartition, from int64) error {
	m.mu.Lock()
	r := m.run
	m.mu.Unlock()
	if r == nil {
		return errors.New("esm: skip: the mapping was not started")
	}
	return r.engine.skip(partition.ID(tp), from, time.Now())
}

// skip has a lane pass over what cannot be read.
func (e *engine) skip(tp partition.ID, from int64, now time.Time) error {
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
	e.problem(problemWith(tp.Topic, tp.Partition), nil, now)
	return nil
}

// unread notes that records of a lane cannot be read. The lane is not fetched
// any more: the client would try the same again and again, or does not try at
// all, which it says once.
func (e *engine) unread(l *lane, u *UnreadableError, now time.Time) {
	u.Err = guard.Keep(u.Err)
	l.unreadable, l.named = u, true
	l.still.tries++
	l.still.due = now.Add(askAgainAfter(l.still.tries))
	e.problem(problemWith(l.Topic, l.Partition), u.copy(), now)
	e.later(e.repause)
}

// skipped makes the work of a lane that passes over what cannot be read, when
// nothing that comes before it is left, and has what comes after it fetched.
func (e *engine) skipped(l *lane, now time.Time) *work {
	u := l.skipping
	l.skipping = nil
	records := []record{{offset: u.To - 1}}
	f := &firstPart{part: part{lane: l, from: l.taken, records: records, kafka: []*kgo.Record{{Topic: u.Topic, Partition: u.Partition, Offset: u.From, Timestamp: time.UnixMilli(-1)}}}}
	f.heads.first = head{from: u.From, epoch: l.leaderEpoch}
	f.left[0] = portion{records: records, reason: planReasonUnreadable, account: account{firstAt: now, lastAt: now, firstErr: u.copy(), lastErr: u.copy()}}
	f.part.left = f.left[:1:1]
	l.taken = u.To
	// Only now: what comes after it would stand in one queue with what comes before.
	l.next, l.nudge = max(l.next, u.To), true
	e.rewind(l)
	return f.alone()
}

// passing is what a lane is about to pass over because it cannot be read, as far
// as that is not settled, or nil.
func (l *lane) passing() *UnreadableError {
	if l.skipping != nil {
		return l.skipping
	}
	if p := l.part(); p != nil && len(p.left) > 0 && p.left[0].reason == planReasonUnreadable {
		return &UnreadableError{TopicPartition: TopicPartition(l.ID), From: p.heads.first.from, To: p.to()}
	}
	return nil
}

// copy is for those who may write into it.
func (e *UnreadableError) copy() *UnreadableError {
	c := *e
	return &c
}
