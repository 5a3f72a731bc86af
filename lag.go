package esm

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

const (
	lagEvery = time.Second
	// lagMaxAge is how old the end of a partition may be for the lag to be
	// known.
	lagMaxAge = 5 * time.Second
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
		c.engine.forgetEnds(time.Now())
		if tps := c.engine.assigned(); len(tps) > 0 {
			c.countBrokers(tps)
			ends := listOffsets(ctx, c.client, tps, listEnd, c.engine.readCommitted)
			if ctx.Err() != nil {
				return
			}
			for _, topic := range c.engine.observe(ends, time.Now()) {
				c.suspect(topic)
			}
			if tps := c.engine.stands(); time.Since(asked) >= startEvery {
				asked = time.Now()
				starts := listOffsets(ctx, c.client, tps, listStart, c.engine.readCommitted)
				if ctx.Err() != nil {
					return
				}
				c.engine.observeStarts(starts, time.Now())
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
	c.engine.mu.Lock()
	c.engine.memory.SetBrokers(len(leaders))
	c.engine.unlock()
}

// assigned lists the partitions that this process has.
func (e *engine) assigned() []partition.ID {
	e.mu.Lock()
	defer e.unlock()
	tps := make([]partition.ID, 0, len(e.lanes))
	for tp := range e.lanes {
		tps = append(tps, tp)
	}
	return tps
}

// What problems with where logs end and start begin with.
const (
	endProblem   = "end of topic "
	startProblem = "start of topic "
)

// forgetEnds drops what is known to be wrong with topics of which no partition
// is here any more: nobody asks for them again.
func (e *engine) forgetEnds(now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	if len(e.problems) == 0 {
		return
	}
	topics := map[string]bool{}
	for tp := range e.lanes {
		topics[tp.Topic] = true
	}
	for with := range e.problems {
		for _, prefix := range []string{endProblem, startProblem} {
			if topic, ok := strings.CutPrefix(with, prefix); ok && !topics[topic] {
				e.problem(with, nil, now)
			}
		}
	}
}

// observe notes the ends of partitions. What the brokers refuse to say
// is a problem to show. It returns the topics that are not there.
func (e *engine) observe(ends map[partition.ID]listed, now time.Time) (gone []string) {
	refused, missing := map[string]error{}, map[string]bool{}
	for tp, end := range ends {
		if end.err != nil {
			refused[tp.Topic] = guard.Keep(end.err)
			missing[tp.Topic] = errors.Is(end.err, kerr.UnknownTopicOrPartition) || errors.Is(end.err, kerr.UnknownTopicID)
		}
	}
	e.mu.Lock()
	defer e.unlock()
	news := false
	for tp, end := range ends {
		l := e.lanes[tp]
		if l == nil || end.err != nil {
			continue
		}
		if end.offset != l.end {
			l.fruitless = 0
		}
		news = news || l.end < 0
		l.end, l.endAt = end.offset, now
	}
	topics := map[string]bool{}
	for tp := range ends {
		topics[tp.Topic] = true
	}
	for t := range topics {
		e.problem(endProblem+t, refused[t], now)
		if missing[t] {
			gone = append(gone, t)
		}
	}
	if news {
		e.scaleBell.ring()
	}
	e.gateBell.ring()
	return gone
}
