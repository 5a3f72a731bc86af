package esm

import (
	"container/heap"
	"context"
	"crypto/rand"
	"encoding/hex"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// An engine is what runs between one Start and its Stop: the lanes, the
// pollers and the invocations. It knows nothing of Kafka: records come in by
// enqueue, partitions by assign, revoke and lose, and what is settled goes out
// through the dirty lanes.
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
type engine struct {
	watch   *watch
	invoker Invoker
	base    context.Context // the parent of every invocation's
	run     string          // makes batch ids differ between processes

	readCommitted bool // aborted and open transactions are not read

	// Bells for the goroutines that serve the engine. Each holds one ring:
	// whoever hears it looks at everything.
	gateBell   bell // the poll loop: the gate may open
	commitBell bell // the committer: do not wait for your second
	scaleBell  bell // the scaler: there is news
	timeBell   bell // the timekeeper: something is due sooner

	// repause brings the client's pauses in line, resize tells it how much to
	// fetch, and halted ends the Mapping. They are called without the lock.
	repause, resize func()
	halted          func(*HaltError)

	mu     sync.Mutex
	cfg    *config
	events []func() // to do once the lock is given up
	holds  hold     // why nothing is leased

	lanes   map[TopicPartition]*lane
	busy    map[TopicPartition]*lease // calls that run, also those of lanes that are gone
	leases  map[*lease]struct{}
	queue   readyQueue
	filling laneHeap // lanes whose window is open
	waiting laneHeap // lanes in back-off
	pool    pool
	memory  memory
	dirty   []*lane

	spawning bool   // a worker was started that has not taken a lease yet
	workers  int    // goroutines that run user code
	changed  signal // fires when an invocation ended

	sessionLost signal // fires when the group took the partitions away

	throttledUntil time.Time
	throttles      int // in a row

	progress   time.Time // when something came, ended or was committed
	lastResult error     // of the last invocation
	lastEnded  time.Time

	alarmAt time.Time // when the timekeeper wakes

	member    bool      // the group gave this process an assignment
	limitedAt time.Time // since when memory keeps the Mapping from polling
	fedAt     time.Time // when starved lanes were looked for,
	fedPolls  int64     // and after how many polls
	counts    counters
	pace      pace
	problems  map[string]*Problem
	ids       uint64
}

// hold is why nothing is leased and nothing polled.
type hold uint8

const (
	holdPause hold = 1 << iota
	holdHalt
	holdStop
)

// A lease is one invocation: a poller that has the lanes of a work.
type lease struct {
	poller  *poller
	work    *work
	batch   *Batch // the function's: it may have changed it
	id      string
	attempt int
	records int
	bytes   int64
	lanes   int // how many the function got, whatever became of them since
	ctx     context.Context
	cancel  context.CancelCauseFunc
	release context.CancelFunc
	started time.Time
	ended   time.Time // of its context, if that was noticed
	warned  bool      // that it is slow
	stuck   bool      // that it goes on after its context ended
}

func newEngine(c *config, inv Invoker, w *watch, base context.Context) *engine {
	e := &engine{
		watch: w, invoker: inv, base: base, run: runID(), cfg: c,
		lanes: map[TopicPartition]*lane{}, busy: map[TopicPartition]*lease{}, leases: map[*lease]struct{}{},
		pool: newPool(c), problems: map[string]*Problem{},
		gateBell: newBell(), commitBell: newBell(), scaleBell: newBell(), timeBell: newBell(),
		repause: func() {}, resize: func() {}, halted: func(*HaltError) {},
	}
	e.memory = memory{budget: c.memoryBudget, fetch: newFetchSize(newWireStats())}
	return e
}

// runID is the part of a batch's id that differs between processes.
func runID() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails: see its documentation
	return hex.EncodeToString(b[:]) + "-"
}

// A bell wakes a goroutine that looks at everything when it wakes, so that one
// ring is as good as many.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// unlock gives up the lock and does what was left for that moment.
func (e *engine) unlock() {
	events := e.events
	e.events = nil
	e.mu.Unlock()
	runAll(events)
}

// runAll runs all functions, also the rest of them if one exits its goroutine.
func runAll(fs []func()) {
	if len(fs) == 0 {
		return
	}
	defer runAll(fs[1:])
	fs[0]()
}

