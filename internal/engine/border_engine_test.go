package engine

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// replaces writes into each record that it gets.
func replaces(records []*kgo.Record) {
	for _, r := range records {
		r.Value = []byte("mine")
	}
}

// replaced is an engine whose function replaced the content of so many records
// and failed, so that all of them are to be read again. Nothing more is invoked.
func replaced(t *testing.T, records int64) *Engine {
	t.Helper()
	e := oneLane(func(c *Call) plan.Verdict {
		replaces(c.Records)
		return failed("no")
	}, batchesOf(int(records)), atOnce)
	e.Enqueue(brings(0, numbered(0, records)...), time.Now())
	e.until(func(l *lane) bool { return l.rewinding })
	e.mu.Lock()
	e.evict(e.rewound())
	e.holds = HoldPause
	e.unlock()
	return e
}

// TestWhatArrivesTooFarBackIsFreed: the position moves back while records are
// read again.
func TestWhatArrivesTooFarBackIsFreed(t *testing.T) {
	e := replaced(t, 10)
	e.Enqueue(brings(0, numbered(0, 5)...), time.Now())
	e.Enqueue(brings(0, numbered(3, 5)...), time.Now())
	e.mu.Lock()
	defer e.unlock()
	l := e.lanes[orders0]
	if l.count != 0 || l.work != nil || e.memory.Held() != 0 {
		t.Errorf("%d queued, work %v, and %d bytes are held", l.count, l.work, e.memory.Held())
	}
}

// TestLossWhileRecordsAreReadAgainIsTold, with what came after them.
func TestLossWhileRecordsAreReadAgainIsTold(t *testing.T) {
	e := replaced(t, 10)
	e.Enqueue(brings(50, numbered(50, 5)...), time.Now())
	e.mu.Lock()
	defer e.unlock()
	if e.counts.Lost != 50 {
		t.Errorf("50 offsets were deleted before they were handled, and %d are told", e.counts.Lost)
	}
}

// TestLaneSetBackTwiceIsReadAgainWhole: that it was to be set back already, such as
// after what could not be read, does not make the client go on after what is to be
// read again.
func TestLaneSetBackTwiceIsReadAgainWhole(t *testing.T) {
	release, called := make(chan struct{}), make(chan struct{}, 10)
	e := oneLane(func(c *Call) plan.Verdict {
		called <- struct{}{}
		<-release
		replaces(c.Records)
		return failed("no")
	}, batchesOf(10), atOnce)
	e.Enqueue(brings(0, numbered(0, 20)...), time.Now())
	<-called
	e.mu.Lock()
	e.rewind(e.lanes[orders0])
	e.unlock()
	close(release)
	e.until((*lane).rereading)
	e.mu.Lock()
	defer e.unlock()
	e.evict(e.rewound())
	if l := e.lanes[orders0]; l.next != 0 || l.rewinding || len(l.part().missing) != 10 {
		t.Errorf("%d records are to be read again, and the client goes on at %d", len(l.part().missing), l.next)
	}
}

// TestWhatIsLeftAfterALossIsTriedInOrder, and as what it is now: the first of the
// records that were tried together may be lost, and others come before the rest.
func TestWhatIsLeftAfterALossIsTriedInOrder(t *testing.T) {
	e := oneLane(func(c *Call) plan.Verdict {
		replaces(c.Records)
		throttle, stop := failure(1), failure(2)
		throttle.Outcome, stop.Stopped = plan.OutcomeThrottled, true
		v := partly(throttle, stop)
		v.Outcome, v.After = plan.OutcomeThrottled, time.Millisecond
		return v
	}, batchesOf(4), atOnce)
	e.Enqueue(brings(0, numbered(0, 4)...), time.Now())
	e.until(func(l *lane) bool { return l.frontier() == 1 && l.state == laneReady })
	e.until(func(*lane) bool { return !e.throttledUntil.After(time.Now()) })
	e.mu.Lock()
	e.kick(time.Now())
	e.unlock()
	e.until((*lane).rereading)
	e.mu.Lock()
	e.holds = HoldPause
	e.evict(e.rewound())
	e.unlock()
	e.Enqueue(brings(2, numbered(2, 2)...), time.Now())
	e.mu.Lock()
	defer e.unlock()
	l := e.lanes[orders0]
	left := l.part().left
	if len(left) != 2 || left[0].Records[0].Offset != 2 || left[1].Records[0].Offset != 3 || e.counts.Lost != 1 {
		t.Errorf("%d are lost, and left is %+v", e.counts.Lost, left)
	}
}

