package pollers

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A naivePoller is what a poller is said to be: a bucket that is filled
// second by second, and a number of invocations.
type naivePoller struct {
	tokens float64
	at     time.Time
	busy   int
	gone   bool
}

func (n *naivePoller) fill(now time.Time, rate int) {
	n.tokens = min(n.tokens+now.Sub(n.at).Seconds()*float64(rate), float64(rate))
	n.at = now
}

// TestPoolAgreesWithANaiveOne: whatever happens, the pool leases the least
// busy poller that has a free slot and is not in debt, and none only if there
// is none.
func TestPoolAgreesWithANaiveOne(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		now := time.Unix(1_000_000, 0)
		p := New(1+rng.IntN(5), 1000*(1+rng.IntN(1000)))
		naive := map[*Poller]*naivePoller{}
		var running []*Poller
		var spent time.Duration
		for step := range 400 {
			switch op := rng.IntN(10); {
			case op == 0:
				p.Resize(rng.IntN(20), now)
			case op == 1:
				passes := time.Duration(rng.Int64N(int64(2 * time.Second)))
				now = now.Add(passes)
				spent += time.Duration(len(running)) * passes
			case op < 5 && len(running) > 0:
				i := rng.IntN(len(running))
				q := running[i]
				running = append(running[:i], running[i+1:]...)
				naive[q].busy--
				p.End(q, now)
			default:
				q := p.Pick(now)
				for q, n := range naive {
					n.fill(now, p.byteRate)
					n.gone = q.leaving
				}
				for _, q := range p.all {
					if naive[q] == nil {
						naive[q] = &naivePoller{at: now} // it begins empty
					}
				}
				least := -1
				for q, n := range naive {
					// Within a byte of zero both answers are right.
					if !n.gone && !q.leaving && n.busy < p.concurrency && n.tokens > 1 && (least < 0 || n.busy < least) {
						least = n.busy
					}
				}
				if q == nil {
					if least >= 0 {
						t.Fatalf("seed %d step %d: nobody leases, and one with %d could", seed, step, least)
					}
					continue
				}
				n := naive[q]
				if n.tokens < -1 || n.busy >= p.concurrency || q.leaving || least >= 0 && n.busy > least {
					t.Fatalf("seed %d step %d: picked one with %d invocations and %.0f tokens; the least has %d", seed, step, n.busy, n.tokens, least)
				}
				bytes := rng.Int64N(int64(3 * p.byteRate))
				n.tokens -= float64(bytes)
				n.busy++
				p.Start(q, bytes, now)
				running = append(running, q)
			}
			for q, n := range naive {
				n.fill(now, p.byteRate)
				if q.leaving && q.busy == 0 {
					delete(naive, q)
				}
			}
			for _, q := range p.all {
				if naive[q] == nil {
					naive[q] = &naivePoller{at: now}
				}
			}
			staying := 0
			for _, q := range p.all {
				if !q.leaving {
					staying++
				}
			}
			if got := p.BusyTime(now); got != spent {
				t.Fatalf("seed %d step %d: slots were busy for %s, and for %s it says", seed, step, spent, got)
			}
			if staying != p.Size() || p.Busy() != len(running) {
				t.Fatalf("seed %d step %d: %d pollers of %d, %d busy of %d", seed, step, staying, p.Size(), p.Busy(), len(running))
			}
		}
	}
}

// TestPoolMovesNoMoreBytesThanItMay: over any time, the rate and one second's
// burst of each poller, and one batch each on credit.
func TestPoolMovesNoMoreBytesThanItMay(t *testing.T) {
	p := New(5, 5_000_000)
	now := time.Unix(1_000_000, 0)
	p.Resize(4, now)
	const batch = 2_000_000
	moved := int64(0)
	for range 60_000 { // milliseconds
		now = now.Add(time.Millisecond)
		for q := p.Pick(now); q != nil; q = p.Pick(now) {
			moved += batch
			p.Start(q, batch, now)
			p.End(q, now) // a function that returns at once
		}
	}
	most, least := int64(60*4*5_000_000+4*batch), int64(60*4*5_000_000)
	if moved > most || moved < least {
		t.Errorf("moved %d in a minute, want %d to %d", moved, least, most)
	}
}

func TestPoolWithoutARateIsNeverInDebt(t *testing.T) {
	p := New(5, -1)
	now := time.Unix(1, 0)
	p.Resize(1, now)
	for range 5 {
		p.Start(p.Pick(now), 1<<40, now)
	}
	if p.Pick(now) != nil || !p.Refill().IsZero() {
		t.Error("a poller with five invocations leases a sixth")
	}
}

func TestPoolCountsThoseThatWereActive(t *testing.T) {
	p := New(5, 5_000_000)
	now := time.Unix(1_000_000, 0)
	p.Resize(3, now)
	q := p.Pick(now)
	p.Start(q, 10, now)
	p.End(q, now)
	q = p.Pick(now.Add(time.Second))
	p.Start(q, 10, now.Add(time.Second))
	p.Resize(0, now)
	if got := p.ActiveSince(now.Add(-time.Minute)); got != 1 {
		t.Errorf("%d were active", got) // the same one, twice
	}
	p.End(q, now.Add(time.Minute))
	if got := p.ActiveSince(now); got != 1 {
		t.Errorf("%d were active, the one that is gone", got)
	}
	if got := p.ActiveSince(now.Add(2 * time.Minute)); got != 0 {
		t.Errorf("%d were active lately", got)
	}
}

// TestPoolSumsUpTheTimeOfPollers as it is resized and asked, at whatever moments.
func TestPoolSumsUpTheTimeOfPollers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	p := New(5, -1)
	now := time.Unix(1_000_000, 0)
	want, size := 0.0, 0
	for range 1000 {
		d := time.Duration(rng.Int64N(int64(time.Minute)))
		now = now.Add(d)
		want += float64(size) * d.Seconds()
		if rng.IntN(3) == 0 {
			size = rng.IntN(20)
			p.Resize(size, now)
		} else if got := p.Seconds(now); math.Abs(got-want) > 1e-6 {
			t.Fatalf("%v seconds, want %v", got, want)
		}
	}
}

// TestUnits are AWS's: one for ten pollers or for 20 MB/s, whichever are more.
func TestUnits(t *testing.T) {
	for _, tt := range []struct {
		size int
		rate float64
		want int
	}{{0, 0, 0}, {1, 0, 1}, {10, 0, 1}, {11, 0, 2}, {1, 20_000_000, 1}, {1, 20_000_001, 2}, {100, 1, 10}, {1, 1e9, 50}} {
		if got := Units(tt.size, tt.rate); got != tt.want {
			t.Errorf("%d pollers with %v bytes a second are %d units, want %d", tt.size, tt.rate, got, tt.want)
		}
	}
}
