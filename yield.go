package esm

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/memory"
)

const (
	// pushedAside is how many polls in a row bring nothing of a lane but that
	// its first batch was refused, until the others give way to it.
	pushedAside = 3
	// wayFor is how long they do at most. Its broker may have gone silent. What of
	// the others was ready is thrown away, and counts until memory.ResponseEnds.
	wayFor = memory.ResponseEnds + 2*memory.FetchMaxWait
)

// noteRefusal counts what a poll brought of a lane towards giveWay.
func (e *engine) noteRefusal(l *lane, f *kgo.FetchPartition, now time.Time) {
	was := l.aside
	switch {
	case len(f.Records) > 0:
		l.aside = 0
	case memory.Refused(f.Err):
		if l.aside++; l.aside == pushedAside {
			e.wayUntil = now.Add(wayFor)
			e.alarm(e.wayUntil)
		}
	}
	if was >= pushedAside != (l.aside >= pushedAside) {
		e.later(e.repause)
	}
}

// givesWay reports whether lanes that are not pushed aside are not fetched now.
func (e *engine) givesWay(now time.Time) bool {
	if !now.Before(e.wayUntil) {
		return false
	}
	for _, l := range e.lanes {
		if l.aside >= pushedAside && !l.paused && !l.gone && !l.ending {
			return true
		}
	}
	return false
}

// endWay lets all lanes be fetched again, when the time is over.
func (e *engine) endWay(now time.Time) {
	if e.wayUntil.IsZero() || now.Before(e.wayUntil) {
		return
	}
	e.wayUntil = time.Time{}
	for _, l := range e.lanes {
		if l.aside >= pushedAside {
			l.aside = 0 // another try
		}
	}
	e.later(e.repause)
}