// TestWhatIsReadAgainPinsNothing, not even with the records that are settled.
func TestWhatIsReadAgainPinsNothing(t *testing.T) {
	e := oneLane(func(c *Call) plan.Verdict {
		replaces(c.Records[1:])
		var failures []plan.Failure
		for i := 1; i < len(c.Records); i++ {
			failures = append(failures, failure(i))
		}
		return partly(failures...)
	}, batchesOf(10), atOnce)
	e.Enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.until(func(l *lane) bool { return l.rewinding })
	e.mu.Lock()
	defer e.unlock()
	p := e.lanes[orders0].part()
	if e.memory.Held() != 0 || slices.ContainsFunc(p.kafka, func(k *kgo.Record) bool { return k != nil }) {
		t.Errorf("%d bytes are held, and the part has %v", e.memory.Held(), p.kafka)
	}
}

// TestContentAtTheSamePlaceIsNotTakenForTheOldOne: what was read stays where it
// was, so that nothing else can be there.
func TestContentAtTheSamePlaceIsNotTakenForTheOldOne(t *testing.T) {
	same := false
	e := oneLane(func(c *Call) plan.Verdict {
		r := c.Records[0]
		at, n := uintptr(unsafe.Pointer(unsafe.SliceData(r.Value))), len(r.Value)
		r.Value = nil
		for range 10 {
			runtime.GC()
			for range 2000 {
				v := bytes.Repeat([]byte("m"), n)
				if uintptr(unsafe.Pointer(unsafe.SliceData(v))) == at {
					same = true
					return succeeded
				}
			}
		}
		return succeeded
	}, batchesOf(2))
	e.Enqueue(brings(0, &kgo.Record{Topic: "orders", Value: []byte(strings.Repeat("v", 2000)), Timestamp: time.UnixMilli(1), LeaderEpoch: -1}), time.Now())
	e.mu.Lock()
	e.cfg = usual()
	e.cfg.BatchSize = 1
	e.schedule(e.lanes[orders0], time.Now())
	e.kick(time.Now())
	e.unlock()
	e.idle()
	if e.counts.Settled != 1 || same {
		t.Errorf("%d settled; something else had the place of the content: %v", e.counts.Settled, same)
	}
}

// TestPrepareBesideAReset: whether user code had records is known with the lock.
func TestPrepareBesideAReset(t *testing.T) {
	e := oneLane(succeeds, batchesOf(10))
	e.mu.Lock()
	e.holds = HoldPause
	e.unlock()
	e.Enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.mu.Lock()
	e.holds = 0
	l := e.lease(time.Now())
	e.unlock()
	var group sync.WaitGroup
	group.Go(func() { e.prepare(l, time.Now()) }) // as a worker does
	e.mu.Lock()
	e.holds = HoldPause
	anew := e.reset(e.lanes[orders0], 5, nil, time.Now()) // as the poll loop does
	if len(anew.queue) != 1 || !anew.queue[0].exposed {
		t.Errorf("what the call has is taken for new: %+v", anew.queue)
	}
	e.unlock()
	group.Wait()
}