// later does something once the lock is given up.
func (e *engine) later(f func()) { e.events = append(e.events, f) }

// A signal wakes all that wait for it. It belongs to the engine's lock.
type signal struct{ ch chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

// alarm makes sure that the timekeeper wakes at that time.
func (e *engine) alarm(at time.Time) {
	if e.alarmAt.IsZero() || at.Before(e.alarmAt) {
		e.alarmAt = at
		e.timeBell.ring()
	}
}

// keepTime wakes lanes whose window or back-off ended, until ctx ends. It is
// the only goroutine with a timer for them.
func (e *engine) keepTime(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		e.mu.Lock()
		e.due(now)
		e.kick(now)
		next := e.nextDue(now)
		e.alarmAt = next
		e.unlock()
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-e.timeBell:
		}
	}
}

// runnable reports whether an invocation could start now.
func (e *engine) runnable(now time.Time) bool {
	return e.holds == 0 && e.queue.any() && !e.throttledUntil.After(now) &&
		(e.cfg.maxConcurrency == Unlimited || e.pool.busy < e.cfg.maxConcurrency) &&
		e.pool.pick(now) != nil
}

// kick starts a worker if there is something for it to do. Only one is started
// at a time: it starts the next one when it has its lease. So as many run as
// find work, and a function that returns at once is called in a loop by as
// many goroutines as there are processors, instead of by a crowd of them that
// wake up for nothing.
func (e *engine) kick(now time.Time) {
	if e.spawning || !e.runnable(now) {
		if e.holds == 0 && e.queue.any() {
			if next := e.nextDue(now); !next.IsZero() {
				e.alarm(next)
			}
		}
		return
	}
	e.spawning = true
	e.workers++
	go e.worker(true)
}

// worker leases and invokes until there is nothing to lease. first is whether
// it was started by kick.
func (e *engine) worker(first bool) {
	var l *lease
	clean := false
	// A runtime.Goexit in user code ends this goroutine, whatever it wants;
	// another one goes on in its place.
	defer func() {
		if !clean {
			go e.worker(false)
		}
	}()
	defer func() {
		if !clean && l != nil {
			e.end(l, judge(&PanicError{Goexit: true, Stack: debug.Stack()}, context.Cause(l.ctx)))
		}
	}()
	for {
		e.mu.Lock()
		now := time.Now()
		if first {
			e.spawning, first = false, false
		}
		l = e.lease(now)
		if l == nil {
			e.workers--
			e.changed.fire()
			e.unlock()
			clean = true
			return
		}
		e.kick(now)
		e.unlock()
		fire(e.watch, func(h *Hooks) func(InvokeStartedInfo) { return h.InvokeStarted }, InvokeStartedInfo{Batch: l.batch})
		v := e.invoke(l)
		ended := l
		l = nil
		e.end(ended, v)
	}
}

// invoke calls the function. It is the only place that recovers, around the
// only call of it. Whatever does not return is a failure, also a panic whose
// value is nil.
func (e *engine) invoke(l *lease) (v verdict) {
	returned := false
	defer func() {
		if !returned {
			r := recover()
			v = judge(&PanicError{Value: r, Stack: debug.Stack()}, context.Cause(l.ctx))
		}
	}()
	err := e.invoker.Invoke(l.ctx, l.batch)
	v = judge(err, context.Cause(l.ctx))
	returned = true
	return v
}

// lease takes the work whose turn it is, for the poller whose turn it is, or
// returns nil.
func (e *engine) lease(now time.Time) *lease {
	if !e.runnable(now) {
		return nil
	}
	next, ok := e.queue.pop()
	if !ok {
		return nil
	}
	w := next.work
	fresh := false
	switch {
	case w != nil:
		w.queued = false
	case next.lane.work != nil:
		w = next.lane.work
	default:
		w = e.assemble(next.lane)
		fresh = true
	}
	e.ids++
	l := &lease{
		work: w, started: now, lanes: len(w.parts), attempt: w.history.attempts + 1, poller: e.pool.pick(now),
		id: e.run + strconv.FormatUint(e.ids, 36),
	}
	for i := range w.parts {
		l.records += len(w.parts[i].records)
		l.bytes += w.parts[i].bytes
	}
	// The function gets a slice of its own: it may sort it, or keep it.
	l.batch = &Batch{Records: make([]*kgo.Record, 0, l.records), Attempt: l.attempt, ID: l.id, Mapping: e.watch.name}
	for i := range w.parts {
		p := &w.parts[i]
		l.batch.Records = append(l.batch.Records, p.records...)
		p.lane.ticket = 0
		p.lane.state = laneLeased
		p.lane.work = w
		e.busy[p.lane.TopicPartition] = l
	}
	l.ctx, l.cancel = context.WithCancelCause(e.base)
	if d := e.cfg.invokeTimeout; d > 0 {
		l.ctx, l.release = context.WithTimeoutCause(l.ctx, d, ErrInvokeTimeout)
	}
	charged := l.bytes
	if !fresh {
		charged = 0
	}
	e.pool.start(l.poller, charged, now)
	e.leases[l] = struct{}{}
	e.counts.invocations++
	e.counts.invoked += int64(l.records)
	return l
}

