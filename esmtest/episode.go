package esmtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// An episode is a call of a Mapping in a [Storm]: its records, and what is fated.
type episode struct {
	records       []int // by their numbers
	at            map[*kgo.Record]int
	fate          fate // none if its kind is 0
	of            int  // whose it is
	before, after time.Duration
}

// begin begins one. It has a fate of one of its records. As long as any is left, they
// come again.
func (s *weather) begin(b *esm.Batch) *episode {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	guest := false
	e := &episode{at: map[*kgo.Record]int{}}
	for _, r := range b.Records {
		i := s.index[placeOf(r)]
		e.records, e.at[r] = append(e.records, i), i
		s.tales[i].visits++
		guest = guest || s.meetings[s.forecast.at[i]] != nil
		if own := s.fates[i]; len(own) > 0 && (e.fate.kind == 0 || own[0].rank() < e.fate.rank()) {
			e.fate, e.of = own[0], i
		}
	}
	if guest { // whoever waits for such a call must not wait for more
		e.fate = fate{}
	}
	first := e.records[0]
	e.before, e.after = s.forecast.lags(s.forecast.at[first], s.tales[first].visits)
	return e
}

// end ends it.
func (s *weather) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls--
}

// fulfil notes that a fate comes about. It reports false if it did already, in a call
// of another process: this one was frozen meanwhile.
func (s *weather) fulfil(p *process, e *episode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.fates[e.of]
	if e.fate.kind == 0 || len(left) == 0 || left[0] != e.fate {
		return false
	}
	s.fates[e.of], s.moved = left[1:], time.Now()
	s.tell("%s, record %d (%s): %s", p, e.of, s.forecast.at[e.of], e.fate)
	return true
}

// pending reports whether anything is still to come of the records.
func (s *weather) pending(e *episode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(e.records, func(i int) bool { return len(s.fates[i]) > 0 })
}

// enter notes that the function gets the records.
func (s *weather) enter(p *process, e *episode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for n, i := range e.records {
		t, at := s.tales[i], s.forecast.at[i]
		t.calls++
		if t.handled > 0 {
			t.again = true
			t.late = t.late || now.Sub(t.firstHandled) > isLate
		}
		others := len(t.running)
		if _, own := t.running[p]; own {
			others--
		}
		t.beside = t.beside || others > 0
		t.running[p] = now
		if n == 0 || s.forecast.at[e.records[n-1]].TopicPartition != at.TopicPartition {
			s.inOrder(at)
		}
	}
}

// inOrder notes a leap if what is in front of a record is not settled. The lock is
// held.
func (s *weather) inOrder(at place) {
	next := s.frontier[at.TopicPartition]
	for ; next < at.offset; next++ {
		over := place{at.TopicPartition, next}
		if t := s.tales[s.index[over]]; !t.settled && !t.givenUp {
			if len(s.leaps) < 3 {
				s.leaps = append(s.leaps, leap{at, over})
			}
			break
		}
	}
	s.frontier[at.TopicPartition] = next
}

// leave notes what the function has said, and reports whether it is done with any
// record.
func (s *weather) leave(p *process, e *episode, b *esm.Batch, err error) bool {
	handled := esm.SettledOf(context.Background(), b, err) // whatever became of the context
	outcome := "succeeded"
	if err != nil {
		outcome = "failed: " + guard.Cut(guard.Text(err), 200)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, i := range e.records {
		t := s.tales[i]
		delete(t.running, p)
		t.lastOutcome = outcome
	}
	for _, r := range handled {
		t := s.tales[e.at[r]]
		if t.handled++; t.handled == 1 {
			t.firstHandled, s.moved = now, now
		}
	}
	return len(handled) > 0
}

// settle notes what the Mapping is told.
func (s *weather) settle(ctx context.Context, e *episode, b *esm.Batch, err error) {
	settled := esm.SettledOf(ctx, b, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range settled {
		s.tales[e.at[r]].settled = true
	}
}

// gaveUp is the hook of discards.
func (s *weather) gaveUp(d *esm.Discard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, known := s.index[placeOf(d.Record)]; known && !s.tales[i].givenUp {
		s.tales[i].givenUp, s.moved = true, time.Now()
		s.tell("record %d (%s) is given up", i, s.forecast.at[i])
	}
}

// open makes a meeting for the records of a call that a frozen process holds.
func (s *weather) open(p *process, e *episode) *meeting {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &meeting{host: p, met: make(chan struct{}), both: make(chan struct{})}
	for _, i := range e.records {
		if at := s.forecast.at[i]; s.meetings[at] == nil {
			s.meetings[at] = m
		}
	}
	s.tell("%s freezes in a call with record %d (%s)", p, e.of, s.forecast.at[e.of])
	return m
}

// shut ends a meeting to which nobody comes any more. The lock is held.
func (s *weather) shut(m *meeting) {
	for at, other := range s.meetings {
		if other == m {
			delete(s.meetings, at)
		}
	}
}

// join returns the meetings that wait for another call with these records.
func (s *weather) join(p *process, e *episode) (met []*meeting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range e.records {
		m := s.meetings[s.forecast.at[i]]
		if m == nil || m.host == p {
			continue
		}
		met = append(met, m)
		s.shut(m)
		s.tell("%s has record %d (%s), with which %s is frozen", p, i, s.forecast.at[i], m.host)
	}
	return met
}

// unfinished names calls of the function that go on. The lock is held.
func (s *weather) unfinished() (calls []string) {
	for i, t := range s.tales {
		for p, since := range t.running {
			calls = append(calls, fmt.Sprintf("a call of %s with record %d (%s), for %s", p, i, s.forecast.at[i], time.Since(since).Round(time.Millisecond)))
		}
	}
	slices.Sort(calls)
	return calls
}

// left says which records the function is not done with, or else what is missing to
// the end. The lock is held.
func (s *weather) left() (n int, texts []string) {
	for i, t := range s.tales {
		if t.handled == 0 && !t.givenUp {
			n++
			texts = append(texts, fmt.Sprintf("record %d (%s): %s", i, s.forecast.at[i], t))
		}
	}
	if n > 0 {
		return n, texts
	}
	for i, t := range s.tales {
		if at := s.forecast.at[i]; s.kafka.Committed(s.source.Group, at.Topic, at.Partition) <= at.offset {
			texts = append(texts, fmt.Sprintf("record %d (%s) is not committed: %s", i, at, t))
		}
	}
	if len(texts) == 0 {
		texts = s.unfinished()
	}
	return 0, texts
}

// String says how its calls went. The lock is held.
func (t *tale) String() string {
	parts := []string{fmt.Sprintf("%d calls", t.calls)}
	if t.lastOutcome != "" {
		parts = append(parts, "the last that ended "+t.lastOutcome)
	}
	for p, since := range t.running {
		parts = append(parts, fmt.Sprintf("one of %s goes on for %s", p, time.Since(since).Round(time.Millisecond)))
	}
	return strings.Join(parts, ", ")
}
