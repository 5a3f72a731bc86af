package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"

	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/pace"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/internal/pollers"
	"github.com/seed429fd032/esm/internal/share"
	"github.com/seed429fd032/esm/scaling"
)

// An Engine is what runs between one Start and its Stop: the lanes, the
// pollers and the invocations. It knows nothing of Kafka: records come in by
// Enqueue, partitions by Assign, Revoke and Lose, and what is settled goes out
// through the Books.
//
// Everything in it is guarded by one mutex. It is held for microseconds and
// never while anything waits: not for user code, not for the broker, not for a
// goroutine. One lock is enough because it is taken twice a batch, not twice a
// record, and because with one lock there is no order of locks to get wrong.
//
// Invariants: one lease a partition is kept by busy and the lane's state;
// order by the lane; what may be committed by its tracker; memory by memory;
// and that no goroutine is left by workers, which counts every one that runs
// user code.
type Engine struct {
	watch    Watcher
	world    World
	base     context.Context // the parent of every invocation's
	idPrefix string          // makes batch ids differ between processes

	readCommitted bool // aborted and open transactions are not read

	// Bells for the goroutines that serve the engine. Each holds one ring:
	// whoever hears it looks at everything.
	GateBell  Bell // the poll loop: the gate may open
	ScaleBell Bell // the scaler: there is news
	timeBell  Bell // the timekeeper: something is due sooner

	// repause brings the client's pauses in line, resize tells it how much to
	// fetch. They are called without the lock.
	repause, resize func()

	mu     sync.Mutex
	cfg    *Settings
	events []func() // to do once the lock is given up
	holds  Hold     // why nothing is leased

	lanes    map[partition.ID]*lane
	busy     map[partition.ID]*lease // calls that run, even those of lanes that are gone
	leases   map[*lease]struct{}
	queue    readyQueue
	filling  laneHeap // lanes whose window is open
	waiting  laneHeap // lanes in back-off
	discards []*lane  // lanes whose records are to be delivered
	rewinds  []*lane  // lanes for which the client is to go back
	pool     *pollers.Pool
	slots    int            // of each of its pollers
	bound    bounds         // as it was made last,
	stale    bool           // and whether it is to be made anew
	sizes    map[string]int // partitions of the subscribed topics,
	shares   *share.Table   // and what they have of the group's bounds; nil while unknown
	memory   *memory.Account
	Books    Books // of commits

	spawning bool   // a worker was started that has not taken a lease yet
	workers  int    // goroutines that run user code
	changed  signal // fires when an invocation ended

	died        signal // fires when a lane died
	sessionLost signal // fires when the group took the partitions away

	cancelPoll context.CancelFunc // cuts the poll short that is under way, or nil
	polling    time.Time          // when the last poll began
	polled     signal             // fires when it ended

	throttledUntil time.Time
	throttles      int // in a row

	progress time.Time // when something came, ended or was committed
	function functionWatch
	evidence plan.Evidence

	alarmAt time.Time // when the timekeeper wakes

	membership   membership                  // whose the lanes are
	member       bool                        // the group gave this process an assignment
	limitedAt    time.Time                   // since when memory keeps the Mapping from polling
	welcomeUntil time.Time                   // until when newcomers go first at most; zero if there are none
	reviewedAt   time.Time                   // when starved lanes were looked for last,
	reviewPolls  int64                       // and after how many polls
	stood        map[partition.ID]standstill // of lanes that died
	watchedPolls int64                       // polls when lanes were looked at
	quota        quota                       // what each lane might have when one was paused last
	yieldUntil   time.Time                   // until when lanes yield to those that are pushed aside
	counts       counters
	rate         byteRate
	commitTook   time.Duration // of the last one that was answered
	cargo        cargo
	scaleReason  scaling.Reason
	askedAt      time.Time // when the scaler was asked because calls wait,
	askedFor     int       // and how many things did
	askAgain     time.Time // when it is looked at whether more do, zero if that is not to be
	pace         pace.Pace
	ids          uint64
}

