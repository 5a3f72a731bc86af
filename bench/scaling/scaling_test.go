package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/scalesim"
	"github.com/seed429fd032/esm/internal/testing/build"
	"github.com/seed429fd032/esm/scaling"
)

// TestPublishedPageIsWhatTheProgramMakes, and ours is first, or the page says why.
func TestPublishedPageIsWhatTheProgramMakes(t *testing.T) {
	if build.Race {
		t.Skip("one goroutine: nothing to find, and slow; .ci/run runs it without the race detector")
	}
	if testing.Short() {
		t.Skip("it simulates for half a minute")
	}
	dir := t.TempDir()
	var out bytes.Buffer
	if err := command([]string{"-out", dir}, &out); err != nil {
		t.Error(err)
	}
	made, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(made) != len(traces())+1 {
		t.Fatalf("%d files, %v", len(made), err)
	}
	for _, name := range made {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Base(name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what it makes now (%v): run go run ./scaling in bench", filepath.Base(name), err)
		}
	}
	published, err := filepath.Glob("*.svg")
	if err != nil || len(published) != len(traces()) {
		t.Errorf("%d plots are published, and there are %d traces", len(published), len(traces()))
	}
}

// ran is a run with these costs.
func ran(lag, call, pollers time.Duration, left int64) *scalesim.Result {
	r := &scalesim.Result{PollerTime: pollers, Left: left}
	r.Lag.Add(lag, 1)
	r.CallTime.Add(call, 1)
	return r
}

func judged(name string, all ...result) row {
	r := row{trace: trace{name: name}, results: all}
	r.judge()
	return r
}

func TestRowsSayWhoIsFirst(t *testing.T) {
	const s = time.Second
	first := judged("first", result{name: ours, run: ran(10*s, s, 100*s, 0)}, result{name: "a", run: ran(20*s, s, 100*s, 0)}, result{name: "b", run: ran(s, s, s, 1)})
	equal := judged("equal", result{name: ours, run: ran(10*s, s, 105*s, 0)}, result{name: "a", run: ran(10*s, s, 100*s, 0)})
	behind := judged("behind", result{name: ours, run: ran(10*s, s, 125*s, 0)}, result{name: "a", run: ran(10*s, s, 100*s, 0)})
	short := judged("short", result{name: ours, run: ran(90*time.Millisecond, time.Millisecond, 100*s, 0)}, result{name: "a", run: ran(9*time.Millisecond, time.Millisecond, 100*s, 0)})
	if x := first.results[1].score; math.Abs(x-2) > 0.05 || !math.IsInf(first.results[2].score, 1) {
		t.Errorf("scores %v and %v", x, first.results[2].score)
	}
	for _, r := range []row{first, equal, short} {
		if !r.first() {
			t.Errorf("%s: ours is not first", r.name)
		}
	}
	if behind.first() {
		t.Error("ours is first with a quarter more")
	}
	rows := []row{first, behind}
	for _, tt := range []struct {
		why  map[string]string
		want string
	}{
		{map[string]string{"behind": "so"}, ""},
		{nil, `in the row "behind" esm is not first, and no sentence says why`},
		{map[string]string{"behind": "so", "first": "so"}, `in the row "first" esm is first, and a sentence says why it is not`},
		{map[string]string{"behind": "so", "nothing": "so"}, `a sentence is about "nothing", which is no row`},
	} {
		if got := strings.Join(unexplained(rows, tt.why), "\n"); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.why, got, tt.want)
		}
	}
}

// A desk asks a policy once a second, and does what it says.
type desk struct {
	policy scalesim.Policy
	in     scaling.Sample
	rate   float64 // records a second that one poller settles
	busy   bool
}

func newDesk(p scalesim.Policy) *desk {
	return &desk{policy: p, in: scaling.Sample{
		At: time.Unix(1000, 0), Lanes: make([]scaling.Lane, 100), Pollers: 1, Concurrency: 5, Least: 1, Most: 100,
		ByteRate: scaling.Unlimited, MaxConcurrency: scaling.Unlimited, BatchRecords: 100, BatchBytes: 100_000, BatchTime: time.Second,
	}}
}

