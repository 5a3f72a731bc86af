package engine

import (
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// lagMaxAge is how old the end of a partition may be for the lag to be known.
const lagMaxAge = 5 * time.Second

// Asking says that somebody is asked now where partitions end.
func (e *Engine) Asking(led []partition.ID) {
	e.mu.Lock()
	defer e.unlock()
	for _, id := range led {
		if l := e.lanes[id]; l != nil {
			l.asked = true
		}
	}
}

// A LogEnd is where the log of a partition ends, and when the broker was asked that
// says so.
type LogEnd struct {
	Offset int64
	Asked  time.Time
}

// Observe books where partitions end that one broker leads. It returns those of
// them of which there is more to read than arrived, and of which nothing arrived since the ends were observed
// last. Only of those does nobody else know when their log begins to start later:
// a fetch says it of the others, or there is nothing to lose.
func (e *Engine) Observe(led []partition.ID, ends map[partition.ID]LogEnd, now time.Time) (standing []partition.ID) {
	e.mu.Lock()
	defer e.unlock()
	news := false
	for id, end := range ends {
		l := e.lanes[id]
		if l == nil {
			continue
		}
		was := l.end
		l.ends(end.Offset, end.Asked, now)
		if l.end != was {
			l.fruitless = 0
		}
		news = news || was < 0
	}
	for _, id := range led {
		l := e.lanes[id]
		if l == nil {
			continue
		}
		if l.next >= 0 && l.end > l.next && l.next == l.stoodAt {
			standing = append(standing, id)
		}
		l.stoodAt = l.next
	}
	if news {
		e.ScaleBell.Ring()
	}
	e.GateBell.Ring()
	return standing
}

// A LogStart is where the log of a partition starts, and the leader epoch of the
// record there, -1 if it is not known.
type LogStart struct {
	Offset      int64
	LeaderEpoch int32
}

// ObserveStarts books where logs start.
func (e *Engine) ObserveStarts(starts map[partition.ID]LogStart, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	for id, s := range starts {
		l := e.lanes[id]
		if l == nil || l.ending {
			continue
		}
		l.logStart = max(l.logStart, s.Offset)
		// A lane that is paused is not fetched, and what was fetched of it
		// before is thrown away.
		if l.paused || !e.memory.Wire().IsAhead(id) {
			e.startsAt(l, s.Offset, s.LeaderEpoch, now)
		}
	}
	e.kick(now)
	e.GateBell.Ring()
}

// A Standing is what the engine has now, and how that is.
type Standing struct {
	Partitions []partition.ID
	Unasked    map[partition.ID]bool // of which nobody was asked yet where they end: see Asking
	Topics     map[string]bool
	Stands     bool // a lane stands still
	Member     bool // the group gave this process an assignment
	Stopping   bool // the Mapping stops
}

// Here says what the engine has now.
func (e *Engine) Here() Standing {
	e.mu.Lock()
	defer e.unlock()
	s := Standing{
		Partitions: make([]partition.ID, 0, len(e.lanes)), Unasked: map[partition.ID]bool{}, Topics: map[string]bool{},
		Member: e.member, Stopping: e.holds&HoldStop != 0,
	}
	for id, l := range e.lanes {
		s.Partitions = append(s.Partitions, id)
		s.Topics[id.Topic] = true
		if !l.asked {
			s.Unasked[id] = true
		}
		s.Stands = s.Stands || l.still.stands()
	}
	return s
}

// LedBy says how many brokers lead the partitions.
func (e *Engine) LedBy(brokers int) {
	e.mu.Lock()
	defer e.unlock()
	e.memory.SetBrokers(brokers)
}
