package esm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestRefusedStartsAreAProblem, until they are said, nobody asks, or nothing of
// the topic is here.
func TestRefusedStartsAreAProblem(t *testing.T) {
	e := engineOf(func(context.Context, *Batch) error { return nil })
	c := newConsumer(e, &Source{}, time.Second, nil)
	problems := func() (with []string) {
		e.mu.Lock()
		defer e.unlock()
		for _, p := range e.listProblems() {
			with = append(with, p.With)
		}
		return with
	}
	want := func(want string) {
		t.Helper()
		if got := strings.Join(problems(), " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	no := map[partition.ID]listed{onlyPartition: {offset: -1, err: kerr.UnknownServerError}}
	c.observeStarts(no, time.Now())
	want("start of topic orders")
	c.observeStarts(map[partition.ID]listed{onlyPartition: {leaderEpoch: -1}}, time.Now())
	want("")
	c.observeStarts(no, time.Now())
	c.observeStarts(nil, time.Now())
	want("")
	c.observeStarts(no, time.Now())
	c.observe(map[partition.ID]listed{onlyPartition: {offset: -1, err: errors.New("no")}}, time.Now())
	c.forgetEnds()
	if got := problems(); len(got) != 2 {
		t.Errorf("%q", got)
	}
	e.lose([]partition.ID{onlyPartition}, time.Now())
	c.forgetEnds()
	want("")
}
