package esm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/seed429fd032/esm"
)

// eachJSON is an Invoker for records whose values are JSON. A record that
// cannot be decoded fails for good, one that cannot be handled is tried again,
// and neither does anything to the others.
func eachJSON[T any](handle func(context.Context, T) error) esm.Invoker {
	return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		var failed esm.Failures
		for _, r := range b.Records {
			var v T
			if err := json.Unmarshal(r.Value, &v); err != nil {
				failed.Add(r, esm.Permanent(err))
				continue
			}
			failed.Add(r, handle(ctx, v)) // nil says nothing
		}
		return failed.Err()
	})
}

type order struct {
	ID    string  `json:"id"`
	Total float64 `json:"total"`
}

// A generic helper turns records into values of a type, and says of each what
// became of it. What is given up goes to a destination.
func ExampleFailures() {
	brokers, stopKafka := startKafka(1, `{"id":"a1","total":9.5}`, `a2, 12.00`, `{"id":"a3","total":20}`)
	defer stopKafka()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	down := true
	bill := func(_ context.Context, o order) error {
		if o.ID == "a3" && down {
			down = false
			return fmt.Errorf("no answer for %s", o.ID)
		}
		fmt.Printf("bill %s: %.2f\n", o.ID, o.Total)
		if o.ID == "a3" {
			cancel() // that is all of this example
		}
		return nil
	}
	rejects := esm.DestinationFunc(func(_ context.Context, d *esm.Discard) error {
		fmt.Printf("offset %d is no order: %q (%s)\n", d.Record.Offset, d.Record.Value, d.Reason)
		return nil
	})
	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"},
		eachJSON(bill),
		esm.WithDestination(rejects),
		esm.WithBackoff(esm.Constant(0)),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// bill a1: 9.50
	// offset 1 is no order: "a2, 12.00" (permanent)
	// bill a3: 20.00
}
