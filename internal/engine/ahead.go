package engine

import (
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/mark"
	"github.com/seed429fd032/esm/internal/offset"
)

// A batch that fails in part leaves records settled above the frontier. Each
// commit says which, beside its offset (a mark), and the next owner of the
// partition reads it there. So they do not come again after a stop, a rebalance or
// a crash.
//
// # Out
//
// A lane whose commit would say something new is dirty, though its frontier stands
// still. A mark that stays is never wrong: what is settled stays settled.
//
// # In
//
// What the mark of the last commit says is ahead of the lane. Its records are
// fetched like all others, and settled as they arrive, each as a control record is:
// with the gap in front of it, and whatever becomes of what is before. Nothing
// is settled that was not fetched, or the frontier would pass what nobody has
// looked at.
//
// # What is believed
//
// The mark belongs to this offset of this partition: it has a checksum. But the log
// may be another one now. An unclean election writes other records at the same
// offsets, and a shorter log ends below what the mark says. So the end of the mark
// is compared with the high watermark of the first fetch, and the leader epoch of
// each record up to there with the largest one that was settled: records that were
// written anew are of a later one, and none behind them is of an earlier one. If
// either is wrong, nothing of the mark is believed, and the lane begins again at its
// frontier: records come again rather than never. So what a lane settles below what
// is ahead of it is of no later epoch either, and a mark of both says that of one
// epoch.

// ahead are runs that are settled, from the position of a lane on.
type ahead struct {
	runs    []offset.Run
	epoch   int32 // no record in them is of a later one
	bounded bool  // they were compared with the end of the log
	met     bool  // some of it has arrived, or its place has
	wrong   bool  // it is not believed, nor what of it has arrived
}

// mark is what a commit of the frontier says beside it. What is above it and has no
// records is left out: markers are fetched again as such.
func (l *lane) mark() mark.Mark {
	m := mark.Mark{Epoch: l.newest}
	if l.settled.Whole() && len(l.ahead.runs) == 0 {
		return m // as nearly always
	}
	for r, records := range l.settled.Runs() {
		if len(m.Runs) == mark.MostRuns {
			return m
		}
		if records {
			m.Runs = append(m.Runs, r)
		}
	}
	for _, r := range l.ahead.runs {
		if len(m.Runs) == mark.MostRuns {
			break
		}
		if n := len(m.Runs); n > 0 && m.Runs[n-1].Hi >= r.Lo {
			m.Runs[n-1].Hi = r.Hi // a part of it has arrived
		} else {
			m.Runs = append(m.Runs, r)
		}
	}
	return m
}

// wrote books that the group has a commit of the lane that says some of the runs of
// its mark.
func (l *lane) wrote(f *Frontier, runs int) {
	l.saidOf, l.saidTo, l.marked = f.settles, math.MaxInt64, runs > 0
	switch {
	case runs == len(f.Mark.Runs):
	case runs == 0:
		l.saidTo = f.At
	default:
		l.saidTo = f.Mark.Runs[runs-1].Hi
	}
}

// again counts the records that are settled above the frontier, and of which no
// commit says that.
func (l *lane) again() int {
	if l.saidOf != l.settles {
		return l.settled.Above()
	}
	return l.settled.AboveFrom(l.saidTo)
}

// arrived settles what is ahead of a lane below an offset, up to which all has
// arrived. It reports whether the frontier moved.
func (l *lane) arrived(below int64) (moved bool) {
	a := &l.ahead
	for len(a.runs) > 0 && a.runs[0].Lo < below {
		r := &a.runs[0]
		if l.settled.Settle(r.Lo, min(r.Hi, below), 0) {
			moved = true
		}
		if a.met = true; r.Hi > below {
			r.Lo = below
			break
		}
		a.runs = a.runs[1:]
	}
	return moved
}

// passOver makes markers of the records that are ahead of a lane.
func (l *lane) passOver(records []*kgo.Record) (markers []marker) {
	runs := l.ahead.runs
	for i, r := range records {
		for len(runs) > 0 && runs[0].Hi <= r.Offset {
			runs = runs[1:]
		}
		if len(runs) == 0 {
			break
		}
		if r.Offset < runs[0].Lo || r.Attrs.IsControl() {
			continue
		}
		lo := int64(-1)
		if i > 0 {
			lo = records[i-1].Offset + 1
		}
		markers = append(markers, marker{lo, r.Offset + 1, r.LeaderEpoch, 1})
	}
	return markers
}

// disbelieved is what is told then.
const disbelieved = "what the last commit says is settled is not believed, so records come again"

// disbelief is why what is ahead of a lane is not believed any more, now that
// something was fetched, or nil.
func (l *lane) disbelief(f *kgo.FetchPartition) error {
	a := &l.ahead
	if len(a.runs) == 0 {
		return nil
	}
	end := a.runs[len(a.runs)-1].Hi
	if !a.bounded && f.Err == nil {
		if a.bounded = true; end > f.HighWatermark {
			return fmt.Errorf("the log ends at %d, and the last commit says that records up to %d are settled", f.HighWatermark, end-1)
		}
	}
	for _, r := range f.Records {
		if r.Offset < end && r.LeaderEpoch > a.epoch {
			return fmt.Errorf("the record at %d is of leader epoch %d, and the last commit says that records up to %d are settled, of epoch %d at most: they were written anew", r.Offset, r.LeaderEpoch, end-1, a.epoch)
		}
	}
	return nil
}

// disbelieve forgets what is ahead of a lane, and what of it has arrived. It
// returns the lane, which is another one if something of it had.
func (e *Engine) disbelieve(l *lane, why error, now time.Time) *lane {
	met := l.ahead.met
	l.ahead, l.anchor = ahead{wrong: met}, true // the commit that says so is to be replaced
	e.later(func() {
		e.watch.Log(slog.LevelWarn, disbelieved, "partition", l.ID, "err", why)
	})
	if met {
		return e.reset(l, l.frontier(), why, now)
	}
	e.markDirty(l)
	e.Books.Bell.Ring()
	return l
}
