package engine

import (
	"slices"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

// Of a lane that stands still, or that cannot be read, or of which the client said
// something, its leader is asked directly what comes next. The engine says of
// which (questions), and does what the findings say (found). Those that the leader
// sends records of, and that stand still even so, are set back (setBack).

// A Question is what is to be found out about a lane: what comes at a position.
type Question struct {
	partition.ID
	Position int64
	lane     *lane
}

// A Finding is what the leader of a partition sent.
type Finding struct {
	Asked      time.Time   // when it was asked
	Err        error       // why it sent nothing, or nil
	Refused    bool        // it will not send any, as far as err says
	Unreadable *Unreadable // it sent what cannot be read
	// To is the offset up to which there is nothing to read: records that
	// compaction took, or of transactions that were aborted.
	To  int64
	End int64 // how far the partition can be read, -1 if that is not known
}

const (
	// AskEvery is how often there may be questions, and lanes are set back.
	AskEvery = time.Second
	// askAtOnce is how many lanes are asked about in one round.
	askAtOnce = 8
	// askAgainMost is the longest time between two questions about a lane.
	askAgainMost = 5 * time.Minute
)

// askAgainAfter is how long it takes until a lane is looked after again.
func askAgainAfter(tries int) time.Duration {
	return min(StandsAfter<<min(tries, 10), askAgainMost)
}

// Questions lists the lanes to be asked about, those first that have waited
// longest. Of each of the topics, of which it is to be found out whether they can
// be read, one lane is among them.
func (e *Engine) Questions(topics map[string]bool, now time.Time) (qs []Question) {
	e.mu.Lock()
	defer e.unlock()
	asked := map[string]bool{}
	for _, l := range e.lanes {
		if l.next < 0 || l.ending || l.gone || l.rewinding || l.still.due.After(now) {
			continue
		}
		told := l.said != nil || topics[l.Topic] && !asked[l.Topic]
		if l.unreadable != nil || l.still.stands() || told && e.holds == 0 {
			qs = append(qs, Question{l.ID, l.next, l})
			asked[l.Topic] = true
		}
	}
	slices.SortFunc(qs, func(a, b Question) int { return a.lane.still.due.Compare(b.lane.still.due) })
	return qs[:min(len(qs), askAtOnce)]
}

// Found books what was found out.
func (e *Engine) Found(q Question, f Finding, now time.Time) {
	f.Err = guard.Keep(f.Err)
	e.mu.Lock()
	defer e.unlock()
	l := q.lane
	if l.dead || l.ending {
		return
	}
	l.still.due = now.Add(askAgainAfter(l.still.tries))
	if l.next != q.Position || l.rewinding || l.rereading() || l.skipping != nil {
		return // it gets on
	}
	l.still.asked, l.still.found, l.still.refused = now, f.Err, f.Refused
	if f.End >= 0 {
		l.ends(f.End, f.Asked, now)
	}
	switch {
	case l.still.refused:
	case f.Unreadable != nil:
		if l.unreadable == nil || l.unreadable.From != f.Unreadable.From {
			l.still.tries = 0
		}
		e.unread(l, f.Unreadable, now)
	case f.To > 0:
		// No record comes that would say so.
		if moved := l.arrived(f.To); l.settled.Settle(l.next, f.To, 0) || moved {
			e.markDirty(l)
		}
		l.next = f.To
		if l.unreadable != nil {
			l.nudge = true // the client has stopped there
			e.rewind(l)
		}
		e.readable(l, now)
	case l.unreadable != nil: // and can be read now
		l.unreadable, l.nudge = nil, true
		e.rewind(l)
		e.readable(l, now)
	case !l.still.stands():
		e.readable(l, now)
	}
}

// SetBack has the client read all lanes from where they are that stand still even
// a while after their leader has sent something for them.
func (e *Engine) SetBack(now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	for _, l := range e.lanes {
		s := &l.still
		switch {
		case !s.stands() || l.next < 0 || l.ending || l.rewinding || l.unreadable != nil:
			continue
		case s.asked.IsZero() || s.refused || now.Sub(s.asked) < AskEvery || now.Before(s.again):
			continue
		}
		s.tries++
		s.again = now.Add(askAgainAfter(s.tries))
		s.asked, s.due = time.Time{}, s.again.Add(-2*AskEvery)
		l.nudge = true
		e.rewind(l)
		tp, position, stood := l.ID, l.next, s.stood
		e.later(func() { e.watch.SetBack(tp, position, stood) })
	}
}
