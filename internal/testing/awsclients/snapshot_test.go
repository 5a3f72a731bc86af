package awsclients

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm/awsconfig"
)

// absent are the members of AWS's API that no mapping has here, and why. A member that is
// new in a newer SDK is in no list of these tests, so they fail until it is taken or named
// here.
var absent = map[string]string{
	"DocumentDBEventSourceConfig": "it is DocumentDB's",
	"ParallelizationFactor":       "it is Kinesis's",
	"TumblingWindowInSeconds":     "it is Kinesis's",
	"Queues":                      "it is MQ's",
	"ScalingConfig":               "it is SQS's",
	"DestinationConfig.OnSuccess": "event source mappings have none",
	"FilterCriteria":              "it is not built yet",
	"FilterCriteriaError":         "it is about FilterCriteria",
	"AmazonManagedKafkaEventSourceConfig.SchemaRegistryConfig": "it is not built yet",
	"SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig":   "it is not built yet",
}

// snapshots is the folder of the SDK with a request and an answer of each operation, with
// every member.
func snapshots(t *testing.T) string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/lambda").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(dir))
}

// snapshot is what the SDK has of an operation: the first line and the body. kind is request
// or response.
func snapshot(t *testing.T, op, kind string) (first string, body []byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(snapshots(t), kind+"_snapshot", op+"."+kind+".snap"))
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	if i := strings.Index(rest, "\n\n"); i >= 0 {
		body = []byte(rest[i+2:])
	}
	return first, body
}

// leaves are the values in JSON, by their paths.
func leaves(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var is any
	if err := json.Unmarshal(data, &is); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	all := map[string]any{}
	collect(all, "", is)
	return all
}

func collect(into map[string]any, path string, v any) {
	switch v := v.(type) {
	case object:
		for name, of := range v {
			collect(into, strings.TrimPrefix(path+"."+name, "."), of)
		}
	case []any:
		for i, of := range v {
			collect(into, fmt.Sprintf("%s[%d]", path, i), of)
		}
	default:
		into[path] = v
	}
}

// members are the kinds of leaves by paths that are the same for each element of a list and
// each key of a map.
func members(leaves map[string]any) map[string]reflect.Kind {
	all := map[string]reflect.Kind{}
	for path, v := range leaves {
		parts := strings.Split(path, ".")
		for i, part := range parts {
			name, _, list := strings.Cut(part, "[")
			if list {
				name += "[]"
			}
			if i > 0 && (parts[i-1] == "Endpoints" || parts[i-1] == "Tags") {
				parts[i] = "*" + strings.TrimPrefix(name, strings.TrimSuffix(name, "[]"))
				continue
			}
			parts[i] = name
		}
		all[strings.Join(parts, ".")] = reflect.TypeOf(v).Kind()
	}
	return all
}

// excused returns the entry of absent that a member is in, or "".
func excused(member string) string {
	for name := range absent {
		if rest, ok := strings.CutPrefix(member, name); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return name
		}
	}
	return ""
}

// differences says where what we have is not what the SDK has, but for what is absent.
func differences(sdk, ours map[string]reflect.Kind) (said []string) {
	add := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	for member, kind := range sdk {
		got, ok := ours[member]
		switch why := excused(member); {
		case !ok && why == "":
			add("%s is there in the SDK, and not here", member)
		case ok && why != "":
			add("%s is here, and is said to be absent: %s", member, absent[why])
		case ok && got != kind:
			add("%s is a %v here, and a %v in the SDK", member, got, kind)
		}
	}
	for member := range ours {
		if _, ok := sdk[member]; !ok {
			add("%s is here, and not in the SDK", member)
		}
	}
	slices.Sort(said)
	return said
}

