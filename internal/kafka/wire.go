package kafka

import (
	"fmt"
	"iter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
)

// fetchMaxWait bounds how long a broker holds a fetch back, and so is how long
// to wait before a broker that had nothing to say is asked again.
const fetchMaxWait = memory.FetchMaxWait

// refusedPause and mostRefusedPause are how long a poll waits that comes after nothing
// but refusals, for what used the allowance up to be ready: at first, and, after twice as
// long each time, at most. Each such poll is a fetch that is thrown away, and when other
// lanes yield to one that is refused, what they had ready counts for a second.
const (
	refusedPause     = 5 * time.Millisecond
	mostRefusedPause = 50 * time.Millisecond
)

// wireHooks tell a Wire what the client reads. The client calls them on its own
// goroutines, one for each broker.
type wireHooks struct{ wire *memory.Wire }

var _ interface {
	kgo.HookFetchBatchRead
	kgo.HookBrokerRead
} = wireHooks{}

const fetchKey = 1 // Kafka's number of the Fetch request

// OnBrokerRead counts fetch responses, and those that did not come.
func (h wireHooks) OnBrokerRead(from kgo.BrokerMetadata, key int16, bytes int, waited, took time.Duration, err error) {
	switch {
	case key != fetchKey || wasCut(err):
	case err != nil:
		h.wire.Fail()
	default:
		h.wire.Response(from.NodeID, bytes)
		h.wire.Took(waited + took)
	}
}

// OnFetchBatchRead counts record batches. The client calls it right after it
// decompressed a batch, on the same goroutine.
func (h wireHooks) OnFetchBatchRead(from kgo.BrokerMetadata, topic string, number int32, b kgo.FetchBatchMetrics) {
	size := int64(max(b.UncompressedBytes, b.CompressedBytes))
	h.wire.Batch(memory.Batch{
		ID:     partition.ID{Topic: topic, Partition: number},
		Broker: from.NodeID,
		Packed: int64(b.CompressedBytes), Unpacked: size, Cost: size + int64(b.NumRecords)*engine.RecordOverhead,
		// A batch that was refused, or ends before what was asked for, is
		// compressed and has no records.
		Unread: b.CompressionType != 0 && b.NumRecords == 0,
	})
}

// broughtBy lists the partitions of which a poll brought something, if only an
// error.
func broughtBy(fetches kgo.Fetches) iter.Seq[partition.ID] {
	return func(yield func(partition.ID) bool) {
		for i := range fetches {
			for j := range fetches[i].Topics {
				t := &fetches[i].Topics[j]
				for k := range t.Partitions {
					if !yield(partition.ID{Topic: t.Topic, Partition: t.Partitions[k].Partition}) {
						return
					}
				}
			}
		}
	}
}

// An allower is a decompressor with an allowance.
type allower struct {
	kgo.Decompressor
	wire *memory.Wire
}

// Decompress refuses while the allowance is used up. It is called on goroutines
// of the client.
func (d allower) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec != kgo.CodecNone && d.wire.Refuses() {
		return nil, memory.ErrRefused
	}
	return sturdy{d.Decompressor}.Decompress(src, codec)
}

// A sturdy decompressor may be the user's, and may panic: then only that batch
// fails.
type sturdy struct{ kgo.Decompressor }

// Decompress turns a panic into an error.
func (d sturdy) Decompress(src []byte, codec kgo.CompressionCodecType) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = nil, fmt.Errorf("esm: the decompressor panicked: %s", guard.Sprint(v))
		}
	}()
	return d.Decompressor.Decompress(src, codec)
}
