package esm_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A whole consumer: it runs until the process is told to end, and then lets
// the function finish, commits and leaves the group.
func Example() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()

	m, err := esm.New(
		esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"},
		esm.Each(func(ctx context.Context, r *kgo.Record) error {
			fmt.Printf("bill %s\n", r.Value)
			return nil // an error has the batch tried again
		}),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
