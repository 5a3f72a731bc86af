package esmpage_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmpage"
)

// TestOnlyItsHostsAreAnswered: a web page elsewhere can give a name of its own this
// machine's address, and would read what records say.
func TestOnlyItsHostsAreAnswered(t *testing.T) {
	p := newPage(t)
	add(t, p, newMapping(t, "a"))
	named := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:1": 200, "127.0.0.1:8080": 200, "[::1]:8080": 200, "[::1]": 200, "localhost.": 200,
		"evil.example": 421, "localhost.evil.example": 421, "": 421, "127.0.0.2": 421, "[": 421, "0.0.0.0:8080": 421, "evil.example:8080": 421,
	} {
		for _, path := range []string{"/", "/api/snapshot", "/api/history", "/page.js"} {
			if w := ask(p, "GET", path, "", named(host)); w.Code != want {
				t.Errorf("%s of %q: %d %s", path, host, w.Code, w.Body)
			}
		}
	}
	if w := ask(p, "GET", "/", "", func(r *http.Request) { r.Host = "evil.example"; r.Header.Set("X-Forwarded-Host", "localhost") }); w.Code != 421 {
		t.Errorf("a header that anybody can send lets it through: %d", w.Code)
	}
	p = made(t, esmpage.Config{Hosts: []string{"Ops.Example", "10.0.0.1:80"}})
	for host, want := range map[string]int{"ops.example:443": 200, "10.0.0.1": 200, "localhost": 421} {
		if w := ask(p, "GET", "/", "", named(host)); w.Code != want {
			t.Errorf("%q: %d %s", host, w.Code, w.Body)
		}
	}
	if w := ask(made(t, esmpage.Config{Hosts: []string{"*"}}), "GET", "/", "", named("any.example")); w.Code != 200 {
		t.Errorf("of any host it says %d", w.Code)
	}
}

// TestAWrongConfigIsRefused, all of it at once.
func TestAWrongConfigIsRefused(t *testing.T) {
	_, err := esmpage.New(esmpage.Config{Hosts: []string{"http://a/", "", "*.example", "*:80", "a b", "me@host"}, Origins: []string{"ops"}, MaxViewers: -1})
	for _, want := range []string{`Config.Hosts[0] is "http://a/"`, `Config.Hosts[1] is ""`, "Hosts[2]", "Hosts[3]", "Hosts[4]", "Hosts[5]", `Config.Origins[0] is "ops"`, "Config.MaxViewers is -1, and must be 1 to 10000"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it says %v, want %q", err, want)
		}
	}
	if err := newPage(t).Add(nil); err == nil {
		t.Error("a nil Mapping is added")
	}
}