// TestDifferencesAreSeen: a check that cannot fail is none.
func TestDifferencesAreSeen(t *testing.T) {
	t.Parallel()
	sdk := members(leaves(t, []byte(`{"A": 1, "B": {"C": ["x", "y"], "D": [{"E": true}]}, "Tags": {"k": "v"}, "Queues": ["q"]}`)))
	for ours, want := range map[string][]string{
		`{"A": 2, "B": {"C": ["z"], "D": [{"E": false}, {"E": true}]}, "Tags": {"other": ""}}`:       nil,
		`{"A": "2", "B": {"C": ["z"], "D": [{"E": false}]}, "Tags": {"k": "v"}}`:                     {"A is a string here, and a float64 in the SDK"},
		`{"A": 2, "B": {"C": ["z"], "D": [{}], "F": 1}, "Tags": {"k": "v"}}`:                         {"B.D[].E is there in the SDK, and not here", "B.F is here, and not in the SDK"},
		`{"A": 2, "B": {"C": "z", "D": [{"E": true}]}, "Tags": {"k": "v"}}`:                          {"B.C is here, and not in the SDK", "B.C[] is there in the SDK, and not here"},
		`{"A": 2, "B": {"C": ["z"], "D": [{"E": true}]}, "Tags": {"k": "v"}, "Queues": ["another"]}`: {"Queues[] is here, and is said to be absent: it is MQ's"},
	} {
		if got := differences(sdk, members(leaves(t, []byte(ours)))); !slices.Equal(got, want) {
			t.Errorf("%s: %q, and not %q", ours, got, want)
		}
	}
}

// compare fails the test unless what we have of an operation is what the SDK has.
func compare(t *testing.T, what string, sdk, ours map[string]reflect.Kind) {
	t.Helper()
	if len(sdk) < 30 {
		t.Fatalf("%s: the snapshot has only %v", what, sdk)
	}
	for _, said := range differences(sdk, ours) {
		t.Errorf("%s: %s", what, said)
	}
}

// unknown are the members of a body that awsconfig says it does not know.
func unknown(body []byte) (names []string) {
	_, err := awsconfig.ParseJSON(body)
	for _, m := range awsconfig.Mistakes(err) {
		if strings.HasPrefix(m.Bound, "is not known") && !strings.HasPrefix(m.Field, "SelfManagedEventSource.Endpoints.") { // its key is a placeholder
			names = append(names, m.Field)
		}
	}
	slices.Sort(names)
	return names
}

// TestEachMemberOfTheSDKIsKnown: what a request can have is taken, or refused by name.
func TestEachMemberOfTheSDKIsKnown(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"CreateEventSourceMapping", "UpdateEventSourceMapping"} {
		_, body := snapshot(t, op, "request")
		if all := members(leaves(t, body)); len(all) < 30 {
			t.Errorf("%s: the snapshot has only %v", op, all)
		}
		if names := unknown(body); len(names) > 0 {
			t.Errorf("%s: unknown: %s", op, names)
		}
		// A member of tomorrow would be seen, wherever it is.
		for _, in := range []string{"", "AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig", "ProvisionedPollerConfig", "DestinationConfig", "DestinationConfig.OnFailure", "MetricsConfig", "LoggingConfig", "FilterCriteria"} {
			var is object
			if err := json.Unmarshal(body, &is); err != nil {
				t.Fatal(err)
			}
			inner, name := is, "OfTomorrow"
			if in != "" {
				inner, name = at(is, in).(object), in+".OfTomorrow"
			}
			inner["OfTomorrow"] = 1
			if names := unknown(marshal(t, is)); !slices.Equal(names, []string{name}) {
				t.Errorf("%s: %s was added, and unknown is %q", op, name, names)
			}
		}
	}
}

// TestOperationsOfTheSDK: there are no others about mappings.
func TestOperationsOfTheSDK(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(snapshots(t), "request_snapshot", "*.request.snap"))
	if err != nil {
		t.Fatal(err)
	}
	var ops []string
	for _, f := range files {
		op := strings.TrimSuffix(filepath.Base(f), ".request.snap")
		if strings.Contains(op, "EventSource") || strings.Contains(strings.ToLower(op), "tag") {
			ops = append(ops, op)
		}
	}
	want := []string{"CreateEventSourceMapping", "DeleteEventSourceMapping", "GetEventSourceMapping", "ListEventSourceMappings", "ListTags", "TagResource", "UntagResource", "UpdateEventSourceMapping"}
	if !slices.Equal(ops, want) {
		t.Errorf("the SDK has %s, and not %s", ops, want)
	}
}

