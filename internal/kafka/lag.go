package kafka

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
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
	asked       time.Time // when the broker was asked, or earlier
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
	var failed error
	asked := time.Now()
	for _, shard := range cl.RequestSharded(ctx, listRequest(tps, at, readCommitted)) {
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
				answers[partition.ID{Topic: t.Topic, Partition: p.Partition}] = listed{p.Offset, p.LeaderEpoch, kerr.ErrorForCode(p.ErrorCode), asked}
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

// listRequest asks for an offset of each partition.
func listRequest(tps []partition.ID, at int64, readCommitted bool) *kmsg.ListOffsetsRequest {
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
	return req
}

// An asking is what one broker is asked about its partitions, again and again.
type asking struct {
	busy   atomic.Bool // it has not answered yet
	again  atomic.Bool // it leads a partition of which nobody was asked yet
	starts time.Time   // when it was asked last where logs start; its own while it is busy
}

// sampleLag asks the brokers every second for the ends of the assigned partitions,
// and every five seconds where the logs start of those that stand still, until ctx
// ends. Each broker is asked by itself, so that one that does not answer hides the
// lag of what it leads, and of nothing else. A request is not cut short, since that
// would cost the connection: while one takes long, the ends grow old, and the lag
// becomes unknown.
//
// A broker is asked early for one reason: it leads a partition of which nobody was
// asked yet. That the bell rings is none, because a broker that was busy rings it when
// it has answered: two that answer in turn would then have each other asked as fast as
// they can answer.
func (c *Consumer) sampleLag(ctx context.Context) {
	ticker := time.NewTicker(lagEvery)
	defer ticker.Stop()
	brokers := map[int32]*asking{}
	due := true
	for {
		c.forgetEnds()
		here := c.engine.Here()
		leads := c.leads(here.Partitions)
		for leader, tps := range leads {
			b := brokers[leader]
			if b == nil {
				b = &asking{}
				brokers[leader] = b
			}
			early := slices.ContainsFunc(tps, func(tp partition.ID) bool { return here.Unasked[tp] })
			if !due && !early {
				continue
			}
			b.again.Store(early) // before it is looked at, or the answer could come in between
			if b.busy.Swap(true) {
				continue
			}
			b.again.Store(false)
			c.engine.Asking(tps)
			c.group.Go(func() {
				c.askLag(ctx, b, leader, tps)
				b.busy.Store(false)
				if b.again.Swap(false) {
					c.lagBell.Ring()
				}
			})
		}
		for leader, b := range brokers {
			if leads[leader] == nil && !b.busy.Load() {
				delete(brokers, leader)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			due = true
		case <-c.lagBell:
			due = false
		}
	}
}

// askLag asks one broker once.
func (c *Consumer) askLag(ctx context.Context, b *asking, leader int32, tps []partition.ID) {
	ends := c.listAt(ctx, leader, tps, listEnd)
	if ctx.Err() != nil {
		return
	}
	standing := c.observe(tps, ends, time.Now())
	if time.Since(b.starts) < startEvery {
		return
	}
	b.starts = time.Now()
	starts := c.listAt(ctx, leader, standing, listStart)
	if ctx.Err() == nil {
		c.observeStarts(tps, starts, time.Now())
	}
}

// leads groups partitions by the brokers that lead them, or by -1 while that is
// unknown. It notes how many brokers there are: one poll brings at most one fetch
// of each.
func (c *Consumer) leads(tps []partition.ID) map[int32][]partition.ID {
	leads := map[int32][]partition.ID{}
	for _, tp := range tps {
		leader, _, err := c.client.PartitionLeader(tp.Topic, tp.Partition)
		if err != nil || leader < 0 {
			leader = -1
		}
		leads[leader] = append(leads[leader], tp)
	}
	if len(leads) > 0 {
		known := len(leads)
		if leads[-1] != nil {
			known--
		}
		c.engine.LedBy(known)
	}
	return leads
}

// listAt is listOffsets of partitions that one broker leads, as far as the client
// knows. It asks that broker and no other: to look up the leaders first, as
// listOffsets does, may mean to ask one that does not answer. What the broker does
// not say is asked in that way.
func (c *Consumer) listAt(ctx context.Context, leader int32, tps []partition.ID, at int64) map[partition.ID]listed {
	said := map[partition.ID]listed{}
	asked := time.Now()
	if leader >= 0 && len(tps) > 0 {
		if resp, err := c.client.Broker(int(leader)).RetriableRequest(ctx, listRequest(tps, at, c.positions.readCommitted)); err == nil {
			for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); !kerr.IsRetriable(err) {
						said[partition.ID{Topic: t.Topic, Partition: p.Partition}] = listed{p.Offset, p.LeaderEpoch, err, asked}
					}
				}
			}
		}
	}
	answers := make(map[partition.ID]listed, len(tps)) // of those that were asked for, and no other
	var unsaid []partition.ID
	for _, tp := range tps {
		if a, ok := said[tp]; ok {
			answers[tp] = a
		} else {
			unsaid = append(unsaid, tp)
		}
	}
	maps.Copy(answers, listOffsets(ctx, c.client, unsaid, at, c.positions.readCommitted))
	return answers
}