// TestActionsNeedToBeAllowed, by the page, by the host and by the browser.
func TestActionsNeedToBeAllowed(t *testing.T) {
	m := newMapping(t, "a")
	pause := `{"id":"1","name":"a","do":"pause"}`
	for what, tt := range map[string]struct {
		authorize func(*http.Request) bool
		change    func(*http.Request)
		method    string
		status    int
		says      string
	}{
		"read-only":      {nil, nil, "POST", 403, "read-only"},
		"not allowed":    {func(*http.Request) bool { return false }, nil, "POST", 403, "not allowed"},
		"panics":         {func(*http.Request) bool { panic("secret") }, nil, "POST", 403, "Config.Authorize failed"},
		"of another one": {yes, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, "POST", 403, ""},
		"of an old one":  {yes, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, "POST", 403, ""},
		"a link":         {yes, nil, "GET", 405, ""},
		"a form":         {yes, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, "POST", 415, "application/json"},
	} {
		p := made(t, esmpage.Config{Authorize: tt.authorize, Logger: quiet()})
		add(t, p, m)
		w := ask(p, tt.method, "/api/act", pause, func(r *http.Request) {
			if tt.change != nil {
				tt.change(r)
			}
		})
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	// Behind a proxy that hides the name that the browser asked for.
	behind := func(r *http.Request) {
		r.Host, r.RemoteAddr = "127.0.0.1:8080", "10.0.0.1:1"
		r.Header.Set("Origin", "http://ops.example")
	}
	p := newPage(t)
	add(t, p, m)
	if w := ask(p, "POST", "/api/act", pause, behind); w.Code != 403 || !strings.Contains(w.Body.String(), `"error":"the browser says that this comes from \"http://ops.example\"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	p = made(t, esmpage.Config{Authorize: yes, Origins: []string{"http://ops.example"}, Logger: quiet()})
	add(t, p, m)
	if w := ask(p, "POST", "/api/act", `{"id":"1","name":"a","do":"update","maxPollers":8}`, behind); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	p = newPage(t)
	add(t, p, m)
	if w := ask(p, "POST", "/api/act", `{"id":"1","name":"a","do":"update","maxPollers":7}`, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }); w.Code != 200 || m.Settings().MaxPollers != 7 {
		t.Errorf("what is allowed: %d %s", w.Code, w.Body)
	}
}

func yes(*http.Request) bool { return true }

// TestWhatAnActionMayBe: the errors of Update are those of the page, and nothing is done by
// half.
func TestWhatAnActionMayBe(t *testing.T) {
	p := newPage(t)
	m := newMapping(t, "a<b>")
	add(t, p, m)
	long := fmt.Sprintf(`{"id":"1","name":%q,"do":"pause"}`, strings.Repeat("a", 5000))
	for body, want := range map[string]string{
		`{"id":"1","name":"a<b>","do":"update","minPollers":0,"batchSize":7}`:        "422 WithMinPollers",
		`{"id":"1","name":"a<b>","do":"update","maxPollers":100000,"minPollers":-1}`: "422 WithMaxPollers",
		`{"id":"1","name":"a<b>","do":"update","batchWindowMs":999999999999}`:        "422 WithBatchWindow",
		`{"id":"1","name":"a<b>","do":"update","batchWindowMs":-1}`:                  "422 WithBatchWindow",
		`{"id":"1","name":"a<b>","do":"update"}`:                                     "400 none of them",
		`{"id":"1","name":"a<b>","do":"stop"}`:                                       `400 \"stop\" cannot be done`,
		`{"id":"1","name":"other","do":"pause"}`:                                     "409 load the page again",
		`{"id":"9","name":"a<b>","do":"pause"}`:                                      "404 no such Mapping",
		`{"name":"a<b>","do":"pause"}`:                                               "404 no such Mapping",
		`{"id":"1","name":"a<b>","do":"pause"} {}`:                                   "400 something after",
		`{"id":"1","name":"a<b>","do":"pause","then":"delete"}`:                      "400 then",
		`{"id":1}`: "400 id must be a string, and is a number",
		`{"id":"1","name":"a<b>","do":"update","maxPollers":1.5}`: "400 maxPollers must be a whole number, and is a number 1.5",
		`[]`:   "400 no action",
		`null`: "404 no such",
		long:   "400 4096 bytes",
	} {
		status, says, _ := strings.Cut(want, " ")
		if w := ask(p, "POST", "/api/act", body); fmt.Sprint(w.Code) != status || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%.100s: %d %s, want %s", body, w.Code, w.Body, want)
		}
	}
	if s := m.Settings(); s.BatchSize != 100 || s.MinPollers != 1 || m.State().Phase != esm.PhaseNew {
		t.Errorf("after what was refused: %+v, %s", s, m.State().Phase)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, do := range []string{"pause", "resume"} {
		if w := ask(p, "POST", "/api/act", `{"id":"1","name":"a<b>","do":"`+do+`"}`); w.Code != 409 {
			t.Errorf("%s of what has stopped: %d %s", do, w.Code, w.Body)
		}
	}
}

// TestItWorksBehindAPrefix, with no address that begins with a slash.
func TestItWorksBehindAPrefix(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/ops/esm/", http.StripPrefix("/ops/esm", newPage(t)))
	mux.Handle("/ops/esm", http.StripPrefix("/ops/esm", newPage(t)))
	if w := ask(mux, "GET", "/ops/esm", ""); w.Code != 307 || w.Header().Get("Location") != "./esm/" {
		t.Errorf("without the slash: %d to %q", w.Code, w.Header().Get("Location"))
	}
	page := ask(mux, "GET", "/ops/esm/", "").Body.String()
	found := regexp.MustCompile(`(?:href|src)="([^"#]+)"`).FindAllStringSubmatch(page, -1)
	if len(found) < 6 {
		t.Fatalf("%q in %s", found, page)
	}
	for _, f := range found {
		if strings.HasPrefix(f[1], "/") || strings.Contains(f[1], ":") {
			t.Errorf("%s leaves the prefix", f[1])
		}
		if w := ask(mux, "GET", "/ops/esm/"+f[1], ""); w.Code != 200 && !strings.HasPrefix(f[1], "api/") {
			t.Errorf("%s: %d", f[1], w.Code)
		}
	}
	for _, path := range []string{"/ops/esm/NOTICE.txt", "/ops/esm/assets/", "/ops/esm/..%2f", "/ops/esm/api/"} {
		if w := ask(mux, "GET", path, ""); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// TestThePageHasNoMarkupOfOthers: it has no way to make some, and its policy forbids scripts
// and styles that stand in it, and whatever is elsewhere.
func TestThePageHasNoMarkupOfOthers(t *testing.T) {
	for _, file := range []string{"index.html", "page.js", "page.css"} {
		text, err := fs.ReadFile(os.DirFS("assets"), file)
		if err != nil {
			t.Fatal(err)
		}
		for _, no := range []string{"innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "new Function", "srcdoc", "javascript:", "http://", "https://", " style=", "<style", " onclick", " onload", "setAttribute(\"style", "url("} {
			if strings.Contains(string(text), no) {
				t.Errorf("%s has %q", file, no)
			}
		}
	}
	w := ask(newPage(t), "GET", "/", "")
	for name, want := range map[string]string{"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
		if got := w.Header().Get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q", name, got)
		}
	}
	if policy := w.Header().Get("Content-Security-Policy"); strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
		t.Errorf("the policy is %q", policy)
	}
}

// TestHostileNamesStayText, in JSON that a browser takes for nothing else.
func TestHostileNamesStayText(t *testing.T) {
	p := newPage(t)
	name := "</script><img src=x onerror=alert(1)>\u2028\x00\xff"
	m := newMapping(t, "x")
	add(t, p, m)
	h := p.Hooks()
	h.ProblemRaised(esm.Problem{Mapping: "x", With: name, Err: errors.New(name + strings.Repeat("long ", 1000))})
	for _, path := range []string{"/api/snapshot", "/api/history"} {
		w := ask(p, "GET", path, "")
		if text := w.Body.String(); w.Header().Get("Content-Type") != "application/json" || strings.Contains(text, "<") || strings.Contains(text, "\u2028") || !strings.Contains(text, `\u003c/script`) || len(text) > 10_000 {
			t.Errorf("%s: %q %.2000s", path, w.Header().Get("Content-Type"), text)
		}
	}
}

// TestEventsAreBounded, whatever hooks bring, and the rare ones are not pushed out by the
// frequent ones.
func TestEventsAreBounded(t *testing.T) {
	p := newPage(t)
	add(t, p, newMapping(t, "a"))
	h := p.Hooks()
	h.StateChanged(esm.State{Mapping: "a", Phase: esm.PhaseRunning, From: esm.PhaseStarting})
	for i := range 100_000 { // within seconds
		h.RetryScheduled(esm.Blocker{Mapping: "a", Offset: int64(i), Err: errors.New("billing is down")})
	}
	for i := range 3000 {
		h.StateChanged(esm.State{Mapping: fmt.Sprint("name ", i)})
	}
	s := snapshot(t, p, "")
	retries := 0
	for _, e := range s.Shown.Events {
		if e.Kind == "retry" {
			retries++
		}
	}
	if len(s.Shown.Events) == 0 || s.Shown.Events[0].Kind != "state" || retries == 0 || retries > 30 {
		t.Errorf("%d retries of %+v", retries, s.Shown.Events)
	}
	// A name that nobody has does not push out those that are shown, nor stay when it is full.
	add(t, p, newMapping(t, "late"))
	h.StateChanged(esm.State{Mapping: "late"})
	if s := snapshot(t, p, "2"); s.Shown.Seq != 1 {
		t.Errorf("a Mapping that came late has %d events", s.Shown.Seq)
	}
	for range 2000 {
		h.StateChanged(esm.State{Mapping: "a"})
	}
	s = snapshot(t, p, "")
	if n := len(s.Shown.Events); n != 20 || s.Shown.Seq < 2000 || s.Shown.Events[19].Seq != s.Shown.Seq || s.Shown.Events[0].Seq != s.Shown.Seq-19 {
		t.Errorf("%d events are sent, up to %d", n, s.Shown.Seq)
	}
	if n := strings.Count(ask(p, "GET", "/api/history", "").Body.String(), `"kind"`); n != 500 {
		t.Errorf("%d events are kept", n)
	}
}

// TestNoListIsNull, which the page goes through: of a Mapping with nothing, and of one with
// events and no step.
func TestNoListIsNull(t *testing.T) {
	p := newPage(t)
	add(t, p, newMapping(t, "a"))
	for range 2 {
		for _, path := range []string{"/api/snapshot", "/api/history"} {
			text := ask(p, "GET", path, "").Body.String()
			for _, list := range []string{"events", "steps", "rows", "problems", "mappings"} {
				if strings.Contains(text, `"`+list+`":null`) {
					t.Errorf("%s: the %s are null", path, list)
				}
			}
		}
		p.Hooks().StateChanged(esm.State{Mapping: "a"})
	}
}

// TestAStreamThatCannotBe is refused: to who asks for its headers, and where nothing can be
// flushed.
func TestAStreamThatCannotBe(t *testing.T) {
	p := newPage(t)
	add(t, p, newMapping(t, "a"))
	running, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = p.Run(running) }()
	if w := ask(p, "HEAD", "/api/stream", ""); w.Code != 200 {
		t.Errorf("HEAD: %d", w.Code)
	}
	for w := ask(deaf{p}, "GET", "/api/stream", ""); ; w = ask(deaf{p}, "GET", "/api/stream", "") {
		if w.Code == 503 { // it does not run yet
			continue
		}
		if w.Code != 500 || !strings.Contains(w.Body.String(), "takes no Flush") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		break
	}
}

