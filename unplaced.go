package esm

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

// A placement says where a lane begins, or why nobody says that.
type placement struct {
	partition.ID
	at          int64
	leaderEpoch int32
	committed   bool  // the group has this offset already
	anchor      bool  // commit it at once, although nothing was settled
	lane        *lane // which the client has at a placeholder, and for which this was asked
	err         error // why it is not known; the rest means nothing then
}

// place says where lanes begin that nothing has arrived for. Others go on, or
// back, with what the client brings.
func (e *engine) place(ps []placement, now time.Time) {
	for i := range ps {
		ps[i].err = guard.Keep(ps[i].err)
	}
	e.mu.Lock()
	defer e.unlock()
	anchors := false
	for _, p := range ps {
		l := e.lanes[p.ID]
		if p.err != nil {
			if l != nil && l.unplaced {
				l.said, l.named = p.err, true
				e.problem(problemWith(p.Topic, p.Partition), p.err, now)
			}
			continue
		}
		if l == nil || l.next > l.start || l.rereading() {
			continue
		}
		if p.lane != nil && (p.lane != l || !l.unplaced) {
			continue // somebody else may have committed more since that was asked
		}
		l.place(p.at, p.leaderEpoch)
		l.said = nil
		if l.unplaced {
			l.unplaced = false
			if p.lane != nil {
				e.rewind(l) // until then what arrives is from the placeholder
			}
			e.later(e.repause)
		}
		if p.committed {
			l.committed = p.at
		}
		if p.anchor {
			l.anchor, anchors = true, true
			e.markDirty(l)
		}
	}
	if anchors {
		e.books.bell.ring()
	}
}

// unanswered lists the lanes that were to be placed and are not among what the
// coordinator answered.
func (e *engine) unanswered(answered map[string]map[int32]kgo.Offset) (ids []partition.ID) {
	e.mu.Lock()
	defer e.unlock()
	for id, l := range e.lanes {
		if _, ok := answered[id.Topic][id.Partition]; !ok && l.next < 0 && !l.unplaced && !l.ending {
			ids = append(ids, id)
		}
	}
	return ids
}

// postpone has partitions not fetched whose beginning is not known yet, and says
// where the client is to have them: -1 is a placeholder. A lane that has begun
// already, since it was assigned without being taken away, goes on where it is.
// One that is not here any more is not in the answer.
func (e *engine) postpone(ids []partition.ID) map[partition.ID]int64 {
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

// late lists the lanes that are to be placed, as placements that do not say where
// yet. Those of a topic that seems to be gone are among them: it may be there
// again, and nobody tells.
func (e *engine) late() (ps []placement) {
	e.mu.Lock()
	defer e.unlock()
	for id, l := range e.lanes {
		if l.unplaced && !l.ending {
			ps = append(ps, placement{ID: id, at: -1, leaderEpoch: -1, lane: l})
		}
	}
	return ps
}
