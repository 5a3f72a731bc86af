package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/seed429fd032/esm/examples/internal/demo"
)

// A check is what was seen, by name, and how the rest went.
type check struct {
	want   []string
	seen   map[string]bool
	Wrong  []string
	Passed int
}

// Print says what was seen.
func (c *check) Print(w io.Writer) {
	for _, x := range c.Wrong {
		fmt.Fprintln(w, "wrong:", x)
	}
	fmt.Fprintf(w, "%d things were seen, %d were wrong or missing\n", c.Passed, len(c.Wrong))
}

// OK reports whether everything was seen.
func (c *check) OK() bool { return len(c.Wrong) == 0 }

// message is what the checks read of a message of the page.
type message struct {
	Mappings []struct{ Name string }
	Shown    struct {
		ID, Name, Explain, Reason string
		State                     struct{ Phase string }
		Stats                     struct {
			ProvisionedPollers int
			SettledEventCount  int64
		}
		Settings struct{ MaxPollers int }
		Rows     []struct {
			Held *struct{ Err string }
		}
		Events []struct{ Kind, Text string }
	}
}

// check follows the page for a round of all phases, as a browser does, and uses it.
func (h *house) check(ctx context.Context, progress io.Writer) (demo.Result, error) {
	c := &check{seen: map[string]bool{}, want: []string{
		"two Mappings", "more pollers", "fewer pollers", "a partition is held up, with the error of the function", "a throttle", "an explanation of the throttle",
	}}
	ctx, cancel := context.WithTimeout(ctx, 7*h.function.wave)
	defer cancel()
	if err := h.follow(ctx, c, progress); err != nil {
		c.Wrong = append(c.Wrong, err.Error())
	}
	for _, name := range c.want {
		if !c.seen[name] {
			c.Wrong = append(c.Wrong, "not seen: "+name)
		}
	}
	c.Passed = len(c.seen)
	c.use(h)
	return c, nil
}

// follow reads the stream until all was seen that is wanted.
func (h *house) follow(ctx context.Context, c *check, progress io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"api/stream", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 4<<20)
	most := 0
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var m message
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return err
		}
		s := &m.Shown
		see := func(name string, is bool) {
			if is && !c.seen[name] {
				c.seen[name] = true
				fmt.Fprintln(progress, "seen:", name)
			}
		}
		n := s.Stats.ProvisionedPollers
		see("two Mappings", len(m.Mappings) == 2 && s.Name == "billing")
		see("more pollers", n > 1 && n > most)
		see("fewer pollers", n < most)
		most = max(most, n)
		for _, r := range s.Rows {
			see("a partition is held up, with the error of the function", r.Held != nil && strings.Contains(r.Held.Err, "the order has no <customer>"))
		}
		for _, e := range s.Events {
			see("a throttle", e.Kind == "throttled")
		}
		see("an explanation of the throttle", strings.Contains(s.Explain, "it throttles"))
		if len(c.seen) == len(c.want) {
			return nil
		}
	}
	return lines.Err()
}

// use asks for everything else that the address has, and acts.
func (c *check) use(h *house) {
	is := func(what string, ok bool, said string) {
		if c.Passed++; !ok {
			c.Passed--
			c.Wrong = append(c.Wrong, fmt.Sprintf("%s: it says %.300q", what, said))
		}
	}
	get := func(path string) string {
		answer, err := http.Get(h.url + path)
		if err != nil {
			return err.Error()
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return fmt.Sprintf("%d %s", answer.StatusCode, text)
	}
	for path, want := range map[string]string{
		"": "200 <!doctype html>", "page.js": "200 ", "page.css": "200 ", "uplot.js": "200 ", "healthz": "200 ok", "readyz": "200 ok", "api/history": `200 {"id":"1","name":"billing"`, "nothing": "404 ",
	} {
		said := get(path)
		is("/"+path, strings.HasPrefix(said, want), said)
	}
	metrics := get("metrics")
	is("/metrics", strings.Contains(metrics, `esm_events_polled_total{mapping="billing"}`), metrics)
	act := func(body string) string {
		answer, err := http.Post(h.url+"api/act", "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			return err.Error()
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return fmt.Sprintf("%d %s", answer.StatusCode, text)
	}
	said := act(`{"id":"1","name":"billing","do":"update","maxPollers":100000}`)
	is("a wrong bound", strings.HasPrefix(said, "422 ") && strings.Contains(said, "WithMaxPollers"), said)
	said = act(`{"id":"1","name":"billing","do":"update","maxPollers":5}`)
	is("a bound", strings.HasPrefix(said, "200 ") && h.billing.Settings().MaxPollers == 5, said)
	said = act(`{"id":"1","name":"billing","do":"pause"}`)
	is("a pause", strings.HasPrefix(said, "200 ") && h.billing.State().Phase.String() == "paused", said)
	said = act(`{"id":"1","name":"billing","do":"resume"}`)
	is("its end", strings.HasPrefix(said, "200 ") && h.billing.State().Phase.String() == "running", said)
	deadline := time.Now().Add(5 * time.Second)
	for said = get("readyz"); !strings.HasPrefix(said, "200") && time.Now().Before(deadline); said = get("readyz") {
		time.Sleep(50 * time.Millisecond)
	}
	is("ready again", strings.HasPrefix(said, "200"), said)
}
