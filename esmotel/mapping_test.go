package esmotel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

var errDown = errors.New("billing is down")

// produce writes records to a partition, each with a producer of its own, from 1 on.
func produce(k *esmtest.Kafka, topic string, partition int32, n int) {
	var records []*kgo.Record
	for i := range n {
		records = append(records, esmtest.At(partition, &kgo.Record{Topic: topic, Value: fmt.Append(nil, i), Headers: []kgo.RecordHeader{parent(remote(i+1, true))}}))
	}
	k.ProduceRecords(records...)
}

// linked returns the numbers of the producers that a span is linked to, and the earlier attempts.
func linked(s sdktrace.ReadOnlySpan) (producers int, earlier []trace.SpanContext) {
	for _, l := range s.Links() {
		if values(l.Attributes)["esm.link"] == earlierAttempt {
			earlier = append(earlier, l.SpanContext)
		} else {
			producers++
		}
	}
	return producers, earlier
}

// TestSpansOfAMapping: a call, its retries, and what the function makes of the context.
func TestSpansOfAMapping(t *testing.T) {
	virtual(t, func(t *testing.T) {
		b := newBench(t)
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Fail(2, errDown).Always(func(ctx context.Context, _ *esm.Batch) error {
			_, child := b.tracer.Start(ctx, "charge")
			child.End()
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), b.Invoker(inv), esm.WithHooks(b.Hooks()), esm.WithName("bills"), quiet(), esm.WithInvokeTimeout(time.Minute),
			esm.WithBackoff(esm.Constant(3*time.Second)))
		produce(k, "orders", 0, 3)
		time.Sleep(time.Minute)

		spans := b.ended("process orders")
		if len(spans) != 3 {
			t.Fatalf("%d spans", len(spans))
		}
		ids := map[string]bool{}
		for i, s := range spans {
			got := values(s.Attributes())
			producers, earlier := linked(s)
			if got["esm.attempt"] != fmt.Sprint(i+1) || got["messaging.batch.message_count"] != "3" || got["esm.mapping"] != "bills" || got["messaging.consumer.group.name"] != "billing" || producers != 3 {
				t.Errorf("span %d has %v and links to %d producers", i, got, producers)
			}
			ids[got["esm.batch.id"]] = true
			if i == 0 {
				if len(earlier) > 0 {
					t.Errorf("the first has links to %v", earlier)
				}
				continue
			}
			if len(earlier) != 1 || !earlier[0].Equal(spans[i-1].SpanContext()) {
				t.Errorf("span %d has links to %v", i, earlier)
			}
			e := s.Events()[0]
			about := values(e.Attributes)
			if e.Name != "esm.retry" || about["esm.retry.wait"] != "3" || about["esm.outcome"] != "failure" || about["esm.attempt"] != fmt.Sprint(i) ||
				about["esm.batch.id"] != values(spans[i-1].Attributes())["esm.batch.id"] {
				t.Errorf("span %d has the event %s with %v", i, e.Name, about)
			}
		}
		if len(ids) != 3 || ids[""] {
			t.Errorf("the ids are %v", ids)
		}
		if spans[0].Status().Code != codes.Error || spans[2].Status().Code != codes.Unset {
			t.Errorf("the states are %v and %v", spans[0].Status(), spans[2].Status())
		}
		if child := b.only("charge"); !child.Parent().Equal(spans[2].SpanContext()) {
			t.Errorf("the parent in the function is %v", child.Parent())
		}
		if n := b.attempts.many.Load(); n != 0 {
			t.Errorf("%d attempts are remembered of what is settled", n)
		}
		if s := m.Stats(); s.RetryCount != 2 {
			t.Errorf("%d retries", s.RetryCount)
		}
	})
}

