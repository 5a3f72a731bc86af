package lambdapool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/seed429fd032/esm/internal/invokers/lambdaresult"
)

// A worker is one process of the function, with the server of the Runtime API
// that is for it alone.
//
// # The invariant
//
// It has at most one invocation. What arrives of it counts only for that one,
// by its id, and only once: the first of an answer, the end of the process, the
// timeout and the end of the context takes the invocation out of the worker
// under its lock, and is what became of it.
//
// # Goroutines
//
// Two read the output, one serves, one waits for the process. The last one
// waits for the others, so Pool.group counts only it. Who invokes is the
// caller, and only one at a time: the Pool hands a worker to one after the
// other.
type worker struct {
	pool   *Pool
	cmd    *exec.Cmd
	server *http.Server
	api    http.Handler
	host   string // what requests are for: an address and a port
	prefix string // of all paths: the secret
	output output
	lease  *time.Timer // how long it may be idle
	done   context.Context
	ended  context.CancelFunc // of done: the process has ended, or is about to
	reaped chan struct{}      // closed when nothing of it is left
	gone   bool               // that it has ended; guarded by the lock of the pool
	away   bool               // that it does not come back for an event; guarded by that too
	ask    *time.Timer        // kills it if it does not ask for an event

	mu      sync.Mutex
	polling chan *invocation // where the next event goes, nil if it does not ask
	asker   *conn            // on which it asked last
	asks    chan struct{}    // rings when it asks
	current *invocation
	asked   bool   // for a first event
	init    string // why its initialization failed, if it said
	ending  bool   // we let it go
	killed  bool
	silent  bool  // it was killed because it did not ask
	status  error // how it ended
}

// An invocation is an event on its way through a worker.
type invocation struct {
	id       string
	event    Event
	deadline time.Time
	result   chan result
	by       *conn         // on which the process got it
	over     chan struct{} // closed when the worker has it no more
}

type result struct {
	answer []byte
	err    error
}

var (
	// errGone says that a process ended before it took the event.
	errGone = errors.New("the process ended while it was idle")
	// errAway says that a process does not ask for the event.
	errAway = errors.New("the process does not come back")
)

const (
	// headerTime is how long a request may take until its header is there, and a
	// connection until its first request.
	headerTime = 5 * time.Second
	// maxHeader is how large a header may be: AWS's client for Go sends the cause
	// of an error in one, of up to 1 MiB.
	maxHeader = 1 << 20
)

// startWorker starts a process.
func startWorker(p *Pool) (*worker, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &worker{pool: p, asks: make(chan struct{}, 1), reaped: make(chan struct{})}
	w.host = l.Addr().String()
	if p.Plain {
		l = newDoor(l, ownSocket, canTellOwner)
	} else {
		w.prefix = "/" + rand.Text()
		l = newDoor(l, perhapsOwnSocket, false)
	}
	w.api = w.routes()
	w.done, w.ended = context.WithCancel(context.Background())
	w.output = output{logger: p.Logger, function: p.Name, secret: w.prefix}
	w.server = w.newServer()
	w.cmd = exec.Command(p.Command[0], p.Command[1:]...)
	w.cmd.Dir = p.Dir
	w.cmd.Env = p.environment(w.host + w.prefix)
	ownGroup(w.cmd)
	readers, err := w.start()
	if err != nil {
		w.ended()
		return nil, errors.Join(err, l.Close())
	}
	w.lease = time.AfterFunc(p.Idle, func() { p.expire(w) })
	w.lease.Stop()

	p.mu.Lock()
	p.all[w] = struct{}{}
	p.stats.ColdStarts++
	closed := p.closed
	p.mu.Unlock()
	w.ask = time.AfterFunc(p.Start, w.expectAsk)
	var group sync.WaitGroup
	group.Go(func() { _ = w.server.Serve(l) })
	for stream, r := range readers {
		group.Go(func() { w.output.read(stream, r) })
	}
	go w.wait(&group, readers)
	if closed {
		w.end()
	}
	return w, nil
}

