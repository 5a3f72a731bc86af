package esmotel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed429fd032/esm"
)

var _ io.Closer = (*Telemetry)(nil)

// scope is who makes the spans and metrics.
const scope = "github.com/seed429fd032/esm/esmotel"

// A Telemetry makes spans and metrics of Mappings. One may serve all of a program. Its
// methods may be called on any goroutine.
type Telemetry struct {
	config
	tracer    trace.Tracer
	durations metric.Float64Histogram
	gauges    []gauge
	attempts  attempts
	routes    routes
	observing metric.Registration

	sources atomic.Pointer[[]*source] // the slice is never written to

	mu     sync.Mutex // guards closed, and whoever replaces sources
	closed bool
}

// New makes a Telemetry, and the instruments. It reports every mistake in the options at
// once.
func New(opts ...Option) (*Telemetry, error) {
	c := defaults()
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("esmotel: there is a nil Option: leave it out"))
			continue
		}
		o(&c)
	}
	if err := errors.Join(append(errs, c.validate())...); err != nil {
		return nil, err
	}
	t := &Telemetry{config: c}
	t.tracer = c.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	if err := t.instruments(c.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))); err != nil {
		return nil, err
	}
	return t, nil
}

// Close ends the observation of all Mappings, and forgets what is remembered of batches that
// failed. Flush the MeterProvider before, if the last counts matter. What was wrapped can be
// used even so.
func (t *Telemetry) Close() error {
	t.mu.Lock()
	was := t.closed
	t.closed = true
	t.sources.Store(nil)
	t.mu.Unlock()
	t.attempts.forget()
	if was {
		return nil
	}
	if err := t.observing.Unregister(); err != nil {
		return fmt.Errorf("esmotel: unregister the metrics: %w", err)
	}
	return nil
}

// Hooks returns what a Mapping should get with [esm.WithHooks]. They make the span of a record
// that is dropped ([esm.Drop]), and forget what is remembered of failed batches when a
// partition moves away and when the Mapping stops.
func (t *Telemetry) Hooks() esm.Hooks {
	return esm.Hooks{
		Revoked: func(r esm.Rebalance) { t.attempts.revoked(r.Mapping, r.Partitions) },
		StateChanged: func(s esm.State) {
			if s.Phase == esm.PhaseStopped {
				t.attempts.stopped(s.Mapping)
			}
		},
		Discarded: func(d *esm.Discard) {
			if d.Dropped { // any other has the span of its Destination
				t.dropped(d)
			}
		},
	}
}

// start begins a span. Whatever goes wrong with that, there is a span and a context.
func (t *Telemetry) start(ctx context.Context, name string, opts ...trace.SpanStartOption) (with context.Context, span trace.Span) {
	quietly("start a span", func() { with, span = t.tracer.Start(ctx, name, opts...) })
	if with == nil || span == nil {
		return ctx, noop.Span{}
	}
	return with, span
}

// quietly does something that runs code of the host: of an SDK, an exporter, a sampler or the
// methods of an error. Its panic goes to the error handler of package otel and no further,
// since a record must not fail because somebody watches. It stops no panic of the function's
// that goes by meanwhile.
func quietly(what string, do func()) {
	defer func() {
		if p := recover(); p != nil {
			otel.Handle(fmt.Errorf("esmotel: could not %s: a panic: %v", what, p))
		}
	}()
	do()
}
