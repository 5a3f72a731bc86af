package esmhttp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmhttp"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
)

// serve starts a server, which is closed after the test.
func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs panics
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func invoker(t testing.TB, target string, opts ...esmhttp.Option) *esmhttp.Invoker {
	t.Helper()
	inv, err := esmhttp.New(target, opts...)
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

// statuses are how a server says what became of a batch.
var statuses = map[esm.Outcome]int{
	esm.OutcomeSuccess:   http.StatusOK,
	esm.OutcomeFailure:   http.StatusInternalServerError,
	esm.OutcomeThrottled: http.StatusTooManyRequests,
	esm.OutcomeHalt:      http.StatusForbidden,
	esm.OutcomeTooLarge:  http.StatusRequestEntityTooLarge,
	esm.OutcomePermanent: http.StatusUnprocessableEntity,
}

// handler makes a handler of a target, for one way to read a body.
func handler(target esm.InvokerFunc, decode func(body []byte) (*esm.Batch, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it was cancelled
		}
		b, err := decode(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
			return
		}
		b.ID, b.Mapping, b.Group = r.Header.Get("Esm-Batch"), r.Header.Get("Esm-Mapping"), r.Header.Get("Esm-Group")
		b.Attempt, _ = strconv.Atoi(r.Header.Get("Esm-Attempt"))
		err = target(r.Context(), b)
		outcome := esm.Classify(context.Background(), err)
		if outcome == esm.OutcomePartial {
			if answer, err := lambdatest.Items(b, err); err == nil {
				_, _ = w.Write(answer)
				return
			}
		}
		status := statuses[outcome]
		if status != http.StatusOK {
			http.Error(w, err.Error(), status)
		}
	}
}

func TestEventConforms(t *testing.T) {
	esmtest.TestInvoker(t, func(t testing.TB, target esm.InvokerFunc) esm.Invoker {
		return invoker(t, serve(t, handler(target, lambdatest.Decode)).URL, esmhttp.WithReportBatchItemFailures(true))
	}, esmtest.NoPermanent, esmtest.NoTooLarge, esmtest.NoStopAt)
}

func TestCloudEventBatchConforms(t *testing.T) {
	esmtest.TestInvoker(t, func(t testing.TB, target esm.InvokerFunc) esm.Invoker {
		return invoker(t, serve(t, handler(target, decodeBatch)).URL, esmhttp.WithReportBatchItemFailures(true), esmhttp.WithFormat(esmhttp.CloudEventBatch))
	}, esmtest.NoPermanent, esmtest.NoTooLarge, esmtest.NoStopAt)
}

