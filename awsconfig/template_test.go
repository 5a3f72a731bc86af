package awsconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// cloudFormation is a template with most that can be in one.
const cloudFormation = `AWSTemplateFormatVersion: 2010-09-09
Parameters:
  Stage: {Type: String, Default: test}
  Servers: {Type: CommaDelimitedList, Default: "b-1.kafka.test:9092, b-2.kafka.test:9092"}
  Most: {Type: Number, Default: 20}
  Secret: {Type: String}
Mappings:
  Sizes:
    test: {Batch: 10}
    prod: {Batch: 500}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  NotProd: !Not [!Condition IsProd]
  Both: !And [!Condition IsProd, !Condition NotProd]
Resources:
  Billing:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: !Sub "billing-${Stage}"
  Unnamed:
    Type: AWS::Lambda::Function
    Properties: {Handler: bootstrap}
  Live:
    Type: AWS::Lambda::Alias
    Properties: {FunctionName: !Ref Billing, Name: live}
  Queue:
    Type: AWS::SQS::Queue
  Cluster:
    Type: AWS::MSK::Cluster
  Orders:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !GetAtt Billing.Arn
      Topics: [orders]
      SelfManagedEventSource:
        Endpoints:
          KafkaBootstrapServers: !Ref Servers
      SourceAccessConfigurations:
        - Type: SASL_SCRAM_512_AUTH
          URI: !Ref Secret
      BatchSize: !FindInMap [Sizes, !Ref Stage, Batch]
      Enabled: "true"
      KmsKeyArn: !If [IsProd, !Ref Key, !Ref "AWS::NoValue"]
      ProvisionedPollerConfig:
        MinimumPollers: "2"
        MaximumPollers: !Ref Most
      Tags:
        - {Key: stage, Value: !Ref Stage}
  Refunds:
    Type: AWS::Lambda::EventSourceMapping
    Condition: NotProd
    Properties:
      FunctionName: !Ref Live
      Topics: [!Join ["-", [refunds, !Select [1, !Split [".", "a.b"]]]]]
      EventSourceArn: !Ref Cluster
  Returns:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref Unnamed
      Topics: [returns]
      EventSourceArn: !Ref Cluster
  Nowhere:
    Type: AWS::Lambda::EventSourceMapping
    Condition: Both
    Properties: {}
  FromQueue:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref Billing
      EventSourceArn: !GetAtt Queue.Arn
  FromStream:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: !Ref Billing
      EventSourceArn: arn:aws:kinesis:us-east-1:123456789012:stream/a
`

// theCluster answers for the cluster of the template.
func theCluster(i Intrinsic) (any, error) {
	if i.Function == "Ref" && i.Argument == "Cluster" {
		return strings.Trim(msk, `"`), nil
	}
	return nil, ErrUnresolved
}

// says is what was found, as JSON of each.
func says(t *testing.T, found Import) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, f := range found.Found {
		b, err := json.Marshal(f.Config)
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name] = string(b)
	}
	return all
}

