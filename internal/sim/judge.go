package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
)

// Judges are the names of all judges, and what each says is not so when it is broken.
var Judges = map[string]string{
	"lost":      "a record that is there was handled, or a destination took it",
	"content":   "what comes is what was written",
	"order":     "what comes of a partition comes in order, one batch after the other",
	"skipped":   "no record is passed over",
	"exclusive": "a partition has one call at once in a member",
	"never":     "nothing is called of a partition that a member does not have",
	"commit":    "no member asks to commit what is not done with",
	"back":      "the committed offset does not move back",
	"repeat":    "what comes again was not committed, and was not given up gracefully",
	"discard":   "what is given up has a reason",
	"still":     "a partition that stands still is named",
	"lag":       "a lag that is known is right",
	"memory":    "what is held is bounded",
	"bounds":    "batches and calls are no more than the options say",
	"paused":    "nothing runs while a member is paused",
	"update":    "an update of a member that runs is taken",
	"phase":     "a Mapping changes its phase as documented",
	"recount":   "the counters count what happened",
	"gone":      "what is called lost was taken by retention, and what it took is called lost",
	"end":       "a Mapping starts and stops well when nothing is wrong",
	"settled":   "what was handled is committed when all members have stopped",
	"world":     "the simulation itself works",
}

// A recount is what happened to one member, for its Stats.
type recount struct {
	calls, records       int64
	delivered, discarded int64 // by the destination, and by the hook
	started, ended       int64 // hooks
}

// observe looks at each commit that is asked for, when it arrives.
func (w *World) observe() {
	w.endsOfEpochs()
	w.hears()
	cluster := w.kafka.Cluster()
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		w.asks(r.(*kmsg.OffsetCommitRequest))
		return nil, nil, false
	})
}

