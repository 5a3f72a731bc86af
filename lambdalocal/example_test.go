package lambdalocal_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/lambdalocal"
)

// bill is a handler as it is given to lambda.Start.
func bill(_ context.Context, event events.KafkaEvent) error {
	for partition, records := range event.Records {
		fmt.Println(partition, len(records), records[0].Value)
	}
	return nil
}

func ExampleHandler() {
	inv, err := lambdalocal.Handler(bill, lambdalocal.WithTimeout(30*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	// A Mapping does this: esm.New(source, inv).
	err = inv.Invoke(context.Background(), &esm.Batch{Records: []*kgo.Record{{Topic: "orders", Partition: 3, Value: []byte("tea")}}})
	fmt.Println(err)
	// Output:
	// orders-3 1 dGVh
	// <nil>
}

func ExampleNewProcess() {
	// What is deployed to Lambda, as it is: here a program in Python.
	p, err := lambdalocal.NewProcess([]string{"python3", "-m", "awslambdaric", "app.handler"},
		lambdalocal.WithDir("/srv/billing"),
		lambdalocal.WithMaxConcurrency(8),
		lambdalocal.WithTimeout(time.Minute),
		lambdalocal.WithReportBatchItemFailures(true),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close() // after the Mapping stopped
	m, err := esm.New(esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"}, p,
		esm.WithMaxConcurrency(8), esm.WithBatchWindow(100*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(context.Background()); err != nil {
		log.Print(err)
	}
}