// everything is a mapping with all that can be said at once of a Kafka of one's own, and of
// MSK what differs. It does not run.
func everything(selfManaged bool) object {
	if !selfManaged {
		return object{
			"FunctionName": "billing", "EventSourceArn": cluster, "Topics": []string{"stock"}, "Enabled": false,
			"AmazonManagedKafkaEventSourceConfig": object{"ConsumerGroupId": "stock"},
		}
	}
	return object{
		"FunctionName": "billing:PROD", "Topics": []string{"orders"}, "Enabled": false,
		"SelfManagedEventSource":            object{"Endpoints": object{"KAFKA_BOOTSTRAP_SERVERS": []string{"b.example.com:9094", "a.example.com:9094"}}},
		"SelfManagedKafkaEventSourceConfig": object{"ConsumerGroupId": "orders", "ConsumptionMode": "Stream"},
		"SourceAccessConfigurations":        []object{{"Type": "SASL_SCRAM_512_AUTH", "URI": "arn:aws:secretsmanager:" + region + ":" + account + ":secret:kafka/billing-a1B2c3"}},
		"StartingPosition":                  "AT_TIMESTAMP", "StartingPositionTimestamp": float64(time.Now().Unix()) - 3600 + .25,
		"BatchSize": 7, "MaximumBatchingWindowInSeconds": 3, "MaximumRetryAttempts": 5, "MaximumRecordAgeInSeconds": 3600,
		"BisectBatchOnFunctionError": true, "FunctionResponseTypes": []string{"ReportBatchItemFailures"},
		"DestinationConfig":       object{"OnFailure": object{"Destination": "kafka://returns"}},
		"ProvisionedPollerConfig": object{"MinimumPollers": 2, "MaximumPollers": 20, "PollerGroupName": "billing-1"},
		"KMSKeyArn":               "arn:aws:kms:" + region + ":" + account + ":key/0a1b2c3d-0000-4000-8000-000000000000",
		"MetricsConfig":           object{"Metrics": []string{"EventCount", "KafkaMetrics"}},
		"LoggingConfig":           object{"SystemLogLevel": "WARN"},
		"Tags":                    object{"team": "orders"},
	}
}

// otherwise is an update of everything that can be changed, to other values.
func otherwise(selfManaged bool) object {
	if !selfManaged {
		return object{"AmazonManagedKafkaEventSourceConfig": object{"ConsumerGroupId": "stock"}}
	}
	return object{
		"FunctionName": "billing", "Enabled": false,
		"SelfManagedKafkaEventSourceConfig": object{"ConsumerGroupId": "orders", "ConsumptionMode": "Stream"},
		"SourceAccessConfigurations":        []object{{"Type": "BASIC_AUTH", "URI": "kafka/billing"}},
		"BatchSize":                         8, "MaximumBatchingWindowInSeconds": 4, "MaximumRetryAttempts": 6, "MaximumRecordAgeInSeconds": 7200,
		"BisectBatchOnFunctionError": false, "FunctionResponseTypes": []string{"ReportBatchItemFailures"},
		"DestinationConfig":       object{"OnFailure": object{"Destination": "kafka://invoices"}},
		"ProvisionedPollerConfig": object{"MinimumPollers": 3, "MaximumPollers": 30, "PollerGroupName": "billing-2"},
		"KMSKeyArn":               "arn:aws:kms:" + region + ":" + account + ":key/0a1b2c3d-0000-4000-8000-000000000001",
		"MetricsConfig":           object{"Metrics": []string{"ErrorCount"}},
		"LoggingConfig":           object{"SystemLogLevel": "DEBUG"},
	}
}

