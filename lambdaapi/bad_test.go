package lambdaapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awsconfig"
)

var quiet = slog.New(slog.DiscardHandler)

func does(context.Context, *esm.Batch) error { return nil }

// newHost is a Host that nothing is signed for, with the function billing. It does not run.
func newHost(t *testing.T, with func(*Config)) *Host {
	t.Helper()
	c := Config{
		Store: &Memory{}, Logger: quiet, Secrets: "kafka/",
		Functions: func(_ context.Context, name FunctionName, _ bool) (esm.Invoker, []esm.Option, error) {
			if name.Name != "billing" {
				return nil, nil, ErrNoFunction
			}
			return esm.InvokerFunc(does), nil, nil
		},
		Needs: awsconfig.Host{
			Secrets: awsconfig.SecretsFunc(func(_ context.Context, uri string) ([]byte, error) {
				if uri != "kafka/login" {
					return nil, os.ErrNotExist
				}
				return []byte(`{"username": "billing", "password": "wedding"}`), nil
			}),
			Destination: func(_ context.Context, name string) (esm.Destination, error) {
				if name != "kafka://failed" {
					return nil, errors.New("no such destination")
				}
				return esm.Drop, nil
			},
		},
	}
	if with != nil {
		with(&c)
	}
	h, err := NewHost(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A reply is what came of a request.
type reply struct {
	status int
	code   string // x-amzn-ErrorType
	body   map[string]any
}

// text is that of an error, under either key.
func (r reply) text() string {
	for _, key := range []string{"message", "Message"} {
		if s, ok := r.body[key].(string); ok {
			return s
		}
	}
	return ""
}

// ask asks a Host from its own machine.
func ask(t *testing.T, h http.Handler, method, path, body string) reply {
	t.Helper()
	r := httptest.NewRequest(method, "http://localhost:9001"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:50000"
	r.Header.Set("Content-Type", "application/json")
	return send(t, h, r)
}

func send(t *testing.T, h http.Handler, r *http.Request) reply {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	is := reply{status: w.Code, code: w.Header().Get("x-amzn-ErrorType")}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &is.body); err != nil {
			t.Errorf("%s %s answers with no object: %s", r.Method, r.URL, w.Body)
		}
	}
	if w.Header().Get("x-amzn-RequestId") == "" || w.Code >= 400 && (is.code == "" || is.text() == "") {
		t.Errorf("%s %s: an answer lacks a part: %v %v", r.Method, r.URL, w.Header(), is.body)
	}
	return is
}

// mapping is the input of a mapping, with changes; nil removes a parameter.
func mapping(changes map[string]any) string {
	is := map[string]any{
		"FunctionName": "billing", "Topics": []string{"orders"}, "StartingPosition": "TRIM_HORIZON",
		"SelfManagedEventSource":  map[string]any{"Endpoints": map[string]any{"KAFKA_BOOTSTRAP_SERVERS": []string{"localhost:9092"}}},
		"ProvisionedPollerConfig": map[string]any{"MinimumPollers": 1, "MaximumPollers": 20},
	}
	maps.Copy(is, changes)
	maps.DeleteFunc(is, func(_ string, v any) bool { return v == nil })
	text, _ := json.Marshal(is)
	return string(text)
}

type fields = map[string]any

// TestBadInput is answered with an error as AWS's, which says what is wrong, and nothing is
// stored.
func TestBadInput(t *testing.T) {
	const mappings = "/2015-03-31/event-source-mappings"
	access := func(kind, uri string) fields {
		return fields{"SourceAccessConfigurations": []fields{{"Type": kind, "URI": uri}}}
	}
	const wrong, malformed, none = "InvalidParameterValueException", "ValidationException", "ResourceNotFoundException"
	stranger := newUUID()
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		code, says               string
	}{
		{"no JSON", "POST", mappings, `{"FunctionName":`, 400, wrong, "the document ends too early"},
		{"a list", "POST", mappings, `[]`, 400, wrong, "must be an object"},
		{"nothing", "POST", mappings, ``, 400, wrong, "the document ends too early"},
		{"twice", "POST", mappings, `{"BatchSize": 1, "BatchSize": 2}`, 400, wrong, "BatchSize"},
		{"no function", "POST", mappings, mapping(fields{"FunctionName": nil}), 400, wrong, "FunctionName"},
		{"a function that is none", "POST", mappings, mapping(fields{"FunctionName": "a b"}), 400, wrong, "FunctionName"},
		{"a function of nobody", "POST", mappings, mapping(fields{"FunctionName": "shipping"}), 400, wrong, "no function arn:aws:lambda:us-east-1:000000000000:function:shipping"},
		{"no source", "POST", mappings, mapping(fields{"SelfManagedEventSource": nil}), 400, wrong, "SelfManagedEventSource"},
		{"two sources", "POST", mappings, mapping(fields{"EventSourceArn": "arn:aws:kafka:us-east-1:123456789012:cluster/a/1"}), 400, wrong, "EventSourceArn"},
		{"a queue", "POST", mappings, mapping(fields{"SelfManagedEventSource": nil, "EventSourceArn": "arn:aws:sqs:us-east-1:123456789012:a"}), 400, wrong, "EventSourceArn"},
		{"a server without port", "POST", mappings, mapping(fields{"SelfManagedEventSource": fields{"Endpoints": fields{"KAFKA_BOOTSTRAP_SERVERS": []string{"localhost"}}}}), 400, wrong, "localhost"},
		{"no topic", "POST", mappings, mapping(fields{"Topics": nil}), 400, wrong, "Topics"},
		{"two topics", "POST", mappings, mapping(fields{"Topics": []string{"orders", "bills"}}), 400, wrong, "Topics"},
		{"a position that is none", "POST", mappings, mapping(fields{"StartingPosition": "MIDDLE"}), 400, wrong, "TRIM_HORIZON"},
		{"a time without a time", "POST", mappings, mapping(fields{"StartingPosition": "AT_TIMESTAMP"}), 400, wrong, "StartingPositionTimestamp"},
		{"a batch of 10,001", "POST", mappings, mapping(fields{"BatchSize": 10_001}), 400, wrong, "10,000"},
		{"a batch of text", "POST", mappings, mapping(fields{"BatchSize": "100"}), 400, wrong, "BatchSize"},
		{"a window of 301 s", "POST", mappings, mapping(fields{"MaximumBatchingWindowInSeconds": 301}), 400, wrong, "300"},
		{"more at least than at most", "POST", mappings, mapping(fields{"ProvisionedPollerConfig": fields{"MinimumPollers": 20, "MaximumPollers": 10}}), 400, wrong, "MaximumPollers"},
		{"201 pollers at least", "POST", mappings, mapping(fields{"ProvisionedPollerConfig": fields{"MinimumPollers": 201}}), 400, wrong, "200"},
		{"retries on demand", "POST", mappings, mapping(fields{"ProvisionedPollerConfig": nil, "MaximumRetryAttempts": 3}), 400, wrong, "MaximumRetryAttempts"},
		{"filters", "POST", mappings, mapping(fields{"FilterCriteria": fields{"Filters": []fields{{"Pattern": "{}"}}}}), 400, wrong, "FilterCriteria"},
		{"a field of SQS", "POST", mappings, mapping(fields{"ScalingConfig": fields{"MaximumConcurrency": 2}}), 400, wrong, "ScalingConfig"},
		{"a field of nobody", "POST", mappings, mapping(fields{"Bachsize": 1}), 400, wrong, "Bachsize"},
		{"a tag of a kilobyte", "POST", mappings, mapping(fields{"Tags": fields{"a": strings.Repeat("b", 1000)}}), 400, wrong, "Tags"},
		{"the host's own identity", "POST", mappings, mapping(fields{"SourceAccessConfigurations": []fields{{"Type": "IAM_AUTH"}}}), 400, wrong, "Config.IAMBrokers does not have the broker"},
		{"the host's own token", "POST", mappings, mapping(fields{"SourceAccessConfigurations": []fields{{"Type": "IAM_OAUTHBEARER_AUTH"}, {"Type": "OAUTHBEARER_AUDIENCE", "URI": "a"}}}), 400, wrong, "Config.IAMBrokers does not have the broker"},
		{"a secret of the host", "POST", mappings, mapping(access("BASIC_AUTH", "admin/login")), 400, wrong, `the secret "admin/login" is not one that requests may name`},
		{"a way out of the prefix", "POST", mappings, mapping(access("BASIC_AUTH", "kafka/../admin/login")), 400, wrong, "is not one that requests may name"},
		{"a way out on Windows", "POST", mappings, mapping(access("BASIC_AUTH", `kafka/..\admin`)), 400, wrong, "SourceAccessConfigurations[0].URI"},
		{"a secret that is not there", "POST", mappings, mapping(access("BASIC_AUTH", "kafka/other")), 400, wrong, "SourceAccessConfigurations[0].URI"},
		{"a destination that is not there", "POST", mappings, mapping(fields{"DestinationConfig": fields{"OnFailure": fields{"Destination": "kafka://elsewhere"}}}), 400, wrong, "no such destination"},
		{"all at once", "POST", mappings, mapping(fields{"BatchSize": 0, "Topics": []string{}, "MaximumRetryAttempts": -2}), 400, wrong, "BatchSize"},

		{"a UUID that is none", "GET", mappings + "/orders", ``, 400, malformed, "36"},
		{"a stranger", "GET", mappings + "/" + stranger, ``, 404, none, stranger},
		{"an update of a stranger", "PUT", mappings + "/" + stranger, `{}`, 404, none, stranger},
		{"a stranger is deleted", "DELETE", mappings + "/" + stranger, ``, 404, none, stranger},
		{"another operation", "PATCH", mappings, `{}`, 404, "UnknownOperationException", "operation"},
		{"another API", "GET", "/2015-03-31/functions", ``, 404, "UnknownOperationException", "event source mappings"},
		{"a longer path", "GET", mappings + "/" + stranger + "/more", ``, 404, "UnknownOperationException", "operation"},
		{"a longer name", "GET", mappings + "s", ``, 404, "UnknownOperationException", "operation"},
		{"no page", "GET", mappings + "?MaxItems=0", ``, 400, malformed, "MaxItems"},
		{"a page of text", "GET", mappings + "?MaxItems=ten", ``, 400, malformed, "MaxItems"},
		{"a marker of nobody", "GET", mappings + "?Marker=orders", ``, 400, wrong, "Marker"},
		{"a function that is none in a list", "GET", mappings + "?FunctionName=a%20b", ``, 400, malformed, "FunctionName"},
		{"tags of a function", "GET", "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:billing", ``, 400, wrong, "event source mapping"},
		{"tags of a stranger", "GET", "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + stranger, ``, 404, none, stranger},
		{"tags of another account", "GET", "/2017-03-31/tags/arn:aws:lambda:us-east-1:123456789012:event-source-mapping:" + stranger, ``, 404, none, stranger},
		{"tags in other letters", "POST", "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + stranger, `{"tags": {"a": "b"}}`, 400, malformed, "Tags"},
		{"a tag of null", "POST", "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + stranger, `{"Tags": {"a": null}}`, 400, malformed, "null"},
		{"no tags", "POST", "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + stranger, `{}`, 400, malformed, "Tags"},
		{"no keys", "DELETE", "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + stranger, ``, 400, malformed, "tagKeys"},
		{"other tags", "PUT", "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + stranger, `{}`, 404, "UnknownOperationException", "operation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, nil)
			is := ask(t, h, tt.method, tt.path, tt.body)
			if is.status != tt.status || is.code != tt.code || !strings.Contains(is.text(), tt.says) {
				t.Errorf("%d %s: %s; want %d %s: %s", is.status, is.code, is.text(), tt.status, tt.code, tt.says)
			}
			if is.body["Type"] != "User" {
				t.Errorf("its Type is %v", is.body["Type"])
			}
			if all, _ := h.store.All(t.Context()); len(all) > 0 {
				t.Errorf("it is stored: %v", all)
			}
		})
	}
}

// TestAWrongUpdateChangesNothing, and says what is wrong with it.
func TestAWrongUpdateChangesNothing(t *testing.T) {
	const mappings = "/2015-03-31/event-source-mappings/"
	for _, tt := range []struct{ name, body, says string }{
		{"no JSON", `{`, "JSON"},
		{"a list", `[]`, "object"},
		{"another topic", `{"Topics": ["bills"]}`, "Topics cannot be changed"},
		{"other brokers", `{"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["localhost:9093"]}}}`, "SelfManagedEventSource cannot be changed"},
		{"another position", `{"StartingPosition": "LATEST"}`, "StartingPosition cannot be changed"},
		{"tags", `{"Tags": {"a": "b"}}`, "TagResource"},
		{"a member twice", `{"BatchSize": 7, "BatchSize": 8}`, "BatchSize is there twice"},
		{"a bound twice", `{"ProvisionedPollerConfig": {"MinimumPollers": 2, "MinimumPollers": 3}}`, "each member once"},
		{"another group", `{"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "other"}}`, "ConsumerGroupId cannot be changed"},
		{"another mode", `{"SelfManagedKafkaEventSourceConfig": {"ConsumptionMode": "Queue"}}`, "ConsumptionMode cannot be changed"},
		{"a group of a list", `{"SelfManagedKafkaEventSourceConfig": []}`, "must be an object"},
		{"pollers of text", `{"ProvisionedPollerConfig": "10"}`, "must be an object"},
		{"more at least than there are at most", `{"ProvisionedPollerConfig": {"MinimumPollers": 30}}`, "MinimumPollers, which is 30"},
		{"on demand with retries", `{"ProvisionedPollerConfig": {}}`, "MaximumRetryAttempts"},
		{"a batch of 0", `{"BatchSize": 0}`, "BatchSize"},
		{"one good, one bad", `{"BatchSize": 7, "MaximumRecordAgeInSeconds": 59}`, "604,800"},
		{"a function of nobody", `{"FunctionName": "shipping"}`, "no function"},
		{"a function that is none", `{"FunctionName": "arn:aws:lambda:nowhere:1:function:billing"}`, "FunctionName"},
		{"the host's own identity", `{"SourceAccessConfigurations": [{"Type": "IAM_AUTH"}]}`, "IAMBrokers"},
		{"a secret of the host", `{"SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": "admin/login"}]}`, "admin/login"},
		{"a destination of nobody", `{"DestinationConfig": {"OnFailure": {"Destination": "kafka://elsewhere"}}}`, "no such destination"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, nil)
			made := ask(t, h, "POST", mappings, mapping(fields{"MaximumRetryAttempts": 3}))
			uuid, _ := made.body["UUID"].(string)
			was, _ := h.store.All(t.Context())
			is := ask(t, h, "PUT", mappings+uuid, tt.body)
			if is.status != 400 || !strings.Contains(is.text(), tt.says) {
				t.Errorf("%d %s: %s; want %s", is.status, is.code, is.text(), tt.says)
			}
			all, _ := h.store.All(t.Context())
			a, _ := json.Marshal(was)
			if b, _ := json.Marshal(all); string(a) != string(b) {
				t.Errorf("it was %s and is %s", a, b)
			}
		})
	}
}

// TestAnUpdate keeps what is absent, and clears what is empty.
func TestAnUpdate(t *testing.T) {
	const mappings = "/2015-03-31/event-source-mappings/"
	with := fields{
		"MaximumRetryAttempts": 3, "MaximumRecordAgeInSeconds": 600, "BisectBatchOnFunctionError": true, "BatchSize": 7, "KMSKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1",
		"FunctionResponseTypes": []string{"ReportBatchItemFailures"}, "DestinationConfig": fields{"OnFailure": fields{"Destination": "kafka://failed"}},
		"SourceAccessConfigurations": []fields{{"Type": "SASL_SCRAM_256_AUTH", "URI": "kafka/login"}},
		"ProvisionedPollerConfig":    fields{"MinimumPollers": 2, "MaximumPollers": 20, "PollerGroupName": "bills"},
	}
	for _, tt := range []struct {
		name, body, field, want string
		replaced                int64
	}{
		{"nothing", `{}`, "BatchSize", `7`, 0},
		{"no body", ``, "BatchSize", `7`, 0},
		{"null", `{"BatchSize": null, "ProvisionedPollerConfig": null, "Topics": null}`, "BatchSize", `7`, 0},
		{"a batch", `{"BatchSize": 9}`, "BatchSize", `9`, 0},
		{"a bound", `{"ProvisionedPollerConfig": {"MinimumPollers": 5}}`, "ProvisionedPollerConfig", `{"MaximumPollers":20,"MinimumPollers":5,"PollerGroupName":"bills"}`, 0},
		{"a bound is null", `{"ProvisionedPollerConfig": {"MinimumPollers": 5, "MaximumPollers": null}}`, "ProvisionedPollerConfig", `{"MaximumPollers":20,"MinimumPollers":5,"PollerGroupName":"bills"}`, 0},
		{"no group of pollers", `{"ProvisionedPollerConfig": {"PollerGroupName": ""}}`, "ProvisionedPollerConfig", `{"MaximumPollers":20,"MinimumPollers":2}`, 0},
		{"any number of retries", `{"MaximumRetryAttempts": -1}`, "MaximumRetryAttempts", `-1`, 0},
		{"no destination", `{"DestinationConfig": {}}`, "DestinationConfig", `null`, 0},
		{"no destination, as the Go SDK says", `{"DestinationConfig": {"OnFailure": {}}}`, "DestinationConfig", `null`, 0},
		{"no destination, as Terraform says", `{"DestinationConfig": {"OnFailure": {"Destination": ""}}}`, "DestinationConfig", `null`, 0},
		{"no filters", `{"FilterCriteria": {}}`, "FilterCriteria", `null`, 0},
		{"no key", `{"KMSKeyArn": ""}`, "KMSKeyArn", `null`, 0},
		{"no response types", `{"FunctionResponseTypes": []}`, "FunctionResponseTypes", `null`, 1},
		{"no login", `{"SourceAccessConfigurations": []}`, "SourceAccessConfigurations", `null`, 1},
		{"the group that it has", `{"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "UUID", "ConsumptionMode": "Stream"}}`, "SelfManagedKafkaEventSourceConfig", `{"ConsumerGroupId":"UUID"}`, 0},
		{"the function that it has", `{"FunctionName": "arn:aws:lambda:us-east-1:000000000000:function:billing"}`, "FunctionArn", `"arn:aws:lambda:us-east-1:000000000000:function:billing"`, 0},
		{"another alias", `{"FunctionName": "billing:PROD"}`, "FunctionArn", `"arn:aws:lambda:us-east-1:000000000000:function:billing:PROD"`, 1},
		{"on demand", `{"ProvisionedPollerConfig": {}, "MaximumRetryAttempts": -1, "MaximumRecordAgeInSeconds": -1, "BisectBatchOnFunctionError": false, "FunctionResponseTypes": [], "DestinationConfig": {}}`, "ProvisionedPollerConfig", `null`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, nil)
			made := ask(t, h, "POST", mappings, mapping(with))
			uuid, _ := made.body["UUID"].(string)
			is := ask(t, h, "PUT", mappings+uuid, strings.ReplaceAll(tt.body, "UUID", uuid))
			if is.status != 202 || is.body["State"] != "Updating" {
				t.Fatalf("%d %v: %s", is.status, is.body["State"], is.text())
			}
			got, _ := json.Marshal(ask(t, h, "GET", mappings+uuid, "").body[tt.field])
			if want := strings.ReplaceAll(tt.want, "UUID", uuid); string(got) != want {
				t.Errorf("%s is %s, want %s", tt.field, got, want)
			}
			all, _ := h.store.All(t.Context())
			if r := all[uuid]; r.Replaced != tt.replaced || r.Version != 1 {
				t.Errorf("it takes %d new Mappings, want %d; version %d", r.Replaced, tt.replaced, r.Version)
			}
		})
	}
}

