package esm

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A driver moves an engine without goroutines, in virtual time, and checks
// each step against what is promised.
type driver struct {
	t   *testing.T
	rng *rand.Rand
	e   *engine

	topics  map[TopicPartition]*naiveLane
	running []*lease
	fresh   int64 // records of first attempts
}

// A naiveLane is what a partition is said to be: records that are settled one
// batch after the other.
type naiveLane struct {
	sizes    []int64 // of all records that were ever there, by offset
	arrived  int64   // how many the lane was given
	settled  int64   // how many are settled
	inFlight bool
	tried    []int64 // the offsets of the batch that is tried again, first and last
	assigned bool
}

func newDriver(t *testing.T, seed uint64) *driver {
	rng := rand.New(rand.NewPCG(seed, 7))
	c := defaults("g").with([]Option{
		WithBatchSize(1 + rng.IntN(20)), WithBatchBytes(1 + rng.IntN(2000)),
		WithBatchWindow(time.Duration(rng.IntN(3)) * time.Second),
		WithPollerConcurrency(1 + rng.IntN(4)), WithPollerByteRate(Unlimited),
		WithLogger(slog.New(slog.DiscardHandler)), WithBackoff(Constant(time.Duration(rng.IntN(3)) * time.Second)),
	})
	inv := InvokerFunc(func(context.Context, *Batch) error { panic("nobody calls this") })
	d := &driver{t: t, rng: rng, topics: map[TopicPartition]*naiveLane{}}
	d.e = newEngine(&c, inv, newWatch(&c), context.Background())
	d.e.spawning = true // no workers: the test is the only one
	d.e.pool.resize(1+rng.IntN(3), time.Now())
	for p := range int32(1 + rng.IntN(12)) {
		tp := TopicPartition{"orders", p}
		d.topics[tp] = &naiveLane{}
		d.assign(tp)
	}
	return d
}

func (d *driver) assign(tp TopicPartition) {
	n := d.topics[tp]
	d.e.assign([]TopicPartition{tp}, time.Now())
	d.e.place([]placement{{tp: tp, at: n.settled, leaderEpoch: -1, committed: true}})
	n.arrived, n.assigned, n.tried = n.settled, true, nil
}

// poll brings some of a partition's records.
func (d *driver) poll(tp TopicPartition, most int) {
	n := d.topics[tp]
	if !n.assigned {
		return
	}
	fetched := kgo.FetchPartition{Partition: tp.Partition, HighWatermark: int64(len(n.sizes)) + 1000}
	for range 1 + d.rng.IntN(most) {
		if n.arrived == int64(len(n.sizes)) {
			n.sizes = append(n.sizes, d.rng.Int64N(700))
		}
		fetched.Records = append(fetched.Records, &kgo.Record{Topic: tp.Topic, Partition: tp.Partition, Offset: n.arrived, Value: make([]byte, n.sizes[n.arrived])})
		n.arrived++
	}
	d.e.enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: tp.Topic, Partitions: []kgo.FetchPartition{fetched}}}}}, time.Now())
}

// lease starts an invocation, if there is one to start, and judges it.
func (d *driver) lease() bool {
	e, c := d.e, d.e.cfg
	e.mu.Lock()
	e.due(time.Now())
	l := e.lease(time.Now())
	e.unlock()
	if l == nil {
		return false
	}
	d.running = append(d.running, l)
	bytes, parts, fresh := int64(0), 0, false
	for tp, records := range l.batch.ByPartition() {
		parts++
		n := d.topics[tp]
		if n.inFlight {
			d.t.Fatalf("%v is in flight already", tp)
		}
		if !n.assigned {
			d.t.Fatalf("%v is not assigned", tp)
		}
		n.inFlight = true
		first, last := records[0].Offset, records[len(records)-1].Offset
		if first != n.settled || last-first+1 != int64(len(records)) {
			d.t.Fatalf("%v: a batch of %d records from %d to %d, and all below %d is settled", tp, len(records), first, last, n.settled)
		}
		if n.tried != nil && (first != n.tried[0] || last != n.tried[1]) {
			d.t.Fatalf("%v: tried %d to %d again as %d to %d", tp, n.tried[0], n.tried[1], first, last)
		}
		if n.tried == nil {
			n.tried, fresh = []int64{first, last}, true
			d.fresh += int64(len(records))
		}
		for _, r := range records {
			bytes += int64(len(r.Value))
		}
	}
	if got := len(l.batch.Records); got > c.batchSize || bytes > int64(c.batchBytes) && got > 1 {
		d.t.Fatalf("a batch of %d records and %d bytes, of %d and %d", got, bytes, c.batchSize, c.batchBytes)
	}
	// Of a batch that is not full nothing stays behind that would fit.
	for i := range l.work.parts {
		q := l.work.parts[i].lane
		if !fresh || q.count == 0 {
			continue
		}
		if parts > 1 || len(l.batch.Records) < c.batchSize && bytes+q.queue[0].bytes(1) <= int64(c.batchBytes) {
			d.t.Fatalf("%v: %d records stayed behind in a batch of %d", q.TopicPartition, q.count, len(l.batch.Records))
		}
	}
	return true
}

