package pace

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestARoundIsTheCallsSinceTheNumberOfPollersChanged, of those that say something: its
// times are those of a naive list.
func TestARoundIsTheCallsSinceTheNumberOfPollersChanged(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		now := time.Unix(1_000_000, 0)
		var p Pace
		var took []time.Duration
		since, completed, failed := time.Time{}, int64(0), int64(0)
		for range 300 {
			now = now.Add(time.Duration(rng.Int64N(int64(time.Second))))
			if rng.IntN(50) == 0 {
				p.Round.Begin(now)
				since, took = now, nil
				continue
			}
			c := Call{
				Ended: now, Took: time.Duration(1 + rng.Int64N(int64(3*time.Second))), Records: 1 + rng.IntN(100), Bytes: 1000,
				Full: rng.IntN(3) > 0, Leaving: rng.IntN(20) == 0,
			}
			c.Began = now.Add(-c.Took)
			c.Failed = rng.IntN(5) == 0
			c.Succeeded = !c.Failed && rng.IntN(10) > 0
			p.Note(c)
			completed++
			if c.Failed {
				failed++
			}
			if c.Leaving {
				since, took = now, nil
			}
			if c.Full && c.Succeeded && !c.Began.Before(since) {
				took = append(took, c.Took)
			}
			last := slices.Clone(took[max(0, len(took)-63):])
			slices.Sort(last)
			wantMedian, wantSpread := time.Duration(0), time.Duration(0)
			if n := len(last); n > 0 {
				wantMedian, wantSpread = last[n/2], last[n*3/4]-last[n/4]
			}
			if median, spread := p.Round.Times(); p.Round.Full != int64(len(took)) || median != wantMedian || spread != wantSpread {
				t.Fatalf("seed %d: %d calls of %s, %s apart; it should be %d of %s, %s apart", seed, p.Round.Full, median, spread, len(took), wantMedian, wantSpread)
			}
			if p.Completed != completed || p.Failed != failed {
				t.Fatalf("seed %d: %d of %d failed, and it says %d of %d", seed, failed, completed, p.Failed, p.Completed)
			}
		}
	}
}
