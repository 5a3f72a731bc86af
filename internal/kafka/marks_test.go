package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/mark"
	"github.com/seed429fd032/esm/internal/partition"
)

// frontiers are of so many partitions, with so many runs above each.
func frontiers(partitions, runs int) (fs []engine.Frontier) {
	for p := range partitions {
		f := engine.Frontier{ID: partition.ID{Topic: "orders", Partition: int32(p)}, At: 1000}
		f.Mark.Runs = slices.Grow(f.Mark.Runs, runs)[:runs]
		for i := range f.Mark.Runs {
			r, at := &f.Mark.Runs[i], int64(1001+5*i)
			r.Lo, r.Hi = at, at+1+int64(i)%4
		}
		fs = append(fs, f)
	}
	return fs
}

// A fakeBroker takes commits with so many characters of metadata at most.
type fakeBroker struct {
	most     int
	requests [][]offsetCommit
	kept     map[partition.ID]string
	raised   []string
	fail     func(request int) error
}

func (b *fakeBroker) committer() *Committer {
	b.kept = map[partition.ID]string{}
	return newCommitter(nil, func(_ context.Context, os []offsetCommit, _ commitCheck) (map[partition.ID]error, error) {
		b.requests = append(b.requests, os)
		if b.fail != nil {
			if err := b.fail(len(b.requests)); err != nil {
				return nil, err
			}
		}
		failed := map[partition.ID]error{}
		for _, o := range os {
			if len(o.metadata) > b.most {
				failed[o.ID] = kerr.OffsetMetadataTooLarge
			} else {
				b.kept[o.ID] = o.metadata
			}
		}
		return failed, nil
	}, func(with string, err error) {
		b.raised = append(b.raised, fmt.Sprint(with, ": ", err != nil))
	})
}

// TestCommitsFitIntoABatch: one request is one batch of the topic of the offsets.
func TestCommitsFitIntoABatch(t *testing.T) {
	b := &fakeBroker{most: mark.Most}
	fs := frontiers(400, 3_000)
	no := errors.New("no")
	b.fail = func(request int) error {
		if request == 2 {
			return no
		}
		return nil
	}
	answers := b.committer().send(t.Context(), fs)
	refused := 0
	for i, a := range answers {
		text, kept := b.kept[fs[i].ID]
		if m, err := mark.Read(fs[i].ID, fs[i].At, text); err != nil || len(m.Runs) != a.Said || kept != (a.Err == nil) || kept != (a.Said > 1000) {
			t.Fatalf("%v: %v, said %d, kept %t: %v", fs[i].ID, a.Err, a.Said, kept, err)
		}
		if a.Err != nil {
			refused++
		}
	}
	if refused != len(b.requests[1]) {
		t.Errorf("%d have an error, of a request of %d", refused, len(b.requests[1]))
	}
	for i, r := range b.requests {
		size := 0
		for _, o := range r {
			size += len(o.metadata) + len(o.Topic)
		}
		if size > 510_000 || i < len(b.requests)-1 && size < 450_000 {
			t.Errorf("request %d has %d bytes", i, size)
		}
	}
	b = &fakeBroker{most: mark.Most}
	if b.committer().send(t.Context(), frontiers(2_000, 0)); len(b.requests) != 1 {
		t.Errorf("%d requests for 2,000 partitions and nothing above them", len(b.requests))
	}
}

// TestWhatIsTooLongIsWrittenAgain at once, shorter, and only that. It is told once.
func TestWhatIsTooLongIsWrittenAgain(t *testing.T) {
	for most, limit := range map[int]int{0: 0, 63: 0, 64: 64, 100: 64, 1000: 512, 2048: 2048, 2500: 2048} {
		b := &fakeBroker{most: most}
		c := b.committer()
		fs := append(frontiers(1, 0), frontiers(3, 3_000)[1:]...)
		for i, a := range c.send(t.Context(), fs) {
			text := b.kept[fs[i].ID]
			m, err := mark.Read(fs[i].ID, fs[i].At, text)
			if a.Err != nil || err != nil || a.Said != len(m.Runs) || (a.Said > 0) != (i > 0 && limit > 0) {
				t.Errorf("%d characters, partition %d: %v, said %d, kept %q", most, i, a.Err, a.Said, text)
			}
		}
		if c.limit != limit || len(b.requests[1]) != 2 {
			t.Errorf("%d characters: the limit is %d, and %d are written again", most, c.limit, len(b.requests[1]))
		}
		n := len(b.requests)
		raised := len(b.raised)
		c.send(t.Context(), fs)
		c.send(t.Context(), fs)
		if len(b.requests) != n+2 {
			t.Errorf("%d characters: %d more requests", most, len(b.requests)-n)
		}
		if rest := b.raised[raised:]; !slices.Equal(rest, []string{"commit metadata: false"}) || slices.Contains(b.raised[:raised], rest[0]) {
			t.Errorf("%d characters: problems %v", most, b.raised)
		}
	}
	// A broker that refuses nothing as too much says something else.
	b := &fakeBroker{most: -1}
	c := b.committer()
	if a := c.send(t.Context(), frontiers(1, 0)); !errors.Is(a[0].Err, kerr.OffsetMetadataTooLarge) || len(b.raised) > 0 || len(b.requests) != 1 {
		t.Errorf("%v, problems %v", a, b.raised)
	}
}

// TestMetadataIsFoundInAnyAnswer: by names or by ids of topics, and before there were
// groups in it.
func TestMetadataIsFoundInAnyAnswer(t *testing.T) {
	e, w := ordersEngine()
	c := New(e, w, &Source{})
	id := [16]byte{1, 2}
	c.topicIDs["orders"] = id
	said, none := kmsg.StringPtr("x"), kmsg.StringPtr("")
	for name, resp := range map[string]*kmsg.OffsetFetchResponse{
		"early": {Topics: []kmsg.OffsetFetchResponseTopic{{Topic: "orders", Partitions: []kmsg.OffsetFetchResponseTopicPartition{{Partition: 0, Offset: 7, Metadata: said}, {Partition: 1, Metadata: none}, {Partition: 2}}}}},
		"name":  {Groups: []kmsg.OffsetFetchResponseGroup{{Topics: []kmsg.OffsetFetchResponseGroupTopic{{Topic: "orders", Partitions: []kmsg.OffsetFetchResponseGroupTopicPartition{{Partition: 0, Offset: 7, Metadata: said}, {Partition: 1, Metadata: none}, {Partition: 2}}}}}}},
		"id":    {Groups: []kmsg.OffsetFetchResponseGroup{{Topics: []kmsg.OffsetFetchResponseGroupTopic{{TopicID: id, Partitions: []kmsg.OffsetFetchResponseGroupTopicPartition{{Partition: 0, Offset: 7, Metadata: said}}}, {TopicID: [16]byte{9}, Partitions: []kmsg.OffsetFetchResponseGroupTopicPartition{{Partition: 0, Offset: 7, Metadata: said}}}}}}},
	} {
		if err := c.fetched(t.Context(), (*kgo.Client)(nil), resp); err != nil || len(c.kept) != 1 || c.kept[order0] != (kept{7, "x"}) {
			t.Errorf("%s: %v, %v", name, c.kept, err)
		}
	}
}
