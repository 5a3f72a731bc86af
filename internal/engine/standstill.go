package engine

import (
	"fmt"
	"maps"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

// A standstill is whether a lane gets on: no partition stands still unnamed.
//
// # The rule
//
// A lane stands still while there is more in the partition than was read, or it
// is not known where to begin; nothing arrives; and nothing of ours keeps it from
// arriving: the Mapping polls, and the lane is not paused. When that has lasted
// for standsAfter, it is a Problem until something arrives or there is nothing
// more to read, however long that takes.
//
// The rule looks at results only, and trusts nobody to report a fault. The client
// says some things once and then leaves a partition alone (OffsetFetch refused
// it, a batch expands beyond a limit), some never (a code that it takes for
// passing), and it may have faults of its own.
//
// What is done about it is in question.go.
type standstill struct {
	position int64         // when it was looked at last, -1 if it was unknown
	at       time.Time     // when that was
	stood    time.Duration // for how long it has stood still
	tries    int           // how often the client was set back since
	due      time.Time     // when its leader is asked next
	asked    time.Time     // when it was asked, the zero time while it was not
	found    error         // what it said, if that was no records
	refused  bool          // and whether it will not send any
	again    time.Time     // when the client may be set back again
	carried  bool          // it is of a lane that died, and this one has not begun
}

// StandsAfter is how long a partition stands still before that is a Problem, and
// before anything is done about it: longer than a leader takes to move, than a
// fetch and what the client does by itself.
const StandsAfter = 15 * time.Second

// look notes where a lane is now, and what it could read up to. kept is whether
// something of ours keeps it from being read, and open whether the Mapping has
// polled since the last look: if not, the time does not count.
func (s *standstill) look(position, end int64, kept, open bool, now time.Time) {
	if s.carried && s.position < 0 && position >= 0 {
		s.carried, s.position = false, position // to begin where the other one stood is not to get on
	}
	switch {
	case s.at.IsZero() || kept || position != s.position || position >= 0 && end <= position:
		*s = standstill{position: position, due: s.due}
	case open:
		s.stood += now.Sub(s.at)
	}
	s.at = now
}

// carry is a standstill for the next lane of the partition: a session that is lost
// again and again makes a new one each time.
func (s *standstill) carry(now time.Time) standstill {
	return standstill{position: -1, at: now, stood: s.stood, carried: true}
}

// carryFor is how long a partition may be without a lane for that.
const carryFor = 30 * time.Second

// stands reports whether it has stood still for long enough to be told.
func (s *standstill) stands() bool { return s.stood >= StandsAfter }

// watchLanes looks at all lanes, and names those that stand still.
func (e *Engine) watchLanes(now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	open := e.cancelPoll != nil || e.counts.polls != e.watchedPolls
	e.watchedPolls = e.counts.polls
	maps.DeleteFunc(e.stood, func(_ partition.ID, s standstill) bool { return now.Sub(s.at) > carryFor })
	for _, l := range e.lanes {
		// A topic that is gone has a Problem of its own.
		if l.unreadable == nil {
			l.still.look(l.next, l.end, e.holds != 0 || l.paused || l.gone || l.ending || l.skipping != nil, open, now)
		}
		err := e.laneTrouble(l)
		if err == nil {
			err = l.said
		}
		if err != nil || l.named {
			l.named = err != nil
			e.problem(ProblemWith(l.Topic, l.Partition), err, now)
		}
	}
}

// laneTrouble is why a lane does not get on, nil while it does.
func (e *Engine) laneTrouble(l *lane) error {
	switch {
	case l.unreadable != nil:
		return e.world.Unreadable(l.ID, l.unreadable)
	case l.still.stands():
		return e.standsStill(l)
	}
	return nil
}

// standsStill says what is known of a lane that stands still: the client's last
// words, and those of the broker.
func (e *Engine) standsStill(l *lane) error {
	since := l.still.at.Add(-l.still.stood).Format(time.TimeOnly)
	var text string
	if l.next < 0 {
		text = fmt.Sprintf("nothing is read since %s, because it is not known where to begin", since)
	} else {
		text = fmt.Sprintf("nothing has come since %s, although it goes on: position %d, end %d", since, l.next, l.end)
	}
	err := l.still.found
	if err == nil {
		err = l.said
	}
	if err == nil {
		return guard.Keep(fmt.Errorf("%s", text))
	}
	return guard.Keep(fmt.Errorf("%s: %w", text, err))
}
