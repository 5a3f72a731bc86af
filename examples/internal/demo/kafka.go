package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/testing/turns"
)

// A Source is a topic that an example reads, in a Kafka that is there or, if
// Brokers is empty, in one in this process.
type Source struct {
	Brokers []string
	Topic   string
	Group   string
}

// Flags defines -brokers, -topic and -group. A group that is not given stays
// empty, and is an error if it is needed.
func (s *Source) Flags(f *Flags, needsGroup bool) {
	f.Func("brokers", "`addresses` of a Kafka, with commas between them (default: one in this process)", func(text string) error {
		if s.Brokers = nil; text != "" {
			s.Brokers = strings.Split(text, ",")
		}
		return nil
	})
	f.StringVar(&s.Topic, "topic", "", "the topic to read, with -brokers")
	usage := "the consumer group, with -brokers"
	if !needsGroup {
		usage += " (default: a new one)"
	}
	f.StringVar(&s.Group, "group", "", usage)
	f.Check(func() error {
		switch {
		case len(s.Brokers) == 0 && (f.Given("topic") || f.Given("group")):
			return errors.New("-topic and -group need -brokers, the Kafka that they are in")
		case len(s.Brokers) > 0 && s.Topic == "":
			return errors.New("-brokers needs -topic, what to read")
		case len(s.Brokers) > 0 && s.Group == "" && needsGroup:
			return errors.New("-brokers needs -group, the consumer group that keeps the offsets")
		}
		return nil
	})
}

// A Topic is one in a Kafka in this process, and what is in it.
type Topic struct {
	Name       string
	Partitions int
	Records    int                     // how many there are
	Record     func(i int) *kgo.Record // makes them; each names its partition
}

// StartKafka starts a Kafka in this process, and writes what is in its topics.
func StartKafka(ctx context.Context, topics ...Topic) (brokers []string, stop func(), err error) {
	options := []kfake.Opt{kfake.NumBrokers(1)}
	for _, t := range topics {
		options = append(options, kfake.SeedTopics(int32(t.Partitions), t.Name))
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		return nil, nil, fmt.Errorf("start a Kafka in this process: %w", err)
	}
	turns.Take(cluster)
	for _, t := range topics {
		if err := t.fill(ctx, cluster.ListenAddrs()); err != nil {
			cluster.Close()
			return nil, nil, fmt.Errorf("write records: %w", err)
		}
	}
	return cluster.ListenAddrs(), cluster.Close, nil
}

// fill writes the records, and returns when Kafka has them all.
func (t *Topic) fill(ctx context.Context, brokers []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(t.Name), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(5*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	var failed atomic.Pointer[error]
	for i := range t.Records {
		client.Produce(ctx, t.Record(i), func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	err = client.Flush(ctx)
	if first := failed.Load(); first != nil {
		return *first
	}
	return err
}

// Committed returns the committed offsets of a group in a topic, by partition.
// The group need not exist. A cluster that never had a group makes the topic
// that they are kept in first, and that is waited for.
func Committed(ctx context.Context, brokers []string, topic, group string) (map[int32]int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RetryTimeout(10*time.Second))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	offsets, err := fetchOffsets(ctx, client, group)
	for kerr.IsRetriable(err) && Work(ctx, 250*time.Millisecond) == nil {
		offsets, err = fetchOffsets(ctx, client, group)
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

func fetchOffsets(ctx context.Context, client *kgo.Client, group string) (kadm.OffsetResponses, error) {
	offsets, err := kadm.NewClient(client).FetchOffsets(ctx, group)
	if err != nil {
		return nil, err
	}
	return offsets, offsets.Error()
}
