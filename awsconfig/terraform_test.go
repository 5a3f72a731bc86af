package awsconfig

import (
	"fmt"
	"strings"
	"testing"
)

// shown is what terraform show -json prints of resources, as a plan or as a state.
func planOf(where string, resources ...string) []byte {
	return fmt.Appendf(nil, `{"format_version": "1.2", %q: {"root_module": {"resources": [%s], "child_modules": [{"address": "module.a", "resources": [
		{"address": "module.a.aws_lambda_event_source_mapping.returns", "mode": "managed", "type": "aws_lambda_event_source_mapping", "values": {
			"function_name": "returns", "topics": ["returns"], "event_source_arn": %s}}]}]}}}`, where, strings.Join(resources, ","), msk)
}

const terraformOrders = `{"address": "aws_lambda_event_source_mapping.orders", "mode": "managed", "type": "aws_lambda_event_source_mapping", "name": "orders",
	"provider_name": "registry.terraform.io/hashicorp/aws", "schema_version": 0, "values": {
		"amazon_managed_kafka_event_source_config": [], "batch_size": 500, "bisect_batch_on_function_error": true,
		"destination_config": [{"on_failure": [{"destination_arn": "kafka://failed"}]}], "document_db_event_source_config": [], "enabled": true,
		"event_source_arn": null, "filter_criteria": [], "function_name": "billing", "function_response_types": ["ReportBatchItemFailures"],
		"kms_key_arn": "", "maximum_batching_window_in_seconds": 0, "maximum_record_age_in_seconds": null, "maximum_retry_attempts": 0,
		"metrics_config": [{"metrics": ["EventCount"]}], "parallelization_factor": null, "queues": null, "scaling_config": [],
		"provisioned_poller_config": [{"maximum_pollers": 20, "minimum_pollers": 2, "poller_group_name": null}],
		"self_managed_event_source": [{"endpoints": {"KAFKA_BOOTSTRAP_SERVERS": "b-1.kafka.test:9092, b-2.kafka.test:9092"}}],
		"self_managed_kafka_event_source_config": [{"consumer_group_id": "billing", "schema_registry_config": []}],
		"source_access_configuration": [{"type": "SASL_SCRAM_512_AUTH", "uri": "login"}],
		"starting_position": "AT_TIMESTAMP", "starting_position_timestamp": "2026-11-01T00:00:00Z", "tags": {"team": "billing"}, "tags_all": {"team": "billing"},
		"topics": ["orders"], "tumbling_window_in_seconds": 0, "arn": "arn:a", "uuid": "u", "state": "Enabled", "timeouts": null}}`

const terraformQueue = `{"address": "aws_lambda_event_source_mapping.queue", "mode": "managed", "type": "aws_lambda_event_source_mapping", "values": {
	"function_name": "billing", "event_source_arn": "arn:aws:sqs:us-east-1:123456789012:orders"}}`

func TestWhatTerraformShows(t *testing.T) {
	for _, where := range []string{"planned_values", "values"} {
		found, err := ParseTerraform(planOf(where, terraformOrders, terraformQueue,
			`{"address": "data.aws_lambda_event_source_mapping.old", "mode": "data", "type": "aws_lambda_event_source_mapping"}`, `{"address": "aws_s3_bucket.a", "type": "aws_s3_bucket"}`))
		if err != nil {
			t.Fatal(err)
		}
		got := says(t, found)
		if len(got) != 2 {
			t.Errorf("found are %v", got)
		}
		same(t, []byte(got["aws_lambda_event_source_mapping.orders"]), []byte(`{"FunctionName": "billing", "Topics": ["orders"],
			"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["b-1.kafka.test:9092", "b-2.kafka.test:9092"]}},
			"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "billing"}, "SourceAccessConfigurations": [{"Type": "SASL_SCRAM_512_AUTH", "URI": "login"}],
			"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1793491200, "Enabled": true, "BatchSize": 500,
			"ProvisionedPollerConfig": {"MinimumPollers": 2, "MaximumPollers": 20}, "MaximumRetryAttempts": 0, "BisectBatchOnFunctionError": true,
			"FunctionResponseTypes": ["ReportBatchItemFailures"], "DestinationConfig": {"OnFailure": {"Destination": "kafka://failed"}},
			"MetricsConfig": {"Metrics": ["EventCount"]}, "Tags": {"team": "billing"}}`))
		same(t, []byte(got["module.a.aws_lambda_event_source_mapping.returns"]), fmt.Appendf(nil, `{"FunctionName": "returns", "Topics": ["returns"], "EventSourceArn": %s}`, msk))
		if s := fmt.Sprint(found.Skipped); s != "[{aws_lambda_event_source_mapping.queue sqs}]" {
			t.Errorf("skipped are %s", s)
		}
	}
}

