// Command fill writes the topic of a run, if it is not there. It is a process
// of its own because the peak of memory of a child that is started later
// counts from what its parent has.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/bench/topics"
)

type topic struct {
	brokers, name string
	partitions    int
	each, hot     int64
	hots          int
	replicas      int
	size          int
	batch         int // records of a record batch
	codec         string
}

// Filled is what fill writes to its standard output.
type Filled struct {
	Records int64 `json:"records"`
	Stored  int64 `json:"stored_bytes"`
}

func main() {
	var t topic
	flag.StringVar(&t.brokers, "brokers", "", "brokers")
	flag.StringVar(&t.name, "topic", "", "topic")
	flag.IntVar(&t.partitions, "partitions", 1, "partitions")
	flag.Int64Var(&t.each, "each", 0, "records of each partition")
	flag.Int64Var(&t.hot, "hot", 0, "records of a hot partition, if there are any")
	flag.IntVar(&t.hots, "hots", 1, "how many partitions are hot then: partition 0, and so on at equal distances")
	flag.IntVar(&t.replicas, "replicas", 1, "replicas of each partition")
	flag.IntVar(&t.size, "size", 1024, "bytes of a value")
	flag.IntVar(&t.batch, "batch", 100, "records of a record batch, but of those that are not hot and of the last ones")
	flag.StringVar(&t.codec, "codec", "", "what record batches are compressed with: zstd, or nothing")
	flag.Parse()
	if t.batch < 1 || t.hots < 1 || t.hots > t.partitions {
		fmt.Fprintln(os.Stderr, "fill: -batch has to be 1 or more, and -hots from 1 to -partitions")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	f, err := t.fill(ctx)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fill:", err)
		os.Exit(1)
	}
}

// count is how many records partition p has.
func (t topic) count(p int) int64 {
	if apart := t.partitions / max(1, t.hots); t.hot > 0 && p%apart == 0 && p/apart < t.hots {
		return t.hot
	}
	return t.each
}

func (t topic) fill(ctx context.Context) (f Filled, err error) {
	codec := kgo.NoCompression()
	switch t.codec {
	case "":
	case "zstd":
		codec = kgo.ZstdCompression()
	default:
		return f, fmt.Errorf("there is no codec %q here", t.codec)
	}
	// A batch is sent when it is flushed, with what it has: if it were sent after a time,
	// its size would be a matter of how fast the machine is.
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(t.brokers, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codec), kgo.MaxBufferedRecords(t.partitions*t.batch+1), kgo.ProducerLinger(time.Minute))
	if err != nil {
		return f, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	var want int64
	for p := range t.partitions {
		want += t.count(p)
	}
	err = topics.Create(ctx, adm, t.name, t.partitions, t.replicas)
	if err == nil {
		err = t.produce(ctx, cl)
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return f, err
	}
	ends, err := adm.ListEndOffsets(ctx, t.name)
	if err != nil {
		return f, err
	}
	ends.Each(func(o kadm.ListedOffset) { f.Records += o.Offset })
	if f.Records != want {
		return f, fmt.Errorf("topic %s has %d records, not %d: choose another with -topic", t.name, f.Records, want)
	}
	dirs, err := adm.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return f, err
	}
	for _, broker := range dirs {
		broker.EachPartition(func(p kadm.DescribedLogDirPartition) {
			if p.Topic == t.name {
				f.Stored += p.Size / int64(t.replicas)
			}
		})
	}
	return f, nil
}

// produce writes the records of all partitions in turn, as traffic would: a batch of
// each. Those that have more records have them among the others', not after them.
func (t topic) produce(ctx context.Context, cl *kgo.Client) error {
	value := make([]byte, t.size)
	for i := range value {
		value[i] = byte(i*7 + i>>8)
	}
	var failed atomic.Pointer[error]
	most := max(t.each, t.hot)
	for from := int64(0); from < most; from += int64(t.batch) {
		to := min(from+int64(t.batch), most)
		for p := range t.partitions {
			n := t.count(p)
			for i := from * n / most; i < to*n/most; i++ {
				cl.Produce(ctx, &kgo.Record{
					Topic: t.name, Partition: int32(p), Key: fmt.Appendf(nil, "%08d", i%100_000_000), Value: value,
				}, func(_ *kgo.Record, err error) {
					if err != nil {
						failed.CompareAndSwap(nil, &err)
					}
				})
			}
		}
		if err := cl.Flush(ctx); err != nil {
			return err
		}
		if err := failed.Load(); err != nil {
			return *err
		}
	}
	return nil
}
