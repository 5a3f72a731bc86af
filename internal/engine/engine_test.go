package engine

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/mark"
	"github.com/seed429fd032/esm/internal/memory"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/internal/testing/build"
	"github.com/seed429fd032/esm/scaling"
)

var (
	scenarios = flag.Int("scenarios", build.Volume(2_000, 500), "how many random scenarios the engine is driven through")
	replay    = flag.String("replay", "", "SEED:STEP,STEP,... of a scenario to run alone, as a failure prints it")
)

// errTooLong is why a call is cancelled that took too long.
var errTooLong = errors.New("the call took too long")

// A driver moves an engine step by step, and compares each step with a model of it
// that is too simple to be wrong: it knows records one by one, and looks through
// all of them.
type driver struct {
	seed  uint64
	rng   *rand.Rand // of this step
	now   time.Time
	e     *Engine
	stop  context.CancelFunc
	trace io.Writer     // nil for none
	also  func(*driver) // judges each step too, if not nil

	deliveries []*delivery // that have not ended
	delivering *delivery   // the one that runs
	leaving    []*leaving

	lanes   map[partition.ID]*naiveLane
	calls   []*naiveCall
	sending []Frontier     // a commit that is on its way
	answers []CommitAnswer // and what became of it, once it was sent
	fresh   int            // records of first attempts
	told    int            // records that a destination took
	reread  int            // calls with records that had been changed
	passed  int            // batches that could not be read
	lost    int            // offsets that were told as taken by retention
	marked  int            // assignments that began with a commit that said more than its offset
	spared  int            // records that did not come again for it
	ill     bool           // the first partition is throttled more often than not
	blamed  int            // parts of calls whose throttle was a failure
	story   []bool         // what became of calls: true is an answer, false a new throttle
	refused []time.Time    // refusals in a row
}

// A naiveLane is a partition.
type naiveLane struct {
	records   []naiveRecord
	arrived   int       // what is polled next
	logStart  int       // where its log starts
	committed int       // what the group has
	mark      mark.Mark // and what that says is settled above it
	epoch     int
	assigned  bool
	draining  bool // it is being given up, and gets nothing more
	inFlight  bool // an invocation or a delivery, of any epoch
	parked    bool // a batch of it was put together and given back
	giving    int  // the offset that was delivered last, -1 if it was invoked since
	repeats   map[string]int
	most      int // records of the next invocation at most, after a split,
	together  int // and partitions, until its batch is settled
}

// A naiveRecord is what is known of one record, in the epoch of its lane.
type naiveRecord struct {
	hole      bool // an offset without a record
	bad       int  // if it cannot be read: the offset after the last one of its batch
	size      int  // of the value
	at        time.Time
	taken     bool // it is or was in a batch
	done      bool // settled or delivered
	said      bool // settled or delivered as the commit says, and not here yet;
	doubted   bool // as it says, and is not to be believed when something comes
	searching bool
	attempts  int
	notBefore time.Time
	reason    plan.Reason
	naiveSuspicion
}

// A naiveSuspicion is what is held against a record, and how many records were
// tried with it then.
type naiveSuspicion struct{ throttles, times, from, among int }

func (s *naiveSuspicion) cut() { s.times, s.among = min(s.times, 2), 0 }

// A naiveCall is an invocation that runs.
type naiveCall struct {
	lease  *lease
	epochs map[partition.ID]int
	order  []partition.ID
	had    map[partition.ID][]*kgo.Record
	at     map[*kgo.Record]int // their offsets, whatever is written into them
}

// each ranges over its partitions, in the order of the batch.
func (c *naiveCall) each() iter.Seq2[partition.ID, []*kgo.Record] {
	return func(yield func(partition.ID, []*kgo.Record) bool) {
		for _, tp := range c.order {
			if !yield(tp, c.had[tp]) {
				return
			}
		}
	}
}

// A naiveFailure is what a function says of a record: of a call of one record it
// would be this verdict.
type naiveFailure struct {
	tp      partition.ID
	offset  int // -1 if it is none of the batch
	says    plan.Verdict
	stopped bool
}

func newDriver(seed uint64, trace io.Writer) *driver {
	d := &driver{seed: seed, now: time.UnixMilli(1_700_000_000_000).UTC(), trace: trace, lanes: map[partition.ID]*naiveLane{}}
	d.turnTo(-2)
	rng := d.rng
	s := usual()
	s.BatchSize, s.BatchBytes = 1+rng.IntN(20), 1+rng.IntN(2000)
	s.BatchWindow = time.Duration(rng.IntN(3)) * time.Second
	s.PollerConcurrency, s.PollerByteRate = 1+rng.IntN(4), -1
	s.Backoff = always(time.Duration(rng.IntN(3)) * time.Second)
	s.Bisect = rng.IntN(2) == 0
	s.Discards = rng.IntN(3) > 0
	if s.Discards {
		if rng.IntN(3) > 0 {
			s.MaxRetries = rng.IntN(4)
		}
		if rng.IntN(3) == 0 {
			s.MaxRecordAge = time.Minute
		}
	}
	base, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.e = New(s, World{
		Unreadable: newCorruption, Halted: func(error) {}, Deliver: d.deliver, Now: func() time.Time { return d.now }, Go: d.spawn,
	}, &recorder{told: d.hear, calls: trace != nil}, base)
	d.e.idPrefix = ""
	d.e.spawning = true // no workers: the driver is the only one
	d.e.evidence.Others, d.e.evidence.Fail, d.ill = int64(1+rng.IntN(2)), 2+rng.IntN(3), rng.IntN(3) == 0
	d.e.pool.Resize(1+rng.IntN(3), d.now)
	for p := range int32(1 + rng.IntN(6)) {
		tp := partition.ID{Topic: "orders", Partition: p}
		d.lanes[tp] = &naiveLane{}
		d.assign(tp)
	}
	return d
}

// partitions lists them in order: the order of a map would make each run
// another one.
func (d *driver) partitions() (tps []partition.ID) {
	for p := range len(d.lanes) {
		tps = append(tps, partition.ID{Topic: "orders", Partition: int32(p)})
	}
	return tps
}

// turnTo has a step begin. What it does depends on its number only, and on what
// there is: it is the same when others are left out.
func (d *driver) turnTo(step int) {
	d.rng = rand.New(rand.NewPCG(d.seed, uint64(step)+7))
	d.note("step %d", step)
}

// note writes down what happens, and where the partitions are.
func (d *driver) note(format string, args ...any) {
	if d.trace == nil {
		return
	}
	fmt.Fprintf(d.trace, format, args...)
	for _, tp := range d.partitions() {
		if l := d.e.lanes[tp]; l != nil {
			fmt.Fprintf(d.trace, " | %d %s frontier %d (%d) next %d committed %d", tp.Partition, l.state, l.frontier(), d.lanes[tp].frontier(), l.next, l.committed)
		}
	}
	fmt.Fprintln(d.trace)
}

// wrong says what does not hold. It ends the scenario.
func (d *driver) wrong(format string, args ...any) { panic(fmt.Errorf(format, args...)) }

func (n *naiveLane) frontier() int {
	for i := range n.records {
		if !n.records[i].done {
			return i
		}
	}
	return len(n.records)
}

// open reports whether a batch of the lane is not settled yet.
func (n *naiveLane) open() bool {
	return slices.ContainsFunc(n.records, func(r naiveRecord) bool { return r.taken && !r.done })
}

