package engine

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// A Call is an invocation as the world outside of the engine sees it: what the
// function gets, and what it said. It belongs to whoever calls the function until
// World.Invoke has returned.
type Call struct {
	ID      string
	Attempt int // 1 for the first
	// Records are what the function gets, in a slice of its own: it may sort it, or
	// keep it. How many there are, and how large, is in count and Bytes.
	Records []*kgo.Record
	count   int
	Bytes   int64
	// Ctx ends with the call. Whoever cancels it says why.
	Ctx     context.Context
	Cancel  context.CancelCauseFunc
	Timeout time.Duration // 0 for none
	Places  PlaceClock

	// Verdict is what became of it, and After what there is to tell of that once it
	// is booked, without the lock; nil for nothing. See World.Invoke.
	Verdict plan.Verdict
	After   func()

	work *work
}

// A Share is what one partition has in a call: the engine's own numbers of its
// records, which do not depend on what user code did to these, and the records.
type Share struct {
	partition.ID
	Records []plan.Record
	Kafka   []*kgo.Record // the same records, as the function got them
}

// Shares lists what each partition has in the call, in the order of its parts. It
// is expensive, and needed only for what was said of single records.
func (c *Call) Shares() []Share {
	all := make([]Share, len(c.work.parts))
	for i, p := range c.work.parts {
		all[i] = Share{ID: p.lane.ID, Records: p.left[0].Records}
		for j := range all[i].Records {
			all[i].Kafka = append(all[i].Kafka, p.handed(j))
		}
	}
	return all
}

// TakenAway is why a call counts for nothing any more, nil if it does.
func (c *Call) TakenAway() error {
	if cause := context.Cause(c.Ctx); cause == ErrStopping || cause == ErrRevoked {
		return cause
	}
	return nil
}

// A PlaceClock is how long a call has waited for a place of the function's own.
type PlaceClock struct {
	mu    sync.Mutex // a leaf
	waits int        // who wait now,
	since time.Time
	total time.Duration // and how long some did before
}

// Wait counts who waits for a place within the call, and reports whether the
// first began to or the last has ended.
func (c *PlaceClock) Wait(n int, now time.Time) (began, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began, ended = n > 0 && c.waits == 0, n < 0 && c.waits == 1
	c.waits += n
	switch {
	case began:
		c.since = now
	case ended:
		c.total += now.Sub(c.since)
	}
	return began, ended
}

// waited reports how long the call has waited for a place, and whether it does.
func (c *PlaceClock) waited(now time.Time) (d time.Duration, waits bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waits > 0 {
		return c.total + now.Sub(c.since), true
	}
	return c.total, false
}

// ran is how long a call has been running, without what it waited for a place,
// and whether it waits for one.
func (l *lease) ran(now time.Time) (ran time.Duration, waits bool) {
	waited, waits := l.Places.waited(now)
	return max(0, now.Sub(l.started)-waited), waits
}
