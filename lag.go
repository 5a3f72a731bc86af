package esm

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/partition"
)

const (
	lagEvery = time.Second
	// startEvery is how often the brokers are asked where logs start. So a loss
	// to retention is noticed within six seconds, where nothing is fetched: that
	// and the second in which the partition is seen to stand.
	startEvery = 5 * time.Second
)

// What a ListOffsets request asks for, in the place of a timestamp.
const (
	listEnd   = -1
	listStart = -2
)

// listed is the answer for one partition.
type listed struct {
	offset      int64
	leaderEpoch int32
	err         error
}

// listOffsets asks the leaders for an offset of each partition: its start, its
// end, or the first one with at least a timestamp in milliseconds, -1 if there
// is none. Every partition is in the answer.
//
// It is a raw request for two reasons: kadm's lag is 0 without an error for a
// KIP-848 group, and takes twelve times as long.
func listOffsets(ctx context.Context, cl *kgo.Client, tps []partition.ID, at int64, readCommitted bool) map[partition.ID]listed {
	answers := make(map[partition.ID]listed, len(tps))
	if len(tps) == 0 {
		return answers
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	if readCommitted {
		req.IsolationLevel = 1
	}
	topics := map[string]int{}
	for _, tp := range tps {
		i, ok := topics[tp.Topic]
		if !ok {
			i = len(req.Topics)
			topics[tp.Topic] = i
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition = tp.Partition
		p.Timestamp = at
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	var failed error
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			failed = shard.Err
			if r, ok := shard.Req.(*kmsg.ListOffsetsRequest); ok {
				for _, t := range r.Topics {
					for _, p := range t.Partitions {
						answers[partition.ID{Topic: t.Topic, Partition: p.Partition}] = listed{offset: -1, leaderEpoch: -1, err: shard.Err}
					}
				}
			}
			continue
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				answers[partition.ID{Topic: t.Topic, Partition: p.Partition}] = listed{p.Offset, p.LeaderEpoch, kerr.ErrorForCode(p.ErrorCode)}
			}
		}
	}
	if failed == nil {
		failed = kerr.UnknownTopicOrPartition
	}
	for _, tp := range tps {
		if _, ok := answers[tp]; !ok {
			answers[tp] = listed{offset: -1, leaderEpoch: -1, err: failed}
		}
	}
	return answers
}

// sampleLag lists the ends of the assigned partitions every second, and every
// five seconds where the logs start of those that stand still, until ctx ends. A request is not cut short, since that would cost the connection: while
// one takes long, the ends grow old, and the lag becomes unknown.
func (c *consumer) sampleLag(ctx context.Context) {
	timer := time.NewTimer(lagEvery)
	defer timer.Stop()
	var asked time.Time // for starts
	for {
		c.forgetEnds()
		if tps := c.engine.here().partitions; len(tps) > 0 {
			c.countBrokers(tps)
			ends := listOffsets(ctx, c.client, tps, listEnd, c.positions.readCommitted)
			if ctx.Err() != nil {
				return
			}
			if standing := c.observe(ends, time.Now()); time.Since(asked) >= startEvery {
				asked = time.Now()
				starts := listOffsets(ctx, c.client, standing, listStart, c.positions.readCommitted)
				if ctx.Err() != nil {
					return
				}
				c.observeStarts(starts, time.Now())
			}
		}
		timer.Reset(lagEvery)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.lagBell:
		}
	}
}

// countBrokers counts the brokers that lead the partitions: one poll brings at
// most one fetch of each.
func (c *consumer) countBrokers(tps []partition.ID) {
	leaders := map[int32]bool{}
	for _, tp := range tps {
		if leader, _, err := c.client.PartitionLeader(tp.Topic, tp.Partition); err == nil && leader >= 0 {
			leaders[leader] = true
		}
	}
	c.engine.ledBy(len(leaders))
}

// What problems with where logs end and start begin with.
const (
	endProblem   = "end of topic "
	startProblem = "start of topic "
)

// forgetEnds drops what is known to be wrong with topics of which no partition
// is here any more: nobody asks for them again.
func (c *consumer) forgetEnds() {
	problems := c.engine.known()
	if len(problems) == 0 {
		return
	}
	here := c.engine.here()
	for _, p := range problems {
		for _, prefix := range []string{endProblem, startProblem} {
			if topic, ok := strings.CutPrefix(p.With, prefix); ok && !here.topics[topic] {
				c.engine.over(p)
			}
		}
	}
}

// observe tells the engine where partitions end, and returns those that stand
// still. What the brokers refuse to say is a problem to show, and a topic that is
// not there is suspect.
func (c *consumer) observe(answers map[partition.ID]listed, now time.Time) (standing []partition.ID) {
	ends, refused := map[partition.ID]int64{}, map[string]error{}
	for id, a := range answers {
		if a.err == nil {
			ends[id] = a.offset
			if _, known := refused[id.Topic]; !known {
				refused[id.Topic] = nil
			}
			continue
		}
		refused[id.Topic] = a.err
	}
	for topic, err := range refused {
		c.engine.raise(endProblem+topic, err)
		if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
			c.suspect(topic)
		}
	}
	return c.engine.observe(ends, now)
}

// observeStarts tells the engine where logs start. What the brokers refuse to say
// is a problem to show, until they say it or nobody asks.
func (c *consumer) observeStarts(answers map[partition.ID]listed, now time.Time) {
	starts, refused := map[partition.ID]logStart{}, map[string]error{}
	for id, a := range answers {
		if a.err != nil {
			refused[id.Topic] = a.err
			continue
		}
		starts[id] = logStart{a.offset, a.leaderEpoch}
	}
	for topic := range c.engine.here().topics {
		c.engine.raise(startProblem+topic, refused[topic])
	}
	c.engine.observeStarts(starts, now)
}
