package scaling

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// A world is a topic and a function, as simple as they get: what the scaler's
// samples are taken from.
type world struct {
	now         time.Time
	lag, end    []int64
	arrive      int64 // records a second into each partition
	batch       int64
	batchTime   time.Duration
	concurrency int
	capacity    int64 // batches a second that the function does at most, 0 for any
	pollers     int
	least, most int
	byteRate    int
	settled     int64
	completed   int64
	throttled   int64
	round       int64
	busyTime    time.Duration
	unknown     bool
	idle        bool
	each        func(Decision) // gets each decision, if set
	scaler      *Scaler
	why         Reason
	reason      string
	short       Limit
}

func newWorld(partitions int, lag int64) *world {
	w := &world{
		now: time.Unix(1_000_000, 0).UTC(), batch: 100, batchTime: 100 * time.Millisecond, concurrency: 5,
		pollers: 1, least: 1, most: min(200, partitions), byteRate: Unlimited, scaler: New(Provisioned),
	}
	for range partitions {
		w.lag, w.end = append(w.lag, lag), append(w.end, lag)
	}
	return w
}

// second lets a second pass and asks the scaler.
func (w *world) second() {
	w.now = w.now.Add(time.Second)
	slots := w.pollers * w.concurrency
	batchTime := w.batchTime
	if w.capacity > 0 { // it does no more, however many ask: each takes longer
		batchTime = max(batchTime, time.Second*time.Duration(min(slots, len(w.lag)))/time.Duration(w.capacity))
	}
	perSlot := int64(float64(w.batch) / batchTime.Seconds())
	left := int64(slots) * perSlot
	if w.byteRate != Unlimited {
		left = min(left, int64(w.pollers)*int64(w.byteRate)/1000) // records of 1 KB
	}
	busy, before := 0, w.completed
	for i := range w.lag {
		w.lag[i] += w.arrive
		w.end[i] += w.arrive
		n := min(w.lag[i], perSlot, left)
		if n > 0 {
			busy++
		}
		w.lag[i] -= n
		left -= n
		w.settled += n
		w.completed += (n + w.batch - 1) / w.batch
	}
	s := Sample{
		At: w.now, Pollers: w.pollers, Concurrency: w.concurrency, Least: w.least, Most: w.most, ByteRate: w.byteRate, MaxConcurrency: Unlimited,
		Busy: min(busy, slots), Slots: slots, Completed: w.completed, Settled: w.settled, Throttled: w.throttled, Idle: w.idle,
	}
	w.round += w.completed - before
	w.busyTime += time.Duration(min(busy, slots)) * time.Second
	s.Round, s.RoundTime, s.BusyTime = w.round, batchTime, w.busyTime
	if w.completed > 0 {
		s.BatchTime, s.BatchRecords, s.BatchBytes = batchTime, float64(w.batch), float64(w.batch)*1000
	}
	for i := range w.lag {
		l := Lane{Topic: "orders", Partition: int32(i), Lag: w.lag[i], End: w.end[i]}
		if slots > 0 && w.lag[i] > 0 {
			l.Waiting = min(w.lag[i], w.batch)
			slots--
		}
		if w.unknown {
			l.Lag, l.End = -1, -1
		}
		s.Lanes = append(s.Lanes, l)
	}
	d := w.scaler.Decide(s)
	if d.To != w.pollers {
		w.round = 0
	}
	w.pollers, w.why, w.reason, w.short = d.To, d.Reason, d.Reason.String(), d.Short
	if w.each != nil {
		w.each(d)
	}
}

func (w *world) seconds(n int) {
	for range n {
		w.second()
	}
}

// TestScalerAnswersTheBacklogAtOnce is AWS's published run: 2 million records
// in 100 partitions.
func TestScalerAnswersTheBacklogAtOnce(t *testing.T) {
	w := newWorld(100, 20_000)
	for _, want := range []int{4, 16, 20} { // 100 partitions, 5 at once each
		if w.second(); w.pollers != want {
			t.Fatalf("%d pollers, want %d: %s", w.pollers, want, w.reason)
		}
	}
	w.seconds(5)
	if w.pollers != 20 || w.why.Cause != Backlog {
		t.Fatalf("%d pollers: %s", w.pollers, w.reason)
	}
	w.seconds(20)
	if w.pollers != 1 || w.why.Cause != NoLag {
		t.Fatalf("%d pollers when all is done: %s", w.pollers, w.reason)
	}
}

