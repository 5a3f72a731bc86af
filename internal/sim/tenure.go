package sim

import (
	"context"
	"slices"
	"time"

	"github.com/seed429fd032/esm"
)

// A tenure is what one member does with a partition while it has it.
//
// Of a partition that it has, a member handles one record after the other: what is
// pending was called, or is to be given up, and is not done with; as long as there is
// some, nothing else is called, and of what is, the first pending record is the first.
type tenure struct {
	m       *member
	at      place
	from    time.Time
	began   bool    // something was called, or given up
	last    int64   // the largest offset that was
	pending []int64 // in order
	// owed were passed over, and are to be given up, because they are too old.
	owed   []int64
	passed bool // some of what is pending was passed over
	// free were passed over, and somebody was done with them before: the commit may say so
	// or not, so they may come or not.
	free    []int64
	settled []*entry // what it is done with
	call    string   // that runs, and its context
	ctx     context.Context
}

// frontier is below what it is done with all, or -1 if it has done nothing.
func (t *tenure) frontier() int64 {
	switch {
	case !t.began:
		return -1
	case len(t.pending)+len(t.owed) > 0:
		return slices.Min(slices.Concat(t.pending, t.owed))
	}
	return t.last + 1
}

// takes notes that it does something with these records, in order, and says what is
// wrong with that.
func (w *World) takes(t *tenure, offsets []int64, call bool) {
	p := w.ledger.part(t.at)
	first := offsets[0]
	taken := func(o int64) bool { // by retention, meanwhile
		e := p.records[o]
		return o < first && e != nil && e.gone
	}
	t.pending, t.owed = slices.DeleteFunc(t.pending, taken), slices.DeleteFunc(t.owed, taken)
	if offsets = slices.DeleteFunc(slices.Clone(offsets), func(o int64) bool { return slices.Contains(t.free, o) }); len(offsets) == 0 {
		return
	}
	first = offsets[0]
	if !t.began {
		w.judgeBegin(t, p, first)
		t.began, t.last = true, first-1
	}
	for _, o := range offsets {
		if e := p.records[o]; e != nil && !e.given.IsZero() && e.given.Before(t.from) && !p.wentBack.After(e.given) {
			w.breach("repeat", "%s: %v: offset %d comes again, and whoever settled it gave it up gracefully", t.m, t.at.TopicPartition, o)
		}
	}
	for i := 1; i < len(offsets); i++ {
		if offsets[i] <= offsets[i-1] {
			w.breach("order", "%s: %v: offset %d comes after %d in one batch", t.m, t.at.TopicPartition, offsets[i], offsets[i-1])
		}
	}
	if !call && slices.Contains(t.owed, first) {
		return
	}
	if len(t.pending) > 0 && first <= t.pending[len(t.pending)-1] {
		if call && first != t.pending[0] {
			w.breach("order", "%s: %v: offset %d is called, and %d is not done with", t.m, t.at.TopicPartition, first, t.pending[0])
		}
		for _, o := range offsets {
			if slices.Contains(t.pending, o) {
				continue
			}
			if !t.passed {
				w.breach("order", "%s: %v: offset %d is called in a retry of %v", t.m, t.at.TopicPartition, o, t.pending)
			} else if o <= t.last { // nobody knew of it when it was passed over
				t.pending = append(t.pending, o)
			}
		}
		slices.Sort(t.pending)
		// What was passed over comes with the rest of its batch.
		if offsets = slices.DeleteFunc(slices.Clone(offsets), func(o int64) bool { return o <= t.last }); len(offsets) == 0 || !t.passed {
			return
		}
	} else {
		t.passed = t.passed && len(t.pending) > 0
		if rest := slices.Concat(t.pending, t.owed); call && len(rest) > 0 {
			w.breach("order", "%s: %v: offset %d is called, and %d is not done with", t.m, t.at.TopicPartition, first, rest[0])
		}
		if first <= t.last {
			w.breach("order", "%s: %v: offset %d comes after %d", t.m, t.at.TopicPartition, first, t.last)
		}
	}
	var left []int64
	for o := t.last + 1; o < offsets[len(offsets)-1]; o++ {
		e := p.records[o]
		if e == nil || e.gone || e.fate == aborted || slices.Contains(offsets, o) {
			continue
		}
		if e.done() {
			t.free = append(t.free, o)
			continue
		}
		if age := time.Duration(w.plan.Options.MaxAge); age > 0 && time.Since(e.stamp) >= age {
			t.owed = append(t.owed, o)
			continue
		}
		if !call { // it comes after what is given up of its batch
			left, t.passed = append(left, o), true
			continue
		}
		w.breach("skipped", "%s: %v: offset %d is passed over", t.m, t.at.TopicPartition, o)
		break
	}
	t.pending = slices.Concat(t.pending, left, offsets)
	slices.Sort(t.pending)
	t.last = offsets[len(offsets)-1]
}

// judgeBegin judges where a tenure begins. The lock is held.
func (w *World) judgeBegin(t *tenure, p *part, first int64) {
	if p.wentBack.After(t.from) || t.at.incarnation > 0 && t.from.Sub(w.ledger.remade[t.at.Topic]) < remakeTakes {
		return
	}
	if c := p.committedAt(t.from); first < c {
		w.breach("repeat", "%s: %v: it begins with %d, and %d was committed before it was assigned", t.m, t.at.TopicPartition, first, c)
	}
	if first < p.floor && p.floorAt.Before(t.from) {
		w.breach("repeat", "%s: %v: it begins with %d, and all below %d was done with when it was given up gracefully", t.m, t.at.TopicPartition, first, p.floor)
	}
}

// remakeTakes is how long it takes until all know of a topic that was made anew.
const remakeTakes = 2 * time.Minute

// handles notes what a call or a delivery is done with.
func (t *tenure) handles(e *entry) {
	offset := e.offset
	t.settled = append(t.settled, e)
	is := func(o int64) bool { return o == offset }
	t.pending, t.owed = slices.DeleteFunc(t.pending, is), slices.DeleteFunc(t.owed, is)
}

// tenure is that of a partition, or nil. The lock is held.
func (m *member) tenure(tp esm.TopicPartition) *tenure {
	return m.tenures[m.w.ledger.place(tp)]
}