// TestWhatTerraformDoesNotKnow is an error: null would look as if it was not given.
func TestWhatTerraformDoesNotKnow(t *testing.T) {
	plan := string(planOf("planned_values", terraformOrders))
	plan = strings.TrimSuffix(plan, "}") + `, "resource_changes": [{"address": "aws_lambda_event_source_mapping.orders", "change": {"after_unknown": {
		"arn": true, "event_source_arn": true, "topics": [false], "source_access_configuration": [{"uri": true}]}}}]}`
	_, err := ParseTerraform([]byte(plan))
	said := Mistakes(err)
	if len(said) != 2 || !strings.HasSuffix(said[0].Path, "values.event_source_arn") || !strings.HasSuffix(said[1].Path, "values.source_access_configuration") ||
		!strings.Contains(said[0].Bound, "is known only when the plan has been applied") {
		t.Errorf("it says %v", err)
	}
}

func TestWhatIsWrongInTerraform(t *testing.T) {
	for _, tt := range []struct{ what, from, to, path, want string }{
		{"a bound", `"batch_size": 500`, `"batch_size": 0`, "batch_size", "must be 1 to 10,000"},
		{"a parameter of Kinesis", `"parallelization_factor": null`, `"parallelization_factor": 2`, "parallelization_factor", "is a parameter of Kinesis"},
		{"what is new", `"timeouts": null`, `"speed": 1`, "speed", "is not known"},
		{"what is new, below", `"poller_group_name": null`, `"speed": 1`, "provisioned_poller_config[0].speed", "is not known"},
		{"a block twice", `"on_failure": [`, `"on_failure": [{"destination_arn": "a"}, `, "destination_config[0].on_failure", "must be there once"},
		{"a registry", `"schema_registry_config": []`, `"schema_registry_config": [{"schema_registry_uri": "https://registry.test"}]`, "self_managed_kafka_event_source_config[0].schema_registry_config[0]", "is not built yet"},
		{"a filter", `"filter_criteria": []`, `"filter_criteria": [{"filter": [{"pattern": "{}"}]}]`, "filter_criteria[0]", "is not built yet"},
	} {
		in := strings.Replace(terraformOrders, tt.from, tt.to, 1)
		if in == terraformOrders {
			t.Fatalf("%s: nothing was changed", tt.what)
		}
		_, err := ParseTerraform(planOf("values", in))
		said := Mistakes(err)
		if len(said) != 1 || said[0].Path != "values.root_module.resources[0].values."+tt.path || !strings.Contains(said[0].Bound, tt.want) {
			t.Errorf("%s: it says %v", tt.what, err)
		}
	}
	for _, in := range []string{"", "{}", "[]", `{"values": 1}`, `{"values": {"root_module": {"resources": [{"type": "aws_lambda_event_source_mapping"}]}}}`} {
		if _, err := ParseTerraform([]byte(in)); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
}

// TestAPlanOfWhatIsNew: a plan does not know what AWS fills in where nobody wrote anything.
func TestAPlanOfWhatIsNew(t *testing.T) {
	of := func(written, unknown, values string) []byte {
		return fmt.Appendf(nil, `{"planned_values": {"root_module": {"child_modules": [{"address": "module.a[\"x.y\"]", "child_modules": [{"address": "module.a[\"x.y\"].module.b", "resources": [
			{"address": "module.a[\"x.y\"].module.b.aws_lambda_event_source_mapping.orders[0]", "mode": "managed", "type": "aws_lambda_event_source_mapping", "name": "orders", "index": 0,
			"values": {"function_name": "billing", "topics": ["orders"], "event_source_arn": %s, "batch_size": null %s}}]}]}]}},
			"resource_changes": [{"address": "module.a[\"x.y\"].module.b.aws_lambda_event_source_mapping.orders[0]", "change": {"actions": ["create"], "after_unknown": {"arn": true, "uuid": true,
				"maximum_record_age_in_seconds": true, "parallelization_factor": true, "self_managed_kafka_event_source_config": true, "topics": [false] %s}}}],
			"configuration": {"root_module": {"module_calls": {"a": {"module": {"module_calls": {"b": {"module": {"resources": [{"type": "aws_lambda_event_source_mapping", "name": "orders",
				"expressions": {"function_name": {"constant_value": "billing"} %s}}]}}}}}}}}}`, msk, values, unknown, written)
	}
	for _, tt := range []struct {
		what, written, unknown, values string
		wrong                          string
	}{
		{"nothing written", "", `, "maximum_retry_attempts": true`, "", ""},
		{"retries of something else", `, "maximum_retry_attempts": {"references": ["a.b"]}`, `, "maximum_retry_attempts": true`, "", "values.maximum_retry_attempts"},
		{"a block without a group", `, "amazon_managed_kafka_event_source_config": [{}]`, `, "amazon_managed_kafka_event_source_config": [{"consumer_group_id": true}]`, `, "amazon_managed_kafka_event_source_config": [{}]`, ""},
		{"a group of something else", `, "amazon_managed_kafka_event_source_config": [{"consumer_group_id": {"references": ["a.b"]}}]`, `, "amazon_managed_kafka_event_source_config": [{"consumer_group_id": true}]`,
			`, "amazon_managed_kafka_event_source_config": [{}]`, "values.amazon_managed_kafka_event_source_config"},
		{"a topic", "", `, "batch_size": true`, "", "values.batch_size"},
	} {
		found, err := ParseTerraform(of(tt.written, tt.unknown, tt.values))
		said := Mistakes(err)
		if tt.wrong == "" && (err != nil || len(found.Found) != 1) || tt.wrong != "" && (len(said) != 1 || !strings.HasSuffix(said[0].Path, tt.wrong)) {
			t.Errorf("%s: found are %v, %v", tt.what, found, err)
		}
	}

	// A queue that the same plan makes is none of Kafka's.
	queue := strings.NewReplacer(`"event_source_arn": "arn:aws:sqs:us-east-1:123456789012:orders"`, `"event_source_arn": null, "topics": null`).Replace(terraformQueue)
	plan := strings.TrimSuffix(string(planOf("planned_values", queue)), "}") +
		`, "resource_changes": [{"address": "aws_lambda_event_source_mapping.queue", "change": {"after_unknown": {"event_source_arn": true}}}]}`
	found, err := ParseTerraform([]byte(plan))
	if err != nil || len(found.Skipped) != 1 || found.Skipped[0].Source != "what the plan makes, and no topic" {
		t.Errorf("of a new queue it is %v, %v", found, err)
	}
}

// TestAStateHasZeros for what was not given.
func TestAStateHasZeros(t *testing.T) {
	const state = `{"address": "aws_lambda_event_source_mapping.a", "mode": "managed", "type": "aws_lambda_event_source_mapping", "name": "a", "values": {
		"batch_size": 100, "bisect_batch_on_function_error": false, "enabled": true, "event_source_arn": %s, "function_name": "arn:aws:lambda:us-east-1:123456789012:function:a", "function_response_types": null,
		"kms_key_arn": "", "maximum_batching_window_in_seconds": 0, "maximum_record_age_in_seconds": 0, "maximum_retry_attempts": 0, "parallelization_factor": 0, "provisioned_poller_config": [],
		"self_managed_event_source": [], "starting_position": "LATEST", "starting_position_timestamp": "", "topics": ["orders"], "tumbling_window_in_seconds": 0}}`
	found, err := ParseTerraform(planOf("values", fmt.Sprintf(state, msk)))
	if err != nil {
		t.Fatal(err)
	}
	same(t, []byte(says(t, found)["aws_lambda_event_source_mapping.a"]), fmt.Appendf(nil, `{"FunctionName": "arn:aws:lambda:us-east-1:123456789012:function:a", "Topics": ["orders"], "EventSourceArn": %s,
		"StartingPosition": "LATEST", "BatchSize": 100, "Enabled": true, "BisectBatchOnFunctionError": false}`, msk))
}

// TestWhatIsSensitiveIsNotShown in mistakes.
func TestWhatIsSensitiveIsNotShown(t *testing.T) {
	in := strings.NewReplacer(`"values": {`, `"sensitive_values": {"self_managed_event_source": [{"endpoints": true}], "tags": {"team": true}}, "values": {`,
		`b-2.kafka.test:9092`, "hunter2", `{"team": "billing"}`, `{"team": "hunter2!"}`).Replace(terraformOrders)
	_, err := ParseTerraform(planOf("values", in))
	if said := Mistakes(err); len(said) != 2 || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("it says %v", err)
	}
}

