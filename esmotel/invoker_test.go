package esmotel

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

func TestInvokerConforms(t *testing.T) {
	for name, sampler := range map[string]sdktrace.Sampler{"sampled": sdktrace.AlwaysSample(), "unsampled": sdktrace.NeverSample()} {
		t.Run(name, func(t *testing.T) {
			esmtest.TestInvoker(t, func(t testing.TB, target esm.InvokerFunc) esm.Invoker {
				return newBenchOf(t, sampler).Invoker(target)
			})
		})
	}
}

func TestASpanSaysWhatTheConventionsAsk(t *testing.T) {
	b := newBench(t, WithAttributes(attribute.String("faas.invoked_name", "billing")))
	var inside trace.SpanContext
	inv := b.Invoker(esm.InvokerFunc(func(ctx context.Context, _ *esm.Batch) error {
		inside = trace.SpanContextFromContext(ctx)
		_, child := b.tracer.Start(ctx, "charge")
		child.End()
		return nil
	}))
	if err := inv.Invoke(t.Context(), batchOf(record("orders", 3, 7), record("orders", 3, 9))); err != nil {
		t.Fatal(err)
	}
	s := b.only("process orders")
	want := map[string]string{
		"messaging.system": "kafka", "messaging.operation.name": "process", "messaging.operation.type": "process",
		"messaging.destination.name": "orders", "messaging.destination.partition.id": "3", "messaging.batch.message_count": "2",
		"messaging.consumer.group.name": "billing", "faas.invoked_name": "billing",
		"esm.mapping": "bills", "esm.batch.id": "b1", "esm.attempt": "1", "esm.outcome": "success",
		"esm.batch.partition_count": "1", "esm.batch.first_offset": "7", "esm.batch.last_offset": "9",
	}
	if got := values(s.Attributes()); !maps.Equal(got, want) {
		t.Errorf("the attributes are %v,\nwant %v", got, want)
	}
	if s.SpanKind() != trace.SpanKindConsumer || s.Parent().IsValid() || s.Status().Code != codes.Unset || len(s.Events()) > 0 || len(s.Links()) > 0 {
		t.Errorf("kind %s, parent %v, status %v, events %v, links %v", s.SpanKind(), s.Parent(), s.Status(), s.Events(), s.Links())
	}
	if child := b.only("charge"); !inside.Equal(s.SpanContext()) || !child.Parent().Equal(s.SpanContext()) {
		t.Errorf("the function got %v, and its span has the parent %v; want %v", inside, child.Parent(), s.SpanContext())
	}
	if s.InstrumentationScope().Name != scope || !strings.HasPrefix(s.InstrumentationScope().SchemaURL, "https://opentelemetry.io/schemas/") {
		t.Errorf("the scope is %+v", s.InstrumentationScope())
	}
}

func TestABatchOfSeveralTopicsNamesNone(t *testing.T) {
	b := newBench(t)
	if err := b.Invoker(esm.InvokerFunc(succeed)).Invoke(t.Context(), batchOf(record("orders", 0, 1), record("returns", 0, 1))); err != nil {
		t.Fatal(err)
	}
	got := values(b.only("process").Attributes())
	for _, key := range []string{"messaging.destination.name", "messaging.destination.partition.id", "esm.batch.first_offset"} {
		if v, there := got[key]; there {
			t.Errorf("%s is %q", key, v)
		}
	}
	if got["esm.batch.partition_count"] != "2" {
		t.Errorf("%v", got)
	}
}

// TestTheSpanOfStartIsNoParent: it would be that of all calls, for ever.
func TestTheSpanOfStartIsNoParent(t *testing.T) {
	for _, on := range []bool{false, true} {
		b := newBench(t, WithParentFromContext(on))
		ctx, start := b.tracer.Start(t.Context(), "start")
		if err := b.Invoker(esm.InvokerFunc(succeed)).Invoke(ctx, batchOf(record("orders", 0, 1))); err != nil {
			t.Fatal(err)
		}
		start.End()
		if got := b.only("process orders").Parent().IsValid(); got != on {
			t.Errorf("with %v it has a parent: %v", on, got)
		}
	}
}

