package esm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
)

// What follows drives an engine of one partition by hand: polls bring what a
// test says, and its function does something to it.

var onlyPartition = partition.ID{Topic: "orders", Partition: 0}

// numbered are n records from an offset on.
func numbered(from, n int64) (records []*kgo.Record) {
	for o := from; o < from+n; o++ {
		records = append(records, &kgo.Record{Topic: "orders", Value: []byte(fmt.Sprint("v", o)), Offset: o, Timestamp: time.UnixMilli(1), LeaderEpoch: -1})
	}
	return records
}

// brings is a poll of records, of a partition whose log starts there.
func brings(logStart int64, records ...*kgo.Record) kgo.Fetches {
	return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: []kgo.FetchPartition{{Records: records, HighWatermark: 1000, LogStartOffset: logStart}}}}}}
}

// calling has the engine call this function.
func calling(inv Invoker, w *teller) world {
	return world{invoke: (&caller{invoker: inv, watch: w.watch}).invoke, unreadable: newUnreadableError}
}

func engineOf(inv InvokerFunc, opts ...Option) *engine {
	c := defaults("g").with(append([]Option{WithLogger(slog.New(slog.DiscardHandler)), WithBackoff(Constant(time.Hour))}, opts...))
	w := silentWatch(&c)
	out := worldOf(&c)
	out.invoke = calling(inv, w).invoke
	e := newEngine(&c.settings, out, w, context.Background())
	e.pool.Resize(1, time.Now())
	e.assign([]partition.ID{onlyPartition}, time.Now())
	e.place([]placement{{ID: onlyPartition, leaderEpoch: -1, committed: true}}, time.Now())
	return e
}

// until waits for what becomes true with the lock of the engine held.
func (e *engine) until(is func(l *lane) bool) {
	for {
		e.mu.Lock()
		done := is(e.lanes[onlyPartition])
		e.unlock()
		if done {
			return
		}
		runtime.Gosched()
	}
}

func (e *engine) idle() { e.until(func(*lane) bool { return e.workers == 0 }) }

// replaced is an engine whose function replaced the content of ten records and
// failed, so that all of them are to be read again. Nothing more is invoked.
func replaced(t *testing.T, records int64) *engine {
	t.Helper()
	e := engineOf(func(_ context.Context, b *Batch) error {
		for _, r := range b.Records {
			r.Value = []byte("mine")
		}
		return errors.New("no")
	}, WithBatchSize(int(records)), WithBackoff(Constant(0)))
	e.enqueue(brings(0, numbered(0, records)...), time.Now())
	e.until(func(l *lane) bool { return l.rewinding })
	e.mu.Lock()
	e.evict(e.rewound())
	e.holds = holdPause
	e.unlock()
	return e
}

// TestWhatArrivesTooFarBackIsFreed: the position moves back while records are
// read again.
func TestWhatArrivesTooFarBackIsFreed(t *testing.T) {
	e := replaced(t, 10)
	e.enqueue(brings(0, numbered(0, 5)...), time.Now())
	e.enqueue(brings(0, numbered(3, 5)...), time.Now())
	e.mu.Lock()
	defer e.unlock()
	l := e.lanes[onlyPartition]
	if l.count != 0 || l.work != nil || e.memory.Held() != 0 {
		t.Errorf("%d queued, work %v, and %d bytes are held", l.count, l.work, e.memory.Held())
	}
}

// TestLossWhileRecordsAreReadAgainIsTold, with what came after them.
func TestLossWhileRecordsAreReadAgainIsTold(t *testing.T) {
	e := replaced(t, 10)
	e.enqueue(brings(50, numbered(50, 5)...), time.Now())
	e.mu.Lock()
	defer e.unlock()
	if e.counts.lost != 50 {
		t.Errorf("50 offsets were deleted before they were handled, and %d are told", e.counts.lost)
	}
}

// TestLaneSetBackTwiceIsReadAgainWhole: that it was to be set back already, such as
// after what could not be read, does not make the client go on after what is to be
// read again.
func TestLaneSetBackTwiceIsReadAgainWhole(t *testing.T) {
	release, called := make(chan struct{}), make(chan struct{}, 10)
	e := engineOf(func(_ context.Context, b *Batch) error {
		called <- struct{}{}
		<-release
		for _, r := range b.Records {
			r.Value = []byte("mine")
		}
		return errors.New("no")
	}, WithBatchSize(10), WithBackoff(Constant(0)))
	e.enqueue(brings(0, numbered(0, 20)...), time.Now())
	<-called
	e.mu.Lock()
	e.rewind(e.lanes[onlyPartition])
	e.unlock()
	close(release)
	e.until((*lane).rereading)
	e.mu.Lock()
	defer e.unlock()
	e.evict(e.rewound())
	if l := e.lanes[onlyPartition]; l.next != 0 || l.rewinding || len(l.part().missing) != 10 {
		t.Errorf("%d records are to be read again, and the client goes on at %d", len(l.part().missing), l.next)
	}
}

