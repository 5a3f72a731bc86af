package offset

import (
	"fmt"
	"math/rand/v2"
	"slices"
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
		if r.Lo <= end || r.Hi <= r.Lo {
			t.Fatalf("range [%d, %d) touches what ends at %d, or is empty", r.Lo, r.Hi, end)
		}
		end = r.Hi
	}
	settled := map[int64]bool{}
	end = tr.frontier
	for r, records := range tr.Runs() {
		if from, to := tr.AboveFrom(r.Lo), tr.AboveFrom(r.Hi); records != (from > to) {
			t.Fatalf("run [%d, %d) has %d records: %t", r.Lo, r.Hi, from-to, records)
		}
		if r.Lo <= end || r.Hi <= r.Lo {
			t.Fatalf("run [%d, %d) touches what ends at %d, or is empty", r.Lo, r.Hi, end)
		}
		for end = r.Lo; end < r.Hi; end++ {
			settled[end] = true
		}
	}
	if tr.Whole() != (len(settled) == 0) {
		t.Fatalf("%d offsets above %d are settled, and it says %t", len(settled), tr.frontier, tr.Whole())
	}
	if got := tr.End(); got != end {
		t.Fatalf("it ends at %d, and says %d", end, got)
	}
	for o := range m.done {
		if o >= end {
			t.Fatalf("offset %d is settled, and it ends at %d", o, end)
		}
	}
	for o := m.frontier - 2; o <= end+1; o++ {
		if is := o < m.frontier || m.done[o]; tr.Has(o) != is || settled[o] != (is && o >= m.frontier) {
			t.Fatalf("offset %d: settled %t, in a run %t; the model has %t", o, tr.Has(o), settled[o], is)
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
	if a := &tr.noted; a.none() && len(a.blocks) > 0 {
		t.Fatalf("%d blocks are kept for nothing", len(a.blocks))
	}
}

// A driver does to a tracker and to the model whatever a source of numbers says.
type driver struct {
	tr    Tracker
	m     model
	runs  []Run // of what was noted
	first int   // the number of the first of these
	end   int64 // where the last one ends
}

func newDriver(start int64) *driver {
	return &driver{tr: New(start), m: model{start, map[int64]bool{}}, end: start}
}

func (d *driver) step(t *testing.T, next func(n int) int) {
	t.Helper()
	before, moved := d.tr.Frontier(), false
	switch next(8) {
	case 0, 1: // a range; empty and reversed ones too
		lo := before - 20 + int64(next(170))
		hi := lo + int64(next(40)) - 1
		moved = d.tr.Settle(lo, hi, int(max(0, hi-lo)))
		d.m.settle(lo, hi)
	case 2, 3: // records arrive, with gaps
		from := d.end
		if d.tr.noted.none() { // then they may begin anywhere above
			d.runs, from = d.runs[:0], max(from, before)+int64(next(3))
		}
		noted := len(d.runs)
		var ends []int64
		for range next(100) {
			d.end = from + int64(1+next(2)*next(4))
			d.runs = append(d.runs, Run{from, d.end})
			ends = append(ends, d.end)
			from = d.end
		}
		if first := d.tr.Note(from0(d.runs[noted:], from), slices.Values(ends)); noted == 0 {
			d.first = first
		} else if first != d.first+noted {
			t.Fatalf("%d records are noted from %d on, and the next has number %d", noted, d.first, first)
		}
	default: // some of these are settled, once more too
		if len(d.runs) == 0 {
			return
		}
		at := next(len(d.runs))
		for i := at; i < min(at+1+next(2)*next(100), len(d.runs)); i++ {
			moved = d.tr.SettleArrival(d.first+i) || moved
			d.m.settle(d.runs[i].Lo, d.runs[i].Hi)
		}
	}
	if moved != (d.tr.Frontier() > before) {
		t.Fatalf("it says moved=%t, frontier %d -> %d", moved, before, d.tr.Frontier())
	}
	check(t, &d.tr, &d.m)
}

// from0 is where the first of some runs begins, or the offset if there is none.
func from0(runs []Run, from int64) int64 {
	if len(runs) > 0 {
		return runs[0].Lo
	}
	return from
}

func TestTrackerAgreesWithAFlagPerOffset(t *testing.T) {
	for seed := range uint64(build.Volume(300, 60)) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d := newDriver(rng.Int64N(50))
		for range 60 {
			d.step(t, rng.IntN)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
			if rng.IntN(20) > 0 {
				continue
			}
			// What is below an offset, and goes on from there.
			at := d.m.frontier - 20 + rng.Int64N(150)
			below, bm := d.tr.Below(at), &model{min(d.m.frontier, at), map[int64]bool{}}
			for o := range d.m.done {
				if o < at {
					bm.done[o] = true
				}
			}
			check(t, &below, bm)
			lo := at - rng.Int64N(20)
			hi := lo + rng.Int64N(30)
			below.Settle(lo, hi, 1)
			bm.settle(lo, hi)
			check(t, &below, bm)
			check(t, &d.tr, &d.m)
		}
	}
}