// anew forgets what became of records.
func (n *naiveLane) anew(from int) {
	for i := from; i < len(n.records); i++ {
		r := &n.records[i]
		n.records[i] = naiveRecord{size: r.size, at: r.at, hole: r.hole, bad: r.bad, done: r.hole}
	}
}

// content is what a record has in it, which depends on nothing but which it is.
func content(tp partition.ID, offset, size int) (key, value []byte, headers []kgo.RecordHeader) {
	if offset%3 == 0 {
		key = fmt.Appendf(nil, "key %v %d", tp, offset)
	}
	if offset%5 > 0 {
		value = bytes.Repeat([]byte{byte(offset)}, size)
	}
	for i := range offset % 4 {
		headers = append(headers, kgo.RecordHeader{Key: fmt.Sprint("header", i), Value: key})
	}
	return key, value, headers
}

func (m *naiveRecord) weight(tp partition.ID, offset int) int64 {
	key, value, headers := content(tp, offset, m.size)
	n := len(key) + len(value)
	for _, h := range headers {
		n += len(h.Key) + len(h.Value)
	}
	return int64(n)
}

// judgeContent is that what user code gets is what Kafka has, whatever it did
// with it before.
func (d *driver) judgeContent(tp partition.ID, offset int, m *naiveRecord, r *kgo.Record) error {
	key, value, headers := content(tp, offset, m.size)
	same := bytes.Equal(key, r.Key) && (key == nil) == (r.Key == nil) && bytes.Equal(value, r.Value) && (value == nil) == (r.Value == nil) &&
		slices.EqualFunc(headers, r.Headers, func(a, b kgo.RecordHeader) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) })
	if !same || r.Topic != tp.Topic || r.Partition != tp.Partition || r.Offset != int64(offset) || r.LeaderEpoch != 3 ||
		r.ProducerID != int64(offset+7) || r.ProducerEpoch != 5 || r.Timestamp.UnixMilli() != m.at.UnixMilli() {
		return fmt.Errorf("%v offset %d is handed over as %+v", tp, offset, *r)
	}
	return nil
}

// assign begins at what the group has.
func (d *driver) assign(tp partition.ID) {
	n := d.lanes[tp]
	at := n.committed
	n.anew(at)
	for i := range at { // where it went back, that is forgotten
		n.records[i].done = true
	}
	n.arrived, n.assigned, n.repeats, n.most, n.together, n.giving = at, true, map[string]int{}, 0, 0, -1
	d.e.Assign([]partition.ID{tp}, d.now)
	d.place(tp)
}

// place begins at what the group has, and says what that says is settled above it:
// now and then of an earlier leader than that of the records, which is not to be
// believed.
func (d *driver) place(tp partition.ID) {
	n := d.lanes[tp]
	m := n.mark
	if d.rng.IntN(6) == 0 {
		m.Epoch--
	}
	m.Runs = slices.Clone(m.Runs)
	d.e.Place([]Placement{{ID: tp, At: int64(n.committed), LeaderEpoch: -1, Committed: true, Mark: m}}, d.now)
	for _, r := range m.Runs {
		for o := r.Lo; o < r.Hi; o++ {
			r := &n.records[o]
			r.said, r.doubted = !r.hole && m.Epoch == n.mark.Epoch, !r.hole && m.Epoch < n.mark.Epoch
		}
	}
	if len(m.Runs) > 0 {
		d.marked++
	}
}

// poll brings some of a partition's records, or, if retention took them all,
// none.
func (d *driver) poll(tp partition.ID, most int) {
	if had, gets := d.owned(d.lanes[tp]); had && gets && d.unreadable(tp) < 0 {
		d.bring(tp, d.fetch(tp, most))
	}
}

// bring hands over what was fetched.
func (d *driver) bring(tp partition.ID, fetched kgo.FetchPartition) {
	if tooLarge := (*kgo.ErrDecompressTooLarge)(nil); errors.As(fetched.Err, &tooLarge) {
		d.e.Said(tp, fetched.Err, tooLarge.NextOffset)
	}
	d.e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: tp.Topic, Partitions: []kgo.FetchPartition{fetched}}}}}, d.now)
	d.position(tp)
}

// fetch is what a broker answers.
func (d *driver) fetch(tp partition.ID, most int) kgo.FetchPartition {
	n := d.lanes[tp]
	fetched := kgo.FetchPartition{Partition: tp.Partition, HighWatermark: int64(len(n.records)) + 1000, LogStartOffset: int64(n.logStart)}
	arrives := max(n.arrived, n.logStart)
	if arrives > n.arrived && d.rng.IntN(2) == 0 {
		return fetched
	}
	for range 1 + d.rng.IntN(most) {
		if arrives == len(n.records) {
			at := d.now
			if d.rng.IntN(8) == 0 {
				at = at.Add(-time.Duration(d.rng.IntN(90)) * time.Second)
			}
			if d.rng.IntN(10) == 0 {
				n.records = append(n.records, naiveRecord{hole: true, done: true})
			}
			n.records = append(n.records, naiveRecord{size: d.rng.IntN(700), at: at})
		}
		for n.records[arrives].hole {
			arrives++
			if arrives == len(n.records) {
				n.records = append(n.records, naiveRecord{size: d.rng.IntN(700), at: d.now})
			}
		}
		m := n.records[arrives]
		if m.bad > 0 {
			if len(fetched.Records) == 0 {
				fetched.Err = &kgo.ErrDecompressTooLarge{Topic: tp.Topic, Partition: tp.Partition, Offset: int64(arrives), NextOffset: int64(m.bad)}
			}
			break
		}
		r := &kgo.Record{Topic: tp.Topic, Partition: tp.Partition, Offset: int64(arrives), Timestamp: m.at, LeaderEpoch: 3, ProducerID: int64(arrives + 7), ProducerEpoch: 5}
		r.Key, r.Value, r.Headers = content(tp, arrives, m.size)
		fetched.Records = append(fetched.Records, r)
		arrives++
	}
	return fetched
}

// retain moves the start of a partition's log. The engine hears of it when a
// broker is asked, or from what is polled next. A response may be under way
// meanwhile that has what is gone.
func (d *driver) retain(tp partition.ID) {
	n := d.lanes[tp]
	underWay := d.fetch(tp, 40)
	for range d.rng.IntN(len(n.records) - n.logStart + 1) {
		if m := n.records[n.logStart]; m.bad > 0 && !m.done {
			break // what is to be passed over is there until it was
		}
		n.logStart++
	}
	asks, comes := d.rng.IntN(3) > 0, d.rng.IntN(3) == 0
	if _, gets := d.owned(n); asks && gets {
		d.e.ObserveStarts(map[partition.ID]LogStart{tp: {Offset: int64(n.logStart), LeaderEpoch: 3}}, d.now)
		d.position(tp)
	}
	if _, gets := d.owned(n); comes && gets {
		d.bring(tp, underWay)
	}
}

// spoil writes a batch that cannot be read.
func (d *driver) spoil(tp partition.ID) {
	n := d.lanes[tp]
	size := 1 + d.rng.IntN(4)
	n.records = append(n.records, naiveRecord{at: d.now, bad: len(n.records) + size})
	for range size - 1 {
		n.records = append(n.records, naiveRecord{hole: true, done: true})
	}
}

