package esmtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A process is one of those of a [Storm]: a Mapping, its network, and its Invoker.
type process struct {
	weather *weather
	number  int
	invoker esm.Invoker
	mapping *esm.Mapping
	line    *line
	dead    chan struct{} // closed when it dies

	mu     sync.Mutex
	died   bool
	leaves bool
	frozen chan struct{} // closed when it thaws, nil while it is not frozen
	doomed bool          // it dies when it thaws
}

func (p *process) String() string { return fmt.Sprintf("process %d", p.number) }

var (
	errDead       = errors.New("esmtest: this process has died in the storm")
	errUnanswered = errors.New("esmtest: the answer was lost in the storm")
	errThrottled  = errors.New("esmtest: throttled in the storm")
	errThawed     = errors.New("esmtest: this process was frozen in the storm, and finds that its session is over")
)

// begin makes the Mapping and starts it.
func (p *process) begin() {
	s, f := p.weather, p.weather.forecast
	source := s.source
	source.Client = []kgo.Opt{kgo.Dialer(p.line.dial), kgo.ClientID(p.String()), kgo.SessionTimeout(f.session), kgo.HeartbeatInterval(time.Second), kgo.DisableClientMetrics()}
	if f.eager {
		source.Client = append(source.Client, kgo.Balancers(kgo.RangeBalancer()))
	}
	opts := append([]esm.Option{
		esm.WithLogger(slog.New(slog.DiscardHandler)), esm.WithBatchSize(f.batch), esm.WithBatchWindow(f.window),
		esm.WithStartTimeout(5 * time.Minute), esm.WithStopTimeout(f.stop), esm.WithRevokeTimeout(f.revoke),
	}, s.opts...)
	opts = append(opts, esm.WithName(p.String()), esm.WithHooks(esm.Hooks{Discarded: s.gaveUp}))
	var inv esm.Invoker = NewInvoker(s.t).Always(p.call) // which judges the batches
	if _, exempt := p.invoker.(mayWrite); exempt {
		inv = MayWrite(inv)
	}
	p.mapping = newMapping(s.t, source, inv, opts...)
	s.say("%s starts", p)
	s.stops.Go(func() {
		if err := p.mapping.Start(s.t.Context()); err != nil && !errors.Is(err, esm.ErrStopped) && !p.isDead() {
			s.ask(func() { s.problem = fmt.Sprintf("%s does not start: %v", p, err) })
		}
	})
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.died
}

func (p *process) isFrozen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.frozen != nil
}

// die ends a process without a word, and reports whether it did. One that is frozen
// dies when it thaws.
func (p *process) die(why string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.died:
		return false
	case p.frozen != nil:
		p.doomed = true
		return false
	}
	p.died = true
	p.line.cut()
	close(p.dead)
	p.weather.say("%s dies %s", p, why)
	p.weather.silent(p, true)
	return true
}

// freeze has all calls of a process wait, but the one that asks for it, and cuts it off.
// It reports false if it is frozen already, dead, or leaves.
func (p *process) freeze() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.died || p.leaves || p.frozen != nil {
		return false
	}
	p.frozen = make(chan struct{})
	p.line.cut()
	p.weather.silent(p, true)
	return true
}

// leave notes that a process stops as it should. It reports false if it does already, or
// cannot.
func (p *process) leave() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.died || p.leaves || p.frozen != nil {
		return false
	}
	p.leaves = true
	return true
}

// thaw ends that. What the others have of its partitions it learns from then on.
func (p *process) thaw(die bool) {
	p.mu.Lock()
	close(p.frozen)
	p.frozen = nil
	die = die || p.doomed
	if !die {
		p.weather.silent(p, false)
		p.line.mend()
	}
	p.mu.Unlock()
	if die && p.die("as it thaws") {
		p.weather.ask(func() { p.weather.bury(p) })
	}
}

// awake waits while the process is frozen, and returns an error if it is dead.
func (p *process) awake() error {
	for {
		p.mu.Lock()
		frozen, died := p.frozen, p.died
		p.mu.Unlock()
		switch {
		case died:
			return errDead
		case frozen == nil:
			return nil
		}
		<-frozen
	}
}

