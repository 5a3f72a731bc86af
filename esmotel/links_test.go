package esmotel

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed429fd032/esm"
)

// linksOf returns the links of the span of a batch.
func linksOf(t *testing.T, b *bench, records ...*kgo.Record) []sdktrace.Link {
	t.Helper()
	if err := b.Invoker(esm.InvokerFunc(succeed)).Invoke(t.Context(), batchOf(records...)); err != nil {
		t.Fatal(err)
	}
	return b.only("process orders").Links()
}

func TestEachProducerIsLinkedOnce(t *testing.T) {
	one, two := remote(1, true), remote(2, true)
	links := linksOf(t, newBench(t), record("orders", 0, 5, kgo.RecordHeader{Key: "trace", Value: []byte("x")}, parent(one)), record("orders", 0, 6, parent(one)),
		record("orders", 1, 3, parent(two)), record("orders", 1, 4, parent(one)), record("orders", 1, 5))
	if len(links) != 2 || !links[0].SpanContext.Equal(one) || !links[1].SpanContext.Equal(two) {
		t.Fatalf("the links are %v", links)
	}
	if got := values(links[1].Attributes); got["messaging.destination.partition.id"] != "1" || got["messaging.kafka.offset"] != "3" {
		t.Errorf("the second is of %v", got)
	}
}

func TestLinksAreBoundedAndThoseToSampledOnesComeFirst(t *testing.T) {
	var records []*kgo.Record
	for n := range 10_000 {
		records = append(records, record("orders", 0, int64(n), parent(remote(n+1, n >= 9_000 && n < 9_100))))
	}
	b := newBench(t)
	links := linksOf(t, b, records...)
	if len(links) != 128 {
		t.Fatalf("%d links", len(links))
	}
	for i, l := range links {
		want := 9_001 + i
		if i >= 100 {
			want = i - 99
		}
		if l.SpanContext.IsSampled() != (i < 100) || l.SpanContext.TraceID() != remote(want, true).TraceID() {
			t.Fatalf("link %d is to %v", i, l.SpanContext)
		}
	}
	if got := values(b.only("process orders").Attributes()); got["esm.links.cut"] != "true" {
		t.Errorf("it does not say that there are more: %v", got)
	}
	b = newBench(t, WithMaxLinks(2))
	if links := linksOf(t, b, records[0], records[1], records[9_000]); len(links) != 2 || !links[0].SpanContext.IsSampled() || values(b.only("process orders").Attributes())["esm.links.cut"] != "true" {
		t.Errorf("of two silent ones and a sampled one the links are %v", links)
	}
	for most, cut := range map[int]bool{0: false, 1: true, 2: true, 3: false} {
		b := newBench(t, WithMaxLinks(most))
		links := linksOf(t, b, records[0], records[1], records[2])
		if _, said := values(b.only("process orders").Attributes())["esm.links.cut"]; len(links) != most || said != cut {
			t.Errorf("with at most %d there are %d, cut: %v", most, len(links), said)
		}
	}
}

// TestALinkToAnEarlierAttemptHasItsPlace, where there are more producers than links.
func TestALinkToAnEarlierAttemptHasItsPlace(t *testing.T) {
	for _, early := range []bool{false, true} {
		b := newBench(t, WithMaxLinks(3), WithLinksForSampler(early))
		inv := b.Invoker(esm.InvokerFunc(func(context.Context, *esm.Batch) error { return errDown }))
		var records []*kgo.Record
		for n := range 5 {
			records = append(records, record("orders", 0, int64(n), parent(remote(n+1, true))))
		}
		for n := range 2 {
			batch := batchOf(records...)
			batch.Attempt = n + 1
			_ = inv.Invoke(t.Context(), batch)
		}
		want := 2
		if early {
			want = 3 // they were there before anything was known of attempts
		}
		if producers, earlier := linked(b.ended("process orders")[1]); producers != want || len(earlier) != 1 {
			t.Errorf("early %v: %d links to producers, %d to attempts", early, producers, len(earlier))
		}
	}
}

