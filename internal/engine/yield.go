package engine

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/memory"
)

const (
	// yieldAfter is how many polls in a row bring nothing of a lane but a
	// refusal of its first batch, until the other lanes yield to it.
	yieldAfter = 3
	// yieldFor is how long they do at most: the broker of that lane may have
	// gone silent. What of the others was ready is thrown away, and counts until
	// memory.ResponseEnds.
	yieldFor = memory.ResponseEnds + 2*memory.FetchMaxWait
)

// pushedAside reports whether a lane gets nothing because others use the
// allowance up.
func (l *lane) pushedAside() bool { return l.refusals >= yieldAfter }

// countRefusal counts whether a poll brought nothing of a lane but a refusal,
// and begins and ends the yielding of the others.
func (e *Engine) countRefusal(l *lane, f *kgo.FetchPartition, now time.Time) {
	was := l.pushedAside()
	switch {
	case len(f.Records) > 0:
		l.refusals = 0
	case memory.Refused(f.Err):
		if l.refusals++; l.refusals == yieldAfter {
			e.yieldUntil = now.Add(yieldFor)
			e.alarm(e.yieldUntil)
		}
	}
	if was != l.pushedAside() {
		e.later(e.repause)
	}
}

// yields reports whether the lanes that are not pushed aside are not fetched now.
func (e *Engine) yields(now time.Time) bool {
	if !now.Before(e.yieldUntil) {
		return false
	}
	for _, l := range e.lanes {
		if l.pushedAside() && !l.paused && !l.gone && !l.ending {
			return true
		}
	}
	return false
}

// endYield lets all lanes be fetched again when the time is over.
func (e *Engine) endYield(now time.Time) {
	if e.yieldUntil.IsZero() || now.Before(e.yieldUntil) {
		return
	}
	e.yieldUntil = time.Time{}
	for _, l := range e.lanes {
		if l.pushedAside() {
			l.refusals = 0 // another try
		}
	}
	e.later(e.repause)
}
