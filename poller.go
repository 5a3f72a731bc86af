package esm

import (
	"container/heap"
	"time"

	"golang.org/x/time/rate"
)

// A poller is a unit of capacity: so many invocations at once, and so many
// bytes a second. It is not a goroutine; the goroutines are those of the
// invocations that it has.
type poller struct {
	id       int
	busy     int  // invocations that it has now
	leaving  bool // it takes nothing more
	limit    *rate.Limiter
	wetAt    time.Time // when its bucket is out of debt
	lastUsed time.Time
	heapIdx  int
	in       *pollerHeap // which heap it is in, or nil
}

// pool is the pollers. Which one leases next is the least loaded one with a
// free slot whose bucket is not in debt.
//
// The bucket is asked before a lane is leased, so no lane ever waits in the
// hands of a poller that has no tokens while another has some. It allows debt:
// a batch that is larger than the burst passes, and is paid for afterwards. It
// starts empty, or adding pollers would add bursts.
type pool struct {
	concurrency int
	byteRate    int // bytes a second, or Unlimited

	all  []*poller
	size int // how many there should be
	busy int // invocations of all, including those that leave
	free pollerHeap
	dry  pollerHeap
	ids  int
	used []time.Time // when pollers that are gone were last used
}

func newPool(c *settings) pool {
	return pool{concurrency: c.pollerConcurrency, byteRate: c.pollerByteRate, dry: pollerHeap{byTime: true}}
}

// resize adds or removes pollers. A poller that has invocations goes when the
// last one ends.
func (p *pool) resize(n int, now time.Time) {
	p.size = n
	staying := 0
	for _, q := range p.all {
		if !q.leaving {
			staying++
		}
	}
	// Bring back those that were about to leave, before making new ones.
	for _, q := range p.all {
		if staying < n && q.leaving {
			q.leaving = false
			staying++
			p.file(q, now)
		}
	}
	for ; staying < n; staying++ {
		p.ids++
		q := &poller{id: p.ids, heapIdx: -1}
		q.limit = p.limiter(now)
		p.all = append(p.all, q)
		p.file(q, now)
	}
	// Let the least busy go first.
	for staying > n {
		var least *poller
		for _, q := range p.all {
			if !q.leaving && (least == nil || q.busy < least.busy) {
				least = q
			}
		}
		least.leaving = true
		staying--
		p.file(least, now)
	}
}

// reconfigure changes what one poller may do.
func (p *pool) reconfigure(concurrency, byteRate int, now time.Time) {
	if byteRate != p.byteRate {
		p.byteRate = byteRate
		for _, q := range p.all {
			q.limit, q.wetAt = p.limiter(now), time.Time{}
		}
	}
	p.concurrency = concurrency
	for _, q := range p.all {
		p.file(q, now)
	}
}

func (p *pool) limiter(now time.Time) *rate.Limiter {
	if p.byteRate == Unlimited {
		return nil
	}
	l := rate.NewLimiter(rate.Limit(p.byteRate), p.byteRate)
	l.ReserveN(now, p.byteRate)
	return l
}

// pick returns the poller that leases next, or nil.
func (p *pool) pick(now time.Time) *poller {
	for len(p.dry.pollers) > 0 && !p.dry.pollers[0].wetAt.After(now) {
		p.file(p.dry.pollers[0], now)
	}
	if len(p.free.pollers) == 0 {
		return nil
	}
	return p.free.pollers[0]
}

// refill is when the next poller that could lease gets tokens, or the zero
// time.
func (p *pool) refill() time.Time {
	if len(p.dry.pollers) == 0 {
		return time.Time{}
	}
	return p.dry.pollers[0].wetAt
}

// start gives a poller an invocation of so many bytes.
func (p *pool) start(q *poller, bytes int64, now time.Time) {
	q.busy++
	p.busy++
	q.lastUsed = now
	if q.limit != nil {
		for bytes > 0 {
			n := min(bytes, int64(p.byteRate))
			q.limit.ReserveN(now, int(n))
			bytes -= n
		}
		if tokens := q.limit.TokensAt(now); tokens < -0.5 {
			wait := time.Duration(-tokens / float64(p.byteRate) * float64(time.Second))
			q.wetAt = now.Add(wait + time.Nanosecond)
		}
	}
	p.file(q, now)
}

// end takes the invocation from the poller.
func (p *pool) end(q *poller, now time.Time) {
	q.busy--
	p.busy--
	q.lastUsed = now
	p.file(q, now)
}

// file puts a poller where it belongs: with those that can lease, with those
// whose bucket is in debt, or with neither.
func (p *pool) file(q *poller, now time.Time) {
	if q.in != nil {
		heap.Remove(q.in, q.heapIdx)
		q.in = nil
	}
	switch {
	case q.leaving:
		if q.busy == 0 {
			p.remove(q)
		}
	case q.busy >= p.concurrency:
	case q.wetAt.After(now):
		q.in = &p.dry
		heap.Push(&p.dry, q)
	default:
		q.in = &p.free
		heap.Push(&p.free, q)
	}
}

func (p *pool) remove(q *poller) {
	for i := range p.all {
		if p.all[i] == q {
			p.all = append(p.all[:i], p.all[i+1:]...)
			break
		}
	}
	if !q.lastUsed.IsZero() {
		p.used = append(p.used, q.lastUsed)
	}
}

// activeSince counts the pollers that had an invocation since then, including those
// that are gone.
func (p *pool) activeSince(t time.Time) int {
	kept := p.used[:0]
	for _, at := range p.used {
		if !at.Before(t) {
			kept = append(kept, at)
		}
	}
	p.used = kept
	n := len(kept)
	for _, q := range p.all {
		if q.busy > 0 || !q.lastUsed.IsZero() && !q.lastUsed.Before(t) {
			n++
		}
	}
	return n
}

// pollerHeap orders pollers by load, or by when their bucket is out of debt.
type pollerHeap struct {
	pollers []*poller
	byTime  bool
}

func (h *pollerHeap) Len() int { return len(h.pollers) }
func (h *pollerHeap) Less(i, j int) bool {
	a, b := h.pollers[i], h.pollers[j]
	if h.byTime {
		return a.wetAt.Before(b.wetAt)
	}
	if a.busy != b.busy {
		return a.busy < b.busy
	}
	return a.id < b.id
}

func (h *pollerHeap) Swap(i, j int) {
	h.pollers[i], h.pollers[j] = h.pollers[j], h.pollers[i]
	h.pollers[i].heapIdx, h.pollers[j].heapIdx = i, j
}

func (h *pollerHeap) Push(x any) {
	q := x.(*poller)
	q.heapIdx = len(h.pollers)
	h.pollers = append(h.pollers, q)
}

func (h *pollerHeap) Pop() any {
	n := len(h.pollers) - 1
	q := h.pollers[n]
	h.pollers[n] = nil
	h.pollers = h.pollers[:n]
	q.heapIdx = -1
	return q
}
