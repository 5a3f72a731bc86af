package esm

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// Exponential is a back-off for [WithBackoff] that doubles from first up to
// most, with equal jitter: half of it is certain and half is random, so that
// partitions that failed together do not all come back together.
func Exponential(first, most time.Duration) func(attempt int) time.Duration {
	first = min(max(first, 0), maxBackoff)
	most = min(max(most, first), maxBackoff)
	return func(attempt int) time.Duration {
		d := first
		for n := 1; n < attempt && d < most; n++ {
			d *= 2
		}
		d = min(d, most)
		return d/2 + rand.N(d/2+1)
	}
}

// Constant is a back-off for [WithBackoff] that is always d: for tests.
func Constant(d time.Duration) func(attempt int) time.Duration {
	return func(int) time.Duration { return d }
}

// backoffs asks a user's back-off function, which may panic, exit its
// goroutine, never return, or return nonsense.
type backoffs struct {
	of     func(attempt int) time.Duration
	behind atomic.Int32 // calls that took too long and have not returned
}

// after is how long to wait after the nth failed attempt. Where the function
// does not say, within a second, it is what the default says.
func (b *backoffs) after(attempt int) time.Duration {
	if b.behind.Load() < mostBehind {
		said := make(chan time.Duration, 1)
		var over atomic.Bool // it returned, or was left behind
		failure, ended := guard.Within(leaveSoon, func() {
			defer func() {
				if over.Swap(true) {
					b.behind.Add(-1)
				}
			}()
			said <- b.of(attempt)
		})
		switch {
		case ended && failure == nil:
			return min(max(<-said, 0), maxBackoff)
		case !ended && !over.Swap(true):
			b.behind.Add(1)
		}
	}
	return Exponential(time.Second, time.Minute)(attempt)
}
