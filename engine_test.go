package esm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	scenarios = flag.Int("scenarios", 5_000, "how many random scenarios the engine is driven through")
	replay    = flag.String("replay", "", "SEED:STEPS:LEFT-OUT of a scenario to run alone, as a failure prints it")
)

// A driver moves an engine in virtual time, and compares each step with a model
// of it that is too simple to be wrong: it knows records one by one, and looks
// through all of them.
type driver struct {
	rng  *rand.Rand
	e    *engine
	stop context.CancelFunc

	mu      sync.Mutex // deliveries come on goroutines of the engine
	lanes   map[TopicPartition]*naiveLane
	calls   []*naiveCall
	fresh   int // records of first attempts
	told    int // records that a destination took
	giving  int // partitions that are being given up
	trouble error
}

// A naiveLane is a partition.
type naiveLane struct {
	records  []naiveRecord
	arrived  int // how many the lane was given in this epoch
	epoch    int
	assigned bool
	draining bool // it is being given up, and gets nothing more
	inFlight bool // an invocation or a delivery, of any epoch
	repeats  map[string]int
	most     int // records of the next invocation at most, after a split,
	together int // and partitions, until its batch is settled
}

// A naiveRecord is what is known of one record, in the epoch of its lane.
type naiveRecord struct {
	hole      bool // an offset without a record
	size      int64
	at        time.Time
	taken     bool // it is or was in a batch
	done      bool // settled or delivered
	searching bool
	attempts  int
	notBefore time.Time
	reason    Reason
}

// A naiveCall is an invocation that runs.
type naiveCall struct {
	lease  *lease
	epochs map[TopicPartition]int
}

func newDriver(seed uint64) *driver {
	rng := rand.New(rand.NewPCG(seed, 7))
	d := &driver{rng: rng, lanes: map[TopicPartition]*naiveLane{}}
	opts := []Option{
		WithBatchSize(1 + rng.IntN(20)), WithBatchBytes(1 + rng.IntN(2000)),
		WithBatchWindow(time.Duration(rng.IntN(3)) * time.Second),
		WithPollerConcurrency(1 + rng.IntN(4)), WithPollerByteRate(Unlimited),
		WithLogger(slog.New(slog.DiscardHandler)), WithBackoff(Constant(time.Duration(rng.IntN(3)) * time.Second)),
		WithBisect(rng.IntN(2) == 0),
	}
	if rng.IntN(3) > 0 {
		opts = append(opts, WithDestination(DestinationFunc(d.deliver)))
		if rng.IntN(3) > 0 {
			opts = append(opts, WithMaxRetries(rng.IntN(4)))
		}
		if rng.IntN(3) == 0 {
			opts = append(opts, WithMaxRecordAge(time.Minute))
		}
	}
	c := defaults("g").with(opts)
	if err := c.validate(); err != nil && c.memoryBudget >= 1<<20 {
		panic(err)
	}
	inv := InvokerFunc(func(context.Context, *Batch) error { panic("nobody calls this") })
	base, stop := context.WithCancel(context.Background())
	d.stop = stop
	d.e = newEngine(&c, inv, silentWatch(&c), base)
	d.e.spawning = true // no workers: the driver is the only one
	d.e.pool.resize(1+rng.IntN(3), time.Now())
	for p := range int32(1 + rng.IntN(6)) {
		tp := TopicPartition{"orders", p}
		d.lanes[tp] = &naiveLane{}
		d.assign(tp)
	}
	return d
}

