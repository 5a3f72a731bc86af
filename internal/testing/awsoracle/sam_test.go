package awsoracle

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed429fd032/esm/awsconfig"
)

// A samTemplate is one of SAM, with values of its parameters.
type samTemplate struct {
	Template   string
	Parameters map[string]string
}

// A samTranslation is a template of CloudFormation, or why there is none.
type samTranslation struct{ Template, Error string }

// translated has AWS's translator make CloudFormation of templates. properties are those that
// it knows in an event of Kafka.
func translated(t *testing.T, templates []samTemplate) (made []samTranslation, properties []string) {
	t.Helper()
	var said struct {
		Made       []samTranslation
		Properties []string
	}
	ask(t, "sam.py", marshal(t, templates), &said)
	if len(said.Made) != len(templates) {
		t.Fatalf("%d templates were made of %d", len(said.Made), len(templates))
	}
	return said.Made, said.Properties
}

// resolve says what a template does not.
func resolve(call awsconfig.Intrinsic) (any, error) {
	switch fmt.Sprint(call.Function, call.Argument) {
	case "RefAWS::Region":
		return "us-east-1", nil
	case "RefAWS::AccountId":
		return "123456789012", nil
	case "RefAWS::Partition":
		return "aws", nil
	case "RefAWS::StackName":
		return "shop", nil
	case "RefCluster", "Fn::GetAtt[Cluster Arn]", "Fn::ImportValuecluster":
		return cluster, nil
	case "RefSecret":
		return "arn:aws:secretsmanager:us-east-1:123456789012:secret:kafka-AbCdEf", nil
	case "Fn::GetAtt[Dead Arn]":
		return "arn:aws:sqs:us-east-1:123456789012:dead", nil
	}
	return nil, awsconfig.ErrUnresolved
}

// imported is what awsconfig finds in a template, in an order that does not depend on its
// resources: the mappings, the names of those that are skipped, and the mistakes.
func imported(template string, parameters map[string]string) (found []awsconfig.Found, skipped, mistakes []string) {
	all, err := awsconfig.ParseTemplate([]byte(template), awsconfig.Values{Parameters: parameters, Resolve: resolve})
	if ms := awsconfig.Mistakes(err); err != nil && len(ms) == 0 {
		return nil, nil, []string{err.Error()}
	} else if len(ms) > 0 {
		for _, m := range ms {
			mistakes = append(mistakes, strings.TrimSpace(m.Field+" "+m.Value+" "+m.Bound))
		}
	}
	for i := range all.Found {
		// The translator makes an object of a group that has no value.
		c := &all.Found[i].Config
		for _, k := range []**awsconfig.KafkaEventSourceConfig{&c.AmazonManagedKafkaEventSourceConfig, &c.SelfManagedKafkaEventSourceConfig} {
			if *k != nil && **k == (awsconfig.KafkaEventSourceConfig{}) {
				*k = nil
			}
		}
	}
	for _, s := range all.Skipped {
		skipped = append(skipped, s.Name)
	}
	slices.Sort(skipped)
	slices.Sort(mistakes)
	slices.SortFunc(all.Found, func(a, b awsconfig.Found) int { return strings.Compare(a.Name, b.Name) })
	return all.Found, skipped, mistakes
}

