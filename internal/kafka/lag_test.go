package kafka

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
)

// TestRefusedStartsAreAProblem, until they are said, nobody asks, or nothing of
// the topic is here.
func TestRefusedStartsAreAProblem(t *testing.T) {
	c, e, w := ordersConsumer()
	problems := func() (with []string) {
		for _, p := range w.Troubles() {
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
	led := []partition.ID{order0}
	no := map[partition.ID]listed{order0: {offset: -1, err: kerr.UnknownServerError}}
	c.observeStarts(led, no, time.Now())
	want("start of topic orders")
	c.observeStarts(led, map[partition.ID]listed{order0: {leaderEpoch: -1}}, time.Now())
	want("")
	c.observeStarts(led, no, time.Now())
	c.observeStarts(led, nil, time.Now())
	want("")
	c.observeStarts(led, no, time.Now())
	c.observe(led, map[partition.ID]listed{order0: {offset: -1, err: errors.New("no")}}, time.Now())
	c.forgetEnds()
	if got := problems(); len(got) != 2 {
		t.Errorf("%q", got)
	}
	e.Lose([]partition.ID{order0}, time.Now())
	c.forgetEnds()
	want("")
}

// TestWhatOnePartitionIsRefusedNoOtherEnds: brokers answer one by one, and a topic
// has its Problem until none of its partitions is refused.
func TestWhatOnePartitionIsRefusedNoOtherEnds(t *testing.T) {
	c, e, w := ordersConsumer()
	other := partition.ID{Topic: order0.Topic, Partition: order0.Partition + 1}
	e.Assign([]partition.ID{other}, time.Now())
	no, yes := listed{offset: -1, err: kerr.UnknownServerError}, listed{offset: 0}
	for _, tt := range []struct {
		of   partition.ID
		says listed
		want bool
	}{{order0, no, true}, {other, yes, true}, {other, no, true}, {order0, yes, true}, {other, yes, false}} {
		led, answer := []partition.ID{tt.of}, map[partition.ID]listed{tt.of: tt.says}
		c.observe(led, answer, time.Now())
		c.observeStarts(led, answer, time.Now())
		for _, problem := range []string{endProblem, startProblem} {
			got := slices.ContainsFunc(w.Troubles(), func(p engine.Trouble) bool { return p.With == problem+order0.Topic })
			if got != tt.want {
				t.Errorf("partition %d says %v: the problem %q is there: %v", tt.of.Partition, tt.says.err, problem, got)
			}
		}
	}
	// One that is taken away is refused nothing any more.
	c.observe([]partition.ID{other}, map[partition.ID]listed{other: no}, time.Now())
	e.Lose([]partition.ID{other}, time.Now())
	c.forgetEnds()
	c.observe([]partition.ID{order0}, map[partition.ID]listed{order0: yes}, time.Now())
	if got := w.Troubles(); len(got) != 0 {
		t.Errorf("after it was taken away: %v", got)
	}
}
