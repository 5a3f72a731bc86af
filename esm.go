package esm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/kafka"
)

// A Mapping moves records from a [Source] to an [Invoker]. All of its methods
// may be called from several goroutines at once.
type Mapping struct {
	source  Source
	invoker Invoker
	watch   *watch
	cfg     atomic.Pointer[config] // written under mu
	done    chan struct{}          // closed when it has stopped

	// holding is taken before mu, by those that pause, resume and halt, until
	// the engine does what the state says. Otherwise of two at once one could
	// have the last word here, and the other one there.
	holding sync.Mutex

	// mu is held for moments: never together with the engine's lock, and
	// never while user code runs.
	mu      sync.Mutex
	phase   Phase
	from    Phase // the one before
	since   time.Time
	reason  string
	paused  bool
	halted  error // what the function halted it with
	run     *run  // since Start, also after Stop
	start   context.CancelCauseFunc
	stop    *stopping
	drain   *DrainError // how it was stopped, nil if that went well
	err     error       // why it ended, with that
	changes []State
	telling bool // somebody reports changes
}

// A run is what exists between one Start and its Stop.
type run struct {
	engine   *engine.Engine
	consumer *kafka.Consumer
	scaling  *scaleLoop
	watch    *teller
}

// close leaves the group and ends everything that was begun. It names what did
// not end in time, and the hooks that have not returned.
func (r *run) close(ctx context.Context) (waiting []string, leaveErr error) {
	r.scaling.cancel()
	waiting, leaveErr = r.consumer.Close(ctx)
	if !r.scaling.ended(ctx) {
		waiting = append(waiting, "the scaler of the Mapping")
	}
	waiting = append(waiting, r.watch.hanging()...)
	r.engine.Leave(time.Now()) // after the last decision
	return waiting, leaveErr
}

// New makes a Mapping. It checks all arguments, reports every mistake at once
// as an [*OptionError] (joined with errors.Join), and starts nothing.
func New(source Source, invoker Invoker, opts ...Option) (*Mapping, error) {
	c := defaults(source.Group).with(opts)
	errs := source.validate(time.Now())
	if source.Group == "" && c.name == "" {
		c.name = "unnamed" // one mistake is reported once
	}
	if guard.IsNil(invoker) {
		errs = append(errs, &OptionError{Option: "Invoker", Value: fmt.Sprintf("%T", invoker), Bound: "must not be nil, nor hold a nil"})
	}
	errs = append(errs, c.validate())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	source.Brokers = append([]string(nil), source.Brokers...)
	source.Topics = append([]string(nil), source.Topics...)
	w, err := newWatch(&c)
	if err != nil {
		return nil, err
	}
	m := &Mapping{source: source, invoker: invoker, watch: w, since: time.Now(), done: make(chan struct{})}
	m.cfg.Store(&c)
	return m, nil
}

// invocationOf marks the context of a Mapping's invocations.
type invocationOf struct{ m *Mapping }

func (m *Mapping) inside(ctx context.Context) bool {
	return ctx.Value(invocationOf{m}) != nil
}

// Run starts the Mapping and runs it until ctx ends or the function halts it,
// then stops it. ctx is the lifetime: when it ends, Run lets the invocations
// end, bounded by [WithStopTimeout], commits, leaves the group and returns
// nil, or a [*DrainError]. If the function halted the Mapping it returns a
// [*HaltError]. Values of ctx reach the invocations.
func (m *Mapping) Run(ctx context.Context) error {
	if err := m.Start(ctx); err != nil {
		if ctx.Err() != nil && err != ErrStarted && err != ErrStopped {
			return m.Stop(context.WithoutCancel(ctx))
		}
		return err
	}
	select {
	case <-ctx.Done():
	case <-m.done:
	}
	_ = m.Stop(context.WithoutCancel(ctx)) // Err has it too
	return m.Err()
}

// Done is closed when the Mapping has stopped.
func (m *Mapping) Done() <-chan struct{} { return m.done }

// Err is why the Mapping has stopped: nil while it has not, and if it was
// stopped and all went well; a [*HaltError] (for errors.As) if the function
// halted it; a [*DrainError] if the stop did not go well; both, joined.
func (m *Mapping) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase != PhaseStopped {
		return nil
	}
	return m.err
}

