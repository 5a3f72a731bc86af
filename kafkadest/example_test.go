package kafkadest_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/kafkadest"
)

// Records that fail eleven times, or that are older than a day, go to a topic.
func Example() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	brokers := []string{"localhost:9092"}

	failed, err := kafkadest.New(kafkadest.Config{Brokers: brokers, Topic: "orders-failed"})
	if err != nil {
		log.Fatal(err)
	}
	defer failed.Close() // after Run

	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"},
		esm.Each(func(ctx context.Context, r *kgo.Record) error {
			return nil // what is done with r.Value
		}),
		esm.WithDestination(failed),
		esm.WithMaxRetries(10),
		esm.WithMaxRecordAge(24*time.Hour),
		esm.WithBisect(true),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		log.Print(err)
	}
}

// To replay what failed, when the function is mended, the topic holds the
// records as they were. A Mapping reads it like any other. With FormatDocument it
// would hold AWS's documents.
func Example_replay() {
	brokers := []string{"localhost:9092"}
	again, err := kafkadest.New(kafkadest.Config{Brokers: brokers, Topic: "orders-failed-twice"})
	if err != nil {
		log.Fatal(err)
	}
	defer again.Close()

	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{"orders-failed"}, Group: "billing-replay"},
		esm.Each(func(ctx context.Context, r *kgo.Record) error {
			return nil // the same function
		}),
		esm.WithDestination(again), // never the topic that is read
		esm.WithMaxRetries(3),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(context.Background()); err != nil {
		log.Print(err)
	}
}
