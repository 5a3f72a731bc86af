package esm_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A function forwards what it gets to another topic. It hands copies to the
// client, which share the bytes of the record: the client writes the new
// partition and offset into them.
func ExampleBatch_forward() {
	brokers, stopKafka := startKafka(1, "a tea", "a coffee")
	defer stopKafka()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	forward := esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		out := make([]*kgo.Record, len(b.Records))
		for i, r := range b.Records {
			out[i] = &kgo.Record{Topic: "orders-out", Key: r.Key, Value: []byte(strings.ToUpper(string(r.Value))), Headers: r.Headers}
		}
		if err := client.ProduceSync(ctx, out...).FirstErr(); err != nil {
			return err // all of them are sent again
		}
		for i, r := range b.Records {
			fmt.Printf("%s/%d is in %s, %s\n", r.Topic, r.Offset, out[i].Topic, out[i].Value)
		}
		cancel() // that is all of this example
		return nil
	})
	m, err := esm.New(esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "forwarding"}, forward)
	if err != nil {
		log.Fatal(err)
	}
	if err := m.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// orders/0 is in orders-out, A TEA
	// orders/1 is in orders-out, A COFFEE
}
