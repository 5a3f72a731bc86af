package esmotel

import (
	"context"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed429fd032/esm"
)

// Destination returns a Destination that makes a span of each delivery of next: of the kind
// producer, with links to the context in which the record was made and to the last attempt.
// The context that next gets has it. attributes say where records go, such as
// semconv.MessagingDestinationName("orders-failed").
//
// It returns [esm.Drop] as it is: the Mapping knows that one, and counts what it drops.
// [Telemetry.Hooks] makes its spans.
func (t *Telemetry) Destination(next esm.Destination, attributes ...attribute.KeyValue) esm.Destination {
	if isNil(next) || next == esm.Drop {
		return next
	}
	return &destination{t, next, attributes}
}

type destination struct {
	t          *Telemetry
	next       esm.Destination
	attributes []attribute.KeyValue
}

// Deliver delivers a record.
func (d *destination) Deliver(ctx context.Context, g *esm.Discard) (err error) {
	below := ctx
	ctx, span := d.t.discard(ctx, g, trace.WithAttributes(d.attributes...))
	returned := false
	defer func() {
		quietly("judge a delivery", func() {
			switch {
			case !span.IsRecording():
			case !returned:
				why := word(unreturned())
				span.SetAttributes(semconv.ErrorTypeKey.String(why))
				span.SetStatus(codes.Error, "the destination did not return: "+why)
			case err != nil:
				span.SetAttributes(semconv.ErrorTypeKey.String("not-taken"))
				span.SetStatus(codes.Error, exception(span, err))
			}
		})
		quietly("end a span", func() { span.End() })
	}()
	err = d.next.Deliver(passing(below, ctx), g)
	returned = true
	return err
}

// dropped makes the span of a record that was dropped, afterwards.
func (t *Telemetry) dropped(g *esm.Discard) {
	now := time.Now()
	_, span := t.discard(context.Background(), g, trace.WithTimestamp(now.Add(-g.Took)))
	quietly("end a span", func() { span.End(trace.WithTimestamp(now)) })
}

// discard begins the span of a record that is given up.
func (t *Telemetry) discard(ctx context.Context, g *esm.Discard, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	attributes := append(t.attributes[:len(t.attributes):len(t.attributes)],
		mappingKey.String(clean(g.Mapping, maxName)), reasonKey.String(g.Reason.String()), droppedKey.Bool(g.Dropped))
	if g.Group != "" {
		attributes = append(attributes, semconv.MessagingConsumerGroupName(clean(g.Group, maxName)))
	}
	kind := trace.SpanKindProducer
	if g.Dropped {
		kind = trace.SpanKindInternal
	}
	ctx, span := t.start(ctx, "discard", append(append(t.common(), trace.WithSpanKind(kind), trace.WithAttributes(attributes...)), opts...)...)
	quietly("begin a span", func() {
		if span.IsRecording() {
			t.describe(span, g)
		}
	})
	return ctx, span
}

// describe says in a span which record is given up, and why.
func (t *Telemetry) describe(span trace.Span, g *esm.Discard) {
	span.SetAttributes(attemptKey.Int(g.Attempts), batchKey.String(clean(g.BatchID, maxName)), deliveryKey.Int(g.Delivery))
	if r := g.Record; r != nil {
		span.SetAttributes(recordTopicKey.String(clean(r.Topic, maxName)), recordPartKey.String(strconv.Itoa(int(r.Partition))), recordOffsetKey.Int64(r.Offset))
		links, _ := t.producers([]*kgo.Record{r}, t.maxLinks)
		for _, l := range links {
			span.AddLink(l)
		}
		if a, known := t.attempts.last(g.Mapping, lane{g.Group, esm.TopicPartition{Topic: r.Topic, Partition: r.Partition}}, r.Offset); known {
			span.AddLink(trace.Link{SpanContext: a.span, Attributes: []attribute.KeyValue{linkKey.String(earlierAttempt), attemptKey.Int(a.number), batchKey.String(clean(a.batch, maxName))}})
		}
	}
	event := []attribute.KeyValue{reasonKey.String(g.Reason.String()), attemptKey.Int(g.Attempts)}
	if g.FirstErr != nil {
		event = append(event, firstErrorKey.String(textOf(g.FirstErr)))
	}
	span.AddEvent("esm.discard", trace.WithAttributes(event...))
	if g.Err != nil {
		exception(span, g.Err)
	}
}
