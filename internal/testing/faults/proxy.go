package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
)

// A proxy stands between the hosts and one broker, on the loopback interface.
// It can keep what comes to itself, as a network does that drops packets, end
// connections in the middle of a response, and forget those that there are, as
// a NAT does.
type proxy struct {
	to     string
	listen net.Listener
	wg     sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	links   map[*link]bool
	closed  bool
	silent  chan struct{} // closed when bytes flow again; nil while they do
	cutting bool
}

// A link is a connection from one end to the other.
type link struct{ swallowed atomic.Bool }

func newProxy(to string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{to: to, listen: l, conns: map[net.Conn]bool{}, links: map[*link]bool{}}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.listen.Addr().String() }

// hang keeps everything back until flow.
func (p *proxy) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == nil {
		p.silent = make(chan struct{})
	}
}

// cut ends each connection within the next response that it brings, until
// flow.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutting = true
}

// swallow takes whatever comes from now on through the connections that there
// are, in both directions, and hands none of it on, nor that one end closed
// its own. It does so for good. New connections work.
func (p *proxy) swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.swallowed.Store(true)
	}
}

// flow ends what hang and cut began.
func (p *proxy) flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutting = false
	if p.silent != nil {
		close(p.silent)
		p.silent = nil
	}
}

// close ends all connections and waits for the proxy's goroutines.
func (p *proxy) close() error {
	p.flow()
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close() // it is only to end
	}
	p.mu.Unlock()
	err := p.listen.Close()
	p.wg.Wait()
	return err
}

// keep notes a connection, so that it can be ended.
func (p *proxy) keep(c net.Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.Join(net.ErrClosed, c.Close())
	}
	p.conns[c] = true
	return nil
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close() // the other direction may have
}

func (p *proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *proxy) serve(client net.Conn) {
	if p.keep(client) != nil {
		return
	}
	defer p.drop(client)
	broker, err := net.Dial("tcp", p.to)
	if err != nil || p.keep(broker) != nil {
		return
	}
	defer p.drop(broker)
	l := new(link)
	p.mu.Lock()
	p.links[l] = true
	p.mu.Unlock()
	requests := make(chan struct{})
	p.wg.Go(func() {
		defer close(requests)
		p.carry(l, broker, client, false)
	})
	p.carry(l, client, broker, true)
	if !l.swallowed.Load() {
		_ = client.Close() // ends the other direction, too
	}
	<-requests
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// carry copies one direction until either end is closed. Of one that is
// swallowed the other end does not learn that: it goes on until it is closed
// itself.
func (p *proxy) carry(l *link, to, from net.Conn, responses bool) {
	defer func() {
		if !l.swallowed.Load() {
			_ = to.Close()
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.mu.Lock()
			silent, cutting := p.silent, p.cutting && responses
			p.mu.Unlock()
			if silent != nil {
				<-silent
			}
			swallowed := l.swallowed.Load()
			if cutting && !swallowed {
				n = rand.IntN(n) // a part, and then the end
			}
			if !swallowed {
				if _, err := to.Write(buf[:n]); err != nil || cutting {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}