// unreadable is the offset from which a partition cannot be read, as the engine
// says, or -1.
func (d *driver) unreadable(tp partition.ID) int64 {
	d.e.mu.Lock()
	defer d.e.mu.Unlock()
	if l := d.e.lanes[tp]; l != nil && l.unreadable != nil {
		return l.unreadable.From
	}
	return -1
}

// badAt is the batch that cannot be read at an offset or after the gap there.
func (n *naiveLane) badAt(at int) int {
	for n.records[at].bad == 0 {
		at++
	}
	return at
}

// pass has what cannot be read passed over.
func (d *driver) pass(tp partition.ID) {
	from := d.unreadable(tp)
	if from < 0 {
		return
	}
	n := d.lanes[tp]
	n.records[n.badAt(int(from))].reason = plan.ReasonUnreadable
	d.passed++
	if err := d.e.Skip(tp, from, d.now); err != nil {
		d.wrong("%v: %v", tp, err)
	}
	d.position(tp)
}

// hear is told what happens.
func (d *driver) hear(event string, args ...any) {
	if d.trace != nil {
		fmt.Fprintf(d.trace, "   %s", event)
		for _, a := range args {
			if e, ok := a.(DiscardEvent); ok {
				r := e.Record
				e.Record = nil
				fmt.Fprintf(d.trace, " %s/%d offset %d", r.Topic, r.Partition, r.Offset)
				a = e
			}
			fmt.Fprintf(d.trace, " %+v", a)
		}
		fmt.Fprintln(d.trace)
	}
	if event == "log" && args[1] == disbelieved {
		n := d.lanes[args[2].([]any)[1].(partition.ID)]
		for i := range n.records {
			n.records[i].doubted = false
		}
	}
	if event == "recordsLost" {
		d.lose(args[0].(partition.ID), int(args[1].(int64)), int(args[2].(int64)))
	}
}

// lose hears what retention took.
func (d *driver) lose(tp partition.ID, from, to int) {
	n := d.lanes[tp]
	for at := from; at < to; at++ {
		r := &n.records[at]
		if at >= n.logStart || at < n.arrived || (r.done || r.said || r.doubted) && !r.hole {
			d.wrong("%v offset %d is told as lost; the log starts at %d, it was read to %d, and it is %+v", tp, at, n.logStart, n.arrived, *r)
		}
		r.done = true
		d.lost++
	}
}

// position is where the client goes on: what the engine asked it to. That it
// leaves nothing out is judged by what is handed over.
func (d *driver) position(tp partition.ID) {
	d.e.mu.Lock()
	defer d.e.mu.Unlock()
	if l := d.e.lanes[tp]; l != nil && l.next >= 0 {
		n := d.lanes[tp]
		n.arrived = int(l.next)
		for i := range n.arrived {
			if r := &n.records[i]; r.said || r.doubted { // nothing came that would say otherwise
				r.said, r.doubted, r.done = false, false, true
				d.spared++
			}
		}
	}
}

// rewind is what the poll loop does about records that are to be read again, and
// about memory that is short.
func (d *driver) rewind(evict bool) {
	d.e.mu.Lock()
	lanes := d.e.rewound()
	if evict && len(lanes) == 0 {
		lanes = d.e.evictable(1 << 40)
		for _, l := range lanes {
			l.paused = false
		}
	}
	_, back := d.e.evict(lanes)
	d.e.unlock()
	for topic, ps := range back {
		for p := range ps {
			d.position(partition.ID{Topic: topic, Partition: p})
		}
	}
}

// lease starts an invocation, if there is one to start, and judges it.
func (d *driver) lease() bool {
	e, c, now := d.e, d.e.cfg, d.now
	e.mu.Lock()
	e.due(now)
	l := e.lease(now)
	e.kick(now)
	e.unlock()
	if l == nil {
		return false
	}
	parked := map[partition.ID]bool{} // put together earlier, with what there was then
	for _, p := range l.work.parts {
		n := d.lanes[p.lane.ID]
		parked[p.lane.ID], n.parked = n.parked, true
	}
	if !e.prepare(l, now) {
		d.reread++
		for tp := range d.lanes {
			d.position(tp)
		}
		return true
	}
	call := &naiveCall{lease: l, epochs: map[partition.ID]int{}, had: map[partition.ID][]*kgo.Record{}, at: map[*kgo.Record]int{}}
	d.calls = append(d.calls, call)
	weighs, parts, fresh, attempt := int64(0), 0, false, 0
	for tp, records := range byPartition(l.Records) {
		parts++
		n := d.lanes[tp]
		if n == nil {
			d.wrong("a call for %v", tp)
		}
		if n.inFlight || !n.assigned || n.draining {
			d.wrong("%v is in flight (%v), not assigned (%v) or being given up (%v)", tp, n.inFlight, !n.assigned, n.draining)
		}
		n.inFlight, n.giving = true, -1
		n.parked = false
		call.epochs[tp], call.had[tp], call.order = n.epoch, slices.Clone(records), append(call.order, tp)
		again := n.open()
		if again && n.most > 0 && len(records) > n.most {
			d.wrong("%v: %d records after a split that leaves %d at most", tp, len(records), n.most)
		}
		n.most = 0
		if !again {
			n.together = 0
			fresh = true
			d.fresh += len(records)
		}
		next := n.frontier()
		for i, r := range records {
			at := int(r.Offset)
			m := &n.records[at]
			if m.among > 0 && m.among != len(records) {
				m.cut() // some are too old by now
			}
			call.at[r] = at
			switch {
			case i > 0 && records[i-1].Offset >= r.Offset:
				d.wrong("%v: %d comes after %d", tp, r.Offset, records[i-1].Offset)
			case m.done || m.reason != 0:
				d.wrong("%v offset %d is invoked again, and it is %+v", tp, at, *m)
			case again != m.taken:
				d.wrong("%v offset %d: a new record beside a batch that is not settled", tp, at)
			case !again && !d.empty(n, next, at, now):
				d.wrong("%v: a new batch with offset %d, and %d is not in it", tp, at, next)
			case again && i == 0 && at != n.frontier():
				d.wrong("%v offset %d is tried before %d is settled, which is %+v", tp, at, n.frontier(), n.records[n.frontier()])
			case m.notBefore.After(now):
				d.wrong("%v offset %d does not wait for its back-off", tp, at)
			case d.tooOld(m, now):
				d.wrong("%v offset %d is too old", tp, at)
			}
			if err := d.judgeContent(tp, at, m, r); err != nil {
				panic(err)
			}
			next = at + 1
			attempt = max(attempt, m.attempts+1)
			weighs += m.weight(tp, at)
		}
		for _, r := range records {
			n.records[r.Offset].taken = true
		}
	}
	for i, s := range l.Shares() {
		if s.ID != call.order[i] || !slices.Equal(s.Kafka, call.had[s.ID]) || len(s.Records) != len(s.Kafka) {
			d.wrong("the share of %v is said to be %d records", s.ID, len(s.Records))
		}
		for j, r := range s.Records {
			if int(r.Offset) != call.at[s.Kafka[j]] {
				d.wrong("%v: offset %d is said to be %d", s.ID, call.at[s.Kafka[j]], r.Offset)
			}
		}
	}
	for tp := range call.each() {
		// A search that does not get smaller would not end.
		if most := d.lanes[tp].together; most > 0 && parts > most {
			d.wrong("%v: %d partitions after a split that leaves %d at most", tp, parts, most)
		}
	}
	if l.Attempt != attempt {
		d.wrong("attempt %d, and it is %d", l.Attempt, attempt)
	}
	if got := len(l.Records); got > c.BatchSize || weighs > int64(c.BatchBytes) && got > 1 {
		d.wrong("a batch of %d records and %d bytes, of %d and %d", got, weighs, c.BatchSize, c.BatchBytes)
	}
	// Of a batch that is not full nothing stays behind that would fit.
	for _, p := range l.work.parts {
		q := p.lane
		if !fresh || q.count == 0 || c.MaxRecordAge > 0 || parked[q.ID] {
			continue
		}
		if parts > 1 || len(l.Records) < c.BatchSize && weighs+int64(q.queue[0].records[0].Size) <= int64(c.BatchBytes) {
			d.wrong("%v: %d records stayed behind in a batch of %d", q.ID, q.count, len(l.Records))
		}
	}
	return true
}

