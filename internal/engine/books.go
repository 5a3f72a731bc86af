package engine

import (
	"time"

	"github.com/seed429fd032/esm/internal/mark"
	"github.com/seed429fd032/esm/internal/partition"
)

// Books are the books of commits: which frontiers moved, which are on their
// way, and which were refused. They are the engine's, and belong to its lock. The
// committer gets nothing else of it: it asks for frontiers, sends them, and says
// what became of each.
//
// # The invariant
//
// The committed offset of a partition never passes the frontier of the lane
// that owns it, and nothing is committed for a partition after its revoke
// callback returned.
//
// # Why it is checked twice
//
// The client fills in the member id and the generation when it builds the
// request, and waits for a rebalance before it sends one. Neither client nor
// broker checks who owns a partition. So an offset that was right when it was
// collected may be wrong when it is sent: the partition was lost, somebody
// else went on with it, it came back, and the request is sent under the new
// generation and rewinds the work of the other. Therefore each frontier is
// looked at again in the moment before it is sent (MayCommit), and is dropped
// if its lane is dead, or if the request is made as another member than the one
// that the group gave the lane to: the client knows that a session is over before
// it says so, if it says so. See membership.
type Books struct {
	engine *Engine
	Bell   Bell // the committer: do not wait for your second

	dirty    []*lane                      // their frontier is to be committed
	refusals map[partition.ID]uncommitted // what was not committed when it was tried last
	sending  *sentCommit                  // the request that has no answer yet, or nil
}

// A Frontier is how far a lane was settled at one moment.
type Frontier struct {
	partition.ID
	At          int64
	LeaderEpoch int32
	Mark        mark.Mark // what was settled above it
	lane        *lane
	settles     uint64 // the lane's, then
}

// A CommitAnswer is what became of a frontier that was to be committed. Whoever
// sent it judges the error, and not the engine: errors of connections can be the
// user's, and may do anything when they are asked what they are.
type CommitAnswer struct {
	Err     error // why it was not committed, kept by guard; nil if it was
	Unsent  bool  // it was not sent, because it could not be committed any more
	Said    int   // how many runs of the mark were committed with it, the first ones
	Passing bool  // the error is of a kind that goes away by itself
}

// markDirty has the frontier of a lane committed.
func (e *Engine) markDirty(l *lane) {
	if !l.dirty {
		l.dirty = true
		e.Books.dirty = append(e.Books.dirty, l)
	}
}

// Frontiers takes the frontiers that are to be committed, with what is settled above
// them, if marks can be committed. If there are any, a request is under way until
// Committed is told what became of them.
func (b *Books) Frontiers(marks bool, now time.Time) []Frontier {
	e := b.engine
	e.mu.Lock()
	defer e.unlock()
	dirty := b.dirty
	b.dirty = nil
	fs := make([]Frontier, 0, len(dirty))
	collected := 0
	for _, l := range dirty {
		if collected > mark.MostRuns { // others want the lock, too
			collected = 0
			e.unlock()
			e.mu.Lock()
		}
		l.dirty = false
		at := l.frontier()
		if l.dead || at < 0 {
			continue
		}
		f := Frontier{ID: l.ID, At: at, LeaderEpoch: l.leaderEpoch, lane: l, settles: l.settles}
		if marks {
			f.Mark = l.mark()
			collected += len(f.Mark.Runs)
		}
		if at == l.committed && !l.anchor && (len(f.Mark.Runs) == 0 || l.saidOf == l.settles) {
			continue
		}
		l.offered = max(l.offered, at)
		fs = append(fs, f)
	}
	if b.dirty == nil {
		b.dirty = dirty[:0]
	}
	if len(fs) == 0 {
		b.review(now) // there may be nothing any more that could be refused
		return nil
	}
	b.sending = &sentCommit{fs, now}
	return fs
}

// MayCommit reports whether a frontier may be committed still, as a member of the
// group.
func (b *Books) MayCommit(f Frontier, member string) bool {
	b.engine.mu.Lock()
	defer b.engine.unlock()
	return !f.lane.dead && member == b.engine.membership.id && f.At <= f.lane.frontier()
}

// Committed books what was committed, and has committed again what was not. It
// returns the first error.
func (b *Books) Committed(fs []Frontier, answers []CommitAnswer, took time.Duration, now time.Time) error {
	e := b.engine
	e.mu.Lock()
	defer e.unlock()
	b.sending = nil
	offsets, failed := map[partition.ID]int64{}, map[partition.ID]int64{}
	var why error
	for i, f := range fs {
		l, a := f.lane, answers[i]
		if a.Unsent || l.dead {
			continue
		}
		if a.Err != nil {
			failed[l.ID] = f.At
			if why == nil {
				why = a.Err
			}
			b.refuse(l.ID, a, took, now)
			e.markDirty(l)
			continue
		}
		delete(b.refusals, l.ID)
		offsets[l.ID] = f.At
		if l.committed >= 0 && f.At > l.committed {
			e.counts.Committed += f.At - l.committed
		} else if l.committed < 0 && !l.anchor {
			e.counts.Committed += f.At - l.start
		}
		l.committed, l.offered, l.anchor = f.At, -1, false
		l.wrote(&fs[i], a.Said)
	}
	b.review(now)
	if len(offsets)+len(failed) == 0 {
		return nil
	}
	e.commitTook = took
	if why != nil {
		e.counts.CommitErrors++
	}
	e.later(func() { e.watch.Committed(offsets, failed, took, why) })
	return why
}

// Session returns a channel that is closed when the session with the group is
// lost: nothing can be committed in it any more.
func (b *Books) Session() <-chan struct{} {
	b.engine.mu.Lock()
	defer b.engine.unlock()
	return b.engine.sessionLost.wait()
}
