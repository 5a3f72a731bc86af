package esm

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
)

// batchesOf has a broker send batches of 1,000 bytes, as far as it may.
func batchesOf(t *testing.T, w *wireStats, d kgo.Decompressor, broker, partition int32, n int) (read int) {
	t.Helper()
	for range n {
		m := kgo.FetchBatchMetrics{CompressedBytes: 10, UncompressedBytes: 1000, NumRecords: 1, CompressionType: 1}
		if _, err := d.Decompress(nil, kgo.CodecGzip); err != nil {
			if !refused(fmt.Errorf("the client wraps it: %w", err)) || errors.Is(err, kgo.ErrMaxDecompress) {
				t.Fatalf("refused with %v", err)
			}
			m.UncompressedBytes, m.NumRecords = m.CompressedBytes, 0
		} else {
			read++
		}
		w.OnFetchBatchRead(kgo.BrokerMetadata{NodeID: broker}, "orders", partition, m)
		if m.NumRecords == 0 {
			break // the rest of a partition is left
		}
	}
	return read
}

type same struct{}

func (same) Decompress(src []byte, _ kgo.CompressionCodecType) ([]byte, error) { return src, nil }

func bringing(partitions ...int32) kgo.Fetches {
	ft := kgo.FetchTopic{Topic: "orders"}
	for _, p := range partitions {
		ft.Partitions = append(ft.Partitions, kgo.FetchPartition{Partition: p})
	}
	return kgo.Fetches{{Topics: []kgo.FetchTopic{ft}}}
}

// TestAllowanceIsWhatWaitsToBePolled, and nothing else, for however long.
func TestAllowanceIsWhatWaitsToBePolled(t *testing.T) {
	const each = 1000 + int(recordOverhead)
	w, now := newWireStats(), time.Unix(1_000_000, 0)
	w.expansion.allowance.Store(int64(3 * each))
	d := allower{same{}, &w.expansion}
	arrives := func(broker int32) { w.OnBrokerRead(kgo.BrokerMetadata{NodeID: broker}, fetchKey, 1, 0, 0, nil) }
	is := func(what string, got, batches int) {
		t.Helper()
		if waits := int(w.expansion.unpolled.Load()); got != batches && batches >= 0 || waits%each != 0 {
			t.Errorf("%s: %d batches were read, want %d; %d bytes wait", what, got, batches, waits)
		}
	}
	arrives(1)
	is("nothing waits", batchesOf(t, w, d, 1, 0, 10), 3)
	arrives(2)
	is("another broker", batchesOf(t, w, d, 2, 1, 10), 0)
	if w.isAhead(partition.ID{Topic: "orders", Partition: 1}) || w.packed.Load() != 30 {
		t.Errorf("what was refused counts as read: %d", w.packed.Load())
	}
	w.polling()
	w.polled(bringing(0), now)
	is("after a poll", batchesOf(t, w, d, 2, 1, 2), 2)

	// A poll that is handed over when the next response comes in already.
	w.polling()
	arrives(2)
	is("the next response", batchesOf(t, w, d, 2, 1, 2), 2)
	w.polled(bringing(1), now)
	is("handed over late", batchesOf(t, w, d, 2, 1, 10), 1)
	w.polling()
	w.polled(bringing(1), now)
	if n := w.expansion.unpolled.Load(); n != 0 {
		t.Errorf("%d wait after all was polled", n)
	}

	// A poll that waits for its response.
	w.polling()
	for range 3 {
		arrives(2) // without records
	}
	is("while a poll waits", batchesOf(t, w, d, 2, 1, 10), 3)
	w.polled(bringing(1), now)
	if n := w.expansion.unpolled.Load(); n != 0 {
		t.Errorf("%d wait after all was polled", n)
	}

	// What the client throws away: of a broker that goes on, and of one that is
	// not heard of again.
	arrives(1)
	is("thrown away", batchesOf(t, w, d, 1, 0, 10), 3)
	arrives(1)
	is("and fetched again", batchesOf(t, w, d, 1, 0, 10), 3)
	arrives(2)
	for range 3 {
		w.polling()
		w.polled(bringing(1), now)
		now = now.Add(responseEnds)
	}
	if n := w.expansion.unpolled.Load(); n != 0 {
		t.Errorf("%d wait of a broker that is gone", n)
	}
	if len(w.expansion.tallies) > 1 {
		t.Errorf("%d brokers are remembered", len(w.expansion.tallies))
	}
	arrives(1)
	is("it comes back", batchesOf(t, w, d, 1, 0, 10), 3)
}

