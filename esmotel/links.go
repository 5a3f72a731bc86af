package esmotel

import (
	"context"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// headers are those of a record, for a propagator to read.
type headers struct{ of []kgo.RecordHeader }

const (
	// maxHeaders is how many headers of a record are looked at, from the last on.
	maxHeaders = 128
	// maxHeader is how many bytes the value of one may have. A traceparent has 55, and
	// a tracestate should have 512 at most.
	maxHeader = 8 << 10
)

// Get returns the value of the last header of a name: who forwards a record with its headers
// adds his own behind them.
func (h *headers) Get(key string) string {
	if key == baggageHeader {
		return "" // it is of one record, and the span is of many
	}
	last := h.last()
	for i := range slices.Backward(last) {
		if last[i].Key == key {
			if len(last[i].Value) > maxHeader {
				return ""
			}
			return string(last[i].Value)
		}
	}
	return ""
}

// last are those that are looked at.
func (h *headers) last() []kgo.RecordHeader { return h.of[max(0, len(h.of)-maxHeaders):] }

const baggageHeader = "baggage"

// Keys returns the names.
func (h *headers) Keys() []string {
	last := h.last()
	names := make([]string, len(last))
	for i := range last {
		names[i] = last[i].Key
	}
	return names
}

// Set does nothing: the headers of a record are read-only.
func (*headers) Set(string, string) {}

// producer returns the context in which a record was made, if its headers say one.
func (t *Telemetry) producer(h *headers) trace.SpanContext {
	if len(h.of) == 0 {
		return trace.SpanContext{}
	}
	return trace.SpanContextFromContext(t.propagator.Extract(context.Background(), h))
}

// A spanID names a span.
type spanID struct {
	trace trace.TraceID
	span  trace.SpanID
}

func idOf(c trace.SpanContext) spanID { return spanID{c.TraceID(), c.SpanID()} }

// producers returns links to the contexts in which records were made: each context once, at
// most so many, and first those that were sampled, since of the others there is nothing to
// be seen. A link has the place of the first record of its context. cut is whether there
// were more.
func (t *Telemetry) producers(records []*kgo.Record, most int) (links []trace.Link, cut bool) {
	if most <= 0 {
		return nil, false
	}
	var silent []trace.Link
	var last spanID
	seen := make(map[spanID]bool, min(most, len(records)))
	h := new(headers)
	for _, r := range records {
		h.of = r.Headers
		c := t.producer(h)
		id := idOf(c)
		if !c.IsValid() || id == last || seen[id] {
			continue
		}
		if len(links) == most {
			return links, true
		}
		if links == nil {
			links = make([]trace.Link, 0, min(most, len(records)))
		}
		seen[id], last = true, id
		switch link := (trace.Link{SpanContext: c, Attributes: placeOf(r)}); {
		case c.IsSampled():
			links = append(links, link)
		case len(silent) < most:
			silent = append(silent, link)
		default:
			cut = true
		}
	}
	room := most - len(links)
	return append(links, silent[:min(room, len(silent))]...), cut || len(silent) > room
}

// placeOf says which record a link is of.
func placeOf(r *kgo.Record) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingDestinationPartitionID(strconv.Itoa(int(r.Partition))),
		semconv.MessagingKafkaOffsetKey.Int64(r.Offset),
	}
}
