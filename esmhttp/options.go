package esmhttp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/textproto"
	"reflect"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/redact"
)

// A Format is what the body of a request is.
type Format int

const (
	// Event is the event that AWS Lambda gets of Kafka records:
	// [esm.Batch.AppendJSON], as application/json.
	Event Format = iota
	// CloudEventBatch is an array of CloudEvents, one for each record: the
	// batched mode of the JSON format, as application/cloudevents-batch+json.
	CloudEventBatch
	// CloudEvent is one request for each record, with one CloudEvent: the
	// structured mode, as application/cloudevents+json. The records of a batch
	// are sent one after the other. A record that fails ends its partition:
	// those before it are settled, and those after it come again with it. One
	// that is permanent or too large is given up alone.
	CloudEvent
)

// String returns the format in one word.
func (f Format) String() string {
	names := [...]string{"event", "cloudevent-batch", "cloudevent"}
	if f < 0 || int(f) >= len(names) {
		return fmt.Sprintf("Format(%d)", int(f))
	}
	return names[f]
}

// An Option is a setting of [New].
type Option func(*settings)

type settings struct {
	format       Format
	eventType    string
	eventSource  string
	jsonData     bool
	timeout      time.Duration
	connections  int
	maxRequest   int64
	maxAnswer    int64
	header       http.Header
	tls          *tls.Config
	fromContext  func(context.Context) map[string]string
	roundTripper http.RoundTripper
	hasTripper   bool
	report       bool
}

func defaults() settings {
	return settings{
		eventType: "esm.kafka.record", timeout: time.Minute, connections: 1000, maxRequest: 64 << 20, maxAnswer: 6 << 20,
		header: http.Header{"User-Agent": {"esm"}},
	}
}

// WithFormat says what the body of a request is: [Event] by default.
func WithFormat(f Format) Option { return func(s *settings) { s.format = f } }

// WithEventType is the type of a CloudEvent: "esm.kafka.record" by default.
func WithEventType(t string) Option { return func(s *settings) { s.eventType = t } }

// WithEventSource is the source of a CloudEvent, a URI reference:
// "kafka:" and the topic by default.
func WithEventSource(source string) Option { return func(s *settings) { s.eventSource = source } }

// WithJSONData has a CloudEvent carry a value that is JSON as JSON, in data,
// with the datacontenttype application/json. Off, which is the default, and for a
// value that is no JSON, it is data_base64, which is the value byte by byte.
func WithJSONData(on bool) Option { return func(s *settings) { s.jsonData = on } }

// WithTimeout is how long a request may take: 1 minute by default, 1 ms to 24
// hours.
func WithTimeout(d time.Duration) Option { return func(s *settings) { s.timeout = d } }

// WithMaxIdleConnections is how many connections that are idle are kept open: 1,000 by
// default, 1 to 100,000. As many requests as the Mapping makes at once are made
// at once, whatever this says.
func WithMaxIdleConnections(n int) Option { return func(s *settings) { s.connections = n } }

// WithMaxRequest is how large a body may be that is sent: 64 MiB by default, 1
// KiB to 1 GiB. A larger one is [esm.TooLarge]. Set it to what the server takes
// if that answers with something else than 413.
func WithMaxRequest(bytes int64) Option { return func(s *settings) { s.maxRequest = bytes } }

// WithMaxAnswer is how much of an answer is read: 6 MiB by default, 1 KiB to 1
// GiB. A larger one is a failure if it has to be understood
// ([WithReportBatchItemFailures]), and not looked at otherwise.
func WithMaxAnswer(bytes int64) Option { return func(s *settings) { s.maxAnswer = bytes } }

// WithHeader adds a header to each request, for example Authorization. A second
// one of the same name adds a value.
func WithHeader(name, value string) Option {
	return func(s *settings) {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if name == "User-Agent" || name == "Host" {
			s.header.Del(name)
		}
		s.header.Add(name, value)
	}
}

// WithContextHeaders adds to each request the headers that f makes of the context of the
// call, such as a traceparent (esmotel's Telemetry.Carrier). They replace those of
// [WithHeader], and errors do not hide them. One that cannot stand in a request is left
// out. f is called from many goroutines.
func WithContextHeaders(f func(ctx context.Context) map[string]string) Option {
	return func(s *settings) { s.fromContext = f }
}

// WithTLS says how connections to https:// are made: which certificates are
// trusted, and which one is shown.
func WithTLS(c *tls.Config) Option { return func(s *settings) { s.tls = c } }

// WithTransport sends requests with a transport of the host, in place of one
// with a pool of connections for this Invoker alone. It excludes [WithTLS]. It
// has to keep enough connections open by itself, and to find those that are dead:
// see the package comment.
func WithTransport(t http.RoundTripper) Option {
	return func(s *settings) { s.roundTripper, s.hasTripper = t, true }
}

// WithReportBatchItemFailures has the server say which records failed, as a
// Lambda function does for AWS: with a status of success and the body
//
//	{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":100}}]}
//
// Those are tried again, the others are settled. The offset may be a string,
// and the identifier too, as "orders-0-100". Nothing, null and an empty list
// are a success. What cannot be understood and a record that the batch does not
// have are a failure of all. Off by default. The format [CloudEvent] has no use for
// it.
func WithReportBatchItemFailures(on bool) Option { return func(s *settings) { s.report = on } }

// validate reports every mistake.
func (s *settings) validate() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("esmhttp: "+format, args...)) }
	if s.format < Event || s.format > CloudEvent {
		bad("WithFormat(%s): must be Event, CloudEventBatch or CloudEvent", s.format)
	}
	if s.eventType == "" || strings.ContainsFunc(s.eventType, notInAttribute) {
		bad("WithEventType(%q): must not be empty, nor hold control characters", s.eventType)
	}
	if _, err := redact.Parse(s.eventSource); err != nil || strings.ContainsFunc(s.eventSource, func(r rune) bool { return r == ' ' || notInAttribute(r) }) {
		bad("WithEventSource(%q): must be a URI reference", redact.Address(s.eventSource))
	}
	if s.timeout < time.Millisecond || s.timeout > 24*time.Hour {
		bad("WithTimeout(%s): must be 1ms to 24h", s.timeout)
	}
	if s.connections < 1 || s.connections > 100_000 {
		bad("WithMaxIdleConnections(%d): must be 1 to 100000", s.connections)
	}
	for name, n := range map[string]int64{"WithMaxRequest": s.maxRequest, "WithMaxAnswer": s.maxAnswer} {
		if n < 1<<10 || n > 1<<30 {
			bad("%s(%d): must be 1024 to %d", name, n, 1<<30)
		}
	}
	for name, values := range s.header {
		if name == "" || strings.ContainsFunc(name, notInName) {
			// It may be the value, and a secret.
			bad("WithHeader: what is given as a name, of %d bytes, cannot be the name of a header", len(name))
		}
		for _, v := range values {
			if strings.ContainsFunc(v, notInValue) {
				bad("WithHeader(%q): the value cannot stand in a header", name) // it may be a secret
			}
		}
	}
	if v := reflect.ValueOf(s.roundTripper); s.hasTripper && (!v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()) {
		bad("WithTransport(nil): must not be nil")
	}
	if s.hasTripper && s.tls != nil {
		bad("WithTLS and WithTransport exclude each other: the transport has a TLS configuration of its own")
	}
	if s.report && s.format == CloudEvent {
		bad("WithReportBatchItemFailures and WithFormat(CloudEvent) exclude each other: each record has an answer of its own")
	}
	return errs
}

// notInName and notInValue report what cannot stand in a header.
func notInName(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

func notInValue(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
