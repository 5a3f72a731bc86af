package engine

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/mark"
	"github.com/seed429fd032/esm/internal/partition"
)

// A Placement says where a lane begins, or why nobody says that.
type Placement struct {
	partition.ID
	At          int64
	LeaderEpoch int32
	Committed   bool      // the group has this offset already
	Anchor      bool      // commit it at once, although nothing was settled
	Mark        mark.Mark // what the commit says is settled above it
	lane        *lane     // which the client has at a placeholder, and for which this was asked
	Err         error     // why it is not known; the rest means nothing then
}

// Place says where lanes begin that nothing has arrived for. Others go on, or
// back, with what the client brings.
func (e *Engine) Place(ps []Placement, now time.Time) {
	for i := range ps {
		ps[i].Err = guard.Keep(ps[i].Err)
	}
	e.mu.Lock()
	defer e.unlock()
	anchors := false
	for _, p := range ps {
		l := e.lanes[p.ID]
		if p.Err != nil {
			if l != nil && l.unplaced {
				l.said, l.named = p.Err, true
				e.problem(ProblemWith(p.Topic, p.Partition), p.Err, now)
			}
			continue
		}
		if l != nil && l.anchor && p.Committed && p.At > l.next {
			e.rewind(l) // the group does not know yet that it went back
			continue
		}
		if l == nil || l.next > l.start || l.rereading() {
			continue
		}
		if p.lane != nil && (p.lane != l || !l.unplaced) {
			continue // somebody else may have committed more since that was asked
		}
		l.place(p.At, p.LeaderEpoch)
		l.said = nil
		if l.unplaced {
			l.unplaced = false
			if p.lane != nil {
				e.rewind(l) // until then what arrives is from the placeholder
			}
			e.later(e.repause)
		}
		if p.Committed {
			l.committed = p.At
		}
		if len(p.Mark.Runs) > 0 {
			l.ahead = ahead{runs: p.Mark.Runs, epoch: p.Mark.Epoch}
			l.newest, l.marked, l.saidTo = p.Mark.Epoch, true, math.MaxInt64
		}
		if p.Anchor {
			l.anchor, anchors = true, true
			e.markDirty(l)
		}
	}
	if anchors {
		e.Books.Bell.Ring()
	}
}

// Unanswered lists the lanes that were to be placed and are not among what the
// coordinator answered.
func (e *Engine) Unanswered(answered map[string]map[int32]kgo.Offset) (ids []partition.ID) {
	e.mu.Lock()
	defer e.unlock()
	for id, l := range e.lanes {
		if _, ok := answered[id.Topic][id.Partition]; !ok && l.next < 0 && !l.unplaced && !l.ending {
			ids = append(ids, id)
		}
	}
	return ids
}

// Postpone has partitions not fetched whose beginning is not known yet, and says
// where the client is to have them: -1 is a placeholder. A lane that has begun
// already, since it was assigned without being taken away, goes on where it is.
// One that is not here any more is not in the answer.
func (e *Engine) Postpone(ids []partition.ID) map[partition.ID]int64 {
	at := map[partition.ID]int64{}
	e.mu.Lock()
	defer e.unlock()
	for _, id := range ids {
		switch l := e.lanes[id]; {
		case l == nil:
		case l.next >= 0:
			at[id] = l.next
		default:
			l.unplaced = true
			at[id] = -1
		}
	}
	return at
}

// Late lists the lanes that are to be placed, as placements that do not say where
// yet. Those of a topic that seems to be gone are among them: it may be there
// again, and nobody tells.
func (e *Engine) Late() (ps []Placement) {
	e.mu.Lock()
	defer e.unlock()
	for id, l := range e.lanes {
		if l.unplaced && !l.ending {
			ps = append(ps, Placement{ID: id, At: -1, LeaderEpoch: -1, lane: l})
		}
	}
	return ps
}
