package esmotel

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmhttp"
)

// TestTheSpanReachesAFunctionByHTTP.
func TestTheSpanReachesAFunctionByHTTP(t *testing.T) {
	b := newBench(t)
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer server.Close()
	post, err := esmhttp.New(server.URL, esmhttp.WithTransport(b.Transport(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Invoker(post).Invoke(t.Context(), batchOf(record("orders", 0, 1))); err != nil {
		t.Fatal(err)
	}
	want := parent(b.only("process orders").SpanContext())
	if got.Get(want.Key) != string(want.Value) || got.Get("Esm-Batch") != "b1" {
		t.Errorf("the server got %v, want %s", got, want.Value)
	}
}

// TestARequestIsLeftAsItIs: an http.RoundTripper must not change what it gets.
func TestARequestIsLeftAsItIs(t *testing.T) {
	b := newBench(t)
	sent := &sink{}
	rt := b.Transport(sent)
	ctx, _ := b.tracer.Start(t.Context(), "x")
	for _, h := range []http.Header{{"Traceparent": {"old"}}, nil} {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = h
		before := fmt.Sprint(r.Header)
		_, _ = rt.RoundTrip(r)
		if fmt.Sprint(r.Header) != before || sent.last == r || !strings.HasPrefix(sent.last.Header.Get("traceparent"), "00-") {
			t.Errorf("the header is %v, was %s; sent was %v", r.Header, before, sent.last.Header)
		}
		plain := r.WithContext(t.Context())
		if _, _ = rt.RoundTrip(plain); sent.last != plain {
			t.Error("a request without a span is copied")
		}
	}
	client := http.Client{Transport: rt}
	if client.CloseIdleConnections(); !sent.closed {
		t.Error("CloseIdleConnections does not arrive")
	}
	b.Transport(http.NewFileTransport(http.Dir("."))).(*transport).CloseIdleConnections()
}

type sink struct {
	last   *http.Request
	closed bool
}

func (s *sink) RoundTrip(r *http.Request) (*http.Response, error) {
	s.last = r
	return nil, http.ErrServerClosed
}
func (s *sink) CloseIdleConnections() { s.closed = true }

func TestTheCarrierHasSpanAndBaggage(t *testing.T) {
	b := newBench(t)
	if got := b.Carrier(t.Context()); got != nil {
		t.Errorf("without a span it is %v", got)
	}
	member, err := baggage.NewMemberRaw("tenant", "a b")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	var inside trace.SpanContext
	var got map[string]string
	_ = b.Invoker(esm.InvokerFunc(func(ctx context.Context, _ *esm.Batch) error {
		inside, got = trace.SpanContextFromContext(ctx), b.Carrier(ctx)
		return nil
	})).Invoke(baggage.ContextWithBaggage(t.Context(), bag), batchOf(record("orders", 0, 1)))
	if len(got) != 2 || got["traceparent"] != string(parent(inside).Value) || got["baggage"] != "tenant=a%20b" {
		t.Errorf("it is %v", got)
	}
}

// TestWhatCannotStandInAHeaderIsLeftOut: the request would fail.
func TestWhatCannotStandInAHeaderIsLeftOut(t *testing.T) {
	b := newBench(t, WithPropagator(injecting{"ok": "yes", "bad\r\nname": "x", "": "x", "na:me": "x", "value": "a\r\nb", "nul": "\x00", "long": strings.Repeat("x", 1<<20)}))
	sent := &sink{}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = b.Transport(sent).RoundTrip(r)
	if len(sent.last.Header) != 1 || sent.last.Header.Get("ok") != "yes" {
		t.Errorf("the header is %.200v", sent.last.Header)
	}
}

// injecting is a propagator that writes this.
type injecting map[string]string

func (i injecting) Inject(_ context.Context, c propagation.TextMapCarrier) {
	for k, v := range i {
		c.Set(k, v)
	}
}
func (injecting) Extract(ctx context.Context, _ propagation.TextMapCarrier) context.Context {
	return ctx
}
func (injecting) Fields() []string { return nil }