// TestSAM compares what awsconfig finds in templates of SAM with what it finds in that which
// AWS's translator makes of them.
func TestSAM(t *testing.T) {
	t.Parallel()
	templates := slices.Clone(written)
	const generated = 60
	tried := map[string]bool{}
	for seed := range int64(generated) {
		w := newSAM(seed)
		w.tried = tried
		templates = append(templates, w.template(t))
	}
	mappings, wrong := 0, 0
	all, properties := translated(t, templates)
	for i, made := range all {
		in := templates[i]
		if made.Error != "" {
			t.Errorf("the translator refuses the template: %s\n%s", made.Error, in.Template)
			continue
		}
		found, skipped, mistakes := imported(in.Template, in.Parameters)
		found2, skipped2, mistakes2 := imported(made.Template, in.Parameters)
		if !reflect.DeepEqual(found, found2) || !reflect.DeepEqual(skipped, skipped2) || !reflect.DeepEqual(mistakes, mistakes2) {
			t.Errorf("of the template of SAM:\n%s\nof that of the translator:\n%s\nthe template:\n%s\nwith %v it is translated to:\n%s",
				marshal(t, []any{found, skipped, mistakes}), marshal(t, []any{found2, skipped2, mistakes2}), in.Template, in.Parameters, made.Template)
		}
		mappings += len(found)
		if len(mistakes) > 0 {
			wrong++
		}
		if i < len(written) && len(mistakes) > 0 {
			t.Errorf("%s\n%s", mistakes, in.Template)
		}
	}
	for _, name := range properties {
		if !tried[name] {
			t.Errorf("the translator knows a property %s, which no template has: awsconfig may lack it", name)
		}
	}
	if mappings < 5*generated || wrong < generated/10 {
		t.Errorf("of %d templates there are %d mappings, and %d have mistakes", len(templates), mappings, wrong)
	}
	t.Logf("%d templates, %d mappings, %d with mistakes", len(templates), mappings, wrong)
}

// TestSAMUnknown: what SAM does not know in an event, awsconfig refuses too.
func TestSAMUnknown(t *testing.T) {
	t.Parallel()
	var templates []samTemplate
	var names []string
	config := reflect.TypeFor[awsconfig.Config]()
	for i := range config.NumField() {
		names = append(names, config.Field(i).Name)
	}
	names = append(names, "Unheard", "Stream", "Broker", "Cluster", "ConsumerGroupId", "ConsumptionMode", "SecretsManagerKmsKeyId")
	for i, name := range names {
		kind := "SelfManagedKafka"
		if i%2 == 0 {
			kind = "MSK"
		}
		w := newSAM(0)
		w.plain = true
		event := w.least(kind)
		if event[name] == nil {
			event[name] = valueOf(name)
		}
		templates = append(templates, samTemplate{string(marshal(t, w.document(object{
			"Billing": w.function(object{"Events": object{"Orders": object{"Type": kind, "Properties": event}}}),
		}))), nil})
	}
	expected := differences{rows: []difference{
		{"KMSKeyArn", true, nil, "it is the name that the API has for KmsKeyArn, and it does nothing here"},
	}}
	refused := 0
	all, _ := translated(t, templates)
	for i, made := range all {
		if made.Error == "" {
			continue
		}
		refused++
		if _, _, mistakes := imported(templates[i].Template, nil); len(mistakes) == 0 && !expected.has(names[i], true, nil) {
			t.Errorf("%s: the translator says %s, and awsconfig nothing\n%s", names[i], made.Error, templates[i].Template)
		}
	}
	expected.idle(t)
	if refused < 8 {
		t.Errorf("the translator refuses %d templates of %d", refused, len(templates))
	}
}

// valueOf is one that fits a property, as far as that is known.
func valueOf(name string) any {
	var doc object
	_ = json.Unmarshal([]byte(selfManaged), &doc)
	switch name {
	case "EventSourceArn", "Stream", "Broker", "Cluster":
		return cluster
	case "KafkaBootstrapServers":
		return []any{"kafka.test:9092"}
	case "Tags":
		return []any{object{"Key": "team", "Value": "billing"}}
	case "KmsKeyArn":
		name = "KMSKeyArn"
	case "AmazonManagedKafkaEventSourceConfig":
		return object{"ConsumerGroupId": "billing"}
	case "FilterCriteria", "SchemaRegistryConfig":
		return object{}
	}
	if doc[name] != nil {
		return doc[name]
	}
	return "Stream"
}

// A samWriter makes a template of SAM by chance.
type samWriter struct {
	*rand.Rand
	plain                            bool // without functions
	parameters, conditions, mappings object
	values                           map[string]string
	tried                            map[string]bool // properties of events
}

func newSAM(seed int64) *samWriter {
	return &samWriter{Rand: rand.New(rand.NewSource(seed)), parameters: object{}, mappings: object{}, values: map[string]string{},
		conditions: object{"Yes": object{"Fn::Equals": []any{"a", "a"}}, "No": object{"Fn::Not": []any{object{"Condition": "Yes"}}}}}
}

