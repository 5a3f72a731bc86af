package lambdapool_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/invokers/lambdapool"
)

// A call is one that a rogue has, and has not answered yet.
type call struct {
	host, path, id string // path begins the paths of the Runtime API
	result         chan error
	release        func()
	open           func() // lets all later calls pass
}

// hold has a rogue begin a call, in a pool of one process.
func hold(t *testing.T, how string, change func(c *lambdapool.Config)) (p *lambdapool.Pool, begun *call) {
	t.Helper()
	calls := make(chan *call)
	var open atomic.Bool
	gate := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		api, err := url.Parse(r.URL.Query().Get("api"))
		if err != nil {
			t.Error(err)
			return
		}
		if open.Load() {
			return
		}
		let := make(chan struct{})
		calls <- &call{host: api.Host, path: api.Path, id: r.URL.Query().Get("id"), release: func() { close(let) }, open: func() { open.Store(true) }}
		select {
		case <-let:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(gate.Close)
	p = rogue(t, how, func(c *lambdapool.Config) {
		c.Most = 1
		c.Env = append(c.Env, "ROGUE_GATE="+gate.URL)
		if change != nil {
			change(c)
		}
	})
	result := make(chan error, 1)
	go func() {
		answer, err := p.Invoke(t.Context(), lambdapool.Event{Name: "n", Body: []byte("{}")})
		if err == nil && string(answer) != `"right"` {
			err = fmt.Errorf("the answer is %s", answer)
		}
		result <- err
	}()
	begun = <-calls
	begun.result = result
	return p, begun
}

// ends fails the test unless the call succeeds.
func (c *call) ends(t *testing.T) {
	t.Helper()
	c.release()
	select {
	case err := <-c.result:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the call never ends")
	}
}

// send sends a request as it stands, on a connection of its own, and returns the
// answer. ended is whether the server has ended the connection after it.
func send(t *testing.T, host, request string) (resp *http.Response, body string, ended bool) {
	t.Helper()
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	from := bufio.NewReader(c)
	method, _, _ := strings.Cut(request, " ")
	resp, err = http.ReadResponse(from, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	if !resp.Close {
		return resp, string(all), false
	}
	_, err = from.ReadByte()
	return resp, string(all), err == io.EOF
}

var modes = map[string]bool{"secret": false, "plain": true}

// TestPagesInABrowserAreRefused: whatever a page can send, the event stays with
// the process and its answer counts.
func TestPagesInABrowserAreRefused(t *testing.T) {
	for mode, plain := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			_, c := hold(t, "", func(c *lambdapool.Config) { c.Plain = plain })
			const get, post = "GET {path}/invocation/next HTTP/1.1\r\n", "POST {path}/invocation/{id}/response HTTP/1.1\r\nContent-Length: 7\r\n"
			const host, forged = "Host: {host}\r\n", "\r\n\"wrong\""
			_, port, err := net.SplitHostPort(c.host)
			if err != nil {
				t.Fatal(err)
			}
			fill := strings.NewReplacer("{path}", c.path, "{id}", c.id, "{host}", c.host, "{port}", port)
			for name, tt := range map[string]struct{ request, kind string }{
				"rebound name":         {get + "Host: evil.test:{port}\r\n\r\n", "Runtime.ForeignHost"},
				"localhost":            {get + "Host: localhost:{port}\r\n\r\n", "Runtime.ForeignHost"},
				"no port":              {get + "Host: 127.0.0.1\r\n\r\n", "Runtime.ForeignHost"},
				"another port":         {get + "Host: 127.0.0.1:1{port}\r\n\r\n", "Runtime.ForeignHost"},
				"another loopback":     {get + "Host: 127.0.0.2:{port}\r\n\r\n", "Runtime.ForeignHost"},
				"HTTP/1.0 and no host": {"GET {path}/invocation/next HTTP/1.0\r\n\r\n", "Runtime.ForeignHost"},
				"empty host":           {get + "Host:\r\n\r\n", "Runtime.ForeignHost"},
				"by a proxy":           {"GET http://evil.test{path}/invocation/next HTTP/1.1\r\n" + host + "\r\n", "Runtime.ForeignHost"},
				"by a proxy, to here":  {"GET http://{host}{path}/invocation/next HTTP/1.1\r\nHost: evil.test\r\n\r\n", "Runtime.ForeignHost"},
				"a tunnel":             {"CONNECT {host} HTTP/1.1\r\n" + host + "\r\n", "Runtime.ForeignHost"},
				"an answer to a name":  {post + "Host: evil.test\r\n" + forged, "Runtime.ForeignHost"},

				"a page's answer":       {post + host + "Origin: http://evil.test\r\nContent-Type: text/plain\r\n" + forged, "Runtime.Browser"},
				"a file's answer":       {post + host + "Origin: null\r\n" + forged, "Runtime.Browser"},
				"an origin of nothing":  {post + host + "Origin:\r\n" + forged, "Runtime.Browser"},
				"its own origin":        {post + host + "Origin: http://{host}\r\n" + forged, "Runtime.Browser"},
				"a page's error":        {"POST {path}/invocation/{id}/error HTTP/1.1\r\nContent-Length: 7\r\norigin: http://evil.test\r\n" + host + forged, "Runtime.Browser"},
				"a page's end":          {"POST {path}/init/error HTTP/1.1\r\nContent-Length: 7\r\nOrigin: http://evil.test\r\n" + host + forged, "Runtime.Browser"},
				"a question before it":  {"OPTIONS {path}/invocation/{id}/response HTTP/1.1\r\n" + host + "Origin: http://evil.test\r\nAccess-Control-Request-Method: POST\r\n\r\n", "Runtime.Browser"},
				"a picture":             {get + host + "Sec-Fetch-Dest: image\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: cross-site\r\n\r\n", "Runtime.Browser"},
				"a link":                {get + host + "Sec-Fetch-Site: none\r\n\r\n", "Runtime.Browser"},
				"a mode":                {get + host + "Sec-Fetch-Mode: cors\r\n\r\n", "Runtime.Browser"},
				"a destination":         {get + host + "Sec-Fetch-Dest: script\r\n\r\n", "Runtime.Browser"},
				"a user":                {get + host + "sec-fetch-user: ?1\r\n\r\n", "Runtime.Browser"},
				"what is to come":       {get + host + "Sec-Fetch-Storage-Access: none\r\n\r\n", "Runtime.Browser"},
				"a WebSocket":           {get + host + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", "Runtime.Browser"},
				"a browser of long ago": {get + host + "User-Agent: Mozilla/5.0 (X11)\r\n\r\n", "Runtime.Browser"},

				"another method":         {"HEAD {path}/invocation/next HTTP/1.1\r\nConnection: close\r\n" + host + "\r\n", ""},
				"one more":               {"PUT {path}/invocation/next HTTP/1.1\r\n" + host + "\r\n", "Runtime.NotFound"},
				"options of all":         {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", "Runtime.NotFound"},
				"another path":           {"GET / HTTP/1.1\r\n" + host + "\r\n", "Runtime.NotFound"},
				"no answer to anything":  {"POST {path}/invocation//response HTTP/1.1\r\nContent-Length: 7\r\n" + host + forged, ""},
				"an answer to a guess":   {"POST {path}/invocation/n-1/response HTTP/1.1\r\nContent-Length: 7\r\n" + host + forged, "InvalidRequestID"},
				"an error to a guess":    {"POST {path}/invocation/1/error HTTP/1.1\r\nContent-Length: 7\r\n" + host + forged, "InvalidRequestID"},
				"the end of the start":   {"POST {path}/init/error HTTP/1.1\r\nContent-Length: 7\r\n" + host + forged, "InvalidStateTransition"},
				"the next event, unseen": {get + host + "\r\n", "Runtime.Concurrent"},
				"two hosts":              {get + host + "Host: evil.test\r\n\r\n", ""},
			} {
				resp, body, ended := send(t, c.host, fill.Replace(tt.request))
				if resp.StatusCode < 300 {
					t.Errorf("%s: %s", name, resp.Status)
				}
				if tt.kind == "" {
					continue
				}
				var said struct{ ErrorType, ErrorMessage string }
				if err := json.Unmarshal([]byte(body), &said); err != nil || said.ErrorType != tt.kind || len(said.ErrorMessage) < 10 || resp.Header.Get("Content-Type") != "application/json" {
					t.Errorf("%s: %s: %v: %s", name, resp.Status, err, body)
				}
				if stranger := tt.kind == "Runtime.ForeignHost" || tt.kind == "Runtime.Browser"; stranger && !ended {
					t.Errorf("%s: the connection stays", name)
				}
			}
			c.ends(t)
		})
	}
}

// TestWhoDoesNotKnowTheSecretFindsNothing: not even with the id.
func TestWhoDoesNotKnowTheSecretFindsNothing(t *testing.T) {
	_, c := hold(t, "", nil)
	_, api, _ := strings.Cut(strings.TrimPrefix(c.path, "/"), "/")
	secret := strings.TrimSuffix(strings.TrimPrefix(c.path, "/"), "/"+api)
	if len(secret) < 20 {
		t.Fatalf("the secret of %s has %d characters", c.path, len(secret))
	}
	for _, path := range []string{"", "/", "/guess", "/" + secret[1:], "/" + secret + "x", "/" + strings.ToLower(secret), "//" + secret, "/" + secret + "/..", "/x/../" + secret} {
		resp, body, ended := send(t, c.host, fmt.Sprintf("POST %s/%s/invocation/%s/response HTTP/1.1\r\nHost: %s\r\nContent-Length: 7\r\n\r\n\"wrong\"", path, api, c.id, c.host))
		if resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "Runtime.NotFound") || !ended || strings.Contains(body, secret) {
			t.Errorf("%s: %s, ended %t: %s", path, resp.Status, ended, body)
		}
	}
	c.ends(t)
}

