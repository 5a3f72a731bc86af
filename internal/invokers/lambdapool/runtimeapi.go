package lambdapool

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/invokers/lambdaresult"
)

// The Runtime API of Lambda, as
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html has it.
const runtimeAPI = "/2018-06-01/runtime"

// maxAnswer is how large an answer of a function may be, Lambda's quota, and how
// much is read of an error.
const maxAnswer = 6 << 20

// routes is the API for one worker.
func (w *worker) routes() http.Handler {
	mux := http.NewServeMux()
	at := w.prefix + runtimeAPI
	mux.HandleFunc("GET "+at+"/invocation/next", w.next)
	mux.HandleFunc("POST "+at+"/invocation/{id}/response", w.response)
	mux.HandleFunc("POST "+at+"/invocation/{id}/error", w.failure)
	mux.HandleFunc("POST "+at+"/init/error", w.initError)
	mux.HandleFunc("/", noOperation)
	return mux
}

func noOperation(to http.ResponseWriter, _ *http.Request) {
	refuse(to, http.StatusNotFound, kindNotFound, "the Runtime API of version 2018-06-01 has no such operation")
}

// takeover is how long a connection that asks for the next event waits for
// another one to end, which has the turn. The kernel has told its end before the
// process that closed it can have opened another one, so what this waits for is
// the goroutine that reads.
const takeover = time.Second

// poll has the next event go to a request of a connection, and reports whether
// it may.
//
// One connection has the turn: the one on which the process waits for an event,
// or got the one that it has not answered. Whoever asks on another one while that
// is open gets a conflict, and harms nobody. It is the process itself if the
// other one was closed, or if it asks on the same one: it is done with its event
// then, and will not answer.
func (w *worker) poll(r *http.Request, mine chan *invocation) bool {
	c := connOf(r)
	limit := time.NewTimer(takeover)
	defer limit.Stop()
	for {
		w.mu.Lock()
		other, over := w.turn(c)
		if other == nil {
			if w.polling != nil {
				w.polling <- nil // its connection was closed
			}
			if inv := w.current; inv != nil {
				w.drop(inv)
				inv.result <- result{err: &Error{Type: "Runtime.NoAnswer", RequestID: inv.id,
					Message: "the process asked for the next event, and has not answered this one"}}
			}
			w.polling, w.asker, w.asked = mine, c, true
			w.ask.Stop()
			w.mu.Unlock()
			return true
		}
		w.mu.Unlock()
		select {
		case <-other.gone:
		case <-over:
		case <-limit.C:
			return false
		case <-r.Context().Done():
			return false
		case <-w.done.Done():
			return false
		}
	}
}

// turn is the connection that has the turn, if it is another one, and the end of
// the invocation for which it has it.
func (w *worker) turn(c *conn) (other *conn, over <-chan struct{}) {
	switch inv := w.current; {
	case w.polling != nil && w.asker.lives():
		return w.asker, nil
	case inv != nil && inv.by != c && inv.by.lives():
		return inv.by, inv.over
	}
	return nil, nil
}

// next gives the process its next event, as soon as there is one.
func (w *worker) next(to http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet { // HEAD comes here too, and would lose the event
		noOperation(to, r)
		return
	}
	mine := make(chan *invocation, 1)
	if !w.poll(r, mine) {
		refuse(to, http.StatusConflict, "Runtime.Concurrent", "another connection waits for the next event, or has not answered the last one")
		return
	}
	w.pool.back(w)
	select {
	case w.asks <- struct{}{}:
	default:
	}
	var inv *invocation
	select {
	case inv = <-mine:
	case <-r.Context().Done():
		w.mu.Lock()
		if w.polling == mine {
			w.polling = nil
			w.ask.Reset(w.pool.Start) // it asks again, or is ended
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		// It came just now, and the write below fails, or what asked is there
		// even so; or the process asks on another connection.
		if inv = <-mine; inv == nil {
			return
		}
	case <-w.done.Done():
		w.mu.Lock()
		if w.polling == mine {
			w.polling = nil
		}
		w.mu.Unlock()
		return
	}
	h := to.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(inv.event.Body)))
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", ARN(w.pool.Name))
	if c := inv.event.ClientContext; c != "" {
		h.Set("Lambda-Runtime-Client-Context", c)
	}
	h.Set("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0")
	// After the whole body was written a client may be gone that has it.
	err := r.Context().Err()
	if err == nil {
		_, err = to.Write(inv.event.Body)
	}
	if err == nil {
		err = http.NewResponseController(to).Flush()
	}
	if err != nil {
		w.finish(inv.id, result{err: &Error{Type: "Runtime.ConnectionLost", RequestID: inv.id,
			Message: "the process did not take the event"}}, true)
	}
}