func (w *samWriter) one(of ...any) any     { return of[w.Intn(len(of))] }
func (w *samWriter) in(n int) bool         { return w.Intn(n) == 0 }
func (w *samWriter) named(s string) string { return fmt.Sprintf("%s%d", s, w.Intn(1<<30)) }

// parameter makes a parameter that has a value, as its default or in the values.
func (w *samWriter) parameter(kind, value string) object {
	name := w.named("P")
	p := object{"Type": kind, "Default": value}
	if w.in(3) {
		w.values[name] = value
		if kind == "String" {
			p["Default"] = "another"
		} else {
			delete(p, "Default")
		}
	}
	w.parameters[name] = p
	return object{"Ref": name}
}

// either is one of two values by a condition.
func (w *samWriter) either(v, other any) object {
	if w.in(2) {
		return object{"Fn::If": []any{"Yes", v, other}}
	}
	return object{"Fn::If": []any{"No", other, v}}
}

// text writes a text, or a function that comes to it.
func (w *samWriter) text(s string) any {
	if w.plain {
		return s
	}
	half := len(s) / 2
	switch w.Intn(16) {
	case 0:
		return w.parameter("String", s)
	case 1:
		return object{"Fn::Sub": s[:half] + "${" + w.parameter("String", s[half:])["Ref"].(string) + "}"}
	case 2:
		return object{"Fn::Sub": []any{"${A}" + s[half:], object{"A": w.text(s[:half])}}}
	case 3:
		return object{"Fn::Join": []any{"", []any{s[:half], w.text(s[half:])}}}
	case 4:
		return w.either(s, w.one("other", object{"Ref": "AWS::NoValue"}))
	case 5:
		name := w.named("M")
		w.mappings[name] = object{"a": object{"b": s}}
		return object{"Fn::FindInMap": []any{name, "a", "b"}}
	case 6:
		return object{"Fn::Select": []any{w.one(1, "1"), []any{"other", s}}}
	case 7:
		return object{"Fn::Select": []any{0, object{"Fn::Split": []any{"|", s + "|other"}}}}
	}
	return s
}

// number writes a number, or a function that comes to it.
func (w *samWriter) number(n int) any {
	if w.plain {
		return n
	}
	switch w.Intn(8) {
	case 0:
		return w.parameter("Number", fmt.Sprint(n))
	case 1:
		return w.either(n, 1)
	case 2:
		name := w.named("M")
		w.mappings[name] = object{"a": object{"b": n}}
		return object{"Fn::FindInMap": []any{name, "a", "b"}}
	}
	return n
}

// truth writes a boolean, or a function that comes to it.
func (w *samWriter) truth(b bool) any {
	switch {
	case w.plain:
		return b
	case w.in(6):
		return w.parameter("String", fmt.Sprint(b))
	case w.in(6):
		return w.either(b, !b)
	}
	return b
}

// list writes a list of texts, or a function that comes to it. bare is whether the
// translator takes a function for it.
func (w *samWriter) list(bare bool, texts ...string) any {
	if bare && !w.plain {
		switch w.Intn(8) {
		case 0:
			return w.parameter("CommaDelimitedList", strings.Join(texts, ","))
		case 1:
			return object{"Fn::Split": []any{"|", strings.Join(texts, "|")}}
		}
	}
	all := []any{}
	for _, s := range texts {
		all = append(all, w.text(s))
	}
	if !w.plain && w.in(8) {
		all = append(all, object{"Fn::If": []any{"No", "other", object{"Ref": "AWS::NoValue"}}})
	}
	return all
}

