// Command goroutines is what many write by hand on the client: a goroutine for
// each partition, a queue in front of it, and commits after success.
package main

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/bench/job"
)

// queue is how many fetched runs of records wait in front of a partition's
// goroutine: enough that a partition does not run dry while the loop waits for
// another one, which it must, because what was polled has to go somewhere.
const queue = 4

type worker struct {
	in   chan []*kgo.Record
	stop context.CancelFunc
	done chan struct{}
}

type consumer struct {
	j       *job.Job
	mu      sync.Mutex // guards workers
	workers map[int32]*worker
}

func main() {
	job.Main(func(ctx context.Context, j *job.Job) error {
		j.About.Versions = job.Versions("github.com/twmb/franz-go")
		j.About.Settings = []string{
			"a goroutine and a queue of 4 fetched runs for each partition; the loop waits where one is full",
			"AutoCommitMarks with AutoCommitInterval 1s: offsets are marked after success, so that a commit is not one request a batch",
			"BlockRebalanceOnPoll: a partition does not move away between a poll and its queue",
			"on revoke the goroutines end their call, and marks are committed",
			"on failure the same batch again, for ever: nothing is lost, and the partition waits",
		}
		c := &consumer{j: j, workers: map[int32]*worker{}}
		cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(j.Brokers, ",")...), kgo.ConsumeTopics(j.Topic), kgo.ConsumerGroup(j.Group),
			kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second), kgo.BlockRebalanceOnPoll(),
			kgo.OnPartitionsAssigned(c.assigned), kgo.OnPartitionsRevoked(c.revoked), kgo.OnPartitionsLost(c.lost))
		if err != nil {
			return err
		}
		defer cl.CloseAllowingRebalance()
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			for _, e := range fetches.Errors() {
				if ctx.Err() == nil {
					return e.Err
				}
			}
			fetches.EachPartition(func(p kgo.FetchTopicPartition) {
				if len(p.Records) == 0 {
					return
				}
				c.mu.Lock()
				w := c.workers[p.Partition]
				c.mu.Unlock()
				select {
				case w.in <- p.Records:
				case <-ctx.Done():
				}
			})
			cl.AllowRebalance()
		}
		return nil
	})
}

func (c *consumer) assigned(_ context.Context, cl *kgo.Client, added map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range added[c.j.Topic] {
		ctx, stop := context.WithCancel(context.Background())
		w := &worker{in: make(chan []*kgo.Record, queue), stop: stop, done: make(chan struct{})}
		c.workers[p] = w
		go w.run(ctx, c.j, cl)
	}
}

func (w *worker) run(ctx context.Context, j *job.Job, cl *kgo.Client) {
	defer close(w.done)
	job.GatherRuns(ctx, w.in, j.Batch, j.Window, func(batch []*kgo.Record) bool {
		if !j.Try(ctx, func() error {
			return job.Call(j, batch, func(r *kgo.Record) (int32, int64, []byte) { return r.Partition, r.Offset, r.Value })
		}) {
			return false
		}
		cl.MarkCommitRecords(batch[len(batch)-1])
		return ctx.Err() == nil
	})
}

func (c *consumer) revoked(ctx context.Context, cl *kgo.Client, gone map[string][]int32) {
	c.lost(ctx, cl, gone)
	_ = cl.CommitMarkedOffsets(ctx) // what fails comes again
}

// lost ends the goroutines of partitions, and waits for their calls.
func (c *consumer) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range gone[c.j.Topic] {
		if w := c.workers[p]; w != nil {
			w.stop()
			defer func() { <-w.done }()
			delete(c.workers, p)
		}
	}
}
