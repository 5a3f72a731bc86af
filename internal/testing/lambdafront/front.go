// Package lambdafront is the side of AWS Lambda that callers see, for tests and
// examples: an HTTP handler that takes what the AWS SDK sends to invoke a
// function, and answers as Lambda does. It looks at no signature.
package lambdafront

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/seed429fd032/esm/internal/invokers/lambdapool"
)

// A Function is what is called, for example a [lambdapool.Pool]. It fails with a
// *lambdapool.Error or with lambdapool.ErrTimedOut where the function itself
// failed, and with an *APIError where Lambda would not have called it.
type Function interface {
	Invoke(ctx context.Context, event lambdapool.Event) ([]byte, error)
}

// FunctionFunc makes a Function of a func.
type FunctionFunc func(ctx context.Context, event lambdapool.Event) ([]byte, error)

// Invoke calls f.
func (f FunctionFunc) Invoke(ctx context.Context, event lambdapool.Event) ([]byte, error) {
	return f(ctx, event)
}

// An APIError is an answer of Lambda that says why it did not call a function.
type APIError struct {
	Status int
	Code   string // such as "ResourceNotFoundException"
	// Reason is that of a throttle, and RetryAfter how long it asks for.
	Reason     string
	RetryAfter time.Duration
}

// Error is the code and the status.
func (e *APIError) Error() string { return fmt.Sprintf("%s (%d)", e.Code, e.Status) }

// maxEvent is how many bytes an event may have: Lambda's quota.
const maxEvent = 6 << 20

// A Front is the handler. Functions are added before it serves.
type Front struct {
	mux       *http.ServeMux
	mu        sync.Mutex
	functions map[string]*function
	serial    int
}

type function struct {
	Function
	concurrency int
	busy        int
}

// New makes a Front without functions.
func New() *Front {
	f := &Front{mux: http.NewServeMux(), functions: map[string]*function{}}
	f.mux.HandleFunc("POST /2015-03-31/functions/{name}/invocations", f.invoke)
	return f
}

// Add adds a function, which is called by its name, or by its name and a
// qualifier with a colon between. As many calls run at once as its concurrency
// says; more are throttled.
func (f *Front) Add(name string, concurrency int, fn Function) {
	f.functions[name] = &function{Function: fn, concurrency: concurrency}
}

// ServeHTTP answers a request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) { f.mux.ServeHTTP(w, r) }

func (f *Front) invoke(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.serial++
	w.Header().Set("X-Amzn-RequestId", "request-"+strconv.Itoa(f.serial))
	f.mu.Unlock()
	answer, err := f.call(w, r)
	var refused *APIError
	var failed *lambdapool.Error
	switch {
	case err == nil:
	case errors.As(err, &refused):
		refused.write(w)
		return
	case errors.As(err, &failed):
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		answer = errorJSON(failed.Type, failed.Message, failed.Stack)
	case errors.Is(err, lambdapool.ErrTimedOut):
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		answer = errorJSON("Sandbox.Timedout", "Task timed out", nil)
	default:
		(&APIError{Status: http.StatusInternalServerError, Code: "ServiceException"}).write(w)
		return
	}
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // the caller may be gone
}

// call calls the function that a request names.
func (f *Front) call(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	name := r.PathValue("name")
	if q := r.URL.Query().Get("Qualifier"); q != "" {
		name += ":" + q
	}
	f.mu.Lock()
	fn := f.functions[name]
	f.mu.Unlock()
	if fn == nil {
		return nil, &APIError{Status: http.StatusNotFound, Code: "ResourceNotFoundException"}
	}
	if kind := r.Header.Get("X-Amz-Invocation-Type"); kind != "" && kind != "RequestResponse" {
		return nil, &APIError{Status: http.StatusBadRequest, Code: "InvalidParameterValueException"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEvent))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return nil, &APIError{Status: http.StatusRequestEntityTooLarge, Code: "RequestTooLargeException"}
	}
	if err != nil || !json.Valid(body) {
		return nil, &APIError{Status: http.StatusBadRequest, Code: "InvalidRequestContentException"}
	}
	client, err := base64.StdEncoding.DecodeString(r.Header.Get("X-Amz-Client-Context"))
	if err != nil {
		return nil, &APIError{Status: http.StatusBadRequest, Code: "InvalidRequestContentException"}
	}
	f.mu.Lock()
	busy := fn.busy >= fn.concurrency
	if !busy {
		fn.busy++
	}
	f.mu.Unlock()
	if busy {
		return nil, &APIError{Status: http.StatusTooManyRequests, Code: "TooManyRequestsException",
			Reason: "ReservedFunctionConcurrentInvocationLimitExceeded"}
	}
	defer func() {
		f.mu.Lock()
		fn.busy--
		f.mu.Unlock()
	}()
	return fn.Invoke(r.Context(), lambdapool.Event{Body: body, ClientContext: string(client)})
}

func (e *APIError) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-ErrorType", e.Code)
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
	}
	w.WriteHeader(e.Status)
	said := map[string]string{"Type": "User", "Message": e.Code}
	if e.Reason != "" {
		said["Reason"] = e.Reason
	}
	_ = json.NewEncoder(w).Encode(said) // the caller may be gone
}

// errorJSON is what Lambda answers for a function that failed.
func errorJSON(kind, message string, stack []string) []byte {
	said := map[string]any{"errorType": kind, "errorMessage": message}
	if len(stack) > 0 {
		said["stackTrace"] = stack
	}
	text, err := json.Marshal(said)
	if err != nil {
		panic(err) // strings have a JSON
	}
	return text
}
