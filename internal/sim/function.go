package sim

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

var (
	errFunction    = errors.New("the function fails, as the plan says")
	errDestination = errors.New("the destination fails, as the plan says")
	errDead        = errors.New("the process is gone")
)

// A visit is one call of the function, or of the destination.
type visit struct {
	id      string
	entries []*entry
	tenures []*tenure // beside them
	byPart  map[*tenure][]int64
	key     uint64 // of what is drawn: which records, and how often the first of them was called
}

// begin judges that a call begins. It returns nil if the member is dead, and does
// nothing more.
func (m *member) begin(ctx context.Context, b *esm.Batch) *visit {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	m.seen.calls++
	m.seen.records += int64(len(b.Records))
	if m.dead {
		return nil
	}
	v := &visit{id: b.ID, byPart: map[*tenure][]int64{}}
	var order []*tenure
	for _, r := range b.Records {
		e, wrong := w.ledger.find(r)
		if wrong != "" {
			w.breach("content", "%s: call %s: %s", m, b.ID, wrong)
		}
		tp := esm.TopicPartition{Topic: r.Topic, Partition: r.Partition}
		t := m.tenure(tp)
		if e != nil && t != nil && e.offset < 0 {
			w.ledger.settle(e, t.at, r.Offset)
		}
		if e != nil && e.at.incarnation != w.ledger.incarnation[r.Topic] {
			t, e = nil, nil // of a topic that is no more; nobody has to know yet
		}
		switch {
		case e == nil:
		case t == nil:
			w.breach("never", "%s: call %s of %v, which it does not have", m, b.ID, tp)
		default:
			if _, ok := v.byPart[t]; !ok {
				order = append(order, t)
			}
			v.byPart[t] = append(v.byPart[t], r.Offset)
		}
		if e != nil && t == nil {
			e = nil
		}
		v.entries, v.tenures = append(v.entries, e), append(v.tenures, t)
	}
	for i, e := range v.entries {
		if e != nil {
			e.calls++
			v.key = mix(v.key + e.number + uint64(i) + uint64(e.calls)<<32)
		}
	}
	for _, t := range order {
		if t.call != "" {
			w.breach("exclusive", "%s: %v: call %s beside call %s", m, t.at.TopicPartition, b.ID, t.call)
		}
		t.call, t.ctx = b.ID, ctx
		w.takes(t, v.byPart[t], true)
		w.ledger.part(t.at).moved = time.Now()
	}
	if m.paused {
		w.breach("paused", "%s: call %s begins, and it is paused", m, b.ID)
	}
	m.running++
	w.counts["calls"]++
	w.judgeCall(m, b)
	for _, t := range order {
		w.traced("%s call %s attempt %d of %v offsets %v", m.name, b.ID, b.Attempt, t.at.TopicPartition, v.byPart[t])
	}
	return v
}

// invoke is the function.
func (m *member) invoke(ctx context.Context, b *esm.Batch) (err error) {
	v := m.begin(ctx, b)
	if v == nil {
		return errDead
	}
	// Not read again after the call: the function may write into it.
	records := append([]*kgo.Record(nil), b.Records...)
	said := said{}
	returned := false
	defer func() { m.finish(v, said, returned, ctx) }()
	err = m.acts(ctx, b, v, &said)
	m.scribbles(v, records)
	returned = true
	return err
}

// said is what the function says of each record.
type said struct {
	all       bool // it succeeded
	ok        []bool
	permanent []bool
	charged   []bool // whose attempt counts
}

// acts does what the seed says of this call.
func (m *member) acts(ctx context.Context, b *esm.Batch, v *visit, s *said) error {
	w, f := m.w, m.w.plan.Function
	of := []uint64{v.key, uint64(b.Attempt), uint64(len(b.Records)), uint64(m.id)}
	takes := time.Duration(f.Takes + w.dice.span(f.Spread, "takes", of...))
	if err := m.waits(ctx, takes); err != nil {
		return err
	}
	n := len(b.Records)
	s.ok, s.charged, s.permanent = make([]bool, n), make([]bool, n), make([]bool, n)
	failing, first := m.failing(b, v, s)
	w.mu.Lock()
	choked := m.choked > 0
	w.mu.Unlock()
	hit := func(odds int, what string) bool { return w.dice.odds(odds, what, of...) }
	charge := func() {
		for i := range s.charged {
			s.charged[i] = true
		}
	}
	switch {
	case choked, hit(f.Throttles, "throttles"):
		return esm.Throttled(time.Duration(w.dice.span(second, "after", of...)), errFunction)
	case hit(f.Hangs, "hangs"):
		m.hangs(ctx)
	case hit(f.Deaf, "deaf"):
		m.hangs(m.life)
	case hit(f.Panics, "panics"):
		charge()
		panic("the function panics, as the plan says")
	case hit(f.Exits, "exits"):
		charge()
		runtime.Goexit()
	case n > 1 && hit(f.TooLarge, "too large"):
		return esm.TooLarge(errFunction)
	case hit(f.Fails, "fails"):
		charge()
		return errFunction
	}
	if ctx.Err() != nil && !w.dice.odds(500, "stubborn", of...) {
		return ctx.Err()
	}
	return m.says(b, v, s, failing, first, of)
}

// failing are records that fail by themselves, and the first of them, or -1.
func (m *member) failing(b *esm.Batch, v *visit, s *said) (failing []error, first int) {
	w, f := m.w, m.w.plan.Function
	failing, first = make([]error, len(b.Records)), -1
	for i, e := range v.entries {
		if e == nil {
			continue
		}
		switch {
		case w.dice.odds(f.Permanent, "permanent", e.number):
			failing[i], s.permanent[i] = esm.Permanent(errFunction), true
		case w.dice.odds(f.Poison, "poison", e.number) && (m.givesUp() || b.Attempt < 4):
			failing[i] = errFunction
		}
		if failing[i] != nil && first < 0 {
			first = i
		}
	}
	return failing, first
}

