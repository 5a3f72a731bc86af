package esm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Phase is where a [Mapping] is in its life.
//
//	New -> Starting -> Running -> Stopping -> Stopped
//	          |        |     ^
//	          v        v     |
//	     New, Stopped  Paused, Halted
//
// A Start that fails goes back to New, from where it may be tried again. A
// Mapping that is Stopped stays so.
type Phase int

const (
	// PhaseNew: made, not started.
	PhaseNew Phase = iota
	// PhaseStarting: joining the group.
	PhaseStarting
	// PhaseRunning: reading and invoking.
	PhaseRunning
	// PhasePaused: [Mapping.Pause] was called. Membership and commits go on.
	PhasePaused
	// PhaseHalted: the function halted it, and it waits for [Mapping.Resume]
	// ([WithPauseOnHalt]).
	PhaseHalted
	// PhaseStopping: letting invocations end, committing, leaving the group.
	PhaseStopping
	// PhaseStopped: done, for good.
	PhaseStopped
)

// String returns the phase in one word.
func (p Phase) String() string {
	names := [...]string{"new", "starting", "running", "paused", "halted", "stopping", "stopped"}
	if p < 0 || int(p) >= len(names) {
		return fmt.Sprintf("Phase(%d)", int(p))
	}
	return names[p]
}

// State is what a [Mapping] is doing, for people.
type State struct {
	Phase Phase
	// Since is since when.
	Since time.Time
	// Reason is why, if it is not plain: what halted it, what it starts
	// despite, what ended it.
	Reason string
	// LastResult is what became of the last invocation, in AWS's words
	// ("OK", "PROBLEM: Function call failed", "No records processed") with
	// the error behind it. (AWS: LastProcessingResult.)
	LastResult string
	// LastResultAt is when that was.
	LastResultAt time.Time
	// Problems are what keeps the Mapping from working as it should and is
	// not the function's doing, the oldest first, in the broker's words. A
	// problem goes away by itself when it is solved.
	Problems []Problem
}

// AWSState returns what AWS would call the state: Creating, Enabled, Disabling
// or Disabled.
func (s State) AWSState() string {
	switch s.Phase {
	case PhaseStarting:
		return "Creating"
	case PhaseRunning:
		return "Enabled"
	case PhaseStopping:
		return "Disabling"
	}
	return "Disabled"
}

// A Problem is something that keeps a [Mapping] from working as it should.
type Problem struct {
	// With is what it is about: "connection", "group", "commit", "topic
	// orders", "topic orders partition 3", "end of topic orders".
	With string
	// Err is what the broker or the client said last.
	Err error
	// Since is when it began, and Last when it was seen last.
	Since, Last time.Time
}

// AWS's words for the last processing result.
const (
	noRecords  = "No records processed"
	callOK     = "OK"
	callFailed = "PROBLEM: Function call failed"
)

// describe adds to a state what the engine knows.
func (e *engine) describe(s *State) {
	e.mu.Lock()
	s.Problems = e.listProblems()
	last := e.lastResult
	s.LastResultAt = e.lastEnded
	e.unlock()
	switch {
	case s.LastResultAt.IsZero():
	case last == nil:
		s.LastResult = callOK
	default:
		s.LastResult = callFailed + ": " + errorText(last)
	}
}

// errorText is what an error of the user says, which may panic.
func errorText(err error) (s string) {
	defer func() {
		if v := recover(); v != nil {
			s = fmt.Sprintf("%T (its Error method panicked: %v)", err, v)
		}
	}()
	return err.Error()
}

// ready reports why the engine is not in its group.
func (e *engine) ready() error {
	e.mu.Lock()
	defer e.unlock()
	if e.member {
		return nil
	}
	if p := e.problems["group"]; p != nil {
		return fmt.Errorf("esm: not ready: not in the group: %w", p.Err)
	}
	return errors.New("esm: not ready: not in the group")
}

// healthy reports why the engine does not get on: calls ignore that their
// context ended, or there was something to do for minutes and nothing
// happened.
func (e *engine) healthy(now time.Time) error {
	e.mu.Lock()
	defer e.unlock()
	stuck := 0
	for l := range e.leases {
		if l.stuck && now.Sub(l.ended) > stuckAfter {
			stuck++
		}
	}
	if stuck > 0 {
		return fmt.Errorf("esm: not healthy: %d invocations go on although their context ended more than %s ago", stuck, stuckAfter)
	}
	if now.Sub(e.progress) < noProgressAfter || e.pool.busy > 0 || len(e.waiting) > 0 || e.throttledUntil.After(now) {
		return nil
	}
	if e.queue.any() {
		return fmt.Errorf("esm: not healthy: records are ready, and nothing was invoked since %s", e.progress.Format(time.RFC3339))
	}
	for _, p := range e.listProblems() {
		if now.Sub(p.Since) > noProgressAfter {
			return fmt.Errorf("esm: not healthy: %s: %w", p.With, p.Err)
		}
	}
	return nil
}

