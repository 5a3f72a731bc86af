package esm

import (
	"errors"
	"fmt"
	"time"
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
func (c *committer) refuse(tp TopicPartition, of refusedCommit, took time.Duration, now time.Time) {
	r, known := c.refusals[tp]
	if !known || now.Add(-took).Sub(r.last) > passingFor {
		r.since = now.Add(-took)
	}
	r.last, r.err, r.transient = now, of.err, of.transient
	c.refusals[tp] = r
}

// await watches a request until the func that it returns is called.
func (c *committer) await(entries []commitEntry, now time.Time) (answered func()) {
	e := c.engine
	sent := &sentCommit{entries, now}
	e.mu.Lock()
	c.sending = sent
	e.unlock()
	var look *time.Timer
	e.mu.Lock() // look is set before it is used
	look = time.AfterFunc(passingFor, func() {
		e.mu.Lock()
		defer e.unlock()
		if c.sending == sent {
			c.review(time.Now())
			look.Reset(c.every)
		}
	})
	e.unlock()
	return func() {
		e.mu.Lock()
		defer e.unlock()
		c.sending = nil
		look.Stop()
	}
}

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