// given fails the test unless an answer gives back all that was set.
func given(t *testing.T, what string, answer, set object) {
	t.Helper()
	is := leaves(t, marshal(t, answer))
	want := leaves(t, marshal(t, set))
	if servers, ok := at(set, "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS").([]string); ok {
		for i, s := range slices.Sorted(slices.Values(servers)) { // as AWS answers
			want[fmt.Sprintf("SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS[%d]", i)] = s
		}
	}
	for path, v := range want {
		if path == "FunctionName" || path == "Enabled" || strings.HasPrefix(path, "Tags.") {
			continue // FunctionArn and State say these, and ListTags
		}
		if is[path] != v {
			t.Errorf("%s: %s was set to %v, and is %v", what, path, v, is[path])
		}
	}
}

// TestAnswersAreAsInTheSDK: the SDK decodes all that was set, and the JSON has the members
// that the SDK's own answers have, of the same kinds, and no others.
func TestAnswersAreAsInTheSDK(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t)
	s := &talk{T: t, e: e, c: goSDK{newSDK(access{url: e.url, unsigned: true})}}
	sent := map[string]map[string]any{"CreateEventSourceMapping": {}, "UpdateEventSourceMapping": {}}
	got := map[string]map[string]any{}
	take := func(op, method, path string, body any) {
		t.Helper()
		answer := s.raw(method, path, body)
		var is struct{ EventSourceMappings []json.RawMessage }
		if op == "ListEventSourceMappings" {
			if err := json.Unmarshal(answer, &is); err != nil {
				t.Fatal(err)
			}
			answer = is.EventSourceMappings[len(is.EventSourceMappings)-1]
		}
		if got[op] == nil {
			got[op] = map[string]any{}
		}
		maps.Copy(got[op], leaves(t, answer))
	}
	for _, selfManaged := range []bool{true, false} {
		const path = "/2015-03-31/event-source-mappings"
		set := everything(selfManaged)
		maps.Copy(sent["CreateEventSourceMapping"], leaves(t, marshal(t, set)))
		made := s.do("CreateEventSourceMapping", set)
		given(t, "made", made, set)
		uuid := made["UUID"].(string)
		given(t, "got", s.becomes(uuid, "Disabled", "Creating", "Disabling"), set)
		change := otherwise(selfManaged)
		maps.Copy(sent["UpdateEventSourceMapping"], leaves(t, marshal(t, change)))
		maps.Copy(set, change)
		change["UUID"] = uuid
		given(t, "changed", s.do("UpdateEventSourceMapping", change), set)
		s.is(s.do("DeleteEventSourceMapping", object{"UUID": uuid}), "State", "Deleting")
		s.gone(uuid)

		take("CreateEventSourceMapping", "POST", path, everything(selfManaged))
		uuid = got["CreateEventSourceMapping"]["UUID"].(string)
		take("GetEventSourceMapping", "GET", path+"/"+uuid, nil)
		take("ListEventSourceMappings", "GET", path, nil)
		take("UpdateEventSourceMapping", "PUT", path+"/"+uuid, otherwise(selfManaged))
		take("DeleteEventSourceMapping", "DELETE", path+"/"+uuid, nil)
	}
	for op, ours := range got {
		_, body := snapshot(t, op, "response")
		if op == "ListEventSourceMappings" {
			var list struct {
				EventSourceMappings []json.RawMessage
				NextMarker          string
			}
			if err := json.Unmarshal(body, &list); err != nil {
				t.Fatal(err)
			}
			body = list.EventSourceMappings[0]
		}
		compare(t, op, members(leaves(t, body)), members(ours))
	}
	for op, ours := range sent {
		_, body := snapshot(t, op, "request")
		compare(t, "the request of "+op, members(leaves(t, body)), members(ours))
	}
	_, body := snapshot(t, "GetEventSourceMapping", "response")
	all := members(leaves(t, body))
	for name := range absent {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(all)), func(m string) bool { return excused(m) == name }) {
			t.Errorf("%s is said to be absent, and the SDK does not have it", name)
		}
	}
}

