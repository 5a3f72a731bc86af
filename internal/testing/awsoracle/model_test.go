package awsoracle

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm/awsconfig"
)

// A field is one of the model's request, or of what is in one. Path has [] for the elements
// of a list, {} for the values of a map and {key} for its keys.
type field struct {
	Path, Shape, Type string
	Min, Max          *int
	Pattern           string
	Enum              []string
}

// judgedByModel asks the model for its fields, and why it refuses values: "" if it does not.
func judgedByModel(t *testing.T, trials []trial) (fields []field, refusals []string) {
	t.Helper()
	var values [][2]any
	for _, one := range trials {
		values = append(values, [2]any{one.of.path, one.value})
	}
	var said struct {
		Fields   []field
		Refusals []string
	}
	ask(t, "model.py", marshal(t, object{"Values": values}), &said)
	return said.Fields, said.Refusals
}

const (
	account = "us-east-1:123456789012:"
	cluster = "arn:aws:kafka:" + account + "cluster/orders/6cc0432b-8618-4f44-bccc-e1fbd8fb7c4d-2"
)

// selfManaged has all fields that awsconfig takes for a Kafka that is not MSK's.
const selfManaged = `{
	"FunctionName": "billing",
	"Topics": ["orders"],
	"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka.test:9092"]}},
	"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "billing", "ConsumptionMode": "Stream"},
	"SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": "login"}],
	"StartingPosition": "AT_TIMESTAMP",
	"StartingPositionTimestamp": 1700000000,
	"Enabled": true,
	"BatchSize": 100,
	"MaximumBatchingWindowInSeconds": 1,
	"KMSKeyArn": "arn:aws:kms:us-east-1:123456789012:key/a",
	"ProvisionedPollerConfig": {"MinimumPollers": 1, "MaximumPollers": 200, "PollerGroupName": "all"},
	"MaximumRetryAttempts": 3,
	"MaximumRecordAgeInSeconds": 60,
	"BisectBatchOnFunctionError": true,
	"FunctionResponseTypes": ["ReportBatchItemFailures"],
	"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:123456789012:dead"}},
	"MetricsConfig": {"Metrics": ["EventCount"]},
	"LoggingConfig": {"SystemLogLevel": "INFO"},
	"Tags": {"team": "billing"}
}`

// A probe is what is tried of a field.
type probe struct {
	path string
	// msk is whether the document is one of MSK.
	msk bool
	// text makes a text of so many characters, which fits the pattern if one of that length
	// does. nil makes the letter a.
	text func(n int) string
	// texts are more texts to try. Characters are put into the first, or into the first so many.
	texts []string
	into  int
	// elements are those of a list that fits, in turn.
	elements []any
	// beside has what the value of an enumeration needs beside it, by the value: changes of
	// the document.
	beside map[string]func(doc object)
}

func after(prefix string) func(int) string {
	return func(n int) string {
		if n < len(prefix) {
			return prefix[:n]
		}
		return prefix + strings.Repeat("a", n-len(prefix))
	}
}

func repeated(n int, one func(i int) any) (all []any) {
	for i := range n {
		all = append(all, one(i))
	}
	return all
}

