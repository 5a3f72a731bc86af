package awsconfig

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// aMapping is a template of one mapping, without the rest of its properties.
const aMapping = "Resources:\n  M:\n    Type: AWS::Lambda::EventSourceMapping\n    Properties:"

// aMappingOf is one of a topic.
const aMappingOf = aMapping + "\n      FunctionName: billing\n      Topics: [orders]\n"

const servers = "      SelfManagedEventSource: {Endpoints: {KafkaBootstrapServers: [\"kafka.test:9092\"]}}\n"

// samOf is a template of SAM with the events of a function.
func samOf(events string) string {
	return "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n      Events: " + events + "\n"
}

// TestOddTemplates: what looks as if it was not there, or as if it was something else, is
// said.
func TestOddTemplates(t *testing.T) {
	for _, tt := range []struct{ what, in, path, want string }{
		{"properties that are not there", aMapping + " !Ref AWS::NoValue", "Resources.M", "has no Properties"},
		{"properties that are text", aMapping + " !ImportValue a", "Resources.M", "has no Properties"},
		{"properties of an event that are not there", samOf("{A: {Type: MSK, Properties: !Ref AWS::NoValue}}"), "Resources.F.Properties.Events.A", "has no Properties"},
		{"a cluster of another stack", aMappingOf + "      EventSourceArn: !GetAtt Stack.Outputs.Arn\n  Stack: {Type: AWS::CloudFormation::Stack}", "Resources.M.Properties.EventSourceArn", "must be an ARN"},
		{"a parameter of SQS", aMappingOf + "      ScalingConfig: {MaximumConcurrency: 5}\n" + servers, "Resources.M.Properties.ScalingConfig", "is a parameter of SQS"},
		{"resources of a loop", "Resources:\n  Fn::ForEach::Topics:\n    - Topic\n    - [a, b]\n    - M${Topic}: {Type: AWS::Lambda::EventSourceMapping}", "Resources.Fn::ForEach::Topics", "write them out"},
		{"events of a loop", samOf("{'Fn::ForEach::A': [A, [a], {'E${A}': {Type: MSK}}]}"), "Resources.F.Properties.Events.Fn::ForEach::A", "write them out"},
		{"an event of a function", samOf("{A: !If [A, {Type: MSK}, !Ref AWS::NoValue]}"), "Resources.F.Properties.Events.A", "write them out"},
		{"a dynamic reference", aMappingOf + servers + "      SourceAccessConfigurations: [{Type: BASIC_AUTH, URI: '{{resolve:ssm:/kafka}}'}]", "Resources.M.Properties.SourceAccessConfigurations[0].URI", "is a dynamic reference"},
		{"a dynamic reference in a text", aMappingOf + servers + "      KmsKeyArn: !Sub ['{{resolve:ssm:/${a}}}', {a: b}]", "Resources.M.Properties.KmsKeyArn", "is a dynamic reference"},
		{"endpoints that are not there", aMappingOf + "      SelfManagedEventSource: {}", "Resources.M.Properties.SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS", "must have 1 to 10"},
		{"a tag without a name", aMappingOf + servers + "      Tags: [{Value: b}]", "Resources.M.Properties.Tags[0]", "must be a name"},
		{"a tag with a typing error", aMappingOf + servers + "      Tags: [{Key: a, Vaule: b}]", "Resources.M.Properties.Tags[0].Vaule", "is not known"},
		{"a tag twice", aMappingOf + servers + "      Tags: [{Key: a, Value: b}, {Key: a, Value: c}]", "Resources.M.Properties.Tags[1].Key", "is the name of another tag too"},
		{"the function of an event", samOf("{A: {Type: MSK, Properties: {Topics: [orders], Stream: 'arn:aws:kafka:us-east-1:123456789012:cluster/a/b', FunctionName: other}}}"), "Resources.F.Properties.Events.A.Properties.FunctionName", "is not known in an event of SAM"},
		{"tags of an event", samOf("{A: {Type: MSK, Properties: {Topics: [orders], Stream: 'arn:aws:kafka:us-east-1:123456789012:cluster/a/b', Tags: {a: b}}}}"), "Resources.F.Properties.Events.A.Properties.Tags", "is not known in an event of SAM"},
	} {
		found, err := ParseTemplate([]byte(tt.in), Values{Resolve: func(Intrinsic) (any, error) { return "x", nil }})
		if said := Mistakes(err); len(said) != 1 || said[0].Path != tt.path || !strings.Contains(said[0].Bound, tt.want) || len(found.Found) > 0 {
			t.Errorf("%s: it says %v, want %s: %s; found are %v", tt.what, err, tt.path, tt.want, found)
		}
	}
}