// least are the properties that an event needs.
func (w *samWriter) least(kind string) object {
	event := object{"Topics": []any{w.text(w.one("orders", "a.b-c_d").(string))}, "StartingPosition": w.one("LATEST", "TRIM_HORIZON")}
	if kind == "MSK" {
		event["Stream"] = cluster
		if !w.plain {
			event["Stream"] = w.one(w.text(cluster), object{"Ref": "Cluster"}, object{"Fn::GetAtt": []any{"Cluster", "Arn"}}, object{"Fn::ImportValue": "cluster"},
				object{"Fn::Sub": "arn:${AWS::Partition}:kafka:${AWS::Region}:${AWS::AccountId}:cluster/orders/1"})
		}
		return event
	}
	event["KafkaBootstrapServers"] = w.list(true, "a.test:9092", "b.test:9092")
	secret := w.text("arn:aws:secretsmanager:us-east-1:123456789012:secret:kafka-AbCdEf")
	if !w.plain && w.in(4) {
		secret = object{"Ref": "Secret"}
	}
	event["SourceAccessConfigurations"] = []any{object{"Type": w.one("BASIC_AUTH", "SASL_SCRAM_256_AUTH", "SASL_SCRAM_512_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH", "OAUTHBEARER_AUTH"), "URI": secret}}
	return event
}

// event makes an event of Kafka.
func (w *samWriter) event() object {
	kind := w.one("MSK", "SelfManagedKafka").(string)
	event := w.least(kind)
	may := func(name string, v any) {
		if w.in(2) {
			event[name] = v
		}
	}
	// scalar is may for what the translator takes a function for.
	scalar := func(name string, v any) {
		if w.in(10) {
			v = object{"Fn::If": []any{"No", v, object{"Ref": "AWS::NoValue"}}}
		}
		may(name, v)
	}
	if kind == "MSK" {
		may("SourceAccessConfigurations", []any{object{"Type": w.one("SASL_SCRAM_512_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH"), "URI": w.text("login")}})
	} else {
		all := event["SourceAccessConfigurations"].([]any)
		if w.in(3) {
			all = append(all, object{"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": w.text("ca")})
		}
		if w.in(3) {
			all = append(all, object{"Type": "VPC_SUBNET", "URI": w.text("subnet:subnet-1")}, object{"Type": "VPC_SECURITY_GROUP", "URI": w.text("security_group:sg-1")})
		}
		if all[0].(object)["Type"] == "OAUTHBEARER_AUTH" && w.in(2) {
			all = append(all, object{"Type": "OAUTHBEARER_SCOPE", "URI": w.text("kafka")})
		}
		event["SourceAccessConfigurations"] = all
		if w.in(3) {
			delete(event, "StartingPosition")
		}
		may("SecretsManagerKmsKeyId", "1abc23d4-567f-8ab9-cde0-1fab234c5d67")
	}
	if w.in(4) {
		event["StartingPosition"], event["StartingPositionTimestamp"] = "AT_TIMESTAMP", w.one(1700000000, 1700000000.25)
	}
	provisioned := object{"MinimumPollers": w.number(1 + w.Intn(5))}
	if w.in(2) {
		provisioned["MaximumPollers"] = w.number(5 + w.Intn(5))
	}
	if w.in(4) {
		provisioned["PollerGroupName"] = w.text("all")
	}
	if !w.in(20) {
		event["ProvisionedPollerConfig"] = provisioned
	}
	scalar("ConsumerGroupId", w.text("billing group"))
	scalar("BatchSize", w.number(w.one(1, 10, 10_000, 10_000, 10_001).(int)))
	scalar("MaximumBatchingWindowInSeconds", w.number(w.Intn(300)))
	scalar("Enabled", w.truth(w.in(2)))
	scalar("MaximumRetryAttempts", w.number(w.Intn(10)-1))
	scalar("MaximumRecordAgeInSeconds", w.number(60+w.Intn(60)))
	scalar("BisectBatchOnFunctionError", w.truth(w.in(2)))
	may("FunctionResponseTypes", w.list(false, "ReportBatchItemFailures"))
	scalar("KmsKeyArn", w.text("arn:aws:kms:us-east-1:123456789012:key/a"))
	may("MetricsConfig", object{"Metrics": w.list(false, "EventCount", "KafkaMetrics")})
	may("LoggingConfig", object{"SystemLogLevel": w.text("INFO")})
	destination := object{"Destination": w.one(w.text("kafka://dead"), w.text("arn:aws:sqs:us-east-1:123456789012:dead"), object{"Fn::GetAtt": []any{"Dead", "Arn"}})}
	if w.in(2) {
		destination["Type"] = w.one("SQS", "SNS", "S3", "Kafka")
	}
	may("DestinationConfig", object{"OnFailure": destination})
	if w.in(20) {
		event["FilterCriteria"] = object{"Filters": []any{object{"Pattern": `{"value": {"a": [1]}}`}}}
	}
	if w.in(20) {
		event["SchemaRegistryConfig"] = object{"SchemaRegistryURI": "https://registry.test", "EventRecordFormat": "JSON", "SchemaValidationConfigs": []any{object{"Attribute": "VALUE"}}}
	}
	if w.in(20) { // those of other sources
		name := w.one("ParallelizationFactor", "TumblingWindowInSeconds", "Queues", "ScalingConfig").(string)
		event[name] = unheld[name]
	}
	for name := range event {
		w.tried[name] = true
	}
	return object{"Type": kind, "Properties": event}
}

