package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/mark"
	"github.com/seed429fd032/esm/internal/partition"
)

// What is settled above a committed offset is written beside it, in the metadata
// of the commit: see the engine's ahead.go for what it is good for, and the package
// mark for how it looks.
//
// # Room
//
// A broker has a limit for the metadata of an offset, 4,096 characters unless
// offset.metadata.max.bytes says otherwise, and refuses the offset with it. Nobody
// can ask for the limit without rights to the configuration of the brokers. So it
// is found out: what is refused is written again, with half of the room, until it
// is taken, and with none in the end. What does not fit comes again after a crash.
//
// A request becomes one batch in the topic of the offsets, which has a limit too,
// of about 1 MB. So what is committed goes in requests of half of that.

const (
	// commitBytes is how much metadata and names a request has at most, about.
	commitBytes = 500_000
	// commitOverhead is about what a broker writes down of an offset beside these:
	// a group of a name that is not too long, numbers and framing.
	commitOverhead = 120
)

// metadataProblem is what the problem of the limit is with.
const metadataProblem = "commit metadata"

// send sends frontiers, in as many requests as they need. What is too long for the
// broker it writes again, shorter.
func (c *Committer) send(ctx context.Context, fs []engine.Frontier) []engine.CommitAnswer {
	answers := make([]engine.CommitAnswer, len(fs))
	left := make([]int, len(fs)) // which of these have no answer yet
	for i := range left {
		left[i] = i
	}
	if c.short {
		c.raise(metadataProblem, nil)
		c.short = false
	}
	check := c.check(fs)
	for len(left) > 0 {
		var request []offsetCommit
		size, n := 0, 0
		for n < len(left) && size < commitBytes {
			o := offsetCommit{Frontier: fs[left[n]]}
			o.metadata, answers[left[n]].Said = mark.Write(o.ID, o.At, o.Mark, c.limit)
			size += len(o.Topic) + len(o.metadata) + commitOverhead
			request = append(request, o)
			n++
		}
		failed, err := c.commit(ctx, request, check)
		var again []int
		shortest := c.limit + 1
		for j, i := range left[:n] {
			of := err
			if of == nil {
				of = failed[fs[i].ID]
			}
			if errors.Is(of, kerr.OffsetMetadataTooLarge) && request[j].metadata != "" {
				again = append(again, i)
				shortest = min(shortest, len(request[j].metadata))
				continue
			}
			said := answers[i].Said
			if answers[i] = answerOf(of); of == nil {
				answers[i].Said = said
			}
		}
		if len(again) > 0 {
			c.shorten(shortest)
		}
		left = append(again, left[n:]...)
	}
	return answers
}

// shorten lowers the limit to less than what was refused.
func (c *Committer) shorten(refused int) {
	was := c.limit
	for c.limit >= refused {
		if c.limit /= 2; c.limit < mark.Least {
			c.limit = 0
		}
	}
	c.short = true
	c.raise(metadataProblem, fmt.Errorf("%w: the brokers take less than %d characters beside an offset (offset.metadata.max.bytes), so at most %d are written, not %d: "+
		"where a batch failed in part, what has no room there of the records that were handled comes again after a crash or a stop", kerr.OffsetMetadataTooLarge, refused, c.limit, was))
}

// A kept is what a coordinator has of a partition beside the offset.
type kept struct {
	at       int64
	metadata string
}

// fetched is called by the client with what the coordinator has, right before
// adjust and on the same goroutine.
func (c *Consumer) fetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	kepts := map[partition.ID]kept{}
	c.mu.Lock()
	names := make(map[[16]byte]string, len(c.topicIDs))
	for name, id := range c.topicIDs {
		names[id] = name
	}
	c.mu.Unlock()
	note := func(topic string, p int32, at int64, metadata *string) {
		if metadata != nil && *metadata != "" && topic != "" {
			kepts[partition.ID{Topic: topic, Partition: p}] = kept{at, *metadata}
		}
	}
	for _, t := range resp.Topics { // before version 8
		for _, p := range t.Partitions {
			note(t.Topic, p.Partition, p.Offset, p.Metadata)
		}
	}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			if t.Topic == "" {
				t.Topic = names[t.TopicID]
			}
			for _, p := range t.Partitions {
				note(t.Topic, p.Partition, p.Offset, p.Metadata)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = kepts
	return nil
}

// markOf is what the commit of a partition says beside its offset.
func (c *Consumer) markOf(id partition.ID, at int64, metadata string) mark.Mark {
	m, err := mark.Read(id, at, metadata)
	if err != nil && !c.foreign.Swap(true) {
		c.watch.Log(slog.LevelWarn, "the metadata of a commit is not used: what was handled above the committed offset may come again (said once)",
			"partition", id, "committed", at, "err", err)
	}
	return m
}
