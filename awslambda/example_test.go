package awslambda_test

import (
	"context"
	"log"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awslambda"
)

func ExampleNew() {
	var cfg aws.Config // of config.LoadDefaultConfig, in aws-sdk-go-v2/config
	inv, err := awslambda.New(cfg, "billing",
		awslambda.WithQualifier("live"),
		awslambda.WithReportBatchItemFailures(true),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer inv.Close()
	m, err := esm.New(esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"}, inv,
		esm.WithAWSLimits(), // among them a batch window: each call is billed
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(context.Background()); err != nil {
		log.Print(err)
	}
}
