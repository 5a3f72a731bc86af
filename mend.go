package esm

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/guard"
)

// mend looks after what does not get on, until ctx ends: topics that may have been
// made again, lanes that stand still, and Problems that may be over. It is the
// goroutine that waits for brokers, so that nobody else has to.
//
// # Lanes that stand still
//
// The leader of one is asked directly (probe). If it sends records, then the
// client has stopped fetching, and is set back to the lane's position by the poll
// loop. That makes the client begin all its fetches anew, so all lanes that stand
// still are set back together, and no lane more often than its back-off says. If
// the leader sends what cannot be read, the lane is left alone until somebody
// says that it is to be passed over, or the leader sends something else. If there
// is nothing to read up to some offset, the lane goes on there: the client knows
// that, and does not tell.
//
// # Problems
//
// None is forgotten because time has passed. Each goes when what it says is over,
// and who raises it knows that; but nobody tells of the end of some: a broker to
// which the client has no more reason to connect, a partition that can be read
// again and has nothing to read. Those are looked at here.
func (c *consumer) mend(ctx context.Context) {
	timer := time.NewTimer(mendEvery)
	defer timer.Stop()
	p := newProbeOf(c.client, c.decompressor, c.engine.readCommitted)
	var checked time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.checkBell:
		}
		now := time.Now()
		c.readd(ctx, now.Add(-readdAfter))
		if now.Sub(checked) >= recheckEvery {
			checked = now
			c.recreated(ctx)
			c.reviewProblems(ctx)
		}
		c.probeLanes(ctx, p)
		timer.Reset(mendEvery)
	}
}

const (
	mendEvery    = time.Second
	recheckEvery = 5 * time.Second
	// probesAtOnce is how many lanes are asked about in one round.
	probesAtOnce = 8
	// askAgainMost is the longest time between two questions about a lane.
	askAgainMost = 5 * time.Minute
)

// askAgainAfter is how long it takes until a lane is looked after again.
func askAgainAfter(tries int) time.Duration {
	return min(standsAfter<<min(tries, 10), askAgainMost)
}

// A question is what a probe is to find out.
type question struct {
	lane     *lane
	topicID  [16]byte
	position int64
}

// questions lists the lanes to be asked about, those first that have waited
// longest.
func (c *consumer) questions(now time.Time) (qs []question) {
	e := c.engine
	e.mu.Lock()
	defer e.unlock()
	topics := map[string]bool{} // of which it is to be found out whether they can be read
	for with := range e.problems {
		if t, ok := strings.CutPrefix(with, "topic "); ok {
			topics[t] = true
		}
	}
	for _, l := range e.lanes {
		if l.next < 0 || l.ending || l.gone || l.rewinding || l.still.due.After(now) {
			continue
		}
		told := l.said != nil || topics[l.Topic]
		if l.unreadable != nil || l.still.stands() || told && e.holds == 0 {
			qs = append(qs, question{l, c.topicIDs[l.Topic], l.next})
			topics[l.Topic] = false // one is enough
		}
	}
	slices.SortFunc(qs, func(a, b question) int { return a.lane.still.due.Compare(b.lane.still.due) })
	return qs[:min(len(qs), probesAtOnce)]
}

// probeLanes finds out about lanes, and has the client set back for those that it
// does not read.
func (c *consumer) probeLanes(ctx context.Context, p *probe) {
	qs := c.questions(time.Now())
	for _, q := range qs {
		f := p.ask(ctx, q.lane.ID, q.topicID, q.position)
		if ctx.Err() != nil {
			return
		}
		f.err = guard.Keep(f.err)
		c.engine.found(q, f, time.Now())
	}
	c.engine.setBack(time.Now())
}

// found books what a probe found out.
func (e *engine) found(q question, f finding, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	l := q.lane
	if l.dead || l.ending {
		return
	}
	l.still.due = now.Add(askAgainAfter(l.still.tries))
	if l.next != q.position || l.rewinding || l.rereading() || l.skipping != nil {
		return // it gets on
	}
	l.still.asked, l.still.found = now, f.err
	l.still.refused = f.err != nil && !errors.Is(f.err, kerr.OffsetOutOfRange) && !errors.Is(f.err, errSendsNothing)
	if f.end >= 0 {
		l.end, l.endAt = f.end, now
	}
	switch {
	case l.still.refused:
	case f.unreadable != nil:
		if l.unreadable == nil || l.unreadable.From != f.unreadable.From {
			l.still.tries = 0
		}
		e.unread(l, f.unreadable, now)
	case f.to > 0:
		// No record comes that would say so.
		if l.settled.Settle(l.next, f.to, 0) {
			e.soil(l)
		}
		l.next = f.to
		if l.unreadable != nil {
			l.nudge = true // the client has stopped there
			e.rewind(l)
		}
		e.readable(l, now)
	case l.unreadable != nil: // and can be read now
		l.unreadable, l.nudge = nil, true
		e.rewind(l)
		e.readable(l, now)
	case !l.still.stands():
		e.readable(l, now)
	}
}

