// Package esmhttp invokes a function by HTTP: its [Invoker] posts each batch to
// a URL, and the status of the answer says what becomes of it.
//
//	inv, err := esmhttp.New("https://billing.internal/records")
//	...
//	defer inv.Close()
//	m, err := esm.New(source, inv, esm.WithBatchWindow(100*time.Millisecond))
//
// Without a window a record that comes alone is a request of its own. That is right
// for a server beside the process, and dear for one that is far away or billed by the
// request: 100 partitions with a record a second each make about 100 requests a second,
// 9 with 100 ms, and 2 with 500 ms. [esm.WithAWSLimits] has 500 ms.
//
// The body is the event that AWS Lambda gets of Kafka records, or CloudEvents
// ([WithFormat]). The headers Esm-Batch, Esm-Attempt, Esm-Mapping and Esm-Group
// are the ID of the batch, which differs for each invocation, which try it is,
// which Mapping sends it, and its consumer group, which makes a key of the
// coordinates of a record ([esm.Batch].Group). What is no printable ASCII is ? in
// them.
//
// # What a status means
//
//	200 - 299                   the batch is settled; with [WithReportBatchItemFailures]
//	                            all but the records that the body names
//	400, 422                    [esm.Permanent]: these records cannot be handled
//	401, 402, 403, 404, 405,    [esm.Refused]: no request can succeed until somebody
//	406, 407, 410, 411, 414,    changes something, so it halts if it lasts
//	415, 421, 426, 431, 451,
//	501, 505, 511
//	413                         [esm.TooLarge]
//	425, 429, 503               [esm.Throttled], for as long as Retry-After says
//	300 - 399                   [esm.Refused], except that 307 and 308 to the same
//	                            host are followed, ten times at most
//	all others                  a failure of the batch, which is an attempt
//
// A throttle or a refusal that the same records get again and again while others
// are answered is about them: see [esm.Throttled].
//
// Without a connection, and without an agreement on TLS, it is [esm.Busy], since
// the function was not called. A connection that ends without an answer, and an answer that does
// not come in time, are failures: the function may have been called. Nor is an
// answer understood whose header has more than 64 KiB, unless the host brought its
// own transport.
//
// # Connections
//
// A connection can die without a sign, behind a NAT or a balancer. One of HTTP/2
// on which nothing comes for 15 s is pinged, and ends if no answer comes in 15 s
// more; a function may take as long as [WithTimeout] says even so, since it is its
// server that answers. On Linux a connection also ends whose other side takes
// nothing for a minute. After a call that ran out of time no later call uses a
// connection that was there; those in flight go on. So such a loss costs the calls
// in flight, or one.
//
// A server may close a connection that is idle just when a call is sent. A call
// whose connection ends within a second, without a byte of an answer, is sent once
// more, in a connection of its own, and is no attempt if that succeeds. Calls are
// made at least once in any case. So a server that ends its connection on a
// batch is called twice for each attempt.
//
// Settings of http.DefaultTransport are kept, and its ResponseHeaderTimeout is a
// limit for calls too. A connection that is used stays where it is when the name
// of the server moves; one that is idle for 90 s ends.
//
// With [WithTransport] all this is the host's: set HTTP2.SendPingTimeout,
// HTTP2.PingTimeout and IdleConnTimeout of an *http.Transport. HTTP/2 loses calls
// until the ping says so, and no call is sent twice but where net/http does it.
//
// # What errors say
//
// Of the URL they name the host only. The user, the path and the query may be
// secrets, and so may the headers of a request, so they are left out even where
// the server says them again. Of what the server says they have the first 500
// bytes of the body, and 256 of the reason. What the HTTP client's error holds,
// such as a *net.OpError, is found with errors.As, but not its *url.Error.
package esmhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/invokers/conns"
	"github.com/seed429fd032/esm/internal/invokers/lambdaresult"
	"github.com/seed429fd032/esm/internal/invokers/payload"
	"github.com/seed429fd032/esm/internal/invokers/reach"
	"github.com/seed429fd032/esm/internal/redact"
)

// An Invoker posts batches to one URL. It may be used by several Mappings.
type Invoker struct {
	settings
	url     string
	secrets *redact.Secrets // what errors must not say
	client  *http.Client
	conns   *conns.Pool // nil if the host brought its own transport
}

var _ esm.Invoker = (*Invoker)(nil)

// errTimeout is why a request was cut short that took too long.
var errTimeout = errors.New("esmhttp: no answer in time (WithTimeout)")

// errRedirect is why a redirect is not followed.
var errRedirect = errors.New("esmhttp: a redirect that is not followed")

