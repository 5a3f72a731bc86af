package lambdalocal

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/invokers/lambdapool"
	"github.com/seed429fd032/esm/internal/invokers/lambdaresult"
)

// Handler makes an Invoker of a handler in Go, for this process: anything that
// lambda.Start of aws-lambda-go takes whose event is an events.KafkaEvent, a
// json.RawMessage or a type of your own, or a lambda.Handler.
//
//	inv, err := lambdalocal.Handler(handle)
//
// The context has the deadline ([WithTimeout]) and the lambdacontext, in which
// AwsRequestID is the [esm.Batch].ID. The variables of package lambdacontext,
// such as FunctionName, are empty: they come from the environment of Lambda.
// Values that lambda.NewHandlerWithOptions adds to the context are not there.
//
// One invocation runs at a time unless [WithMaxConcurrency] says otherwise. An error
// that the handler returns is a failure; one of esm's kind, such as
// [esm.Permanent], is what it says. A panic is a failure, and does not end this
// process as it would end one in Lambda.
func Handler(handler any, opts ...HandlerOption) (esm.Invoker, error) {
	var s handlerSettings
	s.defaults(1)
	var wrong mistakes
	for _, o := range opts {
		if o == nil {
			wrong.add("there is a nil option")
			continue
		}
		o.setHandler(&s)
	}
	s.validate(&wrong)
	if err := checkHandler(handler); err != nil {
		wrong.add("Handler(%T): %w", handler, err)
	}
	if s.report && s.concurrency > 1 && reflect.TypeOf(handler) == typeOfMade {
		wrong.add("Handler(%T): with WithMaxConcurrency and WithReportBatchItemFailures it must be the func, not what lambda.NewHandler made of it: that has one buffer for all answers", handler)
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return &inProcess{handlerSettings: s, function: handler, places: make(chan struct{}, s.concurrency)}, nil
}

// inProcess calls a handler.
//
// Each invocation that runs has a lambda.Handler of its own. The answer of one
// is in a buffer that it uses again for its next call, even if that is another
// goroutine's: it is made for one invocation at a time.
type inProcess struct {
	handlerSettings
	function any
	places   chan struct{} // holds one for each invocation that runs

	mu   sync.Mutex
	free []lambda.Handler
}

// take returns a handler that is nobody else's.
func (h *inProcess) take() lambda.Handler {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.free); n > 0 {
		one := h.free[n-1]
		h.free = h.free[:n-1]
		return one
	}
	return lambda.NewHandler(h.function)
}

// give takes it back.
func (h *inProcess) give(one lambda.Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = append(h.free, one)
}

// ErrTimedOut is what an invocation failed with that took longer than
// [WithTimeout]. It is also the cause of the context of a handler that did.
var ErrTimedOut = lambdapool.ErrTimedOut

// Invoke calls the handler with the event of a batch. It returns when the
// handler does: there is no way to end it, and the Mapping must not start
// another call of these partitions beside it.
func (h *inProcess) Invoke(ctx context.Context, b *esm.Batch) error {
	placed := esm.Waiting(ctx)
	defer placed()
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	case <-ctx.Done():
		return esm.Busy(0, fmt.Errorf("lambdalocal: %w before the handler was called: %d others run (WithMaxConcurrency)", context.Cause(ctx), cap(h.places)))
	}
	if ctx.Err() != nil {
		return esm.Busy(0, fmt.Errorf("lambdalocal: %w before the handler was called", context.Cause(ctx)))
	}
	placed()
	event := b.AppendJSON(nil) // the handler may keep it
	ctx, done := context.WithTimeoutCause(ctx, h.timeout, ErrTimedOut)
	defer done()
	handler := h.take()
	defer h.give(handler)
	out, err := handler.Invoke(lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{
		AwsRequestID: b.ID, InvokedFunctionArn: lambdapool.ARN(h.name),
	}), event)
	switch {
	case errors.Is(context.Cause(ctx), ErrTimedOut):
		// Lambda would have ended it by now.
		return timedOut(h.timeout, err)
	case err != nil:
		return fmt.Errorf("the function failed: %w", err)
	case h.report:
		return lambdaresult.Items(b, out)
	}
	return nil
}

// timedOut is the failure of a function that took too long.
func timedOut(limit time.Duration, err error) error {
	if err == nil {
		return fmt.Errorf("%w: it took more than %s (WithTimeout)", ErrTimedOut, limit)
	}
	return fmt.Errorf("%w: it took more than %s (WithTimeout), and failed then: %w", ErrTimedOut, limit, err)
}

var (
	typeOfContext = reflect.TypeFor[context.Context]()
	typeOfError   = reflect.TypeFor[error]()
	typeOfMade    = reflect.TypeOf(lambda.NewHandler(func() {}))
)

// isContext reports whether a type is context.Context, by whatever name.
func isContext(t reflect.Type) bool {
	return t.Kind() == reflect.Interface && t.Implements(typeOfContext) && typeOfContext.Implements(t)
}

// checkHandler says what is wrong with a handler. aws-lambda-go says it too, but
// only when it is called.
func checkHandler(handler any) error {
	if handler == nil {
		return errors.New("the handler is nil")
	}
	if _, ok := handler.(lambda.Handler); ok {
		return nil
	}
	t := reflect.TypeOf(handler)
	if t.Kind() != reflect.Func {
		return errors.New("the handler is no function, and has no method Invoke(context.Context, []byte) ([]byte, error)")
	}
	if reflect.ValueOf(handler).IsNil() {
		return errors.New("the handler is nil")
	}
	switch n := t.NumIn(); {
	case t.IsVariadic():
		return errors.New("the handler must not be variadic")
	case n > 2:
		return fmt.Errorf("the handler takes %d arguments, and may take a context and an event", n)
	case n == 2 && !isContext(t.In(0)):
		return fmt.Errorf("the handler takes two arguments, and the first is a %s in place of a context.Context", t.In(0))
	case n == 1 && t.In(0).Kind() == reflect.Interface && t.In(0).NumMethod() > 0 && !isContext(t.In(0)):
		return fmt.Errorf("the handler takes a %s, which no event can be", t.In(0))
	}
	switch n := t.NumOut(); {
	case n > 2:
		return fmt.Errorf("the handler returns %d values, and may return an answer and an error", n)
	case n > 0 && !t.Out(n-1).Implements(typeOfError):
		return fmt.Errorf("the last value that the handler returns is a %s in place of an error", t.Out(n-1))
	}
	return nil
}
