package esmtest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmhttp"
	"github.com/seed429fd032/esm/esmtest"
)

// both runs a test in real time and in a bubble, for which a Server needs no
// build tag.
func both(t *testing.T, f func(t *testing.T)) {
	t.Run("real", f)
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, f) })
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	answer, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestServerServesEveryKindOfClient(t *testing.T) {
	both(t, func(t *testing.T) {
		for kind, serve := range map[string]func(testing.TB, http.Handler) *esmtest.Server{"http": esmtest.NewServer, "https": esmtest.NewTLSServer} {
			var mu sync.Mutex
			conns := map[string]bool{}
			server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				host, _, err := net.SplitHostPort(r.RemoteAddr)
				if err != nil || net.ParseIP(host) == nil {
					t.Errorf("%s: a remote address %q: %v", kind, r.RemoteAddr, err)
				}
				mu.Lock()
				defer mu.Unlock()
				conns[fmt.Sprint(r.Context().Value(http.LocalAddrContextKey))] = true
				_, _ = fmt.Fprintf(w, "%s %s %t", r.Host, r.URL.Path, r.TLS != nil)
			}))
			if !strings.HasPrefix(server.URL, kind+"://") || !strings.HasSuffix(server.URL, ".invalid") {
				t.Errorf("%s: the URL is %s", kind, server.URL)
			}
			own := &http.Transport{DialContext: server.DialContext}
			if kind == "https" {
				own.TLSClientConfig = server.Transport().TLSClientConfig
			}
			changed := server.Transport().Clone()
			changed.MaxConnsPerHost = 1
			want := strings.TrimPrefix(server.URL, kind+"://") + " /a " + fmt.Sprint(kind == "https")
			for name, c := range map[string]*http.Client{
				"Client": server.Client(), "Transport": {Transport: server.Transport()}, "a clone": {Transport: changed}, "DialContext": {Transport: own, Timeout: time.Minute},
			} {
				for range 3 { // over the same connection, which stays open at the end
					if got := get(t, c, server.URL+"/a"); got != want {
						t.Errorf("%s, %s: %q", kind, name, got)
					}
				}
			}
		}
	})
}

func TestServerKeepsConnectionsOpen(t *testing.T) {
	both(t, func(t *testing.T) {
		var dialed atomic.Int32
		server := esmtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body) // without that the server closes the connection
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(body)
		}))
		c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dialed.Add(1)
			return server.DialContext(ctx, network, address)
		}}}
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // more than any buffer
		for range 5 {
			answer, err := c.Post(server.URL, "text/plain", bytes.NewReader(sent))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(answer.Body)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
			answer.Body.Close()
			if inABubble() {
				synctest.Wait() // the connection is given back by a goroutine of the transport
			}
		}
		if n := dialed.Load(); n > 1 && inABubble() || n < 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func inABubble() bool { return time.Now().Year() < 2010 }

// TestServerEndsWhatItServes: the test ends, whatever clients and handlers are
// doing. In a bubble that proves too that nothing of it is left.
func TestServerEndsWhatItServes(t *testing.T) {
	both(t, func(t *testing.T) {
		noted := make(chan error, 10)
		entered := make(chan struct{}, 10)
		var refused error
		failures := watch(t, func(t testing.TB) {
			server := esmtest.NewTLSServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/hangs":
					entered <- struct{}{}
					<-r.Context().Done()
				case "/writes":
					entered <- struct{}{}
					for {
						if _, err := w.Write(make([]byte, 1<<20)); err != nil {
							return // nobody reads
						}
					}
				case "/reads":
					entered <- struct{}{}
					_, _ = io.Copy(io.Discard, r.Body) // of which no more comes
				case "/hijacks":
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					entered <- struct{}{}
					go func() {
						_, err := conn.Read(make([]byte, 1))
						noted <- err
					}()
				}
			}))
			for _, path := range []string{"/hangs", "/writes", "/hijacks"} {
				go func() {
					answer, err := server.Client().Get(server.URL + path)
					if err == nil {
						defer answer.Body.Close()
						_, err = answer.Body.Read(make([]byte, 1))
						<-t.Context().Done() // and reads no more
					}
					noted <- err
				}()
				<-entered
			}
			go func() {
				body, more := io.Pipe()
				context.AfterFunc(t.Context(), func() { _ = more.CloseWithError(io.ErrUnexpectedEOF) }) // a transport waits for its body
				_, err := server.Client().Post(server.URL+"/reads", "text/plain", body)
				noted <- err
			}()
			<-entered
			if conn, err := server.DialContext(t.Context(), "tcp", strings.TrimPrefix(server.URL, "https://")+":443"); err != nil {
				t.Error(err) // and it never says anything
			} else {
				t.Cleanup(func() {
					_, err := conn.Read(make([]byte, 1))
					noted <- err
				})
			}
			t.Cleanup(func() { // before that of NewServer, and so twice
				var both sync.WaitGroup
				both.Go(server.Close)
				both.Go(server.Close)
				both.Wait()
				_, refused = server.Client().Get(server.URL)
			})
		})
		if len(failures) > 0 {
			t.Errorf("%q", failures)
		}
		ok := 0
		for range 6 {
			if err := <-noted; err == nil {
				ok++
			}
		}
		if ok > 1 { // the one that got what was written
			t.Errorf("%d of the ends of connections were noticed by nobody", ok)
		}
		if !errors.Is(refused, syscall.ECONNREFUSED) || !strings.Contains(refused.Error(), "the server is closed") {
			t.Errorf("after it was closed: %v", refused)
		}
	})
}

func TestHandlerThatSleepsInABubbleIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var ended time.Time
		server := esmtest.NewServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			time.Sleep(50 * time.Minute) // a slow service, written without care
			ended = time.Now()
		}))
		c := server.Client()
		c.Timeout = time.Minute
		if _, err := c.Get(server.URL); err == nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		server.Close()
		if ended.Sub(began) != 50*time.Minute {
			t.Error("the handler was not waited for")
		}
	})
}

func TestHandlerThatIgnoresTheEndFailsTheTest(t *testing.T) {
	defer esmtest.HandlersHave(50 * time.Millisecond)()
	release := make(chan struct{})
	defer close(release)
	failures := watch(t, func(t testing.TB) {
		entered := make(chan struct{})
		server := esmtest.NewServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(entered)
			<-release
		}))
		go func() { _, _ = server.Client().Get(server.URL + "/records?code=secret") }()
		<-entered
	})
	wantFailure(t, failures, "esmtest: 50ms after the server was closed", "these handlers still run: GET /records for ", "has to return when the context of its request ends")
	if strings.Contains(strings.Join(failures, ""), "secret") {
		t.Errorf("%q", failures)
	}
}

// TestHandlerThatOutlivesItsTestTellsItNothing: testing would panic.
func TestHandlerThatOutlivesItsTestTellsItNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		failures := watch(t, func(t testing.TB) {
			server := esmtest.NewServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				<-release
				panic("too late")
			}))
			go func() { _, _ = server.Client().Get(server.URL) }()
			synctest.Wait()
		})
		wantFailure(t, failures, "esmtest: 1h0m0s after the server was closed")
		close(release)
		synctest.Wait()
	})
}

func TestHandlerThatPanicsFailsTheTestAndEndsItsConnectionOnly(t *testing.T) {
	both(t, func(t *testing.T) {
		failures := watch(t, func(t testing.TB) {
			server := esmtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/panics":
					panic("oh no")
				case "/panics-with-nil":
					panic(nil)
				case "/aborts":
					panic(http.ErrAbortHandler)
				case "/exits":
					runtime.Goexit() // as t.FailNow does
				}
				_, _ = io.WriteString(w, "fine")
			}))
			for _, path := range []string{"/panics?secret", "/panics-with-nil", "/aborts", "/exits"} {
				if _, err := server.Client().Get(server.URL + path); err == nil {
					t.Errorf("%s was answered", path)
				}
				answer, err := server.Client().Get(server.URL)
				if err != nil || answer.StatusCode != http.StatusOK {
					t.Errorf("after %s: %v, %v", path, answer, err)
					continue
				}
				answer.Body.Close()
			}
		})
		if len(failures) != 2 {
			t.Fatalf("%q", failures)
		}
		for i, says := range []string{"the handler of GET /panics panicked: oh no\n", "the handler of GET /panics-with-nil panicked: panic called with nil argument"} {
			if !strings.Contains(failures[i], "esmtest: "+says) || !strings.Contains(failures[i], "server_test.go") || strings.Contains(failures[i], "secret") {
				t.Errorf("%s", failures[i])
			}
		}
	})
}

// TestServerLogsToTheTest what its HTTP server has to say.
func TestServerLogsToTheTest(t *testing.T) {
	var logged []string
	_ = watch(t, func(t testing.TB) {
		server := esmtest.NewTLSServer(loud{t, &logged}, http.NotFoundHandler())
		_, _ = (&http.Client{Transport: &http.Transport{DialContext: server.DialContext}}).Get(server.URL)
	})
	if len(logged) != 1 || !strings.Contains(logged[0], "TLS handshake error") {
		t.Errorf("%q", logged)
	}
}

// loud keeps what a test logs.
type loud struct {
	testing.TB
	lines *[]string
}

func (l loud) Log(args ...any) { *l.lines = append(*l.lines, fmt.Sprint(args...)) }

