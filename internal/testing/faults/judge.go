package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
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
	lines   io.Writer // gets all of them as they are judged, or nil
}

// late is how much later a line may come than one of another host that was
// said before it. A host that is frozen between a time and its line is later;
// what it says then is what it did, which the checker bears.
const late = 1500 * time.Millisecond

func newJudge(seed uint64) *judge { return &judge{checker: newChecker(seed)} }

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
		j.keep(j.waiting[n])
	}
	j.waiting = slices.Delete(j.waiting, 0, n)
	if v := j.checker.violations; len(v) > 0 {
		return fmt.Errorf("%w: %s", errBroken, v[0])
	}
	return nil
}

// keep writes a line where all are kept.
func (j *judge) keep(l line) {
	if j.lines == nil {
		return
	}
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // it came as JSON, or has no more than such
	}
	_, _ = fmt.Fprintf(j.lines, "%s %-6s %s\n", clock(l.At), l.Host, b) // for people
}

// brokenPart notes what somebody else saw of a partition.
func (j *judge) brokenPart(n int32, format string, args ...any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.checker
	c.broken(line{At: time.Now().UnixNano(), Host: "parent"}, c.parts[n], format, args...)
	return fmt.Errorf("%w: partition %d", errBroken, n)
}

// broken notes what somebody else saw.
func (j *judge) broken(format string, args ...any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := fmt.Sprintf(format, args...)
	j.checker.violations = append(j.checker.violations, s)
	return fmt.Errorf("%w: %s", errBroken, s)
}

// did notes something that was done, and may be the only thing that is
// known of it.
func (j *judge) did(k kind) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.checker.did.add(string(k))
}

// behind is how many records before these ends nobody has handled yet, of
// partitions where each offset has one.
func (j *judge) behind(ends map[int32]int64) (records int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for n, end := range ends {
		if p := j.checker.parts[n]; p.kind == noHoles {
			records += max(0, end-p.below)
		}
	}
	return records
}

// rest judges all that was said.
func (j *judge) rest() error { return j.until(time.Now()) }

const (
	// onePoll is what a poll brings at most: of each broker a fetch of the size
	// that the Mapping begins with, which expands to about twice as much.
	onePoll = 2 * brokers << 20
	// heapGrowth is how much more live heap a host may have than it had: the
	// collector's time differs.
	heapGrowth = 16 << 20
)

// flat judges memory and goroutines, now that there is nothing to do: a host
// must not have more than it had at its beginning.
func (j *judge) flat() {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.checker
	for name, h := range c.hosts {
		if h.most > budget+onePoll {
			c.violations = append(c.violations, fmt.Sprintf("%s held %d bytes, and its budget is %d, and one poll %d", name, h.most, budget, onePoll))
		}
		if h.stopped || h.seen < 60 {
			continue
		}
		if more := h.goroutinesNow - h.early.goroutines; more > 20 {
			c.violations = append(c.violations, fmt.Sprintf("%s has %d goroutines, and had at most %d in its first half minute", name, h.goroutinesNow, h.early.goroutines))
		}
		if more := h.heapNow - h.early.heap; more > heapGrowth {
			c.violations = append(c.violations, fmt.Sprintf("%s has %d bytes of live heap, and had at most %d in its first half minute", name, h.heapNow, h.early.heap))
		}
	}
}
