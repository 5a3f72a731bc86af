package scalesim

// A work is what a call gets: parts of lanes.
type work struct {
	lanes    []*lane
	attempts int
	queued   bool
	first    bool // it was throttled, and goes before others
}

type entry struct {
	lane   *lane
	work   *work
	ticket uint64
}

func (e *entry) valid() bool {
	if e.work != nil {
		return e.work.queued && len(e.work.lanes) > 0
	}
	return e.lane.ticket == e.ticket && e.lane.owned
}

// A queue is the engine's ready queue.
type queue struct {
	first, ready, thin fifo
	tickets            uint64
}

func (q *queue) add(l *lane, s laneState) {
	q.tickets++
	l.ticket, l.state = q.tickets, s
	e := entry{lane: l, ticket: q.tickets}
	switch {
	case s == laneThin:
		q.thin.push(e)
	case l.work != nil && l.work.first:
		q.first.push(e)
	default:
		q.ready.push(e)
	}
}

func (q *queue) addGroup(w *work) {
	q.tickets++
	w.queued = true
	for _, l := range w.lanes {
		l.state = laneGrouped
	}
	to := &q.ready
	if w.first {
		to = &q.first
	}
	to.push(entry{work: w, ticket: q.tickets})
}

func (q *queue) any() bool {
	return q.first.head() != nil || q.ready.head() != nil || q.thin.head() != nil
}

func (q *queue) size() int { return q.first.size() + q.ready.size() + q.thin.size() }

func (q *queue) pop() entry {
	a, b := q.ready.head(), q.thin.head()
	switch {
	case q.first.head() != nil:
		return q.first.pop()
	case b == nil || a != nil && a.ticket < b.ticket:
		return q.ready.pop()
	}
	return q.thin.pop()
}

type fifo struct {
	entries []entry
	from    int
}

func (f *fifo) push(e entry) {
	if f.from > 64 && f.from > len(f.entries)/2 {
		n := copy(f.entries, f.entries[f.from:])
		f.entries, f.from = f.entries[:n], 0
	}
	f.entries = append(f.entries, e)
}

func (f *fifo) size() int { return len(f.entries) - f.from }

func (f *fifo) head() *entry {
	for f.from < len(f.entries) {
		if e := &f.entries[f.from]; e.valid() {
			return e
		}
		f.from++
	}
	f.entries, f.from = f.entries[:0], 0
	return nil
}

func (f *fifo) pop() entry {
	e := *f.head()
	f.from++
	return e
}