// TestTheSecretIsNotLogged: AWS's client for Go writes the address that it could
// not reach.
func TestTheSecretIsNotLogged(t *testing.T) {
	var out strings.Builder
	p := rogue(t, "tells", func(c *lambdapool.Config) { c.Logger = slog.New(slog.NewTextHandler(&out, nil)) })
	_, err := invoke(t, p)
	p.Close() // nothing is written after that
	const want = "/.../2018-06-01/runtime: got unexpected status code"
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(out.String(), want) {
		t.Errorf("%v; the log: %s", err, &out)
	}
}

// TestIDsCannotBeGuessed: who has the id of an invocation may answer it.
func TestIDsCannotBeGuessed(t *testing.T) {
	for mode, plain := range modes {
		ids := make(chan string, 100)
		gate := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ids <- r.URL.Query().Get("id") }))
		t.Cleanup(gate.Close)
		p := rogue(t, "", func(c *lambdapool.Config) { c.Most, c.Plain, c.Env = 1, plain, append(c.Env, "ROGUE_GATE="+gate.URL) })
		var seen []string
		for range 50 {
			if _, err := invoke(t, p); err != nil {
				t.Fatal(err)
			}
			id := <-ids
			random, ok := strings.CutPrefix(id, "n-")
			if !ok || len(random) < 26 {
				t.Fatalf("%s: %q", mode, id)
			}
			// What two have in common is chance: 8 of 32 letters in no run of this
			// test.
			for _, other := range seen {
				if random[:8] == other[:8] || random[len(random)-8:] == other[len(other)-8:] {
					t.Errorf("%s: %s after %s", mode, random, other)
				}
			}
			seen = append(seen, random)
		}
	}
	p := rogue(t, "", nil)
	if _, err := p.Invoke(t.Context(), lambdapool.Event{Name: strings.Repeat("x", 1<<20) + "\r\nX: y", Body: []byte("{}")}); err != nil {
		t.Errorf("an event with a long name: %v", err)
	}
}