var (
	hosts = []string{
		"kafka.test:9092", "kafka:1", "10.0.0.1:9092", "[::1]:9092", "::1:9092", "kafka", "kafka:", ":9092",
		"kafka:123456", "kafka:65535", "kafka:65536", "kafka:0", "kafka:00001", "a..b:9092", "a-.b:9092", "a.-b:9092",
		"a_b:9092", "_a:9092", "a.b.:9092", "-a:9092", "a-:9092", ".a:9092", "a.b_c.d-e:9092", "kafka:9092,kafka:9093",
		"https://kafka:9092", "kafka:9092/", "é:9092",
	}
	functions = []string{
		"billing", "billing:PROD", "arn:aws:lambda:us-east-1:123456789012:function:billing", "billing:$LATEST",
		"billing:$LATEST.PUBLISHED", "billing:$latest", "billing:", "billing:a.b", "a.b",
		"123456789012:function:billing", "123456789012:billing", "12345678901:function:billing", "function:billing",
		"function:billing:1", "us-east-1:123456789012:function:billing", "us-gov-west-1:billing",
		"us-isob-east-1:billing", "us-iso1-east-1:billing", "eusc-de-east-1:billing",
		"arn:aws:lambda:us-east-1:123456789012:function:billing:PROD",
		"arn:aws-cn:lambda:cn-north-1:123456789012:function:billing",
		"arn::lambda:us-east-1:123456789012:function:billing", "arn:gcp:lambda:us-east-1:123456789012:function:billing",
		"arn:aws:lambda:billing", "arn:aws:sqs:us-east-1:123456789012:billing", "billing:PROD:1", "a b",
		strings.Repeat("a", 64), strings.Repeat("a", 65), "123456789012:function:" + strings.Repeat("a", 140),
	}
	arns = []string{
		"arn:aws:kafka:us-east-1:123456789012:cluster/a/b", "arn:aws::us-east-1:123456789012:cluster/a",
		"arn:aws-cn:kafka:cn-north-1:123456789012:cluster/a/b",
		"arn:aws-us-gov:kafka:us-gov-west-1:123456789012:cluster/a/b",
		"arn:aws-eusc:kafka:eusc-de-east-1:123456789012:cluster/a/b",
		"arn:aws-iso-b:kafka:us-isob-east-1:123456789012:cluster/a/b",
		"arn:aws:kafka:us-east-1:123456789012:vpc-connection/1/a/b", "arn:aws:kafka:us-east:123456789012:cluster/a",
		"arn:aws:kafka:us-east-12:123456789012:cluster/a", "arn:aws:kafka:east:123456789012:cluster/a",
		"arn:aws:kafka:us-east-1:12345678901:cluster/a", "arn:aws:kafka:us-east-1:1234567890123:cluster/a",
		"arn:aws:kafka:us-east-1::cluster/a", "arn:aws:kafka::123456789012:cluster/a",
		"arn:aws:kafka:us-east-1:123456789012:", "arn:aws:kafka:us-east-1:123456789012",
		"arn:gcp:kafka:us-east-1:123456789012:cluster/a", "arn::kafka:us-east-1:123456789012:cluster/a",
		"ARN:aws:kafka:us-east-1:123456789012:cluster/a", "cluster", "arn:aws:sqs:us-east-1:123456789012:orders",
		"arn:aws:kafka:us-east-1:123456789012:topic/a/b/c",
	}
	destinations = []string{
		"arn:aws:sqs:us-east-1:123456789012:dead", "kafka://dead", "arn:aws:sns:us-east-1:123456789012:dead",
		"arn:aws:s3:::bucket", "arn:aws-cn:s3:::bucket", "kafka://d", "kafka://.d", "kafka://", "kafka://a.b-c_d",
		"kafka:dead", "Kafka://dead", "kafka://" + strings.Repeat("a", 249), "kafka://" + strings.Repeat("a", 250),
		"arn:aws:sqs:east:123456789012:dead", "arn:aws:lambda:us-east-1:123456789012:function:dead",
		"https://sqs.us-east-1.amazonaws.com/123456789012/dead",
	}
	uris = []string{
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:kafka-Ab1", "a b", "a?b", "file:///etc/kafka",
		"name@host",
	}
)