// silentWatch is a watch that nobody listens to.
func silentWatch(c *config) *watch {
	w, err := newWatch(c)
	if err != nil {
		panic(err)
	}
	return w
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

func (d *driver) assign(tp TopicPartition) {
	n := d.lanes[tp]
	d.mu.Lock()
	at := n.frontier()
	for i := at; i < len(n.records); i++ {
		n.records[i] = naiveRecord{size: n.records[i].size, at: n.records[i].at, hole: n.records[i].hole, done: n.records[i].hole}
	}
	n.arrived, n.assigned, n.repeats, n.most, n.together = at, true, map[string]int{}, 0, 0
	d.mu.Unlock()
	d.e.assign([]TopicPartition{tp}, time.Now())
	d.e.place([]placement{{tp: tp, at: int64(at), leaderEpoch: -1, committed: true}})
}

// poll brings some of a partition's records.
func (d *driver) poll(tp TopicPartition, most int) {
	n := d.lanes[tp]
	if had, gets := d.owned(n); !had || !gets {
		return
	}
	fetched := kgo.FetchPartition{Partition: tp.Partition, HighWatermark: int64(len(n.records)) + 1000}
	for range 1 + d.rng.IntN(most) {
		if n.arrived == len(n.records) {
			at := time.Now()
			if d.rng.IntN(8) == 0 {
				at = at.Add(-time.Duration(d.rng.IntN(90)) * time.Second)
			}
			if d.rng.IntN(10) == 0 {
				n.records = append(n.records, naiveRecord{hole: true, done: true})
			}
			n.records = append(n.records, naiveRecord{size: d.rng.Int64N(700), at: at})
		}
		if n.records[n.arrived].hole {
			n.arrived++
		}
		r := n.records[n.arrived]
		fetched.Records = append(fetched.Records, &kgo.Record{Topic: tp.Topic, Partition: tp.Partition, Offset: int64(n.arrived), Timestamp: r.at, Value: make([]byte, r.size)})
		n.arrived++
	}
	d.e.enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: tp.Topic, Partitions: []kgo.FetchPartition{fetched}}}}}, time.Now())
}

// lease starts an invocation, if there is one to start, and judges it.
func (d *driver) lease() bool {
	e, c, now := d.e, d.e.cfg, time.Now()
	e.mu.Lock()
	e.due(now)
	l := e.lease(now)
	e.kick(now)
	e.unlock()
	if l == nil {
		return false
	}
	call := &naiveCall{lease: l, epochs: map[TopicPartition]int{}}
	d.calls = append(d.calls, call)
	d.mu.Lock()
	defer d.mu.Unlock()
	bytes, parts, fresh, attempt := int64(0), 0, false, 0
	for tp, records := range l.batch.ByPartition() {
		parts++
		n := d.lanes[tp]
		if n.inFlight || !n.assigned || n.draining {
			d.wrong("%v is in flight (%v), not assigned (%v) or being given up (%v)", tp, n.inFlight, !n.assigned, n.draining)
		}
		n.inFlight = true
		call.epochs[tp] = n.epoch
		if n.most > 0 && len(records) > n.most {
			d.wrong("%v: %d records after a split that leaves %d at most", tp, len(records), n.most)
		}
		n.most = 0
		again := n.open()
		if !again {
			n.together = 0
			fresh = true
			d.fresh += len(records)
		}
		next := n.frontier()
		for i, r := range records {
			at := int(r.Offset)
			m := &n.records[at]
			switch {
			case i > 0 && records[i-1].Offset >= r.Offset:
				d.wrong("%v: %d comes after %d", tp, r.Offset, records[i-1].Offset)
			case m.done || m.reason != reasonNone:
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
			next = at + 1
			attempt = max(attempt, m.attempts+1)
			bytes += m.size
		}
		for _, r := range records {
			n.records[r.Offset].taken = true
		}
	}
	for tp := range l.batch.ByPartition() {
		// A search that does not get smaller would not end.
		if most := d.lanes[tp].together; most > 0 && parts > most {
			d.wrong("%v: %d partitions after a split that leaves %d at most", tp, parts, most)
		}
	}
	if l.batch.Attempt != attempt {
		d.wrong("attempt %d, and it is %d", l.batch.Attempt, attempt)
	}
	if got := len(l.batch.Records); got > c.batchSize || bytes > int64(c.batchBytes) && got > 1 {
		d.wrong("a batch of %d records and %d bytes, of %d and %d", got, bytes, c.batchSize, c.batchBytes)
	}
	// Of a batch that is not full nothing stays behind that would fit.
	for _, p := range l.work.parts {
		q := p.lane
		if !fresh || q.count == 0 || c.maxRecordAge > 0 {
			continue
		}
		if parts > 1 || len(l.batch.Records) < c.batchSize && bytes+q.queue[0].bytes(1) <= int64(c.batchBytes) {
			d.wrong("%v: %d records stayed behind in a batch of %d", q.TopicPartition, q.count, len(l.batch.Records))
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
	return d.e.cfg.maxRecordAge > 0 && now.Sub(m.at) > d.e.cfg.maxRecordAge
}

// deliver is the destination.
func (d *driver) deliver(ctx context.Context, got *Discard) error {
	tp := TopicPartition{got.Record.Topic, got.Record.Partition}
	d.mu.Lock()
	n := d.lanes[tp]
	m, epoch := &n.records[got.Record.Offset], n.epoch
	bad := func(what string) {
		if d.trouble == nil {
			d.trouble = fmt.Errorf("%v offset %d: %s: discard %s after %d attempts, and it is %+v", tp, got.Record.Offset, what, got.Reason, got.Attempts, *m)
		}
	}
	switch {
	case !n.assigned:
		bad("not assigned")
	case n.inFlight:
		bad("in flight")
	case m.done:
		bad("done already")
	case got.Reason == ReasonTooOld && (m.reason != reasonNone || !d.tooOld(m, time.Now())):
		bad("not too old")
	case got.Reason != ReasonTooOld && m.reason != got.Reason, got.Attempts != m.attempts:
		bad("not so")
	case got.Attempts > 0 && got.Err == nil, got.Delivery < 1:
		bad("no error")
	}
	m.taken, n.inFlight = true, true
	// What becomes of it depends on nothing but which it is.
	dice := rand.New(rand.NewPCG(uint64(got.Record.Offset), uint64(got.Delivery)*31+uint64(tp.Partition)))
	d.mu.Unlock()
	taken := false
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		n.inFlight = false
		if taken && n.epoch == epoch && n.assigned {
			n.records[got.Record.Offset].done = true
			d.told++
		}
	}()
	switch dice.IntN(8) {
	case 0:
		return errors.New("no")
	case 1:
		panic("oh")
	case 2:
		runtime.Goexit()
	case 3:
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(dice.IntN(100)) * time.Second):
		}
	}
	err := ctx.Err() // once: it may end in between
	taken = err == nil
	return err
}