// end takes note of what became of an invocation.
func (e *engine) end(l *lease, v verdict) {
	delay, round := e.consult(l, v)

	e.mu.Lock()
	now := time.Now()
	took := now.Sub(l.started)
	l.cancel(nil)
	if l.release != nil {
		l.release()
	}
	delete(e.leases, l)
	e.pool.end(l.poller, now)
	e.tally(l, v, took)

	w := l.work
	live := w.parts[:0:0]
	for i := range w.parts {
		p := &w.parts[i]
		delete(e.busy, p.lane.TopicPartition)
		if p.lane.dead {
			e.free(p) // what it did does not count; its memory is free now
			continue
		}
		live = append(live, *p)
	}
	gone := w.parts
	w.parts = live
	var next step
	next, w.history = plan(v.outcome, l.lanes, w.history)
	switch next {
	case stepSettle:
		for i := range w.parts {
			e.settled(&w.parts[i], now)
		}
	case stepRetry:
		for i := range w.parts {
			e.retry(w, &w.parts[i], v.err, delay, now)
		}
	case stepSplit:
		e.split(w, v.err, now)
	case stepAgain:
		e.requeue(w, now)
	}
	// A lane that was made while an earlier one's call ran can go on now.
	for i := range gone {
		if n := e.lanes[gone[i].lane.TopicPartition]; n != nil && n.state == laneBlocked {
			e.schedule(n, now)
		}
	}
	switch v.outcome {
	case OutcomeThrottled:
		e.throttled(delay, round, v.err, now)
	case OutcomeHalt:
		e.holds |= holdHalt
		e.later(func() { e.halted(v.halt) })
	case OutcomeSuccess:
		e.throttles = 0
	}
	if e.memory.fetch.drained(e.memory.held, e.memory.budget, now) {
		e.later(e.resize)
	}
	e.report(l, v, gone, took)
	e.changed.fire()
	e.gateBell.ring()
	e.kick(now)
	e.unlock()
}

// consult asks the user's back-off function how long to wait after an outcome
// that needs it, before the lock is taken. For a throttle it also says the how
// manyth in a row it is: those that come back while nothing is invoked belong
// to one round.
func (e *engine) consult(l *lease, v verdict) (delay time.Duration, round int) {
	e.mu.Lock()
	backoff, now := e.cfg.backoff, time.Now()
	round = max(1, e.throttles)
	if !e.throttledUntil.After(now) {
		round = e.throttles + 1
	}
	e.mu.Unlock()
	switch {
	case v.outcome == OutcomeFailure && l.lanes == 1:
		return safeBackoff(backoff, l.attempt), round
	case v.outcome == OutcomeThrottled && v.after > 0:
		return min(v.after, maxBackoff), round
	case v.outcome == OutcomeThrottled:
		return safeBackoff(backoff, round), round
	}
	return 0, round
}

// settled gives up the part of a work that is done with.
func (e *engine) settled(p *part, now time.Time) {
	l := p.lane
	if l.settle(p) {
		e.soil(l)
	}
	e.free(p)
	l.work, l.since, l.lastErr = nil, time.Time{}, nil
	e.counts.settled += int64(len(p.records))
	if l.paused {
		e.reviewPause(l)
	}
	e.schedule(l, now)
}