// empty reports whether there is nothing to try between two offsets.
func (d *driver) empty(n *naiveLane, from, to int, now time.Time) bool {
	for i := from; i < to; i++ {
		if m := &n.records[i]; !m.done && !d.tooOld(m, now) {
			return false
		}
	}
	return true
}

func (d *driver) tooOld(m *naiveRecord, now time.Time) bool {
	return d.e.cfg.MaxRecordAge > 0 && now.Sub(time.UnixMilli(m.at.UnixMilli())) > d.e.cfg.MaxRecordAge
}

// deliver is World.Deliver.
func (d *driver) deliver(ctx context.Context, record *kgo.Record, got plan.Portion) (dropped bool, err error) {
	tp, at := partition.ID{Topic: record.Topic, Partition: record.Partition}, int(record.Offset)
	n := d.lanes[tp]
	if got.Reason == plan.ReasonUnreadable {
		at = n.badAt(at)
	}
	m, epoch := &n.records[at], n.epoch
	bad := func(what string) {
		d.wrong("%v offset %d: %s: given up as %s after %d attempts, and it is %+v", tp, at, what, got.Reason, got.Attempts, *m)
	}
	switch {
	case !n.assigned:
		bad("not assigned")
	case n.inFlight:
		bad("in flight")
	case at != n.frontier() && (n.giving < 0 || at <= n.giving):
		// Only what is given up together with the one before is delivered early.
		bad(fmt.Sprintf("delivered before %d is settled", n.frontier()))
	case m.done:
		bad("done already")
	case got.Reason == plan.ReasonTooOld && (m.reason != 0 || !d.tooOld(m, d.now)):
		bad("not too old")
	case got.Reason != plan.ReasonTooOld && m.reason != got.Reason, got.Attempts != m.attempts:
		bad("not so")
	case got.Attempts > 0 && got.Account.LastErr == nil, got.Deliveries < 0:
		bad("no error")
	}
	if got.Reason == plan.ReasonUnreadable {
		if c := (*corruption)(nil); !errors.As(got.Account.LastErr, &c) || int(c.To) != m.bad || record.Value != nil {
			bad("not what cannot be read")
		}
	} else if err := d.judgeContent(tp, at, m, record); err != nil {
		panic(err)
	}
	m.taken, n.inFlight = true, true
	defer func() {
		n.inFlight = false
		if err == nil && n.epoch == epoch && n.assigned {
			n.records[at].done, n.giving = true, at
			d.told++
		}
	}()
	// What becomes of it depends on nothing but which it is.
	dice := rand.New(rand.NewPCG(uint64(at), uint64(got.Deliveries+1)*31+uint64(tp.Partition)))
	scribble(dice, record)
	switch dice.IntN(8) {
	case 0, 1, 2:
		return false, errors.New("no")
	case 3:
		return false, d.waitWithin(ctx, time.Duration(dice.IntN(100))*time.Second)
	}
	return dice.IntN(4) == 0, nil
}

// scribble writes into a record what user code does: it forwards it, or stores
// what it decoded.
func scribble(rng *rand.Rand, r *kgo.Record) {
	if rng.IntN(3) == 0 {
		r.Topic, r.Partition, r.Offset, r.LeaderEpoch, r.ProducerID = "elsewhere", 99, rng.Int64N(50), -1, 0
		r.Timestamp = time.Time{}
	}
	if rng.IntN(6) > 0 {
		return
	}
	switch rng.IntN(4) {
	case 0:
		r.Value = bytes.Clone(r.Value) // as long, and elsewhere
	case 1:
		r.Key = append([]byte("x"), r.Key...)
	case 2:
		r.Headers = append(slices.Clone(r.Headers), kgo.RecordHeader{Key: "x"})
	case 3:
		if len(r.Headers) > 0 {
			r.Headers[0].Value = []byte("y")
		}
	}
}

// byPartition ranges over the partitions of a batch.
func byPartition(rest []*kgo.Record) iter.Seq2[partition.ID, []*kgo.Record] {
	return func(yield func(partition.ID, []*kgo.Record) bool) {
		for len(rest) > 0 {
			tp := partition.ID{Topic: rest[0].Topic, Partition: rest[0].Partition}
			n := slices.IndexFunc(rest, func(r *kgo.Record) bool { return r.Topic != tp.Topic || r.Partition != tp.Partition })
			if n < 0 {
				n = len(rest)
			}
			if !yield(tp, slices.Clip(rest[:n])) {
				return
			}
			rest = rest[n:]
		}
	}
}

// outcome invents what a function does with its batch and returns, and which
// records that is said of.
func (d *driver) outcome(call *naiveCall) (said []naiveFailure, v plan.Verdict, cause error) {
	b := &call.lease.Call
	var records []*kgo.Record
	for _, tp := range call.order {
		records = append(records, call.had[tp]...)
	}
	if d.rng.IntN(3) == 0 {
		for _, r := range records {
			scribble(d.rng, r)
		}
		switch d.rng.IntN(3) {
		case 0:
			b.Records = nil
		case 1:
			d.rng.Shuffle(len(b.Records), func(i, j int) { b.Records[i], b.Records[j] = b.Records[j], b.Records[i] })
		case 2:
			clear(b.Records)
		}
	}
	kinds := []plan.Verdict{
		{Outcome: plan.OutcomeFailure},
		{Outcome: plan.OutcomePermanent},
		{Outcome: plan.OutcomeTooLarge},
		{Outcome: plan.OutcomeThrottled, After: time.Second},
		{Outcome: plan.OutcomeThrottled},
		{Outcome: plan.OutcomeThrottled},
		{Outcome: plan.OutcomeHalt, Refused: true},
		{Outcome: plan.OutcomeThrottled, After: time.Second, Busy: true},
		{Outcome: plan.OutcomeHalt},
	}
	for i := range kinds {
		kinds[i].Err = errors.New(kinds[i].Outcome.String())
	}
	failed := kinds[0]
	one := func(most int) plan.Verdict { return kinds[d.rng.IntN(most)] }
	dice := d.rng.IntN(12)
	switch {
	case d.sick(call) && d.rng.IntN(2) == 0:
		return nil, kinds[3+d.rng.IntN(3)], nil
	case d.sick(call):
		dice = 7
	case d.ill && d.rng.IntN(4) > 0:
		return nil, plan.Verdict{}, nil
	}
	switch dice {
	case 0, 1, 2:
		return nil, failed, nil
	case 3:
		return nil, one(len(kinds)), nil
	case 4:
		cause = []error{errTooLong, ErrRevoked, ErrStopping}[d.rng.IntN(3)]
		return nil, failed, cause
	case 5:
		if d.rng.IntN(4) == 0 {
			return nil, kinds[4], errTooLong
		}
		fallthrough
	case 6, 7:
		say := func(tp partition.ID, r *kgo.Record, says plan.Verdict, stop bool) {
			said = append(said, naiveFailure{tp, call.at[r], says, stop})
		}
		for _, tp := range call.order {
			for _, r := range call.had[tp] {
				switch d.rng.IntN(6) {
				case 0:
					say(tp, r, one(3), false)
				case 1:
					if d.rng.IntN(3) == 0 {
						say(tp, r, failed, true)
					}
				case 2:
					if d.rng.IntN(10) == 0 {
						say(tp, r, one(len(kinds)), false)
					}
				case 3:
					if d.sick(call) {
						say(tp, r, kinds[3+d.rng.IntN(4)], d.rng.IntN(2) == 0)
					}
				}
			}
		}
		if d.rng.IntN(20) == 0 {
			said = append(said, naiveFailure{offset: -1, says: failed})
		}
		return said, partialVerdict(call, said), nil
	}
	return nil, plan.Verdict{}, nil
}

