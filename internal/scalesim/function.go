package scalesim

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// A Function is how long calls take, and which fail.
type Function struct {
	Call   time.Duration // whatever a call carries,
	Record time.Duration // and for each record
	Noise  float64       // the deviation of that, as a share of it

	// Knee is how many calls at once it works on at full speed. With more, all of
	// them share that: twice as many take twice as long. 0 for any number.
	Knee int
	// Harm is what more calls cost besides: with twice as many, that share of all
	// that it could do.
	Harm float64
	// Knees change the knee.
	Knees []Change
	// Slow is how many times longer calls take that begin at a time. nil for none.
	Slow func(time.Duration) float64

	// Cold is how much longer a call takes that needs a new instance: when there
	// are more at once than ever were.
	Cold time.Duration

	// Limit is how many calls at once it takes; others are throttled. 0 for any
	// number.
	Limit  int
	Limits []Change

	Failing []Span // when all calls that begin fail
	Fails   float64
	Poison  []int // partitions of which all calls fail; what is in them is no work
}

// A Change sets a number at a time.
type Change struct {
	At time.Duration
	To int
}

func latest(first int, changes []Change, now time.Duration) int {
	for _, c := range changes {
		if c.At <= now {
			first = c.To
		}
	}
	return first
}

const throttleTakes = 5 * time.Millisecond

// A call is one that runs. It is done when the work of the function, of which each
// call has its share, has reached its end.
type call struct {
	work    *work
	poller  int
	began   time.Duration
	end     float64 // in seconds of work
	order   uint64
	records int64
	outcome outcome
}

type outcome int

const (
	succeeded outcome = iota
	failed
	throttled
)

// A running function shares itself among calls: while c calls run, each gets on at
// the rate min(1, knee/c). So the order in which they end is that of the work that
// each has left, and one number says how far all have got.
type running struct {
	*Function
	chance *rand.Rand
	calls  calls
	done   float64       // seconds of work that each call has had since the start,
	at     time.Duration // by then
	warm   int
	knee   int
	limit  int
	order  uint64
	useful float64 // seconds of work of all calls
}

func newRunning(f *Function, seed uint64) *running {
	return &running{Function: f, chance: rand.New(rand.NewPCG(seed, 1)), knee: latest(f.Knee, f.Knees, 0), limit: latest(f.Limit, f.Limits, 0)}
}

// rate is how fast each call gets on.
func (r *running) rate() float64 {
	c := len(r.calls)
	if r.knee <= 0 || c <= r.knee {
		return 1
	}
	over := float64(c-r.knee) / float64(r.knee)
	return float64(r.knee) / float64(c) / (1 + r.Harm*over)
}

// work lets time go by.
func (r *running) work(now time.Duration) {
	did := r.rate() * (now - r.at).Seconds()
	r.done += did
	r.useful += did * float64(len(r.calls))
	r.at = now
}

// next is when the next call ends.
func (r *running) next() time.Duration {
	if len(r.calls) == 0 {
		return forever
	}
	left := max(0, r.calls[0].end-r.done) / r.rate()
	return r.at + time.Duration(math.Ceil(left*1e9))
}

// begin starts a call, and reports whether it takes its part of the function; a
// throttled one does not.
func (r *running) begin(c *call, now time.Duration) bool {
	if r.limit > 0 && len(r.calls) >= r.limit {
		c.outcome = throttled
		return false
	}
	r.work(now)
	took := (r.Call + time.Duration(c.records)*r.Record).Seconds()
	if r.Noise > 0 {
		took *= max(0.1, 1+r.Noise*r.chance.NormFloat64())
	}
	if r.Slow != nil {
		took *= r.Slow(now)
	}
	if len(r.calls) >= r.warm {
		r.warm++
		took += r.Cold.Seconds()
	}
	switch {
	case within(r.Failing, now), r.Fails > 0 && r.chance.Float64() < r.Fails:
		c.outcome = failed
	default:
		for _, l := range c.work.lanes {
			if slices.Contains(r.Poison, l.number) {
				c.outcome = failed
			}
		}
	}
	r.order++
	c.end, c.order = r.done+took, r.order
	r.calls.push(c)
	return true
}

// ended returns a call that has ended, or nil.
func (r *running) ended(now time.Duration) *call {
	if len(r.calls) == 0 || r.next() > now {
		return nil
	}
	r.work(now)
	return r.calls.pop()
}

// change sets what changes with time.
func (r *running) change(now time.Duration) {
	r.work(now)
	r.knee, r.limit = latest(r.Knee, r.Knees, now), latest(r.Limit, r.Limits, now)
}

// calls is a heap, by the work that is left.
type calls []*call

func (h calls) less(i, j int) bool {
	if h[i].end != h[j].end {
		return h[i].end < h[j].end
	}
	return h[i].order < h[j].order
}

func (h *calls) push(c *call) {
	a := append(*h, c)
	for i := len(a) - 1; i > 0; {
		up := (i - 1) / 2
		if !a.less(i, up) {
			break
		}
		a[i], a[up] = a[up], a[i]
		i = up
	}
	*h = a
}

func (h *calls) pop() *call {
	a := *h
	c := a[0]
	n := len(a) - 1
	a[0] = a[n]
	a[n] = nil
	a = a[:n]
	for i := 0; ; {
		small := i
		for _, down := range []int{2*i + 1, 2*i + 2} {
			if down < n && a.less(down, small) {
				small = down
			}
		}
		if small == i {
			break
		}
		a[i], a[small] = a[small], a[i]
		i = small
	}
	*h = a
	return c
}
