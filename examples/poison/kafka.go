package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/examples/internal/demo"
)

// poisoned is what poison looks like.
const poisoned = "-1 apples"

// startKafka starts a Kafka in this process and writes the records.
func (s *settings) startKafka(ctx context.Context) (brokers []string, stop func(), err error) {
	places := s.places()
	orders := demo.Topic{Name: topic, Partitions: partitions, Records: s.records, Record: func(i int) *kgo.Record {
		partition, offset := int32(i%partitions), int64(i/partitions)
		value := "3 apples"
		if slices.Contains(places[partition], offset) {
			value = poisoned
		}
		return &kgo.Record{Partition: partition, Key: key(partition, offset), Value: []byte(value)}
	}}
	return demo.StartKafka(ctx, orders, demo.Topic{Name: deadLetters, Partitions: 1})
}

// key is the key of the record at an offset.
func key(partition int32, offset int64) []byte {
	return fmt.Appendf(nil, "order-%d", offset*partitions+int64(partition))
}

// look asks Kafka what is committed and what is in the topic for poison, and
// judges.
func (c *check) look(brokers []string, interrupted bool) (*summary, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	committed, err := demo.Committed(ctx, brokers, topic, group)
	if err != nil {
		return nil, err
	}
	arrived, err := arrived(ctx, brokers)
	if err != nil {
		return nil, err
	}
	return c.judge(committed, arrived, interrupted), nil
}

// arrived reads all that is in the topic for poison.
func arrived(ctx context.Context, brokers []string) (all []*kgo.Record, err error) {
	reader, err := kgo.NewClient(kgo.SeedBrokers(brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{deadLetters: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	ends, err := kadm.NewClient(reader).ListEndOffsets(ctx, deadLetters)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the end of %q: %w", deadLetters, err)
	}
	end, _ := ends.Lookup(deadLetters, 0)
	for next := int64(0); next < end.Offset; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read %q: %w", deadLetters, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			all = append(all, r)
			next = r.Offset + 1
		})
	}
	return all, nil
}
