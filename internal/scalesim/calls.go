package scalesim

import (
	"time"

	"github.com/seed429fd032/esm/internal/pace"
	"github.com/seed429fd032/esm/scaling"
)

func (s *sim) runnable() bool {
	return s.queue.any() && s.throttle.until <= s.now && !s.saturated() && s.pool.Pick(start.Add(s.now)) != nil
}

func (s *sim) saturated() bool {
	return s.Settings.MaxConcurrency > 0 && s.pool.Busy() >= s.Settings.MaxConcurrency
}

// dispatch starts calls while it can, and then rings if more pollers could do more.
func (s *sim) dispatch() {
	for s.runnable() {
		s.begin()
	}
	if !s.queue.any() {
		return
	}
	if s.throttle.until <= s.now && !s.saturated() {
		if at := s.pool.Refill(); !at.IsZero() {
			if t := at.Sub(start); t < s.refill {
				s.refill = t
				s.at(t, event{kind: tokens})
			}
		}
	}
	slots := s.pool.Slots()
	if s.pool.Busy() < slots || s.queue.size() <= slots {
		s.askedFor = 0
		return
	}
	if s.throttle.until > s.now || s.saturated() {
		return
	}
	if _, most := s.bounds(); s.pool.Size() >= most {
		return
	}
	switch next := s.asked + askAfter + time.Duration(len(s.owned))*askPerOne; {
	case s.queue.size() <= s.askedFor+s.askedFor/4:
	case s.now < next:
		if s.alarm != next {
			s.alarm = next
			s.at(next, event{kind: wake})
		}
	default:
		s.asked, s.askedFor = s.now, s.queue.size()
		s.rang = true
	}
}

// begin starts the next call.
func (s *sim) begin() {
	e := s.queue.pop()
	w, fresh := e.work, false
	switch {
	case w != nil:
		w.queued = false
	case e.lane.work != nil:
		w = e.lane.work
	default:
		w, fresh = s.assemble(e.lane), true
	}
	c := &call{work: w, began: s.now}
	for _, l := range w.lanes {
		l.ticket, l.state = 0, laneLeased
		c.records += l.part
	}
	s.account()
	p := s.pool.Pick(start.Add(s.now))
	if n := len(s.free); n > 0 {
		c.poller, s.free = s.free[n-1], s.free[:n-1]
		s.holders[c.poller] = p
	} else {
		c.poller = len(s.holders)
		s.holders = append(s.holders, p)
	}
	bytes := int64(0)
	if fresh {
		bytes = c.records * int64(s.Settings.RecordBytes)
		s.polled += c.records
	}
	s.pool.Start(p, bytes, start.Add(s.now))
	s.out.Calls++
	if !s.fn.begin(c, s.now) {
		s.at(s.now+throttleTakes, event{kind: throttledCall, call: c})
	}
}

// assemble makes a work: a full batch alone, or what fits of thin lanes.
func (s *sim) assemble(l *lane) *work {
	room := int64(s.Settings.Batch)
	w := &work{}
	take := func(l *lane, n int64) {
		l.part, l.work = n, w
		room -= n
		w.lanes = append(w.lanes, l)
	}
	s.learn(l)
	queued := l.queued(s.now)
	take(l, min(room, queued))
	if queued >= int64(s.Settings.Batch) {
		return w
	}
	for room > 0 {
		next := s.queue.thin.head()
		if next == nil {
			break
		}
		n := next.lane.queued(s.now)
		if n > room {
			break
		}
		s.queue.thin.pop()
		s.learn(next.lane)
		take(next.lane, n)
	}
	return w
}

// ended does what follows a call.
func (s *sim) ended(c *call) {
	s.account()
	s.pool.End(s.holders[c.poller], start.Add(s.now))
	s.holders[c.poller] = nil
	s.free = append(s.free, c.poller)
	took := s.now - c.began
	if c.outcome != throttled {
		s.pace.Note(pace.Call{
			Began: start.Add(c.began), Ended: start.Add(s.now), Took: took,
			Records: int(c.records), Bytes: c.records * int64(s.Settings.RecordBytes),
			Full: c.records >= int64(s.Settings.Batch), Leaving: s.pool.Busy() > s.pool.Slots(),
			Failed: c.outcome == failed, Succeeded: c.outcome == succeeded,
		})
		round := scaling.Round(s.pool.Slots(), len(s.owned))
		if r := &s.pace.Round; r.Ended == round || r.Full == round {
			s.rang = true
		}
	}
	w := c.work
	for _, l := range w.lanes {
		l.state = laneIdle
	}
	switch c.outcome {
	case succeeded:
		s.throttle.round = 0
		s.succeeded++
		if s.measured() {
			s.out.CallTime.Add(took, 1)
		}
		s.succeed(w)
	case failed:
		s.out.Failed++
		s.fail(w)
	case throttled:
		s.out.Throttled++
		s.throttles++
		round := max(1, s.throttle.round)
		if s.throttle.until <= s.now {
			round = s.throttle.round + 1
		}
		if until := s.now + s.backoff(round); until > s.throttle.until {
			s.throttle.until, s.throttle.round = until, round
			s.at(until, event{kind: wake})
		}
		w.first = true
		s.requeue(w)
	}
}

// measured is whether the times of what ends now are in the result.
func (s *sim) measured() bool { return s.Measure == Span{} || s.Measure.has(s.now) }

func (s *sim) succeed(w *work) {
	took := s.out.Lag.Add
	if !s.measured() {
		took = nil
	}
	for _, l := range w.lanes {
		n := l.part
		s.settled += n
		l.part, l.work = 0, nil
		l.settle(n, s.now, took)
		s.out.Drained = s.now
	}
	for _, l := range w.lanes {
		s.schedule(l)
	}
}

func (s *sim) fail(w *work) {
	w.first = false
	if len(w.lanes) > 1 {
		half := (len(w.lanes) + 1) / 2
		for _, lanes := range [][]*lane{w.lanes[:half:half], w.lanes[half:]} {
			s.requeue(&work{lanes: lanes})
		}
		return
	}
	w.attempts++
	l := w.lanes[0]
	if !l.owned {
		l.part, l.work = 0, nil
		s.pass(l)
		return
	}
	l.state = laneWaiting
	s.wait(l, s.now+s.backoff(w.attempts))
}

// requeue queues a work to be tried at once.
func (s *sim) requeue(w *work) {
	kept := w.lanes[:0]
	for _, l := range w.lanes {
		l.work = w
		if !l.owned {
			l.part, l.work = 0, nil
			s.pass(l)
			continue
		}
		kept = append(kept, l)
	}
	w.lanes = kept
	switch len(kept) {
	case 0:
	case 1:
		s.schedule(kept[0])
	default:
		s.queue.addGroup(w)
	}
}

// backoff is about the default of the library: from a second to a minute.
func (s *sim) backoff(attempt int) time.Duration {
	d := min(time.Second<<min(attempt-1, 10), time.Minute)
	return d/2 + time.Duration(s.chance.Int64N(int64(d/2)+1))
}
