package proof_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// These tests are in real time: a decoder of zstd cannot be in a bubble, because
// it has a channel that a finalizer closes. What they hold holds whatever the
// timing.

// counting is a decompressor of the user's, which says how much it made.
type counting struct {
	kgo.Decompressor
	made, calls, largest atomic.Int64
}

func newCounting() *counting { return &counting{Decompressor: kgo.DefaultDecompressor()} }

func (c *counting) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	out, err := c.Decompressor.Decompress(src, codec)
	c.calls.Add(1)
	c.made.Add(int64(len(out)))
	for n := int64(len(out)); ; {
		if was := c.largest.Load(); n <= was || c.largest.CompareAndSwap(was, n) {
			return out, err
		}
	}
}

// compressed is a Kafka with a topic of batches of about a megabyte each.
type compressed struct {
	*anyKafka
	topic   string
	written []atomic.Int64 // of each partition
	handled []atomic.Int64
	wrong   atomic.Int64 // records that did not come in their order
}

func newCompressed(t *testing.T, brokers, partitions int) *compressed {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	k := connectTo(t, cluster.ListenAddrs())
	return &compressed{anyKafka: k, topic: k.topic(partitions), written: make([]atomic.Int64, partitions), handled: make([]atomic.Int64, partitions)}
}

// write produces so many batches to each of some partitions.
func (c *compressed) write(codec kgo.CompressionCodec, batches int, value func(i int) []byte, partitions ...int32) {
	c.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(1<<30))
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	var rs []*kgo.Record
	for _, p := range partitions {
		for size := 0; size < batches*1_000_000; {
			v := value(len(rs))
			size += len(v) + 10
			rs = append(rs, &kgo.Record{Topic: c.topic, Partition: p, Value: v})
			c.written[p].Add(1)
		}
	}
	if err := cl.ProduceSync(c.t.Context(), rs...).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *compressed) total() (n int64) {
	for p := range c.written {
		n += c.written[p].Load()
	}
	return n
}

// invoker takes that long, and expects each partition's records in their order.
func (c *compressed) invoker(takes time.Duration) esm.Invoker {
	return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		for _, r := range b.Records {
			if c.handled[r.Partition].Add(1) != r.Offset+1 {
				c.wrong.Add(1)
			}
		}
		if takes > 0 {
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
		}
		return nil
	})
}

// drain waits until all is handled.
func (c *compressed) drain(m *esm.Mapping) {
	c.t.Helper()
	for end := time.Now().Add(2 * time.Minute); m.Stats().SettledEventCount < c.total(); passes(c.t, 10*time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("%d of %d settled; %v", m.Stats().SettledEventCount, c.total(), m.State().Problems)
		}
	}
	if n := m.Stats().PolledEventCount; n != c.total() || c.wrong.Load() != 0 {
		c.t.Errorf("%d polled of %d, %d out of order", n, c.total(), c.wrong.Load())
	}
	for _, p := range m.State().Problems {
		c.t.Errorf("a problem: %+v", p)
	}
}

func incompressible(i int) []byte { at := i * 7919 % (1<<20 - 1000); return noise[at : at+1000] }

func tenfold(i int) []byte { return append(incompressible(i)[:100:100], zeros[:900]...) }

var zeros = make([]byte, 1000)

func nothing(int) []byte { return zeros }

func tiny(int) []byte { return zeros[:1] }

var codecs = []struct {
	name  string
	codec kgo.CompressionCodec
}{
	{"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()}, {"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()},
}

// TestRecordsThatSuddenlyCompressStayWithinTheBudget: many records that do not
// compress, and then records that do, up to 900-fold. Nobody can know by what
// came before what a fetch becomes.
func TestRecordsThatSuddenlyCompressStayWithinTheBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; not with -short")
	}
	t.Parallel()
	for _, tt := range codecs {
		for value, sudden := range map[string]func(int) []byte{"zeros": nothing, "tiny": tiny} {
			if value == "tiny" && tt.name != "zstd" {
				continue // what its records cost is the same
			}
			t.Run(tt.name+", "+value, func(t *testing.T) {
				t.Parallel() // the Kafka in memory takes its time
				const budget = 16 << 20
				k := newCompressed(t, 1, 2)
				k.write(kgo.NoCompression(), 10, incompressible, 0, 1) // more than the budget
				batches := 25
				if value == "tiny" {
					batches = 3 // its records cost twenty times their bytes
				}
				k.write(tt.codec, batches, sudden, 0, 1)
				decompressor := newCounting()
				var held, one atomic.Int64
				m := esmtest.Start(t, k.source(k.topic, kgo.WithDecompressor(decompressor)), k.invoker(0), quiet(),
					esm.WithMemoryBudget(budget), esm.WithMinPollers(2), esm.WithHooks(esm.Hooks{Polled: func(i esm.Poll) {
						held.Store(max(held.Load(), i.Held))
						one.Store(max(one.Load(), i.Bytes))
					}}))
				k.drain(m)
				s, batch := m.Stats(), decompressor.largest.Load()*5/4 // with what its records cost
				if value == "tiny" {
					batch = decompressor.largest.Load() * 25
				}
				t.Logf("at most %.1f MiB held, %.1f MiB in a poll; %.1f MiB fetched, %.1f MiB polled", mib(held.Load()), mib(one.Load()), mib(s.FetchedByteCount), mib(s.PolledByteCount))
				// The tails of a response are copied, and counted beside it.
				if held.Load() > budget+batch+512<<10 {
					t.Errorf("%.1f MiB held, of %.1f and a batch", mib(held.Load()), mib(budget))
				}
				if one.Load() > budget*2/5+batch {
					t.Errorf("%.1f MiB in one poll", mib(one.Load()))
				}
				if n := decompressor.calls.Load(); n < int64(batches) {
					t.Errorf("the decompressor of the user was called %d times for %d batches", n, 2*batches)
				}
				if s.FetchedByteCount > s.PolledByteCount*13/10 {
					t.Errorf("%d fetched, %d polled: batches are read again and again", s.FetchedByteCount, s.PolledByteCount)
				}
			})
		}
	}
}

// TestTopicThatAlwaysCompressesIsReadOnce: what is refused is fetched again, so
// it must be rare where nothing is out of the ordinary.
func TestTopicThatAlwaysCompressesIsReadOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; not with -short")
	}
	for brokers, takes := range map[int]time.Duration{1: 0, 3: 5 * time.Millisecond} {
		t.Run(fmt.Sprintf("%d brokers, the function takes %s", brokers, takes), func(t *testing.T) {
			k := newCompressed(t, brokers, 6)
			k.write(kgo.ZstdCompression(), 20, tenfold, 0, 1, 2, 3, 4, 5)
			decompressor := newCounting()
			m := esmtest.Start(t, k.source(k.topic, kgo.WithDecompressor(decompressor)), k.invoker(takes), quiet(),
				esm.WithMemoryBudget(24<<20), esm.WithMinPollers(6), esm.WithBatchSize(500))
			k.drain(m)
			s := m.Stats()
			t.Logf("%.1f MiB fetched, %.1f MiB polled, %.1f MiB decompressed", mib(s.FetchedByteCount), mib(s.PolledByteCount), mib(decompressor.made.Load()))
			if s.FetchedByteCount*10 > s.PolledByteCount*15 {
				t.Errorf("%d bytes fetched for %d polled, which compress tenfold", s.FetchedByteCount, s.PolledByteCount)
			}
		})
	}
}