// finish says what became of the invocation with this id, and reports whether
// the worker had it. With broken the process is not used again.
func (w *worker) finish(id string, r result, broken bool) bool {
	w.mu.Lock()
	inv := w.current
	if inv == nil || inv.id != id {
		w.mu.Unlock()
		return false
	}
	w.drop(inv)
	w.killed = w.killed || broken
	w.ask.Reset(w.pool.Start)
	w.mu.Unlock()
	inv.result <- r
	return true
}

// has reports whether the worker has the invocation with this id. It is asked
// before a body is read, which may be large.
func (w *worker) has(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current != nil && w.current.id == id
}

// response takes the answer of a function that returned.
func (w *worker) response(to http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !w.has(id) {
		unknown(to, id)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(to, r.Body, maxAnswer))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		w.finish(id, result{err: &Error{Type: "Function.ResponseSizeTooLarge", RequestID: id,
			Message: fmt.Sprintf("the answer has more than %d bytes", maxAnswer)}}, false)
		refuse(to, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "the answer is too large")
		return
	}
	if err != nil {
		w.finish(id, result{err: &Error{Type: "Runtime.ConnectionLost", RequestID: id, Message: "the answer was cut off: " + err.Error()}}, true)
		return
	}
	given := result{answer: body}
	// A function that streams says in trailers that it failed on the way.
	if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
		said, err := base64.StdEncoding.DecodeString(r.Trailer.Get("Lambda-Runtime-Function-Error-Body"))
		if err != nil {
			said = nil
		}
		given = result{err: readError(said, kind, id)}
	}
	w.accept(to, id, given)
}

// failure takes the error of a function.
func (w *worker) failure(to http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !w.has(id) {
		unknown(to, id)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil {
		body = nil // that it failed is what counts
	}
	w.accept(to, id, result{err: readError(body, r.Header.Get("Lambda-Runtime-Function-Error-Type"), id)})
}

// accept takes what a function said of an invocation, if it still has it.
func (w *worker) accept(to http.ResponseWriter, id string, said result) {
	if !w.finish(id, said, false) {
		unknown(to, id)
		return
	}
	to.Header().Set("Content-Type", "application/json")
	to.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(to, `{"status":"OK"}`)
}

// initError takes why a function cannot begin. The process ends then.
func (w *worker) initError(to http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	asked := w.asked
	w.mu.Unlock()
	if asked {
		refuse(to, http.StatusForbidden, "InvalidStateTransition", "the process has asked for an event, so it has begun")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil {
		body = nil
	}
	said := lambdaresult.ReadError(body).String()
	kind := lambdaresult.Short(r.Header.Get("Lambda-Runtime-Function-Error-Type"), lambdaresult.MaxName)
	w.mu.Lock()
	w.init = strings.TrimSpace(kind + " " + said)
	w.mu.Unlock()
	w.ask.Reset(termGrace) // it ends by itself, or is ended
	to.Header().Set("Content-Type", "application/json")
	to.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(to, `{"status":"OK"}`)
}

// unknown refuses an answer that is late, or the second one.
func unknown(to http.ResponseWriter, id string) {
	refuse(to, http.StatusBadRequest, "InvalidRequestID", fmt.Sprintf("%q is not the invocation that this process has", id))
}

func refuse(to http.ResponseWriter, status int, kind, message string) {
	to.Header().Set("Content-Type", "application/json")
	to.WriteHeader(status)
	_ = json.NewEncoder(to).Encode(map[string]string{"errorType": kind, "errorMessage": message})
}
