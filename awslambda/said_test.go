package awslambda_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awslambda"
	"github.com/seed429fd032/esm/internal/testing/connstest"
	"github.com/seed429fd032/esm/internal/testing/secrettest"
)

// raw is an endpoint that reads a request, answers these bytes, and hangs up.
func raw(t *testing.T, answer func(r *http.Request) []byte) string {
	return connstest.Raw(t, answer).URL
}

// TestSecretsAreNotSaid: those of the endpoint, of the credentials and of the
// client context, whatever becomes of a call, and whatever the answer says.
func TestSecretsAreNotSaid(t *testing.T) {
	ear := secrettest.New(t)
	password, token, secret, session, custom := ear.Plant(), ear.Plant(), ear.Plant(), ear.Plant(), ear.Plant()
	with := func(target string) aws.Config {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		u.User, u.Path = url.UserPassword("someone", password), "/"+token
		c := config(u.String())
		c.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: secret, SessionToken: session}, nil
		})
		return c
	}
	echo := func(r *http.Request) string {
		return fmt.Sprintf("The Canonical String should have been 'POST %s %v'", r.RequestURI, r.Header)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	answers := func(status int, code string, body func(r *http.Request) string) string {
		return raw(t, func(r *http.Request) []byte {
			return []byte(fmt.Sprintf("HTTP/1.1 %d %s\r\nX-Amzn-ErrorType: %s\r\nLocation: https://elsewhere.test%s\r\n\r\n%s", status, "Reason", code, r.RequestURI, body(r)))
		})
	}
	message := func(r *http.Request) string {
		text, err := json.Marshal(map[string]string{"message": echo(r), "Reason": echo(r), "Type": echo(r)})
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	type target struct {
		config aws.Config
		want   esm.Outcome
	}
	targets := map[string]target{
		"nobody there":   {with(gone.URL), esm.OutcomeThrottled},
		"no trust":       {with(secure.URL), esm.OutcomeThrottled},
		"no such name":   {with("http://nobody.invalid"), esm.OutcomeThrottled},
		"an abort":       {with(raw(t, func(*http.Request) []byte { return nil })), esm.OutcomeFailure},
		"no HTTP":        {with(raw(t, func(r *http.Request) []byte { return []byte(echo(r)) })), esm.OutcomeFailure},
		"a redirect":     {with(answers(307, "", echo)), esm.OutcomeFailure},
		"signature":      {with(answers(403, "InvalidSignatureException", message)), esm.OutcomeHalt},
		"not found":      {with(answers(404, "ResourceNotFoundException", message)), esm.OutcomeHalt},
		"busy":           {with(answers(429, "TooManyRequestsException", message)), esm.OutcomeThrottled},
		"too large":      {with(answers(413, "RequestTooLargeException", message)), esm.OutcomeTooLarge},
		"service":        {with(answers(500, "ServiceException", message)), esm.OutcomeThrottled},
		"unknown":        {with(answers(502, "", echo)), esm.OutcomeFailure},
		"no JSON":        {with(answers(403, "AccessDeniedException", echo)), esm.OutcomeHalt},
		"half an answer": {with(raw(t, func(r *http.Request) []byte { return []byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{") })), esm.OutcomeFailure},
	}
	c := with(gone.URL)
	c.HTTPClient = doer{&http.Client{Transport: connstest.Tripper(func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("sending %s with %v: %w", r.URL, r.Header, io.ErrUnexpectedEOF)
	})}}
	targets["a client of the host"] = target{c, esm.OutcomeFailure}
	c = with(gone.URL)
	c.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, fmt.Errorf("refresh: %w", &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: &awshttp.ResponseError{
			ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: 403}},
				Err: &url.Error{Op: "Post", URL: "https://someone:" + password + "@sts.test/?Token=" + session, Err: &smithy.GenericAPIError{Code: "AccessDenied", Message: "no role"}}},
		}})
	})
	targets["no credentials"] = target{c, esm.OutcomeThrottled}
	c = config("https://someone:" + password + "@billing.test:port/" + token)
	targets["a wrong address"] = target{c, esm.OutcomeThrottled}
	for name, tt := range targets {
		inv, err := awslambda.New(tt.config, "orders", awslambda.WithClientContext(map[string]string{"key": custom}))
		if err != nil {
			t.Fatal(name, err)
		}
		err = inv.Invoke(t.Context(), batch(1, 10))
		if got := esm.Classify(t.Context(), err); got != tt.want {
			t.Errorf("%s: %v, want %v: %v", name, got, tt.want, err)
		}
		ear.Hear(name, err)
		if held := (*url.Error)(nil); errors.As(err, &held) {
			t.Errorf("%s: it holds %v", name, held)
		}
		if err := inv.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []aws.Config{{}, with("http://billing.test")} {
		_, err := awslambda.New(c, strings.Repeat(token, 50), awslambda.WithClientContext(map[string]string{"key": strings.Repeat(custom, 200)}))
		if err == nil {
			t.Error("it took a wrong config")
		}
		ear.Hear("New", err)
	}
}