// retry puts a lane into back-off with its work.
func (e *engine) retry(w *work, p *part, err error, delay time.Duration, now time.Time) {
	l := p.lane
	if l.since.IsZero() {
		l.since = now
	}
	l.lastErr = err
	e.counts.retries++
	info := RetryInfo{Mapping: e.watch.name, TopicPartition: l.TopicPartition, Offset: p.records[0].Offset,
		Records: len(p.records), Attempts: w.history.attempts, Delay: delay, Err: err}
	e.later(func() { fire(e.watch, func(h *Hooks) func(RetryInfo) { return h.RetryScheduled }, info) })
	if l.ending {
		l.state = laneIdle // it keeps its work, which nobody starts again
		return
	}
	l.state = laneWaiting
	l.due = now.Add(delay)
	heap.Push(&e.waiting, l)
	e.alarm(l.due)
}

// split queues the halves of a work of several lanes.
func (e *engine) split(w *work, err error, now time.Time) {
	half := (len(w.parts) + 1) / 2
	for _, parts := range [][]part{w.parts[:half:half], w.parts[half:]} {
		if len(parts) == 0 {
			continue
		}
		h := &work{parts: parts, history: w.history}
		for i := range parts {
			l := parts[i].lane
			l.work, l.lastErr = h, err
			if l.since.IsZero() {
				l.since = now
			}
		}
		e.requeue(h, now)
	}
}

// requeue queues a work to be tried at once.
func (e *engine) requeue(w *work, now time.Time) {
	kept := w.parts[:0:0]
	for i := range w.parts {
		if l := w.parts[i].lane; l.ending {
			l.state = laneIdle
			l.work = &work{parts: []part{w.parts[i]}, history: w.history}
			continue
		}
		kept = append(kept, w.parts[i])
	}
	w.parts = kept
	switch {
	case len(kept) == 0:
	case len(kept) == 1:
		kept[0].lane.state = laneIdle
		e.schedule(kept[0].lane, now)
	default:
		e.queue.addGroup(w)
	}
}

// throttled keeps the Mapping from invoking for a while.
func (e *engine) throttled(d time.Duration, round int, err error, now time.Time) {
	e.throttles = round
	e.counts.throttles++
	until := now.Add(d)
	if !until.After(e.throttledUntil) {
		return
	}
	e.throttledUntil = until
	e.alarm(until)
	info := ThrottledInfo{Mapping: e.watch.name, For: d, Err: err}
	e.later(func() { fire(e.watch, func(h *Hooks) func(ThrottledInfo) { return h.Throttled }, info) })
}

// report tells the hooks that an invocation ended.
func (e *engine) report(l *lease, v verdict, parts []part, took time.Duration) {
	debugging := e.watch.debugging()
	if !debugging && !wanted(e.watch, func(h *Hooks) func(InvokeEndedInfo) { return h.InvokeEnded }) {
		return
	}
	info := InvokeEndedInfo{
		Mapping: e.watch.name, BatchID: l.id, Attempt: l.attempt, Records: l.records, Bytes: l.bytes,
		Duration: took, Outcome: v.outcome, Err: v.err,
	}
	for i := range parts {
		info.Partitions = append(info.Partitions, parts[i].lane.TopicPartition)
	}
	e.later(func() {
		if debugging {
			e.watch.logInvocation(info)
		}
		fire(e.watch, func(h *Hooks) func(InvokeEndedInfo) { return h.InvokeEnded }, info)
	})
}

// free gives back the memory of a part.
func (e *engine) free(p *part) {
	for _, m := range p.pieces {
		e.memory.release(m.memory, m.records)
	}
	p.pieces = nil
}

// freeQueue gives back the memory of all that a lane has queued.
func (e *engine) freeQueue(l *lane) {
	for _, s := range l.queue {
		e.memory.release(s.memory, len(s.records))
	}
	l.queue, l.count, l.bytes = nil, 0, 0
}

// soil has the frontier of a lane committed.
func (e *engine) soil(l *lane) {
	if !l.dirty {
		l.dirty = true
		e.dirty = append(e.dirty, l)
	}
}

// assign makes lanes for partitions that the group gave to this process. Where
// they begin is said later, by place.
func (e *engine) assign(tps []TopicPartition, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	for _, tp := range tps {
		if old := e.lanes[tp]; old != nil {
			e.kill(old, ErrRevoked)
		}
		l := newLane(tp)
		e.lanes[tp] = l
		e.schedule(l, now)
	}
	e.member = true
	e.counts.rebalances++
	e.fit(now)
	info := AssignedInfo{Mapping: e.watch.name, Added: tps, Total: len(e.lanes)}
	e.later(func() { fire(e.watch, func(h *Hooks) func(AssignedInfo) { return h.Assigned }, info) })
}

