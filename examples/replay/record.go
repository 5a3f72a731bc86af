package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/scaling"
)

const (
	topic      = "orders"
	partitions = 20
	work       = 100 * time.Millisecond // what the function takes for a batch
)

// record makes a trace of a Mapping that one poller is enough for, but not for long.
func (s *settings) record(ctx context.Context, w, progress, stderr io.Writer) error {
	fmt.Fprintf(progress, "writing %s records into %d partitions of a Kafka in this process, and handling them with one poller\n", demo.Grouped(int64(s.records)), partitions)
	brokers, stop, err := demo.StartKafka(ctx, demo.Topic{Name: topic, Partitions: partitions, Records: s.records, Record: func(i int) *kgo.Record {
		return &kgo.Record{Partition: int32(i % partitions), Value: fmt.Appendf(nil, "order %d", i)}
	}})
	if err != nil {
		return err
	}
	defer stop()

	var lost failure
	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{topic}, Group: "billing"},
		esm.InvokerFunc(func(ctx context.Context, _ *esm.Batch) error { return demo.Work(ctx, work) }),
		esm.WithMaxPollers(1),
		esm.WithHooks(esm.Hooks{Sampled: scaling.Record(w, lost.note)}),
		esm.WithLogger(demo.Logger(stderr, slog.LevelError)),
	)
	if err != nil {
		return err
	}
	interrupted, err := demo.Drain(ctx, m, progress, seen(demo.Settled(s.records)), func(st *esm.Stats, rate float64) string {
		return fmt.Sprintf("%s settled, %.0f a second, %d pollers: %s", demo.Grouped(st.SettledEventCount), rate, st.ProvisionedPollers, st.ScaleReason)
	})
	switch {
	case err != nil:
		return err
	case interrupted:
		return errors.New("interrupted before the trace was whole")
	}
	return lost.err()
}

// seen is done a little later, when the scaler has seen that all is done.
func seen(done func(*esm.Mapping) bool) func(*esm.Mapping) bool {
	var since time.Time
	return func(m *esm.Mapping) bool {
		if since.IsZero() && done(m) {
			since = time.Now()
		}
		return !since.IsZero() && time.Since(since) > 2500*time.Millisecond
	}
}

// A failure keeps the errors of several goroutines.
type failure struct {
	mu    sync.Mutex
	first error
}

func (f *failure) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.first = errors.Join(f.first, err)
}

func (f *failure) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first
}
