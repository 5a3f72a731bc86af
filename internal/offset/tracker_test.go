package offset

import (
	"math/rand/v2"
	"testing"

	"github.com/seed429fd032/esm/internal/testing/build"
)

// model is the tracker as anybody would write it first: one flag an offset.
type model struct {
	frontier int64
	done     map[int64]bool
}

func (m *model) settle(lo, hi int64) {
	for o := lo; o < hi; o++ {
		m.done[o] = true
	}
	for m.done[m.frontier] {
		m.frontier++
	}
}

// check compares a tracker with the model, and its own invariants.
func check(t *testing.T, tr *Tracker, m *model) {
	t.Helper()
	if tr.Frontier() != m.frontier {
		t.Fatalf("frontier is %d, the model has %d", tr.Frontier(), m.frontier)
	}
	end := tr.frontier
	for _, r := range tr.above {
		if r.lo <= end || r.hi <= r.lo {
			t.Fatalf("range [%d, %d) touches what ends at %d, or is empty", r.lo, r.hi, end)
		}
		end = r.hi
	}
	if got := tr.End(); got != end {
		t.Fatalf("it ends at %d, and says %d", end, got)
	}
	for o := m.frontier - 2; o <= end+1; o++ {
		if got := tr.Has(o); got != (o < m.frontier || m.done[o]) {
			t.Fatalf("offset %d settled: %t", o, got)
		}
	}
	// The holes between any two offsets are what is not settled there.
	lo, hi, hole := m.frontier-2, end+1, map[int64]bool{}
	last := lo - 1
	tr.Holes(lo, hi, func(from, to int64) {
		if from <= last || to <= from || to > hi {
			t.Fatalf("hole [%d, %d) after %d, up to %d", from, to, last, hi)
		}
		for last = to; from < to; from++ {
			hole[from] = true
		}
	})
	for o := lo; o < hi; o++ {
		if hole[o] == tr.Has(o) {
			t.Fatalf("offset %d settled: %t, a hole: %t", o, tr.Has(o), hole[o])
		}
	}
	for o := m.frontier; o <= end; o++ {
		in := false
		for _, r := range tr.above {
			in = in || r.lo <= o && o < r.hi
		}
		if in != m.done[o] {
			t.Fatalf("offset %d settled: %t, the model has %t", o, in, m.done[o])
		}
	}
}

func TestTrackerAgreesWithAFlagPerOffset(t *testing.T) {
	for seed := range uint64(build.Volume(2_000, 200)) {
		rng := rand.New(rand.NewPCG(seed, 1))
		start := rng.Int64N(50)
		tr, m := New(start), &model{frontier: start, done: map[int64]bool{}}
		for range 60 {
			lo := rng.Int64N(150)
			hi := lo + rng.Int64N(12) - 1 // empty and reversed ranges too
			before := tr.Frontier()
			moved := tr.Settle(lo, hi, int(max(0, hi-lo)))
			m.settle(lo, hi)
			if moved != (tr.Frontier() > before) {
				t.Fatalf("seed %d: Settle(%d, %d) says moved=%t, frontier %d -> %d", seed, lo, hi, moved, before, tr.Frontier())
			}
			check(t, &tr, m)
			if rng.IntN(20) > 0 {
				continue
			}
			// What is below an offset, and goes on from there.
			at := rng.Int64N(150)
			below, bm := tr.Below(at), &model{frontier: min(m.frontier, at), done: map[int64]bool{}}
			for o := range m.done {
				if o < at {
					bm.done[o] = true
				}
			}
			check(t, &below, bm)
			below.Settle(lo, hi, 1)
			bm.settle(lo, hi)
			check(t, &below, bm)
			check(t, &tr, m)
		}
	}
}

// TestRecordsAboveTheFrontierAreCounted settles every record of a partition
// with gaps exactly once, in any order, as a lane does.
func TestRecordsAboveTheFrontierAreCounted(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 2))
		type rec struct{ lo, hi int64 }
		var recs []rec
		var next int64
		for range 40 {
			at := next + rng.Int64N(3) // a gap of up to two offsets
			recs = append(recs, rec{next, at + 1})
			next = at + 1
		}
		order := rng.Perm(len(recs))
		var tr Tracker
		done := make([]bool, len(recs))
		for _, i := range order {
			tr.Settle(recs[i].lo, recs[i].hi, 1)
			done[i] = true
			below := 0
			for below < len(recs) && done[below] {
				below++
			}
			above := 0
			for _, d := range done[below:] {
				if d {
					above++
				}
			}
			if got := tr.Above(); got != above {
				t.Fatalf("seed %d: %d records above the frontier, want %d", seed, got, above)
			}
		}
		if tr.Frontier() != next || tr.Above() != 0 {
			t.Fatalf("seed %d: at the end frontier %d (want %d), %d above", seed, tr.Frontier(), next, tr.Above())
		}
	}
}

func TestBatchesInOrderAllocateNothing(t *testing.T) {
	var tr Tracker
	var next int64
	if n := testing.AllocsPerRun(1000, func() {
		tr.Settle(next, next+100, 100)
		next += 100
	}); n != 0 {
		t.Fatalf("%v allocations a batch, want none", n)
	}
}

func FuzzTracker(f *testing.F) {
	f.Add(int64(0), []byte{1, 2, 3, 4})
	f.Add(int64(9), []byte{200, 3, 9, 1, 0, 40})
	f.Fuzz(func(t *testing.T, start int64, ops []byte) {
		start = min(max(start, 0), 1<<40)
		tr, m := New(start), &model{frontier: start, done: map[int64]bool{}}
		for i := 0; i+1 < len(ops) && i < 200; i += 2 {
			lo := start - 20 + int64(ops[i])
			hi := lo + int64(ops[i+1]%16)
			tr.Settle(lo, hi, 1)
			m.settle(lo, hi)
			check(t, &tr, m)
		}
	})
}

func BenchmarkSettleInOrder(b *testing.B) {
	var tr Tracker
	var next int64
	for b.Loop() {
		tr.Settle(next, next+100, 100)
		next += 100
	}
}
