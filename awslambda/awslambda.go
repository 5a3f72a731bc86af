// Package awslambda invokes functions in AWS Lambda: its [Invoker] sends each
// batch as the event that an event source mapping of AWS sends, and waits for
// the answer.
//
//	cfg, err := config.LoadDefaultConfig(ctx) // of aws-sdk-go-v2/config
//	...
//	inv, err := awslambda.New(cfg, "billing", awslambda.WithQualifier("live"))
//	...
//	defer inv.Close()
//	m, err := esm.New(source, inv, esm.WithAWSLimits())
//
// It needs the permission lambda:InvokeFunction. The function needs no change
// and no trigger.
//
// # What calls cost
//
// Each call is billed, and takes a round trip. By default a Mapping does not wait for
// a batch to fill, which suits a function in the process: a record that comes alone is
// a call. So pass [esm.WithAWSLimits], which waits for up to 500 ms as AWS does, or an
// [esm.WithBatchWindow] of your own. 100 partitions with a record a second each make 85
// calls a second without a window, if a call takes 50 ms, and 2 with 500 ms.
//
// # What becomes of an answer
//
//   - The function returned: the batch is settled, whatever it returned. With
//     [WithReportBatchItemFailures] the records that it names have failed.
//   - The function failed, by an error, a panic, an exit or its timeout: a
//     failure of the batch, which is an attempt. The error is a
//     [*FunctionError].
//   - An event of more than 6 MB, or that Lambda calls too large:
//     [esm.TooLarge].
//   - Lambda is busy, or cannot start the function at the moment, or cannot be
//     reached: [esm.Throttled], with the time that it asks for. The function
//     was not called, so this is no attempt. Where the reason cannot be the event,
//     such as a quota (TooManyRequestsException), it is [esm.Busy]; an error that
//     Lambda does not explain, such as ServiceException, may be about the records
//     if the same ones get it again and again.
//   - Lambda says what no later call can change, such as that there is no such
//     function or that it may not be called: [esm.Refused], a halt if it lasts.
//   - Anything else is a failure of the batch.
//
// Which error of Lambda is which is in one table, in errors.go. None is
// [esm.Permanent]: no error of Lambda says that a record can never be handled.
// The SDK tries nothing again: what is tried again, and when, is the Mapping's to
// decide.
//
// # Connections
//
// A connection can die without a sign, behind a NAT or a balancer. One of HTTP/2
// on which nothing comes for 15 s is pinged, and ends if no answer comes in 15 s
// more; a function may take its 15 minutes even so. On Linux a connection also
// ends whose other side takes nothing for a minute. After a call that ran out of
// time no later call uses a connection that was there; those in flight go on. So
// such a loss costs the calls in flight, or one.
//
// A call whose connection ends within a second, without a byte of an answer,
// because it was closed while it was idle, is sent once more, in a connection of
// its own, and is no attempt if that succeeds. Calls are made at least once in any
// case.
//
// This holds for the SDK's own HTTP client, whose ResponseHeaderTimeout, if the
// host sets it, is a limit for functions too. With another client it is the host's:
// set HTTP2.SendPingTimeout, HTTP2.PingTimeout and IdleConnTimeout of its
// *http.Transport.
//
// # What errors say
//
// Of an endpoint they name the host only, and they have none of the credentials
// and the client context of a request, even where the answer says them again.
// Those of the SDK are found with errors.As, without the response: they hold its
// status and the id of the request. Their texts have 4 KiB at most; that of a
// [FunctionError] too. An answer may have 64 KiB of header, unless the host
// brought its own HTTP client, and 8 MiB of body.
package awslambda

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/invokers/conns"
	"github.com/seed429fd032/esm/internal/invokers/lambdaresult"
	"github.com/seed429fd032/esm/internal/invokers/payload"
	"github.com/seed429fd032/esm/internal/invokers/reach"
	"github.com/seed429fd032/esm/internal/redact"
)

// An Invoker invokes one function. It may be used by several Mappings.
type Invoker struct {
	client    *lambda.Client
	conns     *conns.Pool // nil if the host brought its own client
	function  string
	qualifier *string
	context   *string
	custom    map[string]string // what it is made of
	values    func(context.Context) map[string]string
	secrets   []string // what errors must not say, of all requests
	timeout   time.Duration
	report    bool
}

var _ esm.Invoker = (*Invoker)(nil)

