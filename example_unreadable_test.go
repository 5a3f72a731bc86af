package esm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// Somebody has written a megabyte that compresses to nearly nothing, and the
// client may not decompress that much. An operator looks at what State says, and
// has it passed over.
func ExampleMapping_SkipUnreadable() {
	brokers, stopKafka := startKafka(1)
	defer stopKafka()
	ctx := context.Background()
	producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ProducerBatchCompression(kgo.GzipCompression()))
	if err != nil {
		log.Fatal(err)
	}
	defer producer.Close()
	if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: bytes.Repeat([]byte{0}, 900_000)}).FirstErr(); err != nil {
		log.Fatal(err)
	}

	problems, delivered := make(chan esm.Problem, 10), make(chan bool, 1)
	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing", Client: []kgo.Opt{kgo.MaxDecompressBatchBytes(100_000)}},
		esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error { return nil }),
		esm.WithHooks(esm.Hooks{ProblemRaised: func(i esm.Problem) { problems <- i }}),
		esm.WithDestination(esm.DestinationFunc(func(_ context.Context, d *esm.Discard) error {
			fmt.Println("given up:", d.Record.Topic, d.Record.Offset, d.Reason)
			delivered <- true
			return nil
		})),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Start(ctx); err != nil {
		log.Fatal(err)
	}
	var unreadable *esm.Gap
	for p := range problems {
		if errors.As(p.Err, &unreadable) {
			fmt.Printf("%s: offsets %d to %d\n", p.With, unreadable.From, unreadable.To-1)
			break
		}
	}
	if err := m.SkipUnreadable(unreadable.TopicPartition, unreadable.From); err != nil {
		log.Fatal(err)
	}
	<-delivered
	if err := m.Stop(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// topic orders partition 0: offsets 0 to 0
	// given up: orders 0 unreadable
}
