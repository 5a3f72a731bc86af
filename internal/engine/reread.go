package engine

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/plan"
)

// Records whose content user code replaced are read again from Kafka before
// they are handed over again: a function that stored the decoded value in the
// record would otherwise get it, decoded once more, when the batch is tried
// again.
//
// # How
//
// All records of the part that are not settled lose their content, with what
// the lane has queued, and the client is set back to the first of them, by the
// poll loop, as for an eviction. What arrives from there on fills the part
// again by offset; what is settled already is passed over, and what comes after
// the part is queued. Attempts, back-offs and reasons stay as they were. A
// record that does not come any more was taken by retention or compaction; it
// is told as lost, and settled.
//
// The rejected design is a request of our own for these offsets: it would have
// to do again what the client does about leaders, topic ids, compression and
// transactions.

// rereading reports whether records of the lane's work are read again.
func (l *lane) rereading() bool {
	p := l.part()
	return p != nil && len(p.missing) > 0
}

// prepare makes the batch of a lease. It reports false if there is none: parts
// of it have to be read again, and the lease was given back. It is called
// without the lock: what it looks at belongs to whoever has the lease.
func (e *Engine) prepare(l *lease, now time.Time) bool {
	batch := make([]*kgo.Record, 0, l.count)
	var changed []*part
	for _, p := range l.work.parts {
		n := len(p.left[0].Records)
		switch {
		case !p.again && n == len(p.records):
			batch = append(batch, p.kafka...)
		case !p.again:
			for i := range n {
				batch = append(batch, p.handed(i))
			}
		case !p.renew(n):
			changed = append(changed, p)
		default:
			for i := range n {
				batch = append(batch, &p.renewed[i])
			}
		}
	}
	if changed != nil {
		e.giveBack(l, changed, now)
		return false
	}
	l.Records = batch
	return true
}

// renew makes anew the first records of the first portion, and reports false if
// user code replaced the content of one.
func (p *part) renew(n int) bool {
	p.renewed = make([]kgo.Record, n)
	for i := range p.renewed {
		j, _ := plan.Find(p.records, p.left[0].Records[i].Offset)
		if !renew(&p.records[j], p.kafka[j], p.lane.ID, p.heads.at(p.records[j].Offset), p.contexts.at(j), &p.renewed[i]) {
			p.renewed = nil
			return false
		}
	}
	return true
}

// handed is what user code got for a record of the first portion.
func (p *part) handed(i int) *kgo.Record {
	switch {
	case p.renewed != nil:
		return &p.renewed[i]
	case len(p.left[0].Records) == len(p.records):
		return p.kafka[i]
	}
	j, _ := plan.Find(p.records, p.left[0].Records[i].Offset)
	return p.kafka[j]
}

// giveBack ends a lease that cannot be, because parts of it are to be read
// again. The others wait for their turn again.
func (e *Engine) giveBack(l *lease, changed []*part, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	if l.poller != nil {
		e.pool.End(l.poller, now)
		e.counts.Invocations--
		e.counts.Invoked -= int64(l.count)
	}
	all := e.unlease(l)
	for _, p := range changed {
		if !p.lane.dead {
			l.work.drop(p.lane)
			e.lookAgain(p, now)
		}
	}
	e.requeue(l.work, now)
	e.unblock(all, now)
	e.changed.fire()
	e.GateBell.Ring()
	e.kick(now)
}

// lookAgain has what is left of a part read again.
func (e *Engine) lookAgain(p *part, now time.Time) {
	l := p.lane
	l.state, l.work = laneIdle, p.alone()
	if l.ending {
		return // nobody starts it again
	}
	e.free(p)
	e.freeQueue(l)
	l.next = p.to()
	l.unreadable, l.skipping = nil, nil // what cannot be read is met again behind it
	p.missing = map[int]struct{}{}
	for _, r := range p.unsettled() {
		i, _ := plan.Find(p.records, r.Offset)
		p.missing[i] = struct{}{}
		l.next = min(l.next, r.Offset)
	}
	p.kafka = make([]*kgo.Record, len(p.records)) // nor those that are settled: each holds all that came with it
	e.counts.Reread += int64(len(p.missing))
	if l.paused {
		l.paused = false
		e.later(e.repause)
	}
	e.rewind(l)
	e.schedule(l, now)
	tp, first, records := l.ID, l.next, len(p.missing)
	e.later(func() { e.watch.Reread(tp, first, records) })
}

// refill gives a lane's part what arrived of its records, and returns what comes
// after all that was taken from the queue before.
func (e *Engine) refill(l *lane, s segment) segment {
	n, _ := plan.Find(s.records, l.taken)
	used := 0
	if l.rereading() {
		p := l.part()
		for i := range s.records[:n] {
			j, _ := plan.Find(p.records, s.records[i].Offset)
			if _, ok := p.missing[j]; ok && p.records[j].Offset == s.records[i].Offset {
				p.records[j], p.kafka[j] = s.records[i], s.kafka[i]
				delete(p.missing, j)
				used++
			}
		}
		if used > 0 {
			p.pieces = append(p.pieces, piece{s.chunk, used})
		}
	}
	if n > used {
		e.memory.Release(s.chunk, n-used)
	}
	return s.cut(n, len(s.records), weight(s.records[n:]))
}

// refilled says that all below an offset has arrived: what is missing below it
// does not come any more. When nothing is missing, the lane goes on.
func (e *Engine) refilled(p *part, below int64, now time.Time) {
	l := p.lane
	left, lost := p.left[:0], false
	for _, r := range p.left {
		kept := r.Records[:0:0]
		for _, rec := range r.Records {
			i, _ := plan.Find(p.records, rec.Offset)
			if _, ok := p.missing[i]; !ok || rec.Offset >= below {
				kept = append(kept, rec)
				continue
			}
			delete(p.missing, i)
			lost = true
			e.settle(p, []plan.Record{rec})
			e.tellLost(l.ID, span{rec.Offset, rec.Offset + 1})
		}
		if len(kept) > 0 {
			due := r.Due
			r = r.With(kept)
			r.Due = due
			left = append(left, r)
		}
	}
	if p.left = left; lost {
		p.left = plan.InOrder(left) // what lost its first records may come later now
	}
	switch {
	case len(p.missing) > 0:
	case len(left) == 0:
		e.finish(p, now)
	default:
		p.exposed = false
		l.state = laneIdle
		e.schedule(l, now)
	}
}
