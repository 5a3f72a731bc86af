package esm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// eachJSON is esm.Each for records whose values are JSON. What cannot be
// decoded goes to reject: an error would have it tried again for ever, and no
// attempt would make it better.
func eachJSON[T any](handle func(context.Context, T) error, reject func(context.Context, *kgo.Record, error) error) esm.Invoker {
	return esm.Each(func(ctx context.Context, r *kgo.Record) error {
		var v T
		if err := json.Unmarshal(r.Value, &v); err != nil {
			return reject(ctx, r, err)
		}
		return handle(ctx, v)
	})
}

type order struct {
	ID    string  `json:"id"`
	Total float64 `json:"total"`
}

// A generic helper turns records into values of a type.
func ExampleEach_json() {
	brokers, stopKafka := startKafka(1, `{"id":"a1","total":9.5}`, `a2, 12.00`, `{"id":"a3","total":20}`)
	defer stopKafka()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	bill := func(_ context.Context, o order) error {
		fmt.Printf("bill %s: %.2f\n", o.ID, o.Total)
		if o.ID == "a3" {
			cancel() // that is all of this example
		}
		return nil
	}
	reject := func(_ context.Context, r *kgo.Record, err error) error {
		fmt.Printf("offset %d is no order: %q\n", r.Offset, r.Value)
		return nil
	}
	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"},
		eachJSON(bill, reject),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// bill a1: 9.50
	// offset 1 is no order: "a2, 12.00"
	// bill a3: 20.00
}
