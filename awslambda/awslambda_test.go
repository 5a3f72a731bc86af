package awslambda_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awslambda"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/invokers/lambdapool"
	"github.com/seed429fd032/esm/internal/testing/lambdafront"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
)

func TestMain(m *testing.M) {
	if os.Getenv(serverVariable) != "" {
		benchServer()
		return
	}
	code := m.Run()
	lambdatest.Clean()
	os.Exit(code)
}

// config is that of a machine with credentials, for an endpoint in the test.
func config(endpoint string) aws.Config {
	return aws.Config{
		Region: "eu-north-1", BaseEndpoint: aws.String(endpoint),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "id", SecretAccessKey: "secret"}, nil
		}),
	}
}

// invoker makes an Invoker of a handler that stands for Lambda.
func invoker(t testing.TB, lambda http.Handler, function string, opts ...awslambda.Option) *awslambda.Invoker {
	t.Helper()
	server := httptest.NewUnstartedServer(lambda)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs panics
	server.Start()
	t.Cleanup(server.Close)
	inv, err := awslambda.New(config(server.URL), function, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := inv.Close(); err != nil {
			t.Error(err)
		}
	})
	return inv
}

// pool is a pool of processes of a function, which is closed after the test.
func pool(t testing.TB, function string, change func(*lambdapool.Config)) *lambdapool.Pool {
	c := lambdapool.Config{
		Command: []string{lambdatest.Build(t, function)}, Name: function, Most: 2,
		Timeout: 10 * time.Second, Start: 10 * time.Second, Idle: time.Minute,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	change(&c)
	p := lambdapool.New(c)
	t.Cleanup(p.Close)
	return p
}

// TestFunctionInLambda has the SDK call real functions behind a front end that
// answers as Lambda does.
func TestFunctionInLambda(t *testing.T) {
	lambdatest.Behave(t, func(t *testing.T, s lambdatest.Settings) esm.Invoker {
		front := lambdafront.New()
		front.Add("orders", s.Most, pool(t, "function", func(c *lambdapool.Config) { c.Env, c.Timeout, c.Most = s.Env, s.Timeout, s.Most }))
		var opts []awslambda.Option
		if s.Report {
			opts = append(opts, awslambda.WithReportBatchItemFailures(true))
		}
		return invoker(t, front, "orders", opts...)
	})
}

func TestItConforms(t *testing.T) {
	esmtest.TestInvoker(t, func(t testing.TB, target esm.InvokerFunc) esm.Invoker {
		front := lambdafront.New()
		front.Add("orders", 1000, lambdafront.FunctionFunc(func(ctx context.Context, event lambdapool.Event) ([]byte, error) {
			b, err := lambdatest.Decode(event.Body)
			if err != nil {
				return nil, err
			}
			err = target(ctx, b)
			switch esm.Classify(context.Background(), err) {
			case esm.OutcomeThrottled:
				err = &lambdafront.APIError{Status: 429, Code: "TooManyRequestsException", Reason: "CallerRateLimitExceeded", RetryAfter: time.Second}
			case esm.OutcomeHalt:
				err = &lambdafront.APIError{Status: 404, Code: "ResourceNotFoundException"}
			case esm.OutcomeTooLarge:
				err = &lambdafront.APIError{Status: 413, Code: "RequestTooLargeException"}
			case esm.OutcomePermanent:
				err = &lambdafront.APIError{Status: 400, Code: "InvalidRequestContentException"}
			case esm.OutcomeFailure:
				err = &lambdapool.Error{Type: "errorString", Message: err.Error()}
			}
			return lambdatest.Items(b, err)
		}))
		return invoker(t, front, "orders", awslambda.WithReportBatchItemFailures(true))
	}, esmtest.NoPermanent, esmtest.NoTooLarge, esmtest.NoStopAt, esmtest.NoBatchInfo)
}

// answer is a Lambda that always says the same.
func answer(status int, header http.Header, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func batch(n, size int) *esm.Batch {
	b := &esm.Batch{ID: "b1", Attempt: 1, Mapping: "tests"}
	for i := range n {
		b.Records = append(b.Records, &kgo.Record{Topic: "orders", Offset: int64(i), Value: make([]byte, size)})
	}
	return b
}

func TestErrorsOfLambda(t *testing.T) {
	const user, service = `{"Type":"User","message":"a reason"}`, `{"Type":"Service","message":"a reason"}`
	for _, tt := range []struct {
		code   string
		status int
		want   esm.Outcome
	}{
		{"TooManyRequestsException", 429, esm.OutcomeThrottled},
		{"ThrottlingException", 400, esm.OutcomeThrottled},
		{"ServiceException", 500, esm.OutcomeThrottled},
		{"EC2ThrottledException", 502, esm.OutcomeThrottled},
		{"EC2UnexpectedException", 502, esm.OutcomeThrottled},
		{"EFSIOException", 410, esm.OutcomeThrottled},
		{"EFSMountConnectivityException", 408, esm.OutcomeThrottled},
		{"EFSMountTimeoutException", 408, esm.OutcomeThrottled},
		{"ENILimitReachedException", 502, esm.OutcomeThrottled},
		{"ENINotReadyException", 502, esm.OutcomeThrottled},
		{"ResourceConflictException", 409, esm.OutcomeThrottled},
		{"ResourceNotReadyException", 502, esm.OutcomeThrottled},
		{"SnapStartNotReadyException", 409, esm.OutcomeThrottled},
		{"SnapStartTimeoutException", 408, esm.OutcomeThrottled},
		{"SubnetIPAddressLimitReachedException", 502, esm.OutcomeThrottled},
		{"CodeArtifactUserPendingException", 409, esm.OutcomeThrottled},
		{"ExpiredTokenException", 403, esm.OutcomeThrottled},
		{"RequestTooLargeException", 413, esm.OutcomeTooLarge},
		{"SerializedRequestEntityTooLargeException", 413, esm.OutcomeTooLarge},
		{"InvalidRequestContentException", 400, esm.OutcomeFailure},
		{"ResourceNotFoundException", 404, esm.OutcomeHalt},
		{"AccessDeniedException", 403, esm.OutcomeHalt},
		{"UnrecognizedClientException", 403, esm.OutcomeHalt},
		{"InvalidSignatureException", 403, esm.OutcomeHalt},
		{"EC2AccessDeniedException", 502, esm.OutcomeHalt},
		{"EFSMountFailureException", 403, esm.OutcomeHalt},
		{"InvalidParameterValueException", 400, esm.OutcomeHalt},
		{"InvalidRuntimeException", 502, esm.OutcomeHalt},
		{"InvalidSecurityGroupIDException", 502, esm.OutcomeHalt},
		{"InvalidSubnetIDException", 502, esm.OutcomeHalt},
		{"InvalidZipFileException", 502, esm.OutcomeHalt},
		{"KMSAccessDeniedException", 502, esm.OutcomeHalt},
		{"KMSDisabledException", 502, esm.OutcomeHalt},
		{"KMSInvalidStateException", 502, esm.OutcomeHalt},
		{"KMSNotFoundException", 502, esm.OutcomeHalt},
		{"NoPublishedVersionException", 400, esm.OutcomeHalt},
		{"RecursiveInvocationException", 400, esm.OutcomeHalt},
		{"UnsupportedMediaTypeException", 415, esm.OutcomeHalt},
		{"SnapStartException", 400, esm.OutcomeFailure},
		// What this SDK does not know is judged by its status.
		{"BrandNewException", 429, esm.OutcomeThrottled},
		{"BrandNewException", 503, esm.OutcomeThrottled},
		{"BrandNewException", 502, esm.OutcomeFailure},
		{"BrandNewException", 504, esm.OutcomeFailure},
		{"BrandNewException", 413, esm.OutcomeTooLarge},
		{"BrandNewException", 403, esm.OutcomeHalt},
		{"BrandNewException", 400, esm.OutcomeFailure},
	} {
		t.Run(fmt.Sprint(tt.code, " ", tt.status), func(t *testing.T) {
			body := user
			if tt.status >= 500 {
				body = service
			}
			inv := invoker(t, answer(tt.status, http.Header{"X-Amzn-ErrorType": {tt.code}}, body), "orders")
			err := inv.Invoke(t.Context(), batch(1, 10))
			if got := esm.Classify(t.Context(), err); got != tt.want || !strings.Contains(err.Error(), tt.code) {
				t.Errorf("%v: %v", got, err)
			}
			says := map[esm.Outcome]string{esm.OutcomeHalt: "the function refuses calls: ", esm.OutcomeThrottled: "the function is busy: "}[tt.want]
			if tt.want == esm.OutcomeThrottled && (tt.code == "ServiceException" || tt.code == "BrandNewException") {
				says = "the function is throttled: " // it may be about the event
			}
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%q does not say %q", err, says)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	var got *http.Request
	calls := 0
	inv := invoker(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		got = r.Clone(context.Background())
		body, err := io.ReadAll(r.Body)
		if b, err2 := lambdatest.Decode(body); err != nil || err2 != nil || len(b.Records) != 3 {
			t.Errorf("%v, %v: %s", err, err2, body)
		}
		w.WriteHeader(http.StatusServiceUnavailable) // which the SDK would try again
	}), "arn:aws:lambda:eu-north-1:123456789012:function:orders", awslambda.WithQualifier("live"), awslambda.WithClientContext(map[string]string{"a": "b"}))
	if err := inv.Invoke(t.Context(), batch(3, 100)); !errors.Is(err, esm.ErrThrottled) {
		t.Fatal(err)
	}
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
	if p := got.URL.EscapedPath(); got.Method != http.MethodPost || !strings.HasSuffix(p, "function%3Aorders/invocations") || got.URL.Query().Get("Qualifier") != "live" {
		t.Errorf("%s %s", got.Method, got.URL)
	}
	if h := got.Header; h.Get("X-Amz-Invocation-Type") != "RequestResponse" || h.Get("X-Amz-Client-Context") != "eyJjdXN0b20iOnsiYSI6ImIifX0=" || !strings.HasPrefix(h.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		t.Errorf("%v", h)
	}
}

// TestValuesOfTheContext are in the client context, if they fit.
func TestValuesOfTheContext(t *testing.T) {
	var got string
	type key struct{}
	inv := invoker(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, err := base64.StdEncoding.DecodeString(r.Header.Get("X-Amz-Client-Context"))
		if err != nil {
			t.Error(err)
		}
		got = string(text)
	}), "orders", awslambda.WithClientContext(map[string]string{"a": "b"}), awslambda.WithContextValues(func(ctx context.Context) map[string]string {
		if v, ok := ctx.Value(key{}).(string); ok {
			return map[string]string{"traceparent": v}
		}
		return nil
	}))
	for value, want := range map[string]string{
		"00-1": `{"custom":{"a":"b","traceparent":"00-1"}}`, "": `{"custom":{"a":"b"}}`,
		strings.Repeat("x", 4000): `{"custom":{"a":"b"}}`,
	} {
		ctx := t.Context()
		if value != "" {
			ctx = context.WithValue(ctx, key{}, value)
		}
		if err := inv.Invoke(ctx, batch(1, 10)); err != nil || got != want {
			t.Errorf("%.10s: %v, %s", value, err, got)
		}
	}
}

// TestRedirectIsNoAnswer: also with a client of the host, which would follow it
// and come back with a page.
func TestRedirectIsNoAnswer(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "please log in")
	}))
	defer page.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		lambda := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, page.URL, status)
		}))
		for name, client := range map[string]aws.HTTPClient{"the SDK's": nil, "net/http": &http.Client{}, "another": doer{&http.Client{}}} {
			c := config(lambda.URL)
			c.HTTPClient = client
			inv, err := awslambda.New(c, "orders")
			if err != nil {
				t.Fatal(err)
			}
			if err := inv.Invoke(t.Context(), batch(1, 10)); esm.Classify(t.Context(), err) != esm.OutcomeFailure {
				t.Errorf("%d with %s client: %v", status, name, err)
			}
		}
		lambda.Close()
	}
}

