package esm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// A Problem is something that keeps a [Mapping] from working as it should.
type Problem struct {
	// With is what it is about: "connection to host:9092", "group", "commit",
	// "topic orders", "topic orders partition 3", "end of topic orders",
	// "start of topic orders",
	// "client", "start", "function" and "destination" for those, "hooks" and
	// "log" for what does not return, or "lag" for a limit under which the lag
	// grows.
	With string
	// Err is what the broker, the client or the function said last.
	Err error
	// Since is when it began, and Last when it was seen last.
	Since, Last time.Time
}

// problem notes a problem, or with a nil error of its end. The error was
// kept by guard.
func (e *engine) problem(with string, err error, now time.Time) {
	was, known := e.problems[with]
	switch {
	case err != nil && known:
		was.Err, was.Last = err, now
	case err != nil:
		p := &Problem{With: with, Err: err, Since: now, Last: now}
		e.problems[with] = p
		info := ProblemInfo{Mapping: e.watch.name, Problem: *p}
		e.later(func() { fire(e.watch, func(h *Hooks) func(ProblemInfo) { return h.ProblemRaised }, info) })
	case known:
		delete(e.problems, with)
		info := ProblemInfo{Mapping: e.watch.name, Problem: *was}
		e.later(func() { fire(e.watch, func(h *Hooks) func(ProblemInfo) { return h.ProblemCleared }, info) })
	}
}

// raise and clear are problem for those who do not have the lock.
func (e *engine) raise(with string, err error) {
	err = guard.Keep(err) // a dialer, say, may be the user's
	e.mu.Lock()
	e.problem(with, err, time.Now())
	e.unlock()
}

func (e *engine) clear(with string) { e.raise(with, nil) }

// known lists the problems.
func (e *engine) known() []Problem {
	e.mu.Lock()
	defer e.unlock()
	return e.listProblems()
}

// over ends a problem, unless it was seen again since it was listed.
func (e *engine) over(p Problem) {
	e.mu.Lock()
	defer e.unlock()
	if now := e.problems[p.With]; now != nil && now.Last.Equal(p.Last) {
		e.problem(p.With, nil, time.Now())
	}
}

// problemWith names a partition.
func problemWith(topic string, partition int32) string {
	return fmt.Sprintf("topic %s partition %d", topic, partition)
}

// readable notes that a lane can be read: records came, or its broker was asked
// and gave some.
func (e *engine) readable(l *lane, now time.Time) {
	l.said, l.unreadable = nil, nil
	if len(e.problems) > 0 {
		e.problem("topic "+l.Topic, nil, now)
		e.problem(problemWith(l.Topic, l.Partition), nil, now)
		l.named = false
	}
}

// disconnected reports whether a problem with a connection is known: what comes
// of that need not be told beside it.
func (e *engine) disconnected() bool {
	e.mu.Lock()
	defer e.unlock()
	for with := range e.problems {
		if strings.HasPrefix(with, connectionProblem) {
			return true
		}
	}
	return false
}

// connectionProblem is what problems with connections begin with.
const connectionProblem = "connection to "

// lastProblem is the problem that was seen last, or nil.
func (e *engine) lastProblem() error {
	e.mu.Lock()
	defer e.unlock()
	var last *Problem
	for _, p := range e.problems {
		if last == nil || p.Last.After(last.Last) {
			last = p
		}
	}
	if last == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", last.With, last.Err)
}

// listProblems returns the problems, the oldest first.
func (e *engine) listProblems() []Problem {
	ps := make([]Problem, 0, len(e.problems))
	for _, p := range e.problems {
		ps = append(ps, *p)
	}
	slices.SortFunc(ps, func(a, b Problem) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.With, b.With))
	})
	return ps
}