// probes are all fields of the request.
var probes = []probe{
	{path: ""},
	{path: "FunctionName", into: 3, texts: functions,
		text: after("arn:aws:lambda:us-east-1:123456789012:function:")},
	{path: "EventSourceArn", msk: true, texts: arns, text: after(cluster)},
	{path: "Enabled"},
	{path: "BatchSize"},
	{path: "FilterCriteria"},
	{path: "FilterCriteria.Filters"},
	{path: "FilterCriteria.Filters[]"},
	{path: "FilterCriteria.Filters[].Pattern", texts: []string{`{"value": {"a": [1]}}`}},
	{path: "KMSKeyArn", texts: []string{"arn:aws:kms:us-east-1:123456789012:key/a", "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/a", "arn:aws:kms:us-east-1:123456789012:alias/a", "arn:aws:s3:::a", "arn::kms:us-east-1:123456789012:key/a", "key/a", "a"}, text: after("arn:aws:kms:us-east-1:123456789012:key/")},
	{path: "MetricsConfig"},
	{path: "MetricsConfig.Metrics", elements: []any{"EventCount", "ErrorCount", "KafkaMetrics", "EventCount"}},
	{path: "MetricsConfig.Metrics[]"},
	{path: "LoggingConfig"},
	{path: "LoggingConfig.SystemLogLevel"},
	{path: "ScalingConfig"},
	{path: "ScalingConfig.MaximumConcurrency"},
	{path: "MaximumBatchingWindowInSeconds"},
	{path: "ParallelizationFactor"},
	{path: "StartingPosition"},
	{path: "StartingPositionTimestamp"},
	{path: "DestinationConfig"},
	{path: "DestinationConfig.OnSuccess"},
	{path: "DestinationConfig.OnSuccess.Destination", texts: destinations, text: after(destinations[0])},
	{path: "DestinationConfig.OnFailure"},
	{path: "DestinationConfig.OnFailure.Destination", into: 2, texts: destinations, text: after(destinations[0])},
	{path: "MaximumRecordAgeInSeconds"},
	{path: "BisectBatchOnFunctionError"},
	{path: "MaximumRetryAttempts"},
	{path: "Tags"},
	{path: "Tags{key}", texts: []string{"team", "Team: a_b.c/d=e+f-g@h", "é", "日本", "aws:team", "AWS:team", "a\u00a0b"}},
	{path: "Tags{}", texts: []string{"billing", "a_b.c/d=e+f-g@h: i", "é", "日本", "aws:a"}},
	{path: "TumblingWindowInSeconds"},
	{path: "Topics", elements: []any{"orders", "bills"}},
	{path: "Topics[]", texts: []string{"orders", "a", "ab", ".a", "a.", "..", "é", "éa", "/a", "a/b"}},
	{path: "Queues", elements: []any{"orders", "bills"}},
	{path: "Queues[]", texts: []string{"orders"}},
	{path: "SourceAccessConfigurations", elements: append([]any{object{"Type": "BASIC_AUTH", "URI": "login"}, object{"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-1"}},
		repeated(22, func(i int) any { return object{"Type": "VPC_SUBNET", "URI": fmt.Sprintf("subnet:subnet-%d", i)} })...)},
	{path: "SourceAccessConfigurations[]"},
	{path: "SourceAccessConfigurations[].Type", beside: map[string]func(object){
		"VPC_SUBNET":         access("subnet:a", "VPC_SECURITY_GROUP", "security_group:a"),
		"VPC_SECURITY_GROUP": access("security_group:a", "VPC_SUBNET", "subnet:a"),
		"OAUTHBEARER_SCOPE":  access("a", "OAUTHBEARER_AUTH", "a"), "OAUTHBEARER_AUDIENCE": access("a", "OAUTHBEARER_AUTH", "a"),
		"OAUTHBEARER_LOGICAL_CLUSTER": access("a", "OAUTHBEARER_AUTH", "a"), "OAUTHBEARER_IDENTITY_POOL": access("a", "OAUTHBEARER_AUTH", "a"),
		"IAM_AUTH": access(""), "IAM_OAUTHBEARER_AUTH": access("", "OAUTHBEARER_AUDIENCE", "a"),
	}},
	{path: "SourceAccessConfigurations[].URI", texts: uris},
	{path: "SelfManagedEventSource"},
	{path: "SelfManagedEventSource.Endpoints"},
	{path: "SelfManagedEventSource.Endpoints{key}"},
	{path: "SelfManagedEventSource.Endpoints{}", elements: repeated(11, func(i int) any { return fmt.Sprintf("kafka%d.test:9092", i) })},
	{path: "SelfManagedEventSource.Endpoints{}[]", texts: hosts,
		text: func(n int) string { return strings.Repeat("a", max(n-5, 0)) + ":9092"[max(5-n, 0):] }},
	{path: "FunctionResponseTypes", elements: []any{"ReportBatchItemFailures", "ReportBatchItemFailures"}},
	{path: "FunctionResponseTypes[]"},
	{path: "AmazonManagedKafkaEventSourceConfig", msk: true},
	{path: "AmazonManagedKafkaEventSourceConfig.ConsumerGroupId", msk: true, texts: uris},
	{path: "AmazonManagedKafkaEventSourceConfig.SchemaRegistryConfig", msk: true},
	{path: "SelfManagedKafkaEventSourceConfig"},
	{path: "SelfManagedKafkaEventSourceConfig.ConsumerGroupId", texts: uris},
	{path: "SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig"},
	{path: "SelfManagedKafkaEventSourceConfig.ConsumptionMode"},
	{path: "DocumentDBEventSourceConfig"},
	{path: "DocumentDBEventSourceConfig.DatabaseName", texts: []string{"db"}},
	{path: "DocumentDBEventSourceConfig.CollectionName", texts: []string{"c"}},
	{path: "DocumentDBEventSourceConfig.FullDocument"},
	{path: "ProvisionedPollerConfig"},
	{path: "ProvisionedPollerConfig.MinimumPollers"},
	{path: "ProvisionedPollerConfig.MaximumPollers"},
	{path: "ProvisionedPollerConfig.PollerGroupName", texts: []string{"all-of_them"}},
}