func TestScalerFollowsASteadyLoadWithoutSwinging(t *testing.T) {
	w := newWorld(100, 0)
	w.arrive = 300 // 30,000 a second; a slot does 1,000
	w.seconds(30)
	least, most := w.pollers, w.pollers
	for range 600 {
		w.second()
		least, most = min(least, w.pollers), max(most, w.pollers)
	}
	if least < 6 || most > 9 || most-least > 1 {
		t.Errorf("between %d and %d pollers, ideally 6: %s", least, most, w.reason)
	}
}

// TestScalerReleasesWhatIsNotNeeded after a tenth of the time for which it was, and
// later each time that this was wrong.
func TestScalerReleasesWhatIsNotNeeded(t *testing.T) {
	w := newWorld(100, 0)
	wait := 0
	for i, most := range []int{3, 5, 9, 17, 34} {
		for p := range w.lag {
			w.lag[p] += 20_000
			w.end[p] += 20_000
		}
		w.seconds(22)
		for p := range w.lag {
			w.lag[p] = 0
		}
		was := wait
		for wait = 0; w.pollers > 1; wait++ {
			if w.second(); wait > 70 {
				t.Fatalf("burst %d: %d pollers after %d seconds: %s", i, w.pollers, wait, w.reason)
			}
		}
		if wait > most || wait < was {
			t.Errorf("burst %d: released after %d seconds, %d at most, and %d the time before: %s", i, wait, most, was, w.reason)
		}
		w.seconds(5)
	}
}

func TestScalerKeepsWhatItHasWhileTheLagIsUnknown(t *testing.T) {
	w := newWorld(100, 20_000)
	w.seconds(5)
	w.unknown = true
	w.seconds(600)
	if w.pollers != 20 || !strings.Contains(w.reason, "unknown") {
		t.Fatalf("%d pollers: %s", w.pollers, w.reason)
	}
	w.unknown = false
	w.seconds(120)
	if w.pollers != 1 {
		t.Fatalf("%d pollers: %s", w.pollers, w.reason)
	}
}

// TestScalerFindsTheKnee of a function whose calls take longer the more there
// are, and notices that it moved, or that calls are slow for another reason.
func TestScalerFindsTheKnee(t *testing.T) {
	w := newWorld(100, 100_000_000)
	w.capacity = 100 // ten calls at once
	w.seconds(15)
	if n := w.pollers * w.concurrency; n < 10 || n > 15 {
		t.Fatalf("%d slots, and the knee is at 10: %s", n, w.reason)
	}
	if w.why.Limit != Latency {
		t.Errorf("the limit is %s: %s", w.why.Limit, w.reason)
	}
	steps := 0
	for range 240 {
		was := w.pollers
		if w.second(); w.pollers != was {
			steps++
		}
	}
	if steps > 2 {
		t.Errorf("%d steps in four minutes", steps)
	}
	w.capacity = 500
	w.seconds(20)
	if n := w.pollers * w.concurrency; n < 50 || n > 75 {
		t.Fatalf("%d slots, and the knee is at 50: %s", n, w.reason)
	}
	w.batchTime, w.capacity = 300*time.Millisecond, 0 // slow, and not because of us
	w.seconds(30)
	if w.pollers != 20 {
		t.Errorf("%d pollers: %s", w.pollers, w.reason)
	}
}

func TestScalerHalvesOnThrottlesAndComesBackInSteps(t *testing.T) {
	w := newWorld(100, 10_000_000)
	w.seconds(5)
	w.throttled++
	w.second()
	if w.pollers != 10 {
		t.Fatalf("%d pollers after a throttle: %s", w.pollers, w.reason)
	}
	w.seconds(50)
	if w.pollers != 10 {
		t.Fatalf("%d pollers in the minute after: %s", w.pollers, w.reason)
	}
	was, largest := w.pollers, 0
	for range 300 {
		w.second()
		largest = max(largest, w.pollers-was)
		was = w.pollers
	}
	if w.pollers != 20 || largest > 5 {
		t.Errorf("%d pollers, steps of up to %d: %s", w.pollers, largest, w.reason)
	}
}

func TestScalerNeedsAsManyPollersAsTheBytesDo(t *testing.T) {
	w := newWorld(10, 1_000_000)
	w.byteRate = 1_000_000 // of the 10 MB/s that ten slots do
	w.seconds(5)
	if w.pollers != 10 || w.why.Cause != ByteRate || w.why.Wanted != 10 || w.why.NeededByteRate != 5_000_000 {
		t.Fatalf("%d pollers: %s", w.pollers, w.reason)
	}
}

func TestScalerStaysWithinItsBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		w := newWorld(1+rng.IntN(50), rng.Int64N(100_000))
		w.most = 1 + rng.IntN(len(w.lag))
		w.least = 1 + rng.IntN(w.most)
		w.pollers = w.least
		w.scaler = New(Mode(max(0, rng.IntN(3)-1))) // on-demand one time in three
		for range 200 {
			w.arrive = rng.Int64N(5000)
			w.unknown = rng.IntN(5) == 0
			if rng.IntN(10) == 0 {
				w.throttled++
			}
			w.second()
			if w.pollers < w.least || w.pollers > w.most || w.reason == "" {
				t.Fatalf("%d pollers of %d to %d: %q", w.pollers, w.least, w.most, w.reason)
			}
		}
	}
}

func TestScalerOnDemandIsEvaluatedOnceAMinute(t *testing.T) {
	w := newWorld(100, 1_000_000)
	w.scaler = New(OnDemand)
	changes, last := 0, 0
	for i := range 300 {
		was := w.pollers
		w.second()
		if w.pollers != was {
			if changes++; changes > 1 && i-last < 60 {
				t.Errorf("changed after %d seconds", i-last)
			}
			last = i
		}
		if i < 60 && w.pollers != 1 {
			t.Fatalf("%d pollers in the first minute", w.pollers)
		}
	}
	if w.pollers != 20 {
		t.Errorf("%d pollers after five minutes: %s", w.pollers, w.reason)
	}
	w.throttled++
	w.seconds(30)
	if w.pollers >= 20 {
		t.Errorf("%d pollers although it throttles: %s", w.pollers, w.reason)
	}
}

func TestScalerNamesTheSettingUnderWhichALagGrows(t *testing.T) {
	w := newWorld(100, 1000)
	w.arrive, w.most = 500, 5 // 50,000 a second; 25 slots do 25,000
	w.seconds(150)
	if got := w.short; got != MaxPollers {
		t.Errorf("%q holds it: %s", got, w.reason)
	}
	w.most = 100
	w.seconds(2)
	if got := w.short; got != NoLimit {
		t.Errorf("%q still holds it", got)
	}

	w = newWorld(100, 1000)
	w.arrive, w.byteRate = 500, 100_000
	w.seconds(150)
	if got := w.short; got != PollerByteRate {
		t.Errorf("%q holds it: %s", got, w.reason)
	}

	// A backlog that shrinks is nobody's problem.
	w = newWorld(100, 1_000_000)
	w.most = 5
	w.seconds(150)
	if got := w.short; got != NoLimit {
		t.Errorf("%q holds a lag that shrinks", got)
	}
}

func TestScalerCountsOnlyLanesThatASlotWouldHelp(t *testing.T) {
	lanes := func(n int, l Lane) (ls []Lane) {
		for i := range n {
			l.Topic, l.Partition = "orders", int32(i)
			ls = append(ls, l)
		}
		return ls
	}
	for _, tt := range []struct {
		name  string
		lanes []Lane
		want  int
	}{
		{"backlog", lanes(20, Lane{Lag: 100_000, End: 100_000}), 4},
		{"in back-off", lanes(50, Lane{Lag: 100_000, End: 100_000, Backoff: true}), 1},
		{"waits in its window", lanes(50, Lane{Lag: 90, End: 90, Waiting: 90}), 1},
		{"none", lanes(50, Lane{End: 100_000}), 1},
		{"half unknown, half behind", append(lanes(15, Lane{Lag: 100_000, End: 100_000}), Lane{Topic: "other", Partition: 1, Lag: -1, End: -1}), 3},
	} {
		d := New(Provisioned).Decide(Sample{
			At: time.Unix(1, 0), Lanes: tt.lanes, Pollers: 1, Concurrency: 5, Least: 1, Most: 100, ByteRate: Unlimited, MaxConcurrency: Unlimited,
			Completed: 100, BatchTime: 100 * time.Millisecond, BatchRecords: 100, BatchBytes: 1e5,
		})
		if d.To != tt.want {
			t.Errorf("%s: %d pollers, want %d: %s", tt.name, d.To, tt.want, d.Reason)
		}
	}
}

