package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
)

// TestPartitionsAreCounted: what the cluster says of the topics, and what it said
// last of those of which it says nothing now.
func TestPartitionsAreCounted(t *testing.T) {
	e := engine.New(&engine.Settings{
		MinPollers: 1, MaxPollers: 1000, PollerConcurrency: 1, PollerByteRate: -1, MaxConcurrency: 1000, GroupBounds: true,
		BatchSize: 100, BatchBytes: 4 << 20, MemoryBudget: 128 << 20,
	}, engine.World{Invoke: func(*engine.Call) {}}, &problemBook{known: map[string]engine.Trouble{}}, context.Background())
	c := New(e, &problemBook{known: map[string]engine.Trouble{}}, &Source{Topics: []string{"orders", "refunds"}})
	e.Assign([]partition.ID{order0}, time.Now())

	topic := func(name string, id byte, partitions int, err error) kmsg.MetadataResponseTopic {
		m := kmsg.NewMetadataResponseTopic()
		m.Topic, m.TopicID, m.Partitions = kmsg.StringPtr(name), [16]byte{id}, make([]kmsg.MetadataResponseTopicPartition, partitions)
		if err != nil {
			m.ErrorCode = err.(*kerr.Error).Code
		}
		return m
	}
	for _, step := range []struct {
		what  string
		says  []kmsg.MetadataResponseTopic
		calls int // of 1000, for one partition; 0 is unknown
	}{
		{"one of two topics", []kmsg.MetadataResponseTopic{topic("orders", 1, 10, nil)}, 0},
		{"the other is not there", []kmsg.MetadataResponseTopic{topic("refunds", 2, 0, kerr.UnknownTopicOrPartition)}, 0},
		{"both", []kmsg.MetadataResponseTopic{topic("orders", 1, 10, nil), topic("refunds", 2, 10, nil)}, 50},
		{"another topic", []kmsg.MetadataResponseTopic{topic("other", 3, 10, nil)}, 50},
		{"more", []kmsg.MetadataResponseTopic{topic("refunds", 2, 30, nil)}, 25},
		{"a broker that has not heard of them", []kmsg.MetadataResponseTopic{topic("refunds", 2, 10, nil)}, 25},
		{"a topic that was deleted", []kmsg.MetadataResponseTopic{topic("refunds", 2, 0, kerr.UnknownTopicOrPartition)}, 25},
		{"and made again", []kmsg.MetadataResponseTopic{topic("refunds", 4, 15, nil)}, 40},
		{"a cluster that has no ids", []kmsg.MetadataResponseTopic{topic("refunds", 0, 40, nil), topic("orders", 0, 10, nil)}, 20},
		{"fewer there", []kmsg.MetadataResponseTopic{topic("refunds", 0, 10, nil)}, 50},
	} {
		c.count(step.says)
		if got := e.Look(time.Now(), nil).Bounds.Calls; got != step.calls {
			t.Errorf("%s: a share of %d, want %d", step.what, got, step.calls)
		}
		if _, known := e.SharesBounds(); known != (step.calls > 0) {
			t.Errorf("%s: known is %t", step.what, known)
		}
	}
}