func TestATemplateOfCloudFormation(t *testing.T) {
	values := Values{Parameters: map[string]string{"Secret": "kafka-login"}, Resolve: theCluster}
	found, err := ParseTemplate([]byte(cloudFormation), values)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Orders": `{"FunctionName": "billing-test", "Topics": ["orders"],
			"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["b-1.kafka.test:9092", "b-2.kafka.test:9092"]}},
			"SourceAccessConfigurations": [{"Type": "SASL_SCRAM_512_AUTH", "URI": "kafka-login"}], "BatchSize": 10, "Enabled": true,
			"ProvisionedPollerConfig": {"MinimumPollers": 2, "MaximumPollers": 20}, "Tags": {"stage": "test"}}`,
		"Refunds": fmt.Sprintf(`{"FunctionName": "billing-test:live", "Topics": ["refunds-b"], "EventSourceArn": %s}`, msk),
		"Returns": fmt.Sprintf(`{"FunctionName": "Unnamed", "Topics": ["returns"], "EventSourceArn": %s}`, msk),
	}
	got := says(t, found)
	if len(got) != len(want) {
		t.Errorf("found are %v", got)
	}
	for name, w := range want {
		same(t, []byte(got[name]), []byte(w))
	}
	if s := fmt.Sprint(found.Skipped); s != "[{FromQueue AWS::SQS::Queue} {FromStream kinesis}]" {
		t.Errorf("skipped are %s", s)
	}

	// Other values of the parameters: one mapping is not there then, and another one has
	// something that nobody knows.
	values.Parameters["Stage"] = "prod"
	found, err = ParseTemplate([]byte(cloudFormation), values)
	said := Mistakes(err)
	if len(said) != 1 || said[0].Path != "Resources.Orders.Properties.KmsKeyArn.Fn::If[1]" || said[0].Line == 0 || !strings.Contains(said[0].Bound, "cannot be resolved: it is not known") {
		t.Errorf("it says %v", err)
	}
	if got := says(t, found); len(got) != 1 || got["Returns"] == "" {
		t.Errorf("found are %v", got)
	}
}

// TestWhatATemplateDoesNotSay is an error with its path.
func TestWhatATemplateDoesNotSay(t *testing.T) {
	mapping := func(topic string) string {
		return "Resources:\n  M:\n    Type: AWS::Lambda::EventSourceMapping\n    Properties:\n      FunctionName: billing\n      Topics: [" + topic + "]\n      SelfManagedEventSource: {Endpoints: {KAFKA_BOOTSTRAP_SERVERS: [\"kafka.test:9092\"]}}\n"
	}
	for _, tt := range []struct{ what, in, path, want string }{
		{"a resource", mapping("!Ref Topic"), "Resources.M.Properties.Topics[0]", `Ref of "Topic" is not in the template`},
		{"an attribute", mapping("!GetAtt Topic.Name"), "Resources.M.Properties.Topics[0]", `Fn::GetAtt of ["Topic", "Name"] is not in the template`},
		{"in a text", mapping("!Sub 'orders-${AWS::Region}'"), "Resources.M.Properties.Topics[0]", `${AWS::Region}: Ref of "AWS::Region" is not in the template`},
		{"of another stack", mapping("!ImportValue Topic"), "Resources.M.Properties.Topics[0]", `Fn::ImportValue of "Topic" is not in the template`},
		{"a function that there is not", mapping("!Reverse a"), "Resources.M.Properties.Topics[0]", `Fn::Reverse of "a" is not in the template`},
		{"no end", mapping("!Sub '${a'"), "Resources.M.Properties.Topics[0]", "has no end"},
		{"no element", mapping("!Select [2, [a, b]]"), "Resources.M.Properties.Topics[0]", "there is no element 2 of 2"},
		{"no map", mapping("!FindInMap [A, B, C]"), "Resources.M.Properties.Topics[0]", "the template has no Mappings.A.B.C"},
		{"no condition", mapping("!If [A, a, b]"), "Resources.M.Properties.Topics[0]", "the template has no condition A"},
		{"a parameter without a value", "Parameters: {Topic: {Type: String}}\n" + mapping("!Ref Topic"), "Resources.M.Properties.Topics[0]", "give it a value"},
		{"a condition of itself", "Conditions: {A: !Not [!Condition A]}\n" + mapping("!If [A, a, b]"), "Resources.M.Properties.Topics[0]", "depends on itself"},
		{"a list where text is", mapping("!Join ['', [[a]]]"), "Resources.M.Properties.Topics[0]", "it is no text"},
		{"a bound", mapping("orders") + "      BatchSize: 20000\n", "Resources.M.Properties.BatchSize", "must be 1 to 10,000"},
		{"a property", mapping("orders") + "      Speed: 1\n", "Resources.M.Properties.Speed", "is not known"},
		{"no properties", "Resources: {M: {Type: AWS::Lambda::EventSourceMapping}}", "Resources.M", "has no Properties"},
		{"twice", "Resources: {M: {Type: a}, M: {Type: b}}", "Resources.M", "is there twice"},
		{"a merge", "a: &a {b: c}\nResources: {M: {<<: *a}}", "Resources.M", "is not supported"},
		{"itself", "Resources: &a {M: *a}", "", "nested more than"},
	} {
		_, err := ParseTemplate([]byte(tt.in), Values{})
		said := Mistakes(err)
		if tt.path == "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: it says %v", tt.what, err)
			}
			continue
		}
		if len(said) != 1 || said[0].Path != tt.path || !strings.Contains(said[0].Bound, tt.want) {
			t.Errorf("%s: it says %v, want %s: %s", tt.what, err, tt.path, tt.want)
		}
	}
	for _, in := range []string{"", "- a", "a: b", "Resources: a", "a: [", "a: b\n---\na: b"} {
		if _, err := ParseTemplate([]byte(in), Values{}); err == nil {
			t.Errorf("%q is taken for a template", in)
		}
	}
}

// TestResolveMayReturnAnything, and nonsense is an error.
func TestResolveMayReturnAnything(t *testing.T) {
	template := func(value string) []byte {
		return []byte("Resources:\n  M:\n    Type: AWS::Lambda::EventSourceMapping\n    Properties:\n      FunctionName: billing\n      Topics: [orders]\n      SelfManagedEventSource: {Endpoints: {KAFKA_BOOTSTRAP_SERVERS: [\"kafka.test:9092\"]}}\n" + value)
	}
	for _, tt := range []struct {
		property string
		is       any
		good     bool
	}{
		{"BatchSize", 7, true},
		{"BatchSize", "7", true},
		{"BatchSize", 7.0, true},
		{"BatchSize", json.Number("7"), true},
		{"BatchSize", nil, true},
		{"BatchSize", []string{"7"}, false},
		{"BatchSize", struct{}{}, false},
		{"Enabled", true, true},
		{"FunctionResponseTypes", []string{}, true},
		{"Tags", []any{map[string]any{"Key": "a", "Value": "b"}}, true},
	} {
		_, err := ParseTemplate(template("      "+tt.property+": !Ref X\n"), Values{Resolve: func(Intrinsic) (any, error) { return tt.is, nil }})
		if tt.good != (err == nil) {
			t.Errorf("%s of %#v: %v", tt.property, tt.is, err)
		}
	}
	no := errors.New("the stack is gone")
	_, err := ParseTemplate(template("      BatchSize: !ImportValue [a, {b: 1}]\n"), Values{Resolve: func(i Intrinsic) (any, error) {
		if i.Path != "Resources.M.Properties.BatchSize.Fn::ImportValue" || i.Function != "Fn::ImportValue" || !reflect.DeepEqual(i.Argument, []any{"a", map[string]any{"b": json.Number("1")}}) {
			t.Errorf("it is asked for %#v", i)
		}
		return nil, no
	}})
	if err == nil || !strings.Contains(err.Error(), no.Error()) {
		t.Errorf("it says %v", err)
	}
}

// sam is a template of SAM, and samTransformed what SAM makes of its mappings.
const sam = `Transform: AWS::Serverless-2016-10-31
Resources:
  Billing:
    Type: AWS::Serverless::Function
    Properties:
      AutoPublishAlias: live
      Events:
        Orders:
          Type: SelfManagedKafka
          Properties:
            Topics: [orders]
            KafkaBootstrapServers: ["kafka.test:9092"]
            ConsumerGroupId: billing
            SourceAccessConfigurations:
              - {Type: SASL_SCRAM_512_AUTH, URI: login}
            ProvisionedPollerConfig: {MinimumPollers: 2}
            DestinationConfig:
              OnFailure: {Type: Kafka, Destination: "kafka://failed"}
        Refunds:
          Type: MSK
          Properties:
            Topics: [refunds]
            Stream: arn:aws:kafka:us-east-1:123456789012:cluster/a/b
            ConsumerGroupId: refunds
            StartingPosition: LATEST
        Api: {Type: Api, Properties: {Path: /, Method: get}}
        Queue: {Type: SQS, Properties: {Queue: arn:aws:sqs:us-east-1:123456789012:a}}
