package scalesim

import "slices"

func (s *sim) leave(a *Away) {
	for _, n := range a.Partitions {
		l := s.lanes[n]
		l.owned, l.ticket = false, 0
		if w := l.work; w != nil && l.state != laneLeased {
			w.lanes = slices.DeleteFunc(w.lanes, func(o *lane) bool { return o == l })
			l.part, l.work, l.state = 0, nil, laneIdle
		}
		l.endAt = -endMaxAge - 1
	}
	s.own()
}

func (s *sim) back(a *Away) {
	for _, n := range a.Partitions {
		l := s.lanes[n]
		l.owned, l.since = true, s.now
		if a.Handled {
			l.skip, l.left = true, a.Left
			s.pass(l)
		}
		s.learn(l)
	}
	s.own()
	for _, n := range a.Partitions {
		s.schedule(s.lanes[n])
	}
}

// pass passes over what others handled.
func (s *sim) pass(l *lane) {
	if l.skip && l.part == 0 {
		l.skip = false
		n := max(0, l.arrived(s.now)-l.frontier-l.left)
		l.settle(n, s.now, nil)
		l.skipped += n
	}
}
