package main

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 20
	valueBytes = 200
	every      = 100 * time.Millisecond
	keys       = 1000
)

// A load writes records in waves, and deletes what both Mappings have had: the Kafka in this
// process keeps its records in memory.
type load struct {
	client *kgo.Client
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func startLoad(ctx context.Context, brokers []string, wave time.Duration, peak int) (*load, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &load{client: client, cancel: cancel}
	l.ended.Go(func() { l.write(ctx, wave, peak) })
	l.ended.Go(func() { l.clean(ctx) })
	return l, nil
}

func (l *load) stop() {
	l.cancel()
	l.ended.Wait()
	l.client.Close()
}

// rate is how many records a second come at a time: none at the ends of a wave, the most in
// its middle.
func rate(at, wave time.Duration, peak int) float64 {
	return float64(peak) * (1 - math.Cos(2*math.Pi*at.Seconds()/wave.Seconds())) / 2
}

func (l *load) write(ctx context.Context, wave time.Duration, peak int) {
	began, written := time.Now(), 0
	due := 0.0
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		due += rate(time.Since(began), wave, peak) * every.Seconds()
		for ; written < int(due); written++ {
			value := make([]byte, valueBytes)
			l.client.Produce(ctx, &kgo.Record{Key: fmt.Appendf(nil, "order-%d", written%keys), Value: value}, nil)
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// clean deletes what both groups have committed.
func (l *load) clean(ctx context.Context) {
	admin := kadm.NewClient(l.client)
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		done := kadm.Offsets{}
		both := map[int32]int{}
		for _, group := range []string{"billing", "search"} {
			offsets, err := admin.FetchOffsets(ctx, group)
			if err != nil {
				continue
			}
			offsets.Each(func(o kadm.OffsetResponse) {
				if both[o.Partition]++; o.At < 0 {
					return
				}
				if was, ok := done.Lookup(o.Topic, o.Partition); !ok || o.At < was.At {
					done.AddOffset(o.Topic, o.Partition, o.At, -1)
				}
			})
		}
		done.KeepFunc(func(o kadm.Offset) bool { return both[o.Partition] == 2 })
		_, _ = admin.DeleteRecords(ctx, done) // the next one deletes what this one did not
	}
}