// TestWhatIsLeftAfterALossIsTriedInOrder, and as what it is now: the first of the
// records that were tried together may be lost, and others come before the rest.
func TestWhatIsLeftAfterALossIsTriedInOrder(t *testing.T) {
	e := engineOf(func(_ context.Context, b *Batch) error {
		var f Failures
		f.Add(b.Records[1], Throttled(time.Millisecond, nil))
		f.StopAt(b.Records[2], errors.New("no"))
		for _, r := range b.Records {
			r.Value = []byte("mine")
		}
		return f.Err()
	}, WithBatchSize(4), WithBackoff(Constant(0)))
	e.enqueue(brings(0, numbered(0, 4)...), time.Now())
	e.until(func(l *lane) bool { return l.frontier() == 1 && l.state == laneReady })
	e.until(func(*lane) bool { return !e.throttledUntil.After(time.Now()) })
	e.mu.Lock()
	e.kick(time.Now())
	e.unlock()
	e.until((*lane).rereading)
	e.mu.Lock()
	e.holds = holdPause
	e.evict(e.rewound())
	e.unlock()
	e.enqueue(brings(2, numbered(2, 2)...), time.Now())
	e.mu.Lock()
	defer e.unlock()
	l := e.lanes[onlyPartition]
	left := l.part().left
	if len(left) != 2 || left[0].Records[0].Offset != 2 || left[1].Records[0].Offset != 3 || e.counts.lost != 1 {
		t.Errorf("%d are lost, and left is %+v", e.counts.lost, left)
	}
}

// TestWhatIsReadAgainPinsNothing, not even with the records that are settled.
func TestWhatIsReadAgainPinsNothing(t *testing.T) {
	e := engineOf(func(_ context.Context, b *Batch) error {
		var f Failures
		for _, r := range b.Records[1:] {
			r.Value = []byte("mine")
			f.Add(r, errors.New("no"))
		}
		return f.Err()
	}, WithBatchSize(10), WithBackoff(Constant(0)))
	e.enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.until(func(l *lane) bool { return l.rewinding })
	e.mu.Lock()
	defer e.unlock()
	p := e.lanes[onlyPartition].part()
	if e.memory.Held() != 0 || slices.ContainsFunc(p.kafka, func(k *kgo.Record) bool { return k != nil }) {
		t.Errorf("%d bytes are held, and the part has %v", e.memory.Held(), p.kafka)
	}
}

// TestContentAtTheSamePlaceIsNotTakenForTheOldOne: what was read stays where it
// was, so that nothing else can be there.
func TestContentAtTheSamePlaceIsNotTakenForTheOldOne(t *testing.T) {
	same := false
	e := engineOf(func(_ context.Context, b *Batch) error {
		r := b.Records[0]
		at, n := uintptr(unsafe.Pointer(unsafe.SliceData(r.Value))), len(r.Value)
		r.Value = nil
		for range 10 {
			runtime.GC()
			for range 2000 {
				v := bytes.Repeat([]byte("m"), n)
				if uintptr(unsafe.Pointer(unsafe.SliceData(v))) == at {
					same = true
					return nil
				}
			}
		}
		return nil
	}, WithBatchSize(2))
	e.enqueue(brings(0, &kgo.Record{Topic: "orders", Value: []byte(strings.Repeat("v", 2000)), Timestamp: time.UnixMilli(1), LeaderEpoch: -1}), time.Now())
	e.mu.Lock()
	c := defaults("g").with([]Option{WithBatchSize(1)})
	e.cfg = &c.settings
	e.schedule(e.lanes[onlyPartition], time.Now())
	e.kick(time.Now())
	e.unlock()
	e.idle()
	if e.counts.settled != 1 || same {
		t.Errorf("%d settled; something else had the place of the content: %v", e.counts.settled, same)
	}
}

