package pace

import (
	"sort"
	"time"
)

// Bounds are the upper bounds of what a Histogram counts together, each included. What is
// longer than the last is counted last.
var Bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute,
}

// A Histogram is how often something took how long, since the start.
type Histogram struct {
	Counts [len(Bounds) + 1]int64
	// Seconds is how many all took together. It is no time.Duration, which a thousand
	// calls at once would overflow within months.
	Seconds float64
}

// Add counts one.
func (h *Histogram) Add(d time.Duration) {
	h.Counts[sort.Search(len(Bounds), func(i int) bool { return d <= Bounds[i] })]++
	h.Seconds += d.Seconds()
}