// outcome invents what a function returns, and says what is expected of it.
func (d *driver) outcome(l *lease) (error, error) {
	records := l.batch.Records
	kinds := []func() error{
		func() error { return errors.New("no") },
		func() error { return Permanent(nil) },
		func() error { return TooLarge(nil) },
		func() error { return Throttled(time.Second, nil) },
		func() error { return Halt(nil) },
	}
	one := func(most int) error { return kinds[d.rng.IntN(most)]() }
	switch d.rng.IntN(12) {
	case 0, 1, 2:
		return errors.New("no"), nil
	case 3:
		return one(5), nil
	case 4:
		return errors.New("no"), []error{ErrInvokeTimeout, ErrRevoked, ErrStopping}[d.rng.IntN(3)]
	case 5, 6, 7:
		var f Failures
		for _, r := range records {
			switch d.rng.IntN(6) {
			case 0:
				f.Add(r, one(3))
			case 1:
				if d.rng.IntN(3) == 0 {
					f.StopAt(r, nil)
				}
			case 2:
				if d.rng.IntN(10) == 0 {
					f.Add(r, one(5))
				}
			}
		}
		if d.rng.IntN(20) == 0 {
			f.Add(&kgo.Record{Topic: "strange"}, errors.New("no"))
		}
		return f.Err(), nil
	}
	return nil, nil
}

// end ends one of the invocations that run, and tells the model.
func (d *driver) end(i int, err, cause error) {
	call := d.calls[i]
	d.calls = slices.Delete(d.calls, i, i+1)
	l := call.lease
	v := judge(err, cause)
	d.mu.Lock()
	for tp := range l.batch.ByPartition() {
		d.lanes[tp].inFlight = false
	}
	d.expect(call, v)
	d.mu.Unlock()
	d.e.end(l, v)
}