// TestRecordsAboveTheFrontierAreCounted settles every record of a partition
// with gaps exactly once, in any order, as a lane does.
func TestRecordsAboveTheFrontierAreCounted(t *testing.T) {
	for seed := range uint64(build.Volume(500, 50)) {
		rng := rand.New(rand.NewPCG(seed, 2))
		type rec struct{ lo, hi int64 }
		var recs []rec
		var next int64
		for range 200 {
			at := next + rng.Int64N(3) // a gap of up to two offsets
			recs = append(recs, rec{next, at + 1})
			next = at + 1
		}
		order := rng.Perm(len(recs))
		var tr Tracker
		// Some are noted, as those of a part are that fails in part.
		from, to, first := rng.IntN(len(recs)), 0, 0
		to = from + rng.IntN(len(recs)-from)
		first = tr.Note(recs[from].lo, func(yield func(int64) bool) {
			for _, r := range recs[from:to] {
				if !yield(r.hi) {
					return
				}
			}
		})
		done := make([]bool, len(recs))
		for _, i := range order {
			if from <= i && i < to {
				tr.SettleArrival(first + i - from)
			} else {
				tr.Settle(recs[i].lo, recs[i].hi, 1)
			}
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
			if tr.Above() > 0 {
				var runs []Run
				for r := range tr.Runs() {
					runs = append(runs, r)
				}
				r := runs[rng.IntN(len(runs))]
				above = 0
				for j, d := range done {
					if d && recs[j].hi > r.Hi {
						above++
					}
				}
				if got := tr.AboveFrom(r.Hi); got != above {
					t.Fatalf("seed %d: %d records above %d, want %d", seed, got, r.Hi, above)
				}
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
	f.Add(int64(9), []byte{2, 0, 80, 1, 2, 1, 1, 4, 0, 1, 90, 5, 3, 0, 0, 40})
	f.Fuzz(func(t *testing.T, start int64, ops []byte) {
		d := newDriver(min(max(start, 0), 1<<40))
		ops = ops[:min(len(ops), 400)]
		next := func(n int) int {
			if len(ops) == 0 {
				return 0
			}
			b := int(ops[0])
			ops = ops[1:]
			return b % n
		}
		for len(ops) > 0 {
			d.step(t, next)
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

// BenchmarkSettleScattered settles batches of 100 records each, of which so many
// are in flight, record by record. A record in it is of a batch in turn, or of any.
func BenchmarkSettleScattered(b *testing.B) {
	for _, in := range []int{1, 10, 100} {
		for name, turn := range map[string]bool{"turns": true, "any": false} {
			b.Run(fmt.Sprintf("%d/%s", in, name), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 2))
				batches := make([][]int64, in)
				for i := range int64(in * 100) {
					k := int(i) % in
					if !turn {
						k = rng.IntN(in)
					}
					batches[k] = append(batches[k], i)
				}
				rng.Shuffle(in, func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
				var s scattered
				var from int64
				for b.Loop() {
					s.note(from, in*100)
					for _, batch := range batches {
						for _, o := range batch {
							s.settle(from, o)
						}
					}
					from += int64(in * 100)
				}
				if s.tr.Frontier() != from {
					b.Fatal("something is not settled")
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(from), "ns/record")
			})
		}
	}
}

type scattered struct {
	tr    Tracker
	first int
}

func (s *scattered) note(from int64, records int) {
	s.first = s.tr.Note(from, func(yield func(int64) bool) {
		for i := range int64(records) {
			if !yield(from + i + 1) {
				return
			}
		}
	})
}

func (s *scattered) settle(_, o int64) { s.tr.SettleArrival(s.first + int(o)) }
