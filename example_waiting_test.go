package esm_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/seed429fd032/esm"
)

// A function has two connections to its database, and takes one for each call.
// It says when it waits for one: the timeout is for its work.
func ExampleWaiting() {
	brokers, stopKafka := startKafka(1, "a", "b")
	defer stopKafka()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	connections := make(chan string, 2)

	bill := esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		placed := esm.Waiting(ctx)
		defer placed()
		var connection string
		select {
		case connection = <-connections:
			placed()
		case <-ctx.Done():
			return esm.Throttled(0, context.Cause(ctx)) // the database was not reached
		}
		defer func() { connections <- connection }()
		fmt.Printf("attempt %d: %d records on %s\n", b.Attempt, len(b.Records), connection)
		cancel() // that is all of this example
		return nil
	})
	m, err := esm.New(esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"}, bill,
		esm.WithInvokeTimeout(100*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { connections <- "connection 1" })
	if err := m.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// attempt 1: 2 records on connection 1
}
