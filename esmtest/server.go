package esmtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// A Server is an HTTP server in memory, for a function that calls one. It is
// what httptest.Server is, for testing/synctest bubbles too: a real socket stops
// their clock.
//
//	server := esmtest.NewServer(t, handler)
//	inv, err := esmhttp.New(server.URL, esmhttp.WithTransport(server.Transport()))
//
// Only what is told to do so reaches it: [Server.Client], a client with
// [Server.Transport], or a transport of your own with [Server.DialContext]. The
// host of its URL exists nowhere else, so that one that is not told so fails.
//
// It speaks HTTP/1.1, and HTTP/2 with TLS to a client that asks for it, as a
// transport with ForceAttemptHTTP2 does. It keeps connections open as a real one
// does. A handler that panics fails the test, unless it wants to end its
// connection that way (its stream in HTTP/2), by panic(http.ErrAbortHandler).
//
// From Go 1.27 on, httptest.NewTestServer makes such a server too.
type Server struct {
	// URL is the address, such as http://server-1.invalid, without a slash at the
	// end.
	URL string

	t         testing.TB
	bubble    string // where it was made
	host      string // and port
	listener  *acceptor
	http      http.Server
	transport *http.Transport
	served    chan struct{} // closed when no more connections are taken
	done      chan struct{} // closed when none is served any more either
	ended     chan struct{} // closed when Close has done all

	mu       sync.Mutex
	closed   bool
	last     bool                  // no more connections are taken
	finished bool                  // done is closed
	pipes    map[net.Conn]struct{} // the server's ends of the connections
	open     int                   // connections that are served
	requests map[*http.Request]time.Time
	over     bool // the test has ended: it must not be told anything more
}

// servers makes their hosts differ, so that a client of one cannot be taken for
// that of another.
var servers atomic.Int64

// NewServer starts a server, which is closed at the end of the test, after what
// was made later. Inside a testing/synctest bubble it must be called in the
// bubble, with its t. It needs no build tag.
func NewServer(t testing.TB, handler http.Handler) *Server {
	t.Helper()
	return newServer(t, handler, nil)
}

// NewTLSServer is [NewServer] with TLS. Its certificate is trusted by
// [Server.Client] and by the TLSClientConfig of [Server.Transport], which a
// client of your own can take.
func NewTLSServer(t testing.TB, handler http.Handler) *Server {
	t.Helper()
	return newServer(t, handler, new(tls.Config))
}

func newServer(t testing.TB, handler http.Handler, config *tls.Config) *Server {
	t.Helper()
	if guard.IsNil(handler) {
		t.Fatal("esmtest: NewServer without a handler")
	}
	needOwn(t, "NewServer")
	watchClock(t)
	name := fmt.Sprintf("server-%d.invalid", servers.Add(1))
	s := &Server{
		URL: "http://" + name, t: t, bubble: bubbleHere(), host: name + ":80",
		served: make(chan struct{}), done: make(chan struct{}), ended: make(chan struct{}),
		pipes: map[net.Conn]struct{}{}, requests: map[*http.Request]time.Time{},
	}
	// As many as a Mapping invokes at once are used again, as a pool of its own
	// would do.
	s.transport = &http.Transport{DialContext: s.DialContext, MaxIdleConnsPerHost: 10_000}
	if config != nil {
		s.URL, s.host = "https://"+name, name+":443"
		cert, trusted, err := certificate(name)
		if err != nil {
			t.Fatalf("esmtest: %v", err)
		}
		config.Certificates = []tls.Certificate{cert}
		s.transport.TLSClientConfig = &tls.Config{RootCAs: trusted}
	}
	s.http.Handler = s.count(handler)
	s.http.ConnState = s.follow
	s.http.ErrorLog = log.New(logWriter{s}, "", 0)
	s.http.TLSConfig = config
	s.http.Protocols = new(http.Protocols)
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(true) // it takes TLS, and a client that asks for it
	s.listener = newAcceptor(serverAddr(s.host))
	go func() {
		defer close(s.served)
		if config != nil {
			_ = s.http.ServeTLS(listener{s.listener, s}, "", "") // returns when it is closed
		} else {
			_ = s.http.Serve(listener{s.listener, s})
		}
	}()
	t.Cleanup(func() {
		s.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.over = true
	})
	return s
}

// Client returns a client of the server.
func (s *Server) Client() *http.Client { return &http.Client{Transport: s.transport} }

// Transport returns what reaches the server, the same each time: for clients of
// your own. Its settings may be changed before it is used first.
func (s *Server) Transport() *http.Transport { return s.transport }