// TestHostileHeadersAreNoLinks, and cost no time.
func TestHostileHeadersAreNoLinks(t *testing.T) {
	good := parent(remote(1, true))
	header := func(value string) kgo.RecordHeader {
		return kgo.RecordHeader{Key: "traceparent", Value: []byte(value)}
	}
	large := kgo.RecordHeader{Key: "traceparent", Value: bytes.Repeat([]byte("0"), 10<<20)}
	many := make([]kgo.RecordHeader, 500_000)
	for name, c := range map[string]struct {
		headers []kgo.RecordHeader
		want    int
	}{
		"empty":                     {[]kgo.RecordHeader{header("")}, 0},
		"words":                     {[]kgo.RecordHeader{header("00-hello-world-01")}, 0},
		"zeros":                     {[]kgo.RecordHeader{header("00-00000000000000000000000000000000-0000000000000000-01")}, 0},
		"version ff":                {[]kgo.RecordHeader{header("ff" + string(good.Value[2:]))}, 0},
		"upper case":                {[]kgo.RecordHeader{header("00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01")}, 0},
		"too long":                  {[]kgo.RecordHeader{header(string(good.Value) + "-more")}, 0},
		"bytes":                     {[]kgo.RecordHeader{header("\xff\xfe\x00")}, 0},
		"null":                      {[]kgo.RecordHeader{{Key: "traceparent"}}, 0},
		"10 MiB":                    {[]kgo.RecordHeader{large}, 0},
		"10 MiB after a good one":   {[]kgo.RecordHeader{good, large}, 0},
		"twice, the last is good":   {[]kgo.RecordHeader{header("x"), good}, 1},
		"twice, the last is bad":    {[]kgo.RecordHeader{good, header("x")}, 0},
		"a bad tracestate":          {[]kgo.RecordHeader{good, {Key: "tracestate", Value: []byte("\x00=,,=")}}, 1},
		"a large tracestate":        {[]kgo.RecordHeader{good, {Key: "tracestate", Value: large.Value}}, 1},
		"a large baggage":           {[]kgo.RecordHeader{good, {Key: "baggage", Value: large.Value}}, 1},
		"behind many":               {append(slices.Clone(many), good), 1},
		"before many":               {append([]kgo.RecordHeader{good}, many...), 0},
		"another case of its name":  {[]kgo.RecordHeader{{Key: "Traceparent", Value: good.Value}}, 0},
		"a name that is no text":    {[]kgo.RecordHeader{{Key: "\xff\x00", Value: good.Value}, good}, 1},
		"128 headers before it fit": {append([]kgo.RecordHeader{good}, many[:maxHeaders-1]...), 1},
		"and no more":               {append([]kgo.RecordHeader{good}, many[:maxHeaders]...), 0},
	} {
		began := time.Now()
		if links := linksOf(t, newBench(t), record("orders", 0, 1, c.headers...)); len(links) != c.want {
			t.Errorf("%s: %d links", name, len(links))
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
	}
}

// TestManyRecordsWithManyHeadersTakeNoTime: of the largest batch.
func TestManyRecordsWithManyHeadersTakeNoTime(t *testing.T) {
	h := make([]kgo.RecordHeader, 1000)
	var records []*kgo.Record
	for n := range 10_000 {
		records = append(records, record("orders", 0, int64(n), h...))
	}
	began := time.Now()
	if links := linksOf(t, newBench(t), records...); len(links) > 0 {
		t.Errorf("%d links", len(links))
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestTheBatchIsNotChanged(t *testing.T) {
	r := record("orders", 0, 1, parent(remote(1, true)), kgo.RecordHeader{Key: "baggage", Value: []byte("a=b")})
	before := fmt.Sprintf("%+v", *r)
	linksOf(t, newBench(t), r)
	if after := fmt.Sprintf("%+v", *r); after != before {
		t.Errorf("it is %s,\nwas %s", after, before)
	}
	h := &headers{r.Headers}
	h.Set("traceparent", "x")
	h.of = append(h.of, kgo.RecordHeader{Key: "large", Value: make([]byte, maxHeader+1)}, kgo.RecordHeader{Key: "fits", Value: make([]byte, maxHeader)})
	if h.Get("baggage") != "" || h.Get("large") != "" || len(h.Get("fits")) != maxHeader {
		t.Error("a propagator gets baggage, or what is too large, or not what fits")
	}
	if got := h.Keys(); !slices.Equal(got, []string{"traceparent", "baggage", "large", "fits"}) || h.Get("traceparent") == "x" {
		t.Errorf("the names are %v", got)
	}
}

// refusing is a propagator that nobody should ask.
type refusing struct{ t *testing.T }

func (r refusing) Inject(context.Context, propagation.TextMapCarrier) {}
func (r refusing) Extract(ctx context.Context, _ propagation.TextMapCarrier) context.Context {
	r.t.Error("a header was read")
	return ctx
}
func (refusing) Fields() []string { return nil }

// panicking is one that panics.
type panicking struct{}

func (panicking) Inject(context.Context, propagation.TextMapCarrier) { panic("oh") }
func (panicking) Extract(context.Context, propagation.TextMapCarrier) context.Context {
	panic("oh")
}
func (panicking) Fields() []string { return nil }

// panickingProcessor is a part of an SDK that panics.
type panickingProcessor struct{}

func (panickingProcessor) OnStart(context.Context, sdktrace.ReadWriteSpan) { panic("oh") }
func (panickingProcessor) OnEnd(sdktrace.ReadOnlySpan)                     { panic("oh") }
func (panickingProcessor) Shutdown(context.Context) error                  { return nil }
func (panickingProcessor) ForceFlush(context.Context) error                { return nil }
