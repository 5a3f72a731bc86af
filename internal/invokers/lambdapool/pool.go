// Package lambdapool keeps processes of a Lambda function and gives them events,
// by Lambda's Runtime API. It knows nothing of Kafka: an event is bytes, and so
// is an answer.
package lambdapool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/seed429fd032/esm/internal/redact"
)

// Config is what a Pool is made of. All of it must be set, and valid, except
// what says otherwise.
type Config struct {
	// Command is a program and its arguments.
	Command []string
	// Name is what the function is told that it is called.
	Name string
	// Most is how many processes there are at most.
	Most int
	// Timeout is how long an invocation may take, Start how long a process may
	// take until it asks for its first event, or for the next one, and Idle how
	// long one stays that has nothing to do.
	Timeout, Start, Idle time.Duration
	// Memory is how much memory a process may have in RAM, 0 for any: it needs
	// CanLimitMemory.
	Memory int64
	// Handler is the variable _HANDLER, Dir the folder; both may be empty. Env is
	// added to the environment.
	Handler, Dir string
	Env          []string
	// Plain leaves the secret out of the address.
	Plain bool
	// Logger gets the output.
	Logger *slog.Logger
}

// ARN is what the function is told its ARN is.
func ARN(name string) string { return "arn:aws:lambda:local:000000000000:function:" + name }

// A Pool starts processes of a function when they are needed, and lets them go
// when they are idle.
//
// # Who has what
//
// There are at most Config.Most places. A worker has one until it has ended, or
// whoever is about to start one. A worker that has nothing to do is in idle, and
// whoever takes it out of there has it alone. A place or a worker that becomes
// free goes to who waits longest. The lock is never held while a process starts
// or ends.
type Pool struct {
	Config

	mu      sync.Mutex
	closed  bool
	all     map[*worker]struct{}
	places  int       // processes that are there or about to be
	idle    []*worker // the one that was used last comes last, those that are away first
	waiters []chan *worker
	stats   Stats

	group sync.WaitGroup // the goroutines of workers
}

// Stats are what a [Pool] does and did.
type Stats struct {
	Processes, Busy, Waiting                   int
	ColdStarts, Restarts                       uint64
	Invocations, TimedOut, OutOfMemory, Exited uint64
}

var (
	// ErrClosed is what an invocation after Close fails with.
	ErrClosed = errors.New("the pool is closed")
	// ErrTimedOut is what an invocation fails with that took too long.
	ErrTimedOut = errors.New("the function timed out")
	// ErrNotCalled is what an invocation fails with whose event no process got:
	// its context ended before one was free, the system could start none, or the
	// Pool is closed.
	ErrNotCalled = errors.New("the function was not called")
)

// An Error is what became of an invocation that failed in its process. What the
// function says of it is cut: see [lambdaresult.Error].
type Error struct {
	Type, Message string
	Stack         []string
	RequestID     string
}

// Error is the type and the message in one line.
func (e *Error) Error() string {
	s := "the function failed: "
	if e.Type != "" && e.Type != e.Message {
		s += e.Type + ": "
	}
	return s + e.Message + " (request " + e.RequestID + ")"
}

// New makes a Pool. It starts nothing yet.
func New(c Config) *Pool { return &Pool{Config: c, all: map[*worker]struct{}{}} }

// Stats is a consistent snapshot.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Processes, s.Busy, s.Waiting = len(p.all), len(p.all)-len(p.idle), len(p.waiters)
	return s
}

// Close ends all processes, with their invocations if there still are some, and
// returns when they have ended.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	workers := make([]*worker, 0, len(p.all))
	for w := range p.all {
		workers = append(workers, w)
	}
	p.idle = nil
	waiters := p.waiters
	p.waiters = nil
	p.mu.Unlock()
	for _, c := range waiters {
		close(c)
	}
	for _, w := range workers {
		w.end()
	}
	p.group.Wait()
}

// An Event is what a process is given.
type Event struct {
	// Name is part of the id of the invocation, which differs for each. It may
	// be empty.
	Name string
	// Body is JSON. It may be read after the invocation has ended.
	Body []byte
	// ClientContext is JSON too, and may be empty.
	ClientContext string
	// Waiting is called when the invocation has to wait for a place, and what it
	// returns when it waits no more. It may be nil.
	Waiting func() (done func())
}

// Invoke gives a process an event, and waits for its answer.
func (p *Pool) Invoke(ctx context.Context, event Event) ([]byte, error) {
	id := requestID(event.Name)
	for {
		if ctx.Err() != nil {
			return nil, notCalled(context.Cause(ctx))
		}
		w, err := p.acquire(ctx, event.Waiting)
		if err != nil {
			return nil, err
		}
		answer, err := w.invoke(ctx, id, event)
		switch {
		case errors.Is(err, errAway):
			p.shelve(w)
		case errors.Is(err, errGone):
			p.release(w)
		default:
			p.release(w)
			return answer, err
		}
		// The function saw nothing.
	}
}

// notCalled is the error of an invocation whose event no process got.
func notCalled(why error) error { return fmt.Errorf("%w: %w", ErrNotCalled, why) }