// Pause stops reading and invoking, and returns when no invocation runs any
// more or ctx ends; it stays paused in either case. The Mapping stays in its
// group, and commits. Paused before Start, it starts paused. Pausing twice is
// pausing once. In a Mapping that has stopped it returns [ErrStopped], and with
// the context of one of its own invocations [ErrInsideInvocation].
//
// A halt ([WithPauseOnHalt]) is a reason of its own: a pause does not replace
// it. (AWS: Enabled=false.)
func (m *Mapping) Pause(ctx context.Context) error {
	if m.inside(ctx) {
		return ErrInsideInvocation
	}
	m.holding.Lock()
	m.mu.Lock()
	if m.phase >= PhaseStopping {
		m.mu.Unlock()
		m.holding.Unlock()
		return ErrStopped
	}
	m.paused = true
	r := m.run
	m.settle()
	m.mu.Unlock()
	if r != nil {
		r.engine.Hold(engine.HoldPause)
	}
	m.holding.Unlock()
	m.tell()
	if r == nil {
		return nil
	}
	defer r.watch.press()()
	if r.engine.AwaitIdle(ctx, m.done) {
		return nil
	}
	select {
	case <-m.done:
		return ErrStopped
	default:
		return context.Cause(ctx)
	}
}

// Resume ends a pause. If there is none it ends a halt, so that a host that
// pauses and resumes for reasons of its own does not end a halt by accident.
// If there is neither it does nothing. In a Mapping that has stopped it returns
// [ErrStopped]. (AWS: Enabled=true.)
func (m *Mapping) Resume() error {
	m.holding.Lock()
	m.mu.Lock()
	if m.phase >= PhaseStopping {
		m.mu.Unlock()
		m.holding.Unlock()
		return ErrStopped
	}
	var ends engine.Hold
	switch {
	case m.paused:
		m.paused, ends = false, engine.HoldPause
	case m.halted != nil:
		m.halted, ends = nil, engine.HoldHalt
	}
	r := m.run
	m.settle()
	m.mu.Unlock()
	if r != nil {
		r.engine.ResumeFrom(ends)
	}
	m.holding.Unlock()
	m.tell()
	return nil
}

// onHalt is called when the function halted the Mapping. The engine starts
// nothing more already.
func (m *Mapping) onHalt(err error) {
	m.holding.Lock()
	m.mu.Lock()
	if m.phase >= PhaseStopping {
		m.mu.Unlock()
		m.holding.Unlock()
		return
	}
	m.halted = err
	r := m.run
	if m.cfg.Load().pauseOnHalt {
		m.settle()
	} else {
		m.beginStop(err, guard.Text(err))
	}
	m.mu.Unlock()
	if r != nil { // or the start that was under way has failed meanwhile
		r.engine.Hold(engine.HoldHalt)
	}
	m.holding.Unlock()
	m.tell()
}

// Update changes options of a Mapping that exists. What is not mentioned stays.
// Either all of it holds from the next decision on, or, if an option is wrong
// or cannot be changed, none of it and the errors say which ([*OptionError]).
// Each option says whether it can be updated. Before Start all can.
func (m *Mapping) Update(opts ...Option) error {
	var fresh *watch // of a Mapping that was not started yet
	for {
		m.mu.Lock()
		phase, was := m.phase, m.cfg.Load()
		m.mu.Unlock()
		if phase >= PhaseStopping {
			return ErrStopped
		}
		c := was.with(opts)
		err := c.validateUpdate(was)
		if phase == PhaseNew {
			if err = c.validate(); err == nil {
				fresh, err = newWatch(&c)
			}
		}
		if err != nil {
			return err
		}
		m.mu.Lock()
		if m.cfg.Load() != was || (m.phase == PhaseNew) != (phase == PhaseNew) {
			m.mu.Unlock()
			continue // another one was faster, or a Start: look again
		}
		m.cfg.Store(&c)
		if phase == PhaseNew {
			m.watch = fresh
		}
		r := m.run
		m.mu.Unlock()
		if r != nil {
			// Of two updates at once the later one holds, whichever gets here
			// first: the engine takes what is stored.
			r.engine.Reconfigure(func() *engine.Settings { return &m.cfg.Load().Settings }, time.Now())
		}
		return nil
	}
}

