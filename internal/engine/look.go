package engine

import (
	"context"
	"slices"
	"time"

	"github.com/seed429fd032/esm/internal/pace"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/internal/pollers"
	"github.com/seed429fd032/esm/internal/share"
	"github.com/seed429fd032/esm/scaling"
)

// A Snapshot is what the engine does at one moment, and what it did since the
// start. It is one place for all who look: numbers, states and probes are views
// of it, so that none of them knows the engine.
type Snapshot struct {
	counters

	FetchedBytes   int64
	BytesPerSecond float64 // polled, in the last second

	PollerSeconds, UnitSeconds float64 // of pollers and of event poller units, summed up
	PollErrors                 int64
	Units                      int
	Took                       pace.Histogram // of calls
	CommitTook                 time.Duration
	FetchTook                  time.Duration
	Age                        AgeSum

	Pollers, ActivePollers int // active: in the last five minutes
	ScaleReason            scaling.Reason
	Slots, Busy            int
	// Bounds are how few and how many pollers there may be, and how many calls at
	// once (negative for any number). Where they are a share of the group's, it is
	// that, without the one slot of a process whose share is none.
	Bounds share.Share

	Member  bool // the group gave this process an assignment
	Lanes   int
	Waiting int // lanes in back-off
	Queued  int // lanes with a batch that waits for a slot
	Lag     LagSum
	Ready   bool // records wait for a poller

	Held, Budget  int64
	MemoryLimited bool // memory keeps the Mapping from polling

	Calls     int // that run, deliveries too; of these:
	Placeless int // they wait for a place of the function's own,
	Slow      int // they run for longer than slowCall,
	Stuck     int // their context ended,
	Ignoring  int // and that was longer than ignoresAfter ago

	ThrottledUntil time.Time // zero if that is over
	Service        time.Duration
	RecordsPerCall float64   // of the first attempts in the last minutes; 0 if there was none
	Progress       time.Time // when something came, ended or was committed
	// Unended is since when calls run and none has ended, not counting the time in
	// which they wait for a place; zero if none runs.
	Unended time.Time

	Last    plan.Outcome // what became of the last call that was not abandoned,
	LastErr string       // what it returned, a text,
	LastAt  time.Time
}

// HistogramBounds are the bounds of a Snapshot's histograms.
func HistogramBounds() []time.Duration { return slices.Clone(pace.Bounds[:]) }

// An AgeSum is how old the oldest record of several partitions is that is not settled.
type AgeSum struct {
	Oldest  time.Time // its timestamp, zero if there is none
	Unknown int       // partitions of which that is not known
}

func (s *AgeSum) add(at time.Time, known bool) {
	switch {
	case !known:
		s.Unknown++
	case !at.IsZero() && (s.Oldest.IsZero() || at.Before(s.Oldest)):
		s.Oldest = at
	}
}

// A LagSum is the lag of several partitions.
type LagSum struct {
	Sum, Max int64
	Unknown  int // partitions whose lag is not in it
}

func (s *LagSum) add(lag int64, known bool) {
	if !known {
		s.Unknown++
		return
	}
	s.Sum += lag
	s.Max = max(s.Max, lag)
}

// IgnoresAfter is how long a call goes on after its context ended before it
// ignores that for good.
const IgnoresAfter = time.Minute

// ignores reports whether a call does.
func (l *lease) ignores(now time.Time) bool { return l.stuck && now.Sub(l.ended) > IgnoresAfter }

// A Row is what is known of one lane. Offsets are -1 where they are unknown.
type Row struct {
	partition.ID
	State                              string
	Committed, Frontier, Position, End int64
	EndKnown                           bool // somebody said it in the last seconds
	Lag                                int64
	LagKnown                           bool
	Oldest                             time.Time // of the oldest record that is not settled, zero if there is none or it is unknown

	Queued      int // in memory and in no call,
	QueuedBytes int64
	InFlight    int // and in the one that runs

	CallID    string // "" if none runs for it
	CallSince time.Time
	Block     BlockEvent // what holds it up,
	Blocked   bool       // if anything does

	Stood      time.Duration // for how long it has stood still
	Unreadable bool          // records of it cannot be read
	Trouble    error         // what is known of either, nil while it gets on
}