// TestWhoMayAsk: nobody but clients of this machine, where nothing is signed.
func TestWhoMayAsk(t *testing.T) {
	const from = "127.0.0.1:50000"
	remote := func(c *Config) { c.AllowRemote = true }
	named := func(c *Config) { c.Hostnames = []string{"Mappings.example.com"} }
	for _, tt := range []struct {
		name, from, host string
		header           [2]string
		with             func(*Config)
		status           int
	}{
		{"this machine", from, "localhost:9001", [2]string{}, nil, 202},
		{"by address", from, "127.0.0.1:9001", [2]string{}, nil, 202},
		{"by IPv6", "[::1]:50000", "[::1]:9001", [2]string{}, nil, 202},
		{"without a port", from, "LOCALHOST", [2]string{}, nil, 202},
		{"another machine", "192.0.2.1:50000", "localhost:9001", [2]string{}, nil, 403},
		{"nobody", "", "localhost:9001", [2]string{}, nil, 403},
		{"another machine that may", "192.0.2.1:50000", "192.0.2.2:9001", [2]string{}, remote, 202},
		{"an address of this machine's", from, "192.0.2.2:9001", [2]string{}, nil, 403},
		{"a name of somebody else's", from, "evil.example.com:9001", [2]string{}, nil, 403},
		{"the same where all may", from, "evil.example.com:9001", [2]string{}, remote, 403},
		{"a name of its own", from, "mappings.EXAMPLE.com", [2]string{}, named, 202},
		{"a name that ends so", from, "xmappings.example.com", [2]string{}, named, 403},
		{"a page", from, "localhost:9001", [2]string{"Origin", "https://evil.example.com"}, nil, 403},
		{"a page without a name", from, "localhost:9001", [2]string{"Origin", "null"}, nil, 403},
		{"a page of another site", from, "localhost:9001", [2]string{"Sec-Fetch-Site", "cross-site"}, nil, 403},
		{"a page of this site", from, "localhost:9001", [2]string{"Sec-Fetch-Site", "same-origin"}, nil, 403},
		{"what somebody typed", from, "localhost:9001", [2]string{"Sec-Fetch-Site", "none"}, nil, 202},
		{"a form", from, "localhost:9001", [2]string{"Content-Type", "text/plain"}, nil, 403},
		{"a form of the other kind", from, "localhost:9001", [2]string{"Content-Type", "application/x-www-form-urlencoded"}, nil, 403},
		{"no kind", from, "localhost:9001", [2]string{"Content-Type", ""}, nil, 403},
		{"with its charset", from, "localhost:9001", [2]string{"Content-Type", "application/json; charset=utf-8"}, nil, 202},
		{"by a proxy", from, "localhost:9001", [2]string{"X-Forwarded-For", "192.0.2.1"}, nil, 403},
		{"by a proxy of the other kind", from, "localhost:9001", [2]string{"Forwarded", "for=192.0.2.1"}, nil, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, tt.with)
			r := httptest.NewRequest("POST", "http://localhost/2015-03-31/event-source-mappings", strings.NewReader(mapping(nil)))
			r.RemoteAddr, r.Host = tt.from, tt.host
			r.Header.Set("Content-Type", "application/json")
			if tt.header[0] != "" {
				r.Header.Set(tt.header[0], tt.header[1])
			}
			is := send(t, h, r)
			if is.status != tt.status {
				t.Errorf("%d %s: %s", is.status, is.code, is.text())
			}
			if all, _ := h.store.All(t.Context()); (len(all) == 1) != (tt.status == 202) {
				t.Errorf("%d are stored", len(all))
			}
		})
	}
}