// TestUncompressedIsNeverRefused: it is bounded by what is asked for.
func TestUncompressedIsNeverRefused(t *testing.T) {
	w := newWireStats()
	w.expansion.unpolled.Store(1 << 40)
	d := allower{same{}, &w.expansion}
	if _, err := d.Decompress([]byte("x"), kgo.CodecNone); err != nil {
		t.Error(err)
	}
	if _, err := d.Decompress([]byte("x"), kgo.CodecZstd); !refused(err) {
		t.Errorf("%v", err)
	}
}

// TestSurpriseDoesNotStopThePolls: after records that compressed 900-fold, a poll
// still fits while something is held, since no poll can bring as much as that.
func TestSurpriseDoesNotStopThePolls(t *testing.T) {
	const budget = 64 << 20
	m := memory{budget: budget, fetch: newFetchSize(newWireStats())}
	f, now := &m.fetch, time.Unix(1_000_000, 0)
	for range 20 {
		f.wire.OnFetchBatchRead(kgo.BrokerMetadata{}, "orders", 0, kgo.FetchBatchMetrics{CompressedBytes: 1 << 20, UncompressedBytes: 900 << 20, NumRecords: 1, CompressionType: 4})
		f.polled(900<<20, 900<<20, 0, budget, now)
	}
	m.held = budget / 2
	reserve := f.reserve(0, 0, budget)
	if !m.admits(reserve, false) {
		t.Errorf("%d are kept free, of which none can come", reserve)
	}
	m.allow(true)
	if n := f.wire.expansion.allowance.Load(); n > budget/2 {
		t.Errorf("%d are allowed, and there is room for %d", n, budget/2)
	}
	m.held = 0
	m.allow(false)
	if n := f.wire.expansion.allowance.Load(); n < budget/8 || n > most(budget) {
		t.Errorf("%d are allowed", n)
	}
	// What is ready is a fact, whatever was expected of it.
	if n := f.reserve(20<<20, 20<<20, budget); n < 20<<20 {
		t.Errorf("%d are kept free for 20 MiB that are ready", n)
	}
}

// TestReserveAllowsNothing: records that cost many times their bytes raise what a
// poll may bring uncompressed, and so the reserve, beyond what may be decompressed
// for one, and an empty Mapping admits even that.
func TestReserveAllowsNothing(t *testing.T) {
	const budget = 16 << 20
	m := memory{budget: budget, fetch: newFetchSize(newWireStats())}
	f, now := &m.fetch, time.Unix(1_000_000, 0)
	f.max, f.before, f.changed, f.polls = 4<<20, 4<<20, now, 1
	for range 5 {
		f.wire.OnFetchBatchRead(kgo.BrokerMetadata{}, "orders", 0, kgo.FetchBatchMetrics{CompressedBytes: 1 << 10, UncompressedBytes: 1 << 20, NumRecords: 100_000, CompressionType: 4})
		f.polled(20<<20, 18<<20, 0, budget, now)
	}
	reserve := f.reserve(0, 0, budget)
	if reserve <= budget || !m.admits(reserve, false) {
		t.Fatalf("%d are reserved: this is not the case that is meant", reserve)
	}
	m.allow(true)
	if n := f.wire.expansion.allowance.Load(); n > most(budget) || n < budget/4 {
		t.Errorf("%d are allowed, of %d", n, most(budget))
	}
}

