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

// offsetsTopic is where the brokers write down each commit, and
// transactionsTopic where they do so with transactions.
const (
	offsetsTopic      = "__consumer_offsets"
	transactionsTopic = "__transaction_state"
)

// A commitLog reads what the brokers wrote down of the group's commits: all of
// them, in their order.
//
// Only that can say that one went backward. The offset that a coordinator names
// can: one that has just taken over from a broker that is gone answers with what
// it knows to be replicated, and for a second that may be less than the broker
// before it had acknowledged (Kafka 4.3, seen in one of twelve coordinators that
// were frozen after a commit).
//
// And only that can say that one went too far, because it has all of them, also
// those whose answer nobody heard. Each is handed on as a line, and the checker
// compares it with what had been handled by then. That is sound although the
// two are told by different processes:
//
//   - The function says what it handled before it returns, and the destination
//     before it returns; what they say has the time at which it is said, and
//     is in the pipe to the parent by then.
//   - The engine settles what they return, and commits what is settled, so the
//     request is sent later than that.
//   - The coordinator stamps the record when it handles the request, which is
//     later still; and all of them run on this machine and read one clock. The
//     stamp has milliseconds, so the line has the end of its own.
//   - The judge takes a line when it is late old, after all lines of hosts that
//     are older. One that the log brings later than that is compared with what
//     had been handled at its time, and not with what is by now.
//
// It would take a clock that is set back to make a sound commit look wrong.
type commitLog struct {
	client *kgo.Client
	judge  *judge

	mu   sync.Mutex
	read map[int32]int64 // of the topic of commits: the offset after the last record that was taken
	last map[int32]int64 // that was committed, by partition
}

// newCommitLog reads from brokers it reaches past the proxies.
func newCommitLog(seeds []string, judge *judge) (*commitLog, error) {
	cl, err := kgo.NewClient(clientOpts(seeds, kgo.ConsumeTopics(offsetsTopic), kgo.FetchMaxWait(500*time.Millisecond), kgo.MetadataMaxAge(5*time.Second))...)
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
	c.judge.add(line{At: r.Timestamp.Add(time.Millisecond).UnixNano(), Host: "log", Kind: lineLogged, Parts: []part{{Partition: n, Offset: offset}}})
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
	if key.Group != group {
		return 0, 0, errOtherRecord
	}
	n := number(key.Topic, key.Partition)
	if n < 0 {
		return 0, 0, fmt.Errorf("it is of %s/%d", key.Topic, key.Partition)
	}
	if r.Value == nil {
		return 0, 0, fmt.Errorf("it takes the commit of %s away", nameOf(n))
	}
	value := kmsg.NewOffsetCommitValue()
	if err := value.ReadFrom(r.Value); err != nil {
		return 0, 0, fmt.Errorf("its value: %w", err)
	}
	return n, value.Offset, nil
}

// wait waits until the log ends with these offsets: what was not read was not
// judged.
func (c *commitLog) wait(ctx context.Context, ends map[int32]int64, most time.Duration) error {
	for deadline := time.Now().Add(most); ; {
		behind := 0
		c.mu.Lock()
		for n, end := range ends {
			if c.last[n] < end && !c.judge.takenUpTo(n, end) {
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
