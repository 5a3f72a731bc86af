package awsconfig

import (
	"fmt"
	"strings"
	"testing"
)

// TestBounds tries each bound at it, below it and above it.
func TestBounds(t *testing.T) {
	text := func(n int) string { return fmt.Sprintf("%q", strings.Repeat("a", n)) }
	list := func(n int, one string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + "]"
	}
	number := func(n int) string { return fmt.Sprint(n) }
	tags := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"t%d": ""`, i))
		}
		return "{" + strings.Join(all, ",") + "}"
	}
	const provisioned = `{"MinimumPollers": 1}`
	for _, tt := range []struct {
		field       string
		least, most int // that are taken
		write       func(int) string
		from        int // the least that can be written
		beside      []string
		at          string // where the mistake is, if it is not field
	}{
		{"FunctionName", 1, 64, text, 1, nil, ""},
		{"Topics", 1, 1, func(n int) string { return list(n, `"orders"`) }, 0, nil, ""},
		{"Topics", 2, 249, func(n int) string { return "[" + text(n) + "]" }, 1, nil, "Topics[0]"},
		{"BatchSize", 1, 10_000, number, -9, nil, ""},
		{"MaximumBatchingWindowInSeconds", 0, 300, number, -9, nil, ""},
		{"MaximumRetryAttempts", -1, 10_000, number, -9, []string{"ProvisionedPollerConfig", provisioned}, ""},
		{"MaximumRecordAgeInSeconds", 60, 604_800, number, 0, []string{"ProvisionedPollerConfig", provisioned}, ""},
		{"ProvisionedPollerConfig", 1, 200, func(n int) string { return fmt.Sprintf(`{"MinimumPollers": %d, "MaximumPollers": 2000}`, n) }, 0, nil, "ProvisionedPollerConfig.MinimumPollers"},
		{"ProvisionedPollerConfig", 1, 2000, func(n int) string { return fmt.Sprintf(`{"MaximumPollers": %d}`, n) }, 0, nil, "ProvisionedPollerConfig.MaximumPollers"},
		{"ProvisionedPollerConfig", 7, 2000, func(n int) string { return fmt.Sprintf(`{"MinimumPollers": 7, "MaximumPollers": %d}`, n) }, 0, nil, "ProvisionedPollerConfig.MaximumPollers"},
		{"ProvisionedPollerConfig", 0, 128, func(n int) string { return fmt.Sprintf(`{"PollerGroupName": %s}`, text(n)) }, 0, nil, "ProvisionedPollerConfig.PollerGroupName"},
		{"SelfManagedKafkaEventSourceConfig", 0, 200, func(n int) string { return fmt.Sprintf(`{"ConsumerGroupId": %s}`, text(n)) }, 0, nil, "SelfManagedKafkaEventSourceConfig.ConsumerGroupId"},
		{"SelfManagedEventSource", 1, 10, func(n int) string {
			return fmt.Sprintf(`{"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": %s}}`, list(n, `"kafka.test:9092"`))
		}, 0, nil, "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS"},
		{"SelfManagedEventSource", 3, 300, func(n int) string {
			return fmt.Sprintf(`{"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["%s:9"]}}`, strings.Repeat("a", n-2))
		}, 2, nil, "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS[0]"},
		{"SourceAccessConfigurations", 1, 200, func(n int) string { return fmt.Sprintf(`[{"Type": "BASIC_AUTH", "URI": %s}]`, text(n)) }, 0, nil, "SourceAccessConfigurations[0].URI"},
		{"SourceAccessConfigurations", 0, 23, func(n int) string {
			return strings.Replace(list(n, `{"Type": "VPC_SUBNET", "URI": "subnet:a"}`), "VPC_SUBNET\", \"URI\": \"subnet:", "VPC_SECURITY_GROUP\", \"URI\": \"security_group:", 1)
		}, 0, nil, "SourceAccessConfigurations"},
		{"FunctionResponseTypes", 0, 1, func(n int) string { return list(n, `"ReportBatchItemFailures"`) }, 0, []string{"ProvisionedPollerConfig", provisioned}, ""},
		{"MetricsConfig", 0, 3, func(n int) string { return fmt.Sprintf(`{"Metrics": %s}`, list(n, `"EventCount"`)) }, 0, []string{"ProvisionedPollerConfig", provisioned}, "MetricsConfig.Metrics"},
		{"DestinationConfig", 9, 8 + 249, func(n int) string {
			return fmt.Sprintf(`{"OnFailure": {"Destination": "kafka://%s"}}`, strings.Repeat("a", n-8))
		}, 8, []string{"ProvisionedPollerConfig", provisioned}, "DestinationConfig.OnFailure.Destination"},
		{"Tags", 0, 50, tags, 0, nil, ""},
		{"Tags", 1, 128, func(n int) string { return fmt.Sprintf(`{%s: ""}`, text(n)) }, 0, nil, "Tags."},
		{"Tags", 0, 256, func(n int) string { return fmt.Sprintf(`{"a": %s}`, text(n)) }, 0, nil, "Tags.a"},
	} {
		for n, good := range map[int]bool{tt.least - 1: false, tt.least: true, tt.least + 1: tt.least < tt.most, tt.most - 1: tt.least < tt.most, tt.most: true, tt.most + 1: false} {
			if n < tt.from {
				continue
			}
			if len(tt.beside) == 0 && tt.field == "SourceAccessConfigurations" && n == 1 && tt.most == 23 {
				continue // one of two that go together
			}
			_, err := ParseJSON(with(t, append([]string{tt.field, tt.write(n)}, tt.beside...)...))
			at := tt.at
			if at == "" {
				at = tt.field
			}
			switch said := Mistakes(err); {
			case good != (err == nil):
				t.Errorf("%s of %d: %v", at, n, err)
			case !good && (len(said) != 1 || !strings.HasPrefix(said[0].Field, at)):
				t.Errorf("%s of %d: the mistakes are %v", at, n, err)
			}
		}
	}
}

