package awsconfig

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// least is the smallest mapping that there is.
const least = `{
	"FunctionName": "billing",
	"Topics": ["orders"],
	"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka.test:9092"]}}
}`

// with is the smallest mapping with other members, in their order: a name and its JSON. A
// member whose JSON is "" is taken away.
func with(t *testing.T, members ...string) []byte {
	t.Helper()
	v, err := readJSON([]byte(least))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(members); i += 2 {
		if members[i+1] == "" {
			v.object().take(members[i])
			continue
		}
		m, err := readJSON([]byte(members[i+1]))
		if err != nil {
			t.Fatalf("%s: %v", members[i+1], err)
		}
		v.object().set(members[i], m)
	}
	return []byte(v.String())
}

const msk = `"arn:aws:kafka:us-east-1:123456789012:cluster/orders/751d2973-a626-431c-9d4e-d7975eb44dd7-2"`

// full is a mapping with all that this library takes.
func full(t *testing.T) []byte {
	return with(t,
		"SelfManagedKafkaEventSourceConfig", `{"ConsumerGroupId": "billing group", "ConsumptionMode": "Stream"}`,
		"SourceAccessConfigurations", `[{"Type": "SASL_SCRAM_512_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:123456789012:secret:kafka"},
			{"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": "ca"}, {"Type": "VPC_SUBNET", "URI": "subnet:subnet-1"}, {"Type": "VPC_SUBNET", "URI": "subnet:subnet-2"},
			{"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-1"}]`,
		"StartingPosition", `"AT_TIMESTAMP"`, "StartingPositionTimestamp", "1795600800.25", "Enabled", "false", "BatchSize", "500",
		"MaximumBatchingWindowInSeconds", "0", "KMSKeyArn", `"arn:aws:kms:us-east-1:123456789012:key/1234"`,
		"ProvisionedPollerConfig", `{"MinimumPollers": 2, "MaximumPollers": 20, "PollerGroupName": "cheap"}`,
		"MaximumRetryAttempts", "3", "MaximumRecordAgeInSeconds", "3600", "BisectBatchOnFunctionError", "true",
		"FunctionResponseTypes", `["ReportBatchItemFailures"]`, "DestinationConfig", `{"OnFailure": {"Destination": "kafka://orders.failed"}}`,
		"MetricsConfig", `{"Metrics": ["EventCount", "KafkaMetrics"]}`, "LoggingConfig", `{"SystemLogLevel": "INFO"}`, "Tags", `{"team": "billing"}`)
}

// The time of StartingPositionTimestamp in full is in 2026; a test that runs before is
// wrong about it.
func init() {
	if time.Now().Before(time.Unix(1795600801, 0)) {
		panic("the clock is wrong")
	}
}

// same compares two documents of JSON.
func same(t *testing.T, got, want []byte) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("it is\n%s\nand should be\n%s", got, want)
	}
}

// TestWhatIsReadIsWritten: the JSON of a Config is what it was read from.
func TestWhatIsReadIsWritten(t *testing.T) {
	for _, in := range [][]byte{[]byte(least), full(t), with(t, "EventSourceArn", msk, "SelfManagedEventSource", "")} {
		c, err := ParseJSON(in)
		if err != nil {
			t.Fatal(err)
		}
		out, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		same(t, out, in)
		var again Config
		if err := json.Unmarshal(out, &again); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("read again it is %+v, %v", again, err)
		}
	}
}

// TestEveryFieldIsRead: full has all fields of a Config, so that none of them can be
// forgotten in what reads or writes one, but for those that are refused.
func TestEveryFieldIsRead(t *testing.T) {
	c, err := ParseJSON(full(t))
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		beside := name == "EventSourceArn" || name == "AmazonManagedKafkaEventSourceConfig" || name == "FilterCriteria"
		if v.Field(i).IsZero() != beside {
			t.Errorf("%s is %v", name, v.Field(i))
		}
	}
	if at := c.StartingPositionTimestamp; !at.Equal(time.Unix(1795600800, 250_000_000)) {
		t.Errorf("the time is %v", at)
	}
}

// TestTheInputOfTheSDKIsTheSame as the JSON that the SDK makes of it.
func TestTheInputOfTheSDKIsTheSame(t *testing.T) {
	in := &lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String("billing"), Topics: []string{"orders"}, BatchSize: aws.Int32(500), Enabled: aws.Bool(true),
		SelfManagedEventSource: &types.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": {"kafka.test:9092"}}},
		StartingPosition:       types.EventSourcePositionAtTimestamp, StartingPositionTimestamp: aws.Time(time.Unix(1795600800, 0)),
		SourceAccessConfigurations: []types.SourceAccessConfiguration{{Type: types.SourceAccessTypeBasicAuth, URI: aws.String("login")}},
		ProvisionedPollerConfig:    &types.ProvisionedPollerConfig{MinimumPollers: aws.Int32(2)},
		Tags:                       map[string]string{"team": "billing"},
	}
	c, err := FromInput(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	same(t, out, with(t, "BatchSize", "500", "Enabled", "true", "StartingPosition", `"AT_TIMESTAMP"`, "StartingPositionTimestamp", "1795600800",
		"SourceAccessConfigurations", `[{"Type": "BASIC_AUTH", "URI": "login"}]`, "ProvisionedPollerConfig", `{"MinimumPollers": 2}`, "Tags", `{"team": "billing"}`))

	in.ParallelizationFactor = aws.Int32(2)
	if _, err := FromInput(in); err == nil || !strings.Contains(err.Error(), "ParallelizationFactor: 2 is a parameter of Kinesis") {
		t.Errorf("of a parameter of Kinesis it says %v", err)
	}
	if _, err := FromInput(nil); err == nil {
		t.Error("nothing is taken for an input")
	}
}

