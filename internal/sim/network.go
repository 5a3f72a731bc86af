package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A network is what lies between one member and the brokers. Each message is under way
// for a time that follows from the seed and from which message it is; and what a fault
// does to a message, it does here.
//
// A client writes a request in one call, and reads an answer in several: so a
// connection counts bytes of answers to know where the next one begins, and keeps the
// keys of the requests, which are answered in order.
type network struct {
	w    *World
	name string

	mu      sync.Mutex // a leaf, held for moments
	number  uint64     // of the next connection
	conns   map[*conn]bool
	gone    bool // the member was killed
	rules   []*rule
	stalled time.Time     // until when nothing passes
	calm    chan struct{} // closed when all faults are over
}

// A rule is a fault that hits messages: so many, or those of a time.
type rule struct {
	Fault
	until time.Time
	left  int
}

func newNetwork(w *World, name string) *network {
	return &network{w: w, name: name, conns: map[*conn]bool{}, calm: make(chan struct{})}
}

var (
	errUnreachable = errors.New("sim: the broker cannot be reached")
	errCut         = errors.New("sim: the connection was cut")
)

// dial connects to a broker.
func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	broker := n.w.brokerAt(address)
	n.mu.Lock()
	n.number++
	c := &conn{n: n, number: n.number, broker: broker, closed: make(chan struct{})}
	n.mu.Unlock()
	if err := c.pass(ctx, n.w.dice.span(n.w.plan.Latency, "dial"+n.name, c.number)); err != nil {
		return nil, err
	}
	if n.unreachable(broker) {
		return nil, errUnreachable
	}
	inner, err := n.w.kafka.Dial(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	c.Conn = inner
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		_ = inner.Close()
		return nil, errUnreachable
	}
	n.conns[c] = true
	return c, nil
}

func (n *network) unreachable(broker int32) bool {
	n.mu.Lock()
	gone := n.gone
	n.mu.Unlock()
	return gone || n.w.isDown(broker)
}

// add has a fault hit what comes.
func (n *network) add(f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := &rule{Fault: f, left: f.N, until: time.Now().Add(time.Duration(f.For))}
	n.rules = append(n.rules, r)
}

// rule is the fault that hits a message of a kind, if there is one.
func (n *network) rule(key int16, kinds ...Kind) *rule {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.rules {
		for _, k := range kinds {
			if r.Kind == k && r.Key == key && r.left > 0 && time.Now().Before(r.until) {
				r.left--
				return r
			}
		}
	}
	return nil
}

// stall lets nothing pass until then.
func (n *network) stall(until time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if until.After(n.stalled) {
		n.stalled = until
	}
}

func (n *network) stalledUntil() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stalled
}

// each does something to the connections that are open to a broker, or to any if
// broker is below 0.
func (n *network) each(broker int32, f func(*conn)) {
	n.mu.Lock()
	var some []*conn
	for c := range n.conns {
		if broker < 0 || c.broker == broker {
			some = append(some, c)
		}
	}
	n.mu.Unlock()
	for _, c := range some {
		f(c)
	}
}

// joins reports whether a JoinGroup waits for its answer.
func (n *network) joins() (waits bool) {
	n.each(-1, func(c *conn) {
		c.mu.Lock()
		defer c.mu.Unlock()
		waits = waits || !c.joins.IsZero()
	})
	return waits
}

// kill cuts the member off for good.
func (n *network) kill() {
	n.mu.Lock()
	n.gone = true
	n.mu.Unlock()
	n.each(-1, func(c *conn) { _ = c.Close() })
}

// peace ends all faults. What is silent ends, as it does when the system gives a
// connection up.
func (n *network) peace() {
	n.mu.Lock()
	n.rules, n.stalled = nil, time.Time{}
	close(n.calm)
	n.mu.Unlock()
	n.each(-1, func(c *conn) {
		c.mu.Lock()
		silent := c.silent
		c.mu.Unlock()
		if silent {
			_ = c.Close()
		}
	})
}

// A conn is a connection of a member to a broker.
type conn struct {
	net.Conn
	n      *network
	number uint64
	broker int32

	closing sync.Once
	closed  chan struct{}

	mu      sync.Mutex // a leaf
	silent  bool
	asked   []asked
	joins   time.Time // since when a JoinGroup has no answer, zero if none waits
	answers uint64
	writes  uint64
	left    int    // bytes of the answer that is being read
	head    []byte // of it, and not handed over yet
	readBy  time.Time
}

// An asked is a request whose answer has not come.
type asked struct {
	key     int16
	unheard bool // the answer is not delivered
}

