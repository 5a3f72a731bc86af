package esmemf

import (
	"sync"
	"time"
)

// A kind is what kind of trouble it is, and whose.
type kind struct{ mapping, code string }

// A sparse lets one trouble of a kind through in a second, and counts the others.
type sparse struct {
	mu    sync.Mutex
	kinds map[kind]*rest
}

// A rest is what was left out of a kind since the last line.
type rest struct {
	next  time.Time // when there may be another line
	count int64
	last  *trouble
}

const (
	// sparseEvery is how long it is from one line of a kind to the next, at least.
	sparseEvery = time.Second
	// mostKinds is how many kinds are told apart: messages of other logs are kinds, too.
	mostKinds = 1000
)

// admit returns a trouble with the number of those that were left out, nil if it is left out.
func (s *sparse) admit(k kind, t *trouble, now time.Time) *trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.kinds[k]
	if r == nil {
		if s.kinds == nil {
			s.kinds = map[kind]*rest{}
		}
		if s.tidy(now); len(s.kinds) >= mostKinds {
			k = kind{} // one for all that are too many
		}
		if r = s.kinds[k]; r == nil {
			r = &rest{}
			s.kinds[k] = r
		}
	}
	if now.Before(r.next) {
		r.count, r.last = r.count+1, t
		return nil
	}
	t.LeftOut += r.count
	r.next, r.count, r.last = now.Add(sparseEvery), 0, nil
	return t
}

// tidy forgets kinds that need not be remembered.
func (s *sparse) tidy(now time.Time) {
	if len(s.kinds) < mostKinds {
		return
	}
	for k, r := range s.kinds {
		if r.count == 0 && !now.Before(r.next) {
			delete(s.kinds, k)
		}
	}
}

// left takes what was left out of each kind and is not in a line yet: the last of each kind,
// which stands for the others.
func (s *sparse) left(now time.Time) map[kind]*trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[kind]*trouble{}
	for k, r := range s.kinds {
		switch {
		case r.count > 0:
			all[k] = &trouble{r.last.ErrorMessage, r.last.ErrorCode, r.count - 1}
			r.next, r.count, r.last = now.Add(sparseEvery), 0, nil
		case !now.Before(r.next):
			delete(s.kinds, k)
		}
	}
	return all
}
