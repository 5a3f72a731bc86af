package scaling

import (
	"math/rand/v2"
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
	unknown     bool
	idle        bool
	each        func(Decision) // gets each decision, if set
	scaler      *Scaler
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
	busy := 0
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
	if w.completed > 0 {
		s.BatchTime, s.BatchRecords, s.BatchBytes = batchTime, float64(w.batch), float64(w.batch)*1000
	}
	for i := range w.lag {
		l := Lane{Topic: "orders", Partition: int32(i), Lag: w.lag[i], End: w.end[i]}
		if w.unknown {
			l.Lag, l.End = -1, -1
		}
		s.Lanes = append(s.Lanes, l)
	}
	d := w.scaler.Decide(s)
	w.pollers, w.reason, w.short = d.To, d.Reason, d.Short
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
	w.second()
	if w.pollers != 20 { // 100 partitions, 5 at once each
		t.Fatalf("%d pollers after a second: %s", w.pollers, w.reason)
	}
	w.seconds(5)
	if w.pollers != 20 {
		t.Fatalf("%d pollers: %s", w.pollers, w.reason)
	}
	w.seconds(200)
	if w.pollers != 1 || w.reason != "no lag" {
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

func TestScalerGoesDownOnlyAfterAQuietMinute(t *testing.T) {
	w := newWorld(100, 20_000)
	w.seconds(21)
	for i := range w.lag {
		w.lag[i] = 0
	}
	w.seconds(30)
	if w.pollers != 20 {
		t.Fatalf("%d pollers half a minute after the last record", w.pollers)
	}
	for i := range w.lag { // all slots are wanted again for a moment
		w.lag[i] = 20_000
	}
	w.second()
	for i := range w.lag {
		w.lag[i] = 0
	}
	w.seconds(58)
	if w.pollers != 20 {
		t.Fatalf("%d pollers before the minute was over", w.pollers)
	}
	w.seconds(5)
	if w.pollers > 2 {
		t.Fatalf("%d pollers after it: %s", w.pollers, w.reason)
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

func TestScalerUndoesAStepThatDoesNotHelp(t *testing.T) {
	w := newWorld(100, 1_000_000)
	w.capacity = 50 // as many as one poller's slots do
	w.seconds(10)
	if w.pollers != 1 {
		t.Fatalf("%d pollers: %s", w.pollers, w.reason)
	}
	up := 0
	for range 240 {
		was := w.pollers
		w.second()
		if w.pollers > was {
			up++
		}
	}
	if up != 0 {
		t.Errorf("it went up %d times in the four minutes after", up)
	}
	// The function got better.
	w.capacity = 0
	w.seconds(600)
	if w.pollers != 20 {
		t.Errorf("%d pollers: %s", w.pollers, w.reason)
	}
}

func TestScalerHalvesOnThrottlesAndComesBackInSteps(t *testing.T) {
	w := newWorld(100, 1_000_000)
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
	w.seconds(3)
	if w.pollers != 10 || !strings.Contains(w.reason, "byte rate") {
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
		{"backlog", lanes(50, Lane{Lag: 100_000, End: 100_000}), 10},
		{"in back-off", lanes(50, Lane{Lag: 100_000, End: 100_000, Backoff: true}), 1},
		{"waits in its window", lanes(50, Lane{Lag: 90, End: 90, Waiting: 90}), 1},
		{"none", lanes(50, Lane{End: 100_000}), 1},
		{"half unknown, half behind", append(lanes(25, Lane{Lag: 100_000, End: 100_000}), Lane{Topic: "other", Partition: 1, Lag: -1, End: -1}), 5},
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
		{"nothing was invoked", func(s *Sample) { s.BatchTime = 0 }, 1},
		{"nine completions", func(s *Sample) { s.Completed = 9 }, 1},
		{"memory is the limit", func(s *Sample) { s.MemoryLimited = true }, 1},
		{"paused", func(s *Sample) { s.Idle = true }, 1},
		{"one invocation at once", func(s *Sample) { s.MaxConcurrency = 1 }, 1},
	} {
		sample := in
		tt.spoil(&sample)
		if d := New(Provisioned).Decide(sample); d.To != tt.want || d.Reason == "" {
			t.Errorf("%s: %d pollers, want %d: %s", tt.name, d.To, tt.want, d.Reason)
		}
	}
}

// TestScalerDoesNotTakeABurstForARate: the first decision may come a moment
// after a sample, and what was settled in between is no measure for a step.
func TestScalerDoesNotTakeABurstForARate(t *testing.T) {
	for _, took := range []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second} {
		s := New(Provisioned)
		in := Sample{
			Pollers: 1, Concurrency: 1, Least: 1, Most: 2000, ByteRate: Unlimited, MaxConcurrency: Unlimited,
			BatchTime: took, BatchRecords: 10, BatchBytes: 1e4, Busy: 1, Slots: 1,
		}
		for p := range int32(100) {
			in.Lanes = append(in.Lanes, Lane{Topic: "orders", Partition: p, Lag: 1_000_000, End: 1_000_000})
		}
		at := time.Unix(1_000, 0)
		look := func(after time.Duration, settled int64) int {
			at = at.Add(after)
			in.At, in.Settled, in.Completed = at, in.Settled+settled, in.Completed+settled/10
			n := s.Decide(in).To
			in.Pollers, in.Slots, in.Busy = n, n, n
			return n
		}
		look(9*took, 90)
		if n := look(18*time.Millisecond, 10); n != 100 {
			t.Fatalf("%s: %d pollers", took, n)
		}
		step := max(took, time.Second)
		for range 5 {
			if n := look(step, int64(step/took)*1000); n != 100 {
				t.Fatalf("%s: a step that made it a hundred times faster was undone: %d pollers", took, n)
			}
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
		{"in back-off", func(s *Sample) { s.Lanes = one(Lane{Lag: 400, End: 500, Backoff: true}) }, "a lag of 400 records, 1 partition in back-off", "no lag"},
		{"in flight", func(s *Sample) { s.Lanes = one(Lane{Lag: 7, End: 500, Waiting: 7}) }, "a lag of 7 records, all in flight", "no lag"},
		{"one record", func(s *Sample) { s.Lanes = one(Lane{Lag: 1, End: 500, Waiting: 1}) }, "a lag of 1 record,", "records"},
		{"throttled at once", func(s *Sample) {
			s.Completed, s.BatchTime, s.Throttled, s.Lanes = 0, 0, 4, one(Lane{Lag: 7, End: 500})
		}, "the function throttles", "nothing was invoked"},
		{"before the first call", func(s *Sample) { s.Completed, s.BatchTime, s.Lanes = 0, 0, one(Lane{Lag: 7, End: 500}) }, "no invocation has completed", ""},
		{"few calls", func(s *Sample) {
			s.Completed, s.Pollers = 3, 1
			for p := range int32(20) {
				s.Lanes = append(s.Lanes, Lane{Topic: "t", Partition: p, Lag: 100_000, End: 500_000})
			}
		}, "3 of the 10 invocations that say how long they take have completed", ""},
		{"fewer would do", func(s *Sample) { s.Pollers, s.Lanes = 9, one(Lane{Lag: 110_000, End: 500_000}) }, "fewer would do, and go after a minute of that: a lag of 110000 records in 1 partition", "quiet"},
		{"unknown", func(s *Sample) { s.Lanes = one(Lane{Lag: -1, End: -1}) }, "the lag of 1 partition is unknown", "partitions"},
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
			reason := s.Decide(in).Reason
			if !strings.Contains(reason, tt.says) || tt.not != "" && strings.Contains(reason, tt.not) {
				t.Errorf("%s, %s: %q", tt.name, mode, reason)
			}
		}
	}
}
