package esmotel_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmhttp"
	"github.com/seed429fd032/esm/esmotel"
)

// All of it: spans of calls, retries and discards, and metrics.
func Example() {
	function := esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil })
	failed := esm.DestinationFunc(func(context.Context, *esm.Discard) error { return nil })

	// The program has called otel.SetTracerProvider, otel.SetMeterProvider and
	// otel.SetTextMapPropagator.
	t, err := esmotel.New()
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	m, err := esm.New(
		esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"},
		t.Invoker(function),
		esm.WithHooks(t.Hooks()),
		esm.WithMaxRetries(10),
		esm.WithDestination(t.Destination(failed, semconv.MessagingDestinationName("orders-failed"))),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := t.Add(m); err != nil {
		log.Fatal(err)
	}
	// m.Run(ctx)
}

// A span has links to the spans in which its records were made.
func ExampleTelemetry_Invoker() {
	spans := tracetest.NewSpanRecorder()
	t, err := esmotel.New(
		esmotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))),
		esmotel.WithPropagator(propagation.TraceContext{}),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	function := t.Invoker(esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error { return nil }))

	// What a Mapping does:
	parent := kgo.RecordHeader{Key: "traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}
	err = function.Invoke(context.Background(), &esm.Batch{
		Records: []*kgo.Record{{Topic: "orders", Offset: 7, Headers: []kgo.RecordHeader{parent}}, {Topic: "orders", Offset: 8}},
		Attempt: 1, Mapping: "billing", Group: "billing",
	})

	s := spans.Ended()[0]
	fmt.Println(s.Name(), err)
	for _, l := range s.Links() {
		fmt.Println("link to", l.SpanContext.TraceID())
	}
	// Output:
	// process orders <nil>
	// link to 4bf92f3577b34da6a3ce929d0e0e4736
}

// Metrics of Mappings that come and go.
func ExampleTelemetry_Add() {
	reader := sdkmetric.NewManualReader() // a program has one that exports
	t, err := esmotel.New(esmotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	m, err := esm.New(esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"},
		esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }))
	if err != nil {
		log.Fatal(err)
	}
	if err := t.Add(m); err != nil {
		log.Fatal(err)
	}
	// ... and when it has stopped:
	t.Remove(m)
}

// A function that is called by HTTP gets the traceparent of the call in a header.
func ExampleTelemetry_Carrier_http() {
	t, err := esmotel.New()
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	post, err := esmhttp.New("https://billing.internal/records", esmhttp.WithContextHeaders(t.Carrier))
	if err != nil {
		log.Fatal(err)
	}
	_ = t.Invoker(post)
}

// What a carrier has can go into anything: here into the client context of AWS Lambda, whose functions find
// it in the field custom.
func ExampleTelemetry_Carrier() {
	t, err := esmotel.New(
		esmotel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))),
		esmotel.WithPropagator(propagation.TraceContext{}),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close()
	function := t.Invoker(esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		text, err := json.Marshal(map[string]any{"custom": t.Carrier(ctx)})
		if err != nil {
			return err
		}
		fmt.Println(len(base64.StdEncoding.EncodeToString(text)), "of 3,583 bytes")
		return nil
	}))
	if err := function.Invoke(context.Background(), &esm.Batch{}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 112 of 3,583 bytes
}