// doer hides what a client is.
type doer struct{ client *http.Client }

func (d doer) Do(r *http.Request) (*http.Response, error) { return d.client.Do(r) }

// TestCredentialsAreNotLambda: what their service answers is not what Lambda
// says of the function.
func TestCredentialsAreNotLambda(t *testing.T) {
	for _, said := range []error{
		&awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: 404}}, Err: errors.New("no role")}},
		&smithy.GenericAPIError{Code: "AccessDenied", Message: "not you"},
		&smithyhttp.RequestSendError{Err: io.ErrUnexpectedEOF},
	} {
		c := config("http://127.0.0.1:1")
		c.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, said })
		inv, err := awslambda.New(c, "orders")
		if err != nil {
			t.Fatal(err)
		}
		if err := inv.Invoke(t.Context(), batch(1, 10)); esm.Classify(t.Context(), err) != esm.OutcomeThrottled {
			t.Errorf("%T: %v", said, err)
		}
	}
}

// TestWrongClockIsCorrected: the SDK learns the time from the first answer.
func TestWrongClockIsCorrected(t *testing.T) {
	calls := 0
	inv := invoker(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Date", time.Now().Add(10*time.Minute).UTC().Format(http.TimeFormat))
		if calls++; calls == 1 {
			w.Header().Set("X-Amzn-ErrorType", "InvalidSignatureException")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"Signature expired"}`)
		}
	}), "orders")
	if err := inv.Invoke(t.Context(), batch(1, 10)); esm.Classify(t.Context(), err) != esm.OutcomeThrottled {
		t.Errorf("first call: %v", err)
	}
	if err := inv.Invoke(t.Context(), batch(1, 10)); err != nil {
		t.Errorf("second call: %v", err)
	}
}

func TestEventThatIsTooLargeIsNotSent(t *testing.T) {
	inv := invoker(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was sent") }), "orders")
	if err := inv.Invoke(t.Context(), batch(5, 1<<20)); esm.Classify(t.Context(), err) != esm.OutcomeTooLarge {
		t.Error(err)
	}
}

func TestLambdaThatCannotBeReached(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // nobody listens there now
	inv, err := awslambda.New(config(server.URL), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := inv.Invoke(t.Context(), batch(1, 10)); !errors.Is(err, esm.ErrThrottled) {
		t.Errorf("no connection: %v", err)
	}
	c := config("http://127.0.0.1:1")
	c.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("no role today")
	})
	if inv, err = awslambda.New(c, "orders"); err != nil {
		t.Fatal(err)
	}
	if err := inv.Invoke(t.Context(), batch(1, 10)); !errors.Is(err, esm.ErrThrottled) || !strings.Contains(err.Error(), "no role today") {
		t.Errorf("no credentials: %v", err)
	}
	c.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		<-ctx.Done()
		return aws.Credentials{}, ctx.Err()
	})
	if inv, err = awslambda.New(c, "orders"); err != nil {
		t.Fatal(err)
	}
	ctx, done := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, esm.ErrInvokeTimeout)
	defer done()
	if err := inv.Invoke(ctx, batch(1, 10)); !errors.Is(err, esm.ErrThrottled) || !errors.Is(err, esm.ErrInvokeTimeout) {
		t.Errorf("no credentials in the time of the Mapping: %v", err)
	}
	// The connection ends without an answer: the function may have run.
	cut := invoker(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "orders")
	if err := cut.Invoke(t.Context(), batch(1, 10)); esm.Classify(t.Context(), err) != esm.OutcomeFailure {
		t.Errorf("no answer: %v", err)
	}
}

func TestFunctionErrorSaysAll(t *testing.T) {
	inv := invoker(t, answer(200, http.Header{"X-Amz-Function-Error": {"Unhandled"}, "X-Amz-Executed-Version": {"12"}, "X-Amzn-Requestid": {"abc"}},
		`{"errorType":"Billing","errorMessage":"no such customer","stackTrace":["line 1\n",{"path":"p","line":2}]}`), "orders")
	err := inv.Invoke(t.Context(), batch(1, 10))
	var f *awslambda.FunctionError
	if !errors.As(err, &f) || f.Type != "Billing" || f.Message != "no such customer" || f.Version != "12" || f.RequestID != "abc" || f.Handled ||
		len(f.Stack) != 2 || f.Stack[0] != "line 1" || f.Error() != "the function failed: Billing: no such customer (request abc)" {
		t.Errorf("%+v: %v", f, err)
	}
}

func TestMistakesAreReportedAtOnce(t *testing.T) {
	_, err := awslambda.New(aws.Config{}, "", awslambda.WithMaxIdleConnections(0), awslambda.WithTimeout(time.Hour), awslambda.WithClientContext(map[string]string{"a": "b"}))
	if err == nil {
		t.Fatal("it took all of them")
	}
	for _, want := range []string{"name of the function", "Region", "Credentials", "WithMaxIdleConnections(0)", "WithTimeout(1h0m0s)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	for _, client := range []aws.HTTPClient{(*http.Client)(nil), (*awshttp.BuildableClient)(nil)} {
		c := config("http://127.0.0.1:1")
		c.HTTPClient = client
		if _, err := awslambda.New(c, "orders"); err == nil || !strings.Contains(err.Error(), "HTTPClient is a nil") {
			t.Errorf("%T: %v", client, err)
		}
	}
	if _, err := awslambda.New(config("http://127.0.0.1:1"), "orders", awslambda.WithClientContext(map[string]string{"a": strings.Repeat("x", 4000)})); err == nil {
		t.Error("a client context that is too large")
	}
}