// What problems with where logs end and start begin with.
const (
	endProblem   = "end of topic "
	startProblem = "start of topic "
)

// forgetEnds drops what is known to be wrong with topics of which no partition
// is here any more: nobody asks for them again.
func (c *Consumer) forgetEnds() {
	problems := c.watch.Troubles()
	if len(problems) == 0 {
		return
	}
	here := c.engine.Here()
	c.mu.Lock()
	for _, r := range []refusals{c.noEnds, c.noStarts} {
		maps.DeleteFunc(r, func(id partition.ID, _ error) bool { return !slices.Contains(here.Partitions, id) })
	}
	c.mu.Unlock()
	for _, p := range problems {
		for _, prefix := range []string{endProblem, startProblem} {
			if topic, ok := strings.CutPrefix(p.With, prefix); ok && !here.Topics[topic] {
				c.over(p)
			}
		}
	}
}

// refusals are the partitions of which a broker does not say something.
type refusals map[partition.ID]error

// note books what a broker said of the partitions that it leads, and returns their
// topics, each with the error of a partition that is refused, by whichever broker,
// or nil. What was not asked is not refused.
func (r refusals) note(led []partition.ID, answers map[partition.ID]listed) map[string]error {
	topics := map[string]error{}
	for _, id := range led {
		topics[id.Topic] = nil
		if err := answers[id].err; err != nil {
			r[id] = guard.Keep(err)
		} else {
			delete(r, id)
		}
	}
	for id, err := range r {
		if _, asked := topics[id.Topic]; asked {
			topics[id.Topic] = err
		}
	}
	return topics
}

// observe tells the engine where partitions end, and returns those that stand
// still. What the brokers refuse to say is a problem to show, until none of the
// topic's partitions is refused. A topic that is not there is suspect.
func (c *Consumer) observe(led []partition.ID, answers map[partition.ID]listed, now time.Time) (standing []partition.ID) {
	ends, missing := map[partition.ID]engine.LogEnd{}, map[string]bool{}
	for id, a := range answers {
		if a.err == nil {
			ends[id] = engine.LogEnd{Offset: a.offset, Asked: a.asked}
		}
		if errors.Is(a.err, kerr.UnknownTopicOrPartition) || errors.Is(a.err, kerr.UnknownTopicID) {
			missing[id.Topic] = true
		}
	}
	c.mu.Lock()
	topics := c.noEnds.note(led, answers)
	c.mu.Unlock()
	for topic, err := range topics {
		c.raise(endProblem+topic, err)
		if missing[topic] {
			c.suspect(topic)
		}
	}
	return c.engine.Observe(led, ends, now)
}

// observeStarts tells the engine where logs start. What the brokers refuse to say
// is a problem to show, until they say it or nobody asks.
func (c *Consumer) observeStarts(led []partition.ID, answers map[partition.ID]listed, now time.Time) {
	starts := map[partition.ID]engine.LogStart{}
	for id, a := range answers {
		if a.err == nil {
			starts[id] = engine.LogStart{Offset: a.offset, LeaderEpoch: a.leaderEpoch}
		}
	}
	c.mu.Lock()
	topics := c.noStarts.note(led, answers)
	c.mu.Unlock()
	for topic, err := range topics {
		c.raise(startProblem+topic, err)
	}
	c.engine.ObserveStarts(starts, now)
}