// TestWhatIsForSAMAlone: a property of an event that is about the role of the function needs
// no value.
func TestWhatIsForSAMAlone(t *testing.T) {
	found, err := ParseTemplate([]byte(samOf("{A: {Type: SelfManagedKafka, Properties: {Topics: [orders], KafkaBootstrapServers: ['kafka.test:9092'], SecretsManagerKmsKeyId: !Ref Key}}}")), Values{})
	if err != nil || len(found.Found) != 1 {
		t.Errorf("it is %v, %v", found, err)
	}
}

// TestBooleansOfYAML are those of version 1.1, which templates are of.
func TestBooleansOfYAML(t *testing.T) {
	for in, want := range map[string]bool{"true": true, "Yes": true, "on": true, "'true'": true, "false": false, "no": false, "OFF": false} {
		found, err := ParseTemplate([]byte(aMappingOf+servers+"      Enabled: "+in), Values{})
		if err != nil || *found.Found[0].Config.Enabled != want {
			t.Errorf("%s is %v, %v", in, found, err)
		}
	}
	if _, err := ParseTemplate([]byte(aMappingOf+servers+"      Enabled: y"), Values{}); err == nil {
		t.Error("y is taken")
	}
}

// TestAParameterOfSSM has the name of its value for a default.
func TestAParameterOfSSM(t *testing.T) {
	in := []byte("Parameters: {Secret: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /kafka/secret}}\n" +
		aMappingOf + servers + "      SourceAccessConfigurations: [{Type: BASIC_AUTH, URI: !Ref Secret}]")
	if _, err := ParseTemplate(in, Values{}); err == nil || !strings.Contains(err.Error(), `Ref of "Secret" is not in the template`) {
		t.Errorf("it says %v", err)
	}
	for _, values := range []Values{{Parameters: map[string]string{"Secret": "login"}}, {Resolve: func(i Intrinsic) (any, error) { return map[any]any{"Secret": "login"}[i.Argument], nil }}} {
		found, err := ParseTemplate(in, values)
		if err != nil || found.Found[0].Config.SourceAccessConfigurations[0].URI != "login" {
			t.Errorf("it is %v, %v", found, err)
		}
	}
}

// TestWhatIsSkippedNeedsNoValues: nobody has to say what only other mappings are about.
func TestWhatIsSkippedNeedsNoValues(t *testing.T) {
	found, err := ParseTemplate([]byte(`Conditions: {Here: !Equals [!Ref "AWS::Region", a]}
Parameters: {Queue: {Type: String, Default: "arn:aws:sqs:us-east-1:123456789012:a"}}
Resources:
  A: {Type: AWS::Lambda::EventSourceMapping, Condition: Here, Properties: {FunctionName: !Ref F, EventSourceArn: !Sub "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:a"}}
  B: {Type: AWS::Lambda::EventSourceMapping, Properties: {FunctionName: billing, EventSourceArn: !Ref Queue}}
  F: {Type: AWS::Serverless::Function, Condition: Here, Properties: {Events: {Api: {Type: Api}, Q: {Type: SQS}}}}
`), Values{})
	if s := fmt.Sprint(found.Skipped); err != nil || s != "[{A sqs} {B sqs} {FQ SQS}]" {
		t.Errorf("skipped are %s, %v", s, err)
	}
}

// TestGlobals: an alias that SAM publishes for all functions is in the name of each.
func TestGlobals(t *testing.T) {
	event := samOf("{A: {Type: MSK, Properties: {Topics: [orders], StartingPosition: LATEST, Stream: " + strings.Trim(msk, `"`) + "}}}")
	for globals, want := range map[string]string{"": "F", "Globals: {Function: {AutoPublishAlias: live}}\n": "F:live"} {
		found, err := ParseTemplate([]byte(globals+event), Values{})
		if err != nil || found.Found[0].Config.FunctionName != want {
			t.Errorf("%q: it is %v, %v", globals, found, err)
		}
	}
}

// TestResolveIsAskedForNames, and not for functions that make names.
func TestResolveIsAskedForNames(t *testing.T) {
	in := aMappingOf + servers + "      BatchSize: !ImportValue {Fn::Sub: '${Stage}-size'}\nParameters: {Stage: {Type: String, Default: test}}"
	_, err := ParseTemplate([]byte(in), Values{Resolve: func(i Intrinsic) (any, error) {
		if !reflect.DeepEqual(i.Argument, "test-size") {
			return nil, errors.New("it is asked for something else")
		}
		return 7, nil
	}})
	if err != nil {
		t.Error(err)
	}
}

