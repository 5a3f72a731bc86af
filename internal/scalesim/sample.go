package scalesim

import (
	"math"
	"time"

	"github.com/seed429fd032/esm/scaling"
)

// decide asks the policy.
func (s *sim) decide() {
	s.fill()
	a := s.policy.Decide(s.sample)
	if s.Watch != nil {
		s.Watch(s.sample, a)
	}
	s.ask = s.now + askEvery
	if a.Again > 0 {
		s.ask = min(s.ask, s.now+a.Again)
	}
	s.resize(a.Pollers, false)
}

// fill makes the sample, as the engine does.
func (s *sim) fill() {
	now := start.Add(s.now)
	in := &s.sample
	lanes := in.Lanes[:0]
	least, most := s.bounds()
	*in = scaling.Sample{
		At: now, Pollers: s.pool.Size(), Concurrency: s.Settings.Concurrency, Least: least, Most: most,
		ByteRate: scaling.Unlimited, MaxConcurrency: scaling.Unlimited,
		Busy: s.pool.Busy(), Slots: s.pool.Slots(), Completed: s.pace.Completed, Settled: s.settled, Throttled: s.throttles,
		Failed: s.pace.Failed, Round: s.pace.Round.Full, BusyTime: s.pool.BusyTime(now),
	}
	in.RoundTime, in.RoundSpread = s.pace.Round.Times()
	if s.Settings.ByteRate > 0 {
		in.ByteRate = s.Settings.ByteRate
	}
	if s.Settings.MaxConcurrency > 0 {
		in.MaxConcurrency = s.Settings.MaxConcurrency
	}
	perRecord := 0.0
	if s.polled > 0 {
		perRecord = float64(s.Settings.RecordBytes)
	}
	in.BatchTime, in.BatchRecords, in.BatchBytes = s.pace.Batch(s.Settings.Batch, perRecord)
	if s.pace.Completed == 0 {
		for _, c := range s.fn.calls {
			in.BatchTime = max(in.BatchTime, s.now-c.began)
		}
	}
	for _, l := range s.owned {
		lag := int64(-1)
		if s.now-l.endAt <= endMaxAge {
			lag = max(0, l.end-l.frontier)
		}
		lanes = append(lanes, scaling.Lane{Topic: "t", Partition: int32(l.number), Lag: lag, End: l.end, Waiting: l.part, Backoff: l.state == laneWaiting})
	}
	in.Lanes = lanes
}

// look notes how many pollers were busy in a second.
func (s *sim) look() {
	s.fn.work(s.now)
	s.needs(s.fn.useful - s.useful)
	s.useful = s.fn.useful
	s.second += time.Second
}

func (s *sim) needs(slots float64) {
	s.out.Needed = max(s.out.Needed, int(math.Ceil(slots/float64(s.Settings.Concurrency)-1e-9)))
}

// plot adds a point to the series.
func (s *sim) plot() {
	s.out.Series = append(s.out.Series, Point{
		At: s.now, Lag: s.left(), Pollers: s.pool.Size(), Busy: s.pool.Busy(), Settled: s.settled, Calls: s.succeeded,
	})
	s.point += s.Every
}

// left is how many records are not settled.
func (s *sim) left() (n int64) {
	for _, l := range s.lanes {
		if l.owned && !s.poison[l.number] {
			n += l.arrived(s.now) - l.frontier
		}
	}
	return n
}

func (s *sim) result() *Result {
	s.account()
	s.fn.work(s.now)
	if s.second == time.Second {
		s.needs(s.fn.useful / max(1e-9, s.out.Drained.Seconds()))
	}
	s.plot()
	s.out.Ended, s.out.Settled, s.out.Left = s.now, s.settled, s.left()
	s.out.WorkTime = time.Duration(s.fn.useful * float64(time.Second) / float64(s.Settings.Concurrency))
	return &s.out
}
