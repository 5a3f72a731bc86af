package awsconfig_test

import (
	"context"
	"log"
	"testing"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awsconfig"
)

// run is what the README shows.
func run(ctx context.Context, data []byte, functions map[string]esm.Invoker) error {
	config, err := awsconfig.ParseJSON(data)
	if err != nil {
		return err // every mistake at once, with its path: awsconfig.Mistakes(err)
	}
	plan, err := config.Plan("")
	if err != nil {
		return err
	}
	for _, note := range plan.Notes {
		log.Print(note) // what AWS does otherwise
	}
	if err := plan.Connect(ctx, awsconfig.Host{Secrets: awsconfig.SecretsFromEnv("SECRET_")}); err != nil {
		return err // a secret that is missing, or has not the shape that AWS's have
	}
	m, err := esm.New(plan.Source, functions[plan.Needs.Function], plan.Options...)
	if err != nil {
		return err
	}
	return m.Run(ctx)
}

// A Mapping of what is written for AWS logs in with a secret of the environment.
func Example() {
	functions := map[string]esm.Invoker{
		"billing": esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }),
	}
	err := run(context.Background(), []byte(`{
		"FunctionName": "billing",
		"Topics": ["orders"],
		"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka.example.com:9096"]}},
		"SourceAccessConfigurations": [{"Type": "SASL_SCRAM_512_AUTH", "URI": "kafka-login"}],
		"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "billing"},
		"ProvisionedPollerConfig": {"MinimumPollers": 2, "MaximumPollers": 20},
		"StartingPosition": "TRIM_HORIZON"
	}`), functions)
	log.Print(err)
}

// TestAMissingSecretIsSaid by its variable, before the Mapping begins.
func TestAMissingSecretIsSaid(t *testing.T) {
	err := run(t.Context(), []byte(`{
		"FunctionName": "billing",
		"Topics": ["orders"],
		"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["kafka.example.com:9096"]}},
		"SourceAccessConfigurations": [{"Type": "SASL_SCRAM_512_AUTH", "URI": "kafka-login"}],
		"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "billing"},
		"StartingPosition": "TRIM_HORIZON"
	}`), nil)
	const want = `awsconfig: SourceAccessConfigurations[0].URI: SASL_SCRAM_512_AUTH "kafka-login" cannot be used: the environment has no SECRET_KAFKA_LOGIN`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}