const (
	stuckAfter      = time.Minute
	noProgressAfter = 5 * time.Minute
)

// problem takes note of a problem, or with a nil error of its end.
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
	e.mu.Lock()
	e.problem(with, err, time.Now())
	e.unlock()
}

func (e *engine) clear(with string) { e.raise(with, nil) }

// forgetProblems drops problems of whose end nobody hears: a connection that is
// not tried any more, a topic from which nothing comes. They are raised again
// and again while they last.
func (e *engine) forgetProblems(now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	for with, p := range e.problems {
		passing := strings.HasPrefix(with, "connection to ") || strings.HasPrefix(with, "topic ") || with == "client"
		if passing && now.Sub(p.Last) > time.Minute {
			e.problem(with, nil, now)
		}
	}
}

// problemWith names a partition.
func problemWith(topic string, partition int32) string {
	return fmt.Sprintf("topic %s partition %d", topic, partition)
}

// readable takes note that records came from a partition.
func (e *engine) readable(tp TopicPartition, now time.Time) {
	if len(e.problems) > 0 {
		e.problem("topic "+tp.Topic, nil, now)
		e.problem(problemWith(tp.Topic, tp.Partition), nil, now)
	}
}

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

// Errors of the lifecycle.
var (
	// ErrStarted: Start was called already.
	ErrStarted = errors.New("esm: the mapping was started already")
	// ErrStopped: the Mapping was stopped; it cannot be started again. Make a
	// new one.
	ErrStopped = errors.New("esm: the mapping was stopped")
	// ErrInsideInvocation: Stop or Pause was called with the context of an
	// invocation of the same Mapping, and would wait for itself. Call it on a
	// goroutine with a context of its own, or return [Halt].
	ErrInsideInvocation = errors.New("esm: called from inside an invocation of the same mapping, for which it would wait")
)

// DrainError says what a stop could not bring to an end in its time.
type DrainError struct {
	// Stuck are the invocations that ignored that their context ended. Their
	// goroutines are still there; their records come again.
	Stuck []StuckCall
	// Cancelled is how many invocations were cancelled because the time was
	// over, with those that are stuck.
	Cancelled int
	// CommitErr is why the last offsets could not be committed, or nil. What
	// was settled since the last commit comes again.
	CommitErr error
	// LeaveErr is why the group could not be left, or nil. The partitions
	// then wait for the session to time out.
	LeaveErr error
	// Again is how many records were settled above the frontier: no commit
	// covers them, and they come again.
	Again int
}

// A StuckCall is an invocation that goes on although its context ended.
type StuckCall struct {
	BatchID    string
	Partitions []TopicPartition
	Running    time.Duration
}

// Error says all of it in one line.
func (e *DrainError) Error() string {
	msg := "esm: the mapping did not stop cleanly:"
	if e.Cancelled > 0 {
		msg += fmt.Sprintf(" %d invocations were cancelled;", e.Cancelled)
	}
	if len(e.Stuck) > 0 {
		msg += fmt.Sprintf(" %d of them ignore that their context ended, and their goroutines are left behind (", len(e.Stuck))
		for i, s := range e.Stuck {
			if i == 3 {
				msg += ", ..."
				break
			}
			if i > 0 {
				msg += ", "
			}
			msg += fmt.Sprintf("batch %s of %s, running for %s", s.BatchID, describe(s.Partitions), s.Running.Round(time.Millisecond))
		}
		msg += ");"
	}
	if e.CommitErr != nil {
		msg += fmt.Sprintf(" the last commit: %v;", e.CommitErr)
	}
	if e.LeaveErr != nil {
		msg += fmt.Sprintf(" leaving the group: %v;", e.LeaveErr)
	}
	return msg + " what was not committed comes again"
}

// Unwrap returns the errors of the commit and of leaving the group.
func (e *DrainError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.CommitErr, e.LeaveErr} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// describe names a few partitions.
func describe(tps []TopicPartition) string {
	if len(tps) == 0 {
		return "no partition"
	}
	s := fmt.Sprintf("%s/%d", tps[0].Topic, tps[0].Partition)
	if len(tps) > 1 {
		s += fmt.Sprintf(" and %d more", len(tps)-1)
	}
	return s
}

// A StartError is why a Mapping could not be started.
type StartError struct {
	// Doing is what failed: "connect", "read the topics", "find the group",
	// "join the group", "find the starting position".
	Doing string
	// Err is what the broker or the client said.
	Err error
	// Last is the last problem that was seen before the time was over, if
	// that is the reason, or nil.
	Last error
}

// Error says what failed and why.
func (e *StartError) Error() string {
	msg := fmt.Sprintf("esm: start: could not %s: %v", e.Doing, e.Err)
	if e.Last != nil {
		msg += fmt.Sprintf("; the last problem was: %v", e.Last)
	}
	return msg
}

// Unwrap returns both errors.
func (e *StartError) Unwrap() []error {
	if e.Last == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Last}
}
