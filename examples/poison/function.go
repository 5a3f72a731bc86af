package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

// errOrder is all that the function says: not which order it was.
var errOrder = errors.New("one of these orders makes no sense")

// billing is the function. It writes all orders of a batch in one transaction,
// say, which takes its time and fails as a whole.
func billing(check *check) esm.InvokerFunc {
	return func(ctx context.Context, b *esm.Batch) error {
		if err := demo.Work(ctx, work); err != nil {
			return err
		}
		for _, r := range b.Records {
			if string(r.Value) == poisoned {
				return errOrder
			}
		}
		check.handled(b.Records)
		return nil
	}
}

// A witness stands between the Mapping and the function, where it sees the
// offsets of every invocation. Hooks tell of its partitions only.
type witness struct {
	next   esm.Invoker
	waits  *waits
	search *search
}

// A call is what an invocation has of one partition.
type call struct {
	partition   int32
	first, last int64 // offsets
	records     int
	alone       bool // it has nothing of other partitions
}

func (w *witness) Invoke(ctx context.Context, b *esm.Batch) error {
	var calls []call
	for tp, records := range b.ByPartition() {
		calls = append(calls, call{
			partition: tp.Partition, first: records[0].Offset, last: records[len(records)-1].Offset,
			records: len(records), alone: len(records) == len(b.Records),
		})
	}
	for _, c := range calls {
		w.waits.started(c)
	}
	err := w.next.Invoke(ctx, b)
	outcome := esm.Classify(ctx, err)
	for _, c := range calls {
		w.waits.ended(c, outcome)
		w.search.ended(c, outcome)
	}
	return err
}

// A search shows the invocations of batches with poison, and of their pieces,
// and counts the pieces.
type search struct {
	show func(line string)

	mu     sync.Mutex
	within map[int32]*hunt
	pieces int
}

// A hunt is a batch that failed.
type hunt struct {
	call
	found int64 // the last record that failed alone, or -1
}

func newSearch(show func(line string)) *search {
	return &search{show: show, within: map[int32]*hunt{}}
}

// ended notes an invocation.
func (s *search) ended(c call, outcome esm.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.within[c.partition]
	if h != nil && c.first > h.last {
		delete(s.within, c.partition)
		h = nil
	}
	failed := outcome == esm.OutcomeFailure
	switch {
	case h == nil && !failed:
		return
	case h == nil && c.alone:
		h = &hunt{call: c, found: -1}
		s.within[c.partition] = h
	case h != nil && c.records < h.records && !(c.records == 1 && c.first == h.found):
		s.pieces++ // and not another attempt of the record that was found
	}
	if h != nil && failed && c.records == 1 {
		h.found = c.first
	}
	said := "ok"
	if outcome != esm.OutcomeSuccess {
		said = fmt.Sprint(outcome)
	}
	if failed {
		said = "failed"
	}
	s.show(line(c.partition, c.first, c.records, "%s", said))
}

// total is how many invocations the search took: all those of pieces of a batch
// that failed, also where there was no poison in them. The other attempts of a
// record that was found do not count.
func (s *search) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pieces
}

// line is what is shown of some records. There are no holes between them.
func line(partition int32, first int64, records int, format string, args ...any) string {
	offsets, noun := fmt.Sprint(first), "record"
	if records > 1 {
		offsets, noun = fmt.Sprintf("%d-%d", first, first+int64(records)-1), "records"
	}
	return fmt.Sprintf("  %s/%d  %-15s %3d %-7s  %s", topic, partition, offsets, records, noun, fmt.Sprintf(format, args...))
}

// waits finds out whether partitions without poison wait for those with it. It
// counts invocations and looks at no clock, so that a slow machine is not taken
// for a partition that waits.
//
// A partition with poison is held up from the first failure to the delivery,
// with up to three back-offs in between, in which nothing of it is invoked. A
// partition that waits with it starts nothing in these either, or what was under
// way: one invocation in each, at most. One that does not wait starts one every
// 30 ms: about forty. What has nothing left when the poison is delivered is not
// judged, since it may have finished before the first back-off.
type waits struct {
	mu        sync.Mutex
	others    map[int32]*other
	held      map[int32]*holdUp
	waited    map[int32]bool
	meanwhile int
}

// An other is a partition without poison.
type other struct {
	end, next int64 // it is done at end, and was invoked to next
	started   int   // invocations
}

// A holdUp is of a partition with poison.
type holdUp struct {
	still  bool          // nothing of it is invoked now
	before map[int32]int // what the others had started when that began
	during map[int32]int // what they started in all these times
}

func newWaits(ends map[int32]int64, poison map[int32][]int64) *waits {
	w := &waits{others: map[int32]*other{}, held: map[int32]*holdUp{}, waited: map[int32]bool{}}
	for p, end := range ends {
		if len(poison[p]) == 0 {
			w.others[p] = &other{end: end}
		}
	}
	return w
}

// started notes that an invocation begins.
func (w *waits) started(c call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o := w.others[c.partition]; o != nil {
		o.started++
		o.next = max(o.next, c.last+1)
		return
	}
	if h := w.held[c.partition]; h != nil {
		w.end(h)
	}
}

// ended notes how it ended.
func (w *waits) ended(c call, outcome esm.Outcome) {
	if outcome != esm.OutcomeFailure || !c.alone {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.others[c.partition] != nil {
		return
	}
	h := w.held[c.partition]
	if h == nil {
		h = &holdUp{before: map[int32]int{}, during: map[int32]int{}}
		w.held[c.partition] = h
	}
	h.still = true
	for p, o := range w.others {
		h.before[p] = o.started
	}
}

// end ends a time in which nothing of a partition was invoked.
func (w *waits) end(h *holdUp) {
	if !h.still {
		return
	}
	h.still = false
	for p, o := range w.others {
		n := o.started - h.before[p]
		h.during[p] += n
		w.meanwhile += n
	}
}

// over notes that the poison was delivered.
func (w *waits) over(partition int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.held[partition]
	if h == nil {
		return
	}
	w.end(h)
	delete(w.held, partition)
	for p, o := range w.others {
		if o.next < o.end && h.during[p] <= retries {
			w.waited[p] = true
		}
	}
}

// judge returns how many partitions waited, and how often the others were
// invoked while a partition with poison waited.
func (w *waits) judge() (waited, meanwhile int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waited), w.meanwhile
}