func TestScalerWaitsWhereItKnowsTooLittle(t *testing.T) {
	in := Sample{
		At: time.Unix(1, 0), Lanes: []Lane{{Lag: 1_000_000, End: 1_000_000}, {Topic: "a", Partition: 1, Lag: 1_000_000, End: 1_000_000}},
		Pollers: 1, Concurrency: 1, Least: 1, Most: 10, ByteRate: Unlimited, MaxConcurrency: Unlimited,
		Completed: 100, BatchTime: time.Second, BatchRecords: 100, BatchBytes: 1e5,
	}
	for _, tt := range []struct {
		name  string
		spoil func(*Sample)
		want  int
	}{
		{"nothing amiss", func(*Sample) {}, 2},
		{"nothing was invoked", func(s *Sample) { s.BatchTime, s.Completed = 0, 0 }, 1},
		{"four completions", func(s *Sample) { s.Completed = 4 }, 1},
		{"memory is the limit", func(s *Sample) { s.MemoryLimited = true }, 1},
		{"paused", func(s *Sample) { s.Idle = true }, 1},
		{"one invocation at once", func(s *Sample) { s.MaxConcurrency = 1 }, 1},
	} {
		sample := in
		tt.spoil(&sample)
		if d := New(Provisioned).Decide(sample); d.To != tt.want || d.Reason.Cause == NoCause {
			t.Errorf("%s: %d pollers, want %d: %s", tt.name, d.To, tt.want, d.Reason)
		}
	}
}

// TestReasonsAreTrue in each state: what is shown is what somebody acts upon.
func TestReasonsAreTrue(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	one := func(l Lane) []Lane { return []Lane{l} }
	base := Sample{At: at, Pollers: 2, Concurrency: 5, Least: 1, Most: 10, ByteRate: Unlimited, MaxConcurrency: Unlimited,
		BatchTime: 100 * time.Millisecond, BatchRecords: 100, BatchBytes: 1000, Completed: 50, Slots: 10}
	for _, tt := range []struct {
		name   string
		change func(*Sample)
		says   string
		not    string
	}{
		{"idle", func(s *Sample) { s.Lanes = one(Lane{End: 5}) }, "no lag", "too few"},
		{"idle after three calls", func(s *Sample) { s.Completed, s.Lanes = 3, one(Lane{End: 5}) }, "no lag", "have completed"},
		{"in back-off", func(s *Sample) { s.Lanes = one(Lane{Lag: 400, End: 500, Backoff: true}) }, "a lag of 400 records; 1 partition waits to try again", "no lag"},
		{"in flight", func(s *Sample) { s.Lanes = one(Lane{Lag: 7, End: 500, Waiting: 7}) }, "a lag of 7 records, all in flight", "no lag"},
		{"one record", func(s *Sample) { s.Lanes = one(Lane{Lag: 1, End: 500, Waiting: 1}) }, "a lag of 1 record,", "records"},
		{"throttled at once", func(s *Sample) {
			s.Completed, s.BatchTime, s.Throttled, s.Lanes = 0, 0, 4, one(Lane{Lag: 7, End: 500})
		}, "the function throttles", "nothing was invoked"},
		{"before the first call", func(s *Sample) { s.Completed, s.BatchTime, s.Lanes = 0, 0, one(Lane{Lag: 7, End: 500}) }, "no call has ended that says", ""},
		{"few calls", func(s *Sample) {
			s.Completed, s.Pollers = 3, 1
			for p := range int32(20) {
				s.Lanes = append(s.Lanes, Lane{Topic: "t", Partition: p, Lag: 100_000, End: 500_000})
			}
		}, "0 of the 10 calls have ended", ""},
		{"fewer would do", func(s *Sample) { s.Pollers, s.Lanes = 9, one(Lane{Lag: 110_000, End: 500_000}) }, "1 poller would do; the others go if 1 will do for 100ms", "quiet"},
		{"unknown", func(s *Sample) { s.Lanes = one(Lane{Lag: -1, End: -1}) }, "the lag of 1 partition is unknown", "partitions"},
		{"no memory", func(s *Sample) {
			s.MemoryLimited, s.MemoryBudget, s.Busy = true, 30<<20, 3
			for p := range int32(20) {
				s.Lanes = append(s.Lanes, Lane{Topic: "t", Partition: p, Lag: 100_000, End: 500_000, Backoff: p > 7})
			}
		}, "is enough for 3 of 8 calls at once: about 80 MiB would do for all (WithMemoryBudget)", "slots idle"},
		{"no memory, and nothing runs", func(s *Sample) {
			s.MemoryLimited, s.MemoryBudget, s.Lanes = true, 30<<20, one(Lane{Lag: 7, End: 500})
		}, "the memory budget keeps slots idle (WithMemoryBudget)", "MiB"},
		{"no place", func(s *Sample) {
			s.Pollers, s.Busy, s.Waiting = 1, 5, 4
			for p := range int32(20) {
				s.Lanes = append(s.Lanes, Lane{Topic: "t", Partition: p, Lag: 100_000, End: 500_000})
			}
		}, "4 of 5 calls wait for a place", ""},
		{"paused", func(s *Sample) { s.Idle, s.Lanes = true, one(Lane{Lag: 7, End: 500}) }, "nothing is invoked now", ""},
	} {
		for _, mode := range []Mode{Provisioned, OnDemand} {
			s := New(mode)
			in := base
			tt.change(&in)
			if mode == OnDemand { // it evaluates the second time
				s.Decide(in)
				in.At = in.At.Add(2 * time.Minute)
				if strings.HasPrefix(tt.name, "few") {
					continue // it needs no ten calls, and waits for nothing
				}
			}
			reason := s.Decide(in).Reason.String()
			if !strings.Contains(reason, tt.says) || tt.not != "" && strings.Contains(reason, tt.not) {
				t.Errorf("%s, %s: %q", tt.name, mode, reason)
			}
		}
	}
}