// partialVerdict is the verdict of a call that says that of records. A throttle or a
// halt of one is that of the call.
func partialVerdict(call *naiveCall, said []naiveFailure) (v plan.Verdict) {
	if len(said) == 0 {
		return v
	}
	v = plan.Verdict{Outcome: plan.OutcomePartial, Err: errors.New("some failed"), Busy: true, Refused: true}
	found := map[[2]int]plan.Failure{}
	for _, f := range said {
		if f.offset < 0 {
			return plan.Verdict{Outcome: plan.OutcomeFailure, Err: f.says.Err}
		}
		part := slices.IndexFunc(call.lease.work.parts, func(p *part) bool { return p.lane.ID == f.tp })
		record, _ := plan.Find(call.lease.work.parts[part].left[0].Records, int64(f.offset))
		at := [2]int{part, record}
		found[at] = plan.Failure{Part: part, Record: record, Err: f.says.Err,
			Outcome: plan.Stronger(found[at].Outcome, f.says.Outcome), Stopped: found[at].Stopped || f.stopped}
		switch f.says.Outcome {
		case plan.OutcomeThrottled:
			v.After, v.Busy = max(v.After, f.says.After), v.Busy && f.says.Busy
			v.Outcome = plan.Stronger(v.Outcome, f.says.Outcome)
		case plan.OutcomeHalt:
			v.Refused = v.Refused && f.says.Refused
			v.Outcome = plan.Stronger(v.Outcome, f.says.Outcome)
		}
	}
	v.Busy, v.Refused = v.Busy && v.Outcome == plan.OutcomeThrottled, v.Refused && v.Outcome == plan.OutcomeHalt
	if v.Outcome != plan.OutcomeThrottled {
		v.After = 0
	}
	v.Failures = slices.SortedFunc(maps.Values(found), func(a, b plan.Failure) int {
		return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Record, b.Record))
	})
	return v
}

// end ends one of the invocations that run, and tells the model.
func (d *driver) end(i int, v plan.Verdict, cause error, said []naiveFailure) {
	call := d.calls[i]
	d.calls = slices.Delete(d.calls, i, i+1)
	l := call.lease
	l.Cancel(cause) // if that was not done before
	// What the engine cut short proves nothing, and a call that was cut short by its
	// time failed, unless the function was not reached.
	switch cause := context.Cause(l.Ctx); {
	case v.Outcome == plan.OutcomeSuccess:
	case cause == ErrRevoked, cause == ErrStopping:
		v = plan.Verdict{Outcome: plan.OutcomeAbandoned, Err: cause}
	case cause == errTooLong && v.Outcome == plan.OutcomeThrottled && v.Failures == nil:
		v = plan.Verdict{Outcome: plan.OutcomeAbandoned, Err: v.Err}
	case cause == errTooLong:
		v = plan.Verdict{Outcome: plan.OutcomeFailure, Err: cause}
	}
	for tp := range call.each() {
		d.lanes[tp].inFlight = false
	}
	halted := d.e.holds&HoldHalt != 0
	halts := d.expect(call, v, said)
	d.note("   ended: %v %s %v %v", call.order, v.Outcome, v.Err, v.Failures)
	d.e.end(l, v)
	if now := d.e.holds&HoldHalt != 0; now != (halted || halts) {
		d.wrong("%s halts: %v, and should: %v", v.Outcome, now, halts)
	}
}

// sick reports whether a call is one of those that are throttled again and again.
func (d *driver) sick(call *naiveCall) bool {
	return d.ill && len(call.had[partition.ID{Topic: "orders", Partition: 0}]) > 0 && d.rng.IntN(4) > 0
}

// suspect is the rule of suspicion: which partitions have records that are to
// blame for a throttle, which wait alone, and what the outcome is then.
func (d *driver) suspect(call *naiveCall, v plan.Verdict, outcome plan.Outcome, partial bool, is func(partition.ID, int) plan.Outcome) (_ plan.Outcome, blamed, apart map[partition.ID]bool) {
	blamed, apart = map[partition.ID]bool{}, map[partition.ID]bool{}
	now := d.now
	held := map[partition.ID]int{} // the first that is throttled
	for tp, records := range call.each() {
		for i, r := range records {
			o := is(tp, call.at[r])
			if !partial || o == plan.OutcomeThrottled || o == plan.OutcomeHalt {
				held[tp] = i
				break
			}
		}
	}
	forget := func(tp partition.ID) {
		for _, r := range call.had[tp] {
			d.record(call, tp, r).naiveSuspicion = naiveSuspicion{}
		}
	}
	switch outcome {
	case plan.OutcomeAbandoned:
		return outcome, blamed, apart
	case plan.OutcomeThrottled:
		if v.Busy {
			d.story = append(d.story, false)
			return outcome, blamed, apart
		}
	case plan.OutcomeHalt:
		if !v.Refused {
			return outcome, blamed, apart
		}
		lasts := max(time.Minute, 2*d.e.pace.Service())
		for tp := range call.each() {
			if i, any := held[tp]; !any || i > 0 {
				d.refused = nil
			}
		}
		if n := len(d.refused); n > 0 && now.Sub(d.refused[n-1]) > lasts {
			d.refused = nil
		}
		if d.refused = append(d.refused, now); now.Sub(d.refused[0]) >= lasts {
			return outcome, blamed, apart
		}
		outcome = plan.OutcomeThrottled
	default:
		for tp := range call.each() {
			forget(tp)
		}
		d.story, d.refused = append(d.story, true), nil
		return outcome, blamed, apart
	}
	again := false
	for _, tp := range call.order {
		i, any := held[tp]
		if !any {
			continue
		}
		if i > 0 {
			forget(tp)
		}
		again = again || d.record(call, tp, call.had[tp][0]).throttles > 0
	}
	if !again {
		d.story = append(d.story, false)
	}
	for _, tp := range call.order {
		if _, any := held[tp]; !any {
			continue
		}
		for _, r := range call.had[tp] {
			m := d.record(call, tp, r)
			given, denied := 0, 0
			for _, answer := range d.story[min(m.from, len(d.story)):] {
				if answer {
					given++
				} else {
					denied++
				}
			}
			others, counts := int(d.e.evidence.Others), false
			m.throttles++
			switch {
			case m.times == 0, given < others*denied:
				m.times, m.from = 1, len(d.story)
			case given >= others+others*denied:
				m.times, m.from, counts = m.times+1, len(d.story), true
			}
			apart[tp] = m.times >= 2
			blamed[tp] = counts && m.times >= d.e.evidence.Fail && (partial || len(call.had) == 1)
		}
	}
	return outcome, blamed, apart
}