func (d *desk) lag(n int64) {
	for i := range d.in.Lanes {
		d.in.Lanes[i].Lag = n / int64(len(d.in.Lanes))
	}
}

// run returns when the number changed, and to what.
func (d *desk) run(seconds int) (steps [][2]int) {
	for range seconds {
		d.in.At = d.in.At.Add(time.Second)
		d.in.Settled += int64(d.rate * float64(d.in.Pollers))
		d.in.Slots = 5 * d.in.Pollers
		d.in.Busy = 0
		if d.busy {
			d.in.Busy = d.in.Slots
		}
		n := min(max(d.policy.Decide(d.in).Pollers, d.in.Least), d.in.Most)
		if n != d.in.Pollers {
			steps = append(steps, [2]int{int(d.in.At.Unix() - 1000), n})
			d.in.Pollers = n
		}
	}
	return steps
}

func same(t *testing.T, name string, got [][2]int, want ...[2]int) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %v, want %v", name, got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: %v, want %v", name, got, want)
			return
		}
	}
}

func TestKEDA(t *testing.T) {
	d := newDesk(&keda{threshold: 500})
	d.lag(20_000) // for 40 pollers
	same(t, "up by 4 or by all in 15 s", d.run(100), [2]int{9, 5}, [2]int{24, 10}, [2]int{39, 20}, [2]int{54, 40})
	d.lag(18_500) // 37 is within a tenth
	same(t, "within the tolerance", d.run(400))
	d.lag(10_000)
	same(t, "down after five minutes", d.run(330), [2]int{804, 20}) // the last one who said 40 was at 489
	d.in.Lanes[3].Lag = -1
	same(t, "unknown", d.run(400))
	d.lag(1_000_000)
	d.in.Most = 1000
	if steps := d.run(200); steps[len(steps)-1][1] != 100 {
		t.Errorf("%v, and there are 100 partitions", steps)
	}
}

func TestNumaflow(t *testing.T) {
	d := newDesk(&numaflow{})
	d.rate = 100
	d.lag(100_000) // over 100 a second takes 1,000 s, and is to take 20
	same(t, "two at a time, 90 s apart", d.run(300), [2]int{91, 3}, [2]int{181, 5}, [2]int{271, 7})
	d.lag(0)
	same(t, "up while it is pending on average, and down as slowly", d.run(400), [2]int{361, 9}, [2]int{451, 7}, [2]int{541, 5}, [2]int{631, 3}) // what was pending counts for two minutes
}

func TestUForwarder(t *testing.T) {
	d := newDesk(&uforwarder{})
	d.rate = 6000 // half as much again as a worker is rated at
	steps := d.run(2000)
	same(t, "the median of five minutes", steps[:1], [2]int{311, 2})
	if len(steps) < 3 || steps[1][0] < 600 {
		t.Errorf("%v: each step feeds the next one, and takes five minutes", steps)
	}
	d = newDesk(&uforwarder{})
	d.rate = 4400 // a tenth more is not worth a step
	same(t, "less than a fifth", d.run(2000))
	d = newDesk(&uforwarder{})
	d.rate, d.in.BatchBytes = 1000, 100*32<<10 // 32 MB a second
	same(t, "bytes", d.run(320), [2]int{311, 2})
}

func TestAWS(t *testing.T) {
	d := newDesk(&doubling{})
	d.lag(1_000_000)
	d.busy = true
	same(t, "doubles each minute", d.run(200), [2]int{31, 2}, [2]int{91, 4}, [2]int{151, 8})
	d.lag(0)
	d.busy = false
	same(t, "a quarter less each minute", d.run(100), [2]int{211, 6}, [2]int{271, 4})

	slow := &delayed{of: scalesim.PolicyFunc(func(in scaling.Sample) scalesim.Answer {
		if in.At.Unix() >= 1060 {
			return scalesim.Answer{Pollers: 7}
		}
		return scalesim.Answer{Pollers: in.Pollers}
	}), by: 90 * time.Second}
	d = newDesk(slow)
	same(t, "what was decided comes later", d.run(400), [2]int{150, 7})
}
