package engine

import (
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// Retention moves the start of a partition's log, whether records are read or
// not. What it took before it was read is told once, with its range, and is
// settled: the frontier passes it, and the lag does not count it.
//
// # What is lost
//
// What is between the position of a lane and the start of the log, and is not
// settled. What the lane has in memory is handled, wherever the log starts. So
// is what the client has ready to be polled: as long as it has something of a
// partition, nobody knows how far that goes, so the loss is told when that was
// handed over. The lag leaves it out at once.
//
// # How it is noticed
//
// A fetch says where the log starts, even one that brings no record: within one
// poll. Where nothing is fetched, because the lane or the Mapping is paused or
// memory is short, the brokers are asked: see askLag.
//
// # Once
//
// What is told is settled in the tracker, and only what is not settled is told.
// That holds even if the lane goes back and comes to the same start again. A
// response that was under way while a broker was asked may bring records that
// were told as lost. They are dropped, as all that is settled; that the
// position seems to go backward is no reset then. The rejected design, to set
// the client to the start of the log, ends the fetch sessions of all
// partitions, and throws away what it has ready.

// A span is a half-open range of offsets.
type span struct{ from, to int64 }

// expire notes that the log starts at an offset. It returns what was lost, and
// whether the frontier moved. leaderEpoch is that of the record there, or -1 if
// it is not known: what was lost may be of a later epoch than what was settled,
// so that a commit after it must not name that of what was settled.
func (l *lane) expire(start int64, leaderEpoch int32) (lost []span, moved bool) {
	if l.next < 0 || l.rewinding || start <= l.next {
		return nil, false
	}
	moved = l.arrived(start)
	// Of what is below taken, refilled knows what is lost.
	if from := max(l.next, l.taken); from < start {
		l.settled.Holes(from, start, func(from, to int64) { lost = append(lost, span{from, to}) })
		moved = l.settled.Settle(min(from, l.reached()), start, 0) || moved
		if l.leaderEpoch = max(l.leaderEpoch, leaderEpoch); leaderEpoch < 0 {
			l.leaderEpoch = -1
		}
	}
	from := l.next
	if l.expired.to == l.next {
		from = l.expired.from // nothing arrived in between
	}
	l.expired = span{from, start}
	l.next, l.fruitless = start, 0
	return lost, moved
}

// reached is the offset after the last record that arrived and is in memory or
// settled. The gap from there to what comes next belongs to that.
func (l *lane) reached() int64 {
	if n := len(l.queue); n > 0 {
		records := l.queue[n-1].records
		return records[len(records)-1].Offset + 1
	}
	return l.taken
}

// startsAt notes where the log of a lane starts, and tells what retention took before
// it was read.
func (e *Engine) startsAt(l *lane, start int64, leaderEpoch int32, now time.Time) {
	was := l.next
	lost, moved := l.expire(start, leaderEpoch)
	if l.next == was {
		return
	}
	if moved {
		e.markDirty(l)
	}
	if l.unreadable != nil || l.skipping != nil { // it is gone, or begins elsewhere now
		l.unreadable, l.skipping, l.nudge = nil, nil, true
		e.rewind(l)
		e.later(e.repause)
	}
	if l.rereading() || l.state == laneRereading {
		e.refilled(l.part(), start, now)
	}
	for _, s := range lost {
		e.tellLost(l.ID, s)
	}
}

// tellLost tells a range that was lost.
func (e *Engine) tellLost(tp partition.ID, s span) {
	e.counts.Lost += s.to - s.from
	e.later(func() { e.watch.RecordsLost(tp, s.from, s.to) })
}

// late reports whether what arrives from an offset on was told as lost, and
// does not come because the position moved backward.
func (l *lane) late(first int64) bool { return l.expired.from <= first && first < l.expired.to }
