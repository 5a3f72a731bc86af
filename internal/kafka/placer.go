package kafka

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
)

// Partitions of which nobody says where they begin, when they are assigned, are
// placed late.
//
// The client asks the coordinator for commits once. A partition that is refused
// (rights, a coordinator that moves, a code that a broker made up) it says an
// error of, once, and never reads again. A partition without a commit begins at
// an offset that its leader knows, and that may be away. To wait for either would
// keep all other partitions of the assignment waiting.
//
// So these get a placeholder in the client, and are paused: it consumes them but
// does not fetch (adjust). placeLate asks for commits, and for offsets, until
// both are known. Then the lane is placed, and the poll loop sets the client, as
// it does after an eviction: no assignment can come in between.
//
// The rejected design is to refuse the whole assignment: the client would leave
// the group and join again, which stops every member, and meet the same.

// placeholder is where the client has a partition that is not fetched.
var placeholder = kgo.NewOffset().At(0)

// errNotAnswered is why nothing is known of a partition that an answer leaves out.
var errNotAnswered = errors.New("no broker has answered for this partition yet")

// listTimeout is how long an assignment waits for brokers that do not say where
// a partition begins.
const listTimeout = time.Second

// lateMost is the longest time between two questions for where a partition
// begins.
const lateMost = 15 * time.Second

// placeLate places such lanes, until ctx ends.
func (c *Consumer) placeLate(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	wait := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.lateBell:
			wait = 0
		case <-timer.C:
		}
		late := c.engine.Late()
		if len(late) == 0 {
			continue
		}
		c.placeThese(ctx, late)
		wait = min(max(fetchMaxWait, 2*wait), lateMost)
		timer.Reset(wait)
	}
}

// placeThese asks once for all.
func (c *Consumer) placeThese(ctx context.Context, late []engine.Placement) {
	ids := make([]partition.ID, len(late))
	for i, p := range late {
		ids[i] = p.ID
	}
	commits := c.commits(ctx, ids)
	var missing []partition.ID
	for i := range late {
		p := &late[i]
		switch a := commits[p.ID]; {
		case a.err != nil:
			p.Err = a.err
		case a.offset >= 0:
			p.At, p.LeaderEpoch, p.Committed = a.offset, a.leaderEpoch, true
			p.Mark = c.markOf(p.ID, a.offset, a.metadata)
		default:
			missing = append(missing, p.ID)
		}
	}
	found, refused := map[partition.ID]listed{}, map[partition.ID]error{}
	c.positions.ask(ctx, c.client, missing, found, refused)
	if ctx.Err() != nil {
		return
	}
	for i := range late {
		p := &late[i]
		if p.Err != nil || p.Committed {
			continue
		}
		if a, ok := found[p.ID]; ok {
			p.At, p.Anchor = a.offset, c.positions.start.Latest
		} else {
			p.Err = cmp.Or(refused[p.ID], errNotAnswered)
		}
	}
	c.engine.Place(late, time.Now())
	c.lagBell.Ring()
}

// committed is the answer for one partition.
type committed struct {
	listed
	metadata string
}

// commits asks the coordinator for the commits of partitions, as the member that
// the client is: a group of KIP-848 answers only those. Each is in the answer; an
// offset of -1 says that there is none.
func (c *Consumer) commits(ctx context.Context, tps []partition.ID) map[partition.ID]committed {
	answers := make(map[partition.ID]committed, len(tps))
	all := func(err error) map[partition.ID]committed {
		for _, tp := range tps {
			answers[tp] = committed{listed: listed{offset: -1, leaderEpoch: -1, err: err}}
		}
		return answers
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.RequireStable = true // as the client does: no offset of a transaction that is open
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = c.source.Group
	if member, epoch := c.client.GroupMetadata(); member != "" {
		g.MemberID, g.MemberEpoch = &member, epoch
	}
	names := map[[16]byte]string{}
	topics := map[string]int{}
	c.mu.Lock()
	for _, tp := range tps {
		i, ok := topics[tp.Topic]
		if !ok {
			i = len(g.Topics)
			topics[tp.Topic] = i
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.Topic, t.TopicID = tp.Topic, c.topicIDs[tp.Topic]
			names[t.TopicID] = tp.Topic
			g.Topics = append(g.Topics, t)
		}
		g.Topics[i].Partitions = append(g.Topics[i].Partitions, tp.Partition)
	}
	c.mu.Unlock()
	req.Groups = append(req.Groups, g)
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return all(err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return all(err)
	}
	all(errNotAnswered)
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return all(err)
		}
		for _, t := range g.Topics {
			if t.Topic == "" {
				t.Topic = names[t.TopicID]
			}
			for _, p := range t.Partitions {
				tp := partition.ID{Topic: t.Topic, Partition: p.Partition}
				if _, ours := answers[tp]; ours {
					a := committed{listed: listed{offset: p.Offset, leaderEpoch: p.LeaderEpoch, err: kerr.ErrorForCode(p.ErrorCode)}}
					if p.Metadata != nil {
						a.metadata = *p.Metadata
					}
					answers[tp] = a
				}
			}
		}
	}
	return answers
}
