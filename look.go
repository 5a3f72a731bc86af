package esm

import (
	"context"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// A snapshot is what the engine does at one moment, and what it did since the
// start. It is one place for all who look: numbers, states and probes are views
// of it, so that none of them knows the engine.
type snapshot struct {
	counters

	fetchedBytes   int64
	bytesPerSecond float64 // polled, in the last second

	pollers, activePollers int // active: in the last five minutes
	scaleReason            string
	slots, busy            int

	member  bool // the group gave this process an assignment
	lanes   int
	waiting int // lanes in back-off
	lag     lagSum
	ready   bool // records wait for a poller

	held, budget  int64
	memoryLimited bool // memory keeps the Mapping from polling

	calls     int // that run, deliveries too; of these:
	placeless int // they wait for a place of the function's own,
	slow      int // they run for longer than slowCall,
	stuck     int // their context ended,
	ignoring  int // and that was longer than ignoresAfter ago

	throttledUntil time.Time // zero if that is over
	service        time.Duration
	progress       time.Time // when something came, ended or was committed
	// unended is since when calls run and none has ended, not counting the time in
	// which they wait for a place; zero if none runs.
	unended time.Time

	last    plan.Outcome // what became of the last call that was not abandoned,
	lastErr string       // what it returned, a text,
	lastAt  time.Time
}

// A lagSum is the lag of several partitions.
type lagSum struct {
	sum, max int64
	unknown  int // partitions whose lag is not in it
}

func (s *lagSum) add(lag int64, known bool) {
	if !known {
		s.unknown++
		return
	}
	s.sum += lag
	s.max = max(s.max, lag)
}

// ignoresAfter is how long a call goes on after its context ended before it
// ignores that for good.
const ignoresAfter = time.Minute

// A row is what is known of one lane. Offsets are -1 where they are unknown.
type row struct {
	partition.ID
	state                              string
	committed, frontier, position, end int64
	endKnown                           bool // somebody said it in the last seconds
	lag                                int64
	lagKnown                           bool

	queued      int // in memory and in no call,
	queuedBytes int64
	inFlight    int // and in the one that runs

	callID    string // "" if none runs for it
	callSince time.Time
	block     blockEvent // what holds it up,
	blocked   bool       // if anything does

	stood      time.Duration // for how long it has stood still
	unreadable bool          // records of it cannot be read
	trouble    error         // what is known of either, nil while it gets on
}

// look takes a snapshot, and shows a row of each lane, in no order, unless each
// is nil. The row is the engine's own, and another one's after each has returned.
// All of it is one moment: each is called with the lock, so it only takes what
// it wants to know.
func (e *engine) look(now time.Time, each func(*row)) snapshot {
	e.mu.Lock()
	defer e.unlock()
	s := snapshot{
		counters:       e.counts,
		fetchedBytes:   e.memory.Wire().Fetched(),
		bytesPerSecond: e.rate.perSecond,
		pollers:        e.pool.Size(),
		activePollers:  e.pool.ActiveSince(now.Add(-5 * time.Minute)),
		scaleReason:    e.scaleReason,
		slots:          e.pool.Slots(),
		busy:           e.pool.Busy(),
		member:         e.member,
		lanes:          len(e.lanes),
		waiting:        len(e.waiting),
		ready:          e.queue.any(),
		held:           e.memory.Held() + e.memory.Spare(),
		budget:         e.memory.Budget(),
		memoryLimited:  !e.limitedAt.IsZero(),
		calls:          len(e.leases),
		service:        e.pace.service(),
		progress:       e.progress,
		unended:        e.unended(now),
		last:           e.function.last,
		lastErr:        e.function.lastErr,
		lastAt:         e.function.lastAt,
	}
	if e.throttledUntil.After(now) {
		s.throttledUntil = e.throttledUntil
	}
	for l := range e.leases {
		ran, waits := l.ran(now)
		switch {
		case context.Cause(l.ctx) != nil:
			s.stuck++
		case ran >= slowCall:
			s.slow++
		}
		if waits {
			s.placeless++
		}
		if l.stuck && now.Sub(l.ended) > ignoresAfter {
			s.ignoring++
		}
	}
	var r row
	for _, l := range e.lanes {
		s.lag.add(l.lag(now))
		if each != nil {
			r = e.row(l, now)
			each(&r)
		}
	}
	return s
}

// row is what is known of a lane.
func (e *engine) row(l *lane, now time.Time) row {
	r := row{
		ID: l.ID, state: l.state.String(),
		committed: l.committed, frontier: l.frontier(), position: l.next, end: l.end, endKnown: now.Sub(l.endAt) <= lagMaxAge,
		queued: l.count, queuedBytes: l.bytes,
		stood: l.still.stood, unreadable: l.unreadable != nil, trouble: e.laneTrouble(l),
	}
	r.block, r.blocked = l.blocker()
	r.lag, r.lagKnown = l.lag(now)
	if p := l.part(); p != nil {
		if l.state == laneLeased {
			r.inFlight = len(p.left[0].Records)
		} else {
			r.queued += len(p.records)
			r.queuedBytes += p.bytes
		}
	}
	if c := e.busy[l.ID]; c != nil {
		r.callID, r.callSince = c.id, c.started
	}
	return r
}