// function makes a function, with what it is given.
func (w *samWriter) function(properties object) object {
	properties["Handler"], properties["Runtime"], properties["CodeUri"] = "app.handler", "python3.12", "s3://bucket/key"
	return object{"Type": "AWS::Serverless::Function", "Properties": properties}
}

// document makes a template of resources.
func (w *samWriter) document(resources object) object {
	doc := object{"Transform": "AWS::Serverless-2016-10-31", "Resources": resources}
	parts := map[string]object{"Parameters": w.parameters, "Conditions": w.conditions, "Mappings": w.mappings}
	for name, of := range parts {
		if len(of) > 0 {
			doc[name] = of
		}
	}
	resources["Dead"] = object{"Type": "AWS::SQS::Queue"}
	resources["Secret"] = object{"Type": "AWS::SecretsManager::Secret"}
	resources["Cluster"] = object{"Type": "AWS::MSK::Cluster"}
	return doc
}

// others are events that are not of Kafka.
var others = []object{
	{"Type": "Kinesis", "Properties": object{"Stream": "arn:aws:kinesis:us-east-1:123456789012:stream/a", "StartingPosition": "LATEST"}},
	{"Type": "SQS", "Properties": object{"Queue": "arn:aws:sqs:us-east-1:123456789012:a", "BatchSize": 10}},
	{"Type": "MQ", "Properties": object{"Broker": "arn:aws:mq:us-east-1:123456789012:broker:a:b", "Queues": []any{"a"}, "SourceAccessConfigurations": []any{object{"Type": "BASIC_AUTH", "URI": "a"}}}},
	{"Type": "Schedule", "Properties": object{"Schedule": "rate(1 hour)"}},
	{"Type": "SNS", "Properties": object{"Topic": "arn:aws:sns:us-east-1:123456789012:a"}},
}

// template makes a template.
func (w *samWriter) template(t *testing.T) samTemplate {
	t.Helper()
	globals := object{"Timeout": 10}
	if w.in(4) {
		globals["AutoPublishAlias"] = w.one("live", w.parameter("String", "live"))
	}
	if w.in(4) {
		globals["KmsKeyArn"], globals["LoggingConfig"] = "arn:aws:kms:us-east-1:123456789012:key/b", object{"LogFormat": "JSON"} // of functions, and not of their events
	}
	resources := object{}
	for i := range 3 + w.Intn(3) {
		properties := object{}
		if w.in(2) {
			properties["FunctionName"] = w.one(w.text("billing"), object{"Fn::Sub": "${AWS::StackName}-billing"})
		}
		if w.in(3) {
			properties["AutoPublishAlias"] = w.one("PROD", w.parameter("String", "PROD"))
		}
		if w.in(4) {
			properties["Tags"], properties["PropagateTags"] = object{"team": "billing"}, true
		}
		events := object{}
		for j := range 1 + w.Intn(3) {
			events[fmt.Sprintf("Orders%d", j)] = w.event()
		}
		if w.in(3) {
			events["Other"] = others[w.Intn(len(others))]
		}
		properties["Events"] = events
		function := w.function(properties)
		if w.in(5) {
			function["Condition"] = w.one("Yes", "No")
		}
		resources[fmt.Sprintf("Billing%d", i)] = function
	}
	doc := w.document(resources)
	doc["Globals"] = object{"Function": globals}
	return samTemplate{string(marshal(t, doc)), w.values}
}