// registry are the fields of a schema registry, which both kinds of Kafka have.
var registry = []probe{
	{path: ".SchemaRegistryURI", texts: uris},
	{path: ".EventRecordFormat"},
	{path: ".AccessConfigs"},
	{path: ".AccessConfigs[]"},
	{path: ".AccessConfigs[].Type"},
	{path: ".AccessConfigs[].URI", texts: arns, text: after(cluster)},
	{path: ".SchemaValidationConfigs"},
	{path: ".SchemaValidationConfigs[]"},
	{path: ".SchemaValidationConfigs[].Attribute"},
}

// access gives the first of SourceAccessConfigurations a URI, and puts others beside it.
func access(uri string, others ...string) func(object) {
	return func(doc object) {
		all := doc["SourceAccessConfigurations"].([]any)
		all[0].(object)["URI"] = uri
		for i := 0; i < len(others); i += 2 {
			all = append(all, object{"Type": others[i], "URI": others[i+1]})
		}
		doc["SourceAccessConfigurations"] = all
	}
}

// ofOthers are fields of other sources. What says nothing may stay of a skeleton.
const ofOthers = "it is a field of another source"

// onPurpose is where awsconfig judges otherwise than the model.
var onPurpose = []difference{
	{"*", true, blank, "what is empty is the same as nothing: the skeleton of the CLI is full of it"},

	{"", false, func(v any) bool { return v == nil || reflect.DeepEqual(v, object{}) }, "a mapping needs a function, a topic and a Kafka, which the model has no rule for"},
	{"Topics", false, blank, "the service requires it of Kafka"},
	{"SelfManagedEventSource", false, blank, "a mapping needs a Kafka"},
	{"EventSourceArn", false, blank, "a mapping needs a Kafka"},
	{"*", false, func(v any) bool { list, ok := v.([]any); return ok && slices.Contains(list, nil) }, "null in a list is a mistake of whoever wrote it"},
	{"FunctionName", false, blank, "it is required"},
	{"SourceAccessConfigurations[]", false, blank, "a credential has a type"},
	{"MetricsConfig.Metrics[]", false, blank, "null in a list is a mistake of whoever wrote it"},
	{"FunctionResponseTypes[]", false, blank, "null in a list is a mistake of whoever wrote it"},
	{"ProvisionedPollerConfig", false, blank, "the document has fields that need it"},
	{"StartingPosition", false, blank, "the document has a StartingPositionTimestamp, which needs it"},
	{"StartingPositionTimestamp", false, blank, "AT_TIMESTAMP needs it"},

	{"FunctionName", false, isText(func(s string) bool { return len(s) > 64 && !strings.Contains(s, ":") }), "a name by itself has 64 characters at most: the documentation"},
	{"EventSourceArn", false, isText(func(s string) bool {
		return !sourceForm.MatchString(s)
	}), "a mapping of Kafka reads a cluster of MSK, or a connection to one"},
	{"KMSKeyArn", false, isText(func(s string) bool { return !keyForm.MatchString(s) }), "it is the ARN of a key: the documentation, and CloudFormation's schema"},
	{"DestinationConfig.OnSuccess", false, nil, "mappings have no destination of success: the service refuses it"},
	{"DestinationConfig.OnFailure", false, isText(func(s string) bool {
		return strings.HasPrefix(s, "arn:") && !targetForm.MatchString(s)
	}), "destinations are queues of SQS, topics of SNS and buckets of S3: the documentation"},
	{"DestinationConfig.OnFailure", false, isText(func(s string) bool {
		topic, is := strings.CutPrefix(s, "kafka://")
		return is && !kafkaName.MatchString(topic)
	}), "a topic of Kafka has no other letters"},
	{"MaximumRecordAgeInSeconds", false, func(v any) bool { n, ok := v.(int); return ok && n >= 0 && n < 60 }, "the service refuses 0 to 59"},
	{"ProvisionedPollerConfig.MaximumPollers", false, func(v any) bool { n, ok := v.(int); return ok && n > 2000 }, "the bound of Kafka is 2,000: the text of the model. 10,000 is that of SQS"},
	{"SourceAccessConfigurations[].Type", false, isText(func(s string) bool { return s == "VIRTUAL_HOST" }), "it is a type of RabbitMQ"},
	{"SelfManagedEventSource.Endpoints{}[]", false, isText(func(s string) bool {
		return slices.Contains([]string{"0", "65536", "00000"}, s[strings.LastIndexByte(s, ':')+1:]) || longPort.MatchString(s)
	}), "no port has that number"},
	{"Tags{key}", false, isText(func(s string) bool { return strings.HasPrefix(strings.ToLower(s), "aws:") }), "names that begin with aws: are AWS's"},
	{"SelfManagedEventSource.Endpoints{}[]", true, isText(func(s string) bool { return strings.Contains(s, "_") }), "hosts of Docker have underscores, and the service takes what its model does not have"},
	{"SelfManagedEventSource.Endpoints{}[]", true, isText(func(s string) bool { return strings.HasPrefix(s, "[") }), "the address of a host on this machine may be one of IPv6"},

	{"FilterCriteria", false, nil, "filters are not built"},
	{"AmazonManagedKafkaEventSourceConfig.SchemaRegistryConfig", false, nil, "schema registries are not built"},
	{"SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig", false, nil, "schema registries are not built"},
	{"SelfManagedKafkaEventSourceConfig.ConsumptionMode", false, isText(func(s string) bool { return s == "Queue" }), "share groups are not built"},
	{"StartingPositionTimestamp", false, func(v any) bool { n, ok := v.(int); return ok && n < 0 }, "there was no Kafka before 1970"},

	{"ParallelizationFactor", false, nil, ofOthers},
	{"TumblingWindowInSeconds", false, nil, ofOthers},
	{"Queues", false, nil, ofOthers},
	{"ScalingConfig", false, nil, ofOthers},
	{"DocumentDBEventSourceConfig", false, nil, ofOthers},
	{"DocumentDBEventSourceConfig.FullDocument", true, nil, "the skeleton of the CLI has a value there"},
}