func (d *driver) record(call *naiveCall, tp partition.ID, r *kgo.Record) *naiveRecord {
	return &d.lanes[tp].records[call.at[r]]
}

// expect is the outcome table, record by record. It says whether the Mapping
// halts.
func (d *driver) expect(call *naiveCall, v plan.Verdict, said []naiveFailure) (halts bool) {
	c, now := d.e.cfg, d.now
	discards := c.Discards
	outcome := v.Outcome
	if slices.ContainsFunc(said, func(f naiveFailure) bool { return f.offset < 0 }) && outcome != plan.OutcomeAbandoned {
		outcome = plan.OutcomeFailure
	}
	partial := outcome != plan.OutcomeFailure && outcome != plan.OutcomeAbandoned && len(said) > 0
	if outcome == plan.OutcomePermanent && !discards {
		outcome = plan.OutcomeFailure
	}
	delay := d.e.cfg.Backoff(1)
	outcome, blamed, apart := d.suspect(call, v, outcome, partial, func(tp partition.ID, at int) plan.Outcome {
		is := plan.OutcomeSuccess
		for _, f := range said {
			if f.tp == tp && f.offset == at {
				is = plan.Stronger(is, f.says.Outcome)
			}
		}
		return is
	})
	alone := true // whether nobody else waits
	for tp := range apart {
		alone = alone && apart[tp]
	}
	again := false
	for tp, records := range call.each() {
		again = again || !partial && d.record(call, tp, records[0]).throttles > 1
	}
	for tp, records := range call.each() {
		n := d.lanes[tp]
		delay := delay
		if blamed[tp] {
			d.blamed++
			delay = max(delay, v.After)
		}
		if n.epoch != call.epochs[tp] || !n.assigned {
			continue
		}
		set := ""
		for _, r := range records {
			set += fmt.Sprint(call.at[r], ",")
		}
		charge := func(m *naiveRecord, may bool) {
			m.attempts++
			m.notBefore = now.Add(delay)
			if may && c.MaxRetries >= 0 && m.attempts > c.MaxRetries {
				m.reason = plan.ReasonRetriesExhausted
			}
		}
		give := func(m *naiveRecord, why plan.Reason) {
			m.attempts++
			m.reason = why
		}
		fail := func() {
			first := &n.records[call.at[records[0]]]
			n.repeats[set]++
			exhausted := c.MaxRetries >= 0 && first.attempts+1 > c.MaxRetries
			split := c.Bisect && len(records) > 1 && (first.searching || n.repeats[set] > 1 || exhausted)
			for _, r := range records {
				m := &n.records[call.at[r]]
				if split {
					m.searching, n.most = true, (len(records)+1)/2
					m.cut()
				} else {
					charge(m, true)
					m.among = len(records)
				}
			}
		}
		switch {
		case partial:
			stop, failed := -1, map[int]plan.Outcome{}
			for _, f := range said {
				if f.tp != tp {
					continue
				}
				failed[f.offset] = plan.Stronger(failed[f.offset], f.says.Outcome)
				if f.stopped && (stop < 0 || f.offset < stop) {
					stop = f.offset
				}
			}
			var again, untried []*naiveRecord
			throttled := false
			for _, r := range records {
				at := call.at[r]
				m := &n.records[at]
				is := failed[at]
				switch {
				case stop >= 0 && at > stop, !blamed[tp] && (is == plan.OutcomeThrottled || is == plan.OutcomeHalt):
					throttled = throttled || stop < 0 || at <= stop
					untried = append(untried, m)
				case is == plan.OutcomeSuccess:
					m.done = true
				case is == plan.OutcomePermanent && discards:
					give(m, plan.ReasonPermanent)
				case is == plan.OutcomeTooLarge && discards:
					give(m, plan.ReasonTooLarge)
				default:
					m.searching = false
					again = append(again, m)
				}
			}
			part := func(of []*naiveRecord, keeps bool) {
				for _, m := range of {
					if m.among = len(of); !keeps {
						m.naiveSuspicion = naiveSuspicion{}
					}
				}
			}
			for _, m := range again {
				charge(m, true)
			}
			part(again, blamed[tp])
			for _, m := range untried {
				if throttled && apart[tp] && alone {
					m.notBefore = now.Add(waits(v, delay))
				}
				if len(untried) < len(records) {
					m.cut()
				}
			}
			part(untried, throttled)
			if len(untried) < len(records) { // nothing was learned of just these records
				n.repeats = map[string]int{}
			}
		case outcome == plan.OutcomeSuccess:
			for _, r := range records {
				n.records[call.at[r]].done = true
			}
		case len(call.epochs) > 1 && (outcome == plan.OutcomeFailure || outcome == plan.OutcomeTooLarge):
			n.together = (len(call.epochs) + 1) / 2
		case len(call.epochs) > 1 && outcome == plan.OutcomeThrottled && !v.Busy && again:
			n.together = (len(call.epochs) + 1) / 2
			for _, r := range records {
				d.record(call, tp, r).cut()
			}
		case blamed[tp]:
			fail()
		case outcome == plan.OutcomeThrottled && !v.Busy:
			for _, r := range records {
				m := d.record(call, tp, r)
				if m.among = len(records); alone && len(call.epochs) == 1 {
					m.notBefore = now.Add(waits(v, delay))
				}
			}
		case outcome == plan.OutcomeFailure, outcome == plan.OutcomeTooLarge && len(records) == 1 && !discards:
			fail()
		case outcome == plan.OutcomeTooLarge && len(records) > 1:
			n.most = (len(records) + 1) / 2
		case outcome == plan.OutcomeTooLarge:
			give(&n.records[call.at[records[0]]], plan.ReasonTooLarge)
		case outcome == plan.OutcomePermanent:
			for _, r := range records {
				give(&n.records[call.at[r]], plan.ReasonPermanent)
			}
		}
	}
	return outcome == plan.OutcomeHalt
}

// waits is how long records wait that are throttled alone.
func waits(v plan.Verdict, delay time.Duration) time.Duration {
	if v.After > 0 {
		return v.After
	}
	return delay
}

// weigh counts what is held by looking at everything that is there.
func (d *driver) weigh() (held int64) {
	seen := map[*memory.Chunk]bool{}
	count := func(c *memory.Chunk) {
		if !seen[c] {
			held += c.Bytes
		}
		seen[c] = true
	}
	parts := map[*part]bool{}
	for l := range d.e.leases {
		for _, p := range l.work.parts {
			parts[p] = true
		}
	}
	for _, l := range d.e.lanes {
		for _, s := range l.queue {
			count(s.chunk)
		}
		if p := l.part(); p != nil {
			parts[p] = true
		}
	}
	for p := range parts {
		missing := 0
		for _, r := range p.unsettled() {
			i, _ := plan.Find(p.records, r.Offset)
			_, said := p.missing[i]
			if said != (p.kafka[i] == nil) {
				d.wrong("%v: offset %d is said to be missing: %v", p.lane.ID, r.Offset, said)
			}
			if said {
				missing++
			}
		}
		if missing != len(p.missing) {
			d.wrong("%v: %d records are said to be missing, and %d are", p.lane.ID, len(p.missing), missing)
		}
		if len(p.pieces) == 0 && missing == 0 && p.left[0].Reason != plan.ReasonUnreadable {
			d.wrong("%v: what is not settled is held by nobody", p.lane.ID)
		}
		for _, m := range p.pieces {
			count(m.chunk)
		}
	}
	return held
}

