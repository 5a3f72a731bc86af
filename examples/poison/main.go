// Command poison shows what a Mapping does with records that its function
// cannot take, and checks that it did just that.
//
//	go run ./examples/poison
//
// starts a Kafka in this process and writes 40,000 orders into 4 partitions.
// Three of them are poison: the function fails every batch that one is in, and
// cannot say which record it was. The Mapping has
//
//	esm.WithBisect(true), esm.WithMaxRetries(3), esm.WithDestination(...)
//
// so it searches for the record in halves, tries it three times again, writes
// it to the topic orders.poison, and goes on behind it. Every invocation of the
// search is shown, and once a second how far the rest is.
//
// In the end it is checked that every good record was handled once and in
// order, that every poison record is once in orders.poison, with its reason and
// where it came from, that all offsets are committed, and that no other
// partition waited: exit code 0 if so, 1 if not, 2 if it was called wrongly.
// Ctrl-C lets the invocations end, commits, and checks what was done by then.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

func main() { demo.Main("poison", new(settings)) }

const (
	topic       = "orders"
	deadLetters = "orders.poison"
	group       = "billing"
	partitions  = 4
	batchSize   = 100
	retries     = 3
	work        = 30 * time.Millisecond // what the function takes for a batch
	// backoff is many times work, so that there is no doubt whether another
	// partition went on during it. A real one is longer, and grows: the default.
	backoff = 400 * time.Millisecond
)

// Run does what the comment above promises.
func (s *settings) Run(ctx context.Context, progress, stderr io.Writer) (demo.Result, error) {
	out := log.New(progress, "", 0)
	out.Printf("writing %d records into %d partitions of a Kafka in this process; %d are poison", s.records, partitions, s.poison)
	brokers, stop, err := s.startKafka(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()

	check := newCheck(s.ends(), s.places())
	waits := newWaits(s.ends(), s.places())
	search := newSearch(func(line string) { out.Print(line) })

	// What a Destination needs is made here, and closed when the Mapping has
	// stopped.
	producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(deadLetters))
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	toTopic := deliverTo(producer)

	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{topic}, Group: group},
		&witness{next: billing(check), waits: waits, search: search},
		esm.WithBatchSize(batchSize),
		esm.WithBisect(true),
		esm.WithMaxRetries(retries),
		esm.WithBackoff(esm.Constant(backoff)),
		esm.WithDestination(esm.DestinationFunc(func(ctx context.Context, d *esm.Discard) error {
			if err := toTopic(ctx, d); err != nil {
				return err
			}
			check.taken(d.Record)
			waits.over(d.Record.Partition)
			return nil
		})),
		esm.WithHooks(esm.Hooks{
			RetryScheduled: func(b esm.Blocker) {
				out.Print(line(b.Partition, b.Offset, b.Records, "waits %s", time.Until(b.Next).Round(time.Millisecond)))
			},
			Discarded: func(d *esm.Discard) {
				out.Print(line(d.Record.Partition, d.Record.Offset, 1, "given up after %d attempts (%s), now in %s", d.Attempts, d.Reason, deadLetters))
			},
			DeliveryFailed: func(d *esm.Discard) {
				out.Print(line(d.Record.Partition, d.Record.Offset, 1, "not delivered, again in %s: %v", time.Until(d.Next).Round(time.Millisecond), d.DeliveryErr))
			},
		}),
		// What the log says of failures is shown above.
		esm.WithLogger(demo.Logger(stderr, slog.LevelError)),
	)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	interrupted, err := demo.Drain(ctx, m, progress, check.reached, func(st *esm.Stats, _ float64) string {
		return fmt.Sprintf("%d records settled, %d invocations, %d partitions in back-off", st.SettledEventCount, st.InvokeCount, st.WaitingPartitions)
	})
	if err != nil {
		return nil, err
	}
	took := time.Since(began)

	sum, err := check.look(brokers, interrupted)
	if err != nil {
		return nil, err
	}
	sum.Waited, sum.Meanwhile = waits.judge()
	sum.SearchInvocations = search.total()
	sum.Seconds = took.Seconds()
	return sum, nil
}
