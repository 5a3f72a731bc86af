package esm_test

import (
	"context"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/scaling"
)

// What the scaler does: there are 20 partitions with a backlog, so it wants
// all 20 handled at once, which is four pollers of five invocations each.
func ExampleHooks() {
	brokers, stopKafka := startKafka(20, slices.Repeat([]string{"order"}, 4000)...)
	defer stopKafka()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"},
		esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
			select {
			case <-time.After(100 * time.Millisecond): // the work
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}),
		esm.WithBatchSize(1),
		esm.WithHooks(esm.Hooks{
			Scaled: func(d scaling.Decision) {
				if d.To < d.From {
					return // the end, when the partitions go
				}
				fmt.Printf("%d -> %d pollers\n", d.From, d.To) // d.Reason says why
				if d.To == 4 {
					cancel() // that is all of this example
				}
			},
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 0 -> 1 pollers
	// 1 -> 4 pollers
}
