package esmotel

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed429fd032/esm"
)

// BenchmarkInvoke is the cost of a call with 100 records, each of a producer of its own.
func BenchmarkInvoke(b *testing.B) {
	var records []*kgo.Record
	for n := range 100 {
		records = append(records, record("orders", int32(n/25), int64(n), kgo.RecordHeader{Key: "kind", Value: []byte("order")}, parent(remote(n+1, true))))
	}
	batch := batchOf(records...)
	run := func(name string, inv esm.Invoker) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := inv.Invoke(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	wrap := func(sampler sdktrace.Sampler, opts ...Option) esm.Invoker {
		t, err := New(append([]Option{WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler))), WithPropagator(propagation.TraceContext{}),
			WithMeterProvider(noop.NewMeterProvider())}, opts...)...)
		if err != nil {
			b.Fatal(err)
		}
		return t.Invoker(esm.InvokerFunc(succeed))
	}
	meters := WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	run("bare", esm.InvokerFunc(succeed))
	run("unsampled", wrap(sdktrace.NeverSample()))
	run("unsampled and measured", wrap(sdktrace.NeverSample(), meters))
	run("one in 100 sampled and measured", wrap(sdktrace.TraceIDRatioBased(0.01), meters))
	run("sampled", wrap(sdktrace.AlwaysSample()))
	run("sampled without links", wrap(sdktrace.AlwaysSample(), WithMaxLinks(0)))
}
