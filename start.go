package esm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
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
	e := newEngine(&cfg.settings, world{invoke: m.caller().invoke, deliver: discards.deliver, halted: m.onHalt, unreadable: newUnreadableError}, w, base)
	r := &run{engine: e, consumer: newConsumer(e, m.source.kafka(cfg)), scaling: startScaling(e, w, cfg.onDemand), watch: w}
	if m.paused {
		e.hold(holdPause) // with mu, since nobody else has the engine yet
	}
	m.run = r
	m.enter(PhaseStarting, "")
	m.mu.Unlock()
	m.tell()

	limited, done := context.WithTimeoutCause(starting, cfg.startTimeout, fmt.Errorf("WithStartTimeout, which is %s, is over", cfg.startTimeout))
	err := r.consumer.start(limited)
	done()
	reason := ""
	if err != nil {
		if failed := (*startFailure)(nil); errors.As(err, &failed) {
			err = &StartError{Doing: failed.doing, Err: guard.Keep(failed.err), Last: guard.Keep(failed.last)}
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
	r.engine.hold(holdStop)
	now, cancel := context.WithCancel(ctx)
	cancel()
	r.engine.drainAll(now, errStopping)
}