// deaf hides what a ResponseWriter can beside writing.
type deaf struct{ next http.Handler }

func (d deaf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.next.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
}

// TestTheStreamIsLimited: so many viewers, none without Run, and one that goes makes room.
func TestTheStreamIsLimited(t *testing.T) {
	p := made(t, esmpage.Config{MaxViewers: 2, Logger: quiet()})
	add(t, p, newMapping(t, "a"))
	server := httptest.NewServer(p)
	defer server.Close()
	follow := func(ctx context.Context) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		return server.Client().Do(r)
	}
	refused := func(want string) {
		t.Helper()
		a, err := follow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		text := bufio.NewScanner(a.Body)
		text.Scan()
		if a.StatusCode != 503 || !strings.Contains(text.Text(), want) || a.Header.Get("Retry-After") == "" {
			t.Errorf("%d %s", a.StatusCode, text.Text())
		}
	}
	refused("Page.Run is not running")
	running, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(running) }()
	first := func(a *http.Response) bool {
		lines := bufio.NewScanner(a.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), `data: {"at":`) {
				return true
			}
		}
		return false
	}
	var two [2]*http.Response
	goes, leave := context.WithCancel(t.Context())
	defer leave()
	for i := range two {
		ctx := t.Context()
		if i == 1 {
			ctx = goes
		}
		for { // until Run has begun
			a, err := follow(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if two[i] = a; a.StatusCode == 200 {
				break
			}
			a.Body.Close()
		}
		defer two[i].Body.Close()
		if !first(two[i]) {
			t.Fatal("nothing came")
		}
	}
	if err := p.Run(t.Context()); err == nil {
		t.Error("it runs twice")
	}
	refused("2 viewers follow this page")
	leave()
	for {
		a, err := follow(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a.StatusCode == 200 {
			two[1] = a
			break
		}
		a.Body.Close()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, a := range []*http.Response{two[0], two[1]} {
		for first(a) { // until its end
		}
		a.Body.Close()
	}
	refused("Page.Run is not running")
}

// TestAMappingThatIsAddedTwiceIsShownOnce, and an id is never another one's.
func TestAMappingThatIsAddedTwiceIsShownOnce(t *testing.T) {
	p := newPage(t)
	a, b := newMapping(t, "a"), newMapping(t, "a") // of the same name
	add(t, p, a, b, a)
	if s := snapshot(t, p, ""); len(s.Mappings) != 2 || s.Mappings[0].ID == s.Mappings[1].ID || s.Shown.ID != "1" {
		t.Errorf("%+v", s.Mappings)
	}
	p.Remove(a)
	p.Remove(a)
	if s := snapshot(t, p, ""); len(s.Mappings) != 1 || s.Shown.ID != "2" {
		t.Errorf("%+v", s.Mappings)
	}
	for _, path := range []string{"/api/snapshot?m=1", "/api/history?m=1", "/api/history?m=%00"} {
		if w := ask(p, "GET", path, ""); w.Code != 404 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	add(t, p, a)
	if s := snapshot(t, p, "3"); s.Shown == nil || s.Shown.Name != "a" {
		t.Errorf("an id came back: %+v", s.Mappings)
	}
}

// TestWhateverIsDoneAtOnce, for the race detector.
func TestWhateverIsDoneAtOnce(t *testing.T) {
	p := newPage(t)
	m := newMapping(t, "a", esm.WithHooks(p.Hooks()))
	add(t, p, m)
	running, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(running) }()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 100 {
				switch i {
				case 0:
					other := newMapping(t, "b")
					_ = p.Add(other)
					p.Remove(other)
				case 1:
					_ = m.Update(esm.WithBatchSize(7))
				case 2:
					p.Hooks().StateChanged(esm.State{Mapping: "a"})
				default:
					ask(p, "GET", []string{"/api/snapshot", "/api/history", "/"}[i%3], "")
				}
			}
		})
	}
	all.Wait()
	stop()
	<-done
}
