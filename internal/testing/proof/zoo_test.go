package proof_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// brokerVariable makes this program a broker: where memory is measured, that of
// a broker must not be in the way.
const brokerVariable = "ESM_TEST_BROKER"

// serveBroker is a broker until nobody listens any more.
func serveBroker() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		panic(err)
	}
	defer cluster.Close()
	fmt.Println(cluster.ListenAddrs()[0])
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// aBroker starts one.
func aBroker(t *testing.T) (address string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), brokerVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	address, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

// A shape is a kind of records.
type shape struct {
	name       string
	partitions int
	records    int
	make       func(i int) *kgo.Record
	producer   []kgo.Opt
}

var noise = func() []byte {
	b := make([]byte, 1<<20)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(b)
	return b
}()

func headersOf(n, size int) []kgo.RecordHeader {
	h := make([]kgo.RecordHeader, n)
	for i := range h {
		if size > 0 {
			h[i] = kgo.RecordHeader{Key: fmt.Sprintf("%0*d", size, i), Value: noise[:size]}
		}
	}
	return h
}

func shapes() []shape {
	plain := []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())}
	value := func(size int) func(int) *kgo.Record {
		return func(i int) *kgo.Record { return &kgo.Record{Value: noise[i%1000 : i%1000+size]} }
	}
	return []shape{
		{"of no content", 4, 300_000, func(int) *kgo.Record { return &kgo.Record{} }, plain},
		{"tiny", 4, 300_000, value(10), plain},
		{"usual", 20, 60_000, value(1000), plain},
		{"huge", 4, 80, value(900_000), plain},
		{"with keys only", 4, 100_000, func(i int) *kgo.Record { return &kgo.Record{Key: noise[i%100 : i%100+40]} }, plain},
		{"of many partitions", 400, 80_000, value(300), plain},
		{"of 2,000 empty headers", 4, 2_500, func(int) *kgo.Record { return &kgo.Record{Headers: headersOf(2000, 0)} }, plain},
		{"of 30 small headers", 4, 20_000, func(int) *kgo.Record { return &kgo.Record{Headers: headersOf(30, 5), Value: noise[:100]} }, plain},
		{"of large headers", 4, 3_000, func(int) *kgo.Record { return &kgo.Record{Headers: headersOf(5, 2000)} }, plain},
		{"compressed a little", 10, 60_000, value(1000), []kgo.Opt{kgo.ProducerBatchCompression(kgo.SnappyCompression())}},
		{"compressed fiftyfold", 10, 60_000, func(i int) *kgo.Record { return &kgo.Record{Value: bytes.Repeat(noise[i%9:i%9+20], 50)} }, []kgo.Opt{kgo.ProducerBatchCompression(kgo.ZstdCompression())}},
	}
}

// TestWhatIsHeldIsWhatIsInMemory, whatever the records are: of a Mapping whose
// function hangs, or fails, the live heap is what Stats say that it holds, and
// what the client has ready.
func TestWhatIsHeldIsWhatIsInMemory(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("takes half a minute, and the race detector has memory of its own")
	}
	broker := aBroker(t)
	for i, s := range shapes() {
		topic := fmt.Sprint("zoo", i)
		produceZoo(t, broker, topic, s)
		for does, do := range map[string]func(ctx context.Context, b *esm.Batch) error{
			"hangs": func(ctx context.Context, _ *esm.Batch) error { <-ctx.Done(); return ctx.Err() },
			"fails": func(context.Context, *esm.Batch) error { return errBilling },
		} {
			t.Run(s.name+", "+does, func(t *testing.T) { measureZoo(t, broker, topic, do) })
		}
	}
}

func produceZoo(t *testing.T, broker, topic string, s shape) {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(broker), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5 * time.Millisecond), kgo.MaxBufferedRecords(20_000)}, s.producer...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	k := &anyKafka{t: t, admin: kadm.NewClient(cl)}
	k.make(topic, s.partitions, "max.message.bytes", "10000000")
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for i := range s.records {
		r := s.make(i)
		r.Topic, r.Partition = topic, int32(i%s.partitions)
		wg.Add(1)
		cl.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}

// liveHeap is what is left after a collection.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func measureZoo(t *testing.T, broker, topic string, do func(context.Context, *esm.Batch) error) {
	const budget = 24 << 20
	before := liveHeap()
	var reserve atomic.Int64
	m, err := esm.New(esm.Source{Brokers: []string{broker}, Topics: []string{topic}, Group: fmt.Sprint(topic, time.Now().UnixNano())}, esm.InvokerFunc(do), quiet(),
		esm.WithMemoryBudget(budget), esm.WithBackoff(esm.Constant(time.Hour)), esm.WithStopTimeout(time.Second), esm.WithBatchWindow(0),
		esm.WithHooks(esm.Hooks{MemoryLimited: func(i esm.Poll) { reserve.Store(max(reserve.Load(), i.Reserve)) }}))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Stop(context.Background()) }() // calls hang
	// Until it reads no more: the budget is in use, or all of it was read.
	last, calm := int64(-1), 0
	for end := time.Now().Add(30 * time.Second); calm < 5 && time.Now().Before(end); {
		passes(t, 100*time.Millisecond)
		s := m.Stats()
		if s.PolledEventCount == last && last > 0 {
			calm++
		} else {
			last, calm = s.PolledEventCount, 0
		}
	}
	heap := liveHeap() - before
	s := m.Stats()
	most := s.HeldBytes + s.HeldBytes/10 + reserve.Load() + 8<<20
	t.Logf("%d records: held %.1f MiB, heap %.1f MiB, at most %.1f MiB (one poll is %.1f MiB), limited: %v", s.PolledEventCount, mib(s.HeldBytes), mib(heap), mib(most), mib(reserve.Load()), s.MemoryLimited)
	if heap > most {
		t.Errorf("%.1f MiB of heap, and %.1f MiB are said to be held", mib(heap), mib(s.HeldBytes))
	}
	if s.HeldBytes > budget+reserve.Load() {
		t.Errorf("%.1f MiB held of %.1f", mib(s.HeldBytes), mib(budget))
	}
	if s.HeldBytes < 2<<20 { // what waits for a retry is given back but for what it is tried with
		t.Errorf("only %.1f MiB held: it shows nothing", mib(s.HeldBytes))
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// passes lets real time pass between two looks at something.
func passes(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
