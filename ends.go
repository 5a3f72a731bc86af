package esm

import (
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// lagMaxAge is how old the end of a partition may be for the lag to be known.
const lagMaxAge = 5 * time.Second

// observe books where partitions end that one broker leads. It returns those of
// them of which there is more to read than arrived, and of which nothing arrived since the ends were observed
// last. Only of those does nobody else know when their log begins to start later:
// a fetch says it of the others, or there is nothing to lose.
func (e *engine) observe(led []partition.ID, ends map[partition.ID]int64, now time.Time) (standing []partition.ID) {
	e.mu.Lock()
	defer e.unlock()
	news := false
	for id, end := range ends {
		l := e.lanes[id]
		if l == nil {
			continue
		}
		if end != l.end {
			l.fruitless = 0
		}
		news = news || l.end < 0
		l.end, l.endAt = end, now
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
		e.scaleBell.ring()
	}
	e.gateBell.ring()
	return standing
}

// A logStart is where the log of a partition starts, and the leader epoch of the
// record there, -1 if it is not known.
type logStart struct {
	offset      int64
	leaderEpoch int32
}

// observeStarts books where logs start.
func (e *engine) observeStarts(starts map[partition.ID]logStart, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	for id, s := range starts {
		l := e.lanes[id]
		if l == nil || l.ending {
			continue
		}
		l.logStart = max(l.logStart, s.offset)
		// A lane that is paused is not fetched, and what was fetched of it
		// before is thrown away.
		if l.paused || !e.memory.Wire().IsAhead(id) {
			e.startsAt(l, s.offset, s.leaderEpoch, now)
		}
	}
	e.kick(now)
	e.gateBell.ring()
}

// A standing is what the engine has now, and how that is.
type standing struct {
	partitions []partition.ID
	topics     map[string]bool
	stands     bool // a lane stands still
	member     bool // the group gave this process an assignment
	stopping   bool // the Mapping stops
}

// here says what the engine has now.
func (e *engine) here() standing {
	e.mu.Lock()
	defer e.unlock()
	s := standing{
		partitions: make([]partition.ID, 0, len(e.lanes)), topics: map[string]bool{},
		member: e.member, stopping: e.holds&holdStop != 0,
	}
	for id, l := range e.lanes {
		s.partitions = append(s.partitions, id)
		s.topics[id.Topic] = true
		s.stands = s.stands || l.still.stands()
	}
	return s
}

// ledBy says how many brokers lead the partitions.
func (e *engine) ledBy(brokers int) {
	e.mu.Lock()
	defer e.unlock()
	e.memory.SetBrokers(brokers)
}
