// Package connstest is the network between a client and its server in tests,
// which does to connections what devices on the way do.
package connstest

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
)

// A Net dials, and breaks what it dialed.
type Net struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	conns []*conn
}

// New makes a network of what reaches the server.
func New(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Net {
	return &Net{dial: dial}
}

// DialContext connects.
func (n *Net) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	inner, err := n.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
	return c, nil
}

// Dialed is how many connections there were.
func (n *Net) Dialed() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

// Open is how many of them the client has not closed.
func (n *Net) Open() (open int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		select {
		case <-c.closed:
		default:
			open++
		}
	}
	return open
}

// Swallow has the connections of now carry nothing any more, in both directions
// and without a sign: as behind a NAT or a balancer that has forgotten them.
func (n *Net) Swallow() { n.change(func(c *conn) { c.dead = true }) }

// CloseOnWrite has the connections of now end when the client next sends in
// them, without having taken it: their server closed them at that moment. err is
// what the client then reads, such as io.EOF and ECONNRESET.
func (n *Net) CloseOnWrite(err error) { n.change(func(c *conn) { c.onWrite = err }) }

// GiveUp has the client's kernel end the connections that are dead and in which
// something was sent: it has tried for long enough. err is what the client then
// reads, such as ETIMEDOUT.
func (n *Net) GiveUp(err error) {
	n.change(func(c *conn) {
		if c.dead && c.sent {
			c.ended = err
			_ = c.Conn.Close() // of the pipe, so that what reads it returns
		}
	})
}

func (n *Net) change(f func(*conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.mu.Lock()
		f(c)
		c.mu.Unlock()
	}
}

type conn struct {
	net.Conn
	closing sync.Once
	closed  chan struct{} // by the client

	mu      sync.Mutex
	dead    bool
	sent    bool // and something was sent since
	onWrite error
	ended   error // what the client reads
}

func (c *conn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		c.mu.Lock()
		dead, ended := c.dead, c.ended
		c.mu.Unlock()
		switch {
		case ended != nil:
			return 0, ended
		case !dead || errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		case err != nil:
			<-c.closed
			return 0, net.ErrClosed
		}
	}
}

func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if c.onWrite != nil {
		c.ended, c.onWrite, c.dead = c.onWrite, nil, true
		_ = c.Conn.Close() // of the pipe, so that what reads it returns
	}
	dead := c.dead
	c.sent = c.sent || dead
	c.mu.Unlock()
	if dead {
		return len(b), nil // a socket takes it, and keeps it
	}
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
