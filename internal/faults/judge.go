package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A judge brings the lines of all hosts into the order of their times, for the
// checker. So it looks at them a moment later.
type judge struct {
	mu      sync.Mutex
	checker *checker
	waiting []line
}

// late is how much later a line may come than one of another host that was
// said before it. A host that is frozen between a time and its line is later;
// what it says then is what it did, which the checker bears.
const late = 1500 * time.Millisecond

func newJudge() *judge { return &judge{checker: newChecker(partitions)} }

func (j *judge) add(l line) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiting = append(j.waiting, l)
}

// run judges until ctx ends, or a promise is broken.
func (j *judge) run(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if err := j.until(now.Add(-late)); err != nil {
				return err
			}
		}
	}
}

// until judges what was said before a time.
func (j *judge) until(before time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	slices.SortStableFunc(j.waiting, func(a, b line) int { return cmp.Compare(a.At, b.At) })
	n := 0
	for ; n < len(j.waiting) && j.waiting[n].At < before.UnixNano(); n++ {
		j.checker.observe(j.waiting[n])
	}
	j.waiting = slices.Delete(j.waiting, 0, n)
	if v := j.checker.violations; len(v) > 0 {
		return fmt.Errorf("%w: %s", errBroken, v[0])
	}
	return nil
}

// brokenPart takes note of what somebody else saw of a partition.
func (j *judge) brokenPart(n int32, format string, args ...any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.checker
	c.broken(line{At: time.Now().UnixNano(), Host: "parent"}, c.parts[n], format, args...)
	return fmt.Errorf("%w: partition %d", errBroken, n)
}

// broken takes note of what somebody else saw.
func (j *judge) broken(format string, args ...any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := fmt.Sprintf(format, args...)
	j.checker.violations = append(j.checker.violations, s)
	return fmt.Errorf("%w: %s", errBroken, s)
}

// rest judges all that was said.
func (j *judge) rest() error { return j.until(time.Now()) }

// flat judges memory and goroutines, now that there is nothing to do: a host
// must not have more than it had at its beginning.
func (j *judge) flat() {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.checker
	for name, h := range c.hosts {
		if h.held > 2*budget {
			c.violations = append(c.violations, fmt.Sprintf("%s held %d bytes, and its budget is %d", name, h.held, budget))
		}
		if h.stopped || h.seen < 60 {
			continue
		}
		if more := h.goroutinesNow - h.early.goroutines; more > 20 {
			c.violations = append(c.violations, fmt.Sprintf("%s has %d goroutines, and had at most %d in its first half minute", name, h.goroutinesNow, h.early.goroutines))
		}
		if more := h.heapNow - h.early.heap; more > budget {
			c.violations = append(c.violations, fmt.Sprintf("%s has %d bytes of live heap, and had at most %d in its first half minute", name, h.heapNow, h.early.heap))
		}
	}
}
