package engine

import (
	"container/heap"
	"slices"
	"time"
)

// A laneHeap orders lanes by when they are due: the end of their window, or of
// their back-off.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapIdx, h[j].heapIdx = i, j
}

// Push is for container/heap.
func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.heapIdx = len(*h)
	*h = append(*h, l)
}

// Pop is for container/heap.
func (h *laneHeap) Pop() any {
	n := len(*h) - 1
	l := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	l.heapIdx = -1
	return l
}

// readyQueue holds what can be leased, first come first served: lanes with a
// full batch or with work to try again, groups of lanes whose work is tried
// again together, and, apart, lanes whose window ended with less than a batch.
//
// Entries of lanes that changed their mind are not searched for: they are
// passed over when their turn comes.
//
// What was throttled goes before all others, and at the next throttle behind
// them, in turns: see plan.Suspicion.
type readyQueue struct {
	first, ready, thin fifo
	tickets            uint64
}

// An entry is a lane or a group, and its place in time.
type entry struct {
	lane   *lane
	work   *work
	ticket uint64
}

func (e *entry) valid() bool {
	if e.work != nil {
		return e.work.queued && len(e.work.parts) > 0
	}
	return e.lane.ticket == e.ticket && !e.lane.dead && !e.lane.ending
}

// addLane puts a lane at the end of the queue that its state says.
func (q *readyQueue) addLane(l *lane, s laneState) {
	q.tickets++
	l.ticket = q.tickets
	l.state = s
	e := entry{lane: l, ticket: q.tickets}
	switch {
	case s == laneThin:
		q.thin.push(e)
	case l.work.first():
		q.first.push(e)
	default:
		q.ready.push(e)
	}
}

// first reports whether a work goes before all others. One that has nothing to
// try again is no work yet.
func (w *work) first() bool {
	return w != nil && slices.ContainsFunc(w.parts, func(p *part) bool { return p.left[0].Suspicion.First() })
}

// addGroup puts a work of several lanes at the end of the queue.
func (q *readyQueue) addGroup(w *work) {
	q.tickets++
	w.queued = true
	for _, p := range w.parts {
		p.lane.state = laneGrouped
	}
	to := &q.ready
	if w.first() {
		to = &q.first
	}
	to.push(entry{work: w, ticket: q.tickets})
}

// any reports whether there is anything to lease.
func (q *readyQueue) any() bool {
	return q.first.head() != nil || q.ready.head() != nil || q.thin.head() != nil
}

// size is how many things wait, and a few that changed their mind.
func (q *readyQueue) size() int { return q.first.size() + q.ready.size() + q.thin.size() }

// pop returns the entry that came first.
func (q *readyQueue) pop() (entry, bool) {
	a, b := q.ready.head(), q.thin.head()
	switch {
	case q.first.head() != nil:
		return q.first.pop(), true
	case a == nil && b == nil:
		return entry{}, false
	case b == nil || a != nil && a.ticket < b.ticket:
		return q.ready.pop(), true
	}
	return q.thin.pop(), true
}

// fifo is a queue of entries that passes over those that are not valid any
// more.
type fifo struct {
	entries []entry
	first   int
}

func (f *fifo) push(e entry) {
	if f.first > 64 && f.first > len(f.entries)/2 {
		n := copy(f.entries, f.entries[f.first:])
		clear(f.entries[n:])
		f.entries, f.first = f.entries[:n], 0
	}
	f.entries = append(f.entries, e)
}

func (f *fifo) size() int { return len(f.entries) - f.first }

func (f *fifo) head() *entry {
	for f.first < len(f.entries) {
		if e := &f.entries[f.first]; e.valid() {
			return e
		}
		f.entries[f.first] = entry{}
		f.first++
	}
	f.entries, f.first = f.entries[:0], 0
	return nil
}

func (f *fifo) pop() entry {
	e := *f.head()
	f.entries[f.first] = entry{}
	f.first++
	return e
}

// schedule puts a lane where it belongs after something about it changed: new
// records, a settled batch, a retry that is due. It must not be leased or in a
// group.
func (e *Engine) schedule(l *lane, now time.Time) {
	e.unfile(l)
	if l.skipping != nil && l.work == nil && l.count == 0 && !l.dead && !l.ending {
		l.work = e.skipped(l, now)
	}
	switch {
	case l.dead || l.ending:
		l.state = laneIdle
	case e.busy[l.ID] != nil:
		l.state = laneBlocked
	case l.rereading():
		l.state = laneRereading
	case l.work != nil && l.part().left[0].Due.After(now):
		l.state = laneWaiting
		l.due = l.part().left[0].Due
		heap.Push(&e.waiting, l)
		e.alarm(l.due)
	case l.discarding():
		l.state = laneDiscarding
		e.discards = append(e.discards, l)
	case l.work != nil:
		e.queue.addLane(l, laneReady)
	case l.full(e.cfg):
		e.queue.addLane(l, laneReady)
	case l.count == 0:
		l.state = laneIdle
	case e.cfg.BatchWindow == 0:
		e.queue.addLane(l, laneThin)
	default:
		l.state = laneFilling
		l.due = now.Add(e.cfg.BatchWindow)
		heap.Push(&e.filling, l)
		e.alarm(l.due)
	}
}

// unfile takes a lane out of wherever it waits.
func (e *Engine) unfile(l *lane) {
	l.ticket = 0
	switch l.state {
	case laneFilling:
		heap.Remove(&e.filling, l.heapIdx)
	case laneWaiting:
		heap.Remove(&e.waiting, l.heapIdx)
	case laneGrouped:
		l.work.drop(l)
	case laneDiscarding:
		e.discards = slices.DeleteFunc(e.discards, func(o *lane) bool { return o == l })
	}
}

