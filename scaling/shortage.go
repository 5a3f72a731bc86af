package scaling

import "time"

// shortEvery is the time in which a lag grows or does not.
const shortEvery = time.Minute

// A shortage is a limit that keeps the Mapping from what the records ask for. It
// is reported only while the lag grows.
type shortage struct {
	limit Limit
	since time.Time
	lag   int64 // at that time
	grows bool  // as the last look said
}

// look notes the limit that falls short now, if there is one.
func (s *shortage) look(limit Limit, lag int64, now time.Time) {
	if limit != s.limit || limit == NoLimit {
		*s = shortage{limit: limit, since: now, lag: lag}
		return
	}
	if now.Sub(s.since) >= shortEvery {
		s.grows = lag > s.lag
		s.since, s.lag = now, lag
	}
}

// holds is the limit under which the lag grows.
func (s *shortage) holds() Limit {
	if !s.grows {
		return NoLimit
	}
	return s.limit
}
