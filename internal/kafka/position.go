package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
)

// positions says where partitions begin for which the group has no commit.
//
// # Latest
//
// "The end" must be one moment, or records between two looks at it are lost.
// That moment is in the start of the Mapping: if the group has no commit at all,
// the ends of all partitions are listed once, before the group is joined. A
// partition that is assigned without a commit begins there, even when it comes
// minutes later from a process that died before it could commit anything. A
// partition that did not exist then, or one of a group that has commits, is new
// and begins at its start.
//
// The rejected designs: the end at the moment of the assignment loses what
// comes in between two owners. Asking at the assignment whether the group has
// commits goes wrong when two processes start together: the first one's commits
// make the second one's partitions look new.
//
// # Ends that nobody would say
//
// A start does not wait for ever for the end of one partition: that is owed, and
// found out when somebody answers, which is later than the moment. What was
// written in between must not be passed.
//
// A partition that had no leader at the moment could not be written to, and each
// leader has an epoch of its own, so what is written from the moment on is of a
// later epoch than the one that the metadata named then. The end of that epoch,
// which Kafka keeps to find out where logs diverge, is the end at the moment:
// exactly, however late it is asked for. If the metadata was old, and there was a
// leader by then, the end of the epoch is earlier: that reads more, not less.
//
// A leader that was there and did not answer us may have been written to by others,
// in the same epoch. Then only the time of the records tells, and that is the
// producers'. The partition begins with its first record that is at most owedMargin
// older than the start. That is read again, and nothing is lost unless a producer
// stamps a record that much earlier than it writes it. The same is done where the
// end of the epoch is not known.
//
// The rejected designs: the end when it is first told loses what came since the
// leader did. The time of the start without a margin loses what producers had
// buffered: they stamp a record when they get it, not when they can write it.
//
// What is owed is known to this process only, and so is what it promised. If it
// ends before it could commit a position, the group has commits of other partitions
// and the next process takes this one for new: it is read from its start.
type positions struct {
	start         StartAt
	readCommitted bool

	mu   sync.Mutex
	ends map[partition.ID]int64 // for Latest
	owed map[partition.ID]owedEnd
}

// An owedEnd is the end of a partition that nobody would say when the Mapping
// started.
type owedEnd struct {
	since time.Time
	epoch int32 // in which it had no leader; -1 if it had one, or may have had
}

// owedMargin is how much older than the start a record may be, by its timestamp,
// that is written after it: by default a producer gives a record up after two
// minutes (delivery.timeout.ms). The rest is for clocks that differ.
const owedMargin = 5 * time.Minute

// remember says where the end of a partition was when the Mapping started.
func (p *positions) remember(tp partition.ID, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ends[tp] = end
	delete(p.owed, tp)
}

// owe says that nobody would say the end of a partition.
func (p *positions) owe(tp partition.ID, o owedEnd) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owed == nil {
		p.owed = map[partition.ID]owedEnd{}
	}
	p.owed[tp] = o
}

// forget makes all partitions of a topic new.
func (p *positions) forget(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.ends, func(tp partition.ID, _ int64) bool { return tp.Topic == topic })
	maps.DeleteFunc(p.owed, func(tp partition.ID, _ owedEnd) bool { return tp.Topic == topic })
}

// resolve says where partitions begin, asking until all are answered, but for
// listTimeout at most. A partition that is not in the answer is one that no broker
// would say it of.
func (p *positions) resolve(ctx context.Context, cl *kgo.Client, tps []partition.ID) map[partition.ID]listed {
	answer := make(map[partition.ID]listed, len(tps))
	ctx, done := context.WithTimeout(ctx, listTimeout)
	defer done()
	for {
		p.ask(ctx, cl, tps, answer, nil)
		tps = slices.DeleteFunc(slices.Clone(tps), func(tp partition.ID) bool { _, ok := answer[tp]; return ok })
		if len(tps) == 0 || !pause(ctx, fetchMaxWait) {
			return answer
		}
	}
}

