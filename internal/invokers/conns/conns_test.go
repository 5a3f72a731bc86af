package conns_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	stdnet "net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/invokers/conns"
	"github.com/seed429fd032/esm/internal/testing/connstest"
)

// A bench is a client with a pool, a server, and the network between them.
type bench struct {
	net    *connstest.Net
	client *http.Client
	pool   *conns.Pool
	url    string
}

func setUp(t *testing.T, version int, handler http.HandlerFunc) *bench {
	t.Helper()
	server := esmtest.NewTLSServer(t, func() http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != version {
				t.Errorf("the protocol is %s", r.Proto)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			handler(w, r)
		})
	}())
	b := &bench{net: connstest.New(server.DialContext), url: server.URL}
	transport := server.Transport().Clone()
	transport.DialContext, transport.ForceAttemptHTTP2 = b.net.DialContext, version == 2
	b.pool = conns.New(transport)
	b.client = &http.Client{Transport: b.pool}
	t.Cleanup(b.pool.CloseIdleConnections)
	return b
}

// call posts a body, and returns what was answered.
func (b *bench) call(timeout time.Duration, path string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+path, bytes.NewReader(make([]byte, 20_000)))
	if err != nil {
		return "", err
	}
	answer, err := b.client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// together makes n calls at once, and returns how many failed.
func (b *bench) together(n int, timeout time.Duration, path string) int {
	var lost atomic.Int64
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if _, err := b.call(timeout, path); err != nil {
				lost.Add(1)
			}
		})
	}
	all.Wait()
	return int(lost.Load())
}

func slow(w http.ResponseWriter, r *http.Request) {
	if d, err := time.ParseDuration(strings.TrimPrefix(r.URL.Path, "/")); err == nil {
		time.Sleep(d)
	}
	_, _ = io.WriteString(w, "done")
}

// However many connections there are, and however many calls come: what is lost
// is what was in flight, and one more.
func TestADeadConnectionCostsTheCallsInItAndOneMore(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		b := setUp(t, version, slow)
		if lost := b.together(20, time.Minute, "/1s"); lost != 0 {
			t.Fatalf("%d calls were lost before", lost)
		}
		const inFlight = 3
		var before int
		var running sync.WaitGroup
		running.Go(func() { before = b.together(inFlight, 5*time.Second, "/1s") })
		time.Sleep(500 * time.Millisecond)
		b.net.Swallow()
		running.Wait()
		after := 0
		for range 10 {
			after += b.together(1, 5*time.Second, "/1s")
		}
		if before != inFlight || after > 1 {
			t.Errorf("%d of the %d in flight were lost, and %d of 10 after them", before, inFlight, after)
		}
		t.Logf("lost: %d in flight, and %d after them", before, after)
	})
}

// Nothing is in flight when the connections die, so the first call finds out.
func TestConnectionsThatDieIdleCostOneCall(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		b := setUp(t, version, slow)
		b.together(20, time.Minute, "/1s")
		b.net.Swallow()
		lost := 0
		for range 10 {
			lost += b.together(1, 5*time.Second, "/1s")
		}
		if lost != 1 {
			t.Errorf("%d of 10 calls were lost", lost)
		}
		if open := b.net.Open(); version == 1 && open != 1 {
			t.Errorf("%d connections are open", open)
		}
	})
}

// A kernel that gives up says the same as the call's own time.
func TestAKernelThatGivesUpCostsOneCall(t *testing.T) {
	for _, said := range []error{syscall.ETIMEDOUT, syscall.EPIPE} {
		kernelGivesUp(t, said)
	}
}

func kernelGivesUp(t *testing.T, said error) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t, 1, slow)
		b.together(20, time.Minute, "/1s")
		b.net.Swallow()
		lost := 0
		for range 10 {
			done := make(chan int)
			go func() { done <- b.together(1, 15*time.Minute, "/1s") }()
			time.Sleep(time.Minute)
			b.net.GiveUp(said)
			lost += <-done
		}
		if lost != 1 {
			t.Errorf("%v: %d of 10 calls were lost", said, lost)
		}
	})
}

