package scalesim

import (
	"testing"
	"time"

	"github.com/seed429fd032/esm/scaling"
)

// within5 fails if a number is not about what it should be.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want*(1-tolerance) || got > want*(1+tolerance) {
		t.Errorf("%s is %.4g, and should be %.4g", what, got, want)
	}
}

func TestBacklogTakesAsLongAsItsBatches(t *testing.T) {
	c := Config{Trace: Trace{Partitions: 100, Bursts: Backlog(100, 2_000_000)}, Function: Function{Call: 100 * time.Millisecond}, Settings: Settings{Max: 200}}
	for pollers, want := range map[int]time.Duration{1: 400 * time.Second, 4: 100 * time.Second, 20: 20 * time.Second, 100: 20 * time.Second} {
		r := Run(c, Fixed(pollers))
		near(t, "the time to drain", r.Drained.Seconds(), want.Seconds(), 0.001)
		near(t, "the poller-seconds", r.PollerTime.Seconds(), want.Seconds()*float64(pollers), 0.06)
		near(t, "the work", r.WorkTime.Seconds(), 400, 0.001)
		near(t, "the median lag", r.Lag.Quantile(0.5).Seconds(), want.Seconds()/2, 0.02)
		if r.Settled != 2_000_000 || r.Left != 0 || r.Calls != 20_000 {
			t.Errorf("%d settled, %d left, %d calls", r.Settled, r.Left, r.Calls)
		}
	}
}

func TestOurs(t *testing.T) {
	c := Config{Trace: Trace{Partitions: 100, Bursts: Backlog(100, 2_000_000)}, Function: Function{Call: 100 * time.Millisecond}, Settings: Settings{Max: 200}}
	began := time.Now()
	r := Run(c, Scaler(scaling.Provisioned))
	t.Log(time.Since(began), r.Drained, r.PollerTime, r.WorkTime, r.Steps)
}

// run fails if records are lost.
func run(t *testing.T, c Config, p Policy) *Result {
	t.Helper()
	r := Run(c, p)
	if r.Left != 0 {
		t.Errorf("%d records are left after %v", r.Left, r.Ended)
	}
	return r
}

func steady(perPartition float64) func(int, int) float64 {
	return func(int, int) float64 { return perPartition }
}

func TestTrickleTakesOneCallARecord(t *testing.T) {
	r := run(t, Config{Trace: Trace{Partitions: 20, Rate: steady(1), Length: time.Minute}, Function: Function{Call: 10 * time.Millisecond}}, Fixed(1))
	near(t, "the records", float64(r.Settled), 1200, 0.02)
	if float64(r.Calls) < 0.9*float64(r.Settled) {
		t.Errorf("%d calls for %d records that do not come at once", r.Calls, r.Settled)
	}
	near(t, "the median lag", r.Lag.Quantile(0.5).Seconds(), 0.010, 0.02)
	near(t, "the poller-seconds", r.PollerTime.Seconds(), 60, 0.02)
}

// TestSteadyLoadIsBatched: a lane that gets r records a second, with calls of d,
// takes r·d records a call and each waits for half a call and then one.
func TestSteadyLoadIsBatched(t *testing.T) {
	r := run(t, Config{Trace: Trace{Partitions: 4, Rate: steady(200), Length: time.Minute}, Function: Function{Call: 100 * time.Millisecond}}, Fixed(4))
	near(t, "the calls", float64(r.Calls), 4*600, 0.01)
	near(t, "the median lag", r.Lag.Quantile(0.5).Seconds(), 0.150, 0.05)
	near(t, "the longest lag", r.Lag.Max().Seconds(), 0.2, 0.05)
	near(t, "the pollers that were needed", float64(r.Needed), 1, 0)
}

// TestKneeShares: beyond the knee all share the same throughput.
func TestKneeShares(t *testing.T) {
	for slots, want := range map[int]time.Duration{4: 500, 8: 250, 16: 250, 64: 250} {
		c := Config{
			Trace: Trace{Partitions: 64, Bursts: Backlog(64, 64*100*100)}, Settings: Settings{Concurrency: 1, Start: slots},
			Function: Function{Call: 100 * time.Millisecond, Knee: 8},
		}
		r := run(t, c, Fixed(slots))
		// 6,400 calls of 0.1 s, and 8 of them at once at most.
		near(t, "the time to drain", r.Drained.Seconds(), 6400*0.1/float64(min(slots, 8)), 0.01)
		near(t, "the time of a call", r.CallTime.Quantile(0.5).Seconds(), 0.1*max(1, float64(slots)/8), 0.02)
		near(t, "the work", r.WorkTime.Seconds(), 640, 0.001)
		_ = want
	}
}