// end ends one of the invocations that run.
func (d *driver) end(i int, v verdict) {
	l := d.running[i]
	d.running = append(d.running[:i], d.running[i+1:]...)
	dead := map[TopicPartition]bool{}
	for i := range l.work.parts {
		dead[l.work.parts[i].lane.TopicPartition] = l.work.parts[i].lane.dead
	}
	d.e.end(l, v)
	for tp, records := range l.batch.ByPartition() {
		n := d.topics[tp]
		n.inFlight = false
		if v.outcome == OutcomeSuccess && !dead[tp] {
			n.settled = records[len(records)-1].Offset + 1
			n.tried = nil
		}
	}
}

// weigh counts what is held by looking at everything that is there.
func (d *driver) weigh() (held int64) {
	seen := map[*chunk]bool{}
	count := func(c *chunk, records int) {
		if !seen[c] {
			held += c.bytes
		}
		seen[c] = true
		held += int64(records) * recordOverhead
	}
	works := map[*work]bool{}
	for _, l := range d.running {
		works[l.work] = true
	}
	for _, l := range d.e.lanes {
		for _, s := range l.queue {
			count(s.memory, len(s.records))
		}
		if l.work != nil {
			works[l.work] = true
		}
	}
	for w := range works {
		for _, p := range w.parts {
			for _, m := range p.pieces {
				count(m.memory, m.records)
			}
		}
	}
	return held
}

func (d *driver) step() {
	if got, want := d.e.memory.held, d.weigh(); got != want {
		d.t.Fatalf("%d bytes are said to be held, and %d are", got, want)
	}
	switch op := d.rng.IntN(20); {
	case op < 6:
		d.poll(TopicPartition{"orders", d.rng.Int32N(int32(len(d.topics)))}, 40)
	case op < 11:
		d.lease()
	case op < 16 && len(d.running) > 0:
		v := verdict{outcome: OutcomeSuccess}
		switch d.rng.IntN(6) {
		case 0, 1:
			v = judge(errors.New("no"), nil)
		case 2:
			v = judge(Throttled(time.Second, nil), nil)
		}
		d.end(d.rng.IntN(len(d.running)), v)
	case op == 16:
		tp := TopicPartition{"orders", d.rng.Int32N(int32(len(d.topics)))}
		if n := d.topics[tp]; n.assigned {
			d.e.lose([]TopicPartition{tp}, time.Now())
			n.assigned, n.tried = false, nil
		} else {
			d.assign(tp)
		}
	case op == 17:
		d.e.mu.Lock()
		d.e.scale(1+d.rng.IntN(5), "", time.Now())
		d.e.unlock()
	default:
		time.Sleep(time.Duration(d.rng.Int64N(int64(time.Second))))
	}
}

// finish brings everything to its end.
func (d *driver) finish() {
	for len(d.running) > 0 {
		d.end(0, verdict{outcome: OutcomeSuccess})
	}
	for tp, n := range d.topics {
		if !n.assigned {
			d.assign(tp)
		}
	}
	for range 10_000 {
		for d.lease() {
			d.end(len(d.running)-1, verdict{outcome: OutcomeSuccess})
		}
		left := false
		for _, n := range d.topics {
			left = left || n.settled < n.arrived
		}
		if !left {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for tp, n := range d.topics {
		if n.settled != n.arrived {
			d.t.Fatalf("%v: %d arrived, %d settled: %+v", tp, n.arrived, n.settled, d.e.partitions(nil, time.Now()))
		}
		if got := d.e.lanes[tp].frontier(); got != n.settled {
			d.t.Fatalf("%v: the frontier is %d, not %d", tp, got, n.settled)
		}
	}
	if d.e.memory.held != 0 || len(d.e.busy) != 0 || d.e.pool.busy != 0 || len(d.e.leases) != 0 {
		d.t.Fatalf("at the end: %d bytes held, %d busy, %d leases", d.e.memory.held, len(d.e.busy), len(d.e.leases))
	}
}

// TestEngineAgreesWithANaiveOne is invariants 1 and 2, and the rules of batch
// assembly, against a model that is too simple to be wrong.
func TestEngineAgreesWithANaiveOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := int64(0)
		for seed := range uint64(400) {
			d := newDriver(t, seed)
			for range 300 {
				d.step()
			}
			d.finish()
			records += d.fresh
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		if records < 100_000 {
			t.Errorf("only %d records", records)
		}
	})
}
