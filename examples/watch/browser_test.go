package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmpage"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

// browser starts Chromium, or skips the test if ESM_CHROMIUM does not say where it is.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := os.Getenv("ESM_CHROMIUM")
	if path == "" {
		t.Skip("ESM_CHROMIUM is not the path of a Chromium")
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU)
	t.Cleanup(cancel)
	return ctx
}

// A tab is a page of the browser, with what it wrote to the console and what it asked for.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	console []string
	asked   []string
}

func open(t *testing.T, browser context.Context, width int64, url string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	console, requests := chromedp.Console(ctx), chromedp.Events(ctx, network.RequestWillBeSent)
	go func() {
		for m, err := range console {
			if err == nil {
				b.mu.Lock()
				b.console = append(b.console, fmt.Sprintf("%s: %s", m.Type, m.Text))
				b.mu.Unlock()
			}
		}
	}()
	go func() {
		for e, err := range requests {
			if err == nil {
				b.mu.Lock()
				b.asked = append(b.asked, e.Request.URL)
				b.mu.Unlock()
			}
		}
	}()
	b.do(chromedp.EmulateViewport(width, 900), chromedp.Navigate(url))
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// say evaluates an expression that is a string.
func (b *tab) say(js string) string {
	b.t.Helper()
	s, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("String("+js+")"))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return s
}