// maxEvent is how many bytes an event may have that is sent to a function
// which is waited for: Lambda's quota of 6 MB.
const maxEvent = 6 << 20

// errTimeout is why a call was cut short that took too long.
var errTimeout = errors.New("awslambda: no answer in time (WithTimeout, or the timeout of the SDK's HTTP client)")

// New makes an Invoker of a function: its name, its ARN, or a part of that as
// Lambda's API takes it.
//
// cfg says the region, the credentials and where the endpoint is. Its retryer
// and its DefaultsMode are not used. Of the SDK's own HTTP client, which it has
// unless the host set another one, the transport and the timeout are used, with
// a pool of connections for this Invoker alone ([WithMaxIdleConnections]). Another one
// is used as it is, except that it follows no redirect, and has to keep enough
// connections open by itself.
func New(cfg aws.Config, function string, opts ...Option) (*Invoker, error) {
	s := settings{connections: 1000, timeout: 15*time.Minute + 10*time.Second}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("awslambda: there is a nil Option")
		}
		o(&s)
	}
	if err := s.validate(cfg, function); err != nil {
		return nil, err
	}
	i := &Invoker{function: function, timeout: s.timeout, report: s.report, custom: maps.Clone(s.custom), values: s.fromContext}
	if s.qualifier != "" {
		i.qualifier = &s.qualifier
	}
	if s.custom != nil {
		text, err := clientContext(s.custom)
		if err != nil {
			return nil, err
		}
		i.context = &text
		i.secrets = append(i.secrets, text)
		for _, value := range s.custom {
			i.secrets = append(i.secrets, value)
		}
	}
	if u, err := url.Parse(aws.ToString(cfg.BaseEndpoint)); err == nil {
		i.secrets = append(i.secrets, redact.OfURL(u)...)
	}
	var client aws.HTTPClient
	switch c := cfg.HTTPClient.(type) {
	case nil:
		client = i.pooled(awshttp.NewBuildableClient(), s.connections)
	case *awshttp.BuildableClient:
		client = i.pooled(c, s.connections)
	case *http.Client:
		own := *c
		own.CheckRedirect = noRedirect
		client = &own
	default:
		client = c
	}
	i.client = lambda.NewFromConfig(cfg, func(o *lambda.Options) {
		o.HTTPClient = sender{client}
		o.Retryer = aws.NopRetryer{}
	})
	return i, nil
}

// pooled makes a client with a pool of its own.
func (i *Invoker) pooled(c *awshttp.BuildableClient, connections int) aws.HTTPClient {
	t := c.GetTransport()
	if t.MaxResponseHeaderBytes == 0 {
		t.MaxResponseHeaderBytes = maxHeader
	}
	t.MaxIdleConns = 0
	t.MaxIdleConnsPerHost = connections
	t.MaxConnsPerHost = 0 // the Mapping's pollers are the limit
	if d := c.GetTimeout(); d > 0 {
		// In the context, where the pool sees that a call ran out of time.
		i.timeout = min(i.timeout, d)
	}
	i.conns = conns.New(t)
	return &http.Client{Transport: i.conns, CheckRedirect: noRedirect}
}

// noRedirect keeps a client from following a redirect: a signed request is for
// one host, and a GET in place of a POST calls nothing, whatever its answer.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Close ends the connections that are idle. Call it after the Mapping stopped.
// The Invoker can be used even so.
func (i *Invoker) Close() error {
	if i.conns != nil {
		i.conns.CloseIdleConnections()
	}
	return nil
}

// Invoke calls the function with the event of a batch, and waits for its
// answer.
func (i *Invoker) Invoke(ctx context.Context, b *esm.Batch) error {
	p := payload.Get()
	defer p.Release()
	p.Bytes = b.AppendJSON(p.Bytes)
	if n := len(p.Bytes); n > maxEvent {
		return esm.TooLarge(fmt.Errorf("awslambda: the event of %d records has %d bytes, and Lambda takes %d", len(b.Records), n, maxEvent))
	}
	ctx, done := context.WithTimeoutCause(ctx, i.timeout, errTimeout)
	defer done()
	c := &call{payload: p, plain: i.conns != nil, secrets: i.secrets}
	text := i.context
	if more := i.contextOf(ctx); more != "" {
		text, c.secrets = &more, append(slices.Clip(i.secrets), more)
	}
	ctx = context.WithValue(c.trace.Watch(ctx), callKey{}, c)
	out, err := i.client.Invoke(ctx, &lambda.InvokeInput{
		FunctionName: &i.function, Qualifier: i.qualifier, ClientContext: text,
		InvocationType: types.InvocationTypeRequestResponse, Payload: p.Bytes,
	})
	switch {
	case err != nil:
		return c.judge(ctx, err)
	case aws.ToString(out.FunctionError) != "":
		return functionError(out)
	case out.StatusCode != http.StatusOK:
		return fmt.Errorf("awslambda: Lambda answered with status %d, which is not that of a function that returned", out.StatusCode)
	case i.report:
		return lambdaresult.Items(b, out.Payload)
	}
	return nil
}