func TestErrorsAreInTheSpanAndPassedThrough(t *testing.T) {
	plain := errors.New("billing is down")
	var some esm.Failures
	some.StopAt(record("orders", 0, 1), plain)
	stopping, stop := context.WithCancelCause(t.Context())
	stop(esm.ErrStopping)
	for _, c := range []struct {
		ctx     context.Context
		err     error
		outcome string
		status  codes.Code
	}{
		{t.Context(), plain, "failure", codes.Error},
		{t.Context(), esm.Throttled(time.Second, plain), "throttled", codes.Error},
		{t.Context(), esm.Halt(plain), "halt", codes.Error},
		{t.Context(), esm.Permanent(plain), "permanent", codes.Error},
		{t.Context(), esm.TooLarge(plain), "too-large", codes.Error},
		{t.Context(), some.Err(), "partial", codes.Error},
		{stopping, plain, "abandoned", codes.Unset},
	} {
		b := newBench(t)
		err := b.Invoker(esm.InvokerFunc(func(context.Context, *esm.Batch) error { return c.err })).Invoke(c.ctx, batchOf(record("orders", 0, 1)))
		if err != c.err {
			t.Errorf("%s: it returned %v", c.outcome, err)
		}
		s := b.only("process orders")
		got := values(s.Attributes())
		if got["esm.outcome"] != c.outcome || got["error.type"] != c.outcome || s.Status().Code != c.status {
			t.Errorf("%s: outcome %q, error.type %q, status %v", c.outcome, got["esm.outcome"], got["error.type"], s.Status())
		}
		if len(s.Events()) != 1 || s.Events()[0].Name != "exception" || !strings.Contains(values(s.Events()[0].Attributes)["exception.message"], plain.Error()) {
			t.Errorf("%s: the events are %v", c.outcome, s.Events())
		}
		if failed := got["esm.batch.failed_count"]; (failed == "1") != (c.outcome == "partial") {
			t.Errorf("%s: %q records failed", c.outcome, failed)
		}
		key := "error.type=" + c.outcome + ",esm.mapping=bills,messaging.consumer.group.name=billing,messaging.destination.name=orders,messaging.operation.name=process,messaging.system=kafka"
		if points := b.points(durationMetric); points[key] != 1 || len(points) != 1 {
			t.Errorf("%s: the durations are %v", c.outcome, points)
		}
	}
}

// TestPanicsAndExitsGoBy: neither is stopped, and the span ends with it, whatever the value of the panic.
func TestPanicsAndExitsGoBy(t *testing.T) {
	for word, f := range map[string]func(){
		"panic":  func() { panic("oh") },
		"goexit": runtime.Goexit,
	} {
		for _, sampler := range []sdktrace.Sampler{sdktrace.AlwaysSample(), sdktrace.NeverSample()} {
			b := newBenchOf(t, sampler)
			inv := b.Invoker(esm.InvokerFunc(func(context.Context, *esm.Batch) error { f(); return nil }))
			var value any
			stack, returned := "", false
			var wg sync.WaitGroup
			wg.Go(func() {
				defer func() {
					var buf [8 << 10]byte
					stack = string(buf[:runtime.Stack(buf[:], false)])
					value = recover()
				}()
				_ = inv.Invoke(t.Context(), batchOf(record("orders", 0, 1)))
				returned = true
			})
			wg.Wait()
			if returned || (value == "oh") != (word == "panic") {
				t.Fatalf("%s: returned %v, value %v", word, returned, value)
			}
			if !strings.Contains(stack, "TestPanicsAndExitsGoBy") {
				t.Errorf("%s: the stack of the function is lost:\n%s", word, stack)
			}
			if points := b.points(durationMetric); len(points) != 1 || !strings.HasPrefix(slices.Collect(maps.Keys(points))[0], "error.type="+word+",") {
				t.Errorf("%s: the durations are %v", word, points)
			}
			if sampler == sdktrace.NeverSample() {
				continue
			}
			s := b.only("process orders")
			if got := values(s.Attributes()); got["error.type"] != word || s.Status().Code != codes.Error {
				t.Errorf("%s: %v, status %v", word, got, s.Status())
			}
		}
	}
}

// TestWhatIsNotSampledIsNotLookedAt: no header is read, nothing is remembered, and the function has a span
// that tells others not to sample.
func TestWhatIsNotSampledIsNotLookedAt(t *testing.T) {
	b := newBenchOf(t, sdktrace.NeverSample(), WithPropagator(refusing{t}))
	var inside trace.SpanContext
	inv := b.Invoker(esm.InvokerFunc(func(ctx context.Context, _ *esm.Batch) error {
		inside = trace.SpanContextFromContext(ctx)
		return errors.New("billing is down")
	}))
	if err := inv.Invoke(t.Context(), batchOf(record("orders", 0, 1, parent(remote(1, true))))); err == nil {
		t.Fatal("it succeeded")
	}
	if !inside.IsValid() || inside.IsSampled() || len(b.spans.Ended()) > 0 || b.attempts.many.Load() != 0 {
		t.Errorf("the function got %v, %d spans, %d attempts", inside, len(b.spans.Ended()), b.attempts.many.Load())
	}
}