func TestServerIsReachedByItsOwnClientsOnly(t *testing.T) {
	both(t, func(t *testing.T) {
		var asked []string
		handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.Host) })
		one, two := esmtest.NewServer(t, handler), esmtest.NewServer(t, handler)
		if one.URL == two.URL {
			t.Fatal("two servers have the same address")
		}
		for _, url := range []string{two.URL, one.URL + ":8080", "https" + strings.TrimPrefix(one.URL, "http"), "http://localhost"} {
			_, err := one.Client().Get(url)
			var op *net.OpError
			if !errors.As(err, &op) || op.Op != "dial" || !strings.Contains(err.Error(), "this is a client of "+one.URL+", which reaches nothing else") {
				t.Errorf("%s: %v", url, err)
			}
		}
		get(t, one.Client(), one.URL)
		get(t, two.Client(), two.URL)
		if len(asked) != 2 {
			t.Errorf("asked: %q", asked)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := one.DialContext(ctx, "tcp", strings.TrimPrefix(one.URL, "http://")+":80"); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestCertificateIsTrustedByNobodyElse(t *testing.T) {
	both(t, func(t *testing.T) {
		server := esmtest.NewTLSServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		for _, c := range []*tls.Config{nil, {ServerName: "example.com", RootCAs: server.Transport().TLSClientConfig.RootCAs}} {
			var verify *tls.CertificateVerificationError
			if _, err := (&http.Client{Transport: &http.Transport{DialContext: server.DialContext, TLSClientConfig: c}}).Get(server.URL); !errors.As(err, &verify) {
				t.Errorf("%v", err)
			}
		}
	})
}

func TestServerWithoutAHandlerFailsAtOnce(t *testing.T) {
	for _, h := range []http.Handler{nil, http.HandlerFunc(nil), (*http.ServeMux)(nil)} {
		failures := watch(t, func(t testing.TB) {
			esmtest.NewServer(t, h)
			t.Error("it went on")
		})
		wantFailure(t, failures, "esmtest: NewServer without a handler")
	}
}

// TestServerThatIsGoneIsAThrottle: esmhttp sees that nobody was reached.
func TestServerThatIsGoneIsAThrottle(t *testing.T) {
	both(t, func(t *testing.T) {
		server := esmtest.NewServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		inv, err := esmhttp.New(server.URL, esmhttp.WithTransport(server.Transport()))
		if err != nil {
			t.Fatal(err)
		}
		if err := inv.Invoke(t.Context(), batchOf(0, 0, "a")); err != nil {
			t.Error(err)
		}
		server.Close()
		if err := inv.Invoke(t.Context(), batchOf(0, 0, "a")); esm.Classify(t.Context(), err) != esm.OutcomeThrottled {
			t.Errorf("%v", err)
		}
	})
}

// TestHandlerSeesThatItsClientGaveUp, as far as both are in virtual time.
func TestHandlerSeesThatItsClientGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var noticed []time.Duration
		server := esmtest.NewServer(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			noticed = append(noticed, time.Since(began))
		}))
		inv, err := esmhttp.New(server.URL, esmhttp.WithTransport(server.Transport()), esmhttp.WithTimeout(10*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if err := inv.Invoke(t.Context(), batchOf(0, 0, "a")); esm.Classify(t.Context(), err) != esm.OutcomeFailure {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		if !slices.Equal(noticed, []time.Duration{10 * time.Minute}) {
			t.Errorf("noticed after %v", noticed)
		}
	})
}

// A client that asks for HTTP/2 has it, and Close waits for handlers that outlive
// its connection.
func TestServerSpeaksHTTP2WhereItIsAskedFor(t *testing.T) {
	both(t, func(t *testing.T) {
		began, ended := make(chan struct{}), false
		server := esmtest.NewTLSServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(began)
				<-r.Context().Done()
				time.Sleep(10 * time.Millisecond)
				ended = true
			}
			fmt.Fprint(w, r.Proto)
		}))
		if proto := get(t, server.Client(), server.URL); proto != "HTTP/1.1" {
			t.Errorf("without asking: %s", proto)
		}
		asks := server.Transport().Clone()
		asks.ForceAttemptHTTP2 = true
		defer asks.CloseIdleConnections()
		client := &http.Client{Transport: asks}
		if proto := get(t, client, server.URL); proto != "HTTP/2.0" {
			t.Errorf("asked for: %s", proto)
		}
		done := make(chan error)
		go func() {
			answer, err := client.Get(server.URL + "/slow")
			if err == nil {
				err = answer.Body.Close()
			}
			done <- err
		}()
		<-began
		server.Close()
		if !ended {
			t.Error("Close did not wait for the handler")
		}
		if err := <-done; err == nil {
			t.Error("it was answered")
		}
	})
}