// TestTemplatesThatDoNotEnd end: names that are in each other, and texts that have another
// one many times.
func TestTemplatesThatDoNotEnd(t *testing.T) {
	text := "a"
	for range 12 {
		text = "{Fn::Sub: ['" + strings.Repeat("${a}", 16) + "', {a: " + text + "}]}"
	}
	var chain strings.Builder
	for i := range 60 {
		fmt.Fprintf(&chain, "  F%d: {Type: AWS::Lambda::Function, Properties: {FunctionName: !Sub '${F%d}${F%d}'}}\n", i, i+1, i+1)
	}
	of := func(function string) string {
		return aMapping + "\n      FunctionName: " + function + "\n      Topics: [orders]\n" + servers
	}
	for _, tt := range []struct{ what, in, want string }{
		{"a function in its own name", of("!Ref F") + "  F: {Type: AWS::Lambda::Function, Properties: {FunctionName: !Ref F}}", "depends on itself"},
		{"an alias in its own name", of("!Ref A") + "  A: {Type: AWS::Lambda::Alias, Properties: {FunctionName: f, Name: !Ref A}}", "depends on itself"},
		{"text in text", of(text), "make too much"},
		{"names in names", of("!Ref F0") + chain.String() + "  F60: {Type: AWS::Lambda::Function}", "make too much"},
	} {
		begun := time.Now()
		_, err := ParseTemplate([]byte(tt.in), Values{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || time.Since(begun) > 20*time.Second {
			t.Errorf("%s: after %s it says %.500v", tt.what, time.Since(begun), err)
		}
	}
}

// TestWhatIsHiddenIsNotShown in mistakes.
func TestWhatIsHiddenIsNotShown(t *testing.T) {
	const secret = "hunter2"
	parameter := "Parameters: {P: {Type: String, NoEcho: true, Default: " + secret + "}, L: {Type: CommaDelimitedList, NoEcho: 'true', Default: '" + secret + ",b'}}\n"
	for _, property := range []string{"BatchSize: !Ref P", "BatchSize: !Sub 'a${P}'", "BatchSize: !Join ['', [a, !Ref P]]", "FunctionResponseTypes: !Ref L", "FunctionResponseTypes: !Split [b, !Ref P]",
		"LoggingConfig: {SystemLogLevel: !Select [0, !Ref L]}", "Queues: [!Ref P]", "Enabled: {a: !Ref P}"} {
		_, err := ParseTemplate([]byte(parameter+aMappingOf+servers+"      "+property), Values{})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: it says %v", property, err)
		}
	}
	// Who takes the name of a secret for the secret must not find it in a log.
	for _, access := range []string{
		fmt.Sprintf(`[{"Type": "BASIC_AUTH", "URI": "%s%s"}]`, secret, strings.Repeat(" ", 200)), `[{"Type": "BASIC_AUTH", "URI": {"password": "hunter2"}}]`,
		`[{"Type": "BASIC_AUTH", "Password": "hunter2"}]`, `{"password": "hunter2"}`, `["hunter2"]`,
	} {
		_, err := ParseJSON(with(t, "SourceAccessConfigurations", access))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: it says %v", access, err)
		}
	}
}

// TestLargeDocuments are read in a time that grows as they do, and refused if their names
// would not fit in memory.
func TestLargeDocuments(t *testing.T) {
	begun := time.Now()
	if _, err := ParseJSON([]byte(strings.Repeat("\n", 16<<20) + `{"a": [` + strings.Repeat("0,", 20_000) + "0]}")); err == nil || !strings.Contains(err.Error(), "a (line 16777217)") || time.Since(begun) > 10*time.Second {
		t.Errorf("after %s it says %.200v", time.Since(begun), err)
	}
	long := strings.Repeat("a", 1<<20)
	for _, in := range []string{`{"` + long + `": [` + strings.Repeat("0,", 1000) + "0]}", long[:1000] + ": [" + strings.Repeat("0,", 70_000) + "0]"} {
		if _, err := readDocument([]byte(in)); !errors.Is(err, errPaths) {
			t.Errorf("it says %.200v", err)
		}
	}
}

// TestANumberIsShownAsItWasWritten, although what is beyond 32 bits is not kept.
func TestANumberIsShownAsItWasWritten(t *testing.T) {
	_, err := ParseJSON(with(t, "BatchSize", "5000000000"))
	if said := Mistakes(err); len(said) != 1 || said[0].Value != "5000000000" {
		t.Errorf("it says %v", err)
	}
}
