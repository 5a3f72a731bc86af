package esm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestProblemsDoNotWaitForTheEngine: a dialer or a broker raises them, and State
// reads them, whatever the engine does.
func TestProblemsDoNotWaitForTheEngine(t *testing.T) {
	var mu sync.Mutex
	var told []string
	e := engineOf(func(context.Context, *Batch) error { return nil }, WithHooks(AllHooks(func(hook string, info any) {
		if p, ok := info.(Problem); ok {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, hook+" "+p.With)
		}
	})))
	c := newConsumer(e, &kafkaSource{})
	no := errors.New("no")
	e.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.raise("group", no)
		c.raise(connectionProblem+"b:9092", no)
		if !c.disconnected() || c.lastProblem() == nil {
			t.Error("they are not known")
		}
		c.clear("group")
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("they wait for the engine's lock")
	}
	e.problem("lag", no, time.Now())
	if e.trouble("lag") == nil {
		t.Error("a problem is not known before it is told")
	}
	mu.Lock()
	want := []string{"ProblemRaised group", "ProblemRaised connection to b:9092", "ProblemCleared group"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	mu.Unlock()
	e.unlock()
	mu.Lock()
	defer mu.Unlock()
	if want = append(want, "ProblemRaised lag"); !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// TestRegistryOfProblems tells each once, keeps what was said last, and when it
// began.
func TestRegistryOfProblems(t *testing.T) {
	r := registry{known: map[string]*trouble{}}
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
			got = fmt.Sprintf("%s %v", news.with, news.err)
			if over {
				got += fmt.Sprintf(" since %d until %d, over", news.since.Unix(), news.last.Unix())
			}
		}
		if got != step.news {
			t.Errorf("step %d: news %q, want %q", i, got, step.news)
		}
	}
	if ps := r.troubles(); len(ps) != 2 || ps[0].with != "b" || ps[1].with != "a" || !ps[1].since.Equal(at(6)) {
		t.Errorf("%+v", ps)
	}
	if p := r.trouble("a"); p == nil || p.err.Error() != "4" || r.trouble("c") != nil || !r.anyTrouble() {
		t.Errorf("%+v", p)
	}
	// One that was seen again since it was listed is not over.
	listed := r.troubles()
	r.note("b", errors.New("5"), at(7))
	if r.over(listed[0]) != nil || len(r.troubles()) != 2 {
		t.Error("it is over although it was seen since it was listed")
	}
	if ended := r.over(listed[1]); ended == nil || ended.with != "a" || len(r.troubles()) != 1 {
		t.Errorf("it is not over: %+v", ended)
	}
	if r.over(listed[1]) != nil {
		t.Error("it is over twice")
	}
	r.note("b", nil, at(8))
	if r.anyTrouble() || len(r.troubles()) != 0 {
		t.Error("there are still problems")
	}
}