var (
	sourceForm = regexp.MustCompile(`^arn:aws[a-zA-Z0-9-]*:kafka:[a-z0-9-]*:[0-9]*:(cluster|vpc-connection)/`)
	keyForm    = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/.+$`)
	targetForm = regexp.MustCompile(`^arn:aws[a-z-]*:(sqs|sns|s3):.*:.*:.+$`)
	kafkaName  = regexp.MustCompile(`^[a-zA-Z0-9\-_][a-zA-Z0-9\-_.]*$`)
	longPort   = regexp.MustCompile(`:(6553[6-9]|655[4-9]\d|65[6-9]\d\d|6[6-9]\d{3}|[7-9]\d{4})$`)
)

// A trial is a value that a field is given.
type trial struct {
	of    *probe
	value any
}

// trials are all that is tried of a field. words are those of all enumerations.
func (p *probe) trials(f field, words []string) (all []trial) {
	add := func(values ...any) {
		for _, v := range values {
			if _, ok := v.(string); !ok && strings.HasSuffix(p.path, "{key}") {
				continue // a name in JSON is a text
			}
			all = append(all, trial{p, v})
		}
	}
	add(nil, "", "a", "1", 0, 1, -1, 1.5, true, false, []any{}, []any{nil}, []any{"a"}, object{}, object{"Unheard": "a"})
	switch f.Type {
	case "integer":
		if f.Min != nil {
			add(*f.Min-1, *f.Min, *f.Min+1, -1<<31)
		}
		if f.Max != nil {
			add(*f.Max-1, *f.Max, *f.Max+1, 1<<31-1, int64(1)<<40)
		}
		if p.path == "MaximumRecordAgeInSeconds" {
			add(59, 60)
		}
		if p.path == "ProvisionedPollerConfig.MaximumPollers" {
			add(2000, 2001)
		}
	case "timestamp":
		add(1700000000, 1700000000.5, "2024-01-02T03:04:05Z")
	case "string":
		for _, s := range f.Enum {
			add(s, strings.ToLower(s), s+" ", s+"S")
		}
		if len(f.Enum) > 0 {
			for _, s := range words {
				add(s)
			}
		}
		if f.Max != nil {
			text := p.text
			if text == nil {
				text = after("")
			}
			for _, n := range []int{*f.Min - 1, *f.Min, *f.Min + 1, *f.Max - 1, *f.Max, *f.Max + 1} {
				if n >= 0 {
					add(text(n))
				}
			}
		}
		for _, s := range p.texts {
			add(s)
		}
		for _, s := range p.texts[:min(max(p.into, 1), len(p.texts))] {
			for _, r := range letters {
				for _, i := range []int{0, len(s) / 2, len(s)} {
					add(s[:i] + string(r) + s[i:])
				}
			}
			for i := range s {
				add(s[:i] + s[i+1:]) // each character may be one that has to be there
			}
		}
	case "list":
		if len(p.elements) == 0 {
			break
		}
		sizes := []int{0, 1, len(p.elements)}
		if f.Max != nil {
			sizes = append(sizes, *f.Max-1, *f.Max, *f.Max+1)
		}
		for _, n := range sizes {
			if n <= len(p.elements) {
				add(p.elements[:n:n])
			}
		}
	}
	return all
}

// letters are those that patterns are about: all of ASCII, and some others.
var letters = func() (all []rune) {
	for r := rune(0); r < 128; r++ {
		all = append(all, r)
	}
	return append(all, 'é', 'ß', '日', '٣', '²', '\u00a0', '\u2003', '\u200b', '\u2028', '\ufeff', '😀', '\u0301')
}()

// put gives the field at a path a value. What is missing on the way is made.
func put(in any, path string, value any) any {
	if path == "" {
		return value
	}
	if rest, is := strings.CutPrefix(path, "[]"); is {
		list, _ := in.([]any)
		if len(list) == 0 {
			list = []any{nil}
		}
		list[0] = put(list[0], rest, value)
		return list
	}
	o, _ := in.(object)
	if o == nil {
		o = object{}
	}
	name := "KAFKA_BOOTSTRAP_SERVERS" // maps have one name, and the one that may be missing is this
	for name = range o {
		break
	}
	if rest, is := strings.CutPrefix(path, "{key}"); is && rest == "" {
		v := o[name]
		delete(o, name)
		key, _ := value.(string)
		o[key] = v
		return o
	}
	if rest, is := strings.CutPrefix(path, "{}"); is {
		o[name] = put(o[name], rest, value)
		return o
	}
	path = strings.TrimPrefix(path, ".")
	end := strings.IndexAny(path, ".[{")
	if end < 0 {
		end = len(path)
	}
	o[path[:end]] = put(o[path[:end]], path[end:], value)
	return o
}

// document is the one of a trial.
func (x trial) document(t *testing.T) []byte {
	t.Helper()
	if x.of.path == "" {
		return marshal(t, x.value)
	}
	var doc object
	if err := json.Unmarshal([]byte(selfManaged), &doc); err != nil {
		t.Fatal(err)
	}
	if x.of.msk {
		delete(doc, "SelfManagedEventSource")
		delete(doc, "SelfManagedKafkaEventSourceConfig")
		doc["EventSourceArn"] = cluster
		doc["AmazonManagedKafkaEventSourceConfig"] = object{"ConsumerGroupId": "billing"}
		doc["SourceAccessConfigurations"] = []any{object{"Type": "SASL_SCRAM_512_AUTH", "URI": "login"}}
	}
	if s, ok := x.value.(string); ok && x.of.beside[s] != nil {
		x.of.beside[s](doc)
	}
	return marshal(t, put(doc, x.of.path, x.value))
}

// allProbes are probes and those of the registries, by path.
func allProbes() map[string]*probe {
	all := map[string]*probe{}
	for i := range probes {
		all[probes[i].path] = &probes[i]
	}
	for _, msk := range []bool{false, true} {
		parent := "SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig"
		if msk {
			parent = "AmazonManagedKafkaEventSourceConfig.SchemaRegistryConfig"
		}
		for _, p := range registry {
			p.path, p.msk = parent+p.path, msk
			all[p.path] = &p
		}
	}
	return all
}

// TestModel has awsconfig and the model of the API judge the same values: of each field those
// at, below and above its bounds, its enumeration, texts with each letter in them, and values
// of other types.
func TestModel(t *testing.T) {
	t.Parallel()
	fields, _ := judgedByModel(t, nil)
	known := allProbes()
	var trials []trial
	words := []string{"ERROR", "TRACE", "FATAL", "OFF", "NONE", "ALL", "EARLIEST", "NOW", "TIMESTAMP", "Share", "KERBEROS_AUTH", "ReportAll", "Latency"}
	for _, f := range fields {
		words = append(words, f.Enum...)
	}
	for _, f := range fields {
		p := known[f.Path]
		if p == nil {
			t.Errorf("the model has a field %s (%s, a %s), which no probe knows: awsconfig may lack it", f.Path, f.Shape, f.Type)
			continue
		}
		delete(known, f.Path)
		trials = append(trials, p.trials(f, words)...)
	}
	for _, path := range slices.Sorted(maps.Keys(known)) {
		t.Errorf("the model has no field %s", path)
	}
	if len(trials) < 5000 {
		t.Errorf("there are %d values only", len(trials))
	}
	_, refusals := judgedByModel(t, trials)
	expected := differences{rows: onPurpose}
	bounds := map[string]map[int]bool{} // field -> lengths and numbers that the model takes
	for i, x := range trials {
		why := refusals[i]
		data := x.document(t)
		c, err := awsconfig.ParseJSON(data)
		switch taken := err == nil; {
		case taken != (why == "") && !expected.has(x.of.path, taken, x.value):
			t.Errorf("%s = %.120s: the model says %q, and awsconfig %.300v", x.of.path, marshal(t, x.value), why, err)
		case taken:
			judgedAgain(t, x, c)
		case why != "":
			named(t, x, err)
		}
		if why == "" {
			if bounds[x.of.path] == nil {
				bounds[x.of.path] = map[int]bool{}
			}
			bounds[x.of.path][size(x.value)] = true
		}
	}
	expected.idle(t)
	for _, f := range fields {
		for _, bound := range []*int{f.Min, f.Max} {
			// The model has other limits for these: a second key, and none in Kafka's.
			if bound != nil && !bounds[f.Path][*bound] && f.Path != "SelfManagedEventSource.Endpoints" && *bound > 1 {
				t.Errorf("no value of %s is at its bound %d", f.Path, *bound)
			}
		}
	}
	t.Logf("%d fields, %d values", len(fields), len(trials))
}

// size is what a bound is about.
func size(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		return len(v)
	case int:
		return v
	}
	return -2
}

// judgedAgain judges a Config that was taken by itself, and after it was written.
func judgedAgain(t *testing.T, x trial, c awsconfig.Config) {
	t.Helper()
	if err := c.Validate(time.Now()); err != nil {
		t.Errorf("%s = %.120s: ParseJSON takes it, and Validate says %v", x.of.path, marshal(t, x.value), err)
	}
	again, err := awsconfig.ParseJSON(marshal(t, c))
	if err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("%s = %.120s: it is written as %s (%v)", x.of.path, marshal(t, x.value), marshal(t, c), err)
	}
}

// named fails the test if what awsconfig says is wrong is not the field that is.
func named(t *testing.T, x trial, err error) {
	t.Helper()
	top, _, _ := strings.Cut(strings.NewReplacer("[", ".", "{", ".").Replace(x.of.path), ".")
	if top == "" || blank(x.value) {
		return
	}
	for _, m := range awsconfig.Mistakes(err) {
		if strings.HasPrefix(m.Field, top) {
			return
		}
	}
	t.Errorf("%s = %.120s: awsconfig refuses something else: %v", x.of.path, marshal(t, x.value), err)
}