// A cloudEvent is one as the specification has it, with the extensions of this
// package.
type cloudEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Time            *time.Time      `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
	DataBase64      *[]byte         `json:"data_base64"`

	PartitionKey *string `json:"partitionkey"`
	Topic        string  `json:"kafkatopic"`
	Partition    int32   `json:"kafkapartition"`
	Offset       string  `json:"kafkaoffset"`
	Key          *[]byte `json:"kafkakey"`
	Headers      string  `json:"kafkaheaders"`
}

func (e *cloudEvent) record() (*kgo.Record, error) {
	if want := fmt.Sprintf("%s/%d/%s", e.Topic, e.Partition, e.Offset); e.SpecVersion != "1.0" || e.ID != want || e.Source == "" || e.Type == "" {
		return nil, fmt.Errorf("a CloudEvent %+v", e)
	}
	offset, err := strconv.ParseInt(e.Offset, 10, 64)
	if err != nil {
		return nil, err
	}
	r := &kgo.Record{Topic: e.Topic, Partition: e.Partition, Offset: offset, Timestamp: time.UnixMilli(-1)}
	if e.Time != nil {
		r.Timestamp = *e.Time
	}
	if e.Key != nil {
		r.Key = append([]byte{}, *e.Key...)
	}
	switch {
	case e.DataBase64 != nil:
		r.Value = append([]byte{}, *e.DataBase64...)
	case e.Data != nil:
		r.Value = e.Data
	}
	if e.Headers == "" {
		return r, nil
	}
	var headers []map[string][]int8
	if err := json.Unmarshal([]byte(e.Headers), &headers); err != nil {
		return nil, err
	}
	for _, h := range headers {
		for key, signed := range h {
			value := make([]byte, len(signed))
			for i, c := range signed {
				value[i] = byte(c)
			}
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: value})
		}
	}
	return r, nil
}

func decodeBatch(body []byte) (*esm.Batch, error) {
	var events []cloudEvent
	if err := json.Unmarshal(body, &events); err != nil {
		return nil, err
	}
	b := &esm.Batch{}
	for i := range events {
		r, err := events[i].record()
		if err != nil {
			return nil, err
		}
		b.Records = append(b.Records, r)
	}
	return b, nil
}

func decodeOne(body []byte) (*esm.Batch, error) {
	return decodeBatch([]byte("[" + string(body) + "]"))
}

// TestCloudEventsOneByOne is not the conformance suite: with one request for
// each record a target cannot answer for a batch.
func TestCloudEventsOneByOne(t *testing.T) {
	var got []string
	answers := map[int64]int{}
	inv := invoker(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		b, err := decodeOne(body)
		if err != nil || r.Header.Get("Content-Type") != "application/cloudevents+json" {
			t.Errorf("%v: %s, %s", err, r.Header, body)
			return
		}
		rec := b.Records[0]
		got = append(got, fmt.Sprintf("%s/%d/%d", rec.Topic, rec.Partition, rec.Offset))
		if status := answers[rec.Offset]; status != 0 {
			w.WriteHeader(status)
		}
	}).URL, esmhttp.WithFormat(esmhttp.CloudEvent))
	b := &esm.Batch{}
	for _, topic := range []string{"a", "b"} {
		for o := range int64(4) {
			b.Records = append(b.Records, &kgo.Record{Topic: topic, Offset: o})
		}
	}
	if err := inv.Invoke(t.Context(), b); err != nil || len(got) != 8 {
		t.Fatalf("%v: %v", err, got)
	}
	// One that is permanent is given up alone; one that fails ends its partition.
	answers[1], answers[2], got = 422, 500, nil
	err := inv.Invoke(t.Context(), b)
	if want := "[a/0/0 a/0/1 a/0/2 b/0/0 b/0/1 b/0/2]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	var said []string
	for _, f := range esm.FailuresOf(err) {
		said = append(said, fmt.Sprintf("%s/%d/%v/%t", f.Topic, f.Offset, esm.Classify(t.Context(), f.Err), f.Stopped))
	}
	if want := "[a/1/permanent/false a/2/failure/true b/1/permanent/false b/2/failure/true]"; fmt.Sprint(said) != want {
		t.Errorf("%v, want %s: %v", said, want, err)
	}
	answers[2] = 429
	got = nil
	if err := inv.Invoke(t.Context(), b); esm.Classify(t.Context(), err) != esm.OutcomeThrottled || fmt.Sprint(got) != "[a/0/0 a/0/1 a/0/2]" {
		t.Errorf("%v: %v", got, err)
	}
}

func TestCloudEvent(t *testing.T) {
	var body []byte
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { body, _ = io.ReadAll(r.Body) }).URL
	one := &kgo.Record{Topic: "orders", Partition: 3, Offset: 1 << 40, Timestamp: time.UnixMilli(1_700_000_000_123), Key: []byte("k"), Value: []byte(`{"a":1}`),
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{255}}}}
	for _, tt := range []struct {
		opts []esmhttp.Option
		r    *kgo.Record
		want string
	}{
		{nil, one, `{"specversion":"1.0","id":"orders/3/1099511627776","source":"kafka:orders","type":"esm.kafka.record","time":"2023-11-14T22:13:20.123Z",` +
			`"partitionkey":"k","kafkatopic":"orders","kafkapartition":3,"kafkaoffset":"1099511627776","kafkakey":"aw==","kafkaheaders":"[{\"h\":[-1]}]",` +
			`"datacontenttype":"application/octet-stream","data_base64":"eyJhIjoxfQ=="}`},
		{[]esmhttp.Option{esmhttp.WithJSONData(true), esmhttp.WithEventType("order.placed"), esmhttp.WithEventSource("/shop")}, one,
			`{"specversion":"1.0","id":"orders/3/1099511627776","source":"/shop","type":"order.placed","time":"2023-11-14T22:13:20.123Z",` +
				`"partitionkey":"k","kafkatopic":"orders","kafkapartition":3,"kafkaoffset":"1099511627776","kafkakey":"aw==","kafkaheaders":"[{\"h\":[-1]}]",` +
				`"datacontenttype":"application/json","data":{"a":1}}`},
		{[]esmhttp.Option{esmhttp.WithJSONData(true)}, &kgo.Record{Topic: "orders", Timestamp: time.UnixMilli(-1), Key: []byte{0xff}, Value: []byte("no JSON")},
			`{"specversion":"1.0","id":"orders/0/0","source":"kafka:orders","type":"esm.kafka.record","kafkatopic":"orders","kafkapartition":0,"kafkaoffset":"0",` +
				`"kafkakey":"/w==","datacontenttype":"application/octet-stream","data_base64":"bm8gSlNPTg=="}`},
		{[]esmhttp.Option{esmhttp.WithJSONData(true)}, &kgo.Record{Topic: "orders", Timestamp: time.UnixMicro(1_700_000_000_123_456_000), Key: []byte{0, 0, 0, 5}, Value: []byte("{\"a\":\"\xff\"}")},
			`{"specversion":"1.0","id":"orders/0/0","source":"kafka:orders","type":"esm.kafka.record","kafkatopic":"orders","kafkapartition":0,"kafkaoffset":"0",` +
				`"kafkakey":"AAAABQ==","datacontenttype":"application/octet-stream","data_base64":"eyJhIjoi/yJ9"}`},
		{nil, &kgo.Record{Topic: "orders", Timestamp: time.UnixMilli(-1), Key: []byte{}},
			`{"specversion":"1.0","id":"orders/0/0","source":"kafka:orders","type":"esm.kafka.record","kafkatopic":"orders","kafkapartition":0,"kafkaoffset":"0","kafkakey":""}`},
	} {
		inv := invoker(t, url, append(tt.opts, esmhttp.WithFormat(esmhttp.CloudEvent))...)
		if err := inv.Invoke(t.Context(), &esm.Batch{Records: []*kgo.Record{tt.r}}); err != nil || string(body) != tt.want {
			t.Errorf("%v: got\n%s\nwant\n%s", err, body, tt.want)
		}
	}
}

func small() *esm.Batch {
	return &esm.Batch{Records: []*kgo.Record{{Topic: "orders", Value: []byte("v")}}, ID: "b\n1", Attempt: 2, Mapping: "tests", Group: "billing"}
}

func TestStatuses(t *testing.T) {
	want := map[int]esm.Outcome{
		200: esm.OutcomeSuccess, 201: esm.OutcomeSuccess, 202: esm.OutcomeSuccess, 204: esm.OutcomeSuccess, 299: esm.OutcomeSuccess,
		300: esm.OutcomeHalt, 304: esm.OutcomeHalt,
		400: esm.OutcomePermanent, 422: esm.OutcomePermanent, 413: esm.OutcomeTooLarge,
		401: esm.OutcomeHalt, 402: esm.OutcomeHalt, 403: esm.OutcomeHalt, 404: esm.OutcomeHalt, 405: esm.OutcomeHalt, 406: esm.OutcomeHalt,
		407: esm.OutcomeHalt, 410: esm.OutcomeHalt, 411: esm.OutcomeHalt, 414: esm.OutcomeHalt, 415: esm.OutcomeHalt, 421: esm.OutcomeHalt,
		426: esm.OutcomeHalt, 431: esm.OutcomeHalt, 451: esm.OutcomeHalt, 501: esm.OutcomeHalt, 505: esm.OutcomeHalt, 511: esm.OutcomeHalt,
		425: esm.OutcomeThrottled, 429: esm.OutcomeThrottled, 503: esm.OutcomeThrottled,
		408: esm.OutcomeFailure, 409: esm.OutcomeFailure, 418: esm.OutcomeFailure, 423: esm.OutcomeFailure, 499: esm.OutcomeFailure,
		500: esm.OutcomeFailure, 502: esm.OutcomeFailure, 504: esm.OutcomeFailure, 507: esm.OutcomeFailure, 599: esm.OutcomeFailure,
	}
	var status int
	inv := invoker(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		if status != 204 && status != 304 {
			_, _ = io.WriteString(w, "the reason")
		}
	}).URL)
	for status = range want {
		err := inv.Invoke(t.Context(), small())
		if got := esm.Classify(t.Context(), err); got != want[status] {
			t.Errorf("%d: %v, want %v: %v", status, got, want[status], err)
		}
		// Both may be about the records, so neither is esm.Halt or esm.Busy.
		says := map[esm.Outcome]string{esm.OutcomeHalt: "the function refuses calls: ", esm.OutcomeThrottled: "the function is throttled: "}[want[status]]
		if err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%d: %q does not say %q", status, err, says)
		}
		var of *esmhttp.StatusError
		if err != nil && (!errors.As(err, &of) || of.Code != status || status != 304 && of.Body != "the reason") {
			t.Errorf("%d: %+v", status, of)
		}
		if of != nil {
			if text, err := json.Marshal(map[string]error{"err": of}); err != nil || !strings.HasPrefix(string(text), `{"err":"esmhttp: `) {
				t.Errorf("%d: as JSON %s, %v", status, text, err)
			}
		}
	}
}

func TestRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		body, _ = io.ReadAll(r.Body)
	})
	inv := invoker(t, server.URL+"/records?tenant=7", esmhttp.WithHeader("authorization", "Bearer secret"), esmhttp.WithHeader("User-Agent", "billing/2"), esmhttp.WithHeader("Host", "records.test"))
	if err := inv.Invoke(t.Context(), small()); err != nil {
		t.Fatal(err)
	}
	if got.Method != http.MethodPost || got.URL.String() != "/records?tenant=7" || got.Host != "records.test" || got.ContentLength != int64(len(body)) {
		t.Errorf("%s %s %s %d", got.Method, got.URL, got.Host, got.ContentLength)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Authorization": "Bearer secret", "User-Agent": "billing/2",
		"Esm-Batch": "b?1", "Esm-Attempt": "2", "Esm-Mapping": "tests", "Esm-Group": "billing"} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	if string(body) != string(small().AppendJSON(nil)) {
		t.Errorf("%s", body)
	}
}

// TestHeadersOfTheContext are in the request, but for what cannot be, and for what is ours.
func TestHeadersOfTheContext(t *testing.T) {
	var got http.Header
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })
	type key struct{}
	inv := invoker(t, server.URL, esmhttp.WithHeader("Tenant", "static"), esmhttp.WithContextHeaders(func(ctx context.Context) map[string]string {
		if ctx.Value(key{}) == nil {
			return nil
		}
		return map[string]string{"traceparent": ctx.Value(key{}).(string), "Tenant": "dynamic", "esm-batch": "mine", "a\r\nb": "x", "": "x", "bad": "a\r\nb"}
	}))
	if err := inv.Invoke(context.WithValue(t.Context(), key{}, "00-1"), small()); err != nil {
		t.Fatal(err)
	}
	if got.Get("Traceparent") != "00-1" || got.Get("Tenant") != "dynamic" || got.Get("Esm-Batch") != "b?1" || got.Get("Bad") != "" {
		t.Errorf("%v", got)
	}
	if err := inv.Invoke(t.Context(), small()); err != nil {
		t.Fatal(err)
	}
	if got.Get("Traceparent") != "" || got.Get("Tenant") != "static" {
		t.Errorf("%v", got)
	}
}

