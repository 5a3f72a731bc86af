package esmotel

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/testing/build"
)

// virtual runs a test in virtual time.
func virtual(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if !build.VirtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	synctest.Test(t, f)
}

func quiet() esm.Option { return esm.WithLogger(slog.New(slog.DiscardHandler)) }

// A bench is a Telemetry with an SDK that remembers.
type bench struct {
	*Telemetry
	t      testing.TB
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
	reader *sdkmetric.ManualReader
}

// newBench makes one that samples all spans, unless opts say otherwise.
func newBench(t testing.TB, opts ...Option) *bench {
	t.Helper()
	return newBenchOf(t, sdktrace.AlwaysSample(), opts...)
}

func newBenchOf(t testing.TB, sampler sdktrace.Sampler, opts ...Option) *bench {
	t.Helper()
	b := &bench{t: t, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSpanProcessor(b.spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(b.reader))
	b.tracer = tracers.Tracer("test")
	tel, err := New(append([]Option{WithTracerProvider(tracers), WithMeterProvider(meters),
		WithPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tel.Close(); err != nil {
			t.Error(err)
		}
	})
	b.Telemetry = tel
	return b
}

// ended returns the spans of a name that have ended.
func (b *bench) ended(name string) (found []sdktrace.ReadOnlySpan) {
	for _, s := range b.spans.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	return found
}

// only returns the one span of a name.
func (b *bench) only(name string) sdktrace.ReadOnlySpan {
	b.t.Helper()
	found := b.ended(name)
	if len(found) != 1 {
		b.t.Fatalf("%d spans %q have ended, of %d", len(found), name, len(b.spans.Ended()))
	}
	return found[0]
}

// points returns the points of a metric, by their attributes.
func (b *bench) points(name string) map[string]float64 {
	b.t.Helper()
	points := map[string]float64{}
	for _, m := range b.collect() {
		if m.Name != name {
			continue
		}
		add := func(set attribute.Set, v float64) {
			key := set.Encoded(attribute.DefaultEncoder())
			if _, twice := points[key]; twice {
				b.t.Errorf("%s has two points %s", name, key)
			}
			points[key] = v
		}
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				add(p.Attributes, float64(p.Value))
			}
		case metricdata.Sum[float64]:
			for _, p := range data.DataPoints {
				add(p.Attributes, p.Value)
			}
		case metricdata.Gauge[int64]:
			for _, p := range data.DataPoints {
				add(p.Attributes, float64(p.Value))
			}
		case metricdata.Gauge[float64]:
			for _, p := range data.DataPoints {
				add(p.Attributes, p.Value)
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				add(p.Attributes, float64(p.Count))
			}
		default:
			b.t.Fatalf("%s is a %T", name, m.Data)
		}
	}
	return points
}

func (b *bench) collect() []metricdata.Metrics {
	b.t.Helper()
	var all metricdata.ResourceMetrics
	if err := b.reader.Collect(context.Background(), &all); err != nil {
		b.t.Fatal(err)
	}
	var of []metricdata.Metrics
	for _, s := range all.ScopeMetrics {
		of = append(of, s.Metrics...)
	}
	return of
}

// values are attributes as texts.
func values(attributes []attribute.KeyValue) map[string]string {
	of := map[string]string{}
	for _, a := range attributes {
		of[string(a.Key)] = a.Value.String()
	}
	return of
}

// remote is a context that a producer had, of a number.
func remote(n int, sampled bool) trace.SpanContext {
	c := trace.SpanContextConfig{Remote: true}
	c.TraceID[14], c.TraceID[15], c.SpanID[6], c.SpanID[7] = byte(n>>8), byte(n), byte(n>>8), byte(n)
	c.TraceID[0], c.SpanID[0] = 1, 1
	if sampled {
		c.TraceFlags = trace.FlagsSampled
	}
	return trace.NewSpanContext(c)
}

// parent is the header of a context.
func parent(c trace.SpanContext) kgo.RecordHeader {
	return kgo.RecordHeader{Key: "traceparent", Value: fmt.Appendf(nil, "00-%s-%s-%s", c.TraceID(), c.SpanID(), c.TraceFlags())}
}

// record is one with headers.
func record(topic string, partition int32, offset int64, h ...kgo.RecordHeader) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Offset: offset, Value: []byte("v"), Headers: h, Timestamp: time.Now()}
}

// batchOf is a batch as a Mapping makes one.
func batchOf(records ...*kgo.Record) *esm.Batch {
	return &esm.Batch{Records: records, Attempt: 1, ID: "b1", Mapping: "bills", Group: "billing"}
}

func succeed(context.Context, *esm.Batch) error { return nil }