// expect is the outcome table, record by record.
func (d *driver) expect(call *naiveCall, v verdict) {
	c, now := d.e.cfg, time.Now()
	batch := call.lease.batch
	discards := c.destination != nil
	outcome := v.outcome
	known := map[TopicPartition]map[int64]bool{}
	for tp, records := range batch.ByPartition() {
		known[tp] = map[int64]bool{}
		for _, r := range records {
			known[tp][r.Offset] = true
		}
	}
	for _, f := range v.failures {
		if !known[f.TopicPartition][f.Offset] {
			outcome = OutcomeFailure
		}
	}
	partial := outcome != OutcomeFailure && len(v.failures) > 0
	if outcome == OutcomePermanent && !discards {
		outcome = OutcomeFailure
	}
	delay := d.e.cfg.backoff(1)
	for tp, records := range batch.ByPartition() {
		n := d.lanes[tp]
		if n.epoch != call.epochs[tp] || !n.assigned {
			continue
		}
		set := ""
		for _, r := range records {
			set += fmt.Sprint(r.Offset, ",")
		}
		charge := func(m *naiveRecord, may bool) {
			m.attempts++
			m.notBefore = now.Add(delay)
			if may && c.maxRetries >= 0 && m.attempts > c.maxRetries {
				m.reason = ReasonRetriesExhausted
			}
		}
		give := func(m *naiveRecord, why Reason) {
			m.attempts++
			m.reason = why
		}
		fail := func() {
			first := &n.records[records[0].Offset]
			n.repeats[set]++
			exhausted := c.maxRetries >= 0 && first.attempts+1 > c.maxRetries
			split := c.bisect && len(records) > 1 && (first.searching || n.repeats[set] > 1 || exhausted)
			for _, r := range records {
				m := &n.records[r.Offset]
				if split {
					m.searching, n.most = true, (len(records)+1)/2
				} else {
					charge(m, true)
				}
			}
		}
		switch {
		case partial:
			stop, failed := int64(-1), map[int64][]error{}
			for _, f := range v.failures {
				if f.TopicPartition != tp {
					continue
				}
				failed[f.Offset] = append(failed[f.Offset], f.Err)
				if f.Stopped && (stop < 0 || f.Offset < stop) {
					stop = f.Offset
				}
			}
			var again []*naiveRecord
			for _, r := range records {
				m := &n.records[r.Offset]
				is := judge(errors.Join(failed[r.Offset]...), nil).outcome
				switch {
				case stop >= 0 && r.Offset > stop, is == OutcomeThrottled, is == OutcomeHalt:
				case is == OutcomeSuccess:
					m.done = true
				case is == OutcomePermanent && discards:
					give(m, ReasonPermanent)
				case is == OutcomeTooLarge && discards:
					give(m, ReasonTooLarge)
				default:
					m.searching = false
					again = append(again, m)
				}
			}
			for _, m := range again {
				charge(m, true)
			}
			n.repeats = map[string]int{}
		case outcome == OutcomeSuccess:
			for _, r := range records {
				n.records[r.Offset].done = true
			}
		case len(call.epochs) > 1 && (outcome == OutcomeFailure || outcome == OutcomeTooLarge):
			n.together = (len(call.epochs) + 1) / 2
		case outcome == OutcomeFailure, outcome == OutcomeTooLarge && len(records) == 1 && !discards:
			fail()
		case outcome == OutcomeTooLarge && len(records) > 1:
			n.most = (len(records) + 1) / 2
		case outcome == OutcomeTooLarge:
			give(&n.records[records[0].Offset], ReasonTooLarge)
		case outcome == OutcomePermanent:
			for _, r := range records {
				give(&n.records[r.Offset], ReasonPermanent)
			}
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
	parts := map[*part]bool{}
	for l := range d.e.leases {
		for _, p := range l.work.parts {
			parts[p] = true
		}
	}
	for _, l := range d.e.lanes {
		for _, s := range l.queue {
			count(s.memory, len(s.records))
		}
		if p := l.part(); p != nil {
			parts[p] = true
		}
	}
	for p := range parts {
		if len(p.pieces) == 0 {
			d.wrong("%v: what is not settled is held by nobody", p.lane.TopicPartition)
		}
		for _, m := range p.pieces {
			count(m.memory, m.records)
		}
	}
	return held
}

// step does something, if its kind is not left out.
func (d *driver) step(leftOut uint) {
	synctest.Wait()
	d.e.mu.Lock()
	if got, want := d.e.memory.held, d.weigh(); got != want {
		d.wrong("%d bytes are said to be held, and %d are", got, want)
	}
	d.e.mu.Unlock()
	d.mu.Lock()
	trouble, giving := d.trouble, d.giving
	d.mu.Unlock()
	if giving > 0 {
		synctest.Wait() // what was given up by the last step is gone by this one
	}
	if trouble != nil {
		panic(trouble)
	}
	op := d.rng.IntN(24)
	tp := TopicPartition{"orders", d.rng.Int32N(int32(len(d.lanes)))}
	if leftOut&(1<<op) != 0 {
		return
	}
	n := d.lanes[tp]
	owned, gets := d.owned(n)
	switch {
	case op < 6:
		d.poll(tp, 40)
	case op < 11:
		d.lease()
	case op < 17 && len(d.calls) > 0:
		i := d.rng.IntN(len(d.calls))
		err, cause := d.outcome(d.calls[i].lease)
		d.end(i, err, cause)
	case op == 17 && owned:
		d.mu.Lock()
		n.lose()
		d.mu.Unlock()
		d.e.lose([]TopicPartition{tp}, time.Now())
	case op == 17:
		synctest.Wait()
		d.assign(tp)
	case op == 18:
		d.e.mu.Lock()
		d.e.scale(1+d.rng.IntN(5), "", time.Now())
		d.e.unlock()
	case op == 19:
		d.e.resumeFrom(holdHalt)
	case op == 20 && gets:
		d.giveUp(tp, time.Duration(d.rng.Int64N(int64(10*time.Second))))
	case op == 21 && gets:
		// The client can assign again what it never took away. Nothing begins
		// anew, since it may not bring again what it brought already.
		d.mu.Lock()
		at := n.frontier()
		d.mu.Unlock()
		d.e.assign([]TopicPartition{tp}, time.Now())
		d.e.place([]placement{{tp: tp, at: int64(at), leaderEpoch: -1, committed: true}})
	default:
		time.Sleep(time.Duration(d.rng.Int64N(int64(3 * time.Second))))
		synctest.Wait() // whose time is over now has noticed
	}
}

// giveUp revokes a partition, as a rebalance does: what runs for it may end,
// for so long. It may be lost meanwhile, and come back.
func (d *driver) giveUp(tp TopicPartition, most time.Duration) {
	n := d.lanes[tp]
	d.mu.Lock()
	d.giving++
	n.draining = true
	epoch := n.epoch
	d.mu.Unlock()
	began := make(chan struct{})
	go func() {
		ctx, done := context.WithTimeout(context.Background(), most)
		defer done()
		var ours []*lane
		d.e.drain(ctx, func() []*lane {
			ours = append(ours, d.e.lanes[tp])
			close(began)
			return ours
		}, ErrRevoked)
		d.e.mu.Lock()
		d.e.kill(ours[0], ErrRevoked)
		d.e.unlock()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.giving--
		if n.epoch == epoch {
			n.lose()
		}
	}()
	<-began
}

// owned reports whether a partition is assigned, and whether it gets records
// then.
func (d *driver) owned(n *naiveLane) (assigned, gets bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
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
		d.end(0, nil, nil)
	}
	left := true
	for range 10_000 {
		synctest.Wait() // who gives a partition up goes on
		for tp, n := range d.lanes {
			if owned, _ := d.owned(n); !owned {
				d.assign(tp)
			}
		}
		d.e.resumeFrom(holdHalt)
		for d.lease() {
			d.end(len(d.calls)-1, nil, nil)
		}
		synctest.Wait()
		left = false
		d.mu.Lock()
		if d.trouble != nil {
			panic(d.trouble)
		}
		for _, n := range d.lanes {
			left = left || n.frontier() < n.arrived || n.inFlight
		}
		d.mu.Unlock()
		if !left {
			break
		}
		time.Sleep(time.Second)
		d.e.mu.Lock()
		d.e.due(time.Now())
		d.e.kick(time.Now())
		d.e.unlock()
	}
	d.e.mu.Lock()
	defer d.e.unlock()
	if left {
		rows := ""
		for _, l := range d.e.lanes {
			rows += fmt.Sprintf("\n%v: %s, %d queued, %v", l.TopicPartition, l.state, l.count, l.blocker())
		}
		d.wrong("it does not end%s", rows)
	}
	for tp, n := range d.lanes {
		// A hole at the end is settled with the record after it.
		most := n.frontier()
		least := most
		for least > 0 && n.records[least-1].hole {
			least--
		}
		if got := int(d.e.lanes[tp].frontier()); got < least || got > most {
			d.wrong("%v: the frontier is %d, not %d", tp, got, most)
		}
	}
	if d.e.memory.held != 0 || len(d.e.busy) != 0 || d.e.pool.busy != 0 || len(d.e.leases) != 0 || d.e.workers != 0 {
		d.wrong("at the end: %d bytes held, %d busy, %d leases, %d workers", d.e.memory.held, len(d.e.busy), len(d.e.leases), d.e.workers)
	}
}

// scenario runs one, and returns what did not hold.
func runScenario(seed uint64, steps int, leftOut uint) (d *driver, err error) {
	d = newDriver(seed)
	defer func() {
		if v := recover(); v != nil {
			err, _ = v.(error)
			if _, bug := v.(runtime.Error); bug || err == nil {
				panic(v)
			}
			// The engine may be locked; nobody uses it any more.
		}
		d.stop()
		synctest.Wait()
	}()
	for range steps {
		d.step(leftOut)
	}
	d.finish()
	return d, nil
}

const scenarioSteps = 60

// TestEngineAgreesWithANaiveOne is invariants 1 and 2, the outcome table with
// every combination of options, and the rules of batch assembly, against the
// model. Of a scenario that fails it looks for the shortest beginning, and the
// fewest kinds of steps, that fail too.
func TestEngineAgreesWithANaiveOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if *replay != "" {
			var seed uint64
			var steps int
			var leftOut uint
			if _, err := fmt.Sscanf(*replay, "%d:%d:%d", &seed, &steps, &leftOut); err != nil {
				t.Fatal(err)
			}
			_, err := runScenario(seed, steps, leftOut)
			t.Logf("%v", err)
			return
		}
		fresh, told := 0, 0
		for seed := range uint64(*scenarios) {
			d, err := runScenario(seed, scenarioSteps, 0)
			fresh, told = fresh+d.fresh, told+d.told
			if err == nil {
				continue
			}
			steps, leftOut := shrink(seed)
			_, least := runScenario(seed, steps, leftOut)
			t.Fatalf("seed %d: %v\nshrunk: %v\nagain with: go test -run TestEngineAgrees -replay %d:%d:%d .", seed, err, least, seed, steps, leftOut)
		}
		if fresh < 10**scenarios || told < *scenarios/10 {
			t.Errorf("only %d records in %d scenarios, %d given up", fresh, *scenarios, told)
		}
	})
}

// shrink looks for fewer steps of a scenario that fails.
func shrink(seed uint64) (steps int, leftOut uint) {
	fails := func(steps int, leftOut uint) bool {
		_, err := runScenario(seed, steps, leftOut)
		return err != nil
	}
	steps = scenarioSteps
	for n := range scenarioSteps {
		if fails(n, 0) {
			steps = n
			break
		}
	}
	for op := range 22 {
		if fails(steps, leftOut|1<<op) {
			leftOut |= 1 << op
		}
	}
	return steps, leftOut
}
