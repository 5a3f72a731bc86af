package lambdapool

import (
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// maxConns is how many connections a worker has at once. A runtime client
	// has one, two or three.
	maxConns = 32
	// maxUnknown is how many bytes a connection may send before a request of it
	// has been admitted. That one may be an error with a long cause.
	maxUnknown = 64 << 10
)

// A door is the listener of one worker. Every user of the machine can connect
// to it, so what a connection may cost is bounded before it is known.
//
// # The invariant
//
// There are at most maxConns connections, of three ranks: those of which nothing
// is known; those that are this user's, as far as that can be told; and those that
// have had a request admitted: see worker.ServeHTTP. When all places are taken, a
// new connection takes the one of a connection of the lowest rank that there is,
// which waits for its peer: of the one that does so for longest. So whoever holds
// connections open holds at most maxConns, and nobody up; and where it can be told
// whose a connection is, another user takes no place of this one's.
//
// A connection of that rank that does not wait is about to: it is being looked at,
// or was not yet. Until one waits nothing is accepted; the kernel keeps what comes
// in the meantime. To take one of those, or one of a higher rank, would hit the
// runtime client, which sends its request at once, as often as a stranger. If all
// connections have had a request admitted, and all are busy, the new one has to
// go.
//
// Whose a connection is takes a question to the kernel, so it is asked by the
// goroutine that serves the connection, when that reads first, and not here.
type door struct {
	net.Listener
	// own says whether a connection is this user's.
	own func(net.Conn) bool
	// strict is whether no other one may come in.
	strict bool

	mu     sync.Mutex
	moved  sync.Cond // a connection began to wait, or went, or the door was closed
	conns  map[*conn]struct{}
	closed bool
}

func newDoor(l net.Listener, own func(net.Conn) bool, strict bool) *door {
	d := &door{Listener: l, own: own, strict: strict, conns: map[*conn]struct{}{}}
	d.moved.L = &d.mu
	return d
}

// Accept returns the next connection.
func (d *door) Accept() (net.Conn, error) {
	for {
		accepted, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: accepted, door: d, gone: make(chan struct{})}
		d.mu.Lock()
		victim, ok := d.room()
		if ok {
			d.conns[c] = struct{}{}
		}
		closed := d.closed
		d.mu.Unlock()
		if victim != nil {
			_ = victim.Close()
		}
		switch {
		case closed:
			_ = c.Close()
			return nil, net.ErrClosed
		case ok:
			return c, nil
		}
		_ = c.Close()
	}
}

// room waits until a connection more can be taken, and returns the one that has
// to go for it. It reports whether there is one, or no need for one.
func (d *door) room() (victim *conn, ok bool) {
	for {
		if d.closed {
			return nil, false
		}
		if len(d.conns) < maxConns {
			return nil, true
		}
		var idle []*conn
		lowest := rankAdmitted
		for c := range d.conns {
			lowest = min(lowest, c.rank)
			if c.idle {
				idle = append(idle, c)
			}
		}
		slices.SortFunc(idle, func(a, b *conn) int { return a.since.Compare(b.since) })
		for _, c := range idle {
			// One that has something to read was just not read yet.
			if c.rank == lowest && (c.dismissed || !pending(c.Conn)) {
				delete(d.conns, c)
				return c, true
			}
		}
		if lowest == rankAdmitted {
			return nil, false
		}
		d.moved.Wait()
	}
}

// Close closes the listener, but no connection.
func (d *door) Close() error {
	d.mu.Lock()
	d.closed = true
	d.moved.Broadcast()
	d.mu.Unlock()
	return d.Listener.Close()
}

// A conn is a connection to a worker.
type conn struct {
	net.Conn
	door   *door
	gone   chan struct{} // closed when the connection is
	once   sync.Once     // closes gone
	looked bool          // whether it was asked whose it is; of the reader
	read   int           // bytes before a request was admitted; of the reader

	// Guarded by the lock of the door.
	rank      rank
	dismissed bool
	busy      bool // it has a request that is not answered
	// idle is whether nothing is being done for it: it waits for its peer to
	// send a request, or was dismissed.
	idle  bool
	since time.Time // when it became idle
}

// A rank is what is known of a connection.
type rank int

const (
	rankNone     rank = iota // nothing, or that it is another user's
	rankOwn                  // it is this user's
	rankAdmitted             // a request of it was admitted
)

// Read reads what the peer sends, if it may come in.
func (c *conn) Read(b []byte) (int, error) {
	if !c.looked {
		c.looked = true
		switch own := c.door.own(c.Conn); {
		case own:
			c.set(func() { c.rank = rankOwn })
		case c.door.strict:
			return 0, io.EOF
		}
	}
	if !c.waits() {
		return c.Conn.Read(b)
	}
	n, err := c.Conn.Read(b)
	c.set(func() {
		if c.rank < rankAdmitted && !c.dismissed {
			c.idle = false
		}
	})
	if c.read += n; c.read > maxUnknown {
		return 0, io.EOF
	}
	return n, err
}

// waits notes that a connection waits for its peer, if it has had no request
// admitted, and reports whether it has not.
func (c *conn) waits() (unknown bool) {
	c.set(func() {
		if unknown = c.rank < rankAdmitted; unknown && !c.busy {
			c.idle, c.since = true, time.Now()
		}
	})
	return unknown
}

// connState notes that a connection has sent a request, or has got the
// answer to one: what the server knows.
func connState(nc net.Conn, state http.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		c.set(func() { c.busy, c.idle = true, false })
	case http.StateIdle:
		c.set(func() { c.busy, c.idle, c.since = false, true, time.Now() })
	}
}

// admit notes that a request of it was admitted.
func (c *conn) admit() { c.set(func() { c.rank = rankAdmitted }) }

// dismiss notes that a request of it was refused. It is about to end, and
// may go at any time.
func (c *conn) dismiss() { c.set(func() { c.rank, c.dismissed, c.idle = rankNone, true, true }) }

// set changes what the door knows of a connection.
func (c *conn) set(change func()) {
	d := c.door
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	d.moved.Signal()
}

// lives reports whether the connection is open, as far as is known.
func (c *conn) lives() bool {
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

// Close closes the connection.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.gone)
		d := c.door
		d.mu.Lock()
		delete(d.conns, c)
		d.moved.Signal()
		d.mu.Unlock()
	})
	return c.Conn.Close()
}

// connOf is the connection of a request.
func connOf(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}

type connKey struct{}
