package esm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

// A stopping is a stop that is under way. All who ask for one wait for the
// same.
type stopping struct {
	drain context.Context // while the invocations may take their time
	hurry context.CancelCauseFunc
	doing atomic.Value // string: what is waited for now
}

func newStopping() *stopping {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &stopping{drain: ctx, hurry: cancel}
	s.doing.Store("Start, which has not returned")
	return s
}

// stopGrace is how much longer than it was given Stop may take: a quarter of
// WithStopTimeout, at most 5 s, for the last commit and for leaving the group,
// and then what hooks and the client are given to end.
const stopGrace = 10 * time.Second

// Stop takes no more records, lets the invocations end, commits and leaves the
// group. It does not wait for back-offs: those records come again to the next
// owner. When the time is over that ctx or [WithStopTimeout] give it, it
// cancels the invocations that are left (their context's cause is
// [ErrStopping]) and returns a [*DrainError]. When it returns nil, no
// goroutine of the Mapping is left. It always returns within 10 seconds after
// its time was over, and its error names what it could not wait for.
//
// It says how the stop went. Why there was one, if the function halted the
// Mapping, is what [Mapping.Err] adds to that.
//
// All callers get the same answer, even later ones, and the shortest time of
// all of them counts. Before Start, Stop returns nil, and the Mapping cannot be
// started any more. With the context of one of its own invocations it returns
// [ErrInsideInvocation] at once; called there with another context, it waits
// for its caller until the time is over. Called by a hook, it leaves that hook
// behind: see [Hooks].
func (m *Mapping) Stop(ctx context.Context) error {
	if m.inside(ctx) {
		return ErrInsideInvocation
	}
	m.mu.Lock()
	defer m.watch.press()()
	switch m.phase {
	case PhaseNew:
		m.enter(PhaseStopped, "")
		m.mu.Unlock()
		m.tell()
		close(m.done)
		return nil
	case PhaseStopped:
		m.mu.Unlock()
		return m.result()
	case PhaseStopping:
	default:
		m.beginStop(ErrStopped, "")
	}
	stop := m.stop
	m.mu.Unlock()
	defer context.AfterFunc(ctx, func() { stop.hurry(context.Cause(ctx)) })()
	m.tell()
	over := time.NewTimer(m.cfg.Load().stopTimeout + stopGrace)
	defer over.Stop()
	hurried := stop.drain.Done()
	for {
		select {
		case <-m.done:
			return m.result()
		case <-hurried:
			over.Reset(stopGrace)
			hurried = nil
		case <-over.C:
			return &DrainError{Waiting: []string{stop.doing.Load().(string)}}
		}
	}
}

// beginStop begins to stop the Mapping. Whoever wants it stopped waits for
// done. A Start that is under way stops it itself, and otherwise a goroutine
// does, which ends by closing done. The lock is held.
func (m *Mapping) beginStop(cause error, reason string) {
	m.stop = newStopping()
	starting := m.phase == PhaseStarting
	m.enter(PhaseStopping, reason)
	if starting {
		m.start(cause)
		return
	}
	go m.shutDown(m.stop, m.run)
}

// shutDown stops what runs, in the order that loses nothing: nothing new is
// read or started, what runs ends, what it settled is committed, and only then
// the group is left, since heartbeats end with that. Each step is bounded.
func (m *Mapping) shutDown(stop *stopping, r *run) {
	timeout := m.cfg.Load().stopTimeout
	began := time.Now()
	reserve := min(timeout/4, 5*time.Second)

	e := r.engine
	defer r.watch.press()()
	stop.doing.Store("the invocations")
	e.hold(holdStop)
	drain, done := context.WithTimeout(stop.drain, timeout-reserve)
	failed := DrainError{Cancelled: e.drainAll(drain, errStopping)}
	done()

	rest := max(reserve, timeout-time.Since(began))
	if stop.drain.Err() != nil {
		rest = reserve // somebody is in a hurry
	}
	end, done := context.WithTimeout(context.Background(), rest)
	defer done()
	stop.doing.Store("the last commit")
	failed.CommitErr = guard.Keep(r.consumer.committer.flush(end))
	failed.Again = e.settledAbove()
	stop.doing.Store("leaving the group")
	failed.Waiting, failed.LeaveErr = r.close(end)
	failed.LeaveErr = guard.Keep(failed.LeaveErr)
	failed.Waiting = append(failed.Waiting, r.watch.hanging()...)
	for _, c := range e.stuckCalls() {
		failed.Stuck = append(failed.Stuck, r.watch.invocation(c))
	}

	if failed.Cancelled > 0 || len(failed.Stuck) > 0 || failed.CommitErr != nil || failed.LeaveErr != nil || len(failed.Waiting) > 0 {
		m.conclude(&failed)
		return
	}
	m.conclude(nil)
}

// conclude is the end of the Mapping.
func (m *Mapping) conclude(failed *DrainError) {
	m.mu.Lock()
	var errs []error
	if m.halted != nil {
		errs = append(errs, m.halted)
	}
	if m.drain = failed; failed != nil {
		errs = append(errs, failed)
	}
	switch len(errs) {
	case 0:
	case 1:
		m.err = errs[0]
	default:
		m.err = errors.Join(errs...)
	}
	reason := ""
	if m.err != nil {
		reason = guard.Text(m.err)
	}
	m.enter(PhaseStopped, reason)
	m.mu.Unlock()
	m.tell()
	close(m.done)
}

// result is what Stop returns: how the stop went, and not why there was one.
func (m *Mapping) result() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drain != nil {
		return m.drain
	}
	return nil
}

// DrainError says what a stop could not bring to an end in its time.
type DrainError struct {
	// Stuck are the invocations that ignore that their context ended, even if that
	// was before the stop, when their partition moved away. Their goroutines are
	// still there; their records come again.
	Stuck []Invocation
	// Cancelled is how many invocations were cancelled because the time was
	// over.
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
	// Waiting names what else had not ended in its time and may go on: hooks,
	// the log, the Kafka client.
	Waiting []string
}

// Error says all of it in one line.
func (e *DrainError) Error() string {
	msg := "esm: the mapping did not stop cleanly:"
	if e.Cancelled > 0 {
		msg += fmt.Sprintf(" %d invocations were cancelled;", e.Cancelled)
	}
	if len(e.Stuck) > 0 {
		msg += " " + plural(len(e.Stuck), "call ignores that its context ended, and its goroutine is left behind (",
			"calls ignore that their context ended, and their goroutines are left behind (")
		for i, s := range e.Stuck {
			if i == 3 {
				msg += ", ..."
				break
			}
			if i > 0 {
				msg += ", "
			}
			what := "batch"
			if s.Delivery {
				what = "delivery"
			}
			msg += fmt.Sprintf("%s %s of %s, running for %s", what, s.BatchID, partition.Describe(s.Partitions), s.Took.Round(time.Millisecond))
		}
		msg += ");"
	}
	if e.CommitErr != nil {
		msg += fmt.Sprintf(" the last commit: %v;", e.CommitErr)
	}
	if e.LeaveErr != nil {
		msg += fmt.Sprintf(" leaving the group: %v;", e.LeaveErr)
	}
	if len(e.Waiting) > 0 {
		msg += fmt.Sprintf(" it was still waiting for %s;", strings.Join(e.Waiting, ", for "))
	}
	return msg + " what was not committed comes again"
}

// MarshalText is Error, for JSON and logs.
func (e *DrainError) MarshalText() ([]byte, error) { return []byte(guard.Text(e)), nil }

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
