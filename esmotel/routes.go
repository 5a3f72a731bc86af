package esmotel

import (
	"slices"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed429fd032/esm"
)

// A way is where batches are from, as far as that is the same for many.
type way struct{ mapping, group, topic string } // topic is "" of several topics

// A route is what is made once of a way.
type route struct {
	name       string                  // of a span
	start      []trace.SpanStartOption // of each
	attributes []attribute.KeyValue    // of each duration
	took       [endings + 2]atomic.Pointer[[]metric.RecordOption]
}

// ending is the options of a duration that ended so.
func (r *route) ending(ending int) []metric.RecordOption {
	if known := r.took[ending].Load(); known != nil {
		return *known
	}
	of := slices.Clone(r.attributes) // NewSet sorts it
	if ending != int(esm.OutcomeSuccess) {
		of = append(of, semconv.ErrorTypeKey.String(word(ending)))
	}
	made := []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(of...))}
	r.took[ending].Store(&made)
	return made
}

// endings is how many outcomes there are.
const endings = int(esm.OutcomePermanent) + 1

// An ending is what became of a call: an outcome, or one of these.
const (
	panicked = endings + iota
	goexited
)

// word is an ending in a word: that of esm for an outcome.
func word(ending int) string {
	switch ending {
	case panicked:
		return "panic"
	case goexited:
		return "goexit"
	}
	return esm.Outcome(ending).String()
}

// routes are those that were made. There are as many as topics, but a subscription by a
// pattern may have many, and a Batch that somebody wrote any.
type routes struct {
	mu    sync.RWMutex
	known map[way]*route
}

const maxRoutes = 4096

// routeOf returns the route of a batch.
func (t *Telemetry) routeOf(b *esm.Batch) *route {
	w := way{b.Mapping, b.Group, topicOf(b)}
	t.routes.mu.RLock()
	r := t.routes.known[w]
	t.routes.mu.RUnlock()
	if r != nil {
		return r
	}
	r = t.newRoute(w)
	t.routes.mu.Lock()
	defer t.routes.mu.Unlock()
	if t.routes.known == nil {
		t.routes.known = map[way]*route{}
	}
	if len(t.routes.known) < maxRoutes {
		t.routes.known[w] = r
	}
	return r
}

// topicOf is the topic of a batch, "" if it has several or none.
func topicOf(b *esm.Batch) (topic string) {
	for i, r := range b.Records {
		if i == 0 {
			topic = r.Topic
		} else if r.Topic != topic {
			return ""
		}
	}
	return topic
}

// process is the operation of a span of the function.
const process = "process"

func (t *Telemetry) newRoute(w way) *route {
	attributes := append(t.attributes[:len(t.attributes):len(t.attributes)],
		semconv.MessagingSystemKafka, semconv.MessagingOperationName(process), mappingKey.String(clean(w.mapping, maxName)))
	if w.group != "" {
		attributes = append(attributes, semconv.MessagingConsumerGroupName(clean(w.group, maxName)))
	}
	name := process
	if w.topic != "" {
		topic := clean(w.topic, maxName)
		name += " " + topic
		attributes = append(attributes, semconv.MessagingDestinationName(topic))
	}
	attributes = attributes[:len(attributes):len(attributes)]
	return &route{
		name:       name,
		start:      append(t.common(), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(append(attributes, semconv.MessagingOperationTypeProcess)...)),
		attributes: attributes,
	}
}

// common are the options of every span.
func (t *Telemetry) common() []trace.SpanStartOption {
	if t.parent {
		return nil
	}
	return []trace.SpanStartOption{trace.WithNewRoot()}
}

// Keys of attributes for which the conventions have none.
const (
	mappingKey        = attribute.Key("esm.mapping")
	instanceKey       = attribute.Key("esm.mapping.instance")
	phaseKey          = attribute.Key("esm.phase")
	batchKey          = attribute.Key("esm.batch.id")
	partitionCountKey = attribute.Key("esm.batch.partition_count")
	firstOffsetKey    = attribute.Key("esm.batch.first_offset")
	lastOffsetKey     = attribute.Key("esm.batch.last_offset")
	failedCountKey    = attribute.Key("esm.batch.failed_count")
	cutKey            = attribute.Key("esm.links.cut")
	linkKey           = attribute.Key("esm.link")
	attemptKey        = attribute.Key("esm.attempt")
	outcomeKey        = attribute.Key("esm.outcome")
	waitKey           = attribute.Key("esm.retry.wait")
	reasonKey         = attribute.Key("esm.discard.reason")
	firstErrorKey     = attribute.Key("esm.discard.first_error")
	deliveryKey       = attribute.Key("esm.discard.delivery")
	droppedKey        = attribute.Key("esm.discard.dropped")
	recordTopicKey    = attribute.Key("esm.record.topic")
	recordPartKey     = attribute.Key("esm.record.partition")
	recordOffsetKey   = attribute.Key("esm.record.offset")
)