func (c *conn) Close() error {
	c.closing.Do(func() {
		close(c.closed)
		c.n.mu.Lock()
		delete(c.n.conns, c)
		c.n.mu.Unlock()
	})
	return c.Conn.Close()
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.readBy = t
	c.mu.Unlock()
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.readBy = t
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

// pass waits as long as a message is under way, and until nothing is stalled.
func (c *conn) pass(ctx context.Context, d Span) error {
	for {
		until := c.n.stalledUntil()
		wait := max(time.Duration(d), time.Until(until))
		d = 0
		if wait <= 0 {
			return nil
		}
		timer, calm := time.NewTimer(wait), c.n.calm
		if wait <= time.Duration(c.n.w.plan.Latency) {
			calm = nil // it is no fault
		}
		select {
		case <-timer.C:
		case <-calm:
			timer.Stop()
		case <-c.closed:
			timer.Stop()
			return net.ErrClosed
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// Write sends a request.
func (c *conn) Write(b []byte) (int, error) {
	if len(b) < 8 {
		return 0, io.ErrShortWrite
	}
	key := int16(binary.BigEndian.Uint16(b[4:]))
	c.mu.Lock()
	c.writes++
	at := c.writes
	silent := c.silent
	c.mu.Unlock()
	c.n.w.trace("%s c%d request %d of %d bytes", c.n.name, c.number, key, len(b))
	if err := c.pass(context.Background(), c.n.w.dice.span(c.n.w.plan.Latency, "up"+c.n.name, c.number, at)); err != nil {
		return 0, err
	}
	if silent {
		return len(b), nil
	}
	if c.n.rule(key, Lose) != nil {
		_ = c.Close()
		return 0, errCut
	}
	if c.n.rule(key, Twice) != nil {
		c.again(b)
	}
	c.mu.Lock()
	c.asked = append(c.asked, asked{key, c.n.rule(key, Unheard) != nil})
	if key == int16(kmsg.JoinGroup) {
		c.joins = time.Now()
	}
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// again sends a request on a connection of its own before it is sent on this one, as
// one that was sent again. Nobody hears the answer.
func (c *conn) again(b []byte) {
	other, err := c.n.w.kafka.Dial(context.Background(), "tcp", c.n.w.addressOf(c.broker))
	if err != nil {
		return
	}
	defer other.Close()
	_ = other.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := other.Write(b); err != nil {
		return
	}
	var size [4]byte
	if _, err := io.ReadFull(other, size[:]); err == nil {
		_, _ = io.CopyN(io.Discard, other, int64(binary.BigEndian.Uint32(size[:])))
	}
}

// Read hands over what comes of answers. Where one begins, it waits as long as that is
// under way.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if len(c.head) == 0 && c.left == 0 {
		if err := c.begin(); err != nil {
			return 0, err
		}
	}
	if len(c.head) > 0 {
		n := copy(b, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// begin waits for the next answer.
func (c *conn) begin() error {
	var size [4]byte
	if _, err := io.ReadFull(c.Conn, size[:]); err != nil {
		return err
	}
	c.mu.Lock()
	to := asked{key: -1}
	if len(c.asked) > 0 {
		to, c.asked = c.asked[0], c.asked[1:]
	}
	if to.key == int16(kmsg.JoinGroup) {
		c.joins = time.Time{}
	}
	c.answers++
	at, silent, by := c.answers, c.silent, c.readBy
	c.mu.Unlock()
	if to.unheard {
		_ = c.Close()
		return errCut
	}
	if silent {
		return c.hear(by)
	}
	d := c.n.w.dice.span(c.n.w.plan.Latency, "down"+c.n.name, c.number, at)
	if r := c.n.rule(to.key, Late); r != nil {
		d += r.For
	}
	ctx := context.Background()
	if !by.IsZero() {
		with, done := context.WithDeadlineCause(ctx, by, os.ErrDeadlineExceeded)
		defer done()
		ctx = with
	}
	if err := c.pass(ctx, d); err != nil {
		return err
	}
	c.head, c.left = append(c.head[:0], size[:]...), int(binary.BigEndian.Uint32(size[:]))
	return nil
}

// hear waits for nothing.
func (c *conn) hear(by time.Time) error {
	var most <-chan time.Time
	if !by.IsZero() {
		timer := time.NewTimer(time.Until(by))
		defer timer.Stop()
		most = timer.C
	}
	select {
	case <-c.closed:
		return net.ErrClosed
	case <-most:
		return os.ErrDeadlineExceeded
	}
}