// TestAProcessMayHaveAConnectionForEachRequest: AWS's examples do.
func TestAProcessMayHaveAConnectionForEachRequest(t *testing.T) {
	for mode, plain := range modes {
		set := func(c *lambdapool.Config) { c.Most, c.Plain, c.Env = 1, plain, append(c.Env, "ROGUE_CLOSES=1") }
		for _, how := range []string{"", "another-id"} {
			p := rogue(t, how, set)
			for range 30 {
				if answer, err := invoke(t, p); err != nil || answer != `"right"` {
					t.Fatalf("%s, %q: %s, %v", mode, how, answer, err)
				}
			}
			if s := p.Stats(); s.ColdStarts != 1 {
				t.Errorf("%s, %q: %+v", mode, how, s)
			}
		}
		// One that is done with its event and did not answer says so by asking.
		p := rogue(t, "no-answer", set)
		for range 5 {
			_, err := invoke(t, p)
			if failed := (*lambdapool.Error)(nil); !errors.As(err, &failed) || failed.Type != "Runtime.NoAnswer" {
				t.Fatalf("%s: %v", mode, err)
			}
		}
		if s := p.Stats(); s.ColdStarts != 1 {
			t.Errorf("%s: %+v", mode, s)
		}
	}
}

// A puppet is a process for which the test speaks.
type puppet struct {
	*call
	t *testing.T
	p *lambdapool.Pool
}

func newPuppet(t *testing.T, plain bool) *puppet {
	p, c := hold(t, "puppet", func(c *lambdapool.Config) { c.Plain = plain })
	return &puppet{c, t, p}
}

// A link is a connection of a puppet's.
type link struct {
	p *puppet
	net.Conn
	heard chan heard
}

// heard is an answer: the id of an event, or what it says.
type heard struct{ id, says string }

