package esmotel

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
)

// Carrier returns what tells a function elsewhere of the span in a context, by name: with the
// usual propagator a traceparent, and a tracestate and a baggage if there are some. It is nil
// if there is nothing to tell. It goes into whatever reaches the function: headers of HTTP,
// or the client context of AWS Lambda.
func (t *Telemetry) Carrier(ctx context.Context) map[string]string {
	carrier := propagation.MapCarrier{}
	quietly("inject a context", func() { t.propagator.Inject(ctx, carrier) })
	if len(carrier) == 0 {
		return nil
	}
	return carrier
}

// Transport returns an http.RoundTripper that writes the span of the call into the headers of
// each request, for esmhttp.WithTransport and any other HTTP client of a function. A nil next
// is http.DefaultTransport. What esmhttp does to find dead connections is next's to do then:
// see esmhttp.WithTransport.
func (t *Telemetry) Transport(next http.RoundTripper) http.RoundTripper {
	if isNil(next) {
		next = http.DefaultTransport
	}
	return &transport{t, next}
}

type transport struct {
	t    *Telemetry
	next http.RoundTripper
}

// RoundTrip sends a request with more headers. The one that it got stays as it is, as an
// http.RoundTripper has to leave it.
func (r *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	carrier := r.t.Carrier(req.Context())
	if len(carrier) == 0 {
		return r.next.RoundTrip(req)
	}
	req = req.Clone(req.Context())
	if req.Header == nil {
		req.Header = http.Header{}
	}
	for name, value := range carrier {
		if isHeader(name, value) { // the request would fail otherwise
			req.Header.Set(name, value)
		}
	}
	return r.next.RoundTrip(req)
}

// CloseIdleConnections is for http.Client.CloseIdleConnections.
func (r *transport) CloseIdleConnections() {
	if c, ok := r.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// isHeader reports whether net/http sends a header.
func isHeader(name, value string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || isSeparator(c) {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return name != "" && len(name)+len(value) <= maxHeader
}

func isSeparator(c byte) bool {
	switch c {
	case '"', '(', ')', ',', '/', ':', ';', '<', '=', '>', '?', '@', '[', '\\', ']', '{', '}':
		return true
	}
	return false
}
