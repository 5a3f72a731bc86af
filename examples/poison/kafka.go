package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A kafka is the one in this process, and a client that writes the records and
// looks afterwards what is there. The Mapping knows nothing of it.
type kafka struct {
	cluster *kfake.Cluster
	brokers []string
	client  *kgo.Client
}

// poisoned is what poison looks like.
const poisoned = "-1 apples"

// embed starts a Kafka in this process and writes the records.
func (s *settings) embed(ctx context.Context) (*kafka, error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic), kfake.SeedTopics(1, deadLetters))
	if err != nil {
		return nil, fmt.Errorf("start a Kafka in this process: %w", err)
	}
	k := &kafka{cluster: cluster, brokers: cluster.ListenAddrs()}
	k.client, err = kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err == nil {
		err = k.fill(ctx, s)
	}
	if err != nil {
		k.close()
		return nil, fmt.Errorf("write records: %w", err)
	}
	return k, nil
}

func (k *kafka) close() {
	if k.client != nil {
		k.client.Close()
	}
	k.cluster.Close()
}

func (k *kafka) fill(ctx context.Context, s *settings) error {
	places := s.places()
	var failed atomic.Pointer[error]
	for i := range s.records {
		partition, offset := int32(i%partitions), int64(i/partitions)
		value := "3 apples"
		if slices.Contains(places[partition], offset) {
			value = poisoned
		}
		r := &kgo.Record{Topic: topic, Partition: partition, Key: key(partition, offset), Value: []byte(value)}
		k.client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := k.client.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// key is the key of the record at an offset.
func key(partition int32, offset int64) []byte {
	return fmt.Appendf(nil, "order-%d", offset*partitions+int64(partition))
}

// The headers that a record has more in the topic for poison.
const (
	headerReason    = "reason"
	headerAttempts  = "attempts"
	headerError     = "error"
	headerTopic     = "source-topic"
	headerPartition = "source-partition"
	headerOffset    = "source-offset"
)

// deliverTo is a Destination that writes records to the topic of a client, with
// the key and value that they had and headers that say what became of them. It
// returns when Kafka has the record: only then the Mapping goes on behind it.
// After an error the Mapping delivers the record again.
func deliverTo(client *kgo.Client) esm.DestinationFunc {
	return func(ctx context.Context, d *esm.Discard) error {
		// A new record: d.Record is read-only.
		r := &kgo.Record{Key: d.Record.Key, Value: d.Record.Value, Headers: slices.Clone(d.Record.Headers)}
		add := func(key string, value any) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: key, Value: fmt.Append(nil, value)})
		}
		add(headerReason, d.Reason)
		add(headerAttempts, d.Attempts)
		add(headerTopic, d.Record.Topic)
		add(headerPartition, d.Record.Partition)
		add(headerOffset, d.Record.Offset)
		if d.Err != nil { // a record too old to be tried has none
			add(headerError, d.Err)
		}
		return client.ProduceSync(ctx, r).FirstErr()
	}
}

// committed returns the committed offsets of the group.
func (k *kafka) committed(ctx context.Context) (map[int32]int64, error) {
	offsets, err := kadm.NewClient(k.client).FetchOffsets(ctx, group)
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the offsets of the group %q: %w", group, err)
	}
	at := map[int32]int64{}
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topic {
			at[o.Partition] = o.At
		}
	})
	return at, nil
}

// arrived reads all that is in the topic for poison.
func (k *kafka) arrived(ctx context.Context) (all []*kgo.Record, err error) {
	ends, err := kadm.NewClient(k.client).ListEndOffsets(ctx, deadLetters)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the end of %q: %w", deadLetters, err)
	}
	end, _ := ends.Lookup(deadLetters, 0)
	reader, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{deadLetters: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
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
