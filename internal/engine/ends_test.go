package engine

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestUnaskedPartitions are those of which nobody was asked since they were assigned.
func TestUnaskedPartitions(t *testing.T) {
	e, now := oneLane(succeeds), time.Now()
	other := partition.ID{Topic: "orders", Partition: 1}
	e.Assign([]partition.ID{other}, now)
	wants := func(when string, orders0Is, otherIs bool) {
		t.Helper()
		if is := e.Here().Unasked; is[orders0] != orders0Is || is[other] != otherIs {
			t.Errorf("%s: %v", when, is)
		}
	}
	wants("at first", true, true)
	e.Asking([]partition.ID{orders0})
	wants("one was asked of", false, true)
	e.Asking([]partition.ID{other})
	e.Enqueue(brings(0, numbered(0, 4)...), now)
	e.Diverged(orders0, 2, nil, now)
	wants("its position went back", false, false)
	e.Lose([]partition.ID{orders0}, now)
	e.Assign([]partition.ID{orders0}, now)
	wants("it came again", true, false)
}

// TestWhichEndHolds, of answers of which each has the second of its question and that
// in which it was heard.
func TestWhichEndHolds(t *testing.T) {
	type said struct{ end, asked, heard int64 }
	at := func(s int64) time.Time { return time.Unix(1_000_000+s, 0) }
	for name, tt := range map[string]struct {
		said     []said
		end, age int64 // a second after the last one
	}{
		"one":                                {[]said{{10, 1, 2}}, 10, 2},
		"one that was long under way":        {[]said{{10, 1, 5}}, 10, 5},
		"one after the other":                {[]said{{10, 1, 2}, {20, 3, 4}}, 20, 2},
		"nothing came":                       {[]said{{10, 1, 2}, {10, 3, 4}}, 10, 2},
		"asked before, heard after":          {[]said{{20, 3, 4}, {10, 1, 6}}, 20, 4},
		"asked before, true after":           {[]said{{20, 3, 4}, {30, 1, 6}}, 30, 4},
		"asked meanwhile, and before it was": {[]said{{20, 1, 5}, {10, 3, 6}}, 20, 4},
		"the log was cut back":               {[]said{{20, 1, 2}, {10, 3, 4}}, 10, 2},
		"of before it was cut back":          {[]said{{20, 1, 2}, {10, 5, 6}, {9, 3, 7}}, 10, 3},
	} {
		e, last := oneLane(succeeds), int64(0)
		for _, s := range tt.said {
			e.Observe([]partition.ID{orders0}, map[partition.ID]LogEnd{orders0: {s.end, at(s.asked)}}, at(s.heard))
			last = s.heard + 1
		}
		if l := e.lanes[orders0]; l.end != tt.end || at(last).Sub(l.endAt) != time.Duration(tt.age)*time.Second {
			t.Errorf("%s: the end is %d, %s old, want %d, %d s old", name, l.end, at(last).Sub(l.endAt), tt.end, tt.age)
		}
	}
}

// TestAnEndIsNoOlderThanItSays: in a log that grows, questions take as long as they
// like, and fetches wait for as long as they like until somebody polls. What the engine
// takes for the end was that at some moment since it says.
func TestAnEndIsNoOlderThanItSays(t *testing.T) {
	const steps = 3000 // of a millisecond
	type answer struct {
		asked, heard int
		end          int64
	}
	began, known := time.Unix(1_000_000, 0), 0
	at := func(step int) time.Time { return began.Add(time.Duration(step) * time.Millisecond) }
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		truth := make([]int64, 3*steps)
		for i, grows := 1, rng.IntN(20); i < len(truth); i++ {
			truth[i] = truth[i-1] + int64(max(0, rng.IntN(20)-grows))
		}
		// ask is a question of now: it is answered, and the answer is heard, after a while.
		ask := func(now int) answer {
			answered := now + rng.IntN(1+rng.IntN(500))
			return answer{now, answered + rng.IntN(1+rng.IntN(500)), truth[answered]}
		}
		e := oneLane(succeeds)
		e.lanes[orders0].fetchedFrom = began
		fetch, polls := ask(0), Permit{}
		var asked []answer
		for now := range steps {
			if rng.IntN(100) == 0 {
				asked = append(asked, ask(now))
			}
			for i := 0; i < len(asked); i++ {
				if a := asked[i]; a.heard <= now {
					e.Observe([]partition.ID{orders0}, map[partition.ID]LogEnd{orders0: {a.end, at(a.asked)}}, at(now))
					asked = append(asked[:i], asked[i+1:]...)
					i--
				}
			}
			if polls.Ctx == nil && rng.IntN(50) == 0 {
				polls = e.Permit(t.Context(), 0, at(now))
			}
			if polls.Ctx != nil && fetch.heard <= now {
				e.Enqueue(ofOrders0(kgo.FetchPartition{HighWatermark: fetch.end}), at(now))
				polls.End()
				polls, fetch = Permit{}, ask(now)
			}
			l := e.lanes[orders0]
			if l.end < 0 {
				continue
			}
			known++
			if from := int(l.endAt.Sub(began) / time.Millisecond); l.end < truth[from] || l.end > truth[now] {
				t.Fatalf("seed %d, step %d: the end is %d since step %d, and it was %d then and is %d", seed, now, l.end, from, truth[from], truth[now])
			}
		}
	}
	if known == 0 {
		t.Error("no end was known")
	}
}

// ofOrders0 is a poll that brings this.
func ofOrders0(p kgo.FetchPartition) kgo.Fetches {
	return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: []kgo.FetchPartition{p}}}}}
}

// TestAnErrorOfTheClientIsNoEnd: the client puts its own errors among what it fetched,
// with nothing else in it.
func TestAnErrorOfTheClientIsNoEnd(t *testing.T) {
	e, now := oneLane(succeeds), time.Now()
	e.Observe([]partition.ID{orders0}, map[partition.ID]LogEnd{orders0: {100, now}}, now)
	poll := func(after time.Duration, brings kgo.Fetches) {
		p := e.Permit(t.Context(), 0, now.Add(after))
		e.Enqueue(brings, now.Add(after))
		p.End()
	}
	fetch := kgo.FetchPartition{HighWatermark: 100}
	poll(time.Second, ofOrders0(fetch))
	poll(3*time.Second, ofOrders0(fetch))
	poll(4*time.Second, ofOrders0(kgo.FetchPartition{Err: &kgo.ErrDataLoss{Topic: "orders"}}))
	e.mu.Lock()
	defer e.unlock()
	if l := e.lanes[orders0]; l.end != 100 || !l.fetchedFrom.Equal(now.Add(3*time.Second)) {
		t.Errorf("the partition ends at %d, and its next fetch was asked for after %s", l.end, l.fetchedFrom.Sub(now))
	}
}