// New makes an engine without partitions, which calls what is in out and tells w
// what happens. The contexts of calls are children of base.
func New(c *Settings, out World, w Watcher, base context.Context) *Engine {
	e := &Engine{
		watch: w, world: out, base: base, idPrefix: newIDPrefix(), cfg: c,
		lanes: map[partition.ID]*lane{}, busy: map[partition.ID]*lease{}, leases: map[*lease]struct{}{},
		pool: pollers.New(c.PollerConcurrency, c.PollerByteRate), slots: c.PollerConcurrency, stale: true, memory: memory.NewAccount(c.MemoryBudget), evidence: plan.NewEvidence(), stood: map[partition.ID]standstill{},
		membership: membership{forgotten: map[partition.ID]bool{}},
		GateBell:   NewBell(), ScaleBell: NewBell(), timeBell: NewBell(),
		repause: func() {}, resize: func() {},
	}
	if e.world.Now == nil {
		e.world.Now = time.Now
	}
	if e.world.Go == nil {
		e.world.Go = func(f func()) { go f() }
	}
	e.Books = Books{engine: e, Bell: NewBell(), refusals: map[partition.ID]uncommitted{}}
	return e
}

// Serve tells the engine of the client that reads for it: whether it reads
// committed records only, how to bring its pauses in line, and how to tell it how
// much to fetch.
func (e *Engine) Serve(readCommitted bool, repause, resize func()) {
	e.mu.Lock()
	defer e.unlock()
	e.readCommitted, e.repause, e.resize = readCommitted, repause, resize
}

// Fetching is what counts what the client reads, and how much it is to fetch at
// once, of a broker and of a partition.
func (e *Engine) Fetching() (wire *memory.Wire, largest, each int32) {
	e.mu.Lock()
	defer e.unlock()
	largest, each = e.memory.FetchSize()
	return e.memory.Wire(), largest, each
}

// newIDPrefix is the part of a batch's id that differs between processes.
func newIDPrefix() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails: see its documentation
	return hex.EncodeToString(b[:]) + "-"
}

// unlock gives up the lock and does what was left for that moment.
func (e *Engine) unlock() {
	events := e.events
	e.events = nil
	e.mu.Unlock()
	for _, f := range events {
		f()
	}
}

// later does something once the lock is given up.
func (e *Engine) later(f func()) { e.events = append(e.events, f) }

// alarm makes sure that the timekeeper wakes at that time.
func (e *Engine) alarm(at time.Time) {
	if e.alarmAt.IsZero() || at.Before(e.alarmAt) {
		e.alarmAt = at
		e.timeBell.Ring()
	}
}

// KeepTime wakes lanes whose window or back-off ended, until ctx ends. It is
// the only goroutine with a timer for them.
func (e *Engine) KeepTime(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := e.world.Now()
		e.mu.Lock()
		e.due(now)
		e.kick(now)
		next := e.nextDue(now)
		e.alarmAt = next
		e.unlock()
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(next.Sub(e.world.Now()))
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-e.timeBell:
		}
	}
}

// freeQueue gives back the memory of all that a lane has queued.
func (e *Engine) freeQueue(l *lane) {
	for _, s := range l.queue {
		e.memory.Release(s.chunk, len(s.records))
	}
	l.queue, l.room, l.count, l.bytes, l.cost = nil, nil, 0, 0, 0
}

// Reconfigure makes the newest settings hold.
func (e *Engine) Reconfigure(newest func() *Settings, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	c := newest()
	e.cfg, e.stale = c, true
	e.memory.SetBudget(c.MemoryBudget)
	e.slots = e.bounds().slots
	e.pool.Reconfigure(e.slots, c.PollerByteRate, now)
	e.pace.Round.Begin(now)
	e.changed.fire() // a revoke may wait for calls to fit
	e.fit(scaling.Options, now)
	// Lanes that were short of a batch may have one now.
	for _, l := range e.lanes {
		if l.state == laneFilling && (l.full(c) || c.BatchWindow == 0) {
			e.schedule(l, now)
		}
	}
	e.kick(now)
	e.GateBell.Ring()
}