// TestErrorsOfTheSDKAreFound, without what they held.
func TestErrorsOfTheSDKAreFound(t *testing.T) {
	inv := invoker(t, answer(429, http.Header{"X-Amzn-ErrorType": {"TooManyRequestsException"}, "X-Amzn-Requestid": {"abc"}}, `{"Reason":"CallerRateLimitExceeded","message":"slow down"}`), "orders")
	err := inv.Invoke(t.Context(), batch(1, 10))
	var busy *types.TooManyRequestsException
	if !errors.As(err, &busy) || busy.Reason != types.ThrottleReasonCallerRateLimitExceeded || aws.ToString(busy.Message) != "slow down" {
		t.Errorf("%#v: %v", busy, err)
	}
	var resp *awshttp.ResponseError
	if !errors.As(err, &resp) || resp.ServiceRequestID() != "abc" || resp.HTTPStatusCode() != 429 || resp.Response.Body != nil || resp.Response.Request != nil {
		t.Errorf("%#v", resp)
	}
	var plain *smithyhttp.ResponseError
	var api smithy.APIError
	var op *smithy.OperationError
	if !errors.As(err, &plain) || !errors.As(err, &api) || api.ErrorCode() != "TooManyRequestsException" || !errors.As(err, &op) || op.Operation() != "Invoke" {
		t.Error(err)
	}
	const want = "esm: the function is busy: awslambda: operation error Lambda: Invoke, https response error StatusCode: 429, RequestID: abc, TooManyRequestsException: slow down"
	if err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	if inv, err = awslambda.New(config(server.URL), "orders"); err != nil {
		t.Fatal(err)
	}
	err = inv.Invoke(t.Context(), batch(1, 10))
	if op := (*net.OpError)(nil); !errors.As(err, &op) || !strings.Contains(err.Error(), server.URL) {
		t.Error(err)
	}
}

// TestOfALongAnswerLittleIsKept, whatever Lambda, or what stands in its place,
// says much of.
func TestOfALongAnswerLittleIsKept(t *testing.T) {
	const calls = 3
	long := strings.Repeat("x", 9<<20)
	short := long[:5<<20]
	own := &http.Client{Transport: &http.Transport{MaxResponseHeaderBytes: 20 << 20, DisableKeepAlives: true}}
	for name, tt := range map[string]struct {
		answer string
		client aws.HTTPClient
		want   esm.Outcome
	}{
		"a reason":          {"HTTP/1.1 429 " + long + "\r\n\r\n", own, esm.OutcomeThrottled},
		"a reason, limited": {"HTTP/1.1 429 " + long + "\r\n\r\n", nil, esm.OutcomeFailure},
		"an id":             {"HTTP/1.1 404 Not Found\r\nX-Amzn-Errortype: ResourceNotFoundException\r\nX-Amzn-Requestid: " + long + "\r\n\r\n{\"message\":\"no\"}", own, esm.OutcomeHalt},
		"a code":            {"HTTP/1.1 429 Busy\r\nX-Amzn-Errortype: " + long + "\r\n\r\n{\"message\":\"no\"}", own, esm.OutcomeThrottled},
		"a message":         {"HTTP/1.1 500 Oh\r\nX-Amzn-Errortype: ServiceException\r\n\r\n{\"message\":\"" + long[:60_000] + "\"}", nil, esm.OutcomeThrottled},
		"a long message":    {"HTTP/1.1 502 Oh\r\n\r\n{\"message\":\"" + long + "\"}", nil, esm.OutcomeFailure},
		"a function's":      {"HTTP/1.1 200 OK\r\nX-Amz-Function-Error: Unhandled\r\n\r\n{\"errorType\":\"E\",\"errorMessage\":\"" + short + "\"}", nil, esm.OutcomeFailure},
		"a stack":           {"HTTP/1.1 200 OK\r\nX-Amz-Function-Error: Unhandled\r\n\r\n{\"errorType\":\"E\",\"stackTrace\":[\"" + strings.Repeat("a line of a function\",\"", 100_000) + "\"]}", nil, esm.OutcomeFailure},
		"a version":         {"HTTP/1.1 200 OK\r\nX-Amz-Function-Error: Unhandled\r\nX-Amz-Executed-Version: " + long + "\r\nX-Amzn-Requestid: " + long + "\r\n\r\n{\"errorType\":\"E\"}", own, esm.OutcomeFailure},
		"an answer":         {"HTTP/1.1 200 OK\r\n\r\n" + long, nil, esm.OutcomeFailure},
		"items":             {"HTTP/1.1 200 OK\r\n\r\n{\"batchItemFailures\":[{\"itemIdentifier\":\"" + short + "\"}]}", nil, esm.OutcomeFailure},
	} {
		answer := []byte(tt.answer)
		c := config(raw(t, func(*http.Request) []byte { return answer }))
		c.HTTPClient = tt.client
		inv, err := awslambda.New(c, "orders", awslambda.WithReportBatchItemFailures(true))
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var errs []error
		for range calls {
			err := inv.Invoke(t.Context(), batch(1, 10))
			if got := esm.Classify(t.Context(), err); got != tt.want || len(err.Error()) > 10<<10 {
				t.Errorf("%s: %v, want %v: %.500v", name, got, tt.want, err)
			}
			errs = append(errs, err)
		}
		if err := inv.Close(); err != nil {
			t.Error(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if held := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / calls; held > 150<<10 {
			t.Errorf("%s: %d KiB are held of each error", name, held>>10)
		}
		runtime.KeepAlive(errs)
	}
}

// TestErrorsAreTextInJSON.
func TestErrorsAreTextInJSON(t *testing.T) {
	text, err := json.Marshal(map[string]error{"err": &awslambda.FunctionError{Type: "E", Message: "m", RequestID: "r"}})
	if err != nil || string(text) != `{"err":"the function failed: E: m (request r)"}` {
		t.Errorf("%s, %v", text, err)
	}
}