// givesUp reports whether a record that always fails is given up.
func (m *member) givesUp() bool {
	return m.limits.retries >= 0 || m.limits.age > 0
}

// says answers for each record.
func (m *member) says(b *esm.Batch, v *visit, s *said, failing []error, first int, of []uint64) error {
	w, f := m.w, m.w.plan.Function
	n := len(b.Records)
	hit := func(odds int, what string) bool { return w.dice.odds(odds, what, of...) }
	some, stops := hit(f.Some, "some"), hit(f.Stops, "stops")
	if first < 0 && !some && !stops {
		s.all = true
		for i := range s.ok {
			s.ok[i] = true
		}
		return nil
	}
	if first >= 0 && hit(300, "wholly") { // the function cannot say which
		for i := range s.charged {
			s.charged[i] = true
		}
		return errFunction
	}
	var failures esm.Failures
	stop := -1
	if stops {
		stop = int(w.dice.throw("where", of...) % uint64(n))
	}
	for i, r := range b.Records {
		err := failing[i]
		if err == nil && some && w.dice.odds(300, "this one", append(of, uint64(i))...) {
			err = errFunction
		}
		switch {
		case i == stop:
			failures.StopAt(r, errFunction)
			s.charged[i] = true
		case stop >= 0 && i > stop && r.Topic == b.Records[stop].Topic && r.Partition == b.Records[stop].Partition:
			// Not tried.
		case err != nil:
			failures.Add(r, err)
			s.charged[i] = true
		default:
			s.ok[i] = true
		}
	}
	err := failures.Err()
	s.all = err == nil
	return err
}

// waits takes time, as work does. A member that is frozen does not work.
func (m *member) waits(ctx context.Context, d time.Duration) error {
	for d > 0 {
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-m.life.Done():
			timer.Stop()
			return errDead
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		m.w.mu.Lock()
		d = time.Until(m.frozen)
		m.w.mu.Unlock()
	}
	return nil
}

// hangs waits until a context ends, or for ten seconds.
func (m *member) hangs(ctx context.Context) {
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.life.Done():
	case <-ctx.Done():
	}
}

// scribbles writes into what the function got, as it may not.
func (m *member) scribbles(v *visit, records []*kgo.Record) {
	for i, e := range v.entries {
		if e == nil || !m.w.dice.odds(m.w.plan.Function.Scribbles, "scribbles", e.number) {
			continue
		}
		r := records[i]
		r.Topic, r.Partition, r.Offset, r.Value, r.Key = "scribbled", 99, -5, bytes.Repeat([]byte{1}, 9), nil
	}
}

// finish judges that a call ends. What it says counts as soon as it has said it.
func (m *member) finish(v *visit, s said, returned bool, ctx context.Context) {
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	m.running--
	now := time.Now()
	for t := range v.byPart {
		if t.call == v.id {
			t.call, t.ctx = "", nil
		}
	}
	if m.dead {
		return
	}
	void := ctx.Err() != nil && !s.all
	// What comes after a context has ended counts for nothing, but a success.
	for i, e := range v.entries {
		if e == nil {
			continue
		}
		t := v.tenures[i]
		w.ledger.part(t.at).moved = now
		if s.ok != nil && s.ok[i] && (returned || s.all) {
			if e.handled++; e.handled > 1 {
				w.counts["repeats"]++
			}
			if !void { // or it comes again, although it was handled
				t.handles(e)
			}
		}
		if s.charged != nil && s.charged[i] && s.permanent[i] {
			e.permanent = true
		}
	}
	w.traced("%s call %s ended, ok %v, void %v", m.name, v.id, s.ok, void)
}

// deliver is the destination.
func (m *member) deliver(ctx context.Context, d *esm.Discard) error {
	w := m.w
	w.mu.Lock()
	if m.dead {
		w.mu.Unlock()
		return errDead
	}
	e, wrong := w.ledger.find(d.Record)
	tp := esm.TopicPartition{Topic: d.Record.Topic, Partition: d.Record.Partition}
	t := m.tenure(tp)
	if e != nil && t != nil && e.offset < 0 {
		w.ledger.settle(e, t.at, d.Record.Offset)
	}
	if e != nil && e.offset >= 0 && e.at.incarnation != w.ledger.incarnation[tp.Topic] {
		e, wrong = nil, ""
	}
	if wrong != "" && e == nil {
		w.breach("content", "%s: a discard: %s", m, wrong)
	}
	if e != nil {
		if t == nil {
			w.breach("never", "%s: a discard of %v, which it does not have", m, tp)
		} else {
			w.takes(t, []int64{d.Record.Offset}, false)
			w.ledger.part(t.at).moved = time.Now()
		}
		w.traced("%s delivery %d of %v offset %d", m.name, d.Delivery, tp, d.Record.Offset)
		w.judgeDiscard(m, e, d)
	}
	broken := w.breaks > 0
	w.mu.Unlock()
	n := uint64(d.Record.Offset)
	if err := m.waits(ctx, time.Duration(w.dice.span(w.plan.Options.DeliveryTakes, "delivery", n, uint64(d.Delivery)))); err != nil {
		return err
	}
	if broken || w.dice.odds(10*w.plan.Options.DeliveryFailures, "delivery fails", n, uint64(d.Delivery)) {
		return errDestination
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.dead {
		return errDead
	}
	m.seen.delivered++
	w.counts["discards"]++
	if e != nil {
		e.delivered = true
		if t != nil {
			t.handles(e)
			w.ledger.part(t.at).moved = time.Now()
		}
	}
	return nil
}
