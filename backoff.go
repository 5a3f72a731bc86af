package esm

import (
	"math/rand/v2"
	"time"
)

// maxBackoff is the longest that a partition waits between attempts.
const maxBackoff = 24 * time.Hour

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

// safeBackoff asks a user's back-off function, which may panic, exit its
// goroutine or return nonsense.
func safeBackoff(f func(int) time.Duration, attempt int) time.Duration {
	d, ok := time.Duration(0), false
	isolated(func() {
		defer func() { _ = recover() }()
		d, ok = f(attempt), true
	})
	if !ok {
		d = Exponential(time.Second, time.Minute)(attempt)
	}
	return min(max(d, 0), maxBackoff)
}