// ask asks once where partitions begin, and adds what it is told to the answer, or
// why it is not told to what was refused, unless that is nil. It may be asked again
// for what is not in the answer.
func (p *positions) ask(ctx context.Context, cl *kgo.Client, tps []partition.ID, answer map[partition.ID]listed, refused map[partition.ID]error) {
	var atStart []partition.ID
	since := map[partition.ID]time.Time{} // what begins with the first record of a time
	epochs := map[partition.ID]int32{}
	p.mu.Lock()
	for _, tp := range tps {
		end, known := p.ends[tp]
		owed, isOwed := p.owed[tp]
		switch {
		case !p.start.Since.IsZero():
			since[tp] = p.start.Since
		case p.start.Latest && known:
			answer[tp] = listed{offset: end, leaderEpoch: -1}
		case p.start.Latest && isOwed:
			since[tp] = owed.since.Add(-owedMargin)
			if owed.epoch >= 0 {
				epochs[tp] = owed.epoch
			}
		default:
			atStart = append(atStart, tp)
		}
	}
	p.mu.Unlock()
	p.list(ctx, cl, atStart, listStart, answer, refused)
	if len(epochs) > 0 {
		ends, ask := endsOfEpochs(ctx, cl, epochs)
		maps.Copy(answer, ends)
		for tp := range epochs {
			if !ask[tp] { // it is answered, or has no leader yet
				delete(since, tp)
			}
		}
		p.settle(ends)
	}
	if len(since) > 0 {
		found := p.firstSince(ctx, cl, since, refused)
		maps.Copy(answer, found)
		p.settle(found)
	}
}

// settle remembers ends that were owed.
func (p *positions) settle(found map[partition.ID]listed) {
	if !p.start.Latest {
		return
	}
	for tp, l := range found {
		p.remember(tp, l.offset)
	}
}

// firstSince finds the first record of each partition that is of a time or later,
// or the end. The end is asked for first: a record that is written between the two
// questions is found by the second.
func (p *positions) firstSince(ctx context.Context, cl *kgo.Client, since map[partition.ID]time.Time, refused map[partition.ID]error) map[partition.ID]listed {
	ends, found := map[partition.ID]listed{}, map[partition.ID]listed{}
	p.list(ctx, cl, slices.Collect(maps.Keys(since)), listEnd, ends, refused)
	at := map[int64][]partition.ID{}
	for tp := range ends {
		ms := since[tp].UnixMilli()
		at[ms] = append(at[ms], tp)
	}
	for ms, tps := range at {
		p.list(ctx, cl, tps, ms, found, refused)
	}
	for tp, l := range found {
		if l.offset < 0 {
			found[tp] = ends[tp]
		}
	}
	return found
}

// list asks once for an offset of each partition.
func (p *positions) list(ctx context.Context, cl *kgo.Client, tps []partition.ID, at int64, answer map[partition.ID]listed, refused map[partition.ID]error) {
	for tp, l := range listOffsets(ctx, cl, tps, at, p.readCommitted) {
		if l.err == nil {
			answer[tp] = l
		} else if refused != nil {
			refused[tp] = l.err
		}
	}
}

// pause waits, and reports false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// adjust is called by the client when it knows the committed offsets of
// partitions that were assigned, before it fetches from them.
func (c *Consumer) adjust(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	var placements []engine.Placement
	var missing []partition.ID
	c.mu.Lock()
	kepts := c.kept
	c.kept = nil
	c.mu.Unlock()
	for t, ps := range offsets {
		for p, o := range ps {
			tp := partition.ID{Topic: t, Partition: p}
			if at := o.EpochOffset(); at.Offset >= 0 {
				placed := engine.Placement{ID: tp, At: at.Offset, LeaderEpoch: at.Epoch, Committed: true}
				if k := kepts[tp]; k.at == at.Offset {
					placed.Mark = c.markOf(tp, at.Offset, k.metadata)
				}
				placements = append(placements, placed)
			} else {
				missing = append(missing, tp)
			}
		}
	}
	late := c.engine.Unanswered(offsets)
	if len(missing) > 0 {
		found := c.positions.resolve(ctx, c.client, missing)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		for _, tp := range missing {
			at, ok := found[tp]
			if !ok {
				delete(offsets[tp.Topic], tp.Partition)
				late = append(late, tp)
				continue
			}
			offsets[tp.Topic][tp.Partition] = kgo.NewOffset().At(at.offset)
			placements = append(placements, engine.Placement{ID: tp, At: at.offset, LeaderEpoch: -1, Anchor: c.positions.start.Latest})
		}
	}
	c.engine.Place(placements, time.Now())
	if len(late) > 0 {
		for tp, at := range c.engine.Postpone(late) {
			if offsets[tp.Topic] == nil {
				offsets[tp.Topic] = map[int32]kgo.Offset{}
			}
			offsets[tp.Topic][tp.Partition] = placeholder
			if at >= 0 {
				offsets[tp.Topic][tp.Partition] = kgo.NewOffset().At(at)
			}
		}
		c.pauser.reconcile() // before the client consumes them
		c.lateBell.Ring()
	}
	c.leads(c.engine.Here().Partitions)
	c.lagBell.Ring()
	c.joined()
	return offsets, nil
}