// TestTheSnapshotOfTheSDK: the SDK has a request with all parameters that there are. Each is
// known here: it is read, or refused by its own name.
func TestTheSnapshotOfTheSDK(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/lambda").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "request_snapshot", "CreateEventSourceMapping.request.snap"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, found := strings.Cut(string(text), "\n{")
	if !found {
		t.Fatalf("there is no body in %s", text)
	}
	_, err = ParseJSON([]byte("{" + body))
	refused := map[string]bool{}
	for _, m := range Mistakes(err) {
		if strings.Contains(m.Bound, "is not known") && m.Field != "SelfManagedEventSource.Endpoints.key0" {
			t.Errorf("a parameter is not known: %v", m)
		}
		refused[m.Field] = true
	}
	for name := range sources {
		if !refused[name] {
			t.Errorf("%s is not refused", name)
		}
	}
	in := reflect.TypeFor[lambda.CreateEventSourceMappingInput]()
	for i := range in.NumField() {
		name := in.Field(i).Name
		_, has := reflect.TypeFor[Config]().FieldByName(name)
		if in.Field(i).IsExported() && !has && sources[name] == "" {
			t.Errorf("the SDK has a parameter %s, which is neither read nor refused", name)
		}
	}
}

// TestASkeletonWithoutTheRest: what the AWS CLI writes for other sources may stay where it
// is empty.
func TestASkeletonWithoutTheRest(t *testing.T) {
	if _, err := ParseJSON(with(t, "ParallelizationFactor", "0", "TumblingWindowInSeconds", "0", "Queues", `[""]`, "ScalingConfig", `{"MaximumConcurrency": 0}`,
		"DocumentDBEventSourceConfig", `{"DatabaseName": "", "CollectionName": "", "FullDocument": "UpdateLookup"}`, "KMSKeyArn", `""`, "EventSourceArn", `""`)); err != nil {
		t.Error(err)
	}
	if _, err := ParseJSON(with(t, "Queues", `["orders"]`)); err == nil || !strings.Contains(err.Error(), "Amazon MQ") {
		t.Errorf("of a queue it says %v", err)
	}
}

// TestWhatCannotBeReadIsSaidOnce, and not again for what is in it.
func TestWhatCannotBeReadIsSaidOnce(t *testing.T) {
	for field, in := range map[string]string{"SelfManagedEventSource.Endpoints": `{"Endpoints": "kafka.test:9092"}`, "SelfManagedEventSource": `"kafka.test:9092"`} {
		_, err := ParseJSON(with(t, "SelfManagedEventSource", in))
		if said := Mistakes(err); len(said) != 1 || said[0].Field != field {
			t.Errorf("%s: it says %v", in, err)
		}
	}
}

// TestNullIsNothing, as for AWS.
func TestNullIsNothing(t *testing.T) {
	c, err := ParseJSON(with(t, "BatchSize", "null", "ProvisionedPollerConfig", "null", "StartingPositionTimestamp", "null", "Tags", "null"))
	if err != nil {
		t.Fatal(err)
	}
	out, _ := json.Marshal(c)
	same(t, out, []byte(least))
}

// TestDocumentsThatAreNone say where they end to be one.
func TestDocumentsThatAreNone(t *testing.T) {
	for _, tt := range []struct{ what, in, want string }{
		{"nothing", "", "ends too early"},
		{"half", `{"FunctionName": "bil`, "ends too early"},
		{"no end", `{"FunctionName": "a"`, "ends too early"},
		{"two", `{} {}`, "line 1: there is more after the document"},
		{"a list", `[]`, "must be an object"},
		{"a word", "{\n\"a\": tru}", "line 2"},
		{"twice", "{\"Topics\": [],\n \"Topics\": []}", "Topics (line 2): is there twice"},
		{"deep", strings.Repeat(`{"a":`, 100), "nested more than 64 deep"},
	} {
		if _, err := ParseJSON([]byte(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(least))
	f.Add([]byte(`{"Topics": [null], "StartingPositionTimestamp": 1e400, "BatchSize": -0.5, "SelfManagedEventSource": {"Endpoints": []}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ParseJSON(in)
		if err != nil {
			for _, m := range Mistakes(err) {
				if m.Bound == "" || len(m.Value) > 2*mostShown {
					t.Errorf("a mistake that says nothing, or too much: %#v", m)
				}
			}
			return
		}
		out, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseJSON(out)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%s is read again as %+v, %v", out, again, err)
		}
	})
}
