package esmtest

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A forecast is the plan of a [Storm]. All of it is drawn from the seed before
// anything runs, so that one seed is one plan, whatever goroutines do.
type forecast struct {
	seed                           uint64
	brokers, partitions, processes int
	eager                          bool // each rebalance takes all partitions away
	batch                          int
	window, session, stop, revoke  time.Duration
	at                             []place // of each record
	waves                          []wave  // in order
	moves                          []move  // in order
	fates                          map[int][]fate
}

// A wave is records that are written together: those up to one, after the last wave.
type wave struct {
	at   time.Duration
	upto int
}

// A move is a rebalance without a fault: a process joins or leaves.
type move struct {
	at   time.Duration
	join bool
	who  uint64 // of those that there are then, counted around
}

// A fate is what becomes of a call with a record. A record may have several, one
// a call.
type fate struct {
	kind fateKind
	d    time.Duration
	flag bool
}

type fateKind int

const (
	// unanswered: the function's success does not reach the Mapping.
	unanswered fateKind = iota + 1
	// crash: once the function has succeeded, its process dies.
	crash
	// night: once the function has succeeded, all processes die, and others start
	// when d has passed.
	night
	// beside: the process freezes before the function has the call, which goes on
	// when another process calls with the record: at the same time, or d later. With
	// flag the process dies then.
	beside
	// stop: the process stops while the call runs, until the time of the call is
	// over. With flag the function has it before, without when its context has ended.
	stop
	// throttle: the function is not called, since it is throttled for d.
	throttle
)

// rank is which fate comes first: two calls at once are worst for a function that has
// not had the record yet.
func (f fate) rank() int {
	if f.kind == beside && f.d == 0 {
		return 0
	}
	return 1
}

func (f fate) String() string {
	switch f.kind {
	case unanswered:
		return "its success is never heard of, and it comes again"
	case crash:
		return "after its success the process dies"
	case night:
		return fmt.Sprintf("after its success all processes die, and others start %s later", f.d)
	case beside:
		when, then := "at the same time", "goes on"
		if f.d > 0 {
			when = fmt.Sprintf("%s later", f.d)
		}
		if f.flag {
			then = "dies"
		}
		return fmt.Sprintf("the process freezes during the call until another one has the record, calls the function %s, and %s", when, then)
	case stop:
		if f.flag {
			return "the process stops, and its time is over after the function has succeeded and before it is heard of"
		}
		return "the process stops, and the context has ended when the function begins"
	case throttle:
		return fmt.Sprintf("throttled for %s", f.d)
	}
	return fmt.Sprintf("fate %d", int(f.kind))
}

// isLate is how long after its success a record comes again at least to be late. A
// night is longer.
const isLate = 2 * time.Minute

// newForecast draws a plan for records.
func newForecast(seed uint64, records []*kgo.Record) *forecast {
	r := rand.New(rand.NewPCG(seed, 0x5707))
	between := func(least, most time.Duration) time.Duration {
		return (least + time.Duration(r.Int64N(int64(most-least)))).Round(10 * time.Millisecond)
	}
	n := len(records)
	f := &forecast{
		seed: seed, brokers: 1 + r.IntN(3), partitions: 2 + r.IntN(4), processes: 2 + r.IntN(2), eager: r.IntN(3) == 0,
		batch: 1 + r.IntN(max(3, n/4)), session: between(6*time.Second, 15*time.Second).Round(time.Second),
		stop: between(time.Second, 5*time.Second), revoke: between(time.Second, 8*time.Second), fates: map[int][]fate{},
	}
	if r.IntN(2) == 0 {
		f.window = between(100*time.Millisecond, 2*time.Second)
	}
	f.settle(records)

	var now time.Duration
	for upto := 0; upto < n; {
		upto = min(n, upto+1+r.IntN(max(1, n/2)))
		f.waves = append(f.waves, wave{now, upto})
		now += between(2*time.Second, 20*time.Second)
	}
	for at, join := between(3*time.Second, 15*time.Second), r.IntN(2) == 0; at < now; at += between(5*time.Second, 20*time.Second) {
		f.moves = append(f.moves, move{at, join, r.Uint64()})
		join = !join // so that there are never many, nor none
	}

	some := func(most int, one func() fate) {
		for range min(1+r.IntN(1+n/6), most) {
			i := r.IntN(n)
			f.fates[i] = append(f.fates[i], one())
		}
	}
	some(3, func() fate { return fate{kind: crash} })
	some(2, func() fate {
		return fate{kind: night, d: between(isLate+time.Minute, 30*time.Minute).Round(time.Second)}
	})
	for n := range 2 + r.IntN(2) {
		one, i := fate{kind: beside, flag: r.IntN(2) == 0}, r.IntN(len(records))
		if n > 0 { // the first is at the same time, so that there is one
			one.d = between(time.Second, 30*time.Second)
		}
		f.fates[i] = append(f.fates[i], one)
	}
	some(3, func() fate { return fate{kind: stop, flag: r.IntN(2) == 0} })
	some(6, func() fate { return fate{kind: unanswered} })
	some(3, func() fate { return fate{kind: throttle, d: between(time.Second, 20*time.Second)} })
	for i := range n {
		own := f.fates[i]
		r.Shuffle(len(own), func(a, b int) { own[a], own[b] = own[b], own[a] })
		slices.SortStableFunc(own, func(a, b fate) int { return a.rank() - b.rank() })
	}
	return f
}