// raw makes a request without a client, and returns the body of the answer.
func (s *talk) raw(method, path string, body any) []byte {
	s.Helper()
	var send io.Reader
	if body != nil {
		send = strings.NewReader(string(marshal(s.T, body)))
	}
	r, err := http.NewRequestWithContext(s.Context(), method, s.e.url+path, send)
	if err != nil {
		s.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		s.Fatalf("%s %s: %s: %v\n%s", method, path, answer.Status, err, text)
	}
	return text
}

// TestRequestsOfTheSDK sends the first line of each snapshot, with places filled in: the path
// and the parameters are those that the Host takes.
func TestRequestsOfTheSDK(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t)
	s := &talk{T: t, e: e, c: goSDK{newSDK(access{url: e.url, unsigned: true})}}
	var arn, uuid string
	for _, topic := range []string{"orders", "invoices"} {
		made := s.do("CreateEventSourceMapping", object{
			"FunctionName": "billing", "EventSourceArn": cluster, "Topics": []string{topic}, "Enabled": false, "Tags": object{"a": "b"},
		})
		arn, uuid = made["EventSourceMappingArn"].(string), made["UUID"].(string)
	}
	marker := s.do("ListEventSourceMappings", object{"MaxItems": 1})["NextMarker"].(string)
	for _, of := range []struct {
		op     string
		status int
		body   any
		with   []string // the places that it has, and what is there
		finds  string
	}{
		{"GetEventSourceMapping", 200, nil, []string{"__UUID__", uuid}, uuid},
		{"ListEventSourceMappings", 200, nil, []string{"__EventSourceArn__", cluster, "__FunctionName__", "billing", "__Marker__", marker}, uuid},
		{"UpdateEventSourceMapping", 202, object{}, []string{"__UUID__", uuid}, uuid},
		{"TagResource", 204, object{"Tags": object{"c": "d"}}, []string{"__Resource__", arn}, ""},
		{"UntagResource", 204, nil, []string{"__Resource__", arn, "__Member__", "a"}, ""},
		{"ListTags", 200, nil, []string{"__Resource__", arn}, `{"Tags":{"c":"d"}}`},
		{"DeleteEventSourceMapping", 202, nil, []string{"__UUID__", uuid}, uuid},
	} {
		first, _ := snapshot(t, of.op, "request")
		for i := 0; i < len(of.with); i += 2 {
			if !strings.Contains(first, of.with[i]) {
				t.Errorf("%s: %q has no %s", of.op, first, of.with[i])
			}
			first = strings.ReplaceAll(first, of.with[i], url.QueryEscape(of.with[i+1]))
		}
		if strings.Contains(first, "__") {
			t.Errorf("%s: %q has places that nobody knows", of.op, first)
		}
		if _, query, _ := strings.Cut(first, "?"); of.op == "ListEventSourceMappings" {
			q, err := url.ParseQuery(query)
			if names := slices.Sorted(maps.Keys(q)); err != nil || !slices.Equal(names, []string{"EventSourceArn", "FunctionName", "Marker", "MaxItems"}) {
				t.Errorf("%s has the parameters %s: %v", of.op, names, err)
			}
		}
		from := len(e.took(0))
		method, path, _ := strings.Cut(first, " ")
		answer := s.raw(method, path, of.body)
		if took := e.took(from); len(took) != 1 || took[0].status != of.status {
			t.Errorf("%s: %+v, and not the status %d", of.op, took, of.status)
		}
		if !strings.Contains(string(answer), of.finds) || of.finds == "" && len(answer) > 0 {
			t.Errorf("%s: %s, and not %s", of.op, answer, of.finds)
		}
	}
	first, _ := snapshot(t, "CreateEventSourceMapping", "request")
	if first != "POST /2015-03-31/event-source-mappings" {
		t.Errorf("CreateEventSourceMapping: %s", first)
	}
}