func FuzzParseTerraform(f *testing.F) {
	f.Add(planOf("values", terraformOrders))
	f.Add(planOf("planned_values", terraformQueue))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, err := ParseTerraform(in)
		for _, m := range Mistakes(err) {
			if m.Bound == "" {
				t.Errorf("a mistake that says nothing: %#v", m)
			}
		}
	})
}

// TestAnotherProviderIsNamed where it has a mapping of Kafka: who reads his state must not
// miss one.
func TestAnotherProviderIsNamed(t *testing.T) {
	const awscc = `{"address": "awscc_lambda_event_source_mapping.orders", "mode": "managed", "type": "awscc_lambda_event_source_mapping", "values": {%s}}`
	for values, named := range map[string]bool{
		`"self_managed_event_source": {"endpoints": {}}, "event_source_arn": null`:                                  true,
		`"self_managed_event_source": null, "event_source_arn": "arn:aws:kafka:us-east-1:123456789012:cluster/a/1"`: true,
		`"self_managed_event_source": null, "event_source_arn": "arn:aws:sqs:us-east-1:123456789012:orders"`:        false,
	} {
		_, err := ParseTerraform(planOf("values", terraformOrders, fmt.Sprintf(awscc, values)))
		if is := err != nil && strings.Contains(err.Error(), "awscc_lambda_event_source_mapping.orders: is of the provider awscc"); is != named {
			t.Errorf("%s: %v", values, err)
		}
	}
}