// TestWhatIsRefused: each mistake is said once, where it is.
func TestWhatIsRefused(t *testing.T) {
	const needs = "needs provisioned pollers"
	for _, tt := range []struct {
		what    string
		members []string
		field   string
		want    string
	}{
		{"no function", []string{"FunctionName", ""}, "FunctionName", "is required"},
		{"a function with a slash", []string{"FunctionName", `"a/b"`}, "FunctionName", "must be the name of a function"},
		{"an ARN of a queue for a function", []string{"FunctionName", `"arn:aws:sqs:us-east-1:123456789012:billing"`}, "FunctionName", "must be the name of a function"},
		{"no topic", []string{"Topics", ""}, "Topics", "is required"},
		{"a topic with a space", []string{"Topics", `["a b"]`}, "Topics[0]", "must be the name of a topic"},
		{"a topic with a dot first", []string{"Topics", `[".orders"]`}, "Topics[0]", "must be the name of a topic"},
		{"no source", []string{"SelfManagedEventSource", ""}, "SelfManagedEventSource", "is required"},
		{"two sources", []string{"EventSourceArn", msk}, "SelfManagedEventSource", "must not be there beside EventSourceArn"},
		{"a queue", []string{"SelfManagedEventSource", "", "EventSourceArn", `"arn:aws:sqs:us-east-1:123456789012:orders"`}, "EventSourceArn", "and not sqs"},
		{"a topic of MSK", []string{"SelfManagedEventSource", "", "EventSourceArn", `"arn:aws:kafka:us-east-1:123456789012:topic/orders/1/a"`}, "EventSourceArn", "must be of a cluster"},
		{"no ARN", []string{"SelfManagedEventSource", "", "EventSourceArn", `"orders"`}, "EventSourceArn", "must be an ARN"},
		{"an ARN of no region", []string{"SelfManagedEventSource", "", "EventSourceArn", `"arn:aws:kafka:east:123456789012:cluster/a/b"`}, "EventSourceArn", "must be an ARN"},
		{"an ARN that is too long", []string{"SelfManagedEventSource", "", "EventSourceArn", fmt.Sprintf("%q", "arn:aws:kafka:us-east-1:123456789012:cluster/"+strings.Repeat("a", 10_000))}, "EventSourceArn", "must be 0 to 10,000 characters"},
		{"a key that is too long", []string{"KMSKeyArn", fmt.Sprintf("%q", "arn:aws:kms:us-east-1:123456789012:key/"+strings.Repeat("a", 10_000))}, "KMSKeyArn", "must be 0 to 10,000 characters"},
		{"a host with two dots", []string{"SelfManagedEventSource", `{"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a..b:1"]}}`}, "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS[0]", "must be host:port"},
		{"a host with a hyphen before a dot", []string{"SelfManagedEventSource", `{"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a-.b:1"]}}`}, "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS[0]", "must be host:port"},
		{"other endpoints", []string{"SelfManagedEventSource", `{"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["a:1"], "SERVERS": ["b:1"]}}`}, "SelfManagedEventSource.Endpoints.SERVERS", "write KAFKA_BOOTSTRAP_SERVERS"},
		{"a server with a scheme", []string{"SelfManagedEventSource", `{"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["https://kafka.test:9092"]}}`}, "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS[0]", "must be host:port"},
		{"a server without a port", []string{"SelfManagedEventSource", `{"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka.test"]}}`}, "SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS[0]", "must be host:port"},
		{"a group of MSK", []string{"AmazonManagedKafkaEventSourceConfig", `{"ConsumerGroupId": "a"}`}, "AmazonManagedKafkaEventSourceConfig", "belongs to EventSourceArn"},
		{"a group with a comma", []string{"SelfManagedKafkaEventSourceConfig", `{"ConsumerGroupId": "a,b"}`}, "SelfManagedKafkaEventSourceConfig.ConsumerGroupId", "must have letters"},
		{"a queue of Kafka", []string{"SelfManagedKafkaEventSourceConfig", `{"ConsumptionMode": "Queue"}`}, "SelfManagedKafkaEventSourceConfig.ConsumptionMode", "is not built yet"},
		{"another mode", []string{"SelfManagedKafkaEventSourceConfig", `{"ConsumptionMode": "Batch"}`}, "SelfManagedKafkaEventSourceConfig.ConsumptionMode", "must be Stream or Queue"},
		{"a mode of MSK", []string{"SelfManagedEventSource", "", "EventSourceArn", msk, "AmazonManagedKafkaEventSourceConfig", `{"ConsumptionMode": "Stream"}`}, "AmazonManagedKafkaEventSourceConfig.ConsumptionMode", "is no parameter of MSK"},
		{"a registry", []string{"SelfManagedKafkaEventSourceConfig", `{"SchemaRegistryConfig": {"SchemaRegistryURI": "https://registry.test"}}`}, "SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig", "is not built yet"},
		{"a filter", []string{"FilterCriteria", `{"Filters": [{"Pattern": "{}"}]}`}, "FilterCriteria", "is not built yet"},
		{"another position", []string{"StartingPosition", `"EARLIEST"`}, "StartingPosition", "must be TRIM_HORIZON, LATEST or AT_TIMESTAMP"},
		{"no time", []string{"StartingPosition", `"AT_TIMESTAMP"`}, "StartingPositionTimestamp", "is required"},
		{"a time to come", []string{"StartingPosition", `"AT_TIMESTAMP"`, "StartingPositionTimestamp", "99999999999"}, "StartingPositionTimestamp", "must not be in the future"},
		{"a time that is text", []string{"StartingPosition", `"AT_TIMESTAMP"`, "StartingPositionTimestamp", `"2026-01-01T00:00:00Z"`}, "StartingPositionTimestamp", "as a number of seconds"},
		{"a time alone", []string{"StartingPositionTimestamp", "1"}, "StartingPosition", "must be AT_TIMESTAMP"},
		{"an age of half a minute", []string{"ProvisionedPollerConfig", `{"MinimumPollers": 1}`, "MaximumRecordAgeInSeconds", "30"}, "MaximumRecordAgeInSeconds", "must be -1, or 60 to 604,800"},
		{"an age of none", []string{"ProvisionedPollerConfig", `{"MinimumPollers": 1}`, "MaximumRecordAgeInSeconds", "0"}, "MaximumRecordAgeInSeconds", "must be -1, or 60 to 604,800"},
		{"pollers above their default", []string{"ProvisionedPollerConfig", `{"MinimumPollers": 3, "MaximumPollers": 2}`}, "ProvisionedPollerConfig.MaximumPollers", "must be at least MinimumPollers, which is 3"},
		{"another response type", []string{"ProvisionedPollerConfig", `{"MinimumPollers": 1}`, "FunctionResponseTypes", `["All"]`}, "FunctionResponseTypes[0]", "must be ReportBatchItemFailures"},
		{"a destination of success", []string{"DestinationConfig", `{"OnSuccess": {"Destination": "arn:aws:sqs:us-east-1:123456789012:a"}}`}, "DestinationConfig.OnSuccess", "is no parameter"},
		{"a destination that is none", []string{"DestinationConfig", `{"OnFailure": {"Destination": "orders"}}`}, "DestinationConfig.OnFailure.Destination", "must be the ARN"},
		{"retries on demand", []string{"MaximumRetryAttempts", "0"}, "MaximumRetryAttempts", needs},
		{"an age on demand", []string{"MaximumRecordAgeInSeconds", "60"}, "MaximumRecordAgeInSeconds", needs},
		{"bisect on demand", []string{"BisectBatchOnFunctionError", "true"}, "BisectBatchOnFunctionError", needs},
		{"responses on demand", []string{"FunctionResponseTypes", `["ReportBatchItemFailures"]`}, "FunctionResponseTypes", needs},
		{"a topic on demand", []string{"DestinationConfig", `{"OnFailure": {"Destination": "kafka://a"}}`, "ProvisionedPollerConfig", "{}"}, "DestinationConfig.OnFailure.Destination", needs},
		{"metrics on demand", []string{"MetricsConfig", `{"Metrics": ["EventCount"]}`}, "MetricsConfig", needs},
		{"a log on demand", []string{"LoggingConfig", `{"SystemLogLevel": "INFO"}`}, "LoggingConfig", needs},
		{"a key that is none", []string{"KMSKeyArn", `"key"`}, "KMSKeyArn", "must be the ARN of a key"},
		{"AWS's own tag", []string{"Tags", `{"aws:a": ""}`}, "Tags.aws:a", "must not begin with aws:"},
		{"a typing error", []string{"Batchsize", "1"}, "Batchsize", "write BatchSize"},
		{"what nobody knows", []string{"Speed", "1"}, "Speed", "is not known"},
		{"what nobody knows, below", []string{"ProvisionedPollerConfig", `{"MinPollers": 1}`}, "ProvisionedPollerConfig.MinPollers", "is not known"},
		{"a number that is text", []string{"BatchSize", `"1"`}, "BatchSize", "must be a whole number"},
		{"a number that is not whole", []string{"BatchSize", "1.5"}, "BatchSize", "must be a whole number"},
		{"a number beyond all", []string{"BatchSize", "1e300"}, "BatchSize", "must be a whole number"},
		{"a list that is text", []string{"Topics", `"orders"`}, "Topics", "must be a list"},
		{"an object that is a list", []string{"Tags", `[]`}, "Tags", "must be an object"},
		{"a word that is text", []string{"Enabled", `"true"`}, "Enabled", "must be true or false"},
		{"text that is a number", []string{"FunctionName", "1"}, "FunctionName", "must be text"},

		{"an unknown login", []string{"SourceAccessConfigurations", `[{"Type": "KERBEROS", "URI": "a"}]`}, "SourceAccessConfigurations[0].Type", "must be BASIC_AUTH"},
		{"no type", []string{"SourceAccessConfigurations", `[{"URI": "a"}]`}, "SourceAccessConfigurations[0].Type", "is required"},
		{"a type of RabbitMQ", []string{"SourceAccessConfigurations", `[{"Type": "VIRTUAL_HOST", "URI": "a"}]`}, "SourceAccessConfigurations[0].Type", "of RabbitMQ"},
		{"no secret", []string{"SourceAccessConfigurations", `[{"Type": "BASIC_AUTH"}]`}, "SourceAccessConfigurations[0].URI", "is required"},
		{"a secret with a comma", []string{"SourceAccessConfigurations", `[{"Type": "BASIC_AUTH", "URI": "a,b"}]`}, "SourceAccessConfigurations[0].URI", "must have letters"},
		{"a scope with a comma", []string{"SourceAccessConfigurations", `[{"Type": "OAUTHBEARER_AUTH", "URI": "a"}, {"Type": "OAUTHBEARER_SCOPE", "URI": "a,b"}]`}, "SourceAccessConfigurations[1].URI", `"a,b" must have letters`},
		{"a secret of IAM", []string{"SourceAccessConfigurations", `[{"Type": "IAM_AUTH", "URI": "a"}]`}, "SourceAccessConfigurations[0].URI", "must not be there"},
		{"two logins", []string{"SourceAccessConfigurations", `[{"Type": "BASIC_AUTH", "URI": "a"}, {"Type": "SASL_SCRAM_256_AUTH", "URI": "a"}]`}, "SourceAccessConfigurations[1].Type", "beside BASIC_AUTH"},
		{"one login twice", []string{"SourceAccessConfigurations", `[{"Type": "BASIC_AUTH", "URI": "a"}, {"Type": "BASIC_AUTH", "URI": "b"}]`}, "SourceAccessConfigurations[1].Type", "must not be there twice"},
		{"PLAIN at MSK", []string{"SelfManagedEventSource", "", "EventSourceArn", msk, "SourceAccessConfigurations", `[{"Type": "BASIC_AUTH", "URI": "a"}]`}, "SourceAccessConfigurations[0].Type", "is not for MSK"},
		{"a scope alone", []string{"SourceAccessConfigurations", `[{"Type": "OAUTHBEARER_SCOPE", "URI": "a"}]`}, "SourceAccessConfigurations[0].Type", "needs OAUTHBEARER_AUTH beside it"},
		{"IAM without an audience", []string{"SourceAccessConfigurations", `[{"Type": "IAM_OAUTHBEARER_AUTH"}]`}, "SourceAccessConfigurations[0].Type", "needs OAUTHBEARER_AUDIENCE"},
		{"a destination of DynamoDB", []string{"DestinationConfig", `{"OnFailure": {"Destination": "arn:aws:dynamodb:us-east-1:123456789012:table/failed"}}`}, "DestinationConfig.OnFailure.Destination", "must be the ARN of a queue"},
		{"a subnet alone", []string{"SourceAccessConfigurations", `[{"Type": "VPC_SUBNET", "URI": "subnet:a"}]`}, "SourceAccessConfigurations[0].Type", "needs VPC_SECURITY_GROUP"},
		{"a subnet that is none", []string{"SourceAccessConfigurations", `[{"Type": "VPC_SUBNET", "URI": "a"}, {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:a"}]`}, "SourceAccessConfigurations[0].URI", "must begin with subnet:"},
	} {
		_, err := ParseJSON(with(t, tt.members...))
		said := Mistakes(err)
		if len(said) != 1 || said[0].Field != tt.field || !strings.Contains(said[0].Error(), tt.want) {
			t.Errorf("%s: it says %v, want %s: %s", tt.what, err, tt.field, tt.want)
			continue
		}
		if unbuilt := strings.Contains(tt.want, "not built"); said[0].Unbuilt != unbuilt {
			t.Errorf("%s: unbuilt is %v", tt.what, said[0].Unbuilt)
		}
	}
}

