package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsetsTopic is where the brokers write down each commit.
const offsetsTopic = "__consumer_offsets"

// A commitLog reads what the brokers wrote down of the group's commits: all of
// them, in their order. Only that can say that one went backward. The offset
// that a coordinator names can: one that has just taken over from a broker
// that is gone answers with what it knows to be replicated, and for a second
// that may be less than the broker before it had acknowledged (Kafka 4.3,
// seen in one of twelve coordinators that were frozen after a commit).
type commitLog struct {
	client *kgo.Client
	judge  *judge

	mu   sync.Mutex
	read map[int32]int64 // of the topic of commits: the offset after the last record that was taken
	last map[int32]int64 // that was committed, by partition
}

// newCommitLog reads from brokers it reaches past the proxies.
func newCommitLog(seeds []string, judge *judge) (*commitLog, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(offsetsTopic), kgo.FetchMaxWait(500*time.Millisecond),
		kgo.MetadataMinAge(250*time.Millisecond), kgo.MetadataMaxAge(5*time.Second))
	if err != nil {
		return nil, err
	}
	return &commitLog{client: cl, judge: judge, read: map[int32]int64{}, last: map[int32]int64{}}, nil
}

// run reads until ctx ends, or a commit went backward.
func (c *commitLog) run(ctx context.Context) error {
	for {
		fetches := c.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// Errors are those of brokers that are being broken: whether all was
		// read is asked at the end.
		for _, r := range fetches.Records() {
			if err := c.take(r); err != nil {
				return err
			}
		}
	}
}

// take judges one record of the log.
func (c *commitLog) take(r *kgo.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Offset < c.read[r.Partition] {
		return nil // the client went back to be sure
	}
	c.read[r.Partition] = r.Offset + 1
	n, offset, err := commitOf(r)
	switch {
	case errors.Is(err, errOtherRecord):
		return nil
	case err != nil:
		return c.judge.broken("offset %d of %s-%d cannot be read: %v", r.Offset, offsetsTopic, r.Partition, err)
	}
	if last := c.last[n]; offset < last {
		return c.judge.brokenPart(n, "the commit of %s wrote %d after %d", r.Timestamp.Format("15:04:05.000"), offset, last)
	}
	c.last[n] = offset
	return nil
}

// errOtherRecord is what a record is that holds no commit of the group.
var errOtherRecord = errors.New("not a commit of the group")

// commitOf reads a record of the topic of commits.
func commitOf(r *kgo.Record) (partition int32, offset int64, err error) {
	key := kmsg.NewOffsetCommitKey()
	// The key's version says what it is: 0 and 1 are commits, others the state
	// of groups.
	if len(r.Key) < 2 || r.Key[0] != 0 || r.Key[1] > 1 {
		return 0, 0, errOtherRecord
	}
	if err := key.ReadFrom(r.Key); err != nil {
		return 0, 0, fmt.Errorf("its key: %w", err)
	}
	if key.Group != group || key.Topic != topic {
		return 0, 0, errOtherRecord
	}
	if key.Partition < 0 || key.Partition >= partitions {
		return 0, 0, fmt.Errorf("it is of partition %d", key.Partition)
	}
	if r.Value == nil {
		return 0, 0, fmt.Errorf("it takes the commit of partition %d away", key.Partition)
	}
	value := kmsg.NewOffsetCommitValue()
	if err := value.ReadFrom(r.Value); err != nil {
		return 0, 0, fmt.Errorf("its value: %w", err)
	}
	return key.Partition, value.Offset, nil
}

// wait waits until the log ends with these offsets: what was not read was not
// judged.
func (c *commitLog) wait(ctx context.Context, ends map[int32]int64, most time.Duration) error {
	for deadline := time.Now().Add(most); ; {
		behind := 0
		c.mu.Lock()
		for n, end := range ends {
			if c.last[n] < end {
				behind++
			}
		}
		c.mu.Unlock()
		if behind == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the log of commits was not read to its end within %s: %d of %d partitions are missing", most, behind, len(ends))
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return nil
		}
	}
}