// newServer makes the server of the Runtime API.
func (w *worker) newServer() *http.Server {
	return &http.Server{
		Handler: w, ConnState: connState, ErrorLog: log.New(io.Discard, "", 0), DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout: headerTime, MaxHeaderBytes: maxHeader,
		// There is no limit for an answer, nor for being idle: the next event may
		// come in an hour, and the answer to it in another. A connection that may
		// be so slow is the process's: any other one is closed after one request.
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
}

// start starts the process, and returns its output by the name of the stream.
func (w *worker) start() (readers map[string]*os.File, err error) {
	readers = map[string]*os.File{}
	var writers []*os.File
	defer func() {
		for _, f := range writers {
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			for _, f := range readers {
				_ = f.Close()
			}
		}
	}()
	for _, stream := range []string{"stdout", "stderr"} {
		r, f, err := os.Pipe()
		if err != nil {
			return readers, err
		}
		readers[stream] = r
		writers = append(writers, f)
	}
	w.cmd.Stdout, w.cmd.Stderr = writers[0], writers[1]
	if err := w.cmd.Start(); err != nil {
		return readers, err
	}
	w.output.pid = w.cmd.Process.Pid
	return readers, nil
}

// lastOutput is how long the output of a process is read after its end: others
// may hold it open that the function has started.
const lastOutput = 500 * time.Millisecond

// wait waits for the end of the process, and cleans up.
func (w *worker) wait(group *sync.WaitGroup, readers map[string]*os.File) {
	status := w.cmd.Wait()
	w.mu.Lock()
	w.status = status
	w.mu.Unlock()
	w.ask.Stop()
	w.pool.leave(w)
	w.ended()
	endGroup(w.cmd.Process)
	_ = w.server.Close()
	for _, r := range readers {
		_ = r.SetReadDeadline(time.Now().Add(lastOutput))
	}
	// Where a pipe has no deadline, what holds it open is not waited for.
	rest := make(chan struct{})
	go func() {
		group.Wait()
		close(rest)
	}()
	limit := time.NewTimer(2 * lastOutput)
	select {
	case <-rest:
	case <-limit.C:
	}
	limit.Stop()
	for _, r := range readers {
		_ = r.Close()
	}
	w.output.flush()
	close(w.reaped)
	w.pool.forget(w)
	w.pool.group.Done()
}

func (w *worker) letGo() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ending
}

// broken reports whether the process has ended or was killed.
func (w *worker) broken() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.killed || w.done.Err() != nil
}

// kill ends the process at once.
func (w *worker) kill() {
	w.mu.Lock()
	w.killed = true
	w.mu.Unlock()
	killGroup(w.cmd.Process)
}

// termGrace is how long a process may take to end that is let go, as in Lambda.
const termGrace = 500 * time.Millisecond

// end lets a process go, and returns at once.
func (w *worker) end() {
	w.mu.Lock()
	if w.ending {
		w.mu.Unlock()
		return
	}
	w.ending = true
	w.mu.Unlock()
	terminateGroup(w.cmd.Process)
	t := time.AfterFunc(termGrace, w.kill)
	context.AfterFunc(w.done, func() { t.Stop() })
}

// memoryTick is how often it is looked at how much memory a process has.
const memoryTick = 100 * time.Millisecond

// invoke gives the process an event and waits for its answer.
func (w *worker) invoke(ctx context.Context, id string, event Event) ([]byte, error) {
	p := w.pool
	inv := &invocation{id: id, event: event, result: make(chan result, 1), over: make(chan struct{})}
	if err := w.hand(ctx, inv); err != nil {
		return nil, err
	}
	p.count(func(s *Stats) { s.Invocations++ })
	timeout := time.NewTimer(time.Until(inv.deadline))
	defer timeout.Stop()
	var tick <-chan time.Time
	if p.Memory > 0 {
		t := time.NewTicker(memoryTick)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case r := <-inv.result:
			return r.answer, r.err
		case <-timeout.C:
			if w.take(inv) {
				w.kill()
				p.count(func(s *Stats) { s.TimedOut++ })
				return nil, fmt.Errorf("%w: it took more than %s, and was killed (request %s)", ErrTimedOut, p.Timeout, id)
			}
		case <-ctx.Done():
			if w.take(inv) {
				w.kill()
				return nil, fmt.Errorf("%w: the function was killed (request %s)", context.Cause(ctx), id)
			}
		case <-w.done.Done():
			if w.take(inv) {
				return nil, w.exited(inv)
			}
		case <-tick:
			if has := residentMemory(w.cmd.Process.Pid); has > p.Memory && w.take(inv) {
				w.kill()
				p.count(func(s *Stats) { s.OutOfMemory++ })
				return nil, &Error{Type: "Runtime.OutOfMemory", RequestID: id,
					Message: fmt.Sprintf("the process had %d MiB, more than %d MiB, and was killed", has>>20, p.Memory>>20)}
			}
		}
	}
}

