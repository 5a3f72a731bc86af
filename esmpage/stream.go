package esmpage

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/seed429fd032/esm"
)

const (
	// writeWithin is how long a viewer may take to read a message before it is dropped.
	writeWithin = 10 * time.Second
	// beatEvery is how often a line is sent where there is none: what stands between
	// often ends a connection that says nothing for a minute.
	beatEvery = 15 * time.Second
)

// A viewer follows the stream of one Mapping. Messages are handed over, never waited for: one
// that is late gets the newest.
type viewer struct {
	of   string // the id of the Mapping, "" for the first
	next chan []byte
	over chan struct{}
	done bool // over is closed; under Page.mu
}

// end ends what a viewer follows. The lock of the page is held.
func (v *viewer) end() {
	if !v.done {
		v.done = true
		close(v.over)
	}
}

// send sends a message to all viewers. It is made once for all that look at the same Mapping.
func (p *Page) send(all []*shown, stats []esm.Stats) {
	p.mu.Lock()
	wanted := map[string][]*viewer{}
	for v := range p.viewers {
		wanted[v.of] = append(wanted[v.of], v)
	}
	p.mu.Unlock()
	if len(wanted) == 0 {
		return
	}
	list := p.summaries(all, stats)
	for id, viewers := range wanted {
		text := p.message(all, stats, list, id)
		for _, v := range viewers {
			select {
			case <-v.next: // it has not read the one before
			default:
			}
			v.next <- text // nobody else puts one there
		}
	}
}

func (p *Page) summaries(all []*shown, stats []esm.Stats) []summary {
	list := make([]summary, len(all))
	for i, s := range all {
		list[i] = summaryOf(s, &stats[i])
	}
	return list
}

// message makes a message for those who look at a Mapping.
func (p *Page) message(all []*shown, stats []esm.Stats, list []summary, id string) []byte {
	m := message{At: time.Now().UnixMilli(), Mappings: list}
	for i, s := range all {
		if s.id == id || id == "" {
			m.Shown = p.detailOf(s, &stats[i])
			break
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		text = fmt.Appendf(nil, `{"at":%d,"mappings":[],"shown":null,"error":%q}`, m.At, err)
	}
	return text
}

// snapshot makes a message without a viewer.
func (p *Page) snapshot(id string) []byte {
	all := p.all()
	stats := make([]esm.Stats, len(all))
	for i, s := range all {
		stats[i] = s.mapping.Stats()
	}
	return p.message(all, stats, p.summaries(all, stats), id)
}

// enter adds a viewer, or says why not.
func (p *Page) enter(of string) (*viewer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !p.running:
		return nil, fmt.Errorf("nothing moves here: Page.Run is not running")
	case len(p.viewers) >= p.config.MaxViewers:
		return nil, fmt.Errorf("%d viewers follow this page, as many as may (Config.MaxViewers)", len(p.viewers))
	}
	v := &viewer{of: of, next: make(chan []byte, 1), over: make(chan struct{})}
	p.viewers[v] = true
	return v, nil
}

func (p *Page) exit(v *viewer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.viewers, v)
}

// stream sends a message each second until the viewer goes, does not read, or Run ends.
func (p *Page) stream(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		return // a stream without a body would end never
	}
	v, err := p.enter(r.URL.Query().Get("m"))
	if err != nil {
		w.Header().Set("Retry-After", "30")
		refuse(w, http.StatusServiceUnavailable, err)
		return
	}
	defer p.exit(v)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	_ = out.SetWriteDeadline(time.Now().Add(writeWithin)) // where it cannot be set, the server's own holds
	if err := out.Flush(); errors.Is(err, http.ErrNotSupported) {
		refuse(w, http.StatusInternalServerError, errors.New("nothing moves here: what stands before the page (http.TimeoutHandler?) takes no Flush"))
		return
	}
	send := func(parts ...[]byte) bool {
		_ = out.SetWriteDeadline(time.Now().Add(writeWithin))
		for _, b := range parts {
			if _, err := w.Write(b); err != nil {
				return false
			}
		}
		return out.Flush() == nil
	}
	before, after := []byte("data: "), []byte("\n\n")
	if !send([]byte("retry: 3000\n\n")) {
		return
	}
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		ok := true
		select {
		case <-r.Context().Done():
			return
		case <-v.over:
			return
		case text := <-v.next:
			ok = send(before, text, after) // JSON has no line breaks
		case <-beat.C:
			ok = send([]byte(": still here\n\n"))
		}
		if !ok {
			return
		}
	}
}
