package esm

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
)

// TestListOfProblemsDoesNotWaitForTheEngine: State lists them, and hooks hear of
// them, whatever the engine does.
func TestListOfProblemsDoesNotWaitForTheEngine(t *testing.T) {
	var mu sync.Mutex
	var told []string
	c := defaults("g").with([]Option{WithLogger(slog.New(slog.DiscardHandler)), WithHooks(AllHooks(func(hook string, info any) {
		if p, ok := info.(Problem); ok {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, hook+" "+p.With)
		}
	}))})
	hooks, err := newWatch(&c)
	if err != nil {
		t.Fatal(err)
	}
	w := newTeller(hooks, &Source{})
	r := &run{engine: engine.New(&c.Settings, engine.World{}, w, t.Context()), watch: w}
	no := errors.New("no")
	note := func(with string, err error) {
		if tell := w.Note(with, err, time.Now()); tell != nil {
			tell()
		}
	}
	r.engine.Reconfigure(func() *engine.Settings { // it asks with its lock
		done := make(chan struct{})
		go func() {
			defer close(done)
			note("group", no)
			note("connection to b:9092", no)
			if ps := r.problems(); len(ps) != 2 || ps[0].With != "group" {
				t.Errorf("listed %+v", ps)
			}
			note("group", nil)
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Error("they wait for the engine's lock")
		}
		return &c.Settings
	}, time.Now())
	tell := w.Note("lag", no, time.Now())
	if w.Trouble("lag") == nil {
		t.Error("a problem is not known before it is told")
	}
	want := []string{"ProblemRaised group", "ProblemRaised connection to b:9092", "ProblemCleared group"}
	heard := func() {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	}
	heard()
	tell()
	want = append(want, "ProblemRaised lag")
	heard()
}

// TestRegistryOfProblems tells each once, keeps what was said last, and when it
// began.
func TestRegistryOfProblems(t *testing.T) {
	r := registry{known: map[string]*engine.Trouble{}}
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	for i, step := range []struct {
		with string
		err  error
		news string
	}{
		{"a", nil, ""},
		{"a", errors.New("1"), "a 1"},
		{"a", errors.New("2"), ""},
		{"b", errors.New("3"), "b 3"},
		{"a", nil, "a 2 since 1 until 2, over"},
		{"a", nil, ""},
		{"a", errors.New("4"), "a 4"},
	} {
		news, over := r.note(step.with, step.err, at(i))
		got := ""
		if news != nil {
			got = fmt.Sprintf("%s %v", news.With, news.Err)
			if over {
				got += fmt.Sprintf(" since %d until %d, over", news.Since.Unix(), news.Last.Unix())
			}
		}
		if got != step.news {
			t.Errorf("step %d: news %q, want %q", i, got, step.news)
		}
	}
	if ps := r.Troubles(); len(ps) != 2 || ps[0].With != "b" || ps[1].With != "a" || !ps[1].Since.Equal(at(6)) {
		t.Errorf("%+v", ps)
	}
	if p := r.Trouble("a"); p == nil || p.Err.Error() != "4" || r.Trouble("c") != nil || !r.AnyTrouble() {
		t.Errorf("%+v", p)
	}
	// One that was seen again since it was listed is not over.
	listed := r.Troubles()
	r.note("b", errors.New("5"), at(7))
	if r.over(listed[0]) != nil || len(r.Troubles()) != 2 {
		t.Error("it is over although it was seen since it was listed")
	}
	if ended := r.over(listed[1]); ended == nil || ended.With != "a" || len(r.Troubles()) != 1 {
		t.Errorf("it is not over: %+v", ended)
	}
	if r.over(listed[1]) != nil {
		t.Error("it is over twice")
	}
	r.note("b", nil, at(8))
	if r.AnyTrouble() || len(r.Troubles()) != 0 {
		t.Error("there are still problems")
	}
}