// enter makes the Mapping be in a phase. The lock is held.
func (m *Mapping) enter(p Phase, reason string) {
	m.phase, m.from, m.since, m.reason = p, m.phase, time.Now(), reason
	m.changes = append(m.changes, m.now())
}

// now is the state without what the engine knows. The lock is held.
func (m *Mapping) now() State {
	return State{Mapping: m.watch.name, Phase: m.phase, From: m.from, Since: m.since, Reason: m.reason}
}

// settle enters the phase of a Mapping that is started, by whether it is
// paused or halted. While it starts, it goes on to start. The lock is held.
func (m *Mapping) settle() {
	if m.phase == PhaseNew || m.phase >= PhaseStopping || m.phase == PhaseStarting && m.start != nil {
		return
	}
	p, reason := PhaseRunning, ""
	switch {
	case m.halted != nil:
		p, reason = PhaseHalted, guard.Text(m.halted)
		if m.paused {
			reason += " (and paused)"
		}
	case m.paused:
		p = PhasePaused
	}
	if p != m.phase || reason != m.reason {
		m.enter(p, reason)
	}
}

// tell reports changes of the state, in their order: whoever reports one
// reports those that come meanwhile too.
func (m *Mapping) tell() {
	m.mu.Lock()
	if m.telling {
		m.mu.Unlock()
		return
	}
	m.telling = true
	for len(m.changes) > 0 {
		s := m.changes[0]
		m.changes = m.changes[1:]
		w := m.watch
		m.mu.Unlock()
		fire(w, func(h *Hooks) func(State) { return h.StateChanged }, s)
		m.mu.Lock()
	}
	m.telling = false
	m.mu.Unlock()
}

// State says what the Mapping is doing.
func (m *Mapping) State() State {
	m.mu.Lock()
	s, r := m.now(), m.run
	m.mu.Unlock()
	s.LastResult = noRecords
	if r != nil {
		seen := r.engine.Look(time.Now(), nil)
		s.LastResult, s.LastResultAt = lastResult(&seen), seen.LastAt
		s.Problems = append(r.watch.list(), r.watch.problems()...)
	}
	return s
}

// Ready is nil if the Mapping has joined its group and is running: for a
// readiness probe.
func (m *Mapping) Ready() error {
	s := m.State()
	if s.Phase != PhaseRunning {
		return fmt.Errorf("esm: not ready: the mapping is %s%s", s.Phase, because(s.Reason))
	}
	m.mu.Lock()
	r := m.run
	m.mu.Unlock()
	return r.ready(time.Now())
}

// Healthy is nil unless the Mapping has halted or does not get on: for a
// liveness probe. It is nil before Start, while it starts and while it is
// paused, and as long as invocations end, even with errors: restarting the
// process would not help against those.
func (m *Mapping) Healthy() error {
	s := m.State()
	switch s.Phase {
	case PhaseHalted:
		return fmt.Errorf("esm: not healthy: the mapping is halted%s", because(s.Reason))
	case PhaseStopped:
		if err := m.Err(); err != nil {
			return fmt.Errorf("esm: not healthy: the mapping has stopped: %w", err)
		}
	case PhaseRunning:
		m.mu.Lock()
		r := m.run
		m.mu.Unlock()
		return r.healthy(time.Now())
	}
	return nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// Stats takes a snapshot. It is cheap enough to take every second: its cost
// grows with the number of partitions, and is microseconds for a hundred.
func (m *Mapping) Stats() Stats {
	m.mu.Lock()
	phase, r := m.phase, m.run
	m.mu.Unlock()
	s := Stats{At: time.Now()}
	if r != nil {
		seen := r.engine.Look(s.At, nil)
		s = statsOf(&seen, s.At)
	}
	s.Phase = phase
	return s
}

// AppendPartitions appends what is known of each assigned partition, in no
// order.
func (m *Mapping) AppendPartitions(dst []PartitionStats) []PartitionStats {
	m.mu.Lock()
	r := m.run
	m.mu.Unlock()
	if r == nil {
		return dst
	}
	r.engine.Look(time.Now(), func(one *engine.Row) { dst = append(dst, partitionStatsOf(r.watch.name, one)) })
	return dst
}