// judgeStep is what holds at each moment: the frontiers, what the committer
// would send now, and the memory.
func (d *driver) judgeStep() {
	d.e.mu.Lock()
	defer d.e.mu.Unlock()
	if got, want := d.e.memory.Held(), d.weigh(); got != want {
		d.wrong("%d bytes are said to be held, and %d are", got, want)
	}
	for _, tp := range d.partitions() {
		n, l := d.lanes[tp], d.e.lanes[tp]
		if !n.assigned || l == nil {
			continue
		}
		d.judgeFrontier(tp, n, l.frontier(), "the frontier")
		if at := l.frontier(); !l.dead && !l.dirty && !l.anchor && (at != l.committed || int(at) != n.committed) && !d.isSending(l) {
			d.wrong("%v: the frontier is %d, %d is committed (%d), and nobody will commit it", tp, at, l.committed, n.committed)
		}
	}
	for _, call := range d.calls {
		for _, tp := range call.order {
			if d.lanes[tp].epoch != call.epochs[tp] && context.Cause(call.lease.Ctx) == nil {
				d.wrong("%v belongs to somebody else, and its call goes on uncancelled", tp)
			}
		}
	}
	// What the committer would collect now, and what it would send of what it has
	// collected.
	for _, l := range d.e.Books.dirty {
		at := l.frontier()
		if l.dead || at < 0 || at == l.committed && !l.anchor {
			continue
		}
		if d.e.lanes[l.ID] != l {
			d.wrong("%v: a lane that is gone would be committed (assigned: %v)", l.ID, d.lanes[l.ID].assigned)
		}
		d.judgeCommit(l, int(at))
	}
	for _, f := range d.sending {
		if d.answers == nil && !f.lane.dead && f.At <= f.lane.frontier() {
			d.judgeCommit(f.lane, int(f.At))
		}
	}
	if d.also != nil {
		d.also(d)
	}
}

// judgeCommit is what holds for a frontier that is committed.
func (d *driver) judgeCommit(l *lane, at int) {
	switch n := d.lanes[l.ID]; {
	case !n.assigned:
		d.wrong("%v is committed, and is somebody else's", l.ID)
	case at > n.frontier():
		d.wrong("%v: %d is committed, and the frontier is %d", l.ID, at, n.frontier())
	case at < n.committed && !l.anchor:
		d.wrong("%v: %d is committed after %d", l.ID, at, n.committed)
	}
}

func (d *driver) isSending(l *lane) bool {
	return slices.ContainsFunc(d.sending, func(f Frontier) bool { return f.lane == l })
}

// judgeFrontier compares a frontier with that of the model. A hole is settled
// with the record after it.
func (d *driver) judgeFrontier(tp partition.ID, n *naiveLane, got int64, what string) {
	most := n.frontier()
	least := most
	for least > 0 && n.records[least-1].hole {
		least--
	}
	if int(got) < least || int(got) > most {
		d.wrong("%v: %s is %d, not %d", tp, what, got, most)
	}
}

// commit puts a commit together, or sends the one that was, or answers it. Each may
// stand still for as long as anything, and what has an error may have been committed.
func (d *driver) commit() {
	fs := d.sending
	switch {
	case fs == nil:
		d.sending = d.e.Books.Frontiers(true, d.now)
	case d.answers == nil:
		d.answers = make([]CommitAnswer, len(fs))
		for i, f := range fs {
			if !d.e.Books.MayCommit(f, "") {
				d.answers[i].Unsent = true
				continue
			}
			d.judgeCommit(f.lane, int(f.At))
			said := d.rng.IntN(10)
			if said < 2 {
				d.answers[i].Err = errors.New("no")
			}
			if said > 0 {
				d.answers[i].Said = d.write(f)
			}
		}
	default:
		answers := d.answers
		d.sending, d.answers = nil, nil
		_ = d.e.Books.Committed(fs, answers, 0, d.now)
	}
}

// write has the group write down a frontier with what is settled above it, in as
// much room as there is. It returns how much of that it says.
func (d *driver) write(f Frontier) int {
	text, said := mark.Write(f.ID, f.At, f.Mark, []int{0, 20, mark.Least, mark.Most}[d.rng.IntN(4)])
	m, err := mark.Read(f.ID, f.At, text)
	if err != nil {
		d.wrong("%v: %v", f.ID, err)
	}
	n := d.lanes[f.ID]
	n.committed, n.mark = int(f.At), m
	for _, r := range m.Runs {
		for o := r.Lo; o < r.Hi; o++ {
			if !n.records[o].done && !n.records[o].said {
				d.wrong("%v: a commit of %d says that %d is settled, which is %+v", f.ID, f.At, o, n.records[o])
			}
		}
	}
	return said
}

// step does something.
func (d *driver) step() {
	d.settle()
	d.judgeStep()
	op := d.rng.IntN(stepKinds)
	tp := partition.ID{Topic: "orders", Partition: d.rng.Int32N(int32(len(d.lanes)))}
	n := d.lanes[tp]
	owned, gets := d.owned(n)
	d.note("%2d %v", op, tp)
	switch {
	case op < 6:
		d.poll(tp, 40)
	case op < 11:
		d.lease()
	case op < 17 && len(d.calls) > 0:
		i := d.rng.IntN(len(d.calls))
		said, v, cause := d.outcome(d.calls[i])
		d.end(i, v, cause, said)
	case op == 17 && owned:
		n.lose()
		d.e.Lose([]partition.ID{tp}, d.now)
	case op == 17:
		d.assign(tp)
	case op == 18:
		d.e.mu.Lock()
		d.e.scale(scaling.Decision{To: 1 + d.rng.IntN(5)}, d.now)
		d.e.unlock()
	case op == 19:
		d.e.ResumeFrom(HoldHalt)
		d.refused = nil
	case op == 20 && gets:
		d.giveUp(tp, time.Duration(d.rng.Int64N(int64(10*time.Second))))
	case op == 21 && gets:
		// The client can assign again what it never took away. Nothing begins
		// anew, since it may not bring again what it brought already. Where it
		// brought nothing yet it is where the group is.
		l := d.e.lanes[tp]
		d.e.Assign([]partition.ID{tp}, d.now)
		if l.next > l.start || l.rereading() || l.anchor && int64(n.committed) > l.next {
			d.e.Place([]Placement{{ID: tp, At: int64(n.committed), LeaderEpoch: -1, Committed: true}}, d.now)
			break
		}
		n.anew(n.committed)
		d.place(tp)
		d.position(tp)
	case op == 22 && gets:
		d.goBack(tp)
	case op == 23 || op == 24:
		d.commit()
	case op == 25 || op == 26:
		d.rewind(d.rng.IntN(2) == 0)
	case op == 27:
		d.retain(tp)
	case op == 29 && gets && d.e.cfg.Discards:
		d.spoil(tp)
	case op == 30:
		d.pass(tp)
	case op == 31 && owned:
		d.poll(tp, 40)
		for d.lease() {
		}
		for len(d.calls) > 0 {
			said, v, cause := d.outcome(d.calls[0])
			d.end(0, v, cause, said)
		}
		for range 1 + d.rng.IntN(6) { // what is not sent, or not answered, is lost with it
			d.commit()
		}
		n.lose()
		d.e.Lose([]partition.ID{tp}, d.now)
		d.assign(tp)
		d.poll(tp, 10)
	case op == 28 && d.ill:
		d.rounds()
	default:
		d.elapse(time.Duration(d.rng.Int64N(int64(3 * time.Second))))
	}
}

