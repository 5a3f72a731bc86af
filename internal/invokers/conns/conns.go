// Package conns keeps the connections of an Invoker to its server, and says when
// one is not to be trusted any more.
//
// # Why a transport of net/http is not enough
//
// A connection can die without a sign: a NAT, a balancer or a firewall forgets
// it, and what is sent into it is gone. The kernel says so after a quarter of an
// hour. All calls share one connection of HTTP/2, so each of them would go into
// it and time out. Of HTTP/1.1 there is one for each call that ran at once, and
// each of them costs one more call. Four things limit that:
//
//   - A connection of HTTP/2 on which nothing comes is pinged, and ends if that is
//     not answered ([PingAfter], [PingTimeout]). The calls in it fail then,
//     whatever time they have left. HTTP/1.1 has no ping.
//   - On Linux the kernel ends a connection in which what was sent is not taken
//     for a minute, in place of a quarter of an hour.
//   - After a call that ran out of time with a connection, no later call uses
//     one that was there: see [Pool].
//   - A connection that the server closed just when a call was sent is no fault of
//     that call, which is sent once more: see [Pool.RoundTrip].
package conns

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// PingAfter is for how long nothing comes on a connection of HTTP/2 before it
	// is pinged.
	PingAfter = 15 * time.Second
	// PingTimeout is how long the answer to a ping may take.
	PingTimeout = 15 * time.Second
	// idleTimeout is when a connection that is not used ends. It must end some
	// time: see [Pool].
	idleTimeout = 90 * time.Second
)

// silence is for how long the other side may take nothing of what was sent. A
// server whose kernel takes it, and which reads it later, is not silent; one that
// is so busy that its kernel has no room for a minute cannot be told from a dead
// one. It is a variable for tests.
var silence = time.Minute

// A Pool is an http.RoundTripper with connections of its own.
//
// It has one transport at a time. A call that ran out of time says nothing of its
// server if nothing came back, but it may be that its connection is dead, and
// that those beside it are, which the same device forgot. So the pool takes a
// new transport then, whose connections are all new. Calls that run in the old
// one go on, because the function may only be slow: a connection of HTTP/2 may
// carry a hundred more that will be answered, and nothing but a ping may end it.
// The old transport's connections end when they are idle.
//
// A transport lasts as long as a call may take at least: only calls that began in
// it can end it. So a function that is slow, and no connection dead, costs one
// handshake for each connection in use and each time-out that is over.
//
// What was rejected: to close the connection, which ends what others do in it; a
// ping of our own, which net/http does not offer; and to ask that the connection
// is not used again (Request.Close), which has to be said before.
type Pool struct {
	plain *http.Transport // never used: the others are copies, and it has no state

	mu      sync.Mutex // a leaf but for what a transport does to close what is idle
	current *generation
	old     []*generation // in which calls may run
	once    *http.Transport
}

// A generation is one transport of a [Pool], with the calls in it.
type generation struct {
	transport *http.Transport
	calls     int // of which the answer is not read; of Pool.mu
	old       bool
}

// New makes a pool of a transport, which is the pool's from then on. What it says
// of pings stays.
func New(t *http.Transport) *Pool {
	if t.HTTP2 == nil {
		t.HTTP2 = new(http.HTTP2Config)
	}
	if t.HTTP2.SendPingTimeout == 0 {
		t.HTTP2.SendPingTimeout = PingAfter
	}
	if t.HTTP2.PingTimeout == 0 {
		t.HTTP2.PingTimeout = PingTimeout
	}
	// Calls beyond what a connection takes have one of their own. They would wait
	// within the transport, and their time would run.
	t.HTTP2.StrictMaxConcurrentRequests = false
	if t.IdleConnTimeout == 0 {
		t.IdleConnTimeout = idleTimeout
	}
	if dial := t.DialContext; dial != nil {
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if tcp, ok := c.(*net.TCPConn); ok && tcp != nil {
				boundSilence(tcp, silence)
			}
			return c, err
		}
	}
	once := t.Clone()
	once.DisableKeepAlives = true
	return &Pool{plain: t, current: &generation{transport: t.Clone()}, once: once}
}

// CloseIdleConnections ends the connections in which no call runs. The pool can
// be used after that.
func (p *Pool) CloseIdleConnections() {
	p.mu.Lock()
	all := append(slices.Clone(p.old), p.current)
	p.mu.Unlock()
	for _, g := range all {
		g.transport.CloseIdleConnections()
	}
	p.once.CloseIdleConnections()
}

// begin notes a call.
func (p *Pool) begin() *generation {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current.calls++
	return p.current
}

// end notes the end of a call, and whether it makes its connections doubtful.
func (p *Pool) end(g *generation, doubt bool) {
	p.mu.Lock()
	g.calls--
	var idle []*generation
	if doubt && !g.old {
		g.old = true
		p.current = &generation{transport: p.plain.Clone()}
		// A transport can miss a connection whose last call ended at this moment,
		// so one without calls is told again before it is forgotten. Its time for
		// being idle ends what is missed even then.
		p.old = slices.DeleteFunc(p.old, func(o *generation) bool {
			if o.calls == 0 {
				idle = append(idle, o)
			}
			return o.calls == 0
		})
		p.old = append(p.old, g)
	}
	if g.old {
		idle = append(idle, g)
	}
	p.mu.Unlock()
	for _, o := range idle {
		o.transport.CloseIdleConnections()
	}
}

// RoundTrip sends a request, and a second time if the server closed the
// connection just then: see [trace.closedIdle].
//
// Nobody knows whether the server has seen it. That is no reason not to send it
// again, since calls are made at least once: if this one was called a failure, the
// Mapping would send it again too, and count an attempt. It is sent again only
// once, and in a connection of its own, so a function that ends its connection
// whenever it gets this batch is called twice for each attempt, and not as often
// as there are connections. That is why no request has the header
// (X-)Idempotency-Key, with which net/http sends it again on each connection that
// was used before.
func (p *Pool) RoundTrip(r *http.Request) (*http.Response, error) {
	var t trace
	g := p.begin()
	answer, err := g.transport.RoundTrip(r.WithContext(t.watch(r.Context())))
	if err != nil && t.closedIdle(r.Context(), err) {
		if body, gone := again(r); gone == nil {
			second := *r
			second.Body = body
			t.had.Store(nil)
			answer, err = p.once.RoundTrip(second.WithContext(t.watch(r.Context())))
		}
	}
	if err != nil {
		p.end(g, t.outOfTime(r.Context(), err))
		return nil, err
	}
	answer.Request = r
	answer.Body = &body{ReadCloser: answer.Body, ended: func(err error) { p.end(g, t.outOfTime(r.Context(), err)) }}
	return answer, nil
}

// again returns the body of a request for the second time.
func again(r *http.Request) (io.ReadCloser, error) {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return r.Body, nil
	case r.GetBody == nil:
		return nil, errors.New("conns: the body cannot be read again")
	}
	return r.GetBody()
}

// A body is that of an answer. The call ends with it.
type body struct {
	io.ReadCloser
	ended func(error)
	once  sync.Once
	err   error // of the last read
}

func (b *body) Read(dst []byte) (n int, err error) {
	n, err = b.ReadCloser.Read(dst)
	b.err = err
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { b.ended(b.err) })
	return err
}