// setBack has the client read all lanes from where they are that stand still even
// a while after their leader has sent something for them.
func (e *engine) setBack(now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	for _, l := range e.lanes {
		s := &l.still
		switch {
		case !s.stands() || l.next < 0 || l.ending || l.rewinding || l.unreadable != nil:
			continue
		case s.asked.IsZero() || s.refused || now.Sub(s.asked) < mendEvery || now.Before(s.again):
			continue
		}
		s.tries++
		s.again = now.Add(askAgainAfter(s.tries))
		s.asked, s.due = time.Time{}, s.again.Add(-2*mendEvery)
		l.nudge = true
		e.rewind(l)
		tp, position, stood := l.ID, l.next, s.stood
		e.later(func() { e.watch.write(func() { e.watch.logSetBack(TopicPartition(tp), position, stood) }) })
	}
}

// reviewProblems ends the Problems whose end nobody hears of.
func (c *consumer) reviewProblems(ctx context.Context) {
	e := c.engine
	now := time.Now()
	e.mu.Lock()
	topics := map[string]bool{}
	stands := false
	for tp, l := range e.lanes {
		topics[tp.Topic] = true
		stands = stands || l.still.stands()
	}
	var lost []string // connections
	group := false
	for with, p := range e.problems {
		old := now.Sub(p.Last) >= recheckEvery
		if t, ok := strings.CutPrefix(with, "end of topic "); ok && !topics[t] {
			e.problem(with, nil, now)
		} else if t, ok := strings.CutPrefix(with, "topic "); ok && old && !c.suspects[t] && !topics[t] && !strings.Contains(t, " partition ") {
			e.problem(with, nil, now) // somebody else reads it
		} else if at, ok := strings.CutPrefix(with, connectionProblem); ok && old {
			lost = append(lost, at)
		} else if with == "client" && now.Sub(p.Last) >= standsAfter && !stands {
			e.problem(with, nil, now) // all is read in spite of it
		} else if with == "group" && old && e.member {
			group = true
		}
	}
	e.unlock()
	if len(lost) > 0 {
		c.reconnect(ctx, lost)
	}
	if group && c.memberStill(ctx) {
		e.clear("group")
	}
}

// memberStill reports whether the coordinator takes the client for a member.
func (c *consumer) memberStill(ctx context.Context) bool {
	tps := c.engine.assigned()
	if len(tps) == 0 {
		return true // the group has said so since the session was lost
	}
	for _, a := range c.commits(ctx, tps[:1]) {
		if a.err != nil {
			return false
		}
	}
	return true
}

// reconnect tries brokers again that could not be connected to, and to which the
// client may have no reason to connect: if that works, clientHooks hears of it.
// Those that are not in the cluster any more, and are no seeds, are no problem.
func (c *consumer) reconnect(ctx context.Context, lost []string) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // of none
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return // what is known stays so
	}
	brokers := map[string][]*kgo.Broker{}
	for _, b := range resp.Brokers {
		at := hostPort(b.Host, b.Port)
		brokers[at] = append(brokers[at], c.client.Broker(int(b.NodeID)))
	}
	for _, s := range c.source.Brokers {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			host, port = s, "9092" // as the client reads it
		}
		at := net.JoinHostPort(host, port)
		brokers[at] = append(brokers[at], c.client.SeedBrokers()...)
	}
	for _, at := range lost {
		if len(brokers[at]) == 0 {
			c.engine.clear(connectionProblem + at)
		}
		for _, b := range brokers[at] {
			ask, done := context.WithTimeout(ctx, probeTimeout)
			versions := kmsg.NewPtrApiVersionsRequest()
			versions.ClientSoftwareName, versions.ClientSoftwareVersion = "esm", "1"
			_, err := b.Request(ask, versions)
			done()
			if err == nil && len(brokers[at]) == 1 {
				c.engine.clear(connectionProblem + at) // the connection may have been there
			}
		}
	}
}
