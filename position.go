package esm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// positions says where partitions begin for which the group has no commit.
//
// # Latest
//
// "The end" must be one moment, or records between two looks at it are lost.
// That moment is the start of the Mapping: if the group has no commit at all,
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
type positions struct {
	start         StartingPosition
	readCommitted bool

	mu   sync.Mutex
	ends map[TopicPartition]int64 // for Latest
}

// remember says where the end of a partition was when the Mapping started.
func (p *positions) remember(tp TopicPartition, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ends[tp] = end
}

// forget makes all partitions of a topic new.
func (p *positions) forget(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.ends, func(tp TopicPartition, _ int64) bool { return tp.Topic == topic })
}

// listTimeout is how long an assignment waits for brokers that do not say
// where a partition begins, before it is left to the client to find out.
const listTimeout = 10 * time.Second

// resolve says where partitions begin. A partition that is not in the answer
// is one that no broker would say it of.
func (p *positions) resolve(ctx context.Context, cl *kgo.Client, tps []TopicPartition) map[TopicPartition]listed {
	answer := make(map[TopicPartition]listed, len(tps))
	var atStart, atTime []TopicPartition
	p.mu.Lock()
	for _, tp := range tps {
		switch p.start.kind {
		case startLatest:
			if end, ok := p.ends[tp]; ok {
				answer[tp] = listed{offset: end, leaderEpoch: -1}
				continue
			}
			atStart = append(atStart, tp)
		case startAtTimestamp:
			atTime = append(atTime, tp)
		default:
			atStart = append(atStart, tp)
		}
	}
	p.mu.Unlock()
	ctx, done := context.WithTimeout(ctx, listTimeout)
	defer done()
	p.list(ctx, cl, atStart, listStart, answer)
	p.list(ctx, cl, atTime, p.start.at.UnixMilli(), answer)
	var none []TopicPartition
	for _, tp := range atTime {
		if a, ok := answer[tp]; ok && a.offset < 0 {
			delete(answer, tp)
			none = append(none, tp)
		}
	}
	p.list(ctx, cl, none, listEnd, answer)
	return answer
}

// list asks until all partitions are answered or ctx ends.
func (p *positions) list(ctx context.Context, cl *kgo.Client, tps []TopicPartition, at int64, answer map[TopicPartition]listed) {
	for len(tps) > 0 {
		var again []TopicPartition
		for tp, l := range listOffsets(ctx, cl, tps, at, p.readCommitted) {
			if l.err != nil {
				again = append(again, tp)
				continue
			}
			answer[tp] = l
		}
		if tps = again; len(tps) == 0 || !pause(ctx, fetchMaxWait) {
			return
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
func (c *consumer) adjust(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	var placements []placement
	var missing []TopicPartition
	for t, ps := range offsets {
		for p, o := range ps {
			tp := TopicPartition{t, p}
			if at := o.EpochOffset(); at.Offset >= 0 {
				placements = append(placements, placement{tp: tp, at: at.Offset, leaderEpoch: at.Epoch, committed: true})
			} else {
				missing = append(missing, tp)
			}
		}
	}
	if len(missing) > 0 {
		found := c.positions.resolve(ctx, c.client, missing)
		for _, tp := range missing {
			at, ok := found[tp]
			switch {
			case ok:
				offsets[tp.Topic][tp.Partition] = kgo.NewOffset().At(at.offset)
				placements = append(placements, placement{tp: tp, at: at.offset, leaderEpoch: -1, anchor: c.positions.start.kind == startLatest})
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case c.positions.start.kind == startAtTimestamp:
				offsets[tp.Topic][tp.Partition] = kgo.NewOffset().AfterMilli(c.positions.start.at.UnixMilli())
			default:
				offsets[tp.Topic][tp.Partition] = kgo.NewOffset().AtStart()
			}
		}
	}
	c.engine.place(placements)
	c.countBrokers(c.engine.assigned())
	c.lagBell.ring()
	c.joined()
	return offsets, nil
}

// groupCommits asks for all committed offsets of the group and reports whether
// it has any.
func groupCommits(ctx context.Context, cl *kgo.Client, group string) (bool, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return false, err
	}
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
			}
		}
	}
	return false, nil
}
