package engine

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// TestLastResponseIsKept: the last response stays alive until the next one was
// polled, so that the collector finds the same each time.
func TestLastResponseIsKept(t *testing.T) {
	d := newDriver(1, nil)
	defer d.stop()
	tp := partition.ID{Topic: "orders", Partition: 0}
	e, now := d.e, d.now
	e.memory.SetBudget(32 << 20)
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
		e.cfg.BatchSize = 1 // no record waits for more, and is copied
		e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: tp.Topic, Partitions: []kgo.FetchPartition{p}}}}}, now)
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
			e.end(l, plan.Verdict{})
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
	e.Place([]Placement{{ID: tp}}, now)

	poll(0, 8) // now it is known that the function is fast, and nothing is copied
	first := poll(2, memory.KeepLeast+8)
	is("nothing came after it", first(), true)
	const beside = 2 * (RecordOverhead + framing) // of two records
	if m := e.memory; m.Held() != 0 || m.Spare() != memory.KeepLeast+beside {
		t.Errorf("%d held and %d spare", m.Held(), m.Spare())
	}
	second := poll(4, memory.KeepLeast+8)
	is("another one came", first(), false)
	is("nothing came after it", second(), true)

	e.mu.Lock()
	e.due(now.Add(memory.KeepFor - 1))
	next := e.nextDue(now)
	e.mu.Unlock()
	is("just before its time", second(), true)
	if !next.Equal(now.Add(memory.KeepFor)) {
		t.Errorf("it is due %s after it was polled", next.Sub(now))
	}
	e.mu.Lock()
	e.due(now.Add(memory.KeepFor))
	e.mu.Unlock()
	is("after its time", second(), false)

	third := poll(6, memory.KeepLeast+8)
	e.memory.MakeRoom(32<<20 - memory.KeepLeast - beside)
	is("there is room", third(), true)
	e.memory.MakeRoom(32<<20 - memory.KeepLeast - beside + 1)
	is("there is no room", third(), false)

	fourth := poll(8, memory.KeepLeast+8)
	is("nothing came after it", fourth(), true)
	e.Leave(now)
	is("it is out of the group", fourth(), false)
	is("it is small", poll(10, memory.KeepLeast+7)(), false)
}

// TestWhatWaitsIsFreedByTheBatch, not with the response that it came in, from the first
// response on: of a function that was not called yet it is not known that it is fast.
// With a hundred partitions, half of the budget were such responses for as long as the
// first batches of Kafka lasted.
func TestWhatWaitsIsFreedByTheBatch(t *testing.T) {
	for took, wantCopied := range map[time.Duration]bool{0: true, time.Millisecond: false, time.Second: true, 2 * time.Second: true} {
		d := newDriver(1, nil)
		d.e.memory.SetBudget(64 << 20)
		d.e.cfg.BatchSize, d.e.cfg.BatchBytes = 1, 64<<20
		if took == 2*time.Second { // it is the bytes that make several calls of them
			d.e.cfg.BatchSize, d.e.cfg.BatchBytes = 8, 1<<18
		}
		tp := partition.ID{Topic: "orders"}
		d.e.Place([]Placement{{ID: tp}}, d.now)
		var offset int64
		enqueue := func(records int) {
			response := make([]byte, records<<18)
			p := kgo.FetchPartition{}
			for i := range records {
				p.Records = append(p.Records, &kgo.Record{Topic: tp.Topic, Offset: offset, Value: response[i<<18 : (i+1)<<18]})
				offset++
			}
			p.HighWatermark = offset
			d.e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: tp.Topic, Partitions: []kgo.FetchPartition{p}}}}}, d.now)
		}
		call := func() {
			d.e.mu.Lock()
			l := d.e.lease(d.now)
			d.e.mu.Unlock()
			if !d.e.prepare(l, d.now) {
				t.Fatal("a record that nobody had is to be read again")
			}
			d.now = d.now.Add(took)
			d.e.end(l, plan.Verdict{})
		}
		if took > 0 {
			enqueue(1)
			call()
		}
		enqueue(8)
		for left := int64(7); left >= 0; left-- {
			call()
			want := left
			if !wantCopied && left > 0 {
				want = 8
			}
			if held := d.e.memory.Held() >> 18; held != want {
				t.Errorf("calls of %s: %d are held of %d records, not %d", took, held, left, want)
			}
		}
		d.stop()
	}
}

// TestWhatCallsTakeSoonIsNotCopied, where memory is ample: with 1,000 partitions, a
// function of 100 ms and a budget of 1.5 GiB, copying was a quarter of the CPU.
func TestWhatCallsTakeSoonIsNotCopied(t *testing.T) {
	const record = 1 << 18 // bytes; a lane takes ten of them a second, so twenty soon
	tests := map[string]struct {
		budget int64
		queued int  // records, when more come
		waits  bool // for a retry
		come   int  // records
		copied bool
	}{
		"they are taken soon":            {budget: 64 << 20, come: 20},
		"more than are taken soon":       {budget: 64 << 20, come: 21, copied: true},
		"with what is queued":            {budget: 64 << 20, queued: 12, come: 8},
		"with what is queued, more":      {budget: 64 << 20, queued: 12, come: 9, copied: true},
		"behind a retry":                 {budget: 64 << 20, queued: 1, waits: true, come: 8, copied: true},
		"just room for a second of them": {budget: 10 * (record + 1<<10), come: 8},
		"less room than that":            {budget: 10*record - 1, come: 8, copied: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDriver(1, nil)
			defer d.stop()
			e, tp := d.e, partition.ID{Topic: "orders"}
			e.Place([]Placement{{ID: tp}}, d.now)
			e.memory.SetBudget(64 << 20)
			e.cfg.BatchSize, e.cfg.BatchBytes = 1, 64<<20
			var offset int64
			enqueue := func(records int) {
				response := make([]byte, records*record)
				p := kgo.FetchPartition{}
				for i := range records {
					p.Records = append(p.Records, &kgo.Record{Topic: tp.Topic, Offset: offset, Value: response[i*record : (i+1)*record]})
					offset++
				}
				p.HighWatermark = offset
				e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: tp.Topic, Partitions: []kgo.FetchPartition{p}}}}}, d.now)
			}
			call := func() {
				e.mu.Lock()
				l := e.lease(d.now)
				e.mu.Unlock()
				if !e.prepare(l, d.now) {
					t.Fatal("a record that nobody had is to be read again")
				}
				d.now = d.now.Add(100 * time.Millisecond)
				e.end(l, plan.Verdict{})
			}
			enqueue(1)
			call() // now it is known how long it takes
			if tt.queued > 0 {
				enqueue(tt.queued)
			}
			if tt.waits {
				e.lanes[tp].state = laneWaiting
			}
			e.memory.SetBudget(tt.budget)
			enqueue(tt.come)
			queue := e.lanes[tp].queue
			if last := queue[len(queue)-1].chunk.Records; (last != tt.come) != tt.copied {
				t.Errorf("%d records came: the last one shares its memory with %d others", tt.come, last-1)
			}
		})
	}
}