// TestAnyTraceIsDecidedTheSameTwice, within the bounds and with a reason, whatever
// is in it: what a sample says comes from user code and from other systems.
func TestAnyTraceIsDecidedTheSameTwice(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 5))
		mode := Mode(rng.IntN(2))
		var trace []Sample
		at := time.Unix(1_000_000, 0)
		in := Sample{Pollers: 1}
		for range 200 {
			at = at.Add(time.Duration(rng.Int64N(int64(2 * time.Second))))
			some := func(n int64) int64 { return max(-1, rng.Int64N(n)-n/20) }
			in = Sample{
				At: at, Pollers: int(some(50)), Concurrency: int(some(10)), Least: 1 + rng.IntN(5), ByteRate: int(some(1e6)), MaxConcurrency: int(some(100)),
				Busy: int(some(50)), Slots: int(some(50)), Waiting: int(some(10)), BatchTime: time.Duration(some(1e10)), BatchRecords: float64(some(100)),
				BatchBytes: float64(some(1e6)), Completed: in.Completed + some(20), Settled: in.Settled + some(1000), Throttled: in.Throttled + some(2),
				Failed: in.Failed + some(10), Round: some(80), RoundTime: time.Duration(some(1e10)), RoundSpread: time.Duration(some(1e10)),
				BusyTime: in.BusyTime + time.Duration(some(1e10)), MemoryLimited: rng.IntN(20) == 0, Idle: rng.IntN(30) == 0,
			}
			in.Most = in.Least + rng.IntN(100)
			for p := range int32(rng.IntN(20)) {
				in.Lanes = append(in.Lanes, Lane{Topic: "orders", Partition: p, Lag: some(1e6), End: some(1e9), Waiting: some(100), Backoff: rng.IntN(10) == 0})
			}
			trace = append(trace, in)
		}
		var first []Decision
		for d := range Replay(slices.Values(trace), mode) {
			if d.To < d.Sample.Least || d.To > d.Sample.Most || d.Reason.Cause == NoCause || d.Reason.String() == "" || d.Again < 0 {
				t.Fatalf("seed %d: %d pollers of %d to %d, again after %s: %+v", seed, d.To, d.Sample.Least, d.Sample.Most, d.Again, d.Reason)
			}
			first = append(first, d)
		}
		n := 0
		for d := range Replay(slices.Values(trace), mode) {
			if was := first[n]; d.To != was.To || d.Reason != was.Reason || d.Again != was.Again || d.Short != was.Short {
				t.Fatalf("seed %d, decision %d: %d (%s), and then %d (%s)", seed, n, was.To, was.Reason, d.To, d.Reason)
			}
			n++
		}
	}
}

func TestCausesAreReadAsTheyAreWritten(t *testing.T) {
	seen := map[string]bool{}
	for c := NoCause; c <= Cadence; c++ {
		text, _ := c.MarshalText()
		var back Cause
		if err := back.UnmarshalText(text); err != nil || back != c || seen[string(text)] {
			t.Errorf("%s was read as %s: %v", text, back, err)
		}
		seen[string(text)] = true
		if said := (Reason{Cause: c}).String(); said == "" {
			t.Errorf("%s says nothing", text)
		}
	}
	var c Cause
	if err := c.UnmarshalText([]byte("a hunch")); err == nil {
		t.Error("a hunch is a cause")
	}
	if got := Cause(99).String(); got != "Cause(99)" {
		t.Errorf("%q", got)
	}
}