// TestProducersThatTakeTurns make a head of each record, and a batch of such
// records takes no more than its own.
func TestProducersThatTakeTurns(t *testing.T) {
	records := numbered(0, 3000)
	for i, r := range records {
		r.ProducerID, r.LeaderEpoch = int64(i%2), int32(i/1000)
	}
	s := number(records)
	l := newLane(orders0)
	l.place(0, -1)
	for at := 0; at < len(records); at += 150 {
		c := s.cut(at, at+150, weight(s.records[at:at+150]))
		if n := len(c.heads.more); n != 149 {
			t.Fatalf("150 records have %d heads", n+1)
		}
		l.push(c.copy())
	}
	for at := 0; at < len(records); at += 100 {
		p := l.take(&room{records: 100, bytes: 1 << 30}, true)
		if n := len(p.heads.more); n != 99 {
			t.Fatalf("100 records from %d have %d heads", at, n+1)
		}
		for i, r := range p.records {
			if h := p.heads.at(r.Offset); r.Offset != int64(at+i) || *h != headOf(records[at+i]) {
				t.Fatalf("offset %d has %+v", r.Offset, *h)
			}
		}
	}
	if each := testing.AllocsPerRun(5, func() { number(records) }); each > 40 {
		t.Errorf("%v allocations for 3,000 records", each)
	}
}

// TestACallMayEndItsGoroutine: another one goes on in its place, and the verdict
// counts.
func TestACallMayEndItsGoroutine(t *testing.T) {
	const calls = 5
	var attempts []int
	out := outside{}
	e := out.engine(usual(), t.Context())
	e.world.Invoke = func(c *Call) {
		attempts = append(attempts, c.Attempt)
		if c.Verdict = failed("it did not return"); c.Attempt == calls {
			c.Verdict = succeeded
		}
		runtime.Goexit()
	}
	e.cfg.Backoff, e.cfg.BatchSize = always(0), 3
	e.pool.Resize(1, time.Now())
	e.Assign([]partition.ID{orders0}, time.Now())
	e.Place([]Placement{{ID: orders0, LeaderEpoch: -1, Committed: true}}, time.Now())
	e.Enqueue(brings(0, numbered(0, 3)...), time.Now())
	e.until(func(l *lane) bool { return l.frontier() == 3 })
	e.idle()
	if !slices.Equal(attempts, []int{1, 2, 3, 4, 5}) || e.counts.Settled != 3 || e.counts.Errors != calls-1 || e.pool.Busy() != 0 || len(e.leases) != 0 {
		t.Errorf("attempts %v: %d settled, %d errors, %d busy, %d leases", attempts, e.counts.Settled, e.counts.Errors, e.pool.Busy(), len(e.leases))
	}
}

// TestLastVerdictIsSmall, whatever it said of records.
func TestLastVerdictIsSmall(t *testing.T) {
	const n = 5000
	e := oneLane(func(*Call) plan.Verdict {
		failures := make([]plan.Failure, n)
		for i := range failures {
			failures[i] = failure(i)
			failures[i].Err = guard.Keep(errors.New(strings.Repeat(fmt.Sprint(i%10), 4000)))
		}
		return partly(failures...)
	}, batchesOf(n))
	e.Enqueue(brings(0, numbered(0, n)...), time.Now())
	e.idle()
	if e.counts.Errors != 1 || e.lanes[orders0].state != laneWaiting {
		t.Errorf("%d calls failed, and the partition is %s", e.counts.Errors, e.lanes[orders0].state)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 8<<20 {
		t.Errorf("%d MiB of heap, and %d KiB are held", m.HeapAlloc>>20, e.memory.Held()>>10)
	}
	runtime.KeepAlive(e)
}

// TestWhatAWatcherGetsIsItsOwn: it may write into it.
func TestWhatAWatcherGetsIsItsOwn(t *testing.T) {
	told := 0
	e := outside{function: succeeds, told: func(event string, args ...any) {
		if event == "revoked" {
			told++
			clear(args[0].(RevokeEvent).Partitions)
		}
	}}.oneLane()
	ids := []partition.ID{orders0}
	gone := e.Revoke(t.Context(), ids, time.Second, func() error { return nil })
	if !slices.Equal(gone, []string{"orders"}) || ids[0] != orders0 {
		t.Errorf("of %v, topics without a partition: %q", ids, gone)
	}
	e.Assign(ids, time.Now())
	e.Lose(ids, time.Now())
	if ids[0] != orders0 || told != 2 {
		t.Errorf("of %v, told %d times", ids, told)
	}
}
