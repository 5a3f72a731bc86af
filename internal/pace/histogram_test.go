package pace

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestAHistogramCountsByItsBounds, as a naive list does.
func TestAHistogramCountsByItsBounds(t *testing.T) {
	if !slices.IsSorted(Bounds[:]) {
		t.Fatal("the bounds are not in order")
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var h Histogram
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(rng.ExpFloat64() * float64(time.Second))
		if rng.IntN(4) == 0 {
			d = Bounds[rng.IntN(len(Bounds))] + time.Duration(rng.IntN(3)-1)
		}
		all = append(all, d)
		h.Add(d)
	}
	h.Add(-1)
	h.Add(time.Hour)
	all = append(all, -1, time.Hour)
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	if math.Abs(h.Seconds-sum.Seconds()) > 1e-6 {
		t.Errorf("the sum is %v s, want %s", h.Seconds, sum)
	}
	cumulative := int64(0)
	for i, b := range Bounds {
		cumulative += h.Counts[i]
		want := int64(0)
		for _, d := range all {
			if d <= b {
				want++
			}
		}
		if cumulative != want {
			t.Errorf("%d took %s at most, want %d", cumulative, b, want)
		}
	}
	if cumulative+h.Counts[len(Bounds)] != int64(len(all)) {
		t.Errorf("%d in all, want %d", cumulative+h.Counts[len(Bounds)], len(all))
	}
}