func TestRedirects(t *testing.T) {
	other := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") })
	var posts int
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/there":
			if r.Method != http.MethodPost || len(body) == 0 {
				t.Errorf("%s with %d bytes", r.Method, len(body))
			}
			posts++
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		case "/away":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		default:
			status, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
			http.Redirect(w, r, "/there", status)
		}
	})
	for path, want := range map[string]esm.Outcome{
		"/307": esm.OutcomeSuccess, "/308": esm.OutcomeSuccess,
		"/301": esm.OutcomeHalt, "/302": esm.OutcomeHalt, "/303": esm.OutcomeHalt, "/loop": esm.OutcomeHalt, "/away": esm.OutcomeHalt,
	} {
		err := invoker(t, server.URL+path).Invoke(t.Context(), small())
		if got := esm.Classify(t.Context(), err); got != want {
			t.Errorf("%s: %v, want %v: %v", path, got, want, err)
		}
	}
	if posts != 2 {
		t.Errorf("%d posts arrived", posts)
	}
}

func TestLimits(t *testing.T) {
	release := make(chan struct{})
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/slow":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/large":
			_, _ = w.Write(make([]byte, 4096))
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
		case "/abort":
			panic(http.ErrAbortHandler)
		}
	})
	defer close(release)
	report := esmhttp.WithReportBatchItemFailures(true)
	for _, tt := range []struct {
		name string
		inv  *esmhttp.Invoker
		want esm.Outcome
		says string
	}{
		{"a timeout", invoker(t, server.URL+"/slow", esmhttp.WithTimeout(50*time.Millisecond)), esm.OutcomeFailure, "WithTimeout"},
		{"a large answer that matters", invoker(t, server.URL+"/large", esmhttp.WithMaxAnswer(1024), report), esm.OutcomeFailure, "WithMaxAnswer"},
		{"a large answer that does not", invoker(t, server.URL+"/large", esmhttp.WithMaxAnswer(1024)), esm.OutcomeSuccess, ""},
		{"half an answer that matters", invoker(t, server.URL+"/cut", report), esm.OutcomeFailure, "cut off"},
		{"no answer", invoker(t, server.URL+"/abort"), esm.OutcomeFailure, "EOF"},
	} {
		err := tt.inv.Invoke(t.Context(), small())
		if got := esm.Classify(t.Context(), err); got != tt.want || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %v: %v", tt.name, got, tt.want, err)
		}
	}
	large := &esm.Batch{Records: []*kgo.Record{{Topic: "orders", Value: make([]byte, 2048)}}}
	if err := invoker(t, server.URL, esmhttp.WithMaxRequest(1024)).Invoke(t.Context(), large); esm.Classify(t.Context(), err) != esm.OutcomeTooLarge {
		t.Errorf("a large request: %v", err)
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	for _, url := range []string{gone.URL, secure.URL} {
		if err := invoker(t, url).Invoke(t.Context(), small()); !errors.Is(err, esm.ErrThrottled) {
			t.Errorf("%s: %v", url, err)
		}
	}
	// A server that never agrees on TLS, a proxy that is not there, and a name
	// that nobody knows, with a transport of the host.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := invoker(t, "https://"+silent.Addr().String(), esmhttp.WithTimeout(100*time.Millisecond)).Invoke(t.Context(), small()); !errors.Is(err, esm.ErrThrottled) {
		t.Errorf("no TLS: %v", err)
	}
	// The same, and the Mapping is who waits no longer.
	ctx, done := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, esm.ErrInvokeTimeout)
	defer done()
	if err := invoker(t, "https://"+silent.Addr().String()).Invoke(ctx, small()); !errors.Is(err, esm.ErrThrottled) || !errors.Is(err, esm.ErrInvokeTimeout) {
		t.Errorf("no TLS in the time of the Mapping: %v", err)
	}
	proxy, err := url.Parse(gone.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, transport := range map[string]*http.Transport{
		"proxy": {Proxy: http.ProxyURL(proxy)},
		"name": {DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "billing.test", IsNotFound: true}
		}},
	} {
		if err := invoker(t, "http://billing.test", esmhttp.WithTransport(transport)).Invoke(t.Context(), small()); !errors.Is(err, esm.ErrThrottled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	trust := x509.NewCertPool()
	trust.AddCert(secure.Certificate())
	if err := invoker(t, secure.URL, esmhttp.WithTLS(&tls.Config{RootCAs: trust})).Invoke(t.Context(), small()); err != nil {
		t.Error(err)
	}
	if err := invoker(t, secure.URL, esmhttp.WithTransport(secure.Client().Transport)).Invoke(t.Context(), small()); err != nil {
		t.Error(err)
	}
}

func TestMistakesAreReportedAtOnce(t *testing.T) {
	_, err := esmhttp.New("ftp://host", esmhttp.WithFormat(9), esmhttp.WithEventType(""), esmhttp.WithEventSource("a b"), esmhttp.WithTimeout(0), esmhttp.WithMaxIdleConnections(0),
		esmhttp.WithMaxRequest(1), esmhttp.WithMaxAnswer(1<<40), esmhttp.WithHeader("bad name", "x"), esmhttp.WithHeader("X", "a\nb"),
		esmhttp.WithTransport(nil), esmhttp.WithTLS(&tls.Config{}), nil)
	if err == nil {
		t.Fatal("it took all of them")
	}
	for _, want := range []string{"ftp://host", "Format(9)", "WithEventType", "WithEventSource", "WithTimeout(0s)", "WithMaxIdleConnections(0)", "WithMaxRequest(1)",
		"WithMaxAnswer(1099511627776)", "WithHeader: what is given as a name", `WithHeader("X")`, "WithTransport(nil)", "exclude each other", "nil Option"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
	for _, url := range []string{"", "host:80/path", "http://", "http://host/#part", "http://ho st/"} {
		if _, err := esmhttp.New(url); err == nil {
			t.Errorf("it took %q", url)
		}
	}
	if _, err := esmhttp.New("http://host", esmhttp.WithTransport((*http.Transport)(nil))); err == nil || !strings.Contains(err.Error(), "WithTransport(nil)") {
		t.Errorf("a transport that is a nil pointer: %v", err)
	}
	if _, err := esmhttp.New("http://host", esmhttp.WithFormat(esmhttp.CloudEvent), esmhttp.WithReportBatchItemFailures(true)); err == nil {
		t.Error("it took item failures of single records")
	}
}