// TestASamplerSeesLinksIfItIsAsked: before it decides.
func TestASamplerSeesLinksIfItIsAsked(t *testing.T) {
	for _, on := range []bool{false, true} {
		seen := -1
		b := newBenchOf(t, sampling(func(p sdktrace.SamplingParameters) { seen = len(p.Links) }), WithLinksForSampler(on))
		if err := b.Invoker(esm.InvokerFunc(succeed)).Invoke(t.Context(), batchOf(record("orders", 0, 1, parent(remote(1, true))))); err != nil {
			t.Fatal(err)
		}
		if (seen == 1) != on || len(b.only("process orders").Links()) != 1 {
			t.Errorf("with %v the sampler saw %d links, and the span has %v", on, seen, b.only("process orders").Links())
		}
	}
}

// sampling is a sampler that shows what it is asked.
type sampling func(p sdktrace.SamplingParameters)

func (s sampling) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s(p)
	return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
}
func (sampling) Description() string { return "sampling" }

// TestAnSDKThatPanicsFailsNoCall, wherever it does.
func TestAnSDKThatPanicsFailsNoCall(t *testing.T) {
	var told atomic.Int64
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) { told.Add(1) }))
	t.Cleanup(func() { otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) })
	oh := sampling(func(sdktrace.SamplingParameters) { panic("oh") })
	for name, b := range map[string]*bench{
		"sampler":    newBenchOf(t, oh),
		"propagator": newBench(t, WithPropagator(panicking{})),
		"early":      newBench(t, WithPropagator(panicking{}), WithLinksForSampler(true)),
		"processor":  newBench(t, WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(panickingProcessor{})))),
	} {
		before := told.Load()
		called := 0
		inv := b.Invoker(esm.InvokerFunc(func(ctx context.Context, _ *esm.Batch) error {
			called++
			b.Carrier(ctx)
			return nil
		}))
		if err := inv.Invoke(t.Context(), batchOf(record("orders", 0, 1, parent(remote(1, true))))); err != nil || called != 1 {
			t.Errorf("%s: %v, %d calls", name, err, called)
		}
		dest := b.Destination(esm.DestinationFunc(func(context.Context, *esm.Discard) error { called++; return nil }))
		if err := dest.Deliver(t.Context(), &esm.Discard{Record: record("orders", 0, 1, parent(remote(1, true)))}); err != nil || called != 2 {
			t.Errorf("%s: %v, %d calls", name, err, called)
		}
		if told.Load() == before {
			t.Errorf("%s: nobody was told", name)
		}
	}
}

// odd is an error whose methods panic.
type odd struct{}

func (odd) Error() string { panic("no words") }

func TestAnErrorThatPanicsIsPassedThrough(t *testing.T) {
	b := newBench(t)
	err := b.Invoker(esm.InvokerFunc(func(context.Context, *esm.Batch) error { return odd{} })).Invoke(t.Context(), batchOf(record("orders", 0, 1)))
	if err != (odd{}) {
		t.Fatalf("it returned a %T", err)
	}
	if s := b.only("process orders"); s.Status().Code != codes.Error || !strings.Contains(s.Status().Description, "Error panicked") {
		t.Errorf("the status is %+v", s.Status())
	}
}

// TestTextsAreShortAndValid: an exporter drops a whole batch of spans for one text that is no UTF-8.
func TestTextsAreShortAndValid(t *testing.T) {
	b := newBench(t)
	hostile := strings.Repeat("\xff\x00é", 1<<20)
	bad := batchOf(record(hostile, 0, 1))
	bad.ID, bad.Mapping, bad.Group = hostile, hostile, hostile
	_ = b.Invoker(esm.InvokerFunc(func(context.Context, *esm.Batch) error { return errors.New(hostile) })).Invoke(t.Context(), bad)
	dest := b.Destination(esm.DestinationFunc(func(context.Context, *esm.Discard) error { return errors.New(hostile) }))
	_ = dest.Deliver(t.Context(), &esm.Discard{Record: bad.Records[0], Mapping: hostile, Group: hostile, BatchID: hostile, FirstErr: errors.New(hostile), Err: errors.New(hostile)})
	look := func(text string) {
		if len(text) > 3*maxText || strings.ToValidUTF8(text, "") != text {
			t.Errorf("a text of %d bytes: %.40q", len(text), text)
		}
	}
	if len(b.spans.Ended()) != 2 {
		t.Fatalf("%d spans", len(b.spans.Ended()))
	}
	for _, s := range b.spans.Ended() {
		look(s.Name())
		look(s.Status().Description)
		for _, v := range values(s.Attributes()) {
			look(v)
		}
		for _, e := range s.Events() {
			for _, v := range values(e.Attributes) {
				look(v)
			}
		}
	}
	for key := range b.points(durationMetric) {
		look(key)
	}
}