// written are templates as people write them.
var written = []samTemplate{
	{`
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String, Default: dev}
  Servers: {Type: CommaDelimitedList, Default: 'a.test:9092, b.test:9092'}
Globals:
  Function: {Runtime: nodejs22.x, Handler: index.handler, AutoPublishAlias: live}
Resources:
  Billing:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub '${Stage}-billing'
      CodeUri: s3://bucket/key
      Events:
        Orders:
          Type: SelfManagedKafka
          Properties:
            KafkaBootstrapServers: !Ref Servers
            Topics: [!Sub '${Stage}.orders']
            ConsumerGroupId: !Join ['-', [!Ref Stage, billing]]
            StartingPosition: AT_TIMESTAMP
            StartingPositionTimestamp: 1700000000
            BatchSize: 500
            SourceAccessConfigurations:
              - {Type: SASL_SCRAM_512_AUTH, URI: !Ref Secret}
              - {Type: VPC_SUBNET, URI: 'subnet:subnet-1'}
              - {Type: VPC_SUBNET, URI: 'subnet:subnet-2'}
              - {Type: VPC_SECURITY_GROUP, URI: 'security_group:sg-1'}
            SecretsManagerKmsKeyId: 1abc23d4-567f-8ab9-cde0-1fab234c5d67
            ProvisionedPollerConfig: {MinimumPollers: 2, MaximumPollers: 20}
            DestinationConfig:
              OnFailure: {Type: SQS, Destination: !GetAtt Dead.Arn}
        Hourly: {Type: Schedule, Properties: {Schedule: rate(1 hour)}}
  Secret: {Type: AWS::SecretsManager::Secret}
  Dead: {Type: AWS::SQS::Queue}
`, map[string]string{"Stage": "prod"}},
	{`
Transform: [AWS::Serverless-2016-10-31]
Conditions:
  Never: !Equals [a, b]
Resources:
  Cluster: {Type: AWS::MSK::Cluster}
  Billing:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.12
      Handler: app.handler
      InlineCode: 'def handler(e, c): pass'
      Events:
        Orders:
          Type: MSK
          Properties:
            Stream: !Ref Cluster
            Topics: [orders]
            StartingPosition: LATEST
            Enabled: no # which is false in YAML 1.1
            ConsumerGroupId: !If [Never, other, !Ref 'AWS::NoValue']
        Bills:
          Type: MSK
          Properties:
            Stream: !ImportValue cluster
            Topics: [bills]
            StartingPosition: TRIM_HORIZON
            MaximumBatchingWindowInSeconds: 0
            SourceAccessConfigurations: [{Type: CLIENT_CERTIFICATE_TLS_AUTH, URI: certificate}]
  Idle:
    Type: AWS::Serverless::Function
    Condition: Never
    Properties:
      Runtime: python3.12
      Handler: app.handler
      InlineCode: 'def handler(e, c): pass'
      Events:
        Orders:
          Type: MSK
          Properties: {Stream: !Ref Cluster, Topics: [orders], StartingPosition: LATEST}
`, nil},
	{`
Transform: AWS::Serverless-2016-10-31
Resources:
  Billing:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.12
      Handler: app.handler
      InlineCode: 'def handler(e, c): pass'
      Events:
        Orders:
          Type: SelfManagedKafka
          Properties:
            KafkaBootstrapServers: ['kafka.test:9092']
            Topics: [orders]
            SourceAccessConfigurations: [{Type: IAM_OAUTHBEARER_AUTH}, {Type: OAUTHBEARER_AUDIENCE, URI: kafka}]
            ProvisionedPollerConfig: {MinimumPollers: 1}
            MaximumRetryAttempts: 0
            FunctionResponseTypes: [ReportBatchItemFailures]
            DestinationConfig: {OnFailure: {Type: Kafka, Destination: 'kafka://dead'}}
  Mapping: # beside those of events
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref Billing
      Topics: [bills]
      SelfManagedEventSource: {Endpoints: {KafkaBootstrapServers: ['kafka.test:9092']}}
      SourceAccessConfigurations: [{Type: IAM_AUTH}]
      Tags: [{Key: team, Value: billing}]
`, nil},
}