// An answer that stops in the middle is such a call too.
func TestAnAnswerThatStopsIsASignToo(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		b := setUp(t, version, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "first half, ")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Second)
			_, _ = io.WriteString(w, "second half")
		})
		b.together(20, time.Minute, "/")
		done := make(chan int)
		go func() { done <- b.together(1, 5*time.Second, "/") }()
		time.Sleep(500 * time.Millisecond)
		b.net.Swallow()
		if lost := <-done; lost != 1 {
			t.Fatal("the call was answered")
		}
		if lost := b.together(5, 5*time.Second, "/"); lost != 0 {
			t.Errorf("%d of the next 5 calls were lost", lost)
		}
	})
}

// A ping finds a dead connection of HTTP/2, whatever time the calls have.
func TestAPingEndsCallsInADeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t, 2, slow)
		b.together(1, time.Minute, "/1s")
		done := make(chan int)
		go func() { done <- b.together(5, 15*time.Minute, "/10m") }()
		time.Sleep(time.Second)
		b.net.Swallow()
		since := time.Now()
		if lost := <-done; lost != 5 {
			t.Errorf("%d of 5 calls were lost", lost)
		}
		if d := time.Since(since); d > conns.PingAfter+conns.PingTimeout {
			t.Errorf("it took %s", d)
		}
		if lost := b.together(5, time.Minute, "/1s"); lost != 0 {
			t.Errorf("%d of the next 5 calls were lost", lost)
		}
	})
}

// Silence alone is no sign: a function may take 15 minutes, and says nothing.
func TestALongCallOutlivesPings(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		b := setUp(t, version, slow)
		if lost := b.together(3, 20*time.Minute, "/15m"); lost != 0 {
			t.Errorf("%d of 3 calls were lost", lost)
		}
	})
}

// One call that ran out of time ends none of those beside it, and what it left
// behind ends too.
func TestATimeoutEndsNoOtherCall(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		b := setUp(t, version, slow)
		b.together(1, time.Minute, "/1s")
		done := make(chan int)
		go func() { done <- b.together(5, time.Hour, "/10m") }()
		time.Sleep(time.Second)
		for range 10 {
			if lost := b.together(1, 5*time.Second, "/10s"); lost != 1 {
				t.Error("a call did not run out of time")
			}
		}
		if lost := <-done; lost != 0 {
			t.Errorf("%d of 5 calls were lost", lost)
		}
		time.Sleep(2 * time.Minute)
		if open := b.net.Open(); open != 0 {
			t.Errorf("%d connections are open", open)
		}
	})
}

// What is asked for late is not made anew each time, or it would never be there.
func TestADialThatIsSlowerThanItsCallIsForTheNextOne(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		var dialing atomic.Int64
		server := esmtest.NewTLSServer(t, http.HandlerFunc(slow))
		net := connstest.New(server.DialContext)
		transport := server.Transport().Clone()
		transport.ForceAttemptHTTP2 = version == 2
		transport.DialContext = func(ctx context.Context, network, address string) (stdnet.Conn, error) {
			dialing.Add(1)
			time.Sleep(3 * time.Second)
			return net.DialContext(ctx, network, address)
		}
		b := &bench{net: net, url: server.URL, pool: conns.New(transport)}
		b.client = &http.Client{Transport: b.pool}
		t.Cleanup(b.pool.CloseIdleConnections)
		if lost := b.together(1, 2*time.Second, "/"); lost != 1 {
			t.Fatal("the first call was answered")
		}
		if lost := b.together(1, 2*time.Second, "/"); lost != 0 {
			t.Error("the second call was lost too")
		}
		time.Sleep(5 * time.Second) // the second dial ends
		if n := dialing.Load(); n > 2 {
			t.Errorf("%d connections were dialed", n)
		}
	})
}

// A connection that ends just when a call is sent is no fault of the call.
func TestAConnectionThatWasClosedIdleCostsNoCall(t *testing.T) {
	for _, ended := range []error{io.EOF, syscall.ECONNRESET} {
		connstest.EachVersion(t, func(t *testing.T, version int) {
			var calls atomic.Int64
			b := setUp(t, version, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); slow(w, r) })
			b.together(20, time.Minute, "/1s")
			b.net.CloseOnWrite(ended)
			calls.Store(0)
			for range 30 {
				if _, err := b.call(time.Minute, "/1s"); err != nil {
					t.Errorf("%v: a call was lost: %v", ended, err)
				}
			}
			if n := calls.Load(); n != 30 {
				t.Errorf("%v: %d calls for 30", ended, n)
			}
		})
	}
}

