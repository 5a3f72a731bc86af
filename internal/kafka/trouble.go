package kafka

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
)

// troubles deals with the errors that a poll brought. They come before the
// records: the client reports that it lost data before it reads on, but the
// two can be in one poll in either order.
func (c *Consumer) troubles(fetches kgo.Fetches) {
	fetches.EachError(func(topic string, number int32, err error) {
		var (
			loss     *kgo.ErrDataLoss
			session  *kgo.ErrGroupSession
			tooLarge *kgo.ErrDecompressTooLarge
		)
		switch {
		case errors.As(err, &session):
			c.raise("group", session.Err)
		case topic == "" && wasCut(err), memory.Refused(err):
		case errors.As(err, &loss):
			c.engine.Diverged(partition.ID{Topic: loss.Topic, Partition: loss.Partition}, loss.ResetTo, loss, time.Now())
		case errors.As(err, &tooLarge):
			c.engine.Said(partition.ID{Topic: topic, Partition: number}, err, tooLarge.NextOffset)
		case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.UnknownTopicOrPartition):
			c.raise("topic "+topic, err)
			c.suspect(topic)
		case topic == "":
			c.raise("client", err)
		case errors.Is(err, kerr.TopicAuthorizationFailed), number < 0:
			c.raise("topic "+topic, err)
		default:
			c.engine.Said(partition.ID{Topic: topic, Partition: number}, err, -1)
		}
	})
}

// suspect has it looked into whether topics were deleted, or made again: twice, at
// an interval of recheckEvery, since a broker may not have heard of it yet, and
// nobody else looks at a topic of which no partition is left here.
func (c *Consumer) suspect(topics ...string) {
	c.mu.Lock()
	for _, t := range topics {
		c.suspects[t] = 2
	}
	c.mu.Unlock()
	if len(topics) > 0 {
		c.checkBell.Ring()
	}
}

// recreated looks whether topics that gave trouble were deleted, or deleted and
// made again. Of a topic that is gone nothing is fetched: the broker answers
// such a fetch at once, and with it all others, so that the client would ask
// as fast as it can. With one that was made again the client stays with the old
// one on purpose, so it is told to forget the topic and to begin anew; what was
// read of the old one is not committed for the new one. A topic that is gone
// stays suspect until it is there again.
func (c *Consumer) recreated(ctx context.Context) {
	c.mu.Lock()
	looks := maps.Clone(c.suspects)
	clear(c.suspects)
	c.mu.Unlock()
	suspects := slices.Collect(maps.Keys(looks))
	if len(suspects) == 0 {
		return
	}
	topics, err := c.metadata(ctx, suspects)
	if err != nil {
		c.suspect(suspects...)
		return
	}
	for _, t := range topics {
		name := *t.Topic
		err := kerr.ErrorForCode(t.ErrorCode)
		gone := errors.Is(err, kerr.UnknownTopicOrPartition)
		c.mu.Lock()
		again := err == nil && t.TopicID != c.topicIDs[name]
		if again {
			c.topicIDs[name] = t.TopicID
		}
		if left := looks[name] - 1; err == nil && left > c.suspects[name] {
			c.suspects[name] = left
		}
		if gone {
			c.suspects[name] = 2 // nobody else may see that it is, so it is looked at again
		}
		c.mu.Unlock()
		switch {
		case gone:
			c.engine.ReviewTopic(name, engine.TopicGone)
			c.raise("topic "+name, err)
			continue
		case !again:
			c.engine.ReviewTopic(name, engine.TopicIsThere)
			continue
		}
		// In this order: once the lanes are dead the group may bring new ones, which
		// ask where they begin. They must not be told of the old topic.
		c.positions.forget(name)
		c.engine.ReviewTopic(name, engine.TopicAnew)
		c.purge.Lock() // the callback may come at once
		c.client.PurgeTopicsFromConsuming(name)
		c.purged[name] = time.Now()
		c.purge.Unlock()
		time.AfterFunc(readdAfter, c.checkBell.Ring)
		c.clear("topic " + name)
	}
}

const (
	// readdTimeout is how long a rebalance waits for metadata at most.
	readdTimeout = time.Second
	// readdAfter is how long a topic waits for a rebalance. None comes if nothing
	// of it was assigned. It is longer than two heartbeats of KIP-848, which are
	// 5 s apart, beginning with the purge, and falls between two.
	readdAfter = 12300 * time.Millisecond
)

// readd has the client consume again the topics that it was told to forget
// before some moment. That is done where the group takes their partitions away,
// and holds that up until the client knows those of the new topic. Meanwhile
// the client does not tell a group of KIP-848 what it subscribes to. A group
// that knew could assign the topic before the client has its metadata, and
// when it gets that, the client (v1.22.3) would assign the topic once more,
// beside its own fetches. If no rebalance comes, or another one than that, it
// still can, though seldom; assign is ready for it.
func (c *Consumer) readd(ctx context.Context, before time.Time) {
	if c.engine.Here().Stopping || !c.purge.TryLock() {
		return // a purge waits for metadata under way, and a rebalance must not
	}
	var topics []string
	for t, since := range c.purged {
		if !since.After(before) {
			topics = append(topics, t)
			delete(c.purged, t)
		}
	}
	c.client.AddConsumeTopics(topics...)
	c.purge.Unlock()
	ctx, done := context.WithTimeout(ctx, readdTimeout)
	defer done()
	for _, t := range topics {
		for leader := int32(-1); leader < 0; leader, _, _ = c.client.PartitionLeader(t, 0) {
			if !pause(ctx, time.Millisecond) {
				return
			}
		}
	}
}

// clientHooks hear from the client what is no error of a poll.
type clientHooks struct{ c *Consumer }

var _ interface {
	kgo.HookBrokerConnect
	kgo.HookBrokerWrite
	kgo.HookGroupManageError
} = clientHooks{}

const joinKey = 11 // Kafka's number of the JoinGroup request

// OnBrokerWrite hears that the client joins its group: if it does so without an
// id, the group does not know the one any more that it had.
func (h clientHooks) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == joinKey {
		h.c.memberBell.Ring()
	}
}

// OnBrokerConnect keeps what goes wrong with connections, until it goes well.
func (h clientHooks) OnBrokerConnect(b kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	h.c.raise(connectionProblem+hostPort(b.Host, b.Port), h.c.network.explain(b, err))
}

func hostPort(host string, port int32) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// OnGroupManageError hears why the group could not be joined.
func (h clientHooks) OnGroupManageError(err error) {
	h.c.raise("group", err)
	if final(err) {
		select {
		case h.c.started <- err:
		default:
		}
	}
}
