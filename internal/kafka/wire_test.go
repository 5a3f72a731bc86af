package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
)

type same struct{}

func (same) Decompress(src []byte, _ kgo.CompressionCodecType) ([]byte, error) { return src, nil }

// usedUp is a Wire whose allowance is used up by one batch of a partition.
func usedUp(tp partition.ID) *memory.Wire {
	w := memory.NewAccount(1 << 30).Wire()
	wireHooks{w}.OnFetchBatchRead(kgo.BrokerMetadata{NodeID: 1}, tp.Topic, tp.Partition,
		kgo.FetchBatchMetrics{NumRecords: 1, CompressedBytes: 1 << 10, UncompressedBytes: 1 << 30, CompressionType: 4})
	return w
}

// TestHooksTellTheWire what the client reads, and nothing else.
func TestHooksTellTheWire(t *testing.T) {
	a, b, c := partition.ID{Topic: "orders", Partition: 0}, partition.ID{Topic: "orders", Partition: 1}, partition.ID{Topic: "bills", Partition: 0}
	w := memory.NewAccount(1 << 30).Wire()
	h := wireHooks{w}
	h.OnBrokerRead(kgo.BrokerMetadata{NodeID: 1}, fetchKey, 1000, 0, 0, nil)
	h.OnBrokerRead(kgo.BrokerMetadata{NodeID: 1}, fetchKey, 100, 0, 0, errors.New("cut off"))
	h.OnBrokerRead(kgo.BrokerMetadata{NodeID: 1}, fetchKey+1, 10, 0, 0, nil)
	if n := w.Fetched(); n != 1000 {
		t.Errorf("%d bytes were fetched", n)
	}
	read := func(tp partition.ID, m kgo.FetchBatchMetrics) {
		h.OnFetchBatchRead(kgo.BrokerMetadata{NodeID: 1}, tp.Topic, tp.Partition, m)
	}
	read(a, kgo.FetchBatchMetrics{CompressedBytes: 100})                                             // a plain batch without records for us
	read(b, kgo.FetchBatchMetrics{CompressedBytes: 100, UncompressedBytes: 100, CompressionType: 1}) // refused
	if !w.IsAhead(a) || w.IsAhead(b) || w.IsAhead(c) {
		t.Errorf("ahead: %v, %v, %v", w.IsAhead(a), w.IsAhead(b), w.IsAhead(c))
	}
	// What records cost counts too: the allowance of a new Wire is 1 MiB.
	const few = 1 << 20 / 2 / int(engine.RecordOverhead)
	read(c, kgo.FetchBatchMetrics{CompressedBytes: 100, UncompressedBytes: 1 << 18, NumRecords: few, CompressionType: 1})
	if w.Refuses() {
		t.Error("three quarters of the allowance are not all of it")
	}
	read(c, kgo.FetchBatchMetrics{CompressedBytes: 100, UncompressedBytes: 1, NumRecords: few, CompressionType: 1})
	if !w.Refuses() || !w.IsAhead(c) {
		t.Error("more than the allowance waits, and is not refused")
	}
	w.Polling()
	w.Polled(broughtBy(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "bills", Partitions: []kgo.FetchPartition{{Partition: 0}}}}}}), time.Now())
	if w.Refuses() || w.IsAhead(c) || !w.IsAhead(a) {
		t.Error("what was polled waits")
	}
}

// TestBroughtByListsAllPartitions, and stops when told.
func TestBroughtByListsAllPartitions(t *testing.T) {
	fetches := kgo.Fetches{
		{Topics: []kgo.FetchTopic{{Topic: "a", Partitions: []kgo.FetchPartition{{Partition: 0}, {Partition: 3}}}, {Topic: "b"}}},
		{},
		{Topics: []kgo.FetchTopic{{Topic: "b", Partitions: []kgo.FetchPartition{{Partition: 1, Err: memory.ErrRefused}}}}},
	}
	want := []partition.ID{{Topic: "a", Partition: 0}, {Topic: "a", Partition: 3}, {Topic: "b", Partition: 1}}
	if got := slices.Collect(broughtBy(fetches)); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	for tp := range broughtBy(fetches) {
		if tp != want[0] {
			t.Errorf("%v came after the loop ended", tp)
		}
		break
	}
}

// TestUncompressedIsNeverRefused: it is bounded by what is asked for.
func TestUncompressedIsNeverRefused(t *testing.T) {
	d := allower{same{}, usedUp(partition.ID{Topic: "orders"})}
	if _, err := d.Decompress([]byte("x"), kgo.CodecNone); err != nil {
		t.Error(err)
	}
	for _, codec := range []kgo.CompressionCodecType{kgo.CodecGzip, kgo.CodecSnappy, kgo.CodecLz4, kgo.CodecZstd} {
		_, err := d.Decompress([]byte("x"), codec)
		if !memory.Refused(fmt.Errorf("the client wraps it: %w", err)) || errors.Is(err, kgo.ErrMaxDecompress) {
			t.Errorf("codec %d: %v", codec, err)
		}
	}
	free := allower{same{}, memory.NewAccount(1 << 30).Wire()}
	if out, err := free.Decompress([]byte("x"), kgo.CodecZstd); string(out) != "x" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// A clumsyDecompressor is a user's.
type clumsyDecompressor struct{}

func (clumsyDecompressor) Decompress([]byte, kgo.CompressionCodecType) ([]byte, error) {
	panic("no such codec")
}

// TestADecompressorThatPanics: it would end the process, on a goroutine of the
// client.
func TestADecompressorThatPanics(t *testing.T) {
	d := allower{clumsyDecompressor{}, memory.NewAccount(1 << 30).Wire()}
	if out, err := d.Decompress(nil, kgo.CodecGzip); out != nil || err == nil || !strings.Contains(err.Error(), "no such codec") || memory.Refused(err) {
		t.Errorf("%q, %v", out, err)
	}
}
