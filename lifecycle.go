package esm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/kafka"
	"github.com/seed429fd032/esm/internal/partition"
)

// Start connects, joins the group, and returns when the first assignment was
// handled, even if it is empty. ctx bounds the start only, as does
// [WithStartTimeout]; its values reach the invocations. What runs then goes on
// until [Mapping.Stop], or until the function halts it.
//
// If it cannot start it returns a [*StartError] with the broker's words, and
// nothing is left running; Start may then be called again. A second Start
// returns [ErrStarted], and one after Stop [ErrStopped]. A Stop while it
// starts ends it. When ctx ends it returns a [*StartError] with ctx's cause.
//
// What goes wrong, what Start returns if it does so while starting, and which
// [Problem] of [State] says it while running, in the broker's words:
//
//	trouble                 Start: StartError.Doing, Err              running: Problem.With
//	no such topic           read the topics, in seconds:              topic NAME; made again, it is read
//	                        UNKNOWN_TOPIC_OR_PARTITION                from Source.Start
//	unreachable             read the topics, when the time is over:   connection to HOST:PORT; the lag
//	                        what the dialer said                      is unknown, then not Ready
//	a broker elsewhere      find the group, when the time is over:    connection to HOST:PORT
//	than it says            the seed answers, what broker N says
//	                        of itself (advertised.listeners) not
//	no Kafka                read the topics, in seconds, or when      connection to HOST:PORT
//	                        the time is over: what it does
//	refused login           read the topics, at once:                 connection to HOST:PORT
//	                        SASL_AUTHENTICATION_FAILED
//	TLS or login missing,   read the topics, in seconds, or when      connection to HOST:PORT
//	or one too many         the time is over: which, and what to do
//	a partition without     Latest waits for 2 s for a leader, 10 s   end of topic NAME
//	a leader                for one that does not answer, and starts
//	no right to the topic   read the topics, at once:                 topic NAME
//	(Describe, Read)        TOPIC_AUTHORIZATION_FAILED
//	no right to the group   find the group or join the group, at      group; not Ready
//	(Describe, Read)        once: GROUP_AUTHORIZATION_FAILED
//	refused commits         -                                         commit
//
// While running, none of these ends the Mapping: it goes on by itself when the
// trouble is over, and the Problem goes away. Nothing that was read is lost
// meanwhile.
func (m *Mapping) Start(ctx context.Context) error {
	m.mu.Lock()
	switch m.phase {
	case PhaseNew:
	case PhaseStopped, PhaseStopping:
		m.mu.Unlock()
		return ErrStopped
	default:
		m.mu.Unlock()
		return ErrStarted
	}
	starting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m.start = cancel
	cfg := m.cfg.Load()
	base := context.WithValue(context.WithoutCancel(ctx), invocationOf{m}, true)
	w := newTeller(m.watch, &m.source)
	discards := &deliveries{mapping: m.watch.name, source: &m.source, destination: func() Destination { return m.cfg.Load().destination }}
	e := engine.New(&cfg.Settings, engine.World{Invoke: m.caller().invoke, Deliver: discards.deliver, Halted: m.onHalt, Unreadable: w.unreadable}, w, base)
	r := &run{engine: e, consumer: kafka.New(e, w, m.source.kafka(cfg)), scaling: startScaling(e, w, m.cfg.Load), watch: w}
	if m.paused {
		e.Hold(engine.HoldPause) // with mu, since nobody else has the engine yet
	}
	m.run = r
	m.enter(PhaseStarting, "")
	m.mu.Unlock()
	m.tell()

	limited, done := context.WithTimeoutCause(starting, cfg.startTimeout, fmt.Errorf("WithStartTimeout, which is %s, is over", cfg.startTimeout))
	err := r.consumer.Start(limited)
	done()
	reason := ""
	if err != nil {
		if failed := (*kafka.StartFailure)(nil); errors.As(err, &failed) {
			err = &StartError{Doing: failed.Doing, Err: guard.Keep(failed.Err), Last: guard.Keep(failed.Last)}
		}
		reason = guard.Text(err) // not with the lock
	}

	m.mu.Lock()
	if err == nil {
		stop := m.stop
		m.start = nil
		m.settle()
		m.mu.Unlock()
		m.tell()
		if stop == nil {
			return nil
		}
		m.shutDown(stop, r) // it was stopped in the last moment
		return m.whyNot()
	}
	m.mu.Unlock()
	leave, done := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	release := r.watch.press()
	defer release()
	r.abandon(leave)
	_, _ = r.close(leave) // what failed is known already
	done()
	m.mu.Lock()
	if m.stop == nil {
		m.start, m.run = nil, nil
		m.enter(PhaseNew, reason)
		m.mu.Unlock()
		m.tell()
		return err
	}
	m.mu.Unlock()
	m.conclude(nil)
	return m.whyNot()
}

// whyNot is what a Start returns that was stopped.
func (m *Mapping) whyNot() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.halted != nil {
		return m.err // the function halted it
	}
	return ErrStopped
}

// leaveTimeout bounds leaving the group after a start that failed.
const leaveTimeout = 5 * time.Second

// abandon cancels what a start that failed had begun to invoke.
func (r *run) abandon(ctx context.Context) {
	r.engine.Hold(engine.HoldStop)
	now, cancel := context.WithCancel(ctx)
	cancel()
	r.engine.DrainAll(now, engine.ErrStopping)
}

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
	e.Hold(engine.HoldStop)
	drain, done := context.WithTimeout(stop.drain, timeout-reserve)
	failed := DrainError{Cancelled: e.DrainAll(drain, engine.ErrStopping)}
	done()

	rest := max(reserve, timeout-time.Since(began))
	if stop.drain.Err() != nil {
		rest = reserve // somebody is in a hurry
	}
	end, done := context.WithTimeout(context.Background(), rest)
	defer done()
	stop.doing.Store("the last commit")
	failed.CommitErr = guard.Keep(r.consumer.Committer.Flush(end))
	failed.Again = e.SettledAbove()
	stop.doing.Store("leaving the group")
	failed.Waiting, failed.LeaveErr = r.close(end)
	failed.LeaveErr = guard.Keep(failed.LeaveErr)
	for _, c := range e.StuckCalls() {
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
	// Again is how many records were settled above the frontier, and come again,
	// because no commit says so: it had no room, or failed.
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
		msg += " " + engine.Plural(len(e.Stuck), "call ignores that its context ended, and its goroutine is left behind (",
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
