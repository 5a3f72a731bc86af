package esm

import (
	"context"
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

// An uncommitted is a partition that could not be committed when that was tried last.
type uncommitted struct {
	since, last time.Time
	err         error
	transient   bool
}

// A sentCommit is a request that has no answer yet.
type sentCommit struct {
	entries []commitEntry
	since   time.Time
}

var errNoAnswer = errors.New("the request has no answer")

// refuse notes that a commit was refused, in a request that took so long.
func (c *committer) refuse(tp partition.ID, of refusedCommit, took time.Duration, now time.Time) {
	r, known := c.refusals[tp]
	if !known || now.Add(-took).Sub(r.last) > passingFor {
		r.since = now.Add(-took)
	}
	r.last, r.err, r.transient = now, of.err, of.transient
	c.refusals[tp] = r
}

// await watches a request until the func that it returns is called. It gives the
// request up, by cancel, when it is for nobody any more.
func (c *committer) await(entries []commitEntry, cancel context.CancelFunc, now time.Time) (answered func()) {
	e := c.engine
	sent := &sentCommit{entries, now}
	e.mu.Lock()
	c.sending = sent
	e.unlock()
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		look := time.NewTimer(passingFor)
		defer look.Stop()
		for {
			now := time.Now()
			e.mu.Lock()
			if sent.pointless(now) {
				cancel()
			}
			died := e.died.wait()
			e.unlock()
			select {
			case <-done:
				return
			case <-died:
			case <-look.C:
				e.mu.Lock()
				c.review(time.Now())
				e.unlock()
				look.Reset(c.every)
			}
		}
	}()
	return func() {
		close(done)
		<-watched
		e.mu.Lock()
		c.sending = nil
		e.unlock()
	}
}

// pointless reports whether a request should not be asked any longer: all of it
// belongs to somebody else, or some does and it has had no answer for so long that
// the client must be asking again and again, which it does without looking at whose
// the partitions are. What is left is asked for anew. To cut every request short of
// which a partition goes could let the next one overtake it: see committer.
func (s *sentCommit) pointless(now time.Time) bool {
	dead := 0
	for _, entry := range s.entries {
		if entry.lane.dead {
			dead++
		}
	}
	return dead == len(s.entries) || dead > 0 && now.Sub(s.since) >= slowCommit
}

// slowCommit is longer than a coordinator takes that is there.
const slowCommit = 5 * time.Second

// review raises the problem of commits, or says that it is over. The lock is
// held.
func (c *committer) review(now time.Time) {
	e := c.engine
	var worst error
	var since time.Time
	note := func(at time.Time, err error) {
		if worst == nil || at.Before(since) {
			since, worst = at, err
		}
	}
	for tp, r := range c.refusals {
		l := e.lanes[tp]
		switch {
		case l == nil && now.Sub(r.last) > passingFor, l != nil && !l.dirty && l.frontier() == l.committed && !l.anchor:
			delete(c.refusals, tp)
		case !r.transient:
			note(r.since, r.err)
		case r.last.Sub(r.since) >= passingFor:
			note(r.since, fmt.Errorf("since %s: %w", r.since.Format(time.RFC3339), r.err))
		}
	}
	if s := c.sending; s != nil && now.Sub(s.since) >= passingFor {
		for _, entry := range s.entries {
			if !entry.lane.dead {
				note(s.since, fmt.Errorf("%w since %s", errNoAnswer, s.since.Format(time.RFC3339)))
				break
			}
		}
	}
	e.problem("commit", worst, now)
}