`

const samTransformed = `{"Resources": {
	"Billing": {"Type": "AWS::Lambda::Function", "Properties": {}},
	"BillingAliaslive": {"Type": "AWS::Lambda::Alias", "Properties": {"Name": "live", "FunctionName": {"Ref": "Billing"}}},
	"BillingOrders": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": {
		"FunctionName": {"Ref": "BillingAliaslive"}, "Topics": ["orders"],
		"SelfManagedEventSource": {"Endpoints": {"KafkaBootstrapServers": ["kafka.test:9092"]}},
		"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "billing"},
		"SourceAccessConfigurations": [{"Type": "SASL_SCRAM_512_AUTH", "URI": "login"}],
		"ProvisionedPollerConfig": {"MinimumPollers": 2}, "DestinationConfig": {"OnFailure": {"Destination": "kafka://failed"}}}},
	"BillingRefunds": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": {
		"FunctionName": {"Ref": "BillingAliaslive"}, "Topics": ["refunds"],
		"EventSourceArn": "arn:aws:kafka:us-east-1:123456789012:cluster/a/b",
		"AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": "refunds"}, "StartingPosition": "LATEST"}}
}}`

func TestATemplateOfSAMIsWhatSAMMakesOfIt(t *testing.T) {
	before, err := ParseTemplate([]byte(sam), Values{})
	if err != nil {
		t.Fatal(err)
	}
	after, err := ParseTemplate([]byte(samTransformed), Values{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before.Found, after.Found) || len(after.Found) != 2 {
		t.Errorf("of SAM it is\n%v\nand of what SAM makes of it\n%v", says(t, before), says(t, after))
	}
	if s := fmt.Sprint(before.Skipped); s != "[{BillingQueue SQS}]" {
		t.Errorf("skipped are %s", s)
	}
	_, err = ParseTemplate([]byte(strings.Replace(sam, "MinimumPollers: 2", "MinimumPollers: 201", 1)), Values{})
	if said := Mistakes(err); len(said) != 1 || said[0].Path != "Resources.Billing.Properties.Events.Orders.Properties.ProvisionedPollerConfig.MinimumPollers" || said[0].Line != 16 {
		t.Errorf("it says %v", err)
	}
}

func FuzzParseTemplate(f *testing.F) {
	f.Add([]byte(cloudFormation))
	f.Add([]byte(sam))
	f.Add([]byte(samTransformed))
	f.Add([]byte("a: &a [1, *a]\nb: !!binary aGk=\nc: 0x1F\nd: .inf\ne: 2026-01-01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		found, err := ParseTemplate(in, Values{Resolve: func(i Intrinsic) (any, error) { return i.Argument, nil }})
		for _, m := range Mistakes(err) {
			if m.Bound == "" {
				t.Errorf("a mistake that says nothing: %#v", m)
			}
		}
		for _, one := range found.Found {
			if _, err := json.Marshal(one.Config); err != nil {
				t.Errorf("%s: %v", one.Name, err)
			}
		}
	})
}