// pause waits, unless the context ends or the process dies.
func (p *process) pause(ctx context.Context, d time.Duration) error {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.dead:
			return errDead
		}
	}
	return p.awake()
}

// call is a call of the Mapping, in which happens what is fated.
func (p *process) call(ctx context.Context, b *esm.Batch) error {
	if err := p.awake(); err != nil {
		return err
	}
	s := p.weather
	e := s.begin(b)
	defer s.end()
	kind := e.fate.kind
	switch {
	case kind == throttle:
		s.fulfil(p, e)
		return esm.Throttled(e.fate.d, errThrottled)
	case kind == beside && p.freeze():
		return p.meet(ctx, e, b)
	case kind == stop && p.leave():
		s.ask(func() { s.retire(p) })
		if !e.fate.flag {
			s.until(ctx.Done(), time.Minute)
		}
	case kind == beside, kind == stop:
		return esm.Throttled(time.Second, errThrottled) // a frozen process cannot stop, nor the other way round
	default:
		if err := p.pause(ctx, e.before); err != nil {
			return err
		}
	}
	if err := p.awake(); err != nil {
		return err
	}
	met := s.join(p, e)
	handled, err := p.invoke(ctx, e, b, func() {
		for _, m := range met {
			close(m.met)
			s.until(m.both, time.Minute)
		}
	})
	switch {
	case kind == stop:
		s.fulfil(p, e)
	case !handled || !s.fulfil(p, e):
		kind = 0
	}
	switch kind {
	case unanswered:
		return errUnanswered
	case crash:
		if p.die("after a success of which nobody has heard") {
			s.ask(func() { s.bury(p) })
		}
		return errDead
	case night:
		died := p.die("after a success of which nobody has heard")
		s.ask(func() {
			if died {
				s.bury(p)
			}
			s.fall(e.fate.d)
		})
		return errDead
	case stop:
		if e.fate.flag && s.until(ctx.Done(), time.Minute) {
			return context.Cause(ctx)
		}
	default:
		if p.pause(ctx, e.after) == errDead {
			return errDead
		}
	}
	if err == nil && s.pending(e) {
		return errUnanswered // or they would not come again
	}
	s.settle(ctx, e, b, err)
	return err
}

// meet is a call in a process that freezes: the function has it when another process
// has the records.
func (p *process) meet(ctx context.Context, e *episode, b *esm.Batch) error {
	s := p.weather
	defer p.thaw(e.fate.flag)
	s.ask(s.crew)
	m := s.open(p, e)
	if !s.until(m.met, time.Hour) {
		s.mu.Lock()
		s.shut(m)
		s.mu.Unlock()
		return errThawed
	}
	// That its context has ended the function finds only when the process runs again,
	// and a moment late: what it was about to do it does.
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(errThawed)
	if e.fate.d > 0 {
		close(m.both)
		time.Sleep(e.fate.d)
	}
	defer time.AfterFunc(time.Second+e.before, func() { cancel(errThawed) }).Stop()
	s.fulfil(p, e)
	_, err := p.invoke(late, e, b, func() {
		if e.fate.d == 0 {
			close(m.both)
		}
	})
	s.settle(ctx, e, b, err)
	return err
}

// invoke calls the function, and reports whether it is done with any record. ready is
// called when the call is known to others.
func (p *process) invoke(ctx context.Context, e *episode, b *esm.Batch, ready func()) (handled bool, err error) {
	s := p.weather
	s.enter(p, e)
	ready()
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover() // nil for a Goexit
		s.leave(p, e, b, &esm.PanicError{Value: v, Goexit: v == nil, Stack: debug.Stack()})
		if v != nil {
			panic(v)
		}
	}()
	err = p.invoker.Invoke(ctx, b.With(slices.Clone(b.Records))) // it may sort them, or put others there
	returned = true
	return s.leave(p, e, b, err), err
}

// A line is the network of a process.
type line struct {
	kafka *Kafka

	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	down := l.down
	l.mu.Unlock()
	if down {
		return nil, syscall.ENETUNREACH
	}
	c, err := l.kafka.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		_ = c.Close()
		return nil, syscall.ENETUNREACH
	}
	l.conns = append(l.conns, c)
	return c, nil
}

// cut ends all connections, and lets no other come, until it is mended.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}