// TestDecompressorIsTheUsers, or the client's own with the user's limit.
func TestDecompressorIsTheUsers(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(make([]byte, 5000))
	_ = z.Close()
	for _, tt := range []struct {
		name  string
		opts  []kgo.Opt
		limit bool
	}{
		{"none", nil, false},
		{"a limit", []kgo.Opt{kgo.MaxDecompressBatchBytes(4999)}, true},
		{"a limit and the client's", []kgo.Opt{kgo.WithDecompressor(kgo.DefaultDecompressor()), kgo.MaxDecompressBatchBytes(4999)}, true},
		{"enough", []kgo.Opt{kgo.MaxDecompressBatchBytes(5000)}, false},
	} {
		s := Source{Brokers: []string{"localhost:1"}, Client: tt.opts}
		d, err := s.conflicts(newProbe)
		if err != nil {
			t.Fatal(err)
		}
		out, err := d.Decompress(packed.Bytes(), kgo.CodecGzip)
		if errors.Is(err, kgo.ErrMaxDecompress) != tt.limit || !tt.limit && len(out) != 5000 {
			t.Errorf("%s: %d bytes, %v", tt.name, len(out), err)
		}
	}
	s := Source{Brokers: []string{"localhost:1"}, Client: []kgo.Opt{kgo.WithDecompressor(same{})}}
	if d, err := s.conflicts(newProbe); err != nil || d != (same{}) {
		t.Errorf("%T, %v", d, err)
	}
}

// TestLanesGiveWay to one of which nothing comes, because others use the
// allowance up; but not for ever, because its broker may be gone.
func TestLanesGiveWayToOneThatIsPushedAside(t *testing.T) {
	d := newDriver(1)
	defer d.stop()
	e, now := d.e, time.Now()
	a, b := partition.ID{Topic: "orders", Partition: 0}, partition.ID{Topic: "orders", Partition: 1}
	e.place([]placement{{tp: a}, {tp: b}})
	poll := func(brings bool) {
		p := kgo.FetchPartition{Partition: 1, HighWatermark: 1}
		if p.Err = fmt.Errorf("the client says: %w", errNoAllowance); brings {
			p.Err, p.Records = nil, []*kgo.Record{{Topic: "orders", Partition: 1}}
		}
		e.enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: []kgo.FetchPartition{p}}}}}, now)
	}
	is := func(what string, paused bool) {
		t.Helper()
		if p := e.pauses(); p[a] != paused || p[b] {
			t.Errorf("%s: paused are %v", what, p)
		}
	}
	for range pushedAside - 1 {
		poll(false)
	}
	is("refused twice", false)
	poll(false)
	is("refused again", true)
	poll(true)
	is("it got something", false)
	for range pushedAside {
		poll(false)
	}
	is("refused again", true)
	e.mu.Lock()
	if next := e.nextDue(now); next.IsZero() || next.After(now.Add(wayFor)) {
		t.Errorf("it is looked at again at %v", next)
	}
	e.due(now.Add(wayFor))
	e.mu.Unlock()
	is("for too long", false)
}

// A clumsyDecompressor is a user's.
type clumsyDecompressor struct{}

func (clumsyDecompressor) Decompress([]byte, kgo.CompressionCodecType) ([]byte, error) {
	panic("no such codec")
}

// TestADecompressorThatPanics: it would end the process, on a goroutine of the
// client.
func TestADecompressorThatPanics(t *testing.T) {
	d := allower{clumsyDecompressor{}, &newWireStats().expansion}
	d.expansion.allowance.Store(1)
	if out, err := d.Decompress(nil, kgo.CodecGzip); out != nil || err == nil || !strings.Contains(err.Error(), "no such codec") || refused(err) {
		t.Errorf("%q, %v", out, err)
	}
}