// New makes an Invoker of a URL, which begins with http:// or https://.
func New(target string, opts ...Option) (*Invoker, error) {
	i := &Invoker{settings: defaults()}
	var errs []error
	for _, o := range opts {
		if o == nil {
			errs = append(errs, errors.New("esmhttp: there is a nil Option"))
			continue
		}
		o(&i.settings)
	}
	u, err := redact.Parse(target)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("esmhttp: the URL is %q: %w", redact.URL(target), err))
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		errs = append(errs, fmt.Errorf("esmhttp: the URL is %q, and must begin with http:// or https:// and a host", redact.URL(target)))
	case u.Fragment != "":
		errs = append(errs, fmt.Errorf("esmhttp: the URL is %q, and must not have a fragment, which is not sent", redact.URL(target)))
	}
	errs = append(errs, i.validate()...)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	i.url = u.String()
	i.secrets = redact.NewSecrets(append(redact.OfURL(u), redact.OfHeader(i.header)...)...)
	rt := i.roundTripper
	if rt == nil {
		t := &http.Transport{Proxy: http.ProxyFromEnvironment}
		if usual, ok := http.DefaultTransport.(*http.Transport); ok { // the host may have set another
			t = usual.Clone()
		}
		if t.MaxResponseHeaderBytes == 0 {
			t.MaxResponseHeaderBytes = maxHeader
		}
		t.MaxIdleConns, t.MaxIdleConnsPerHost, t.MaxConnsPerHost = 0, i.connections, 0
		if i.tls != nil {
			t.TLSClientConfig = i.tls.Clone()
		}
		i.conns = conns.New(t)
		rt = i.conns
	}
	i.client = &http.Client{Transport: rt, CheckRedirect: sameHost}
	return i, nil
}

const (
	// maxHeader is how large the header of an answer may be.
	maxHeader = 64 << 10
	// maxExcerpt is how much is looked at of a body of which the beginning is told,
	// and read of one that is no success. What is longer costs the connection.
	maxExcerpt = 64 << 10
)

// maxRedirects is how many redirects are followed.
const maxRedirects = 10

// sameHost refuses redirects to another host, and those that would make a GET
// of a POST: without its body, and with a success that means nothing.
func sameHost(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case r.Method != http.MethodPost:
		return fmt.Errorf("%w: to %s by a status other than 307 and 308", errRedirect, redact.Address(r.URL.String()))
	case r.URL.Host != first.Host || r.URL.Scheme != first.Scheme:
		return fmt.Errorf("%w: to another host, %s", errRedirect, redact.Address(r.URL.String()))
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: the %dth", errRedirect, len(via))
	}
	return nil
}

// Close ends the connections that are idle. Call it after the Mapping stopped.
// The Invoker can be used even so.
func (i *Invoker) Close() error {
	if i.conns != nil {
		i.conns.CloseIdleConnections()
	}
	return nil
}

// Invoke posts a batch and waits for the answer.
func (i *Invoker) Invoke(ctx context.Context, b *esm.Batch) error {
	if i.format == CloudEvent {
		return i.invokeEach(ctx, b)
	}
	p := payload.Get()
	defer p.Release()
	kind := "application/json"
	if i.format == CloudEventBatch {
		p.Bytes, kind = i.appendBatch(p.Bytes, b), "application/cloudevents-batch+json"
	} else {
		p.Bytes = b.AppendJSON(p.Bytes)
	}
	answer, err := i.post(ctx, b, p, kind)
	if err != nil || !i.report {
		return err
	}
	return lambdaresult.ItemsSaying(b, answer, i.excerpt)
}

// post sends a payload, and returns the answer of a success.
func (i *Invoker) post(ctx context.Context, b *esm.Batch, p *payload.Payload, kind string) ([]byte, error) {
	if n := int64(len(p.Bytes)); n > i.maxRequest {
		return nil, esm.TooLarge(fmt.Errorf("esmhttp: the body has %d bytes, more than %d (WithMaxRequest)", n, i.maxRequest))
	}
	ctx, done := context.WithTimeoutCause(ctx, i.timeout, errTimeout)
	defer done()
	var trace reach.Trace
	r, err := http.NewRequestWithContext(trace.Watch(ctx), http.MethodPost, i.url, nil)
	if err != nil {
		return nil, fmt.Errorf("esmhttp: %w", redact.Error(err, i.secrets))
	}
	for name, values := range i.header {
		r.Header[name] = values
	}
	if i.fromContext != nil {
		for name, value := range i.fromContext(ctx) {
			if name != "" && !strings.ContainsFunc(name, notInName) && !strings.ContainsFunc(value, notInValue) {
				r.Header.Set(name, value)
			}
		}
	}
	r.Header.Set("Content-Type", kind)
	set := func(name, value string) {
		if value != "" {
			r.Header.Set(name, strings.Map(printable, value))
		}
	}
	set("Esm-Batch", b.ID)
	set("Esm-Mapping", b.Mapping)
	set("Esm-Group", b.Group)
	if b.Attempt > 0 {
		set("Esm-Attempt", strconv.Itoa(b.Attempt))
	}
	if host := i.header.Get("Host"); host != "" {
		r.Host = host
	}
	if err := p.Send(r); err != nil {
		return nil, err
	}
	answer, err := i.client.Do(r)
	if err != nil {
		return nil, i.notAnswered(ctx, &trace, err)
	}
	defer answer.Body.Close()
	success := answer.StatusCode >= 200 && answer.StatusCode <= 299
	if success && !i.report {
		// It is not looked at. The connection can be used again at its end.
		_, _ = io.CopyN(io.Discard, answer.Body, i.maxAnswer)
		return nil, nil
	}
	if !success {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, maxExcerpt)) // what can be read of it
		return nil, i.judge(answer, body)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, i.maxAnswer+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, i.notAnswered(ctx, &trace, err)
	case err != nil:
		return nil, fmt.Errorf("esmhttp: %s, but its body was cut off: %w", i.reason(answer), redact.Error(err, i.secrets))
	case int64(len(body)) > i.maxAnswer:
		return nil, fmt.Errorf("esmhttp: %s, but its body has more than %d bytes (WithMaxAnswer)", i.reason(answer), i.maxAnswer)
	}
	return body, nil
}

