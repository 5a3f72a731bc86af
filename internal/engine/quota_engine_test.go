package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// TestOnlyALaneThatHasFarMoreThanItsShareIsPaused, where another runs low. Were those
// paused that have a little more than the average, few would be left for the next
// fetches, which would bring more and more of them.
func TestOnlyALaneThatHasFarMoreThanItsShareIsPaused(t *testing.T) {
	const size, share, lanes = 1000, 600, 5
	s := usual()
	s.MemoryBudget = lanes * share * (size + RecordOverhead)
	e := outside{}.engine(s, t.Context())
	now := time.Unix(1_000_000, 0)
	ids := queued(e, size, []int{0, share, share * 3 / 2, share * 5 / 2, 50}, now)
	e.mu.Lock()
	starved := e.review(false, true, now)
	e.unlock()
	if paused := e.Pauses(); !starved || len(paused) != 1 || !paused[ids[3]] {
		t.Errorf("paused are %v; one starves: %v", paused, starved)
	}
	e.mu.Lock()
	l := e.lanes[ids[3]]
	l.queue, l.count, l.bytes, l.cost = l.queue[:0], share/2, share/2*size, share/2*(size+RecordOverhead)
	e.reviewPause(l)
	e.unlock()
	if paused := e.Pauses(); len(paused) != 0 {
		t.Errorf("at its share %v are paused", paused)
	}
}

// queued gives an engine as many lanes, and each so many records of that size, in one
// response. It starts no workers.
func queued(e *Engine, size int, has []int, now time.Time) (ids []partition.ID) {
	e.spawning = true
	var placed []Placement
	var brought []kgo.FetchPartition
	for p, n := range has {
		id := partition.ID{Topic: "orders", Partition: int32(p)}
		ids, placed = append(ids, id), append(placed, Placement{ID: id})
		f := kgo.FetchPartition{Partition: id.Partition, HighWatermark: 100_000}
		for o := range n {
			f.Records = append(f.Records, &kgo.Record{Topic: id.Topic, Partition: id.Partition, Offset: int64(o), Value: make([]byte, size)})
		}
		brought = append(brought, f)
	}
	e.Assign(ids, now)
	e.Place(placed, now)
	e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: brought}}}}, now)
	return ids
}

// TestWindowsEndEarlyThatMakeWholeBatches, while memory is short and slots are idle:
// what waits in them keeps it from the others.
func TestWindowsEndEarlyThatMakeWholeBatches(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	concurrency := func(n int) func(*Settings) { return func(s *Settings) { s.PollerConcurrency = n } }
	for _, c := range []struct {
		what     string
		settings func(*Settings)
		size     int // of a record
		has      []int
		short    bool
		carry    []int // records of the calls that begin
		filling  int   // lanes that wait on
	}{
		{"there is room", nil, 1000, []int{100, 40, 40, 40, 40}, false, []int{100}, 4},
		{"memory is short", nil, 1000, []int{100, 40, 40, 40, 40}, true, []int{100, 80, 80}, 0},
		{"for two calls", nil, 1000, []int{100, 40, 40, 40, 40, 40, 40}, true, []int{100, 80, 80, 80}, 0},
		{"not for much less than a batch", nil, 1000, []int{100, 70, 70, 70, 75}, true, []int{100, 75}, 3},
		{"of eight lanes, one has nothing to do", concurrency(8), 1000, []int{100, 100, 100, 100, 100, 100, 100, 80}, true, []int{100, 100, 100, 100, 100, 100, 100, 80}, 0},
		{"of nine", concurrency(9), 1000, []int{100, 100, 100, 100, 100, 100, 100, 100, 80}, true, []int{100, 100, 100, 100, 100, 100, 100, 100}, 1},
		{"by bytes", func(s *Settings) { s.BatchBytes = 80_000 }, 1000, []int{80, 40, 40}, true, []int{80, 80}, 0},
		{"one slot", concurrency(1), 1000, []int{100, 40, 40, 40, 40}, true, []int{100}, 4},
		{"one call", func(s *Settings) { s.MaxConcurrency = 1 }, 1000, []int{100, 40, 40, 40, 40}, true, []int{100}, 4},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := usual()
			s.PollerByteRate = -1
			if c.settings != nil {
				c.settings(s)
			}
			e := outside{}.engine(s, t.Context())
			queued(e, c.size, c.has, now)
			e.mu.Lock()
			defer e.unlock()
			var carry []int
			lease := func() {
				for l := e.lease(now); l != nil; l = e.lease(now) {
					carry = append(carry, l.count)
				}
			}
			lease()
			if c.short {
				e.memory.SetBudget(1 << 20)
			}
			if a := e.admit(1<<20, now); a.poll == c.short {
				t.Fatalf("a poll is admitted: %v", a.poll)
			}
			lease()
			if !slices.Equal(carry, c.carry) || len(e.filling) != c.filling {
				t.Errorf("calls carry %v, want %v; %d lanes wait, want %d", carry, c.carry, len(e.filling), c.filling)
			}
		})
	}
}