// TestSpansOfPieces: a batch that is halved, and one of which some records failed.
func TestSpansOfPieces(t *testing.T) {
	virtual(t, func(t *testing.T) {
		b := newBench(t)
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		var once atomic.Bool
		inv := esmtest.NewInvoker(t).Always(func(_ context.Context, batch *esm.Batch) error {
			var failed esm.Failures
			for _, r := range batch.Records {
				switch {
				case r.Partition == 0 && string(r.Value) == "5" && len(batch.Records) > 1:
					return errDown
				case r.Partition == 1 && string(r.Value) == "2" && !once.Swap(true):
					failed.Add(r, errDown)
				}
			}
			return failed.Err()
		})
		esmtest.Start(t, k.Source("orders", "billing"), b.Invoker(inv), quiet(), esm.WithBisect(true), esm.WithMaxPollers(1), esm.WithPollerConcurrency(2))
		produce(k, "orders", 0, 8)
		time.Sleep(time.Minute)
		spans := b.ended("process orders")
		if len(spans) < 4 {
			t.Fatalf("%d spans", len(spans))
		}
		for _, s := range spans[1:] {
			if _, earlier := linked(s); len(earlier) != 1 {
				t.Errorf("%v has links to %v", values(s.Attributes()), earlier)
			}
		}
		before := len(spans)
		produce(k, "orders", 1, 4)
		time.Sleep(time.Minute)
		spans = b.ended("process orders")[before:]
		if len(spans) != 2 || values(spans[0].Attributes())["esm.outcome"] != "partial" {
			t.Fatalf("%d spans, the first with %v", len(spans), values(spans[0].Attributes()))
		}
		if producers, earlier := linked(spans[1]); producers != 1 || len(earlier) != 1 || !earlier[0].Equal(spans[0].SpanContext()) {
			t.Errorf("the retry has links to %d producers and to %v", producers, earlier)
		}
		// What was given back settled beside it is forgotten when something comes after it.
		produce(k, "orders", 1, 1)
		time.Sleep(time.Minute)
		if n := b.attempts.many.Load(); n != 0 {
			t.Errorf("%d attempts are remembered: %v", n, b.attempts.of)
		}
	})
}

// TestSpansOfDiscards: of a destination that takes a record the second time.
func TestSpansOfDiscards(t *testing.T) {
	virtual(t, func(t *testing.T) {
		b := newBench(t)
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Fail(2, errDown)
		var inside []trace.SpanContext
		dest := esm.DestinationFunc(func(ctx context.Context, d *esm.Discard) error {
			inside = append(inside, trace.SpanContextFromContext(ctx))
			if d.Delivery == 1 {
				return errors.New("no disk")
			}
			return nil
		})
		esmtest.Start(t, k.Source("orders", "billing"), b.Invoker(inv), quiet(), esm.WithName("bills"), esm.WithMaxRetries(1), esm.WithHooks(b.Hooks()), esm.WithDestination(b.Destination(dest)))
		produce(k, "orders", 0, 1)
		time.Sleep(time.Minute)
		spans, calls := b.ended("discard"), b.ended("process orders")
		if len(spans) != 2 || len(calls) != 2 {
			t.Fatalf("%d spans of discards, %d of calls", len(spans), len(calls))
		}
		for i, s := range spans {
			got := values(s.Attributes())
			for key, want := range map[string]string{
				"esm.discard.reason": "retries-exhausted", "esm.attempt": "2", "esm.discard.delivery": fmt.Sprint(i + 1), "esm.discard.dropped": "false",
				"esm.record.topic": "orders", "esm.record.partition": "0", "esm.record.offset": "0", "esm.mapping": "bills", "messaging.consumer.group.name": "billing",
				"esm.batch.id": values(calls[1].Attributes())["esm.batch.id"],
			} {
				if got[key] != want {
					t.Errorf("%s is %q, want %q", key, got[key], want)
				}
			}
			producers, earlier := linked(s)
			if producers != 1 || !s.Links()[0].SpanContext.Equal(remote(1, true)) || len(earlier) != 1 || !earlier[0].Equal(calls[1].SpanContext()) {
				t.Errorf("the links are %v", s.Links())
			}
			if s.Events()[0].Name != "esm.discard" || values(s.Events()[0].Attributes)["esm.discard.first_error"] != errDown.Error() || s.Events()[1].Name != "exception" {
				t.Errorf("the events are %v", s.Events())
			}
			if s.SpanKind() != trace.SpanKindProducer || !inside[i].Equal(s.SpanContext()) || s.Parent().IsValid() {
				t.Errorf("kind %s, the destination got %v, parent %v", s.SpanKind(), inside[i], s.Parent())
			}
		}
		if spans[0].Status().Code != codes.Error || spans[0].Status().Description != "no disk" || spans[1].Status().Code != codes.Unset {
			t.Errorf("the states are %v and %v", spans[0].Status(), spans[1].Status())
		}
	})
}

// TestADroppedRecordHasASpan, with the hooks, and is counted as dropped.
func TestADroppedRecordHasASpan(t *testing.T) {
	virtual(t, func(t *testing.T) {
		b := newBench(t)
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Fail(1, esm.Permanent(errDown))
		m := esmtest.Start(t, k.Source("orders", "billing"), b.Invoker(inv), quiet(), esm.WithHooks(b.Hooks()), esm.WithDestination(b.Destination(esm.Drop)))
		produce(k, "orders", 0, 1)
		time.Sleep(time.Minute)
		s := b.only("discard")
		producers, earlier := linked(s)
		if got := values(s.Attributes()); got["esm.discard.dropped"] != "true" || got["esm.discard.reason"] != "permanent" || producers != 1 || len(earlier) != 1 || s.SpanKind() != trace.SpanKindInternal {
			t.Errorf("it is %v, with links %v", got, s.Links())
		}
		if n := m.Stats().DroppedEventCount; n != 1 {
			t.Errorf("%d are counted as dropped", n)
		}
	})
}