// printable keeps what may stand in a header.
func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}

// notAnswered says what a request means that got no answer.
func (i *Invoker) notAnswered(ctx context.Context, trace *reach.Trace, err error) error {
	cause := context.Cause(ctx)
	reached := trace.Reached(err, i.conns != nil)
	err = redact.Error(err, i.secrets)
	switch {
	case errors.Is(err, errRedirect):
		return esm.Refused(err)
	case !reached:
		if cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return esm.Busy(0, fmt.Errorf("esmhttp: there is no connection: %w", err))
	case cause != nil && !errors.Is(cause, errTimeout):
		return fmt.Errorf("esmhttp: %w: %w", cause, err)
	case cause != nil:
		return fmt.Errorf("%w: %s", errTimeout, i.timeout)
	}
	return fmt.Errorf("esmhttp: %w", err)
}

// A StatusError is what became of a batch that was answered with a status other
// than a success.
type StatusError struct {
	Code int
	// Status is the code and its words, such as "503 Service Unavailable": at most
	// 256 bytes of them.
	Status string
	// Body is the beginning of the answer, at most 500 bytes.
	Body string
}

// Error is the status and the beginning of the answer.
func (e *StatusError) Error() string {
	if e.Body == "" {
		return "esmhttp: " + e.Status
	}
	return "esmhttp: " + e.Status + ": " + e.Body
}

// MarshalText is what Error says, for JSON and logs.
func (e *StatusError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// reason is the status of an answer with its words.
func (i *Invoker) reason(answer *http.Response) string {
	return lambdaresult.Short(i.secrets.Hide(answer.Status), lambdaresult.MaxName)
}

// excerpt is the beginning of a body, or of a part of it.
func (i *Invoker) excerpt(body []byte) string {
	if len(body) < maxExcerpt {
		return lambdaresult.Excerpt([]byte(i.secrets.Hide(string(body))))
	}
	return lambdaresult.Excerpt([]byte(i.secrets.HideCut(string(body[:maxExcerpt]))))
}

// judge says what an answer other than a success means.
func (i *Invoker) judge(answer *http.Response, body []byte) error {
	err := &StatusError{Code: answer.StatusCode, Status: i.reason(answer), Body: strings.TrimSpace(i.excerpt(body))}
	switch outcomeOf(answer.StatusCode) {
	case esm.OutcomeThrottled:
		return esm.Throttled(retryAfter(answer.Header.Get("Retry-After"), time.Now()), err)
	case esm.OutcomeTooLarge:
		return esm.TooLarge(err)
	case esm.OutcomePermanent:
		return esm.Permanent(err)
	case esm.OutcomeHalt:
		return esm.Refused(err)
	}
	return err
}

// outcomeOf is the table of the package comment.
func outcomeOf(status int) esm.Outcome {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return esm.OutcomePermanent
	case http.StatusRequestEntityTooLarge:
		return esm.OutcomeTooLarge
	case http.StatusTooEarly, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return esm.OutcomeThrottled
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusNotAcceptable, http.StatusProxyAuthRequired, http.StatusGone, http.StatusLengthRequired, http.StatusRequestURITooLong,
		http.StatusUnsupportedMediaType, http.StatusMisdirectedRequest, http.StatusUpgradeRequired, http.StatusRequestHeaderFieldsTooLarge,
		http.StatusUnavailableForLegalReasons, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusNetworkAuthenticationRequired:
		return esm.OutcomeHalt
	}
	if status >= 300 && status <= 399 {
		return esm.OutcomeHalt
	}
	return esm.OutcomeFailure
}

// maxRetryAfter keeps an answer that makes no sense from stopping a Mapping for
// a day.
const maxRetryAfter = 15 * time.Minute

// retryAfter is how long a server asks to be left alone: seconds or a date, 0
// if it does not say or it makes no sense.
func retryAfter(text string, now time.Time) time.Duration {
	d := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}