// rounds lets the function be called for a while: what is suspected of records
// shows only then.
func (d *driver) rounds() {
	for range 1 + d.rng.IntN(8) {
		for _, tp := range d.partitions() {
			d.poll(tp, 3)
		}
		for range 20 {
			if !d.lease() {
				break
			}
		}
		for len(d.calls) > 0 {
			said, v, cause := d.outcome(d.calls[0])
			d.end(0, v, cause, said)
		}
		d.elapse(time.Duration(d.rng.Int64N(int64(3 * time.Second))))
	}
}

const stepKinds = 34

// goBack is a broker that lost what came after an offset, and has it again.
func (d *driver) goBack(tp partition.ID) {
	e, n := d.e, d.lanes[tp]
	at := n.frontier()
	e.mu.Lock()
	l := e.lanes[tp]
	if l == nil || l.ending || l.next < 1 || l.dead {
		e.mu.Unlock()
		return
	}
	to := d.rng.IntN(int(l.next))
	for to > 0 && to < len(n.records) && n.records[to].hole {
		to--
	}
	if e.reset(l, int64(to), errors.New("lost"), d.now).rewinding {
		to = min(to, at) // nothing of it could be kept
	}
	e.unlock()
	n.epoch++
	// What is below is tried as if it were new, if it is not done.
	for i := at; i < min(to, len(n.records)); i++ {
		if m := &n.records[i]; !m.done {
			n.records[i] = naiveRecord{size: m.size, at: m.at, hole: m.hole, bad: m.bad}
		}
	}
	n.anew(to)
	n.repeats, n.most, n.together, n.giving = map[string]int{}, 0, 0, -1
	d.position(tp)
}

// owned reports whether a partition is assigned, and whether it gets records
// then.
func (d *driver) owned(n *naiveLane) (assigned, gets bool) {
	return n.assigned, n.assigned && !n.draining
}

// lose takes a partition away. The lock is held.
func (n *naiveLane) lose() {
	n.assigned, n.draining = false, false
	n.epoch++
}

// finish brings everything to its end.
func (d *driver) finish() {
	for len(d.calls) > 0 {
		d.end(0, plan.Verdict{}, nil, nil)
	}
	for d.sending != nil {
		d.commit()
	}
	left := true
	for range 10_000 {
		d.settle()
		for _, tp := range d.partitions() {
			if owned, _ := d.owned(d.lanes[tp]); !owned {
				d.assign(tp)
			}
		}
		d.e.ResumeFrom(HoldHalt)
		d.refused = nil
		d.rewind(false)
		for _, tp := range d.partitions() {
			d.pass(tp)
			if n := d.lanes[tp]; n.arrived < len(n.records) {
				d.poll(tp, len(n.records)-n.arrived)
			}
		}
		for d.lease() {
			if n := len(d.calls); n > 0 {
				d.end(n-1, plan.Verdict{}, nil, nil)
			}
		}
		d.settle()
		d.judgeStep()
		left = false
		for _, n := range d.lanes {
			left = left || n.frontier() < len(n.records) || n.inFlight
		}
		if !left {
			break
		}
		d.elapse(time.Second)
		d.e.mu.Lock()
		d.e.due(d.now)
		d.e.kick(d.now)
		d.e.unlock()
	}
	d.e.mu.Lock()
	defer d.e.unlock()
	if left {
		rows := ""
		for _, l := range d.e.lanes {
			n, missing := d.lanes[l.ID], 0
			by, _ := l.blocker()
			if p := l.part(); p != nil {
				missing = len(p.missing)
			}
			rows += fmt.Sprintf("\n%v: %s, %d queued, next %d, rewinding %v, %d missing, ending %v, %v; arrived %d of %d, draining %v",
				l.ID, l.state, l.count, l.next, l.rewinding, missing, l.ending, by, n.arrived, len(n.records), n.draining)
		}
		d.wrong("it does not end%s", rows)
	}
	if d.e.memory.Held() != 0 || len(d.e.busy) != 0 || d.e.pool.Busy() != 0 || len(d.e.leases) != 0 || d.e.workers != 0 {
		d.wrong("at the end: %d bytes held, %d busy, %d leases, %d workers", d.e.memory.Held(), len(d.e.busy), len(d.e.leases), d.e.workers)
	}
	if c := &d.e.counts; c.Invocations < 0 || c.Invoked < c.Settled-int64(d.told)-c.Lost {
		d.wrong("%d records were invoked in %d calls, and %d settled", c.Invoked, c.Invocations, c.Settled)
	}
}

const scenarioSteps = 60

// TestEngineAgreesWithANaiveOne is invariants 1 to 3, the outcome table with
// every combination of options, and the rules of batch assembly, against the
// model, with user code that writes into what it gets. Of a scenario that fails
// it looks for the fewest steps that fail too.
func TestEngineAgreesWithANaiveOne(t *testing.T) {
	if *replay != "" {
		seed, steps, err := named(*replay)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := runScenario(seed, steps, os.Stdout, nil); err != nil {
			t.Fatal(err)
		}
		return
	}
	fresh, told, reread, lost, blamed, passed, marked, spared := 0, 0, 0, 0, 0, 0, 0, 0
	for seed := range uint64(*scenarios) {
		d, err := runScenario(seed, allSteps(scenarioSteps), nil, nil)
		fresh, told, reread, lost = fresh+d.fresh, told+d.told, reread+d.reread, lost+d.lost
		blamed, passed, marked, spared = blamed+d.blamed, passed+d.passed, marked+d.marked, spared+d.spared
		if err == nil {
			continue
		}
		steps := shrink(allSteps(scenarioSteps), func(steps []int) bool {
			_, err := runScenario(seed, steps, nil, nil)
			return err != nil
		})
		_, least := runScenario(seed, steps, nil, nil)
		t.Fatalf("seed %d: %v\nshrunk: %v\nagain with: go test ./internal/engine -run TestEngineAgrees -replay %s", seed, err, least, naming(seed, steps))
	}
	if marked < *scenarios/50 || spared < *scenarios/50 {
		t.Errorf("only %d assignments began with a commit that said more than its offset, and %d records did not come again for it", marked, spared)
	}
	if fresh < 10**scenarios || told < *scenarios/10 || reread < *scenarios/10 || lost < *scenarios/10 || blamed < *scenarios/50 || passed < *scenarios/10 {
		t.Errorf("only %d records in %d scenarios, %d given up, %d lost, %d calls for records that were changed, %d throttles that are failures, %d batches that cannot be read", fresh, *scenarios, told, lost, reread, blamed, passed)
	}
}