func TestKneeMoves(t *testing.T) {
	c := Config{
		Trace: Trace{Partitions: 16, Bursts: Backlog(16, 16*100*100)}, Settings: Settings{Concurrency: 1, Start: 16},
		Function: Function{Call: 100 * time.Millisecond, Knee: 8, Knees: []Change{{At: 10 * time.Second, To: 4}}},
	}
	r := run(t, c, Fixed(16))
	// 160 s of work: 80 in the first 10 s, then 4 a second.
	near(t, "the time to drain", r.Drained.Seconds(), 10+80/4, 0.01)
}

func TestHarmCosts(t *testing.T) {
	c := Config{
		Trace: Trace{Partitions: 16, Bursts: Backlog(16, 16*100*100)}, Settings: Settings{Concurrency: 1, Start: 16},
		Function: Function{Call: 100 * time.Millisecond, Knee: 8, Harm: 1},
	}
	near(t, "the time to drain", run(t, c, Fixed(16)).Drained.Seconds(), 2*160.0/8, 0.01)
}

func TestByteRateBinds(t *testing.T) {
	c := Config{
		Trace: Trace{Partitions: 20, Bursts: Backlog(20, 100_000)}, Settings: Settings{ByteRate: 5_000_000, RecordBytes: 1000, Start: 2},
		Function: Function{Call: time.Millisecond},
	}
	near(t, "the time to drain", run(t, c, Fixed(2)).Drained.Seconds(), 10, 0.02)
}

func TestColdStartsComeOncePerInstance(t *testing.T) {
	c := Config{
		Trace: Trace{Partitions: 20, Bursts: Backlog(20, 20*100*10)}, Settings: Settings{Start: 4},
		Function: Function{Call: 100 * time.Millisecond, Cold: 3 * time.Second},
	}
	r := run(t, c, Fixed(4))
	near(t, "the time to drain", r.Drained.Seconds(), 3+10*0.1, 0.01)
	near(t, "the longest call", r.CallTime.Max().Seconds(), 3.1, 0.01)
	near(t, "the usual call", r.CallTime.Quantile(0.5).Seconds(), 0.1, 0.02)
}

// TestThrottlePauses: calls over the limit are throttled, and everything waits.
func TestThrottlePauses(t *testing.T) {
	c := Config{
		Trace: Trace{Partitions: 20, Bursts: Backlog(20, 20*100)}, Settings: Settings{Start: 4},
		Function: Function{Call: 100 * time.Millisecond, Limit: 10},
	}
	r := run(t, c, Fixed(4))
	if r.Throttled != 10 {
		t.Errorf("%d throttles", r.Throttled)
	}
	// The pause of the first round is from half a second to one.
	if r.Drained < 600*time.Millisecond || r.Drained > 1200*time.Millisecond {
		t.Errorf("drained after %v", r.Drained)
	}
}

// TestPoisonHoldsUpItsOwn: a failing batch is split until it is alone, and waits.
func TestPoisonHoldsUpItsOwn(t *testing.T) {
	c := Config{
		Trace: Trace{Partitions: 8, Bursts: Backlog(8, 80)}, Settings: Settings{Start: 1},
		Function: Function{Call: 100 * time.Millisecond, Poison: []int{3}}, Until: time.Minute,
	}
	r := run(t, c, Fixed(1))
	if r.Settled != 70 {
		t.Errorf("%d of 70 records are settled", r.Settled)
	}
	// All 8, then 4 and 4, then 2 and 2, then 1 and 1.
	near(t, "the time to drain", r.Drained.Seconds(), 0.4, 0.01)
}

func TestFailingCallsAreTriedAgain(t *testing.T) {
	c := Config{
		Trace: Trace{Partitions: 4, Bursts: Backlog(4, 4*100*50)}, Settings: Settings{Start: 1},
		Function: Function{Call: 100 * time.Millisecond, Failing: []Span{{time.Second, 3 * time.Second}}},
	}
	r := run(t, c, Fixed(1))
	if r.Failed < 4 || r.Failed > 16 {
		t.Errorf("%d calls failed", r.Failed)
	}
	if r.Drained < 6*time.Second || r.Drained > 12*time.Second {
		t.Errorf("drained after %v", r.Drained)
	}
}

func TestSampleSaysWhatIsUnknown(t *testing.T) {
	unknown := 0
	c := Config{
		Trace: Trace{Partitions: 2, Rate: steady(10), Length: time.Minute}, Unknown: []Span{{20 * time.Second, 40 * time.Second}},
		Function: Function{Call: 10 * time.Millisecond},
		Watch: func(s scaling.Sample, _ Answer) {
			for _, l := range s.Lanes {
				if l.Lag < 0 {
					unknown++
				}
			}
		},
	}
	run(t, c, Fixed(1))
	near(t, "samples without a lag", float64(unknown), 2*15, 0.07) // an end is good for five seconds
}

