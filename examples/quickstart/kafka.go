package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/examples/internal/demo"
)

// A kafka is what is asked of the cluster beside the Mapping.
type kafka struct {
	demo.Source
	progress io.Writer
	stop     func()
}

// open finds the Kafka that is there, or starts one in this process and fills a
// topic of it.
func (s *settings) open(ctx context.Context, progress io.Writer) (*kafka, error) {
	k := &kafka{Source: s.Source, progress: progress, stop: func() {}}
	if len(k.Brokers) > 0 {
		return k, nil
	}
	k.Topic = "quickstart"
	fmt.Fprintf(progress, "writing %d records of 1 KB into a Kafka in this process\n", s.records)
	value := bytes.Repeat([]byte("x"), 1000)
	var err error
	k.Brokers, k.stop, err = demo.StartKafka(ctx, demo.Topic{
		Name: k.Topic, Partitions: s.partitions, Records: s.records,
		Record: func(i int) *kgo.Record { return &kgo.Record{Partition: int32(i % s.partitions), Value: value} },
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

func (k *kafka) close() { k.stop() }

// expect returns a check of what the group has not read yet.
func (k *kafka) expect(ctx context.Context) (*check, error) {
	ranges, err := k.ranges(ctx)
	if err != nil {
		return nil, err
	}
	c := newCheck(ranges)
	fmt.Fprintf(k.progress, "reading %d records in %d partitions of %q in the group %q\n", c.total(), len(ranges), k.Topic, k.Group)
	return c, nil
}

// ranges returns what the group has not read of the topic yet, by partition.
func (k *kafka) ranges(ctx context.Context) (map[int32]span, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers...), kgo.RetryTimeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("-brokers: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	starts, err := admin.ListStartOffsets(ctx, k.Topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the topic %q: %w", k.Topic, err)
	}
	ends, err := admin.ListEndOffsets(ctx, k.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("find the ends of the topic %q: %w", k.Topic, err)
	}
	committed, err := demo.Committed(ctx, k.Brokers, k.Topic, k.Group)
	if err != nil {
		return nil, err
	}
	ranges := map[int32]span{}
	starts.Each(func(o kadm.ListedOffset) {
		from := o.Offset
		if at, ok := committed[o.Partition]; ok {
			from = max(from, at)
		}
		end, _ := ends.Lookup(k.Topic, o.Partition)
		ranges[o.Partition] = span{from, max(from, end.Offset)}
	})
	return ranges, nil
}

// judge has the check compare what was handled with what Kafka has.
func (k *kafka) judge(c *check, interrupted bool) (*summary, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	committed, err := demo.Committed(ctx, k.Brokers, k.Topic, k.Group)
	if err != nil {
		return nil, err
	}
	return c.judge(committed, interrupted, func(partition int32, from, to int64, among func(offset int64) bool) (int64, error) {
		return k.count(ctx, partition, from, to, among)
	})
}

// count reads a part of a partition again and counts the records that are
// among those asked for. What is between offsets need not be a loss: markers
// of transactions take an offset, and compaction leaves holes.
func (k *kafka) count(ctx context.Context, partition int32, from, to int64, among func(offset int64) bool) (n int64, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers...), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{k.Topic: {partition: kgo.NewOffset().At(from)}}))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	for next := from; next < to; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return n, fmt.Errorf("read %s/%d again from %d: %w", k.Topic, partition, next, err)
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
