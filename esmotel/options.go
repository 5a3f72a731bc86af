package esmotel

import (
	"errors"
	"fmt"
	"reflect"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// An Option is a setting of [New].
type Option func(*config)

type config struct {
	tracers    trace.TracerProvider
	meters     metric.MeterProvider
	propagator propagation.TextMapPropagator
	attributes []attribute.KeyValue
	maxLinks   int
	parent     bool
	early      bool
}

func defaults() config {
	return config{tracers: otel.GetTracerProvider(), meters: otel.GetMeterProvider(), propagator: otel.GetTextMapPropagator(), maxLinks: 128}
}

// WithTracerProvider says who makes the spans. Default: otel.GetTracerProvider().
func WithTracerProvider(p trace.TracerProvider) Option { return func(c *config) { c.tracers = p } }

// WithMeterProvider says who makes the instruments. Default: otel.GetMeterProvider().
func WithMeterProvider(p metric.MeterProvider) Option { return func(c *config) { c.meters = p } }

// WithPropagator says how contexts are read from the headers of records, and written for
// functions. Default: otel.GetTextMapPropagator(), which does neither until the program
// calls otel.SetTextMapPropagator.
func WithPropagator(p propagation.TextMapPropagator) Option {
	return func(c *config) { c.propagator = p }
}

// WithAttributes adds attributes to all spans and all metrics, such as what the function
// is:
//
//	esmotel.WithAttributes(
//		semconv.FaaSInvokedName("billing"),
//		semconv.FaaSInvokedProviderAWS,
//		semconv.FaaSInvokedRegion("eu-central-1"),
//	)
//
// A second one adds to the first.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(c *config) { c.attributes = append(c.attributes, attributes...) }
}

// WithMaxLinks limits the links of a span to the producers of its records: 0 to 10,000,
// default 128, which is how many links the SDK keeps. Those to earlier attempts, which are
// 16 at most and never left out, count too, but with [WithLinksForSampler]. With 0 no header
// of a record is read. For more than 128 set the SDK's limit too
// (SpanLimits.LinkCountLimit), which drops the first ones.
func WithMaxLinks(n int) Option { return func(c *config) { c.maxLinks = n } }

// WithParentFromContext makes a span a child of the one in the context of the call, if there
// is one. Off, which is the default, each call is a trace of its own: a call has the values of
// the context that Start got, so that all calls of a Mapping would be of one endless trace,
// that of the span in which it was started. Switch it on where another Invoker around this
// one makes spans.
func WithParentFromContext(on bool) Option { return func(c *config) { c.parent = on } }

// WithLinksForSampler reads the headers of a batch before its span begins, so that a sampler
// sees the links. Off, which is the default, they are read when the sampler has decided, and
// not at all for a span that is not recorded.
func WithLinksForSampler(on bool) Option { return func(c *config) { c.early = on } }

const mostLinks = 10_000 // a batch has no more records

// validate reports every mistake.
func (c *config) validate() error {
	var errs []error
	for name, v := range map[string]any{"WithTracerProvider": c.tracers, "WithMeterProvider": c.meters, "WithPropagator": c.propagator} {
		if isNil(v) {
			errs = append(errs, fmt.Errorf("esmotel: %s(nil): must not be nil: leave it out for the global one of package otel", name))
		}
	}
	if c.maxLinks < 0 || c.maxLinks > mostLinks {
		errs = append(errs, fmt.Errorf("esmotel: WithMaxLinks(%d): must be 0 to %d", c.maxLinks, mostLinks))
	}
	return errors.Join(errs...)
}

// isNil reports whether there is nothing in an interface, or a nil pointer or func.
func isNil(v any) bool {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Interface:
		return r.IsNil()
	}
	return false
}
