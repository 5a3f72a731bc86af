package engine

import (
	"math"
	"time"
)

// A cargo is what calls carry: how many records each, over the last minutes. Only
// first attempts count: what is tried again has the size that its failure gave it,
// and no window would change that.
//
// It says once that a batch window would save most of the calls, where it would, and
// says it again only after calls carried more in between, or had a window.
type cargo struct {
	total carried  // since the start
	marks []moment // totals of before, one each cargoStep, the oldest cargoSpan ago
	told  bool     // that calls are thin
}

// A carried is what some calls carried.
type carried struct{ calls, records, bytes int64 }

type moment struct {
	at    time.Time
	total carried
}

const (
	// cargoSpan is how long calls are thin before that is said, and cargoStep how
	// exactly the span is kept.
	cargoSpan = 5 * time.Minute
	cargoStep = 10 * time.Second

	// Calls are thin below so many records on average, and no more from so many on:
	// between the two, nothing changes.
	thinRecords, thickRecords = 2, 4
	// thinRate is how many calls a second are worth a line.
	thinRate = 10
	// thinWindow is what is proposed: AWS's.
	thinWindow = 500 * time.Millisecond
)

// add books a call.
func (c *cargo) add(records int, bytes int64) {
	c.total.calls++
	c.total.records += int64(records)
	c.total.bytes += bytes
}

// mark remembers how much was carried by now. It is for about once a second.
func (c *cargo) mark(now time.Time) {
	if n := len(c.marks); n > 0 && now.Sub(c.marks[n-1].at) < cargoStep {
		return
	}
	past := 0
	for past+1 < len(c.marks) && now.Sub(c.marks[past+1].at) >= cargoSpan {
		past++
	}
	c.marks = append(c.marks[:0], c.marks[past:]...)
	c.marks = append(c.marks, moment{now, c.total})
}

// last is what the calls of the last minutes carried, and of how long that is.
func (c *cargo) last(now time.Time) (l carried, over time.Duration) {
	if len(c.marks) == 0 {
		return c.total, 0
	}
	from := c.marks[0]
	return carried{c.total.calls - from.total.calls, c.total.records - from.total.records, c.total.bytes - from.total.bytes}, now.Sub(from.at)
}

// each is how many records a call carried, 0 if there was none.
func (l carried) each() float64 {
	if l.calls == 0 {
		return 0
	}
	return float64(l.records) / float64(l.calls)
}

// thin reports whether it is time to say that calls carry little, and what.
func (c *cargo) thin(s *Settings, now time.Time) (e ThinEvent, say bool) {
	l, over := c.last(now)
	if s.BatchWindow > 0 || s.BatchSize == 1 {
		c.told = false // it was heard, or there is nothing to hear
		return e, false
	}
	if over < cargoSpan {
		return e, false
	}
	seconds := over.Seconds()
	e = ThinEvent{Calls: float64(l.calls) / seconds, Records: l.each(), Window: thinWindow}
	switch {
	case e.Calls < thinRate:
		return e, false
	case e.Records >= thickRecords:
		c.told = false
	}
	// The first record of a window waits for those that come until its end, of all
	// partitions that have too few for a batch.
	e.Then = min(float64(l.records)/seconds*thinWindow.Seconds()+1, float64(s.BatchSize))
	if l.bytes > 0 {
		e.Then = min(e.Then, math.Max(1, float64(s.BatchBytes)/(float64(l.bytes)/float64(l.records))))
	}
	say = !c.told && e.Records < thinRecords && e.Then >= 2*e.Records
	c.told = c.told || say
	return e, say
}

// reviewCargo says that calls are thin.
func (e *Engine) reviewCargo(now time.Time) {
	e.cargo.mark(now)
	if thin, say := e.cargo.thin(e.cfg, now); say {
		e.later(func() { e.watch.Thin(thin) })
	}
}