// groupCommits asks for all committed offsets of the group and reports whether
// it has any. If that is unclear, because there is none but partitions are refused,
// it returns a refusal.
func groupCommits(ctx context.Context, cl *kgo.Client, group string) (bool, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return false, err
	}
	var refused error
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			// A group that nobody has joined yet has no commits.
			if errors.Is(err, kerr.GroupIDNotFound) {
				return false, nil
			}
			return false, fmt.Errorf("group %q: %w", group, err)
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if p.Offset >= 0 && p.ErrorCode == 0 {
					return true, nil
				}
				if p.ErrorCode != 0 {
					refused = kerr.ErrorForCode(p.ErrorCode)
				}
			}
		}
	}
	if refused != nil { // it may be the only commit that there is
		return false, &refusal{fmt.Errorf("group %q: %w", group, refused), false}
	}
	return false, nil
}

// endsOfEpochs asks where the epochs of partitions ended: the offset at which the
// next leader began. It also says of which partitions nobody knows that, although
// they have a leader. Those in neither have none yet, or one that does not answer.
func endsOfEpochs(ctx context.Context, cl *kgo.Client, epochs map[partition.ID]int32) (ends map[partition.ID]listed, unknown map[partition.ID]bool) {
	ends, unknown = map[partition.ID]listed{}, map[partition.ID]bool{}
	leaders, err := leadersOf(ctx, cl, slices.Collect(maps.Keys(epochs)))
	if err != nil {
		return ends, unknown
	}
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	topics := map[string]int{}
	for tp, leader := range leaders {
		switch {
		case leader.Leader < 0 || leader.ErrorCode != 0:
			continue
		case leader.LeaderEpoch <= epochs[tp]: // no other epoch has begun
			unknown[tp] = true
			continue
		}
		i, ok := topics[tp.Topic]
		if !ok {
			i = len(req.Topics)
			topics[tp.Topic] = i
			t := kmsg.NewOffsetForLeaderEpochRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		ask := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		ask.Partition, ask.CurrentLeaderEpoch, ask.LeaderEpoch = tp.Partition, leader.LeaderEpoch, epochs[tp]
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, ask)
	}
	if len(req.Topics) == 0 {
		return ends, unknown
	}
	for _, shard := range cl.RequestSharded(ctx, req) {
		if err := shard.Err; err != nil {
			// Not every broker has this request, nor every limit of versions.
			var network net.Error
			if !errors.As(err, &network) && !kgo.IsRetryableBrokerErr(err) && !kerr.IsRetriable(err) && ctx.Err() == nil {
				for _, t := range shard.Req.(*kmsg.OffsetForLeaderEpochRequest).Topics {
					for _, p := range t.Partitions {
						unknown[partition.ID{Topic: t.Topic, Partition: p.Partition}] = true
					}
				}
			}
			continue
		}
		for _, t := range shard.Resp.(*kmsg.OffsetForLeaderEpochResponse).Topics {
			for _, p := range t.Partitions {
				tp := partition.ID{Topic: t.Topic, Partition: p.Partition}
				switch {
				case kerr.IsRetriable(kerr.ErrorForCode(p.ErrorCode)):
				case p.ErrorCode != 0 || p.EndOffset < 0:
					// Brokers before 2.0 want more rights for this than for reading.
					unknown[tp] = true
				default:
					ends[tp] = listed{offset: p.EndOffset, leaderEpoch: -1}
				}
			}
		}
	}
	return ends, unknown
}

// leadersOf asks who leads partitions. One that is not there is left out.
func leadersOf(ctx context.Context, cl *kgo.Client, tps []partition.ID) (map[partition.ID]kmsg.MetadataResponseTopicPartition, error) {
	names, wanted := map[string]bool{}, map[partition.ID]bool{}
	for _, tp := range tps {
		names[tp.Topic], wanted[tp] = true, true
	}
	topics, err := topicMetadata(ctx, cl, slices.Collect(maps.Keys(names)))
	if err != nil {
		return nil, err
	}
	found := map[partition.ID]kmsg.MetadataResponseTopicPartition{}
	for _, t := range topics {
		for _, p := range t.Partitions {
			if tp := (partition.ID{Topic: *t.Topic, Partition: p.Partition}); t.ErrorCode == 0 && wanted[tp] {
				found[tp] = p
			}
		}
	}
	return found, nil
}
