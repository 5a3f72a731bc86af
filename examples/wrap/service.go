package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

type settings struct {
	demo.Source
	records int
}

// Flags defines the flags.
func (s *settings) Flags(f *demo.Flags) {
	s.Source.Flags(f, true)
	f.Number(&s.records, "records", 400, 1, demo.NoMost, "how many records to handle")
}

// embed starts a Kafka in this process, if there is no other.
func (s *settings) embed(ctx context.Context) (stop func(), err error) {
	if len(s.Brokers) > 0 {
		return func() {}, nil
	}
	s.Topic, s.Group = "orders", "billing"
	s.Brokers, stop, err = demo.StartKafka(ctx, demo.Topic{Name: s.Topic, Partitions: partitions, Records: s.records, Record: func(i int) *kgo.Record {
		return &kgo.Record{Partition: int32(i % partitions), Value: fmt.Appendf(nil, "order %d", i)}
	}})
	return stop, err
}

// A service is the function: it takes its time, and is ill for some calls.
type service struct {
	limit int64         // after so many records
	done  chan struct{} // is closed

	mu       sync.Mutex
	calls    int
	handled  int64
	last     map[esm.TopicPartition]int64
	repeated int64 // records that came after a later one of their partition, or twice
}

const (
	illFrom = 11 // the first call that goes wrong
	illFor  = 8  // how many do
)

func (s *service) Invoke(ctx context.Context, b *esm.Batch) error {
	s.mu.Lock()
	s.calls++
	call := s.calls
	s.mu.Unlock()

	switch {
	case call == illFrom:
		<-ctx.Done()
		return context.Cause(ctx)
	case illFrom < call && call < illFrom+illFor:
		return errors.New("the service is down")
	}
	if err := demo.Work(ctx, 10*time.Millisecond); err != nil {
		return err
	}
	s.handle(b)
	return nil
}

// handle notes records that the service is done with.
func (s *service) handle(b *esm.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tp, records := range b.ByPartition() {
		for _, r := range records {
			if last, ok := s.last[tp]; ok && r.Offset <= last {
				s.repeated++
			}
			s.last[tp] = r.Offset
		}
	}
	before := s.handled
	s.handled += int64(len(b.Records))
	if before < s.limit && s.handled >= s.limit {
		close(s.done)
	}
}