// until waits until an expression says something.
func (b *tab) until(js, want string) {
	b.t.Helper()
	said := ""
	for b.ctx.Err() == nil {
		if said = b.say(js); strings.Contains(said, want) {
			return
		}
		select {
		case <-b.ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	b.t.Fatalf("%s is %q, want %q", js, said, want)
}

func (b *tab) shot(name string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if len(picture) < 20_000 {
		b.t.Errorf("the picture %s has %d bytes", name, len(picture))
	}
	if dir := os.Getenv("ESM_SCREENSHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
			b.t.Error(err)
		}
	}
}

// clean says what is on the console, and what was asked for elsewhere.
func (b *tab) clean(origin string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.console {
		if !strings.Contains(line, "status of 422") && !strings.Contains(line, "ERR_") { // the wrong bound, and the end
			b.t.Errorf("on the console: %s", line)
		}
	}
	if len(b.asked) < 6 {
		b.t.Errorf("it asked only for %q", b.asked)
	}
	for _, url := range b.asked {
		if !strings.HasPrefix(url, origin) {
			b.t.Errorf("it asked for %s", url)
		}
	}
}

const (
	hostileName  = `</script><img src=x onerror="document.title='broken'"><b>billing</b>`
	hostileError = `<img src=x onerror="document.title='broken'"> the order has no <customer> & "`
)

// TestAPersonUsesThePage: everything on it is there, is true, and works.
func TestAPersonUsesThePage(t *testing.T) {
	browser := browser(t)
	brokers, stop, err := demo.StartKafka(t.Context(), demo.Topic{Name: topic, Partitions: 30, Records: 3000, Record: func(i int) *kgo.Record {
		return &kgo.Record{Topic: topic, Partition: int32(i % 30), Value: []byte("a"), Timestamp: time.Now()}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	quiet := slog.New(slog.DiscardHandler)
	page, err := esmpage.New(esmpage.Config{Title: "orders & co", Authorize: func(*http.Request) bool { return true }, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	var ms []*esm.Mapping
	for _, name := range []string{"quick", hostileName} {
		m, err := esm.New(esm.Source{Brokers: brokers, Topics: []string{topic}, Group: fmt.Sprint("group ", len(ms))},
			esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
				var failures esm.Failures
				for _, r := range b.Records {
					if name == hostileName && r.Partition == 7 && r.Offset >= 50 {
						failures.Add(r, errors.New(hostileError))
					}
				}
				return errors.Join(demo.Work(ctx, 20*time.Millisecond), failures.Err())
			}), esm.WithName(name), esm.WithLogger(quiet), esm.WithHooks(page.Hooks()), esm.WithMaxPollers(10), esm.WithBatchSize(10), esm.WithPollerConcurrency(1), esm.WithBackoff(esm.Constant(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		if err := page.Add(m); err != nil {
			t.Fatal(err)
		}
		ms = append(ms, m)
	}
	running, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = page.Run(running) }()
	mux := http.NewServeMux()
	mux.Handle("/ops/esm/", http.StripPrefix("/ops/esm", page))
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, m := range ms {
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer m.Stop(context.Background())
	}
	b := open(t, browser, 1400, server.URL+"/ops/esm/")
	b.until(`document.querySelector("#link").textContent`, "live")
	b.until(`document.querySelectorAll("#mappings button").length`, "2")
	b.until(`document.querySelector("#name").textContent`, "quick")

	// Choose the other Mapping by keyboard.
	b.do(chromedp.Focus(chromedp.CSS("#mappings li:nth-child(2) button")), chromedp.KeyEvent("\r"))
	b.until(`document.querySelector("#name").textContent`, hostileName)
	m := ms[1]
	b.until(`document.querySelector('#tiles dd[data-of="Lag, records"]').textContent`, "50")

	// The numbers are those of Stats.
	s := m.Stats()
	lag, _ := s.OffsetLag.Sum()
	for name, want := range map[string]string{
		`#tiles dd[data-of="Lag, records"]`:          demo.Grouped(lag),
		`#tiles dd[data-of="Pollers"]`:               fmt.Sprintf("%d (%d to %d)", s.ProvisionedPollers, s.MinPollers, s.MaxPollers),
		`#tiles dd[data-of="Partitions"]`:            "30, 1 wait",
		`#counts dd[data-of="SettledEventCount"]`:    demo.Grouped(s.SettledEventCount),
		`#counts dd[data-of="InvokedEventCount"]`:    demo.Grouped(s.InvokedEventCount),
		`#counts dd[data-of="InvokeErrorCount"]`:     demo.Grouped(s.InvokeErrorCount),
		`#settings dd[data-of="Batch size"]`:         "10",
		`#settings dd[data-of="Topics"]`:             topic,
		`#partitions tbody tr:first-child td.name`:   topic + "/7",
		`#partitions tbody tr:first-child td.wide`:   hostileError,
		`#partitions tbody tr:nth-child(30) td.wide`: "",
		`#phase`: "running (AWS: Enabled)",
	} {
		b.until(fmt.Sprintf("document.querySelector(%q).textContent", name), want)
	}
	b.until(`document.querySelector("#explain").textContent`, hostileError)
	b.until(`document.querySelector("#events").textContent`, hostileError)
	b.until(`document.querySelectorAll("img, b, #main script").length`, "0")
	if title := b.say("document.title"); !strings.HasPrefix(title, hostileName) {
		t.Errorf("the title is %q", title)
	}

	// The charts draw.
	b.until(`document.querySelectorAll("#charts canvas").length`, "9")
	drawn := `[...document.querySelectorAll("#charts canvas")].every((c) => c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v) => v > 0))`
	b.until(drawn, "true")
	b.until(`document.querySelector("#steps").textContent`, "→")

	// The table sorts, and finds.
	b.do(chromedp.Click(chromedp.CSS("#partitions th:nth-child(1) button")))
	b.until(`document.querySelector("#partitions tbody tr:first-child td").textContent`, topic+"/29")
	b.until(`document.querySelector("#partitions th:nth-child(1)").getAttribute("aria-sort")`, "descending")
	b.do(chromedp.Click(chromedp.CSS("#partitions th:nth-child(1) button")))
	b.until(`document.querySelector("#partitions tbody tr:first-child td").textContent`, topic+"/0")
	b.do(chromedp.SendKeys(chromedp.CSS("#search"), "customer"))
	b.until(`document.querySelectorAll("#partitions tbody tr").length`, "1")
	b.shot("wide")

	dark := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, dark); err != nil {
		t.Fatal(err)
	}
	b.until(`getComputedStyle(document.body).backgroundColor`, "rgb(16, 20, 24)")
	b.until(drawn, "true")
	b.shot("dark")

	// A pause works, and so does its end.
	b.do(chromedp.Click(chromedp.CSS("#pause")))
	b.until(`document.querySelector("#phase").textContent`, "paused")
	if m.State().Phase != esm.PhasePaused {
		t.Errorf("it is %s", m.State().Phase)
	}
	b.until(`document.querySelector("#said").textContent`, "It is paused.")
	b.until(`document.querySelector("#pause").disabled`, "true")
	b.do(chromedp.Click(chromedp.CSS("#resume")))
	b.until(`document.querySelector("#phase").textContent`, "running")

	// A wrong bound shows the error of Update, and a right one holds.
	fill := func(name, value string) {
		b.do(chromedp.SetValue(chromedp.CSS("#update input[name="+name+"]"), value), chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`document.querySelector("#update input[name=%s]").dispatchEvent(new Event("input", {bubbles: true}))`, name)))
	}
	fill("minPollers", "11")
	b.do(chromedp.Click(chromedp.CSS("#update button")))
	want := m.Update(esm.WithMinPollers(11))
	if want == nil {
		t.Fatal("eleven of ten are allowed")
	}
	b.until(`document.querySelector("#said").textContent`, want.Error())
	fill("minPollers", "2")
	fill("batchSize", "20")
	b.do(chromedp.Click(chromedp.CSS("#update button")))
	b.until(`document.querySelector('#settings dd[data-of="Batch size"]').textContent`, "20")
	if is := m.Settings(); is.MinPollers != 2 || is.BatchSize != 20 || is.MaxPollers != 10 {
		t.Errorf("%+v", is)
	}

	// On a phone nothing is wider than the screen.
	phone := open(t, browser, 400, server.URL+"/ops/esm/")
	phone.until(`document.querySelector("#link").textContent`, "live")
	phone.until(drawn, "true")
	phone.until(`document.documentElement.scrollWidth <= 400`, "true")
	phone.shot("phone")

	// When the process is gone the page says so, and when it is back it goes on.
	cancel()
	phone.until(`document.querySelector("#link").textContent`, "nothing comes by itself")
	b.clean(server.URL + "/ops/esm/")
}

// TestThePageFollowsWhatChanges: a Mapping that cannot start, a quick choice of others while the
// history is slow, one that is taken off the page, a page that was not followed for a while.
func TestThePageFollowsWhatChanges(t *testing.T) {
	browser := browser(t)
	page, err := esmpage.New(esmpage.Config{Authorize: func(*http.Request) bool { return true }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	hooks := page.Hooks()
	var ms []*esm.Mapping
	for _, name := range []string{"alpha", "beta", "gamma"} {
		m, err := esm.New(esm.Source{Brokers: []string{"localhost:1"}, Topics: []string{topic}, Group: name},
			esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }))
		if err != nil {
			t.Fatal(err)
		}
		if err := page.Add(m); err != nil {
			t.Fatal(err)
		}
		for range 30 { // no step, as where a Mapping cannot start
			hooks.ProblemRaised(esm.Problem{Mapping: name, With: name, Err: errors.New("of " + name)})
		}
		ms = append(ms, m)
	}
	running, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = page.Run(running) }()
	var slow atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slow.Load() && strings.HasSuffix(r.URL.Path, "/history") {
			_ = demo.Work(r.Context(), time.Second)
		}
		page.ServeHTTP(w, r)
	}))
	defer server.Close()
	defer server.CloseClientConnections() // the browser reconnects for as long as it is there
	b := open(t, browser, 1400, server.URL)
	shows := func(name string) {
		t.Helper()
		b.until(`document.querySelector("#name").textContent`, name)
		b.until(`document.querySelectorAll("#events li").length`, "30")
		b.until(`[...document.querySelectorAll("#events .what")].every((e) => e.textContent.includes("of `+name+`"))`, "true")
	}
	shows("alpha")
	b.until(`document.querySelector("#phase").textContent`, "new")
	b.until(`document.querySelector("#explain").textContent`, "Start it.")
	choose := func(n int) {
		b.do(chromedp.Click(chromedp.CSS(fmt.Sprintf("#mappings li:nth-child(%d) button", n))))
	}
	slow.Store(true)
	choose(2)
	choose(3)
	choose(2)
	shows("beta")
	slow.Store(false)
	choose(1)
	shows("alpha")
	b.do(chromedp.SetValue(chromedp.CSS("#update input[name=batchSize]"), "7"), chromedp.Evaluate[chromedp.Void](`document.querySelector("#update input[name=batchSize]").dispatchEvent(new Event("input", {bubbles: true}))`))
	page.Remove(ms[0])
	shows("beta")
	b.until(`document.querySelector("#update input[name=batchSize]").value`, "100")
	b.until(`document.querySelector("#link").textContent`, "live")
	b.clean(server.URL)

	// Where nothing comes by itself, the page asks.
	cancel()
	late := open(t, browser, 1400, server.URL)
	late.until(`document.querySelector("#name").textContent`, "beta")
	late.until(`document.querySelector("#link").textContent`, "nothing comes by itself")
	late.do(chromedp.Navigate("about:blank"))
	b.do(chromedp.Navigate("about:blank"))
}
