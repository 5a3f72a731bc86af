package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// embed starts a Kafka in this process and fills a topic of it.
func (s *settings) embed(ctx context.Context, progress io.Writer) (stop func(), err error) {
	s.topic = "quickstart"
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(int32(s.partitions), s.topic))
	if err != nil {
		return nil, fmt.Errorf("start a Kafka in this process: %w", err)
	}
	s.brokers = strings.Join(cluster.ListenAddrs(), ",")
	fmt.Fprintf(progress, "writing %d records of 1 KB into a Kafka in this process\n", s.records)
	if err := s.fill(ctx); err != nil {
		cluster.Close()
		return nil, fmt.Errorf("write records: %w", err)
	}
	return cluster.Close, nil
}

func (s *settings) fill(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	value := []byte(strings.Repeat("x", recordSize))
	var failed atomic.Pointer[error]
	for i := range s.records {
		cl.Produce(ctx, &kgo.Record{Topic: s.topic, Partition: int32(i % s.partitions), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// A kafka is what is asked of the cluster beside the Mapping.
type kafka struct {
	client  *kgo.Client
	admin   *kadm.Client
	brokers []string
}

func connect(brokers string) (*kafka, error) {
	k := &kafka{brokers: strings.Split(brokers, ",")}
	var err error
	k.client, err = kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.RetryTimeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("-brokers: %w", err)
	}
	k.admin = kadm.NewClient(k.client)
	return k, nil
}

func (k *kafka) close() { k.client.Close() }

// ranges returns what a group has not read of a topic yet, by partition.
func (k *kafka) ranges(ctx context.Context, topic, group string) (map[int32]span, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	starts, err := k.admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the topic %q: %w", topic, err)
	}
	ends, err := k.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the ends of the topic %q: %w", topic, err)
	}
	committed, err := k.committed(ctx, topic, group)
	if err != nil {
		return nil, err
	}
	ranges := map[int32]span{}
	starts.Each(func(o kadm.ListedOffset) {
		from := o.Offset
		if at, ok := committed[o.Partition]; ok {
			from = max(from, at)
		}
		end, _ := ends.Lookup(topic, o.Partition)
		ranges[o.Partition] = span{from, max(from, end.Offset)}
	})
	return ranges, nil
}

// committed returns the committed offsets of a group, which need not exist. A
// cluster that never had a group first makes the topic that they are kept in.
func (k *kafka) committed(ctx context.Context, topic, group string) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	offsets, err := k.offsets(ctx, group)
	for kerr.IsRetriable(err) && work(ctx, 250*time.Millisecond) == nil {
		offsets, err = k.offsets(ctx, group)
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
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

func (k *kafka) offsets(ctx context.Context, group string) (kadm.OffsetResponses, error) {
	offsets, err := k.admin.FetchOffsets(ctx, group)
	if err != nil {
		return nil, err
	}
	return offsets, offsets.Error()
}

// count reads a part of a partition again and counts the records that are
// among those asked for. What is between offsets need not be a loss: markers
// of transactions take an offset, and compaction leaves holes.
func (k *kafka) count(ctx context.Context, topic string, partition int32, from, to int64, among func(offset int64) bool) (n int64, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}}))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	for next := from; next < to; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return n, fmt.Errorf("read %s/%d again from %d: %w", topic, partition, next, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if r.Offset < to && !r.Attrs.IsControl() && among(r.Offset) {
				n++
			}
		})
	}
	return n, nil
}
