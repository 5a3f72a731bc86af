package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// What the committer is refused with is a Problem at once, if it is of a kind
// that stays, such as a missing right. What a rebalance brings is none, because
// it is over when the rebalance is. But a kind says only what is likely. So what
// lasts longer than passingFor is a Problem, whatever it is called, and so is a
// request that has no answer for as long: the client holds one back until a
// rebalance is over, and asks again by itself, without an end.
//
// It is judged by partition and not by lane, since a session that is lost again
// and again makes new lanes each time. It is over when the partition was
// committed, when it has nothing to commit, or when it is somebody else's and
// did not come back for passingFor.

// passingFor is how long what passes may last. A rebalance takes as long as its
// slowest member, up to WithRevokeTimeout, 30 s by default; a coordinator moves
// in a few seconds.
const passingFor = 30 * time.Second

// reviewCommitsEvery is how often a request is looked at that has had no answer for
// passingFor.
const reviewCommitsEvery = time.Second

// An uncommitted is a partition that could not be committed when that was tried last.
type uncommitted struct {
	since, last time.Time
	err         error
	passing     bool
}

// A sentCommit is a request that has no answer yet.
type sentCommit struct {
	frontiers []Frontier
	since     time.Time
}

var errNoAnswer = errors.New("the request has no answer")

// refuse books that a commit was refused, in a request that took so long.
func (b *Books) refuse(id partition.ID, a CommitAnswer, took time.Duration, now time.Time) {
	r, known := b.refusals[id]
	if !known || now.Add(-took).Sub(r.last) > passingFor {
		r.since = now.Add(-took)
	}
	r.last, r.err, r.passing = now, a.Err, a.Passing
	b.refusals[id] = r
}

// Await looks at the request that has no answer yet. It says whether to
// give the request up, because it is for nobody any more, and when to ask again:
// when changed is closed, or after some time.
func (b *Books) Await(now time.Time) (pointless bool, changed <-chan struct{}, again time.Duration) {
	e := b.engine
	e.mu.Lock()
	defer e.unlock()
	changed = e.died.wait()
	s := b.sending
	if s == nil {
		return false, changed, reviewCommitsEvery // it has been answered
	}
	if again = passingFor - now.Sub(s.since); again <= 0 {
		again = reviewCommitsEvery
		b.review(now)
	}
	return s.pointless(now), changed, again
}

// pointless reports whether a request should not be asked any longer: all of it
// belongs to somebody else, or some does and it has had no answer for so long that
// the client must be asking again and again, which it does without looking at whose
// the partitions are. What is left is asked for anew. To cut every request short of
// which a partition goes could let the next one overtake it: see Committer.
func (s *sentCommit) pointless(now time.Time) bool {
	dead := 0
	for _, f := range s.frontiers {
		if f.lane.dead {
			dead++
		}
	}
	return dead == len(s.frontiers) || dead > 0 && now.Sub(s.since) >= slowCommit
}

// slowCommit is longer than a coordinator takes that is there.
const slowCommit = 5 * time.Second

// review raises the problem of commits, or says that it is over. The lock
// is held.
func (b *Books) review(now time.Time) {
	e := b.engine
	var worst error
	var since time.Time
	note := func(at time.Time, err error) {
		if worst == nil || at.Before(since) {
			since, worst = at, err
		}
	}
	for id, r := range b.refusals {
		l := e.lanes[id]
		switch {
		case l == nil && now.Sub(r.last) > passingFor, l != nil && !l.dirty && l.frontier() == l.committed && !l.anchor:
			delete(b.refusals, id)
		case !r.passing:
			note(r.since, r.err)
		case r.last.Sub(r.since) >= passingFor:
			note(r.since, fmt.Errorf("since %s: %w", r.since.Format(time.RFC3339), r.err))
		}
	}
	if s := b.sending; s != nil && now.Sub(s.since) >= passingFor {
		for _, f := range s.frontiers {
			if !f.lane.dead {
				note(s.since, fmt.Errorf("%w since %s", errNoAnswer, s.since.Format(time.RFC3339)))
				break
			}
		}
	}
	e.problem("commit", worst, now)
}