// TestContextsThatAFunctionMakesTakeNoGoroutine: package context asks that of a call for its AfterFunc.
func TestContextsThatAFunctionMakesTakeNoGoroutine(t *testing.T) {
	b := newBench(t)
	base, end := context.WithCancel(t.Context())
	defer end()
	asked := 0
	own := &ending1{base, &asked}
	if err := b.Invoker(esm.InvokerFunc(func(ctx context.Context, _ *esm.Batch) error {
		child, cancel := context.WithTimeout(ctx, time.Hour)
		defer cancel()
		if asked != 1 {
			t.Errorf("its AfterFunc was called %d times", asked)
		}
		end()
		<-child.Done()
		return nil
	})).Invoke(own, batchOf(record("orders", 0, 1))); err != nil {
		t.Fatal(err)
	}
}

// An ending1 context is of nobody that package context knows.
type ending1 struct {
	base  context.Context
	asked *int
}

func (e *ending1) Deadline() (time.Time, bool) { return time.Time{}, false }
func (e *ending1) Done() <-chan struct{}       { return e.base.Done() }
func (e *ending1) Err() error                  { return e.base.Err() }
func (e *ending1) Value(any) any               { return nil }
func (e *ending1) AfterFunc(f func()) func() bool {
	*e.asked++
	return context.AfterFunc(e.base, f)
}

func TestNothingIsWrapped(t *testing.T) {
	b := newBench(t)
	var pointer *invoker
	if b.Invoker(nil) != nil || b.Invoker(pointer) != esm.Invoker(pointer) || b.Invoker(esm.InvokerFunc(nil)) == nil {
		t.Error("a nil Invoker is something else now: esm.New cannot report it")
	}
	if _, err := esm.New(esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"a"}, Group: "g"}, b.Invoker(esm.InvokerFunc(nil))); err == nil {
		t.Error("esm.New takes a nil func")
	}
	if b.Destination(nil) != nil || b.Destination(esm.Drop) != esm.Drop {
		t.Error("no destination, or Drop, is something else now")
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	b := newBenchOf(t, sdktrace.TraceIDRatioBased(0.5))
	inv := b.Invoker(esm.InvokerFunc(func(ctx context.Context, batch *esm.Batch) error {
		b.Carrier(ctx)
		if batch.Records[0].Offset%3 == 0 {
			return errors.New("billing is down")
		}
		return nil
	}))
	hooks := b.Hooks()
	var wg sync.WaitGroup
	for p := range int32(20) {
		wg.Go(func() {
			for n := range int64(100) {
				batch := batchOf(record("orders", p, n/2, parent(remote(int(n), true))), record("orders", p, n/2+1))
				_ = inv.Invoke(t.Context(), batch)
				if n%30 == 0 {
					hooks.Revoked(esm.Rebalance{Mapping: "bills", Partitions: []esm.TopicPartition{{Topic: "orders", Partition: p}}})
				}
			}
		})
	}
	wg.Wait()
	hooks.StateChanged(esm.State{Mapping: "bills", Phase: esm.PhaseStopped})
	if n := b.attempts.many.Load(); n != 0 || len(b.attempts.of) != 0 {
		t.Errorf("%d attempts are left, in %v", n, b.attempts.of)
	}
	total := 0.0
	for _, n := range b.points(durationMetric) {
		total += n
	}
	if total != 2000 {
		t.Errorf("%v durations of 2,000 calls", total)
	}
}

// TestAFunctionMayWriteIntoRecords: what is remembered is where they were.
func TestAFunctionMayWriteIntoRecords(t *testing.T) {
	b := newBench(t)
	inv := b.Invoker(esm.InvokerFunc(func(_ context.Context, batch *esm.Batch) error {
		for i, r := range batch.Records {
			r.Topic, r.Partition, r.Offset = "out", 9, int64(i)
		}
		return errors.New("billing is down")
	}))
	for n := range 2 {
		batch := batchOf(record("orders", 0, 41), record("orders", 0, 42))
		batch.Attempt = n + 1
		_ = inv.Invoke(t.Context(), batch)
	}
	second := b.ended("process orders")[1]
	if len(second.Links()) != 1 || !second.Links()[0].SpanContext.Equal(b.ended("process orders")[0].SpanContext()) {
		t.Errorf("the links are %v", second.Links())
	}
}

// TestNoRecordsAreNoTrouble: a wrapper may have left all out.
func TestNoRecordsAreNoTrouble(t *testing.T) {
	b := newBench(t)
	if err := b.Invoker(esm.InvokerFunc(succeed)).Invoke(t.Context(), &esm.Batch{}); err != nil {
		t.Fatal(err)
	}
	if got := values(b.only("process").Attributes()); got["messaging.batch.message_count"] != "0" {
		t.Errorf("%v", got)
	}
}