// TestABodyOfAnySize is not read.
func TestABodyOfAnySize(t *testing.T) {
	h := newHost(t, nil)
	r := httptest.NewRequest("POST", "http://localhost/2015-03-31/event-source-mappings", io.LimitReader(spaces{}, 1<<40))
	r.RemoteAddr = "127.0.0.1:50000"
	if is := send(t, h, r); is.status != 413 {
		t.Errorf("%d %s: %s", is.status, is.code, is.text())
	}
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// TestPages have every mapping once, whatever is made and deleted meanwhile.
func TestPages(t *testing.T) {
	const mappings = "/2015-03-31/event-source-mappings"
	h := newHost(t, nil)
	want := map[string]bool{}
	first := ""
	for i := range 7 {
		is := ask(t, h, "POST", mappings, mapping(fields{"Topics": []string{"orders-" + string(rune('a'+i))}}))
		uuid, _ := is.body["UUID"].(string)
		if want[uuid] = true; i == 0 {
			first = uuid
		}
	}
	seen := map[string]bool{}
	marker, pages := "", 0
	for {
		is := ask(t, h, "GET", mappings+"/?MaxItems=3&FunctionName=billing&Marker="+marker, "")
		page, _ := is.body["EventSourceMappings"].([]any)
		for _, m := range page {
			uuid, _ := m.(map[string]any)["UUID"].(string)
			if seen[uuid] {
				t.Errorf("%s comes twice", uuid)
			}
			seen[uuid] = true
		}
		if pages++; pages == 1 {
			ask(t, h, "DELETE", mappings+"/"+first, "")
		}
		if marker, _ = is.body["NextMarker"].(string); marker == "" {
			break
		}
	}
	if !maps.Equal(seen, want) || pages != 3 {
		t.Errorf("%d of %d on %d pages", len(seen), len(want), pages)
	}
	for query, n := range map[string]int{"FunctionName=other": 0, "FunctionName=billing:PROD": 0, "FunctionName=000000000000:function:billing": 7, "EventSourceArn=arn:aws:kafka:us-east-1:123456789012:cluster/a/1": 0, "": 7} {
		is := ask(t, h, "GET", mappings+"?"+query, "")
		if page, ok := is.body["EventSourceMappings"].([]any); !ok || len(page) != n {
			t.Errorf("%s: %v", query, is.body)
		}
	}
}
