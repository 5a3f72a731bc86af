package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// countEvery is how often the cluster is asked how many partitions the topics
	// have: so it is how long a process may not know of new ones that no rebalance
	// tells it of.
	countEvery = 5 * time.Second
	// countAgain is how often it is asked while that is unknown.
	countAgain = time.Second
)

// A counted topic has so many partitions.
type counted struct {
	id         [16]byte // zero where the cluster has none
	partitions int
}

// countPartitions keeps the engine informed of how many partitions the subscribed
// topics have, where bounds are shared by these, until ctx ends. It asks with every
// assignment, because all members of the group hear of the same partitions then, and
// every few seconds, because a member that gets none of new ones may hear of nothing.
//
// It does not go by what the client knows: that is up to metadataMaxAge old, and the
// client does not say how many there are.
func (c *Consumer) countPartitions(ctx context.Context) {
	shares, _ := c.engine.SharesBounds()
	if !shares {
		return
	}
	timer := time.NewTimer(countEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.countBell:
		case <-timer.C:
		}
		topics, err := c.metadata(ctx, c.source.Topics)
		if err == nil {
			c.count(topics)
		}
		next := countEvery
		if _, known := c.engine.SharesBounds(); err != nil || !known {
			next = countAgain
		}
		timer.Reset(next)
	}
}

// count tells the engine how many partitions the topics have, once that is known of
// each. What a cluster does not say now is what it said last: a topic that was deleted
// is nobody's, and its share idle. A topic does not lose partitions: a smaller number
// is of a broker that has not heard of the others yet, or of a topic that was made
// again.
func (c *Consumer) count(topics []kmsg.MetadataResponseTopic) {
	c.mu.Lock()
	for _, t := range topics {
		if kerr.ErrorForCode(t.ErrorCode) != nil || len(t.Partitions) == 0 {
			continue
		}
		is := counted{t.TopicID, len(t.Partitions)}
		if was, known := c.counts[*t.Topic]; known && was.id == is.id && is.id != [16]byte{} {
			is.partitions = max(is.partitions, was.partitions)
		}
		c.counts[*t.Topic] = is
	}
	said, all := map[string]int{}, true
	for _, name := range c.source.Topics {
		t, known := c.counts[name]
		said[name], all = t.partitions, all && known
	}
	c.mu.Unlock()
	if all {
		c.engine.Counted(said, time.Now())
	}
}