// Look takes a snapshot, and shows a row of each lane, in no order, unless each
// is nil. The row is the engine's own, and another one's after each has returned.
// All of it is one moment: each is called with the lock, so it only takes what
// it wants to know.
func (e *Engine) Look(now time.Time, each func(*Row)) Snapshot {
	e.mu.Lock()
	defer e.unlock()
	s := Snapshot{
		counters:       e.counts,
		FetchedBytes:   e.memory.Wire().Fetched(),
		BytesPerSecond: e.rate.perSecond,
		PollerSeconds:  e.pool.Seconds(now),
		UnitSeconds:    e.rate.units,
		PollErrors:     e.memory.Wire().Failures(),
		Units:          pollers.Units(e.pool.Size(), e.rate.perSecond),
		Took:           e.pace.Took,
		CommitTook:     e.commitTook,
		FetchTook:      e.memory.Wire().FetchTook(),
		Pollers:        e.pool.Size(),
		ActivePollers:  e.pool.ActiveSince(now.Add(-5 * time.Minute)),
		ScaleReason:    e.scaleReason,
		Slots:          e.pool.Slots(),
		Busy:           e.pool.Busy(),
		Bounds:         e.bounds().shared,
		Member:         e.member,
		Lanes:          len(e.lanes),
		Waiting:        len(e.waiting),
		Ready:          e.queue.any(),
		Held:           e.memory.Held() + e.memory.Spare(),
		Budget:         e.memory.Budget(),
		MemoryLimited:  !e.limitedAt.IsZero(),
		Calls:          len(e.leases),
		Service:        e.pace.Service(),
		Progress:       e.progress,
		Unended:        e.unended(now),
		Last:           e.function.last,
		LastErr:        e.function.lastErr,
		LastAt:         e.function.lastAt,
	}
	carried, _ := e.cargo.last(now)
	s.RecordsPerCall = carried.each()
	if e.throttledUntil.After(now) {
		s.ThrottledUntil = e.throttledUntil
	}
	for l := range e.leases {
		ran, waits := l.ran(now)
		switch {
		case context.Cause(l.Ctx) != nil:
			s.Stuck++
		case ran >= slowCall:
			s.Slow++
		}
		if waits {
			s.Placeless++
		}
		if l.ignores(now) {
			s.Ignoring++
		}
	}
	var r Row
	for _, l := range e.lanes {
		s.Lag.add(l.lag(now))
		s.Age.add(l.oldest(now))
		if l.state == laneThin || l.state == laneReady || l.state == laneGrouped {
			s.Queued++
		}
		if each != nil {
			r = e.row(l, now)
			each(&r)
		}
	}
	return s
}

// row is what is known of a lane.
func (e *Engine) row(l *lane, now time.Time) Row {
	r := Row{
		ID: l.ID, State: l.state.String(),
		Committed: l.committed, Frontier: l.frontier(), Position: l.next, End: l.end, EndKnown: now.Sub(l.endAt) <= lagMaxAge,
		Queued: l.count, QueuedBytes: l.bytes,
		Stood: l.still.stood, Unreadable: l.unreadable != nil, Trouble: e.laneTrouble(l),
	}
	r.Block, r.Blocked = l.blocker()
	r.Lag, r.LagKnown = l.lag(now)
	r.Oldest, _ = l.oldest(now)
	if p := l.part(); p != nil {
		if l.state == laneLeased {
			r.InFlight = len(p.left[0].Records)
		} else {
			r.Queued += len(p.records)
			r.QueuedBytes += p.bytes
		}
	}
	if c := e.busy[l.ID]; c != nil {
		r.CallID, r.CallSince = c.ID, c.started
	}
	return r
}