// asks judges a commit that a member asks for. The argument why that is sound while
// records are produced: a record is known when a function is given it or when its
// producer hears of it. What is below the offset and not known then is judged when its
// producer hears of it.
func (w *World) asks(r *kmsg.OffsetCommitRequest) {
	for i, t := range r.Topics {
		if t.Topic != "" {
			continue
		}
		if info := w.kafka.Cluster().TopicIDInfo(t.TopicID); info != nil {
			r.Topics[i].Topic = info.Topic
			defer func() { r.Topics[i].Topic = "" }()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range r.Topics {
		for _, in := range t.Partitions {
			tp := esm.TopicPartition{Topic: t.Topic, Partition: in.Partition}
			p := w.ledger.now(tp)
			w.traced("commit of %v up to %d", tp, in.Offset)
			w.anchors(p, in.Offset)
			if w.recentlyRemade(tp.Topic) {
				continue
			}
			if f := p.frontier(); in.Offset > f {
				w.breach("commit", "%v is asked to be committed up to %d, and offset %d is not done with", tp, in.Offset, f)
			}
			p.asked = max(p.asked, in.Offset)
		}
	}
}

// anchors takes a commit of a partition of a group that begins with Latest, as long as
// none was taken: what was there before is passed over.
func (w *World) anchors(p *part, offset int64) {
	if w.plan.Options.Start != "latest" || p.kept >= 0 {
		return
	}
	for o, e := range p.records {
		if o < offset && w.beforeStart(e) {
			e.gone = true
		}
	}
}

// beforeStart reports whether a record was there before the brokers had taken where its
// partition begins: until then, who gets the partition next cannot know that somebody had
// it.
func (w *World) beforeStart(e *entry) bool {
	p := w.ledger.part(e.at)
	return p.kept < 0 || e.offset < p.anchor
}

func (w *World) recentlyRemade(topic string) bool {
	at, ok := w.ledger.remade[topic]
	return ok && time.Since(at) < remakeTakes
}

// judgeCall judges the size of a call, and how many there are. The lock is held.
func (w *World) judgeCall(m *member, b *esm.Batch) {
	l := &m.limits
	most := l.batch
	// What was assembled before an update may be of its size.
	if time.Since(l.updated) < 2*time.Minute {
		most = max(most, l.batchWas)
	}
	if len(b.Records) > most {
		w.breach("bounds", "%s: a batch of %d records, and %d are allowed", m, len(b.Records), most)
	}
	if w.plan.Options.GroupBounds {
		w.judgeTogether(m)
		return
	}
	calls := l.calls
	if calls > 0 && time.Since(l.updated) < 2*time.Minute {
		if calls = max(calls, l.callsWere); l.callsWere == 0 {
			calls = 0
		}
	}
	if calls > 0 && m.running > calls {
		w.breach("bounds", "%s: %d calls at once, and %d are allowed", m, m.running, calls)
	}
	if !w.plan.Options.OnDemand && m.running > l.slots {
		w.breach("bounds", "%s: %d calls at once, and its pollers have %d", m, m.running, l.slots)
	}
}

// judgePaused judges that a member whose Pause has returned does nothing, if it is paused still.
// That nothing begins until it resumes is judged where calls do.
func (w *World) judgePaused(m *member, is esm.Phase) {
	if m.running > 0 && !m.dead && is == esm.PhasePaused {
		w.breach("paused", "%s is paused, and %d calls run", m, m.running)
	}
}

// judgeUpdate judges what an update of options that are right came to.
func (w *World) judgeUpdate(m *member, err error) {
	if err != nil && !errors.Is(err, esm.ErrStopped) && !m.dead && !m.leaving {
		w.breach("update", "%s refused an update: %v", m, err)
	}
}

// judgeTogether judges the calls of all members of a group that shares its bounds: no more than
// those, and one of each member, for a share of none is a slot all the same. A member that lost
// its session does not know it yet, an update is of one member, and that there are other
// partitions each hears at another time.
func (w *World) judgeTogether(m *member) {
	most, members, calls := m.limits.slots, 0, map[string]bool{}
	if c := m.limits.calls; c > 0 {
		most = min(most, c)
	}
	if w.faults[Update]+w.faults[Forget]+w.faults[Freeze]+w.faults[Kill]+w.faults[Grow]+w.faults[Remake] > 0 {
		return
	}
	for _, other := range w.members {
		if other.dead || other.stopped {
			continue
		}
		members++
		for _, t := range other.tenures {
			if t.call != "" && t.ctx.Err() == nil {
				calls[fmt.Sprint(other.id, t.call)] = true
			}
		}
	}
	if len(calls) > most+members-1 {
		w.breach("bounds", "%d calls of %d members at once, and %d are allowed", len(calls), members, most)
	}
}

// judgeDiscard judges why a record is given up. The lock is held.
func (w *World) judgeDiscard(m *member, e *entry, d *esm.Discard) {
	o := w.plan.Options
	why := ""
	switch d.Reason {
	case esm.ReasonRetriesExhausted:
		if o.MaxRetries < 0 || d.Attempts <= o.MaxRetries {
			why = fmt.Sprintf("%d attempts failed, and %d retries are allowed", d.Attempts, o.MaxRetries)
		}
	case esm.ReasonTooOld:
		if age := time.Since(e.stamp); o.MaxAge == 0 || age < time.Duration(o.MaxAge) {
			why = fmt.Sprintf("it is %s old, and may be %s", age, o.MaxAge)
		}
	case esm.ReasonPermanent:
		if !e.permanent {
			why = "the function never said so"
		}
	case esm.ReasonTooLarge:
		why = "the function never said so of one record"
	default:
		why = "there is no such thing here"
	}
	if why != "" {
		w.breach("discard", "%s: %s/%d offset %d is given up because of %q: %s", m, d.Record.Topic, d.Record.Partition, d.Record.Offset, d.Reason, why)
	}
}

// legal are the phases that follow each.
var legal = map[esm.Phase][]esm.Phase{
	esm.PhaseNew:      {esm.PhaseStarting, esm.PhaseStopping, esm.PhaseStopped},
	esm.PhaseStarting: {esm.PhaseRunning, esm.PhaseNew, esm.PhaseStopping, esm.PhaseStopped, esm.PhasePaused},
	esm.PhaseRunning:  {esm.PhasePaused, esm.PhaseHalted, esm.PhaseStopping},
	esm.PhasePaused:   {esm.PhaseRunning, esm.PhaseStopping, esm.PhaseHalted},
	esm.PhaseHalted:   {esm.PhaseRunning, esm.PhasePaused, esm.PhaseStopping},
	esm.PhaseStopping: {esm.PhaseStopped},
}

// hooks tell what happens to a member.
func (m *member) hooks() esm.Hooks {
	w := m.w
	hook := func(f func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		f()
	}
	return esm.Hooks{
		StateChanged: func(s esm.State) {
			hook(func() {
				w.traced("%s is %s", m.name, s.Phase)
				if !slices.Contains(legal[m.phase], s.Phase) || s.From != m.phase {
					w.breach("phase", "%s: from %s to %s, and it was %s", m, s.From, s.Phase, m.phase)
				}
				m.phase = s.Phase
			})
		},
		Assigned:      func(i esm.Rebalance) { hook(func() { m.assigned(i) }) },
		Revoked:       func(i esm.Rebalance) { hook(func() { m.revoked(i) }) },
		Committed:     func(c esm.Commit) { hook(func() { m.committed(c) }) },
		RecordsLost:   func(g esm.Gap) { hook(func() { m.lost(g) }) },
		PositionReset: func(g esm.Gap) { hook(func() { m.reset(g) }) },
		InvokeStarted: func(esm.Invocation) { hook(func() { m.seen.started++ }) },
		InvokeEnded:   func(esm.Invocation) { hook(func() { m.seen.ended++ }) },
		Discarded:     func(*esm.Discard) { hook(func() { m.seen.discarded++ }) },
		ProblemRaised: func(p esm.Problem) { w.trace("%s problem with %s", m.name, p.With) },
	}
}

func (m *member) assigned(i esm.Rebalance) {
	w, now := m.w, time.Now()
	w.traced("%s is assigned %v", m.name, i.Partitions)
	w.counts["rebalances"]++
	if m.dead || m.stopped {
		return
	}
	for _, tp := range i.Partitions {
		at := w.ledger.place(tp)
		// A client that has to forget a topic tells nobody, if it joins just then.
		if m.tenures[at] != nil && !w.recentlyRemade(tp.Topic) {
			w.breach("phase", "%s: %v is assigned twice", m, tp)
		}
		m.tenures[at] = &tenure{m: m, at: at, from: now, last: -1}
		w.ledger.part(at).owned = now
	}
	have := 0
	for at := range m.tenures {
		if at.incarnation == w.ledger.incarnation[at.Topic] {
			have++
		}
	}
	if i.Total != have && len(w.ledger.remade) == 0 {
		w.breach("recount", "%s: %d partitions are said to be assigned, and it has %d", m, i.Total, have)
	}
}

func (m *member) revoked(i esm.Rebalance) {
	w, now := m.w, time.Now()
	w.traced("%s is revoked %v, lost %v, cancelled %d, again %d, %v", m.name, i.Partitions, i.Lost, i.Cancelled, i.Again, i.CommitErr)
	if m.dead || m.stopped { // a Stop that did not wait for all of it has said so
		return
	}
	how := ""
	switch {
	case i.Lost:
		how = "lost"
	case i.CommitErr != nil:
		how = "its commit failed"
	case i.Cancelled > 0:
		how = "calls were cancelled"
	}
	for _, tp := range i.Partitions {
		at := w.ledger.place(tp)
		t := m.tenures[at]
		for t == nil && at.incarnation > 0 {
			at.incarnation-- // it was made anew, and that is how it hears of it
			t = m.tenures[at]
		}
		if t == nil {
			if !w.recentlyRemade(tp.Topic) {
				w.breach("phase", "%s: %v is revoked, and it does not have it", m, tp)
			}
			continue
		}
		delete(m.tenures, at)
		w.ends(t, how, i.Again, now)
	}
}

// ends ends a tenure, of which so many records come again. The lock is held.
func (w *World) ends(t *tenure, how string, again int, now time.Time) {
	p := w.ledger.part(t.at)
	p.owned = now
	if how != "" {
		w.counts["ends without grace"]++
		return
	}
	if t.call != "" && t.ctx.Err() == nil { // one that ignores its context counts for nothing
		w.breach("never", "%s: %v is given up gracefully while call %s runs", t.m, t.at.TopicPartition, t.call)
	}
	if again == 0 {
		for _, e := range t.settled {
			e.given = now
		}
	}
	if f := t.frontier(); f > p.floor {
		p.floor, p.floorAt = f, now
	}
}

func (m *member) committed(c esm.Commit) {
	w, now := m.w, time.Now()
	for tp, offset := range c.Offsets {
		at := w.ledger.place(tp)
		if w.recentlyRemade(tp.Topic) {
			continue
		}
		p := w.ledger.part(at)
		p.moved = now
		p.committed = append(p.committed, mark{now, offset})
	}
}

// lost judges that records are called lost.
func (m *member) lost(g esm.Gap) {
	w := m.w
	w.traced("%s calls %v lost from %d to %d", m.name, g.TopicPartition, g.From, g.To)
	w.counts["lost to retention"] += int(g.To - g.From)
	p := w.ledger.now(g.TopicPartition)
	if g.To > p.gone && !w.recentlyRemade(g.Topic) {
		w.breach("gone", "%s: %v is called lost from %d to %d, and all below %d was taken", m, g.TopicPartition, g.From, g.To, p.gone)
	}
	p.told = append(p.told, [2]int64{g.From, g.To})
	p.moved = time.Now()
}

// reset takes that a position moved back, which it does only where a topic was made anew.
func (m *member) reset(g esm.Gap) {
	w := m.w
	w.traced("%s moves %v back from %d to %d: %v", m.name, g.TopicPartition, g.From, g.To, g.Err)
	w.counts["resets"]++
	p := w.ledger.now(g.TopicPartition)
	p.wentBack = time.Now()
	if t := m.tenures[p.at]; t != nil {
		t.began, t.pending = false, nil
	}
	if len(w.ledger.remade) == 0 {
		w.breach("back", "%s: %v moved back from %d to %d: %v", m, g.TopicPartition, g.From, g.To, g.Err)
	}
}

// judgeStopped judges how a Mapping stopped. The lock is held.
func (w *World) judgeStopped(m *member, err error, peaceful bool) {
	now := time.Now()
	drain := (*esm.DrainError)(nil)
	how := ""
	if err != nil {
		how = "its stop said: " + err.Error()
	}
	if errors.As(err, &drain) && len(drain.Stuck) > 0 && w.plan.Function.Deaf == 0 {
		w.breach("end", "%s: its calls do not end: %v", m, err)
	}
	// That a static member has left others hear when its session ends, and join until then.
	if enough := w.plan.Options.StopTimeout >= Span(20*time.Second) && w.plan.Protocol != "static"; enough && peaceful && err != nil && (!errors.As(err, &drain) || drain.CommitErr != nil || drain.LeaveErr != nil || len(drain.Waiting) > 0) {
		w.breach("end", "%s: it did not stop well, and nothing was wrong: %v", m, err)
	}
	for at, t := range m.tenures {
		delete(m.tenures, at)
		w.ends(t, how, 0, now)
	}
	if m.phase != esm.PhaseStopped {
		w.breach("phase", "%s has stopped, and said that it is %s", m, m.phase)
	}
	s := m.m.Stats()
	for _, c := range []struct {
		what        string
		said, count int64
	}{
		{"InvokeCount", s.InvokeCount, m.seen.calls},
		{"InvokedEventCount", s.InvokedEventCount, m.seen.records},
		{"OnFailureDestinationDeliveredEventCount", s.OnFailureDestinationDeliveredEventCount, m.seen.delivered},
		{"the hook Discarded", m.seen.discarded, m.seen.delivered},
		{"the hook InvokeStarted", m.seen.started, m.seen.calls},
		{"the hook InvokeEnded", m.seen.ended, m.seen.calls},
	} {
		// A Mapping that has to start again counts anew.
		if c.said != c.count && !m.failed && (drain == nil || len(drain.Stuck) == 0) {
			w.breach("recount", "%s: %s says %d, and there were %d", m, c.what, c.said, c.count)
		}
	}
}
