package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

type settings struct {
	demo.Source
	listen      string
	work, drain time.Duration
	haltAfter   int
}

// Flags defines the flags.
func (s *settings) Flags(f *demo.Flags) {
	f.StringVar(&s.listen, "listen", "127.0.0.1:8080", "`address` of the HTTP server; port 0 takes a free one")
	s.Source.Flags(f, true)
	f.Time(&s.work, "work", 20*time.Millisecond, 0, 24*time.Hour, "how long the function takes for a batch")
	f.Time(&s.drain, "drain", 20*time.Second, 100*time.Millisecond, time.Hour, "how long the Mapping may take to stop")
	f.Number(&s.haltAfter, "halt-after", 0, 0, demo.NoMost, "have the function halt the Mapping after so many records (default: never)")
}

// function is what the records go to: it takes its time.
func (s *settings) function() esm.Invoker {
	var handled atomic.Int64
	return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		if s.haltAfter > 0 && handled.Load() >= int64(s.haltAfter) {
			return esm.Halt(fmt.Errorf("-halt-after: %d records were handled", handled.Load()))
		}
		if err := demo.Work(ctx, s.work); err != nil {
			return err
		}
		handled.Add(int64(len(b.Records)))
		return nil
	})
}

// embed starts a Kafka in this process, and somebody who produces to it until
// it is stopped.
func (s *settings) embed(ctx context.Context, logger *slog.Logger) (end func(), err error) {
	if len(s.Brokers) > 0 {
		return func() {}, nil
	}
	s.Topic, s.Group = "orders", "billing"
	brokers, stop, err := demo.StartKafka(ctx, demo.Topic{Name: s.Topic, Partitions: 4})
	if err != nil {
		return nil, err
	}
	s.Brokers = brokers
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...), kgo.DefaultProduceTopic(s.Topic),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		stop()
		return nil, fmt.Errorf("connect to the Kafka in this process: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // not ctx: orders come while it drains
	var producer sync.WaitGroup
	producer.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 1; ; n++ {
			err := client.ProduceSync(ctx, kgo.StringRecord(fmt.Sprintf(`{"order":%d}`, n))).FirstErr()
			if err != nil && ctx.Err() == nil {
				logger.Error("produce", "err", err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		producer.Wait()
		client.Close()
		stop()
	}, nil
}
