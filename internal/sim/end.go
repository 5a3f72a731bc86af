package sim

// end stops all members that are left, one after the other.
func (w *World) end() {
	for _, m := range w.all() {
		w.mu.Lock()
		started, over := m.started, m.dead || m.leaving
		w.mu.Unlock()
		if !started && !over {
			w.fails("end", "%s has not started", m)
		}
		m.stop()
	}
	for _, m := range w.all() {
		m.end()
	}
}

// judgeEnd judges what is left when nobody does anything any more.
func (w *World) judgeEnd() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.ledger.sorted() {
		w.judgeLost(p)
		w.judgeTold(p)
		w.judgeSettled(p)
	}
	w.counts["partitions"] = len(w.ledger.parts)
	w.counts["members"] = len(w.members)
}

// judgeLost judges that each record was handled.
func (w *World) judgeLost(p *part) {
	missing, first := 0, int64(-1)
	for o := range p.end {
		if e := p.records[o]; e != nil && !e.done() && !w.mayMiss(e) {
			if missing++; first < 0 {
				first = o
			}
		}
	}
	if missing > 0 {
		w.breach("lost", "%v (made %d times): %d of %d records were not handled, the first is at offset %d, and %d is committed", p.at.TopicPartition, p.at.incarnation+1, missing, len(p.records), first, p.kept)
	}
}

// mayMiss reports whether nobody has to handle a record: with Latest, one that was
// there before its partition began; and one of a topic that was made anew, while
// members may still go by what they know of the topic before.
func (w *World) mayMiss(e *entry) bool {
	if at, ok := w.ledger.remade[e.at.Topic]; ok && e.at.incarnation == w.ledger.incarnation[e.at.Topic] {
		return e.written.Sub(at) < remakeTakes
	}
	return w.plan.Options.Start == "latest" && w.beforeStart(e)
}

// judgeTold judges that what retention took before anybody handled it was called lost by
// whoever passed over it.
func (w *World) judgeTold(p *part) {
	if w.plan.Options.Start == "latest" || p.at.incarnation != w.ledger.incarnation[p.at.Topic] || p.at.incarnation > 0 {
		return
	}
	for o := range min(p.gone, p.end) {
		e := p.records[o]
		if e == nil || e.handled > 0 || e.delivered || e.fate == aborted || !e.tell || o >= p.kept {
			continue
		}
		told := false
		for _, r := range p.told {
			told = told || r[0] <= o && o < r[1]
		}
		if !told {
			w.breach("gone", "%v: offset %d was taken before anybody handled it, and nobody called it lost", p.at.TopicPartition, o)
			return
		}
	}
}

// judgeSettled judges that all that was handled is committed, but for what retention took since.
func (w *World) judgeSettled(p *part) {
	if p.at.incarnation != w.ledger.incarnation[p.at.Topic] || w.recentlyRemade(p.at.Topic) || len(p.records) == 0 {
		return
	}
	last := p.lastDone()
	if got := w.kafka.Committed(group, p.at.Topic, p.at.Partition); last >= p.gone && got <= last && p.frontier() > last {
		w.breach("settled", "%v is committed up to %d, and offset %d was handled", p.at.TopicPartition, got, last)
	}
}
