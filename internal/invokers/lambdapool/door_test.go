package lambdapool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve serves a worker without a process, and returns its address.
func serve(t *testing.T, own func(net.Conn) bool, strict bool) (w *worker, address string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w = &worker{pool: New(Config{}), asks: make(chan struct{}, 1), host: l.Addr().String(), prefix: "/secret"}
	w.done, w.ended = context.WithCancel(context.Background())
	w.ask = time.NewTimer(time.Hour)
	w.api = w.routes()
	w.server = w.newServer()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.server.Serve(newDoor(l, own, strict))
	}()
	t.Cleanup(func() {
		w.ended()
		_ = w.server.Close()
		<-ended
	})
	return w, w.host
}

// nobodys does not know whose a connection is.
func nobodys(net.Conn) bool { return false }

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// post sends an answer that nobody asked for, which makes a connection known,
// and fails the test unless it is refused for that.
func post(t *testing.T, c net.Conn, from *bufio.Reader, header string) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "POST /secret%s/invocation/x/response HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n%s\r\n", runtimeAPI, c.RemoteAddr(), header); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "InvalidRequestID") {
		t.Fatalf("%s: %v: %s", resp.Status, err, body)
	}
}

// wantEnd waits until the other side has closed a connection.
func wantEnd(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection stays")
	}
}

// TestWhoWaitsLongestHasToGo: unknown connections make room for new ones, and
// never cost a known one its place.
func TestWhoWaitsLongestHasToGo(t *testing.T) {
	_, address := serve(t, nobodys, false)
	known := dial(t, address)
	from := bufio.NewReader(known)
	post(t, known, from, "")
	var strangers []net.Conn
	for range 3 * maxConns {
		c := dial(t, address)
		if _, err := io.WriteString(c, "GET /"); err != nil {
			t.Fatal(err)
		}
		strangers = append(strangers, c)
	}
	for _, c := range strangers[:2*maxConns+1] {
		wantEnd(t, c)
	}
	post(t, known, from, "")
	another := dial(t, address)
	post(t, another, bufio.NewReader(another), "")
}

// TestOthersTakeNoPlaceOfThisUser, not even of a connection that has sent nothing
// yet.
func TestOthersTakeNoPlaceOfThisUser(t *testing.T) {
	var mu sync.Mutex
	own, looked := map[string]bool{}, make(chan struct{}, 10*maxConns)
	_, address := serve(t, func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		looked <- struct{}{}
		return own[c.RemoteAddr().String()]
	}, false)
	open := func(isOwn bool) net.Conn {
		mu.Lock()
		c := dial(t, address)
		own[c.LocalAddr().String()] = isOwn
		mu.Unlock()
		<-looked
		return c
	}
	first := open(true)
	for range 3 * maxConns {
		open(false)
	}
	post(t, first, bufio.NewReader(first), "")
	// Where there is nobody else, the oldest has to go.
	second := open(true)
	for range 3 * maxConns {
		open(true)
	}
	wantEnd(t, second)
	post(t, first, bufio.NewReader(first), "")
}

// TestAFunctionMayLeaveConnectionsOpen: one that makes a new one for each request
// and closes none.
func TestAFunctionMayLeaveConnectionsOpen(t *testing.T) {
	_, address := serve(t, nobodys, false)
	var first net.Conn
	for range 3 * maxConns {
		c := dial(t, address)
		post(t, c, bufio.NewReader(c), "")
		if first == nil {
			first = c
		}
	}
	wantEnd(t, first)
}

// TestAllPlacesAreTaken by requests that are not answered yet: a new connection
// is refused, and none of those is harmed.
func TestAllPlacesAreTaken(t *testing.T) {
	w, address := serve(t, nobodys, false)
	holding := make(chan struct{})
	release := make(chan struct{})
	w.api = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		holding <- struct{}{}
		<-release
	})
	var all []net.Conn
	for range maxConns {
		c := dial(t, address)
		if _, err := fmt.Fprintf(c, "GET /secret%s/ HTTP/1.1\r\nHost: %s\r\n\r\n", runtimeAPI, address); err != nil {
			t.Fatal(err)
		}
		<-holding
		all = append(all, c)
	}
	wantEnd(t, dial(t, address))
	close(release)
	for _, c := range all {
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusOK {
			t.Error(resp, err)
		}
	}
}

// TestHowMuchMayBeSent before a connection is known, and after that: AWS's client
// for Go sends a header of up to 1 MiB.
func TestHowMuchMayBeSent(t *testing.T) {
	_, address := serve(t, nobodys, false)
	long := func(n int) string {
		return "Lambda-Runtime-Function-Xray-Error-Cause: " + strings.Repeat("x", n) + "\r\n"
	}
	known := dial(t, address)
	from := bufio.NewReader(known)
	post(t, known, from, long(maxUnknown-1000))
	post(t, known, from, long(maxHeader-1))
	stranger := dial(t, address)
	_, _ = io.WriteString(stranger, "GET / HTTP/1.1\r\n"+long(2*maxUnknown)) // it may be closed by then
	wantEnd(t, stranger)
}

// TestWhoSendsNothingIsNotWaitedFor: nor who begins and does not go on, be it in
// the body of a request that was refused.
func TestWhoSendsNothingIsNotWaitedFor(t *testing.T) {
	_, address := serve(t, nobodys, false)
	var all []net.Conn
	for _, begins := range []string{"", "GET /", "GET / HTTP/1.1\r\nHost: x\r\n", "POST / HTTP/1.1\r\nHost: " + address + "\r\nContent-Length: 1000000\r\n\r\nx",
		"POST /secret/x HTTP/1.1\r\nOrigin: x\r\nHost: " + address + "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nx"} {
		c := dial(t, address)
		if _, err := io.WriteString(c, begins); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		wantEnd(t, c)
	}
}

// TestForeignConnectionsGetNoWord: who is another user is not told even why.
func TestForeignConnectionsGetNoWord(t *testing.T) {
	_, address := serve(t, nobodys, true)
	c := dial(t, address)
	if _, err := fmt.Fprintf(c, "GET /secret%s/invocation/next HTTP/1.1\r\nHost: %s\r\n\r\n", runtimeAPI, address); err != nil {
		t.Fatal(err)
	}
	if said, _ := io.ReadAll(c); len(said) > 0 {
		t.Errorf("it is told %q", said)
	}
}
