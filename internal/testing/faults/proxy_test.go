package main

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// behind is a proxy before a server that answers each byte with 1,000.
func behind(t *testing.T) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 1)
				for {
					if _, err := c.Read(b); err != nil {
						return
					}
					if _, err := io.WriteString(c, strings.Repeat(string(b), 1000)); err != nil {
						return
					}
				}
			}()
		}
	}()
	p, err := newProxy(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// ask sends a byte and reads the answer.
func ask(t *testing.T, c net.Conn, within time.Duration) (int, error) {
	t.Helper()
	if _, err := c.Write([]byte("x")); err != nil {
		return 0, err
	}
	return read(t, c, within)
}

func read(t *testing.T, c net.Conn, within time.Duration) (int, error) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	return io.ReadFull(c, make([]byte, 1000))
}

func dial(t *testing.T, p *proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestProxyCarriesBothWays(t *testing.T) {
	c := dial(t, behind(t))
	for range 3 {
		if n, err := ask(t, c, time.Minute); n != 1000 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
}

func TestProxyThatHangsAnswersWhenItFlowsAgain(t *testing.T) {
	p := behind(t)
	c := dial(t, p)
	p.hang()
	if n, err := ask(t, c, 50*time.Millisecond); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	p.flow()
	if n, err := read(t, c, time.Minute); n != 1000 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

func TestProxyThatCutsEndsWithinAResponse(t *testing.T) {
	p := behind(t)
	p.cut()
	if n, err := ask(t, dial(t, p), time.Minute); n >= 1000 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	p.flow()
	if n, err := ask(t, dial(t, p), time.Minute); n != 1000 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

// TestProxyThatSwallowsKeepsWhatItHas: connections that there are bring
// nothing, for good, and nobody is told that one ended. New ones work.
func TestProxyThatSwallowsKeepsWhatItHas(t *testing.T) {
	p := behind(t)
	old := dial(t, p)
	if n, err := ask(t, old, time.Minute); n != 1000 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	p.swallow()
	silent := func() {
		t.Helper()
		if n, err := ask(t, old, 50*time.Millisecond); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	silent()
	if n, err := ask(t, dial(t, p), time.Minute); n != 1000 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	p.flow()
	silent()
	ends := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.conns)
	}
	had := ends()
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	// What comes after it has ended; the end of the old one does not.
	for range 3 {
		if n, err := ask(t, dial(t, p), time.Minute); n != 1000 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	if got := ends(); got < had {
		t.Errorf("the server had %d ends, and has %d", had, got)
	}
}
