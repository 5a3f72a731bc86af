package lambdapool

import (
	"net"
	"sync"
	"syscall"
	"testing"
)

// TestWhoseASocketIs: of both ways to ask. That another user's is not ours is in
// TestAStrangerHoldsNobodyUp.
func TestWhoseASocketIs(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accept := func() (at net.Conn, local, remote *net.TCPAddr) {
		t.Helper()
		at, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = at.Close() })
		return at, at.RemoteAddr().(*net.TCPAddr), at.LocalAddr().(*net.TCPAddr)
	}
	want := func(what string, at net.Conn, local, remote *net.TCPAddr, want bool) {
		t.Helper()
		own, err := askOwner(local, remote)
		if err != nil {
			t.Logf("the kernel cannot be asked: %v", err)
		} else if own != want {
			t.Errorf("%s: asked, it is ours %t", what, own)
		}
		if own := sockets.own(local, remote); own != want {
			t.Errorf("%s: listed, it is ours %t", what, own)
		}
		if at == nil {
			return
		}
		if own := ownSocket(at); own != want {
			t.Errorf("%s: it is ours %t", what, own)
		}
	}

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	at, local, remote := accept()
	want("open", at, local, remote, true)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	want("closed", at, local, remote, false)
	want("the listener in place of a connection", nil, remote, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, false)

	// A client that speaks IPv6.
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	to := &syscall.SockaddrInet6{Port: remote.Port}
	copy(to.Addr[:], net.IPv4(127, 0, 0, 1).To16())
	if err := syscall.Connect(fd, to); err != nil {
		t.Skip(err)
	}
	at, local, remote = accept()
	want("of IPv6", at, local, remote, true)

	// Many at once share readings.
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if !sockets.own(local, remote) {
				t.Error("one of many: it is not ours")
			}
		})
	}
	group.Wait()
}