// settle says where each record stands: as [Kafka.ProduceRecords] does, but before
// there is a Kafka.
func (f *forecast) settle(records []*kgo.Record) {
	for _, r := range records {
		if p, ok := pinned(r); ok {
			f.partitions = max(f.partitions, int(p)+1)
		}
	}
	turns, ends := map[string]int{}, map[string][]int64{}
	for _, r := range records {
		if ends[r.Topic] == nil {
			ends[r.Topic] = make([]int64, f.partitions)
		}
		p, ok := pinned(r)
		switch {
		case ok:
		case r.Key != nil:
			h := fnv.New32a()
			_, _ = h.Write(r.Key) // never fails
			p = int32(h.Sum32() % uint32(f.partitions))
		default:
			p = int32(turns[r.Topic] % f.partitions)
			turns[r.Topic]++
		}
		at := place{offset: ends[r.Topic][p]}
		at.Topic, at.Partition = r.Topic, p
		ends[r.Topic][p]++
		f.at = append(f.at, at)
	}
}

// pinned is the partition that [At] gave a record.
func pinned(r *kgo.Record) (p int32, ok bool) {
	if r.Context == nil {
		return 0, false
	}
	p, ok = r.Context.Value(atKey{}).(int32)
	return p, ok
}

// lags says how long the nth call with a record waits before it has the function,
// and afterwards before its outcome is told.
func (f *forecast) lags(at place, visit int) (before, after time.Duration) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(at.Topic)) // never fails
	_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(at.Partition)))
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(at.offset)))
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(visit)))
	r := rand.New(rand.NewPCG(f.seed, h.Sum64()))
	lag := func() time.Duration {
		switch p := r.IntN(100); {
		case p < 50:
			return 0
		case p < 85:
			return time.Duration(r.Int64N(int64(500 * time.Millisecond)))
		case p < 98:
			return time.Duration(r.Int64N(int64(5 * time.Second)))
		default:
			return time.Duration(r.Int64N(int64(20 * time.Second)))
		}
	}
	return lag(), lag()
}

func (p place) String() string {
	return fmt.Sprintf("%s/%d offset %d", p.Topic, p.Partition, p.offset)
}

// String is the whole plan, but for the lags of calls.
func (f *forecast) String() string {
	var b strings.Builder
	kind := "cooperative"
	if f.eager {
		kind = "eager"
	}
	fmt.Fprintf(&b, "seed %d: brokers %d, partitions %d, processes %d, %s rebalances, sessions of %s, batches of %d, windows of %s, %s to stop, %s to give up partitions",
		f.seed, f.brokers, f.partitions, f.processes, kind, f.session, f.batch, f.window, f.stop, f.revoke)
	type line struct {
		at   time.Duration
		text string
	}
	var lines []line
	from := 0
	for _, w := range f.waves {
		lines = append(lines, line{w.at, fmt.Sprintf("records %d to %d are written", from, w.upto-1)})
		from = w.upto
	}
	for _, m := range f.moves {
		what := "leaves"
		if m.join {
			what = "joins"
		}
		lines = append(lines, line{m.at, "a process " + what})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return int(a.at - b.at) })
	for _, l := range lines {
		fmt.Fprintf(&b, "\n  at %s %s", l.at, l.text)
	}
	for i, at := range f.at {
		for n, one := range f.fates[i] {
			then := ""
			if n > 0 {
				then = "then "
			}
			fmt.Fprintf(&b, "\n  record %d (%s): %s%s", i, at, then, one)
		}
	}
	return b.String()
}