// A function that ends its connection is called once more, and not once for each
// connection that there is.
func TestAFunctionThatEndsItsConnectionIsCalledTwiceAtMost(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		var ends, calls atomic.Int64
		b := setUp(t, version, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/end" {
				ends.Add(1)
				panic(http.ErrAbortHandler)
			}
			calls.Add(1)
			slow(w, r)
		})
		for i := range 5 {
			b.together(20, time.Minute, "/1s")
			if _, err := b.call(time.Minute, "/end"); err == nil {
				t.Error("it was answered")
			}
			// HTTP/2 ends the stream only, and the connection goes on.
			if n, most := int(ends.Load()), (3-version)*(i+1); n > most {
				t.Errorf("it was called %d times in %d", n, i+1)
			}
		}
	})
}

// One that takes its time and then ends the connection is not called again.
func TestAFunctionThatDiesLateIsCalledOnce(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		var calls atomic.Int64
		b := setUp(t, version, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/end" {
				calls.Add(1)
				time.Sleep(2 * time.Second)
				panic(http.ErrAbortHandler)
			}
			slow(w, r)
		})
		b.together(5, time.Minute, "/1s")
		if _, err := b.call(time.Minute, "/end"); err == nil || calls.Load() != 1 {
			t.Errorf("%d calls: %v", calls.Load(), err)
		}
	})
}

// A server that goes away says so (GOAWAY), and loses nothing by it.
func TestAServerThatGoesAwayLosesNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		b := setUp(t, 2, func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1)%3 == 0 {
				w.Header().Set("Connection", "close") // which HTTP/2 makes a GOAWAY of
			}
			slow(w, r)
		})
		lost := 0
		for range 10 {
			lost += b.together(20, time.Minute, "/1s")
		}
		if lost != 0 {
			t.Errorf("%d of 200 calls were lost", lost)
		}
		if b.net.Dialed() < 2 {
			t.Error("no connection went away")
		}
	})
}

// More calls than a connection of HTTP/2 takes do not wait in the transport, even
// where that is asked for: their time would run, and nobody would know it.
func TestCallsBeyondWhatAConnectionTakesHaveOneMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := esmtest.NewTLSServer(t, http.HandlerFunc(slow))
		transport := server.Transport().Clone()
		net := connstest.New(server.DialContext)
		transport.ForceAttemptHTTP2, transport.DialContext = true, net.DialContext
		transport.HTTP2 = &http.HTTP2Config{StrictMaxConcurrentRequests: true}
		b := &bench{url: server.URL, pool: conns.New(transport)}
		b.client = &http.Client{Transport: b.pool}
		t.Cleanup(b.pool.CloseIdleConnections)
		b.together(1, time.Minute, "/1s")
		began := time.Now()
		if lost := b.together(300, time.Minute, "/10s"); lost != 0 { // Go's server takes 250
			t.Errorf("%d of 300 calls were lost", lost)
		}
		if d := time.Since(began); d != 10*time.Second {
			t.Errorf("they took %s", d)
		}
		if net.Dialed() < 2 {
			t.Errorf("%d connections", net.Dialed())
		}
	})
}

// What the host says of its transport stays, and its own is not touched.
func TestSettingsOfTheHostStay(t *testing.T) {
	given := &http.Transport{IdleConnTimeout: time.Second, HTTP2: &http.HTTP2Config{SendPingTimeout: time.Minute, PingTimeout: time.Hour}}
	own := given.Clone()
	conns.New(own)
	if own.HTTP2.SendPingTimeout != time.Minute || own.HTTP2.PingTimeout != time.Hour || own.IdleConnTimeout != time.Second {
		t.Errorf("%+v", own.HTTP2)
	}
	bare := new(http.Transport)
	conns.New(bare.Clone())
	if bare.HTTP2 != nil || bare.IdleConnTimeout != 0 {
		t.Error("the transport that was copied has changed")
	}
}

// A request whose body cannot be read again is not sent again.
func TestABodyThatIsGoneIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t, 1, slow)
		b.together(2, time.Minute, "/1s")
		b.net.CloseOnWrite(io.EOF)
		r, err := http.NewRequest(http.MethodPost, b.url, io.MultiReader(strings.NewReader("once")))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := b.client.Do(r)
		if err == nil {
			answer.Body.Close()
			t.Fatal("it was answered")
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