// TestWithoutLinksADiscardHasNone.
func TestWithoutLinksADiscardHasNone(t *testing.T) {
	b := newBench(t, WithMaxLinks(0), WithPropagator(refusing{t}))
	dest := b.Destination(esm.DestinationFunc(func(context.Context, *esm.Discard) error { return nil }))
	if err := dest.Deliver(t.Context(), &esm.Discard{Record: record("orders", 0, 1, parent(remote(1, true)))}); err != nil {
		t.Fatal(err)
	}
	if links := b.only("discard").Links(); len(links) != 0 {
		t.Errorf("the links are %v", links)
	}
}

// TestADestinationThatDoesNotReturnEndsItsSpan.
func TestADestinationThatDoesNotReturnEndsItsSpan(t *testing.T) {
	b := newBench(t)
	dest := b.Destination(esm.DestinationFunc(func(context.Context, *esm.Discard) error { panic("oh") }))
	func() {
		defer func() {
			if recover() != "oh" {
				t.Error("the panic is gone")
			}
		}()
		_ = dest.Deliver(t.Context(), &esm.Discard{Record: record("orders", 0, 1)})
	}()
	if s := b.only("discard"); s.Status().Code != codes.Error || !strings.Contains(s.Status().Description, "panic") {
		t.Errorf("the status is %v", s.Status())
	}
}

// TestWhatIsRememberedGoesWithThePartition, and with the Mapping.
func TestWhatIsRememberedGoesWithThePartition(t *testing.T) {
	virtual(t, func(t *testing.T) {
		one, other := newBench(t), newBench(t)
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		start := func(b *bench) *esm.Mapping {
			inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error { return errDown })
			return esmtest.Start(t, k.Source("orders", "billing"), b.Invoker(inv), quiet(), esm.WithHooks(b.Hooks()), esm.WithBatchSize(10))
		}
		m := start(one)
		produce(k, "orders", 0, 1)
		produce(k, "orders", 1, 1)
		time.Sleep(time.Minute)
		if n := one.attempts.many.Load(); n != 2 {
			t.Fatalf("%d attempts of two partitions", n)
		}
		start(other)
		time.Sleep(time.Minute)
		if n, m := one.attempts.many.Load(), other.attempts.many.Load(); n != 1 || m != 1 {
			t.Errorf("%d attempts here, %d there", n, m)
		}
		if err := m.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if n := one.attempts.many.Load(); n != 0 {
			t.Errorf("%d attempts after Stop", n)
		}
	})
}

// TestSampledInPart: a retry is linked to the last sampled attempt.
func TestSampledInPart(t *testing.T) {
	virtual(t, func(t *testing.T) {
		var n atomic.Int64
		b := newBenchOf(t, everyOther{&n})
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Fail(3, errDown)
		esmtest.Start(t, k.Source("orders", "billing"), b.Invoker(inv), quiet())
		produce(k, "orders", 0, 1)
		time.Sleep(time.Minute)
		spans := b.ended("process orders")
		if len(spans) != 2 {
			t.Fatalf("%d spans", len(spans))
		}
		if _, earlier := linked(spans[1]); len(earlier) != 1 || !earlier[0].Equal(spans[0].SpanContext()) || values(spans[1].Attributes())["esm.attempt"] != "3" {
			t.Errorf("%v, links to %v", values(spans[1].Attributes()), earlier)
		}
		if b.attempts.many.Load() != 0 {
			t.Error("something is remembered of what an unsampled call settled")
		}
	})
}

type everyOther struct{ n *atomic.Int64 }

func (e everyOther) ShouldSample(sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if e.n.Add(1)%2 == 1 {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
	}
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}
func (everyOther) Description() string { return "every other" }

// TestWaitingGoesThrough: what a function says of its call with the context reaches the Mapping.
func TestWaitingGoesThrough(t *testing.T) {
	virtual(t, func(t *testing.T) {
		b := newBench(t)
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Always(func(ctx context.Context, _ *esm.Batch) error {
			done := esm.Waiting(ctx)
			time.Sleep(10 * time.Second)
			done()
			return ctx.Err()
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), b.Invoker(inv), quiet(), esm.WithInvokeTimeout(time.Second))
		produce(k, "orders", 0, 1)
		time.Sleep(5 * time.Second)
		if n := m.Stats().WaitingSlots; n != 1 {
			t.Errorf("%d calls wait", n)
		}
		time.Sleep(time.Minute)
		if s := m.Stats(); s.SettledEventCount != 1 || s.InvokeErrorCount != 0 {
			t.Errorf("%d settled, %d failed", s.SettledEventCount, s.InvokeErrorCount)
		}
	})
}
