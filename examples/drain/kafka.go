package main

import (
	"context"
	"crypto/rand"
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

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// A kafka is the one that is read from, with a topic in it that is this
// program's own.
type kafka struct {
	brokers []string
	topic   string
	client  *kgo.Client
	admin   *kadm.Client
	stop    func() error // ends what was started for it
}

// open starts a Kafka, or finds the one that is there, and makes a topic.
func (s *settings) open(ctx context.Context, progress io.Writer) (*kafka, error) {
	k := &kafka{topic: "esm-drain-" + strings.ToLower(rand.Text())}
	switch s.kafka {
	case embedded:
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			return nil, fmt.Errorf("start a Kafka in memory: %w", err)
		}
		k.brokers = cluster.ListenAddrs()
		k.stop = func() error { cluster.Close(); return nil }
	case local:
		fmt.Fprintf(progress, "starting Apache Kafka %s on this machine\n", kafkatest.Version)
		cluster, err := kafkatest.Start(ctx, kafkatest.Config{Fast: true, Memory: "512m"})
		if err != nil {
			return nil, fmt.Errorf("-kafka local: %w", err)
		}
		k.brokers, k.stop = cluster.Addrs, cluster.Stop
	default:
		k.brokers = strings.Split(s.kafka, ",")
	}
	if err := k.create(ctx, s.Partitions); err != nil {
		if k.client != nil {
			k.client.Close()
		}
		if k.stop != nil {
			err = errors.Join(err, k.stop())
		}
		return nil, err
	}
	if k.stop == nil {
		// Kafka forgets the groups together with the topic.
		k.stop = k.remove
	}
	return k, nil
}

func (k *kafka) create(ctx context.Context, partitions int) (err error) {
	k.client, err = kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.DefaultProduceTopic(k.topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(1<<20), kgo.MaxBufferedRecords(100_000),
		kgo.ProducerLinger(50*time.Millisecond), kgo.RecordDeliveryTimeout(time.Minute), kgo.RetryTimeout(10*time.Second),
		kgo.MetadataMinAge(250*time.Millisecond)) // the partitions of a new topic get their leaders one after the other
	if err != nil {
		return fmt.Errorf("-kafka: %w", err)
	}
	k.admin = kadm.NewClient(k.client)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	const usual = -1 // as many replicas as this Kafka gives a topic
	if _, err := k.admin.CreateTopic(ctx, int32(partitions), usual, nil, k.topic); err != nil {
		return fmt.Errorf("make the topic %s: %w", k.topic, err)
	}
	return nil
}

func (k *kafka) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := k.admin.DeleteTopic(ctx, k.topic); err != nil {
		return fmt.Errorf("the topic %s is still there: %w", k.topic, err)
	}
	return nil
}

// close leaves nothing behind.
func (k *kafka) close() error {
	err := k.stop()
	k.client.Close()
	return err
}

// fill writes the records, and says once a second how many are there.
func (k *kafka) fill(ctx context.Context, s scenario, progress io.Writer) error {
	fmt.Fprintf(progress, "writing %s records of %s bytes into %d partitions\n", demo.Grouped(s.Records), demo.Grouped(int64(s.Size)), s.Partitions)
	began := time.Now()
	var written atomic.Int64
	shown, showing := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(shown)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-showing:
				return
			case now := <-tick.C:
				fmt.Fprintf(progress, "%4.0fs  %s written\n", now.Sub(began).Seconds(), demo.Grouped(written.Load()))
			}
		}
	}()
	err := k.produce(ctx, s, &written)
	close(showing)
	<-shown
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted while writing: %s of %s records were written, none was read", demo.Grouped(written.Load()), demo.Grouped(s.Records))
	case err != nil:
		return fmt.Errorf("write records: %w", err)
	}
	fmt.Fprintf(progress, "%4.0fs  all are written\n", time.Since(began).Seconds())
	if err := k.counted(ctx, s); err != nil {
		return err
	}
	return k.coordinated(ctx)
}

func (k *kafka) produce(ctx context.Context, s scenario, written *atomic.Int64) error {
	value := make([]byte, s.Size)
	for i := range value {
		value[i] = byte(i*7 + i>>8)
	}
	var failed atomic.Pointer[error]
	acknowledged := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
			return
		}
		written.Add(1)
	}
	for i := range s.Records {
		if failed.Load() != nil {
			break
		}
		r := &kgo.Record{Partition: int32(i % int64(s.Partitions)), Key: fmt.Appendf(nil, "%08d", i), Value: value}
		k.client.Produce(ctx, r, acknowledged)
	}
	err := k.client.Flush(ctx)
	if first := failed.Load(); first != nil {
		return *first
	}
	return err
}

// counted makes sure that there is what the check expects.
func (k *kafka) counted(ctx context.Context, s scenario) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ends, err := k.admin.ListEndOffsets(ctx, k.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("find the ends of the topic %s: %w", k.topic, err)
	}
	for p := range s.Partitions {
		if end, _ := ends.Lookup(k.topic, int32(p)); end.Offset != s.records(p) {
			return fmt.Errorf("partition %d of the topic %s has %d records, and %d were written", p, k.topic, end.Offset, s.records(p))
		}
	}
	return nil
}

// coordinated waits until groups have a coordinator. A Kafka that never had a
// group first makes a topic for their offsets, which is no part of a run.
func (k *kafka) coordinated(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		found := k.admin.FindGroupCoordinators(ctx, k.topic) // any name will do
		err := found.Error()
		if err == nil {
			return nil
		}
		if !kerr.IsRetriable(err) || demo.Work(ctx, 250*time.Millisecond) != nil {
			return fmt.Errorf("find out who coordinates groups: %w", err)
		}
	}
}

// stored returns how many bytes the topic has on one replica of each partition:
// records, and what Kafka keeps around them.
func (k *kafka) stored(ctx context.Context) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	dirs, err := k.admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return 0, err
	}
	size := map[int32]int64{}
	for _, broker := range dirs {
		broker.EachPartition(func(p kadm.DescribedLogDirPartition) {
			if p.Topic == k.topic && !p.IsFuture {
				size[p.Partition] = max(size[p.Partition], p.Size)
			}
		})
	}
	for _, bytes := range size {
		n += bytes
	}
	if n == 0 {
		return 0, errors.New("the brokers do not list it")
	}
	return n, nil
}