func (p *puppet) dial() *link {
	p.t.Helper()
	c, err := net.Dial("tcp", p.host)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Close() })
	l := &link{p, c, make(chan heard, 10)}
	go func() {
		for from := bufio.NewReader(c); ; {
			resp, err := http.ReadResponse(from, nil)
			if err != nil {
				return // it was closed
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return
			}
			l.heard <- heard{resp.Header.Get("Lambda-Runtime-Aws-Request-Id"), string(body)}
		}
	}()
	return l
}

// ask asks for the next event.
func (l *link) ask() {
	l.p.t.Helper()
	if _, err := fmt.Fprintf(l, "GET %s/invocation/next HTTP/1.1\r\nHost: %s\r\n\r\n", l.p.path, l.p.host); err != nil {
		l.p.t.Fatal(err)
	}
}

// event is the id of the event that it gets.
func (l *link) event() string {
	l.p.t.Helper()
	h := l.hear(l.heard)
	if h.id == "" {
		l.p.t.Fatal(h.says)
	}
	return h.id
}

func (l *link) hear(from <-chan heard) (h heard) {
	l.p.t.Helper()
	select {
	case h = <-from:
	case <-time.After(20 * time.Second):
		l.p.t.Fatal("no answer")
	}
	return h
}

// breaks closes the connection.
func (l *link) breaks() {
	l.p.t.Helper()
	if err := l.Close(); err != nil {
		l.p.t.Fatal(err)
	}
}

// two asks on two connections at once, of which one is told that the other has
// the turn, and returns that one.
func (p *puppet) two() *link {
	p.t.Helper()
	a, b := p.dial(), p.dial()
	a.ask()
	b.ask()
	var h heard
	select {
	case h = <-a.heard:
		a, b = b, a
	case h = <-b.heard:
	case <-time.After(20 * time.Second):
		p.t.Fatal("none is refused")
	}
	if !strings.Contains(h.says, "Runtime.Concurrent") {
		p.t.Fatal(h)
	}
	b.breaks()
	return a
}

// answer answers an event, on a connection of its own.
func (p *puppet) answer(id string) {
	p.t.Helper()
	resp, body, _ := send(p.t, p.host, fmt.Sprintf("POST %s/invocation/%s/response HTTP/1.1\r\nHost: %s\r\nContent-Length: 7\r\n\r\n\"right\"", p.path, id, p.host))
	if resp.StatusCode != http.StatusAccepted {
		p.t.Fatalf("%s: %s", resp.Status, body)
	}
}

// TestOneConnectionHasTheTurn: a second one that asks gets nothing and harms
// nobody while the first one is open, and takes its place when it is not.
func TestOneConnectionHasTheTurn(t *testing.T) {
	for mode, plain := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := newPuppet(t, plain)
			wantSuccess := func() {
				t.Helper()
				if err := <-p.result; err != nil {
					t.Fatal(err)
				}
			}
			wantNoAnswer := func(id string) {
				t.Helper()
				failed := (*lambdapool.Error)(nil)
				if err := <-p.result; !errors.As(err, &failed) || failed.Type != "Runtime.NoAnswer" || failed.RequestID != id {
					t.Fatal(err)
				}
			}
			again := func() {
				go func() {
					_, err := p.p.Invoke(t.Context(), lambdapool.Event{Body: []byte("{}")})
					p.result <- err
				}()
			}

			first := p.dial()
			first.ask() // the call that started the process waits for that
			id := first.event()
			other := p.dial()
			other.ask()
			if h := other.hear(other.heard); !strings.Contains(h.says, "Runtime.Concurrent") {
				t.Fatalf("while it has an event: %+v", h)
			}
			p.answer(id)
			wantSuccess()
			first.breaks()

			// Its connection breaks while it waits, and it comes on another one.
			p.two().breaks()
			second := p.two()
			again()
			id = second.event()

			// Its connection breaks while it has an event: it answers on another
			// one.
			second.breaks()
			p.answer(id)
			wantSuccess()

			// It asks for the next one without an answer, on the same connection,
			// and on another one when that is closed.
			third := p.dial()
			again()
			third.ask()
			id = third.event()
			third.ask()
			wantNoAnswer(id)
			again()
			id = third.event()
			third.breaks()
			fourth := p.dial()
			fourth.ask()
			wantNoAnswer(id)
			again()
			p.answer(fourth.event())
			wantSuccess()
			if s := p.p.Stats(); s.ColdStarts != 1 || s.Invocations != 5 {
				t.Errorf("%+v", s)
			}
		})
	}
}
