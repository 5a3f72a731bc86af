package esm

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestReserveIsWhatAPollBrings: after it has seen how much larger records are
// in memory than on the wire, no poll brings more than was kept free for it,
// whatever the brokers send within what they were asked for.
func TestReserveIsWhatAPollBrings(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 3))
		wire := newWireStats()
		f := newFetchSize(wire)
		f.brokers = 1 + rng.IntN(12)
		budget := int64(1<<20) << rng.IntN(9)
		expansion := 1 + rng.Float64()*9
		batch := 1000 + rng.Int64N(100_000)
		now := time.Unix(1_000_000, 0)
		residue := int64(0)
		underWay := f.max // what was asked for the last time
		for poll := range 200 {
			now = now.Add(time.Duration(rng.Int64N(int64(300 * time.Millisecond))))
			reserve := f.reserve(0, 0, budget)
			more := int64(0)
			for range f.brokers {
				bytes := rng.Int64N(int64(max(underWay, 1)))
				bytes -= bytes % batch
				if bytes == 0 {
					bytes = batch // the first batch comes whatever its size
				}
				for b := bytes; b > 0; b -= batch {
					wire.OnFetchBatchRead(kgo.BrokerMetadata{}, "orders", 0, kgo.FetchBatchMetrics{CompressedBytes: int(min(b, batch))})
				}
				more += int64(float64(bytes) * expansion)
			}
			if poll > 0 && more > reserve+reserve/50 {
				t.Fatalf("seed %d: poll %d brought %d, and %d were kept free", seed, poll, more, reserve)
			}
			underWay = f.max
			f.polled(more, more, residue, budget, now)
			if rng.IntN(2) == 0 {
				f.drained(residue, budget, now)
			}
			if f.max < f.perPartition || f.max%f.perPartition != 0 || f.max > fetchLargest {
				t.Fatalf("seed %d: fetches of %d, of %d a partition", seed, f.max, f.perPartition)
			}
			if int64(f.perPartition) < min(batch, fetchLargest) {
				t.Fatalf("seed %d: %d a partition is less than a batch of %d", seed, f.perPartition, batch)
			}
			residue = rng.Int64N(budget)
		}
	}
}

func TestFetchesGrowWhileTheFunctionKeepsUpAndShrinkWhenRecordsQueue(t *testing.T) {
	wire := newWireStats()
	f := newFetchSize(wire)
	const budget = 128 << 20
	now := time.Unix(1_000_000, 0)
	poll := func(residue int64) {
		for range 32 {
			wire.OnFetchBatchRead(kgo.BrokerMetadata{}, "orders", 0, kgo.FetchBatchMetrics{CompressedBytes: int(f.max) / 32})
		}
		f.polled(int64(f.max), int64(f.max), residue, budget, now)
		now = now.Add(10 * time.Millisecond)
	}
	for range 10 {
		poll(0)
		f.drained(0, budget, now)
	}
	if f.max < 40<<20 {
		t.Errorf("fetches of %d when the function keeps up", f.max)
	}
	for range 10 {
		poll(100 << 20)
		now = now.Add(time.Second)
	}
	if f.max > 9<<20 {
		t.Errorf("fetches of %d when records queue", f.max)
	}
	if most := f.reserve(0, 0, budget); most > budget/8 {
		t.Errorf("%d are kept free", most)
	}
}

func TestEmptyBudgetAdmitsOnePoll(t *testing.T) {
	m := memory{budget: 1 << 20}
	if !m.admits(50<<20, false) {
		t.Error("nothing is held, and a poll does not fit")
	}
	m.held = 1
	if m.admits(50<<20, true) {
		t.Error("a poll that does not fit is admitted")
	}
	m.held = 1<<20 - 1<<17
	if m.admits(1<<17, false) || !m.admits(1<<17, true) {
		t.Error("the last sixteenth is for lanes that need it")
	}
}

// TestResponseIsHeldUntilItsLastRecordIsSettled: one record that waits pins all
// of it.
func TestResponseIsHeldUntilItsLastRecordIsSettled(t *testing.T) {
	var m memory
	response, copied := &chunk{bytes: 1000, records: 10}, &chunk{bytes: 50, records: 1}
	m.hold(response)
	m.hold(copied)
	for _, tt := range []struct {
		of      *chunk
		records int
		want    int64
	}{{response, 4, 1050}, {copied, 1, 1000}, {response, 5, 1000}, {response, 1, 0}} {
		if m.release(tt.of, tt.records); m.held != tt.want {
			t.Errorf("held %d, want %d", m.held, tt.want)
		}
	}
}

// TestLastResponseIsKept: the last response stays alive until the next one was
// polled, so that the collector finds the same each time.
func TestLastResponseIsKept(t *testing.T) {
	d := newDriver(1)
	defer d.stop()
	tp := partition.ID{Topic: "orders", Partition: 0}
	e, now := d.e, time.Now()
	e.memory.budget = 32 << 20
	// poll hands over a response, has all of it settled, and returns whether
	// it is still there.
	poll := func(first, size int) (alive func() bool) {
		response := make([]byte, size)
		records := []*kgo.Record{
			{Topic: tp.Topic, Partition: tp.Partition, Offset: int64(first)},
			{Topic: tp.Topic, Partition: tp.Partition, Offset: int64(first + 1), Value: response[8:]},
		}
		is := weak.Make(&response[0])
		p := kgo.FetchPartition{Partition: tp.Partition, HighWatermark: int64(first + 2), Records: records}
		e.cfg.batchSize = 1 // no record waits for more, and is copied
		e.enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: tp.Topic, Partitions: []kgo.FetchPartition{p}}}}}, now)
		for {
			e.mu.Lock()
			l := e.lease(now)
			e.mu.Unlock()
			if l == nil {
				break
			}
			if !e.prepare(l, now) {
				t.Fatal("a record that nobody had is to be read again")
			}
			e.end(l, verdict{})
		}
		return func() bool {
			runtime.GC()
			return is.Value() != nil
		}
	}
	is := func(what string, alive, want bool) {
		t.Helper()
		if alive != want {
			t.Errorf("%s: the response is alive: %v", what, alive)
		}
	}
	e.place([]placement{{tp: tp}})

	first := poll(0, keepLeast+8)
	is("nothing came after it", first(), true)
	const beside = 2 * (recordOverhead + framing) // of two records
	if m := &e.memory; m.held != 0 || m.spare() != keepLeast+beside {
		t.Errorf("%d held and %d spare", m.held, m.spare())
	}
	second := poll(2, keepLeast+8)
	is("another one came", first(), false)
	is("nothing came after it", second(), true)

	e.mu.Lock()
	e.due(now.Add(keepFor - 1))
	next := e.nextDue(now)
	e.mu.Unlock()
	is("just before its time", second(), true)
	if !next.Equal(now.Add(keepFor)) {
		t.Errorf("it is due %s after it was polled", next.Sub(now))
	}
	e.mu.Lock()
	e.due(now.Add(keepFor))
	e.mu.Unlock()
	is("after its time", second(), false)

	third := poll(4, keepLeast+8)
	e.memory.makeRoom(32<<20 - keepLeast - beside)
	is("there is room", third(), true)
	e.memory.makeRoom(32<<20 - keepLeast - beside + 1)
	is("there is no room", third(), false)

	fourth := poll(6, keepLeast+8)
	is("nothing came after it", fourth(), true)
	e.leave(now)
	is("it is out of the group", fourth(), false)
	is("it is small", poll(8, keepLeast+7)(), false)
}