// TestPrepareBesideAReset: whether user code had records is known with the lock.
func TestPrepareBesideAReset(t *testing.T) {
	e := engineOf(func(context.Context, *Batch) error { return nil }, WithBatchSize(10))
	e.mu.Lock()
	e.holds = holdPause
	e.unlock()
	e.enqueue(brings(0, numbered(0, 10)...), time.Now())
	e.mu.Lock()
	e.holds = 0
	l := e.lease(time.Now())
	e.unlock()
	var group sync.WaitGroup
	group.Go(func() { e.prepare(l, time.Now()) }) // as a worker does
	e.mu.Lock()
	e.holds = holdPause
	anew := e.reset(e.lanes[onlyPartition], 5, nil, time.Now()) // as the poll loop does
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
	l := newLane(onlyPartition)
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

// TestLongReasonOfARecord does not make it another kind of failure.
func TestLongReasonOfARecord(t *testing.T) {
	long := errors.New(strings.Repeat("x", 5000))
	records := numbered(0, 2)
	for name, err := range map[string]error{"permanent": Permanent(long), "too large": TooLarge(long), "throttled": Throttled(time.Second, long)} {
		var f Failures
		f.Add(records[0], err)
		shares, _ := sharesOf(&Batch{Records: records})
		v := judge(f.Err(), nil)
		v.resolve(shares)
		if got := Outcome(v.Failures[0].Outcome); got != Classify(context.Background(), err) {
			t.Errorf("%s with a long reason: %v", name, got)
		}
		if n := len(v.Failures[0].Err.Error()); n > 5000 {
			t.Errorf("%s: %d bytes are kept", name, n)
		}
	}
}

type panicsInIs struct{}

func (panicsInIs) Error() string { return "nasty" }
func (panicsInIs) Is(error) bool { panic("no") }

type holdsItself struct{}

func (holdsItself) Error() string   { return "round" }
func (h holdsItself) Unwrap() error { return h }

type holdsItselfTwice struct{}

func (holdsItselfTwice) Error() string     { return "round and round" }
func (h holdsItselfTwice) Unwrap() []error { return []error{h, h} }

// TestNastyErrorOfARecord is a failure of that record, and of no other one.
func TestNastyErrorOfARecord(t *testing.T) {
	for _, nasty := range []error{panicsInIs{}, holdsItself{}, holdsItselfTwice{}} {
		records := numbered(0, 9)
		var f Failures
		for _, r := range records[:5] {
			f.Add(r, nasty)
		}
		f.Add(records[5], errors.New("plain"))
		if got := len(SettledOf(context.Background(), &Batch{Records: records}, f.Err())); got != 3 {
			t.Errorf("%T: %d of 9 are settled, where 6 were said to fail", nasty, got)
		}
	}
}

// TestPanicSaysNothingOfSingleRecords: the call did not come to the others.
func TestPanicSaysNothingOfSingleRecords(t *testing.T) {
	e := engineOf(func(_ context.Context, b *Batch) error {
		var f Failures
		f.Add(b.Records[0], errors.New("plain"))
		panic(f.Err())
	}, WithBatchSize(3))
	e.enqueue(brings(0, numbered(0, 3)...), time.Now())
	e.idle()
	if e.counts.settled > 0 || e.counts.errors != 1 {
		t.Errorf("the call panicked: %d records are settled, %d errors", e.counts.settled, e.counts.errors)
	}
	for err, want := range map[error]Outcome{Permanent(nil): OutcomeFailure, Halt(nil): OutcomeHalt, Throttled(time.Second, nil): OutcomeThrottled} {
		if v := judge(&PanicError{Value: err}, nil); Outcome(v.Outcome) != want {
			t.Errorf("panic(%v): %v", err, v.Outcome)
		}
	}
}

// TestSettledOfRecordsWithOneOffset, as a client leaves them that is asked to
// produce without acks.
func TestSettledOfRecordsWithOneOffset(t *testing.T) {
	records := numbered(0, 3)
	for _, r := range records {
		r.Offset = -1
	}
	var f Failures
	f.Add(records[0], errors.New("plain"))
	if got := SettledOf(context.Background(), &Batch{Records: records}, f.Err()); !slices.Equal(got, records[1:]) {
		t.Errorf("%v", got)
	}
}

// TestBackoffIsAskedByManyAtOnce: that it is being asked is no reason not to.
func TestBackoffIsAskedByManyAtOnce(t *testing.T) {
	release, got := make(chan struct{}), make(chan time.Duration, 20)
	var asked sync.WaitGroup
	asked.Add(20)
	b := backoffs{of: func(int) time.Duration { asked.Done(); <-release; return time.Hour }}
	for range 20 {
		go func() {
			got <- b.after(1)
		}()
	}
	asked.Wait()
	close(release)
	for range 20 {
		if d := <-got; d != time.Hour {
			t.Errorf("%s", d)
		}
	}
	if n := b.behind.Load(); n != 0 {
		t.Errorf("%d are behind", n)
	}
}

// TestLastResultIsSmall, whatever it said of records.
func TestLastResultIsSmall(t *testing.T) {
	const n = 5000
	e := engineOf(func(_ context.Context, b *Batch) error {
		var f Failures
		for i, r := range b.Records {
			f.Add(r, errors.New(strings.Repeat(fmt.Sprint(i%10), 4000)))
		}
		return f.Err()
	}, WithBatchSize(n))
	e.enqueue(brings(0, numbered(0, n)...), time.Now())
	e.idle()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 8<<20 {
		t.Errorf("%d MiB of heap, and %d KiB are held", m.HeapAlloc>>20, e.memory.Held()>>10)
	}
	runtime.KeepAlive(e)
}

// TestRevokedHookMayWriteIntoItsPartitions.
func TestRevokedHookMayWriteIntoItsPartitions(t *testing.T) {
	e := engineOf(func(context.Context, *Batch) error { return nil }, WithHooks(Hooks{Revoked: func(i Rebalance) { clear(i.Partitions) }}))
	gone := e.revoke(t.Context(), []partition.ID{onlyPartition}, time.Second, func() error { return nil })
	if !slices.Equal(gone, []string{"orders"}) {
		t.Errorf("topics without a partition: %q", gone)
	}
}
