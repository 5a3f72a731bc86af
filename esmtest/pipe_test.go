package esmtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestPipeCarriesBothWays: all bytes arrive in order, in pieces of any size, both
// ways at once, and more than it holds.
func TestPipeCarriesBothWays(t *testing.T) {
	const total = 1 << 20
	content := func(seed uint64) []byte {
		b := make([]byte, total)
		rng := rand.NewChaCha8([32]byte{byte(seed)})
		_, _ = rng.Read(b)
		return b
	}
	server, client := newPipe(serverAddr("here:80"))
	var all sync.WaitGroup
	move := func(from, to net.Conn, seed uint64) {
		sent := content(seed)
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), rng.IntN(3*halfHolds))
				if wrote, err := from.Write(rest[:n]); wrote != n || err != nil {
					t.Errorf("wrote %d of %d: %v", wrote, n, err)
					return
				}
				rest = rest[n:]
			}
		})
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 2))
			got := make([]byte, 0, total)
			for len(got) < total {
				b := make([]byte, rng.IntN(2*halfHolds))
				n, err := to.Read(b)
				if err != nil {
					t.Error(err)
					return
				}
				got = append(got, b[:n]...)
			}
			if !bytes.Equal(got, sent) {
				t.Error("other bytes arrived")
			}
		})
	}
	move(client, server, 1)
	move(server, client, 2)
	all.Wait()
}

// TestPipeHoldsWhatASocketHolds: both sides may write at the same moment.
func TestPipeHoldsWhatASocketHolds(t *testing.T) {
	server, client := newPipe(serverAddr("here:80"))
	for _, end := range []net.Conn{server, client} {
		if n, err := end.Write(make([]byte, halfHolds)); n != halfHolds || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if err := end.SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Error(err)
		}
		if n, err := end.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d, %v", n, err)
		}
	}
}

func TestPipeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := newPipe(serverAddr("here:80"))
		if server.LocalAddr().String() != "here:80" || client.RemoteAddr().String() != "here:80" || server.RemoteAddr().String() != client.LocalAddr().String() {
			t.Error("the addresses are wrong")
		}
		_, _ = client.Write([]byte("last words"))
		var blocked sync.WaitGroup
		blocked.Go(func() { // more than there is room for
			if n, err := server.Write(make([]byte, 2*halfHolds)); n != halfHolds || !errors.Is(err, syscall.EPIPE) {
				t.Errorf("a write that waited: %d, %v", n, err)
			}
		})
		synctest.Wait()
		_ = client.Close()
		blocked.Wait()
		if got, err := io.ReadAll(server); err != nil || string(got) != "last words" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := server.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("a write to one who closed: %v", err)
		}
		for _, use := range []func([]byte) (int, error){client.Read, client.Write} {
			if _, err := use(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("use after the end: %v", err)
			}
		}
		if err := client.Close(); err != nil {
			t.Errorf("a second end: %v", err)
		}
		blocked.Go(func() {
			if _, err := server.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
		_ = server.Close()
		blocked.Wait()
	})
}

func TestPipeHasDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := newPipe(serverAddr("here:80"))
		began := time.Now()
		after := func(want time.Duration, what string, err error) {
			t.Helper()
			if got := time.Since(began); got != want || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s ended after %s with %v", what, got, err)
			}
			began = time.Now()
		}
		_ = client.SetDeadline(began.Add(time.Minute))
		_, err := client.Read(make([]byte, 1))
		after(time.Minute, "a read", err)
		_, err = client.Write(make([]byte, halfHolds+1))
		after(0, "a write whose time is over", err)

		_ = client.SetDeadline(time.Time{})
		var ended error
		var waiting sync.WaitGroup
		waiting.Go(func() { _, ended = client.Read(make([]byte, 1)) })
		synctest.Wait()
		_ = client.SetReadDeadline(began.Add(time.Hour)) // it moves while somebody waits
		synctest.Wait()
		_ = client.SetReadDeadline(began.Add(2 * time.Hour))
		waiting.Wait()
		after(2*time.Hour, "a read that waited", ended)

		_ = client.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { _, _ = server.Write([]byte("x")) })
		if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil || time.Since(began) != time.Second {
			t.Errorf("without one: %d, %v", n, err)
		}
	})
}

func TestAcceptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAcceptor(serverAddr("here:80"))
		if a.Addr().String() != "here:80" {
			t.Error(a.Addr())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := a.dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nobody accepts: %v", err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			if c, err := a.Accept(); err != nil || c.LocalAddr() != a.Addr() {
				t.Errorf("%v, %v", c, err)
			}
			if _, err := a.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
		if _, err := a.dial(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := errors.Join(a.Close(), a.Close()); err != nil {
			t.Error(err)
		}
		both.Wait()
		if _, err := a.dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
	})
}
