package awsconfig_test

import (
	"context"
	"fmt"
	"log"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awsconfig"
)

// What aws lambda create-event-source-mapping takes becomes a Mapping in the process.
func ExampleParseJSON() {
	config, err := awsconfig.ParseJSON([]byte(`{
		"FunctionName": "billing",
		"Topics": ["orders"],
		"SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["localhost:9092"]}},
		"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "billing"},
		"ProvisionedPollerConfig": {"MinimumPollers": 2, "MaximumPollers": 20},
		"StartingPosition": "TRIM_HORIZON",
		"MaximumRetryAttempts": 5
	}`))
	if err != nil {
		log.Fatal(err)
	}
	plan, err := config.Plan("")
	if err != nil {
		log.Fatal(err)
	}
	for _, note := range plan.Notes {
		fmt.Println(note)
	}
	functions := map[string]esm.Invoker{
		"billing": esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }),
	}
	m, err := esm.New(plan.Source, functions[plan.Needs.Function], plan.Options...)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.State().Phase)
	// Output:
	// DestinationConfig: it is absent: records that are given up are thrown away and logged, as AWS throws them away
	// SourceAccessConfigurations: there are none: the brokers are spoken to without TLS and without a login, which AWS does not take
	// new
}

// All that is wrong is said at once, in the words of the document.
func ExampleParseTemplate() {
	_, err := awsconfig.ParseTemplate([]byte(`
Parameters:
  Batch: {Type: Number, Default: 20000}
Resources:
  Orders:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: billing
      Topics: [orders]
      BatchSize: !Ref Batch
      ParallelizationFactor: 2
      SelfManagedEventSource:
        Endpoints:
          KafkaBootstrapServers: ["https://kafka.example.com"]
      FilterCriteria:
        Filters: [{Pattern: '{"value": {"country": ["DE"]}}'}]
`), awsconfig.Values{})
	for _, m := range awsconfig.Mistakes(err) {
		fmt.Println(m)
	}
	// Output:
	// awsconfig: Resources.Orders.Properties.ParallelizationFactor (line 11): 2 is a parameter of Kinesis and DynamoDB streams, and not of Kafka
	// awsconfig: Resources.Orders.Properties.SelfManagedEventSource.Endpoints.KafkaBootstrapServers[0] (line 14): "https://kafka.example.com" must be host:port, without a scheme
	// awsconfig: Resources.Orders.Properties.BatchSize (line 10): 20000 must be 1 to 10,000
	// awsconfig: Resources.Orders.Properties.FilterCriteria (line 16): is not built yet: without the filter the function would get records that are not for it
}
