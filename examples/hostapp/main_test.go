package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/examples/internal/demotest"
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return demo.Run(ctx, "hostapp", new(settings), args, stdout, stderr)
}

// An app is the program while it runs.
type app struct {
	t      *testing.T
	url    string
	lines  *bufio.Scanner
	cancel context.CancelFunc // SIGTERM
	code   chan int
	stderr strings.Builder // to be read when the code is there
}

// start runs the program. What it prints is not buffered: it waits until the
// test has read it, so that the test sees it at every stage.
func start(t *testing.T, args ...string) *app {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	a := &app{t: t, lines: bufio.NewScanner(r), cancel: cancel, code: make(chan int, 1)}
	go func() {
		code := run(ctx, append([]string{"-listen", "127.0.0.1:0"}, args...), w, &a.stderr)
		_ = w.Close() // never fails
		a.code <- code
	}()
	t.Cleanup(func() {
		cancel()
		_ = r.Close() // never fails; the program is not held up any more
	})
	_, a.url, _ = strings.Cut(a.line("listening on"), " on ")
	return a
}

// line reads the next line, which must hold this text.
func (a *app) line(want string) string {
	a.t.Helper()
	if !a.lines.Scan() {
		a.t.Fatalf("there is no line %q; exit code %d\n%s", want, <-a.code, &a.stderr)
	}
	if !strings.Contains(a.lines.Text(), want) {
		a.t.Errorf("a line %q, want %q", a.lines.Text(), want)
	}
	return a.lines.Text()
}

// ends reads what is left, and checks the exit code.
func (a *app) ends(want int) (rest string) {
	a.t.Helper()
	for a.lines.Scan() {
		rest += a.lines.Text() + "\n"
	}
	if code := <-a.code; code != want {
		a.t.Errorf("exit code %d, want %d\n%s%s", code, want, rest, &a.stderr)
	}
	return rest
}

func (a *app) ask(method, path string, want int, header ...string) string {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.url+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	if resp.StatusCode != want {
		a.t.Errorf("%s %s: %s %s", method, path, resp.Status, body)
	}
	return string(body)
}

type numbers struct {
	Phase             string
	OffsetLag         struct{ Sum *int64 }
	SettledEventCount int64
	BusySlots         int
}

func (a *app) stats() (n numbers) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.ask("GET", "/stats", 200)), &n); err != nil {
		a.t.Fatal(err)
	}
	return n
}

// until asks for the numbers until they are so.
func (a *app) until(what string, so func(numbers) bool) {
	a.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(20 * time.Second)
	for {
		n := a.stats()
		if so(n) {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			a.t.Fatalf("not %s: %+v", what, n)
		}
	}
}

func TestItServesPausesAndDrains(t *testing.T) {
	a := start(t)
	a.line("running")
	a.ask("GET", "/healthz", 200)
	a.ask("GET", "/readyz", 200)
	a.until("at work, with a known lag", func(n numbers) bool {
		return n.Phase == "running" && n.SettledEventCount > 0 && n.OffsetLag.Sum != nil
	})

	a.ask("GET", "/pause", 405)
	a.ask("POST", "/pause", 403, "Origin", "http://elsewhere.test") // a page in a browser
	a.ask("POST", "/pause", 403, "Sec-Fetch-Site", "cross-site")
	a.ask("POST", "/pause", 200)
	if body := a.ask("GET", "/readyz", 503); !strings.Contains(body, "paused") {
		t.Errorf("readyz while paused: %q", body)
	}
	a.ask("GET", "/healthz", 200)
	paused := a.stats()
	a.until("behind while paused", func(n numbers) bool { return n.OffsetLag.Sum != nil && *n.OffsetLag.Sum > 0 })
	if n := a.stats(); n.SettledEventCount != paused.SettledEventCount {
		t.Errorf("it went on while paused: %+v", n)
	}
	a.ask("POST", "/resume", 200)
	a.ask("GET", "/readyz", 200)
	a.until("going on", func(n numbers) bool { return n.SettledEventCount > paused.SettledEventCount })

	a.cancel()
	// It waits to print the next line until this test reads it, so the server
	// is there, and must say that it is not ready.
	a.line("draining")
	if body := a.ask("GET", "/readyz", 503); body != "draining\n" {
		t.Errorf("readyz while draining: %q", body)
	}
	a.line("stopped")
	a.ask("GET", "/healthz", 200)
	if rest := a.ends(0); !strings.Contains(rest, "orders/0 at offset ") {
		t.Errorf("it does not say what was committed: %q", rest)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(a.url, "http://")); err == nil {
		t.Error("the server is still there")
	}
}

func TestAHaltEndsItWithAnError(t *testing.T) {
	a := start(t, "-halt-after", "10")
	a.line("running")
	a.line("draining")
	a.line("stopped")
	a.ask("GET", "/healthz", 503)
	a.ends(1)
	if s := a.stderr.String(); !strings.Contains(s, "hostapp: esm: halted by the function: -halt-after") {
		t.Errorf("it says %q", s)
	}
}

func TestADrainThatIsNotCleanIsAnError(t *testing.T) {
	a := start(t, "-work", "1h", "-drain", "400ms")
	a.line("running")
	a.until("in an invocation, which goes on", func(n numbers) bool { return n.BusySlots > 0 })
	a.cancel()
	a.line("draining")
	a.ends(1)
	if s := a.stderr.String(); !strings.Contains(s, "invocations were cancelled") {
		t.Errorf("it says %q", s)
	}
}

func TestToldToEndWhileItStarts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close() // an address where nobody is
	a := start(t, "-brokers", l.Addr().String(), "-topic", "orders", "-group", "billing")
	a.ask("GET", "/healthz", 200)
	a.ask("GET", "/readyz", 503)
	if n := a.stats(); n.OffsetLag.Sum != nil {
		t.Errorf("lag %d before it has started", *n.OffsetLag.Sum)
	}
	a.cancel()
	a.line("draining")
	a.ends(0)
}

func TestWrongFlagsSayWhatToDo(t *testing.T) {
	demotest.Refuses(t, "hostapp", func() demo.Program { return new(settings) }, map[string]string{
		"-brokers localhost:9092 -group g": "-brokers needs -topic",
		"-brokers localhost:9092 -topic t": "-brokers needs -group",
		"-group g":                         "need -brokers",
		"-drain 1ms":                       "must be 100ms to 1h",
		"-work -1s":                        "must be 0 to 24h",
		"-halt-after -1":                   "must be 0 or more",
		"more":                             "is not a flag",
		"-nonsense":                        "not defined",
	})
}

func TestAnAddressThatIsTakenIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var stdout, stderr strings.Builder
	if code := run(t.Context(), []string{"-listen", l.Addr().String()}, &stdout, &stderr); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(stderr.String(), "-listen") {
		t.Errorf("it says %q", &stderr)
	}
}