// A placement says where a lane begins.
type placement struct {
	tp          TopicPartition
	at          int64
	leaderEpoch int32
	committed   bool // the group has this offset already
	anchor      bool // commit it at once, although nothing was settled
}

// place says where lanes begin.
func (e *engine) place(ps []placement) {
	e.mu.Lock()
	anchors := false
	for _, p := range ps {
		l := e.lanes[p.tp]
		if l == nil || l.next > p.at && l.count > 0 {
			continue
		}
		l.place(p.at, p.leaderEpoch)
		if p.committed {
			l.committed = p.at
		}
		if p.anchor {
			l.anchor, anchors = true, true
			e.soil(l)
		}
	}
	if anchors {
		e.commitBell.ring()
	}
	e.unlock()
}

// shelve takes a lane that no call runs for out of all queues, and frees what
// it holds.
func (e *engine) shelve(l *lane) {
	if p := l.part(); p != nil {
		e.free(p)
	}
	e.unfile(l)
	e.freeQueue(l)
	l.work = nil
	l.state = laneIdle
}

// kill ends a lane: nothing of it counts any more, and a call that runs for it
// is cancelled. Its records are freed, except for those that the call has.
func (e *engine) kill(l *lane, cause error) {
	if !l.dead {
		if l.state == laneLeased {
			e.busy[l.TopicPartition].cancel(cause)
			e.freeQueue(l)
		} else {
			e.shelve(l)
		}
		l.dead = true
	}
	if e.lanes[l.TopicPartition] == l {
		delete(e.lanes, l.TopicPartition)
	}
	e.gateBell.ring()
	if l.paused || l.gone {
		e.later(e.repause)
	}
}

// lose drops partitions that belong to somebody else already.
func (e *engine) lose(tps []TopicPartition, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	cancelled := 0
	for _, tp := range tps {
		if l := e.lanes[tp]; l != nil {
			if l.state == laneLeased {
				cancelled++
			}
			e.kill(l, ErrRevoked)
		}
	}
	e.fit(now)
	e.member = false
	e.sessionLost.fire()
	if len(tps) == 0 {
		return
	}
	info := RevokedInfo{Mapping: e.watch.name, Partitions: tps, Lost: true, Cancelled: cancelled}
	e.later(func() { fire(e.watch, func(h *Hooks) func(RevokedInfo) { return h.Revoked }, info) })
}

// drain starts nothing more for the lanes, and waits until nothing runs for
// them. When the time is over it cancels what runs, with this cause, and waits
// a moment longer. It returns how many calls it cancelled.
//
// A lane whose call goes on even then is dead afterwards. The others keep what
// they settled, and give up the rest.
func (e *engine) drain(ctx context.Context, lanes func() []*lane, cause error) (cancelled int) {
	e.mu.Lock()
	ours := lanes()
	for _, l := range ours {
		l.ending = true
		if l.state == laneLeased {
			e.freeQueue(l)
		} else {
			e.shelve(l)
		}
	}
	e.awaitCalls(ctx, ours)
	calls := map[*lease]bool{}
	for _, l := range ours {
		if l.state == laneLeased {
			c := e.busy[l.TopicPartition]
			calls[c] = true
			c.cancel(cause)
		}
	}
	if len(calls) > 0 {
		// Most functions return at once when their context ends, and what
		// they say then still counts.
		grace, done := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
		e.awaitCalls(grace, ours)
		done()
	}
	for _, l := range ours {
		if l.state == laneLeased {
			l.dead = true
		} else {
			e.shelve(l)
		}
	}
	e.unlock()
	return len(calls)
}

// awaitCalls gives up the lock until no call runs for any of the lanes, or
// until ctx ends.
func (e *engine) awaitCalls(ctx context.Context, lanes []*lane) {
	for {
		running := false
		for _, l := range lanes {
			running = running || l.state == laneLeased
		}
		if !running || ctx.Err() != nil {
			return
		}
		changed := e.changed.wait()
		e.unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		e.mu.Lock()
	}
}

// cancelGrace is how long a cancelled call has to return before it counts as
// one that ignores its context.
const cancelGrace = 250 * time.Millisecond