// TestACopyKeepsNoMoreThanWhatWaits: when a batch is settled, what was copied is freed
// but for the records that wait for the next one.
func TestACopyKeepsNoMoreThanWhatWaits(t *testing.T) {
	const size = 1000
	s := usual()
	s.BatchWindow = time.Hour
	e := outside{}.engine(s, t.Context())
	now := time.Unix(1_000_000, 0)
	id := queued(e, size, []int{30}, now)[0] // a tail, which is always copied
	each := func(n int) int64 { return int64(n) * (size + RecordOverhead) }
	held := func(n int) {
		t.Helper()
		if got := e.memory.Held(); got != each(n) {
			t.Errorf("%d are held, and %d records that wait cost %d", got, n, each(n))
		}
	}
	held(30)
	// What comes next ends its batch, and makes two more and a half.
	e.memory.SetBudget(e.memory.Held()) // crowded: all is copied
	f := kgo.FetchPartition{Partition: id.Partition, HighWatermark: 100_000}
	for o := range 70 + 200 + 50 {
		f.Records = append(f.Records, &kgo.Record{Topic: id.Topic, Partition: id.Partition, Offset: int64(30 + o), Value: make([]byte, size)})
	}
	e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: id.Topic, Partitions: []kgo.FetchPartition{f}}}}}, now)
	held(350)
	for left := 250; left >= 50; left -= 100 {
		e.mu.Lock()
		l := e.lease(now)
		e.mu.Unlock()
		if !e.prepare(l, now) {
			t.Fatal("it is to be read again")
		}
		e.end(l, plan.Verdict{})
		held(left)
	}
}

// TestARetryStarvesNobody: what waits for its retry may be all that is held, and leave
// less room than a poll may need. A lane that has nothing gets its poll even so, but no
// second one beyond the budget.
func TestARetryStarvesNobody(t *testing.T) {
	d := newDriver(2, nil)
	defer d.stop()
	e := d.e
	e.memory.SetBudget(1 << 20) // as much as the first fetch
	e.cfg.BatchSize = 1
	e.Place([]Placement{{ID: partition.ID{Topic: "orders"}}, {ID: partition.ID{Topic: "orders", Partition: 1}}}, d.now)
	brings := func(number int32, size int) {
		p := kgo.FetchPartition{Partition: number, HighWatermark: 100}
		if size > 0 {
			p.Records = []*kgo.Record{{Topic: "orders", Partition: number, Value: make([]byte, size)}}
		}
		e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: []kgo.FetchPartition{p}}}}}, d.now)
	}
	admits := func() bool {
		e.mu.Lock()
		defer e.unlock()
		d.now = d.now.Add(reviewEvery)
		return e.admit(0, d.now).poll
	}
	brings(0, 600<<10)
	brings(1, 0) // it has records that are not here
	if admits() {
		t.Fatal("a call that is ready will free memory: nobody has to have it before")
	}
	e.mu.Lock()
	l := e.lease(d.now)
	e.mu.Unlock()
	e.prepare(l, d.now)
	if admits() {
		t.Fatal("a call that runs will free memory")
	}
	e.end(l, failed("no"))
	if !admits() {
		t.Fatal("one partition waits for a retry of the other")
	}
	brings(1, 600<<10)
	if admits() {
		t.Fatalf("%d bytes are held of %d, and there is to be another poll", e.memory.Held(), e.memory.Budget())
	}
}