// drop takes a lane out of a work.
func (w *work) drop(l *lane) {
	for i, p := range w.parts {
		if p.lane == l {
			w.parts = append(w.parts[:i:i], w.parts[i+1:]...)
			return
		}
	}
}

// filled puts a lane where it belongs after records were queued.
func (e *Engine) filled(l *lane, now time.Time) {
	switch l.state {
	case laneIdle:
		e.schedule(l, now)
	case laneFilling:
		if l.full(e.cfg) {
			e.schedule(l, now)
		}
	}
}

// due moves the lanes whose time has come to the ready queue, and frees what
// was kept for long enough.
func (e *Engine) due(now time.Time) {
	if !e.memory.KeptUntil().After(now) {
		e.memory.Forget()
	}
	e.endYield(now)
	if !e.welcomeUntil.After(now) {
		e.newcomers(now)
	}
	if !e.askAgain.After(now) {
		e.askAgain = time.Time{}
	}
	for len(e.filling) > 0 && !e.filling[0].due.After(now) {
		l := heap.Pop(&e.filling).(*lane)
		e.queue.addLane(l, laneThin)
	}
	for len(e.waiting) > 0 && !e.waiting[0].due.After(now) {
		l := heap.Pop(&e.waiting).(*lane)
		l.state = laneIdle
		e.schedule(l, now)
	}
}

// mostStay is how many lanes endWindows looks at in vain: it does so up to a hundred
// times a second, with the lock.
const mostStay = 1000

// endWindows ends windows early for slots that have nothing to do, those first that
// end first, where lanes fill three quarters of a batch together. Memory is short,
// and what waits for more of its partition keeps it from the others; with 1,000
// partitions, that was a fifth of it.
//
// It does so only where an eighth of the slots that lanes could use are idle. A few
// lanes that run out for a moment are better off with what comes next: after a batch
// that is not full, the last one of a backlog is not full either, and waits for its
// window.
func (e *Engine) endWindows(now time.Time) {
	if e.queue.any() {
		return
	}
	able := min(e.pool.Slots(), len(e.lanes))
	if most := e.bounds().calls; most >= 0 {
		able = min(able, most)
	}
	idle := able - e.pool.Busy()
	if 8*idle < able {
		return
	}
	var stay []*lane
	for idle > 0 && len(e.filling) > 0 && len(stay) < mostStay {
		m := e.emptyBatch()
		var batch []*lane
		for len(e.filling) > 0 && (batch == nil || m.fits(e.filling[0])) {
			l := heap.Pop(&e.filling).(*lane)
			m.records, m.bytes = m.records-l.count, m.bytes-l.bytes
			batch = append(batch, l)
		}
		if 4*m.records > e.cfg.BatchSize && 4*m.bytes > int64(e.cfg.BatchBytes) {
			stay = append(stay, batch...)
			continue
		}
		for _, l := range batch {
			e.queue.addLane(l, laneThin)
		}
		idle--
	}
	for _, l := range stay {
		heap.Push(&e.filling, l)
	}
	e.kick(now)
}

// nextDue is when due has something to do, or the zero time.
func (e *Engine) nextDue(now time.Time) time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if len(e.filling) > 0 {
		sooner(e.filling[0].due)
	}
	if len(e.waiting) > 0 {
		sooner(e.waiting[0].due)
	}
	sooner(e.memory.KeptUntil())
	sooner(e.yieldUntil)
	sooner(e.welcomeUntil)
	sooner(e.askAgain)
	switch {
	case e.holds != 0 || !e.queue.any() || e.saturated():
		// What comes next for them is not a matter of time.
	case e.throttledUntil.After(now):
		sooner(e.throttledUntil)
	case e.pool.Pick(now) == nil:
		sooner(e.pool.Refill())
	}
	return next
}

// assemble makes a work of the lane whose turn it is: of a full batch of it
// alone, or of what it has together with other thin lanes, those first whose
// window ends first. A lane that joins gives all that it has, so that nothing
// of it stays behind to open a window at once.
func (e *Engine) assemble(l *lane) *work {
	m := e.emptyBatch()
	thin := !l.full(e.cfg)
	w := l.take(&m, true).alone()
	if !thin {
		w.full = true
		return w
	}
	join := func(o *lane) bool {
		if !m.fits(o) {
			return false
		}
		w.parts = append(w.parts, &o.take(&m, false).part)
		return true
	}
	for m.records > 0 {
		next := e.queue.thin.head()
		if next == nil || !join(next.lane) {
			break
		}
		e.queue.thin.pop().lane.ticket = 0
	}
	for m.records > 0 && e.queue.thin.head() == nil && len(e.filling) > 0 && join(e.filling[0]) {
		heap.Pop(&e.filling)
	}
	w.full = m.records == 0
	return w
}

// room is what is left of a batch that is being put together. It is the whole
// of batch assembly: which records go into it is decided by filling it, with
// one lane that has enough, or with thin ones one after the other.
type room struct {
	records int
	bytes   int64
}

func (e *Engine) emptyBatch() room {
	return room{records: e.cfg.BatchSize, bytes: int64(e.cfg.BatchBytes)}
}

// fits reports whether all that a lane has does.
func (m *room) fits(l *lane) bool { return l.count <= m.records && l.bytes <= m.bytes }

// take returns how many records of a segment fit, from the first on, and what
// they weigh, and takes those off the room. The first record of an empty batch
// fits always: one that is larger than any batch goes alone.
func (m *room) take(s *segment, empty bool) (n int, bytes int64) {
	most := min(m.records, len(s.records))
	for n < most {
		size := int64(s.records[n].Size)
		if bytes+size > m.bytes && !(empty && n == 0) {
			break
		}
		bytes += size
		n++
	}
	m.records -= n
	m.bytes -= bytes
	return n, bytes
}