// DialContext connects to the server: for a transport of your own. It refuses
// every other address, and every address once the server is closed.
func (s *Server) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	refuse := func(why error) error {
		return &net.OpError{Op: "dial", Net: network, Addr: serverAddr(address), Err: why}
	}
	if here := bubbleHere(); here != s.bubble {
		why := fmt.Errorf("esmtest: this Server was made %s, and is used %s: make it where it is used", whereIs(s.bubble), whereIs(here))
		s.fail(why) // which must not end the goroutine: it is the transport's
		return nil, refuse(why)
	}
	if address != s.host {
		return nil, refuse(fmt.Errorf("this is a client of %s, which reaches nothing else: %w", s.URL, syscall.ECONNREFUSED))
	}
	conn, err := s.listener.dial(ctx)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, refuse(fmt.Errorf("the server is closed: %w", err))
	case err != nil:
		return nil, refuse(err)
	}
	return conn, nil
}

// Close ends the server: its connections, so that the contexts of requests end,
// and then waits for the handlers to return. It does not wait for ever: if one
// still runs 5 seconds later, or in a bubble an hour, which passes at once, the
// test fails. A second call waits for the first. It is called at the end of the
// test.
func (s *Server) Close() {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	// The HTTP server would do that too, but TLS says goodbye first, to a client
	// that may not listen. Both ends are one pipe, so the client's part of a
	// connection ends as well, whoever made it.
	for c := range s.pipes {
		_ = c.Close() // of a pipe, which cannot fail
	}
	s.mu.Unlock()
	if again {
		<-s.ended
		return
	}
	defer close(s.ended)
	_ = s.listener.Close()
	_ = s.http.Close() // of what is closed already
	s.transport.CloseIdleConnections()
	<-s.served
	s.mu.Lock()
	s.last = true
	s.finish()
	s.mu.Unlock()
	patience := patienceWithHandlers
	if inBubble() {
		patience = time.Hour // a handler may sleep there, to be slow
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-s.done:
	case <-timeout.C:
		s.fail(fmt.Errorf("esmtest: %s after the server was closed, and with it the contexts of its requests ended, these handlers still run: %s. A handler has to return when the context of its request ends, which it sees once the body is read", patience, s.running()))
	}
}

// patienceWithHandlers is how long a handler may take to notice that its context
// ended, in real time. It is a variable for tests.
var patienceWithHandlers = 5 * time.Second

// fail fails the test, if it has not ended.
func (s *Server) fail(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.t.Error(why)
	}
}

// running lists the requests whose handlers run.
func (s *Server) running() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for r, since := range s.requests {
		all = append(all, fmt.Sprintf("%s %s for %s", r.Method, r.URL.Path, time.Since(since).Round(time.Millisecond)))
	}
	slices.Sort(all)
	if len(all) == 0 {
		return "none, but a connection is still open"
	}
	const most = 5
	if n := len(all); n > most {
		all = append(all[:most], fmt.Sprintf("and %d more", n-most))
	}
	return strings.Join(all, ", ")
}

// count knows which handlers run.
func (s *Server) count(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests[r] = time.Now()
		s.mu.Unlock()
		defer func() {
			v := recover() // nil for a Goexit, which goes on
			s.mu.Lock()
			delete(s.requests, r)
			s.finish()
			s.mu.Unlock()
			if v == nil {
				return
			}
			if v != http.ErrAbortHandler {
				s.fail(fmt.Errorf("esmtest: the handler of %s %s panicked: %s\n%s", r.Method, r.URL.Path, guard.Sprint(v), guard.Stack()))
			}
			panic(http.ErrAbortHandler) // which ends the connection, without a word
		}()
		handler.ServeHTTP(w, r)
	})
}

// follow counts the connections that the HTTP server serves, with all that its
// goroutines do after the handler returned.
func (s *Server) follow(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.open++
	case http.StateClosed:
		if secure, ok := c.(*tls.Conn); ok {
			c = secure.NetConn()
		}
		delete(s.pipes, c)
		s.gone()
	case http.StateHijacked: // the handler's now, until the server is closed
		s.gone()
	}
}

// gone notes that a connection is not served any more.
func (s *Server) gone() {
	s.open--
	s.finish()
}

// finish notes that all is done, if it is. A handler of HTTP/2 can outlive its
// connection.
func (s *Server) finish() {
	if s.last && !s.finished && s.open == 0 && len(s.requests) == 0 {
		s.finished = true
		close(s.done)
	}
}

// A listener remembers the connections that it hands over.
type listener struct {
	net.Listener
	server *Server
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s := l.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipes[c] = struct{}{}
	if s.closed {
		_ = c.Close() // of a pipe, which cannot fail
	}
	return c, nil
}

type serverAddr string

func (serverAddr) Network() string  { return "memory" }
func (a serverAddr) String() string { return string(a) }

// A logWriter writes what the HTTP server logs to the test's log.
type logWriter struct{ server *Server }

func (w logWriter) Write(line []byte) (int, error) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if !w.server.over {
		w.server.t.Log(strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// certificate makes one for a host, valid in the years of bubbles and of now.
func certificate(host string) (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool, nil
}
