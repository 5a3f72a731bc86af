package engine

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestStandstill holds the rule to a naive reading of a history of looks.
func TestStandstill(t *testing.T) {
	type look struct {
		position, end int64
		kept, open    bool
		at            time.Duration
	}
	began := time.Unix(1e9, 0)
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 14))
		var s standstill
		var history []look
		position, end := int64(rng.IntN(3)-1), int64(rng.IntN(4)-1)
		for at := time.Duration(0); at < 100*time.Second; at += time.Duration(1+rng.IntN(3000)) * time.Millisecond {
			if rng.IntN(20) == 0 {
				position++
			}
			if rng.IntN(10) == 0 {
				end = max(end, position) + int64(rng.IntN(2))
			}
			l := look{position, end, rng.IntN(40) == 0, rng.IntN(10) > 0, at}
			history = append(history, l)
			s.look(l.position, l.end, l.kept, l.open, began.Add(at))

			// Back to the last look at which all was well, and on from there.
			from := 0
			for i, l := range history {
				if l.kept || l.position >= 0 && l.end <= l.position || i > 0 && history[i-1].position != l.position {
					from = i
				}
			}
			want := time.Duration(0)
			for i := from + 1; i < len(history); i++ {
				if history[i].open {
					want += history[i].at - history[i-1].at
				}
			}
			if s.stood != want || s.stands() != (want >= StandsAfter) {
				t.Fatalf("seed %d: after %+v it has stood for %s, want %s", seed, history, s.stood, want)
			}
		}
	}
}
