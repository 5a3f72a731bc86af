package esmtest

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// An acceptor is a net.Listener in memory, whose connections come of
// [acceptor.dial].
//
// They are not those of net.Pipe, and so not of a kfake.VirtualNetwork, because
// these hold no byte: a write waits until it is read. Where both sides write at
// the same moment, as in TLS when they do not agree, they would wait for each
// other for ever, and sockets go on.
type acceptor struct {
	addr    net.Addr
	dialed  chan net.Conn
	closed  chan struct{}
	closing sync.Once
}

func newAcceptor(addr net.Addr) *acceptor {
	return &acceptor{addr: addr, dialed: make(chan net.Conn), closed: make(chan struct{})}
}

// dial returns the client's end of a new connection.
func (a *acceptor) dial(ctx context.Context) (net.Conn, error) {
	server, client := newPipe(a.addr)
	select {
	case a.dialed <- server:
		return client, nil
	case <-a.closed:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *acceptor) Accept() (net.Conn, error) {
	select {
	case c := <-a.dialed:
		return c, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

func (a *acceptor) Close() error {
	a.closing.Do(func() { close(a.closed) })
	return nil
}

func (a *acceptor) Addr() net.Addr { return a.addr }

// A pipe is one end of a connection.
type pipe struct {
	in, out       *half
	local, remote net.Addr
}

// clientAddr is what a server sees: an address that documentation is written with
// (RFC 5737), as in httptest.
var clientAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1234}

func newPipe(addr net.Addr) (server, client *pipe) {
	up, down := new(half), new(half)
	return &pipe{in: up, out: down, local: addr, remote: clientAddr}, &pipe{in: down, out: up, local: clientAddr, remote: addr}
}

func (p *pipe) Read(b []byte) (int, error)  { return p.in.read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.out.write(b) }
func (p *pipe) LocalAddr() net.Addr         { return p.local }
func (p *pipe) RemoteAddr() net.Addr        { return p.remote }

func (p *pipe) Close() error {
	p.in.change(func(h *half) { h.deaf, h.data = true, nil })
	p.out.change(func(h *half) { h.ended = true })
	return nil
}

func (p *pipe) SetDeadline(t time.Time) error {
	_ = p.SetReadDeadline(t)
	return p.SetWriteDeadline(t)
}

func (p *pipe) SetReadDeadline(t time.Time) error {
	p.in.change(func(h *half) { h.readBy = t })
	return nil
}

func (p *pipe) SetWriteDeadline(t time.Time) error {
	p.out.change(func(h *half) { h.writeBy = t })
	return nil
}

// A half is one direction of a connection: bytes on their way, about as many as
// a socket holds.
type half struct {
	mu              sync.Mutex // held for moments: a wait is on a channel
	data            []byte
	ended           bool // the writer closed: what is there can still be read
	deaf            bool // the reader closed
	readBy, writeBy time.Time
	changed         chan struct{} // nil if nobody waits
}

const halfHolds = 64 << 10

// change does something to a half, and wakes who waits for it.
func (h *half) change(f func(*half)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h)
	h.notify()
}

// notify wakes who waits. The lock is held.
func (h *half) notify() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// wait waits for a change, or for a deadline. The lock is held, and given up
// meanwhile.
func (h *half) wait(by time.Time) {
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	changed := h.changed
	h.mu.Unlock()
	defer h.mu.Lock()
	if by.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(by))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func past(by time.Time) bool { return !by.IsZero() && !time.Now().Before(by) }

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.deaf:
			return 0, net.ErrClosed
		case past(h.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(h.data) > 0:
			n := copy(b, h.data)
			h.data = slices.Delete(h.data, 0, n)
			h.notify()
			return n, nil
		case h.ended:
			return 0, io.EOF
		}
		h.wait(h.readBy)
	}
}

func (h *half) write(b []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		room := halfHolds - len(h.data)
		switch {
		case h.ended:
			return n, net.ErrClosed
		case past(h.writeBy):
			return n, os.ErrDeadlineExceeded
		case h.deaf:
			return n, syscall.EPIPE
		case len(b) == 0:
			return n, nil
		case room > 0:
			some := min(room, len(b))
			h.data = append(h.data, b[:some]...)
			b, n = b[some:], n+some
			h.notify()
			continue
		}
		h.wait(h.writeBy)
	}
}