// requestID makes the id of an invocation: the name, and what nobody guesses. An
// event may be tried twice, and an answer must say which time it means; and who
// does not have the event must not answer it.
func requestID(name string) string {
	id := make([]byte, 0, maxName+30)
	for _, c := range []byte(name) {
		if len(id) < maxName && (c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_') {
			id = append(id, c)
		}
	}
	if len(id) > 0 {
		id = append(id, '-')
	}
	return string(append(id, rand.Text()...))
}

// maxName is how much of the name of an event is in the id of its invocation.
const maxName = 64

// acquire returns a worker that is nobody else's.
func (p *Pool) acquire(ctx context.Context, waiting func() func()) (*worker, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, notCalled(ErrClosed)
	}
	n := len(p.idle)
	switch {
	case n > 0 && (!p.idle[n-1].away || p.places >= p.Most):
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		w.lease.Stop()
		p.mu.Unlock()
		return w, nil
	case p.places < p.Most:
		p.places++
		p.mu.Unlock()
		return p.begin()
	}
	c := make(chan *worker, 1)
	p.waiters = append(p.waiters, c)
	p.mu.Unlock()
	placed := func() {}
	if waiting != nil {
		placed = waiting()
	}
	defer placed()
	select {
	case w, ok := <-c:
		placed() // a start is no wait
		switch {
		case !ok:
			return nil, notCalled(ErrClosed)
		case w == nil:
			return p.begin() // with the place of one that ended
		}
		return w, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	if i := slices.Index(p.waiters, c); i >= 0 {
		p.waiters = slices.Delete(p.waiters, i, i+1)
		p.mu.Unlock()
	} else {
		// It was given something just now.
		p.mu.Unlock()
		if w, ok := <-c; ok {
			p.pass(w)
		}
	}
	return nil, notCalled(fmt.Errorf("%w while all %d processes were busy", context.Cause(ctx), p.Most))
}

// begin starts a worker for a place that the caller has.
func (p *Pool) begin() (*worker, error) {
	// Close waits for what has begun before it, and nothing begins after it.
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.group.Add(1)
	}
	p.mu.Unlock()
	if closed {
		p.pass(nil)
		return nil, notCalled(ErrClosed)
	}
	w, err := startWorker(p)
	if err != nil {
		p.pass(nil)
		p.group.Done()
		return nil, notCalled(fmt.Errorf("no process can be started: %w", p.withoutArguments(err)))
	}
	return w, nil
}

// withoutArguments is an error of the system without what may be an argument, and
// a secret: one may have been given the whole line as the program.
func (p *Pool) withoutArguments(err error) error {
	if of := (*fs.PathError)(nil); errors.As(err, &of) && of.Op != "chdir" {
		return &fs.PathError{Op: of.Op, Path: redact.Program(of.Path), Err: of.Err}
	}
	return err
}

// release takes a worker back after an invocation. One that cannot go on keeps
// its place until it has ended, so that there are never more than the limit;
// nobody waits for that.
func (p *Pool) release(w *worker) {
	if w.broken() {
		w.kill()
		return
	}
	p.pass(w)
}

// shelve takes a worker back that is slow to ask for its next event: whoever
// comes takes another one first.
func (p *Pool) shelve(w *worker) {
	p.mu.Lock()
	w.away = true
	if len(p.waiters) == 0 && !w.gone && !p.closed {
		p.idle = slices.Insert(p.idle, 0, w)
		w.lease.Reset(p.Idle)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.pass(w)
}

// back notes that a worker asks for an event.
func (p *Pool) back(w *worker) {
	p.mu.Lock()
	w.away = false
	p.mu.Unlock()
}

// leave takes a worker out of those that are idle, because it has ended.
func (p *Pool) leave(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.gone = true
	if i := slices.Index(p.idle, w); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
}

// pass gives a worker, or with nil the place of one that has ended, to who waits
// longest.
func (p *Pool) pass(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case w != nil && w.gone:
		// It ended just now, and its place was passed on.
	case len(p.waiters) > 0:
		p.waiters[0] <- w
		p.waiters = p.waiters[1:]
	case w == nil:
		p.places--
	case p.closed:
		// Close ends it.
	default:
		p.idle = append(p.idle, w)
		w.lease.Reset(p.Idle)
	}
}

// expire lets a worker go that was idle for long.
func (p *Pool) expire(w *worker) {
	p.mu.Lock()
	i := slices.Index(p.idle, w)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		w.end()
	}
}

// forget takes out a worker that has ended, and passes its place on.
func (p *Pool) forget(w *worker) {
	p.mu.Lock()
	delete(p.all, w)
	if !w.letGo() {
		p.stats.Restarts++
	}
	p.mu.Unlock()
	w.lease.Stop()
	p.pass(nil)
}

// Kill ends one of the processes that have an invocation, as a crash would, and
// reports whether there was one. It is for tests and examples.
func (p *Pool) Kill() bool {
	p.mu.Lock()
	var victim *worker
	for w := range p.all {
		if !slices.Contains(p.idle, w) {
			victim = w
		}
	}
	p.mu.Unlock()
	if victim == nil {
		return false
	}
	killGroup(victim.cmd.Process)
	return true
}

// count changes the Stats.
func (p *Pool) count(change func(s *Stats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.stats)
}
