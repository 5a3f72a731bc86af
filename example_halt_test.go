package esm_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

var errForbidden = errors.New("the key was revoked")

// Where going on makes no sense, the function halts the Mapping. Nothing is
// lost: the record that it halted at comes first after the next start.
func ExampleHalt() {
	brokers, stopKafka := startKafka(1, "a", "b")
	defer stopKafka()

	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"},
		esm.Each(func(_ context.Context, r *kgo.Record) error {
			if string(r.Value) == "b" {
				return esm.Halt(errForbidden)
			}
			fmt.Println("bill", string(r.Value))
			return nil
		}),
		esm.WithBatchSize(1),
	)
	if err != nil {
		log.Fatal(err)
	}
	err = m.Run(context.Background())
	var halted *esm.HaltError
	fmt.Println(errors.As(err, &halted), errors.Is(err, errForbidden))
	fmt.Println(err)
	// Output:
	// bill a
	// true true
	// orders/0 offset 1: esm: halted by the function: the key was revoked
}