// TestEverythingIsSaidAtOnce, each with its line.
func TestEverythingIsSaidAtOnce(t *testing.T) {
	_, err := ParseJSON([]byte("{\n\"FunctionName\": \"a b\",\n\"Topics\": [\n\"orders\", 1],\n\"BatchSize\": 0,\n\"Queues\": [\"q\"]\n}"))
	var said []string
	for _, m := range Mistakes(err) {
		said = append(said, fmt.Sprintf("%s %d", m.Field, m.Line))
	}
	want := "[Topics[1] 4 Queues 6 FunctionName 2 Topics 3 SelfManagedEventSource 1 BatchSize 5]"
	if got := fmt.Sprint(said); got != want {
		t.Errorf("the mistakes are\n%s, want\n%s\n%v", got, want, err)
	}
}

// TestWhatAWSTakes is taken: forms that are easily refused.
func TestWhatAWSTakes(t *testing.T) {
	for _, members := range [][]string{
		{"FunctionName", `"billing:PROD"`},
		{"FunctionName", `"billing:$LATEST"`},
		{"FunctionName", `"arn::lambda:us-east-1:123456789012:function:billing"`}, // as its model has it
		{"FunctionName", `"123456789012:function:billing"`},
		{"FunctionName", `"arn:aws:lambda:us-east-1:123456789012:function:billing:3"`},
		{"FunctionName", `"arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:billing"`},
		{"FunctionName", `"arn:aws:lambda:eusc-de-east-1:123456789012:function:billing"`},
		{"SelfManagedEventSource", "", "EventSourceArn", msk},
		{"SelfManagedEventSource", "", "EventSourceArn", `"arn:aws-cn:kafka:cn-north-1:123456789012:vpc-connection/123456789012/a/b"`},
		{"SelfManagedEventSource", "", "EventSourceArn", msk, "AmazonManagedKafkaEventSourceConfig", `{"ConsumerGroupId": "a"}`, "SourceAccessConfigurations", `[{"Type": "SASL_SCRAM_512_AUTH", "URI": "a"}]`},
		{"SelfManagedEventSource", `{"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["[::1]:9092", "10.0.0.1:9", "b-1.kafka.test:65535", "kafka_1:9092"]}}`},
		{"BatchSize", "1e2"},
		{"ProvisionedPollerConfig", "{}"},
		{"ProvisionedPollerConfig", `{"PollerGroupName": "a"}`},
		{"DestinationConfig", "{}"},
		{"DestinationConfig", `{"OnFailure": {}}`},
		{"DestinationConfig", `{"OnFailure": {"Destination": ""}, "OnSuccess": {}}`},
		{"DestinationConfig", `{"OnFailure": {"Destination": "arn:aws:s3:::failed"}}`},
		{"FunctionResponseTypes", "[]"},
		{"FilterCriteria", "{}"},
		{"FilterCriteria", `{"Filters": []}`},
		{"MaximumRetryAttempts", "-1", "MaximumRecordAgeInSeconds", "-1", "BisectBatchOnFunctionError", "false"},
		{"SourceAccessConfigurations", `[{"Type": "OAUTHBEARER_AUTH", "URI": "a"}, {"Type": "OAUTHBEARER_SCOPE", "URI": "b"}, {"Type": "OAUTHBEARER_AUDIENCE", "URI": "c"}, {"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": "d"}]`},
		{"SourceAccessConfigurations", `[{"Type": "IAM_OAUTHBEARER_AUTH"}, {"Type": "OAUTHBEARER_AUDIENCE", "URI": "c"}]`},
		{"SourceAccessConfigurations", `[{"Type": "IAM_AUTH"}]`},
		{"StartingPosition", `"LATEST"`, "StartingPositionTimestamp", "1"},
		{"Tags", `{"Straße 1_.:/=+-@": "ok"}`},
	} {
		if _, err := ParseJSON(with(t, members...)); err != nil {
			t.Errorf("%s: %v", members, err)
		}
	}
}
