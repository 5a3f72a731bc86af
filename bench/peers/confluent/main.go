//go:build cgo

// Command confluent reads a topic with confluent-kafka-go, which is librdkafka:
// a worker for each partition, and batches put together by hand.
package main

import (
	"context"
	"errors"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/seed429fd032/esm/bench/job"
)

// A partition is paused when pauseAt messages wait in front of its worker, and
// goes on when resumeAt are left. Without that the loop would wait where one
// queue is full, and other workers run dry: librdkafka does not hand out the
// partitions evenly, and a drain took three times as long.
const (
	pauseAt  = 2000
	resumeAt = 1000
	look     = 20 * time.Millisecond // between looks at what is paused
)

type worker struct {
	in   chan *kafka.Message
	stop context.CancelFunc
	done chan struct{}
}

type consumer struct {
	j *job.Job
	c *kafka.Consumer
	// These are only used by the goroutine that polls.
	workers map[int32]*worker
	paused  map[int32]bool
	looked  time.Time
}

func main() {
	job.Main(func(ctx context.Context, j *job.Job) error {
		j.About.Versions = job.Versions("github.com/confluentinc/confluent-kafka-go/v2")
		_, j.About.Versions["librdkafka"] = kafka.LibraryVersion()
		j.About.Settings = []string{
			"a worker with a queue for each partition, which is paused at 2000 messages and goes on at 1000: waiting for a full queue lets others run dry",
			"fetch.message.max.bytes=262144: of a partition at once, so that the queues fill evenly",
			"enable.auto.offset.store=false and StoreOffsets after success, committed every second",
			"fetch.queue.backoff.ms=10: the default waits a second after its queue was full",
			"queued.min.messages=1000000: only bytes limit what it holds (64 MiB, the default)",
			"cooperative-sticky: partitions that stay go on during a rebalance",
			"on failure the same batch again, for ever: nothing is lost, and the partition waits",
		}
		c, err := kafka.NewConsumer(&kafka.ConfigMap{
			"bootstrap.servers":             j.Brokers,
			"group.id":                      j.Group,
			"auto.offset.reset":             "earliest",
			"enable.auto.offset.store":      false,
			"auto.commit.interval.ms":       1000,
			"fetch.message.max.bytes":       262144,
			"fetch.queue.backoff.ms":        10,
			"queued.min.messages":           1000000,
			"partition.assignment.strategy": "cooperative-sticky",
		})
		if err != nil {
			return err
		}
		k := &consumer{j: j, c: c, workers: map[int32]*worker{}, paused: map[int32]bool{}}
		if err := c.SubscribeTopics([]string{j.Topic}, k.rebalance); err != nil {
			return errors.Join(err, c.Close())
		}
		for ctx.Err() == nil {
			if err := k.resume(); err != nil {
				return errors.Join(err, c.Close())
			}
			switch e := c.Poll(20).(type) {
			case *kafka.Message:
				if err := k.hand(e); err != nil {
					return errors.Join(err, c.Close())
				}
			case kafka.Error:
				if e.IsFatal() {
					return errors.Join(e, c.Close())
				}
			}
		}
		assigned, err := c.Assignment()
		if err != nil {
			return err
		}
		k.end(assigned)
		return c.Close() // which commits what is stored
	})
}

// hand gives a message to the worker of its partition.
func (k *consumer) hand(m *kafka.Message) error {
	w := k.workers[m.TopicPartition.Partition]
	w.in <- m // there is room: after this one, nothing comes while it is paused
	if len(w.in) < pauseAt {
		return nil
	}
	k.paused[m.TopicPartition.Partition] = true
	return k.c.Pause([]kafka.TopicPartition{m.TopicPartition})
}

// resume lets partitions go on whose workers have less to do.
func (k *consumer) resume() error {
	now := time.Now()
	if now.Sub(k.looked) < look {
		return nil
	}
	k.looked = now
	var ready []kafka.TopicPartition
	for p := range k.paused {
		if len(k.workers[p].in) <= resumeAt {
			ready = append(ready, kafka.TopicPartition{Topic: &k.j.Topic, Partition: p})
			delete(k.paused, p)
		}
	}
	if ready == nil {
		return nil
	}
	return k.c.Resume(ready)
}

// rebalance is called by Poll.
func (k *consumer) rebalance(c *kafka.Consumer, e kafka.Event) error {
	switch e := e.(type) {
	case kafka.AssignedPartitions:
		for _, p := range e.Partitions {
			ctx, stop := context.WithCancel(context.Background())
			w := &worker{in: make(chan *kafka.Message, pauseAt), stop: stop, done: make(chan struct{})}
			k.workers[p.Partition] = w
			go w.run(ctx, k.j, c)
		}
		return c.IncrementalAssign(e.Partitions)
	case kafka.RevokedPartitions:
		k.end(e.Partitions)
		if !c.AssignmentLost() {
			_, _ = c.Commit() // there may be nothing to commit, which is an error
		}
		return c.IncrementalUnassign(e.Partitions)
	}
	return nil
}

// end ends workers, and waits for their calls.
func (k *consumer) end(partitions []kafka.TopicPartition) {
	for _, p := range partitions {
		if w := k.workers[p.Partition]; w != nil {
			w.stop()
		}
	}
	for _, p := range partitions {
		if w := k.workers[p.Partition]; w != nil {
			<-w.done
			delete(k.workers, p.Partition)
			delete(k.paused, p.Partition)
		}
	}
}

func (w *worker) run(ctx context.Context, j *job.Job, c *kafka.Consumer) {
	defer close(w.done)
	job.Gather(ctx, w.in, j.Batch, j.Window, func(batch []*kafka.Message) bool {
		if !j.Try(ctx, func() error {
			return job.Call(j, batch, func(m *kafka.Message) (int32, int64, []byte) {
				return m.TopicPartition.Partition, int64(m.TopicPartition.Offset), m.Value
			})
		}) {
			return false
		}
		next := batch[len(batch)-1].TopicPartition
		next.Offset++
		_, _ = c.StoreOffsets([]kafka.TopicPartition{next}) // fails if the partition is lost
		return ctx.Err() == nil
	})
}
