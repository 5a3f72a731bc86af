package fleet_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
)

// A call is what a host says of a call of its function, when it begins and when it ends.
type call struct {
	Host    string
	Ends    bool
	Offsets map[int32][]int64
}

// A judge hears of the calls of all hosts. A host waits for its answer before it goes on,
// so what it hears first was first. It holds them to this: no record is left out or comes
// again, and a partition is at one place at a time.
type judge struct {
	mu      sync.Mutex
	next    map[int32]int64
	busy    map[int32]string // the host that has a call with the partition
	calls   map[string]int   // that began, by host
	most    map[string]int   // records of a partition in a call, by host
	handled int64
	wrong   []string
}

func newJudge() *judge {
	return &judge{next: map[int32]int64{}, busy: map[int32]string{}, calls: map[string]int{}, most: map[string]int{}}
}

// hear takes what a host says.
func (j *judge) hear(c *call) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !c.Ends {
		j.calls[c.Host]++
	}
	for p, offsets := range c.Offsets {
		if c.Ends {
			if j.busy[p] != c.Host {
				j.say("%s ends a call with partition %d, which %q has", c.Host, p, j.busy[p])
			}
			delete(j.busy, p)
			j.handled += int64(len(offsets))
			continue
		}
		if other, ok := j.busy[p]; ok {
			j.say("%s begins a call with partition %d, which %s has", c.Host, p, other)
		}
		j.busy[p] = c.Host
		j.most[c.Host] = max(j.most[c.Host], len(offsets))
		for _, o := range offsets {
			if o != j.next[p] {
				j.say("%s has %d/%d, not %d", c.Host, p, o, j.next[p])
			}
			j.next[p] = o + 1
		}
	}
}

func (j *judge) say(format string, args ...any) {
	if len(j.wrong) < 20 {
		j.wrong = append(j.wrong, fmt.Sprintf(format, args...))
	}
}

// ServeHTTP hears what children say.
func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c call
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	j.hear(&c)
}

// called is how many calls of a host began.
func (j *judge) called(host string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.calls[host]
}

// all is how many calls began, and how many records were handled.
func (j *judge) all() (calls int, records int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, n := range j.calls {
		calls += n
	}
	return calls, j.handled
}

// verdict is what was wrong, or lacks of what was produced.
func (j *judge) verdict(produced map[int32]int64) (wrong []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	wrong = slices.Clone(j.wrong)
	for p, n := range produced {
		if j.next[p] != n {
			wrong = append(wrong, fmt.Sprintf("partition %d was handled up to %d of %d", p, j.next[p], n))
		}
		if host, ok := j.busy[p]; ok {
			wrong = append(wrong, fmt.Sprintf("partition %d has a call of %s", p, host))
		}
	}
	return wrong
}

// TestJudge: a judge that finds nothing is none.
func TestJudge(t *testing.T) {
	begin := func(host string, offsets ...int64) *call { return &call{host, false, map[int32][]int64{0: offsets}} }
	end := func(host string, offsets ...int64) *call { return &call{host, true, map[int32][]int64{0: offsets}} }
	for name, calls := range map[string][]*call{
		"lost":         {begin("a", 0, 1), end("a", 0, 1), begin("a", 3), end("a", 3)},
		"lost within":  {begin("a", 0, 2, 3), end("a", 0, 2, 3)},
		"lost at last": {begin("a", 0, 1, 2), end("a", 0, 1, 2)},
		"repeated":     {begin("a", 0, 1), end("a", 0, 1), begin("b", 1, 2, 3), end("b", 1, 2, 3)},
		"two at once":  {begin("a", 0, 1), begin("b", 2, 3), end("a", 0, 1), end("b", 2, 3)},
		"another's":    {begin("a", 0, 1, 2, 3), end("b", 0, 1, 2, 3)},
		"no end":       {begin("a", 0, 1, 2, 3)},
	} {
		j := newJudge()
		for _, c := range calls {
			j.hear(c)
		}
		if len(j.verdict(map[int32]int64{0: 4})) == 0 {
			t.Errorf("%s: it finds nothing", name)
		}
	}
	j := newJudge()
	for _, c := range []*call{begin("a", 0, 1), end("a", 0, 1), begin("b", 2), end("b", 2), begin("a", 3), end("a", 3)} {
		j.hear(c)
	}
	if wrong := j.verdict(map[int32]int64{0: 4}); len(wrong) > 0 {
		t.Error(wrong)
	}
}