// reset makes a new lane for a partition whose position moved backward, or
// whose broker lost what came after an offset. What was read before that
// offset and is not settled is kept, and begins anew; the rest will be read
// again.
func (e *engine) reset(l *lane, to int64, err error, now time.Time) *lane {
	from := l.next
	n := newLane(l.TopicPartition)
	n.committed, n.end, n.endAt, n.logStart = l.committed, l.end, l.endAt, l.logStart
	at := to
	if l.next >= 0 {
		at = min(to, l.settled.Frontier())
	}
	n.place(at, -1)
	n.next = to
	// What is unsettled below the new position will not be read again.
	keep := func(records []*kgo.Record) {
		var kept []*kgo.Record
		for _, r := range records {
			if r.Offset >= at && r.Offset < to {
				kept = append(kept, r)
			}
		}
		if len(kept) > 0 {
			s := weigh(kept)
			s.memory = &chunk{bytes: s.weight(), records: len(kept)}
			e.memory.hold(s.memory)
			n.push(s)
		}
	}
	if p := l.part(); p != nil {
		keep(p.records)
	}
	for _, s := range l.queue {
		keep(s.records)
	}
	e.kill(l, ErrRevoked)
	e.lanes[n.TopicPartition] = n
	if n.committed > at {
		n.anchor = true // backward, so that a crash does not skip what is read again
		e.soil(n)
		e.commitBell.ring()
	}
	e.schedule(n, now)
	e.counts.resets++
	info := ResetInfo{Mapping: e.watch.name, TopicPartition: n.TopicPartition, From: from, To: to, Err: err}
	e.later(func() { fire(e.watch, func(h *Hooks) func(ResetInfo) { return h.PositionReset }, info) })
	return n
}

// watchCalls reports calls that are slow or that ignore their context.
func (e *engine) watchCalls(now time.Time) {
	for l := range e.leases {
		running := now.Sub(l.started)
		cause := context.Cause(l.ctx)
		if cause != nil && l.ended.IsZero() {
			l.ended = now
		}
		stuck := cause != nil && !l.stuck && now.Sub(l.ended) >= time.Second
		slow := cause == nil && !l.warned && running >= slowCall
		if !stuck && !slow {
			continue
		}
		l.warned, l.stuck = l.warned || slow, l.stuck || stuck
		info := InvokeStuckInfo{Mapping: e.watch.name, BatchID: l.batch.ID, Running: running}
		for i := range l.work.parts {
			info.Partitions = append(info.Partitions, l.work.parts[i].lane.TopicPartition)
		}
		if stuck {
			info.Cause = cause
		}
		e.later(func() { fire(e.watch, func(h *Hooks) func(InvokeStuckInfo) { return h.InvokeStuck }, info) })
	}
}

// slowCall is how long a call may take before it is mentioned once.
const slowCall = time.Minute

// fit keeps the number of pollers within its bounds, of which the assigned
// partitions are one.
func (e *engine) fit(now time.Time) {
	least, most := bounds(e.cfg, len(e.lanes))
	if n := min(max(e.pool.size, least), most); n != e.pool.size {
		e.scale(n, "the bounds changed", now)
	}
}

// scale sets the number of pollers.
func (e *engine) scale(n int, reason string, now time.Time) {
	from := e.pool.size
	if n == from {
		return
	}
	e.pool.resize(n, now)
	info := ScaledInfo{Mapping: e.watch.name, From: from, To: n, Reason: reason}
	e.later(func() { fire(e.watch, func(h *Hooks) func(ScaledInfo) { return h.Scaled }, info) })
	e.kick(now)
}

// reconfigure makes the newest configuration hold.
func (e *engine) reconfigure(newest func() *config, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	c := newest()
	e.cfg = c
	e.memory.budget = c.memoryBudget
	e.pool.reconfigure(c.pollerConcurrency, c.pollerByteRate, now)
	e.fit(now)
	// Lanes that were short of a batch may have one now.
	for _, l := range e.lanes {
		if l.state == laneFilling && (l.full(c) || c.batchWindow == 0) {
			e.schedule(l, now)
		}
	}
	e.kick(now)
	e.gateBell.ring()
}

// idle reports whether the Mapping is paused, halted or stopping.
func (e *engine) idle() bool {
	e.mu.Lock()
	defer e.unlock()
	return e.holds != 0
}