// exited is the error of an invocation whose process ended.
func (w *worker) exited(inv *invocation) error {
	w.mu.Lock()
	status := w.status
	closed := w.ending
	w.mu.Unlock()
	if closed {
		return fmt.Errorf("%w while the function ran (request %s)", ErrClosed, inv.id)
	}
	w.pool.count(func(s *Stats) { s.Exited++ })
	return &Error{Type: "Runtime.ExitError", Message: "the process ended: " + exitText(status), RequestID: inv.id}
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// expectAsk kills a process that has not asked for an event for long: since it
// was started, or since it was done with the last one. It does not matter
// whether somebody waits for it.
func (w *worker) expectAsk() {
	w.mu.Lock()
	silent := w.polling == nil && w.current == nil && !w.ending && !w.killed
	w.silent = w.silent || silent
	w.mu.Unlock()
	if silent {
		w.kill()
	}
}

// awayLimit is how long an event waits for a process that was done with another
// one and does not ask for the next. It asks at once, unless something is wrong.
const awayLimit = 100 * time.Millisecond

// hand gives an event to the process as soon as it asks for one.
func (w *worker) hand(ctx context.Context, inv *invocation) error {
	w.mu.Lock()
	fresh := !w.asked
	w.mu.Unlock()
	var away <-chan time.Time
	if !fresh {
		t := time.NewTimer(awayLimit)
		defer t.Stop()
		away = t.C
	}
	for {
		w.mu.Lock()
		gone := w.done.Err() != nil || w.killed || w.ending
		if to := w.polling; to != nil && !gone {
			inv.deadline = time.Now().Add(w.pool.Timeout)
			w.polling, w.current, inv.by = nil, inv, w.asker
			w.mu.Unlock()
			w.output.begin(inv.id)
			to <- inv
			return nil
		}
		w.mu.Unlock()
		if gone && !fresh {
			return errGone
		}
		select {
		case <-w.asks:
		case <-w.done.Done():
			if fresh {
				return w.notStarted(inv)
			}
			return errGone
		case <-ctx.Done():
			return notCalled(context.Cause(ctx))
		case <-away:
			return errAway
		}
	}
}

// notStarted is the error of a process that ended before it asked for an event.
func (w *worker) notStarted(inv *invocation) error {
	<-w.reaped // with its last output
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending {
		return notCalled(ErrClosed)
	}
	if w.silent && w.init == "" {
		return &Error{Type: "Runtime.InitError", RequestID: inv.id,
			Message: fmt.Sprintf("the process did not ask for an event within %s, and was killed", w.pool.Start)}
	}
	said := w.init
	if said == "" {
		said = "it did not say why"
		if last := w.output.lastLine(); last != "" {
			said = fmt.Sprintf("its last output is %q", last)
		}
	}
	return &Error{Type: "Runtime.InitError", RequestID: inv.id,
		Message: fmt.Sprintf("the process ended before it asked for an event: %s: %s", exitText(w.status), said)}
}

// take takes an invocation out of the worker, and reports whether it was still
// there: whoever takes it says what became of it.
func (w *worker) take(inv *invocation) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != inv {
		return false
	}
	w.drop(inv)
	w.ask.Reset(w.pool.Start)
	return true
}

// drop takes the invocation out of the worker, whose lock the caller holds.
func (w *worker) drop(inv *invocation) {
	w.current = nil
	close(inv.over)
}

// environment is that of the process.
func (p *Pool) environment(address string) []string {
	env := os.Environ()
	set := func(name, value string) { env = append(env, name+"="+value) } // the last one holds
	set("AWS_LAMBDA_FUNCTION_NAME", p.Name)
	set("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
	set("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/"+p.Name)
	set("AWS_LAMBDA_LOG_STREAM_NAME", "local")
	set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
	memory := int64(128) // Lambda's least; some runtimes want a number
	if p.Memory > 0 {
		memory = p.Memory >> 20
	}
	set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", fmt.Sprint(memory))
	if p.Handler != "" {
		set("_HANDLER", p.Handler)
	}
	dir, err := filepath.Abs(p.Dir)
	if err != nil {
		dir = p.Dir // there is no better one
	}
	set("LAMBDA_TASK_ROOT", dir)
	set("PWD", dir)
	// A proxy is not for this address. Some clients would ask one.
	no := os.Getenv("NO_PROXY")
	if no == "" {
		no = os.Getenv("no_proxy")
	}
	no = strings.TrimPrefix(no+",127.0.0.1", ",")
	set("NO_PROXY", no)
	set("no_proxy", no)
	env = append(env, p.Env...)
	set("AWS_LAMBDA_RUNTIME_API", address)
	return env
}

// readError reads the error that a function reports.
func readError(body []byte, kind, id string) *Error {
	said := lambdaresult.ReadError(body)
	e := &Error{Type: said.Type, Message: said.Message, Stack: said.Stack, RequestID: id}
	if e.Type == "" {
		e.Type = lambdaresult.Short(kind, lambdaresult.MaxName)
	}
	if e.Message == "" {
		e.Message = "it did not say why"
	}
	return e
}