func TestPartitionsComeAndGo(t *testing.T) {
	away := Away{Span: Span{10 * time.Second, 20 * time.Second}, Partitions: []int{0, 1}}
	for _, handled := range []bool{true, false} {
		away.Handled, away.Left = handled, 50
		lanes := map[int]int{}
		c := Config{
			Trace: Trace{Partitions: 4, Rate: steady(100), Length: 30 * time.Second}, Away: []Away{away}, Settings: Settings{Min: 4},
			Function: Function{Call: 10 * time.Millisecond},
			Watch:    func(s scaling.Sample, _ Answer) { lanes[len(s.Lanes)]++ },
		}
		r := run(t, c, Fixed(4))
		want := 4 * 100 * 30.0
		if handled {
			want -= 2 * (100*10 - 50)
		}
		near(t, "the records", float64(r.Settled), want, 0.005)
		near(t, "samples with two lanes", float64(lanes[2]), 10, 0.1)
		if r.Turns(0, time.Hour) != 0 || len(r.Steps) != 3 {
			t.Errorf("steps %v", r.Steps)
		}
		near(t, "the poller-seconds", r.PollerTime.Seconds(), 2*30+2*20, 0.01)
	}
}

func TestTheSameSeedGivesTheSameRun(t *testing.T) {
	c := Config{
		Trace:    Trace{Partitions: 7, Rate: func(p, s int) float64 { return float64(p * s % 300) }, Length: time.Minute, Bursts: BurstAt(5*time.Second, 7, 9999)},
		Function: Function{Call: 50 * time.Millisecond, Noise: 0.3, Fails: 0.1, Knee: 5, Limit: 12}, Settings: Settings{Max: 7, Concurrency: 2},
	}
	a, b := run(t, c, Scaler(scaling.Provisioned)), run(t, c, Scaler(scaling.Provisioned))
	if a.Drained != b.Drained || a.Calls != b.Calls || len(a.Steps) != len(b.Steps) || a.PollerTime != b.PollerTime {
		t.Errorf("%v and %v", a, b)
	}
	c.Seed = 1
	if b := run(t, c, Scaler(scaling.Provisioned)); a.Drained == b.Drained && a.Calls == b.Calls {
		t.Error("another seed gives the same run")
	}
}

// TestNothingIsLost: whatever happens, what came is settled once.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(200) {
		f := Function{Call: 20 * time.Millisecond, Noise: 0.5, Fails: 0.05}
		if seed%2 == 0 {
			f.Knee = 1 + int(seed%7)
		}
		if seed%3 == 0 {
			f.Limit = 3 + int(seed%11)
		}
		c := Config{
			Seed:     seed,
			Trace:    Trace{Partitions: 1 + int(seed%13), Rate: func(p, s int) float64 { return float64((p + s) % 40) }, Length: 20 * time.Second, Bursts: BurstAt(3*time.Second, 1+int(seed%13), 1234)},
			Function: f, Settings: Settings{Concurrency: 1 + int(seed%5), Batch: 1 + int(seed%50), ByteRate: int(seed%4) * 40_000, MaxConcurrency: int(seed % 9)},
			Until: 24 * time.Hour,
		}
		if seed%5 == 0 && c.Trace.Partitions > 1 {
			c.Away = []Away{{Span{4 * time.Second, 8 * time.Second}, []int{1}, false, 0}}
		}
		want := 0.0
		for p := range c.Trace.Partitions {
			for s := range 20 {
				want += c.Trace.Rate(p, s)
			}
		}
		want += 1234
		r := run(t, c, Scaler(scaling.Provisioned))
		if d := want - float64(r.Settled); d > float64(c.Trace.Partitions) || -d > float64(c.Trace.Partitions) {
			t.Errorf("seed %d: %v records came, and %d are settled", seed, want, r.Settled)
		}
		if n := r.Lag.Count() - float64(r.Settled); n > 1e-3 || n < -1e-3 {
			t.Errorf("seed %d: %d are settled, and there are lags of %v", seed, r.Settled, r.Lag.Count())
		}
	}
}

// BenchmarkAnHour is what it costs to simulate one: 100 partitions, 55 calls a second.
func BenchmarkAnHour(b *testing.B) {
	for b.Loop() {
		r := Run(Config{Trace: Trace{Partitions: 100, Rate: steady(5.5), Length: time.Hour}, Function: Function{Call: 100 * time.Millisecond}}, Scaler(scaling.Provisioned))
		if r.Left != 0 {
			b.Fatalf("%d records are left", r.Left)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var h Histogram
	for i := range 1000 {
		h.Add(time.Duration(i+1)*time.Millisecond, 2)
	}
	for q, want := range map[float64]float64{0.01: 0.01, 0.5: 0.5, 0.99: 0.99, 1: 1} {
		near(t, "a quantile", h.Quantile(q).Seconds(), want, 0.011)
	}
}
