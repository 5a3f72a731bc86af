package esm_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/seed429fd032/esm"
)

// A record can come again: after a failure of its batch, a crash, a rebalance.
// A function that must not do the work twice hands a key to whatever does the
// work, the same each time: the group and the coordinates of the record. The
// group is part of it, because another group does other work with the same
// record.
func ExampleBatch_group() {
	brokers, stopKafka := startKafka(1, "a tea", "a coffee")
	defer stopKafka()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	// Charges stand for a table with a unique key, or the idempotency key of a
	// payment service.
	charges := map[string]bool{}
	bill := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
		for _, r := range b.Records {
			key := fmt.Sprintf("%s/%s/%d/%d", b.Group, r.Topic, r.Partition, r.Offset)
			if charges[key] {
				fmt.Printf("attempt %d: %s is charged already\n", b.Attempt, key)
				continue
			}
			charges[key] = true
			fmt.Printf("attempt %d: %s charged for %s\n", b.Attempt, key, r.Value)
			if b.Attempt == 1 {
				return errors.New("the connection ended before the answer came")
			}
		}
		cancel() // that is all of this example
		return nil
	})
	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"},
		bill,
		esm.WithBackoff(esm.Constant(0)),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// attempt 1: billing/orders/0/0 charged for a tea
	// attempt 2: billing/orders/0/0 is charged already
	// attempt 2: billing/orders/0/1 charged for a coffee
}
