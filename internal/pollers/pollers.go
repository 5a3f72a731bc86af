// Package pollers is the capacity of a Mapping: how many invocations may begin
// now, and which poller begins the next.
package pollers

import (
	"container/heap"
	"math"
	"time"

	"golang.org/x/time/rate"
)

// A Poller is a unit of capacity: so many invocations at once, and so many
// bytes a second. It is not a goroutine; the goroutines are those of the
// invocations that it has.
type Poller struct {
	id        int
	busy      int  // invocations that it has now
	leaving   bool // it takes nothing more
	limit     *rate.Limiter
	solventAt time.Time // when its token bucket is back above zero
	lastUsed  time.Time
	heapIdx   int
	in        *pollerHeap // which heap it is in, or nil
}

// A Pool is the pollers. The next to lease is the least loaded one with a free
// slot whose bucket is not in debt. It has no clock and no lock: it is told the
// time, and is for one goroutine at a time.
//
// The bucket is asked before a lane is leased, so no lane ever waits in the
// hands of a poller that has no tokens while another has some. It allows debt:
// a batch that is larger than the burst passes, and is paid for afterwards. It
// starts empty, or adding pollers would add bursts.
type Pool struct {
	concurrency int
	byteRate    int // bytes a second, negative for any number

	all    []*Poller
	size   int           // how many there should be
	busy   int           // invocations of all, including those that leave
	spent  time.Duration // of slots that were busy, up to
	upTo   time.Time
	had    float64 // seconds of pollers that there should be, up to
	hadTo  time.Time
	free   pollerHeap
	inDebt pollerHeap
	ids    int
	used   []time.Time // when pollers that are gone were last used
}

// New makes a pool without pollers. Each will have so many invocations at once at
// most, and move so many bytes a second, or any number if that is negative.
func New(concurrency, byteRate int) *Pool {
	return &Pool{concurrency: concurrency, byteRate: byteRate, inDebt: pollerHeap{byTime: true}}
}

// Size is how many pollers there should be. Others may still be leaving.
func (p *Pool) Size() int { return p.size }

// Busy is how many invocations run, of all pollers.
func (p *Pool) Busy() int { return p.busy }

// BusyTime is the time of slots that were busy, summed up since the start.
func (p *Pool) BusyTime(now time.Time) time.Duration {
	p.spend(now)
	return p.spent
}

func (p *Pool) spend(now time.Time) {
	if p.busy > 0 && now.After(p.upTo) {
		p.spent += time.Duration(p.busy) * now.Sub(p.upTo)
	}
	p.upTo = now
}

// Seconds is the time of pollers that there should be, summed up since the start: two for a
// minute are 120.
func (p *Pool) Seconds(now time.Time) float64 {
	if p.size > 0 && now.After(p.hadTo) {
		p.had += float64(p.size) * now.Sub(p.hadTo).Seconds()
	}
	p.hadTo = now
	return p.had
}

// Units is what AWS bills for pollers that poll so many bytes a second: a unit for each ten
// of them, or for each 20 MB/s if that is more.
func Units(size int, bytesPerSecond float64) int {
	const unitPollers, unitBytes = 10, 20_000_000
	return max((size+unitPollers-1)/unitPollers, int(math.Ceil(bytesPerSecond/unitBytes)))
}

// Slots is how many invocations may run at once.
func (p *Pool) Slots() int { return p.size * p.concurrency }

// Resize adds or removes pollers. A poller that has invocations goes when the
// last one ends.
func (p *Pool) Resize(n int, now time.Time) {
	p.Seconds(now) // up to now, of those that there were
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
		q := &Poller{id: p.ids, heapIdx: -1}
		q.limit = p.limiter(now)
		p.all = append(p.all, q)
		p.file(q, now)
	}
	// Let the least busy go first.
	for staying > n {
		var least *Poller
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

// Reconfigure changes what one poller may do.
func (p *Pool) Reconfigure(concurrency, byteRate int, now time.Time) {
	if byteRate != p.byteRate {
		p.byteRate = byteRate
		for _, q := range p.all {
			q.limit, q.solventAt = p.limiter(now), time.Time{}
		}
	}
	p.concurrency = concurrency
	for _, q := range p.all {
		p.file(q, now)
	}
}

func (p *Pool) limiter(now time.Time) *rate.Limiter {
	if p.byteRate < 0 {
		return nil
	}
	l := rate.NewLimiter(rate.Limit(p.byteRate), p.byteRate)
	l.ReserveN(now, p.byteRate)
	return l
}

// Pick returns the poller that leases next, or nil.
func (p *Pool) Pick(now time.Time) *Poller {
	for len(p.inDebt.pollers) > 0 && !p.inDebt.pollers[0].solventAt.After(now) {
		p.file(p.inDebt.pollers[0], now)
	}
	if len(p.free.pollers) == 0 {
		return nil
	}
	return p.free.pollers[0]
}

// Refill is when the next poller that could lease gets tokens, or the zero
// time.
func (p *Pool) Refill() time.Time {
	if len(p.inDebt.pollers) == 0 {
		return time.Time{}
	}
	return p.inDebt.pollers[0].solventAt
}

// Start gives a poller an invocation of so many bytes.
func (p *Pool) Start(q *Poller, bytes int64, now time.Time) {
	p.spend(now)
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
			q.solventAt = now.Add(wait + time.Nanosecond)
		}
	}
	p.file(q, now)
}

// End takes the invocation from the poller.
func (p *Pool) End(q *Poller, now time.Time) {
	p.spend(now)
	q.busy--
	p.busy--
	q.lastUsed = now
	p.file(q, now)
}

// file puts a poller where it belongs: with those that can lease, with those
// whose bucket is in debt, or with neither.
func (p *Pool) file(q *Poller, now time.Time) {
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
	case q.solventAt.After(now):
		q.in = &p.inDebt
		heap.Push(&p.inDebt, q)
	default:
		q.in = &p.free
		heap.Push(&p.free, q)
	}
}

func (p *Pool) remove(q *Poller) {
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

// ActiveSince counts the pollers that had an invocation since then, including those
// that are gone.
func (p *Pool) ActiveSince(t time.Time) int {
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
	pollers []*Poller
	byTime  bool
}

func (h *pollerHeap) Len() int { return len(h.pollers) }
func (h *pollerHeap) Less(i, j int) bool {
	a, b := h.pollers[i], h.pollers[j]
	if h.byTime {
		return a.solventAt.Before(b.solventAt)
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
	q := x.(*Poller)
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