// A call is what is known of one while the SDK makes it.
type call struct {
	payload *payload.Payload
	plain   bool // the transport is one of net/http
	sent    bool // the SDK came to sending it
	secrets []string
	trace   reach.Trace
}

// callKey is where a call is in its context.
type callKey struct{}

// errRedirected is why an answer is not taken for Lambda's.
var errRedirected = errors.New("awslambda: the HTTP client followed a redirect")

// A sender sends the payload of a call in place of the SDK's reader of the same
// bytes, because it knows when they are free.
type sender struct{ aws.HTTPClient }

func (s sender) Do(r *http.Request) (*http.Response, error) {
	c, ok := r.Context().Value(callKey{}).(*call)
	if !ok || r.Body == nil || r.Body == http.NoBody {
		return s.HTTPClient.Do(r) // for credentials, for example
	}
	c.sent = true
	c.secrets = append(slices.Clip(c.secrets), r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token"))
	if _, signature, ok := strings.Cut(r.Header.Get("Authorization"), "Signature="); ok {
		c.secrets = append(c.secrets, signature)
	}
	_ = r.Body.Close()
	if err := c.payload.Send(r); err != nil {
		return nil, err
	}
	method, host := r.Method, r.URL.Host
	answer, err := s.HTTPClient.Do(r)
	if err == nil && answer.Request != nil && (answer.Request.Method != method || answer.Request.URL.Host != host) {
		_ = answer.Body.Close()
		return nil, errRedirected
	}
	if err != nil {
		return nil, err
	}
	most := maxError
	if answer.StatusCode == http.StatusOK {
		most = maxAnswer
	}
	answer.Body = newLimited(answer.Body, most)
	return answer, nil
}

// clientContext is what Lambda takes as the client's context.
func clientContext(custom map[string]string) (string, error) {
	text, err := json.Marshal(map[string]any{"custom": custom})
	if err != nil {
		return "", fmt.Errorf("awslambda: WithClientContext: %w", err)
	}
	coded := base64.StdEncoding.EncodeToString(text)
	if n := len(coded); n > maxContext {
		return "", fmt.Errorf("awslambda: WithClientContext: it has %d bytes as base64 of JSON, and Lambda takes %d", n, maxContext)
	}
	return coded, nil
}

// contextOf is the client context of a call that has values of its own, "" if it has none, or
// if they do not fit: what they say is not worth a call.
func (i *Invoker) contextOf(ctx context.Context) string {
	if i.values == nil {
		return ""
	}
	values := i.values(ctx)
	if len(values) == 0 {
		return ""
	}
	custom := maps.Clone(i.custom)
	if custom == nil {
		custom = map[string]string{}
	}
	maps.Copy(custom, values)
	text, err := clientContext(custom)
	if err != nil {
		return ""
	}
	return text
}

// maxContext is Lambda's quota for the client context.
const maxContext = 3583

// functionError is the error of a call that failed in the function.
func functionError(out *lambda.InvokeOutput) error {
	e := &FunctionError{
		Handled: aws.ToString(out.FunctionError) == "Handled",
		Version: lambdaresult.Short(aws.ToString(out.ExecutedVersion), lambdaresult.MaxName),
	}
	said := lambdaresult.ReadError(out.Payload)
	e.Type, e.Message, e.Stack = said.Type, cmp.Or(said.Message, said.Type, "it did not say why"), said.Stack
	id, _ := awsmiddleware.GetRequestIDMetadata(out.ResultMetadata)
	e.RequestID = lambdaresult.Short(id, lambdaresult.MaxName)
	return e
}
