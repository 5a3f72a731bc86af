package esm

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Problem is something that keeps a [Mapping] from working as it should.
type Problem struct {
	Mapping string
	// With is what it is about: "connection to host:9092", "group", "commit",
	// "topic orders", "topic orders partition 3", "end of topic orders",
	// "start of topic orders",
	// "client", "start", "function" and "destination" for those, "hooks" and
	// "log" for what does not return, or "lag" for a limit under which the lag
	// grows.
	With string
	// Err is what the broker, the client or the function said last.
	Err error
	// Since is when it began, and Last when it was seen last.
	Since, Last time.Time
}

// A registry has the problems of a run. Its lock is a leaf: the engine notes
// problems with its own lock held, so that they are in the order in which they
// were seen, and reads do not wait for the engine.
type registry struct {
	many atomic.Int32 // how many there are

	mu    sync.Mutex
	known map[string]*trouble
}

// note books a problem, or with a nil error its end. It returns what it was
// when that is news, and whether it is over.
func (r *registry) note(with string, err error, now time.Time) (news *trouble, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.known[with]
	switch {
	case err != nil && was != nil:
		was.err, was.last = err, now
		return nil, false
	case err != nil:
		p := trouble{with: with, err: err, since: now, last: now}
		r.known[with] = &p
		r.many.Add(1)
		first := p
		return &first, false
	case was != nil:
		delete(r.known, with)
		r.many.Add(-1)
		return was, true
	}
	return nil, false
}

// over books the end of a problem, unless it was seen again since it was listed.
func (r *registry) over(p trouble) (ended *trouble) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.known[p.with]
	if was == nil || !was.last.Equal(p.last) {
		return nil
	}
	delete(r.known, p.with)
	r.many.Add(-1)
	return was
}

func (r *registry) troubles() []trouble {
	if r.many.Load() == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ps := make([]trouble, 0, len(r.known))
	for _, p := range r.known {
		ps = append(ps, *p)
	}
	slices.SortFunc(ps, func(a, b trouble) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.with, b.with)) })
	return ps
}

func (r *registry) trouble(with string) *trouble {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.known[with]; p != nil {
		found := *p
		return &found
	}
	return nil
}

func (r *registry) anyTrouble() bool { return r.many.Load() > 0 }
