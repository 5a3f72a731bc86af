// Package esmpage is a live page for the Mappings of a process: what they do, how fast, what
// limits them and what holds them up, with an hour of history.
//
//	page, err := esmpage.New(esmpage.Config{})
//	...
//	m, err := esm.New(source, invoker, esm.WithHooks(page.Hooks()))
//	...
//	err = page.Add(m)
//	go page.Run(ctx)
//	http.ListenAndServe("localhost:8080", page)
//
// The page is read-only unless [Config].Authorize is there. Then who it lets through can pause
// and resume a Mapping, and change the bounds of its pollers and its batches.
//
// Errors and names on the page may hold data of records. So a request must name a host of
// [Config].Hosts, which are those of this machine unless it says otherwise; but whoever can
// reach the port reads the page. Put a handler with a login before it where others can.
//
// It works behind a prefix, with a slash at the end:
//
//	mux.Handle("/esm/", http.StripPrefix("/esm", page))
//
// and behind a proxy that does not buffer (nginx heeds X-Accel-Buffering, which the page sends).
// Let the proxy pass the Host header on (in nginx: proxy_set_header Host $host), and put that name
// into Hosts: otherwise all requests seem to be for the address of this process, and the check
// of hosts checks nothing. If the proxy cannot, put its origin into Origins, or a browser
// that reaches it without TLS cannot act.
//
// A Mapping costs half a megabyte of history and as much of events at most, whatever its
// partitions. While somebody looks at it, each second takes a snapshot of its partitions.
package esmpage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// A Config is what a [Page] may need. The zero Config is a read-only page for this machine.
type Config struct {
	// Title is above the page. Default: esm.
	Title string
	// Hosts are the names, without ports, under which the page may be asked for: against
	// web pages elsewhere that give a name of theirs this machine's address. "*" is any.
	// Default: localhost and the loopback addresses.
	Hosts []string
	// Origins are those of pages that may act beside this one, as "https://ops.example".
	// Needed where a proxy hides the name that the browser asked for.
	Origins []string
	// Authorize is asked before each action, and true lets it through. Without it
	// there are no actions. It is asked from several goroutines at once, and within five
	// seconds.
	Authorize func(*http.Request) bool
	// MaxViewers is how many browsers may follow the page at once: 1 to 10,000. Default:
	// 32.
	MaxViewers int
	// Logger gets a line for each action. Default: slog.Default().
	Logger *slog.Logger
}

// A Page is an [http.Handler]. All of its methods may be called from several goroutines at
// once.
type Page struct {
	config  Config
	handler http.Handler

	// mu guards the rest. It is a leaf: it is never held while a Mapping is asked, user
	// code runs or a viewer is written to. Hooks take it for moments.
	mu      sync.Mutex
	shown   []*shown
	ids     int
	records map[string]*record // by the name of their Mapping
	viewers map[*viewer]bool
	running bool
}

// A shown is a Mapping on the page.
type shown struct {
	id      string
	mapping *esm.Mapping

	// What follows is under Page.mu.
	name    string // as it was seen last
	history history
	last    esm.Stats
	fresh   bool // last is there
}

// New makes a Page.
func New(c Config) (*Page, error) {
	var errs []error
	if c.Title == "" {
		c.Title = "esm"
	}
	if c.MaxViewers == 0 {
		c.MaxViewers = 32
	}
	if c.MaxViewers < 1 || c.MaxViewers > 10_000 {
		errs = append(errs, fmt.Errorf("esmpage: Config.MaxViewers is %d, and must be 1 to 10000", c.MaxViewers))
	}
	if len(c.Hosts) == 0 {
		c.Hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	c.Hosts = slices.Clone(c.Hosts)
	for i, h := range c.Hosts {
		c.Hosts[i] = hostOf(h)
		if c.Hosts[i] == "" || strings.ContainsAny(h, "/@ \t\r\n") || h != "*" && strings.Contains(h, "*") {
			errs = append(errs, fmt.Errorf("esmpage: Config.Hosts[%d] is %q, and must be the name of a host, without a scheme and a path, or \"*\" for any", i, h))
		}
	}
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusForbidden, fmt.Errorf("the browser says that this comes from %q, which is not the origin of this page (Config.Origins)", guard.Cut(r.Header.Get("Origin"), 100)))
	}))
	for i, o := range c.Origins {
		if err := origins.AddTrustedOrigin(o); err != nil {
			errs = append(errs, fmt.Errorf("esmpage: Config.Origins[%d] is %q, and must be as https://ops.example: %w", i, o, err))
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p := &Page{config: c, records: map[string]*record{}, viewers: map[*viewer]bool{}}
	p.handler = p.admitted(p.routes(origins))
	return p, nil
}

// ServeHTTP answers a request for the page or for what it shows.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }

// Add shows a Mapping from now on, also after it has stopped. A Mapping that is shown already
// is shown once.
func (p *Page) Add(m *esm.Mapping) error {
	if m == nil {
		return errors.New("esmpage: Add of a nil Mapping")
	}
	name := m.State().Mapping
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.shown, func(s *shown) bool { return s.mapping == m }) {
		return nil
	}
	p.ids++
	p.shown = append(p.shown, &shown{id: strconv.Itoa(p.ids), mapping: m, name: name})
	return nil
}

// Remove takes a Mapping off the page, and forgets its history and, if no other one has its
// name, its events.
func (p *Page) Remove(m *esm.Mapping) {
	if m == nil {
		return
	}
	name := m.State().Mapping
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = slices.DeleteFunc(slices.Clone(p.shown), func(s *shown) bool { return s.mapping == m })
	if !p.shows(name) {
		delete(p.records, name)
	}
}

// shows reports whether a Mapping of a name is shown. The lock is held.
func (p *Page) shows(name string) bool {
	return slices.ContainsFunc(p.shown, func(s *shown) bool { return s.name == name })
}

// all returns what is shown. The slice is never written again.
func (p *Page) all() []*shown {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clip(p.shown)
}

// find returns the Mapping with an id, or the first one for "".
func (p *Page) find(id string) *shown {
	for _, s := range p.all() {
		if s.id == id || id == "" {
			return s
		}
	}
	return nil
}

// Run takes a sample of all Mappings each second and sends it to the viewers, until ctx
// ends. Without it the page has no history and nothing moves. It returns nil when ctx has
// ended, and an error if it runs already.
func (p *Page) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.running {
		p.mu.Unlock()
		return errors.New("esmpage: Page.Run is running already")
	}
	p.running = true
	p.mu.Unlock()
	defer p.leave()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	p.tick()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			p.tick()
		}
	}
}

// leave ends what is shown to the viewers.
func (p *Page) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = false
	for v := range p.viewers {
		v.end()
	}
}

// tick takes a sample and sends it.
func (p *Page) tick() {
	all := p.all()
	stats, names := make([]esm.Stats, len(all)), make([]string, len(all))
	for i, s := range all {
		stats[i], names[i] = s.mapping.Stats(), s.mapping.State().Mapping
	}
	p.mu.Lock()
	for i, s := range all {
		s.name = names[i]
		s.note(&stats[i])
	}
	p.mu.Unlock()
	p.send(all, stats)
}

// note adds a sample to the history. The lock is held.
func (s *shown) note(now *esm.Stats) {
	var was *esm.Stats
	if s.fresh {
		was = &s.last
	}
	s.history.add(pointOf(now, was))
	s.last, s.fresh = *now, true
}
