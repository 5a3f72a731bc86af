package kafka

import (
	"context"
	"maps"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/engine"
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
func (c *Consumer) mend(ctx context.Context) {
	timer := time.NewTimer(engine.AskEvery)
	defer timer.Stop()
	p := newProbeOf(c.client, c.decompressor, c.positions.readCommitted)
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
		timer.Reset(engine.AskEvery)
	}
}

const recheckEvery = 5 * time.Second

// probeLanes finds out about lanes, and has the client set back for those that it
// does not read.
func (c *Consumer) probeLanes(ctx context.Context, p *probe) {
	topics := map[string]bool{}
	for _, with := range c.watch.Troubles() {
		if t, ok := strings.CutPrefix(with.With, "topic "); ok {
			topics[t] = true
		}
	}
	for _, q := range c.engine.Questions(topics, time.Now()) {
		c.mu.Lock()
		id := c.topicIDs[q.Topic]
		c.mu.Unlock()
		f := p.ask(ctx, q.ID, id, q.Position)
		if ctx.Err() != nil {
			return
		}
		c.engine.Found(q, f, time.Now())
	}
	c.engine.SetBack(time.Now())
}

// reviewProblems ends the Problems whose end nobody hears of.
func (c *Consumer) reviewProblems(ctx context.Context) {
	e := c.engine
	here, now := e.Here(), time.Now()
	c.mu.Lock()
	suspects := maps.Clone(c.suspects)
	c.mu.Unlock()
	var lost []string // connections
	group := false
	for _, p := range c.watch.Troubles() {
		old := now.Sub(p.Last) >= recheckEvery
		if t, ok := strings.CutPrefix(p.With, endProblem); ok && !here.Topics[t] {
			c.over(p)
		} else if t, ok := strings.CutPrefix(p.With, "topic "); ok && old && suspects[t] == 0 && !here.Topics[t] && !strings.Contains(t, " partition ") {
			c.over(p) // somebody else reads it
		} else if at, ok := strings.CutPrefix(p.With, connectionProblem); ok && old {
			lost = append(lost, at)
		} else if p.With == "client" && now.Sub(p.Last) >= engine.StandsAfter && !here.Stands {
			c.over(p) // all is read in spite of it
		} else if p.With == "group" && old && here.Member {
			group = true
		}
	}
	if len(lost) > 0 {
		c.reconnect(ctx, lost)
	}
	if group && c.memberStill(ctx) {
		c.clear("group")
	}
}

// memberStill reports whether the coordinator takes the client for a member.
func (c *Consumer) memberStill(ctx context.Context) bool {
	tps := c.engine.Here().Partitions
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
func (c *Consumer) reconnect(ctx context.Context, lost []string) {
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
			c.clear(connectionProblem + at)
		}
		for _, b := range brokers[at] {
			ask, done := context.WithTimeout(ctx, probeTimeout)
			versions := kmsg.NewPtrApiVersionsRequest()
			versions.ClientSoftwareName, versions.ClientSoftwareVersion = "esm", "1"
			_, err := b.Request(ask, versions)
			done()
			if err == nil && len(brokers[at]) == 1 {
				c.clear(connectionProblem + at) // the connection may have been there
			}
		}
	}
}
