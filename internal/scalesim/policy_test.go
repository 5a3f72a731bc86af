package scalesim

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed429fd032/esm/scaling"
)

// These are what the policy of this library must do, whatever it is made of.

func ours() Policy { return Scaler(scaling.Provisioned) }

// noisy is a steady load of which each second has its own factor.
func noisy(perSecond float64, seed uint64, gaussian bool) func(int, int) float64 {
	factor := func(second int) float64 {
		chance := rand.New(rand.NewPCG(seed, uint64(second)))
		if gaussian {
			return max(0, 1+0.2*chance.NormFloat64())
		}
		return 0.8 + 0.4*chance.Float64()
	}
	return func(_, second int) float64 { return perSecond * factor(second) }
}

// TestSteadyLoadDoesNotFlap: at most one change of direction in any minute after the
// first.
func TestSteadyLoadDoesNotFlap(t *testing.T) {
	slowUnderRace(t)
	const length = 6 * time.Minute
	for _, concurrency := range []int{1, 5} {
		for _, call := range []time.Duration{50 * time.Millisecond, 400 * time.Millisecond, 3 * time.Second} {
			for _, share := range []float64{0.03, 0.1, 0.3, 0.5, 0.7, 0.85} { // of what the lanes could take
				for seed := range uint64(4) {
					gaussian := seed%2 == 1
					lanes := 20
					perLane := share * 100 / call.Seconds()
					c := Config{
						Trace:    Trace{Partitions: lanes, Rate: noisy(perLane, seed, gaussian), Length: length},
						Function: Function{Call: call, Noise: 0.05}, Settings: Settings{Concurrency: concurrency}, Seed: seed,
					}
					if call < 100*time.Millisecond && seed > 1 {
						continue // many calls, which take long to simulate
					}
					r := run(t, c, ours())
					for from := time.Minute; from+time.Minute <= length; from += 10 * time.Second {
						if n := r.Turns(from, from+time.Minute); n > 1 {
							t.Errorf("concurrency %d, calls of %v, %.0f%% of what the lanes take, seed %d: %d changes of direction from %v on: %v",
								concurrency, call, 100*share, seed, n, from, around(r.Steps, from, from+time.Minute))
							break
						}
					}
				}
			}
		}
	}
}

func around(steps []Step, from, to time.Duration) (s string) {
	for _, step := range steps {
		if step.At >= from && step.At < to {
			s += fmt.Sprintf(" %.1fs:%d", step.At.Seconds(), step.To)
		}
	}
	return s
}

// kneed is a backlog that lasts, before a function with a knee.
func kneed(concurrency int, noise, harm float64, knee int, knees ...Change) Config {
	return Config{
		Trace:    Trace{Partitions: 64, Bursts: Backlog(64, 6_000_000)},
		Function: Function{Call: 100 * time.Millisecond, Noise: noise, Knee: knee, Harm: harm, Knees: knees},
		Settings: Settings{Concurrency: concurrency}, Until: 4 * time.Minute,
	}
}

// settles fails if a run does not do what it could from a time on for a minute: three
// quarters of the best throughput, with calls that take twice the least at most.
func settles(t *testing.T, name string, c Config, from time.Duration, knee int) {
	t.Helper()
	alone := c
	alone.Settings.Concurrency, alone.Settings.Max, alone.Until = 1, 1, 20*time.Second
	least := Run(alone, Fixed(1)).CallTime.Quantile(0.99)
	c.Measure, c.Until = Span{from, from + time.Minute}, from+time.Minute
	var before, after int64
	r := Run(c, ours())
	for _, p := range r.Series {
		if p.At <= from {
			before = p.Settled
		}
		after = p.Settled
	}
	best := float64(knee) * 100 / c.Function.Call.Seconds() * c.Measure.To.Seconds()
	best -= float64(knee) * 100 / c.Function.Call.Seconds() * c.Measure.From.Seconds()
	if got := float64(after - before); got < 0.75*best {
		t.Errorf("%s: %.0f%% of the best throughput from %v on: %v", name, 100*got/best, from, around(r.Steps, 0, c.Until))
	}
	if got := r.CallTime.Quantile(0.99); got > 2*least {
		t.Errorf("%s: the p99 of a call is %v from %v on, where it is %v alone: %v", name, got, from, least, around(r.Steps, 0, c.Until))
	}
}

func TestKneeIsFound(t *testing.T) {
	for _, concurrency := range []int{1, 2, 5} {
		for _, noise := range []float64{0, 0.1} {
			for _, harm := range []float64{0, 0.3} {
				name := fmt.Sprintf("concurrency %d, noise %v, harm %v", concurrency, noise, harm)
				settles(t, name, kneed(concurrency, noise, harm, 8), 30*time.Second, 8)
			}
		}
	}
}

func TestKneeThatMovesIsFound(t *testing.T) {
	for _, concurrency := range []int{1, 2} {
		for _, to := range []int{4, 16} {
			name := fmt.Sprintf("concurrency %d, from 8 to %d", concurrency, to)
			settles(t, name, kneed(concurrency, 0.05, 0, 8, Change{At: time.Minute, To: to}), 90*time.Second, to)
		}
	}
}

// TestBacklogCostsWhatItNeeds: a tenth more than the work, and a constant: the
// minimum all the time, and for each poller a second and a call.
func TestBacklogCostsWhatItNeeds(t *testing.T) {
	for _, partitions := range []int{1, 10, 100} {
		for _, call := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 300 * time.Millisecond, 5 * time.Second} {
			for _, concurrency := range []int{1, 5} {
				for _, batches := range []int64{3, 30, 300} {
					if time.Duration(batches)*call > 10*time.Minute {
						continue
					}
					const idle = 2 * time.Minute
					c := Config{
						Trace:    Trace{Partitions: partitions, Bursts: Backlog(partitions, int64(partitions)*batches*100), Length: time.Duration(batches)*call*time.Duration(partitions) + idle},
						Function: Function{Call: call}, Settings: Settings{Concurrency: concurrency},
					}
					c.Trace.Length = min(c.Trace.Length, 20*time.Minute)
					r := run(t, c, ours())
					least := min(r.Ended, c.Trace.Length)
					most := r.WorkTime + r.WorkTime/10 + least + time.Duration(r.Peak)*(time.Second+call)
					name := fmt.Sprintf("%d partitions, %d batches of %v each, concurrency %d", partitions, batches, call, concurrency)
					if r.PollerTime > most {
						t.Errorf("%s: %v of pollers, where %v of work are: %v", name, r.PollerTime, r.WorkTime, around(r.Steps, 0, r.Ended))
					}
					c.Settings.Start = 200
					best := run(t, c, Fixed(200)).Drained
					if r.Drained > best+best/10+6*call+time.Second {
						t.Errorf("%s: it takes %v, and with all pollers %v: %v", name, r.Drained, best, around(r.Steps, 0, r.Ended))
					}
				}
			}
		}
	}
}

// TestColdStartsAreNoMeasure: a function of which each new instance is slow at first
// gets as many as one without, nearly as soon.
func TestColdStartsAreNoMeasure(t *testing.T) {
	for _, concurrency := range []int{1, 5} {
		for _, cold := range []time.Duration{300 * time.Millisecond, 3 * time.Second, 10 * time.Second} {
			c := Config{
				Trace:    Trace{Partitions: 50, Bursts: Backlog(50, 50*100*200)},
				Function: Function{Call: 100 * time.Millisecond, Cold: cold}, Settings: Settings{Concurrency: concurrency},
			}
			r := run(t, c, ours())
			c.Settings.Start = 50
			best := run(t, c, Fixed(50))
			if most := best.Drained + best.Drained/20 + 2*cold + 2*time.Second; r.Drained > most || r.Peak*concurrency < 50 {
				t.Errorf("concurrency %d, a cold start takes %v: %v with %d pollers at most, and with all pollers %v: %v", concurrency, cold, r.Drained, r.Peak, best.Drained, around(r.Steps, 0, r.Ended))
			}
		}
	}
}

// TestLongCallsAreNotWaitedFor: the first decision does not wait for calls of a
// minute.
func TestLongCallsAreNotWaitedFor(t *testing.T) {
	for _, concurrency := range []int{1, 5} {
		c := Config{
			Trace:    Trace{Partitions: 40, Bursts: Backlog(40, 40*100*5)},
			Function: Function{Call: time.Minute, Noise: 0.05}, Settings: Settings{Concurrency: concurrency},
		}
		r := run(t, c, ours())
		c.Settings.Start = 40
		best := run(t, c, Fixed(40)).Drained
		if r.Drained > best+15*time.Second {
			t.Errorf("concurrency %d: it takes %v, and with all pollers %v: %v", concurrency, r.Drained, best, around(r.Steps, 0, r.Ended))
		}
	}
}

// TestBurstAfterAnIdleHour: its last record is handled within twice the time that all
// pollers would take.
func TestBurstAfterAnIdleHour(t *testing.T) {
	slowUnderRace(t)
	for _, partitions := range []int{20, 100} {
		for _, concurrency := range []int{1, 5} {
			for _, batch := range []int{1, 10, 100} {
				for _, call := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second} {
					for _, warm := range []bool{false, true} { // whether calls were seen before the hour
						at := time.Hour
						c := Config{
							Trace:    Trace{Partitions: partitions, Bursts: BurstAt(at, partitions, 1000)},
							Function: Function{Call: call}, Settings: Settings{Concurrency: concurrency, Batch: batch},
						}
						if warm {
							c.Trace.Bursts = append(c.Trace.Bursts, Backlog(partitions, 2000)...)
						}
						r := run(t, c, ours())
						c.Settings.Start = 200
						best := run(t, c, Fixed(200)).Drained - at
						// A call that takes a millisecond needs no help, and it is not asked for it.
						if took := r.Drained - at; took > 2*best+10*time.Millisecond {
							t.Errorf("%d partitions, concurrency %d, batches of %d, calls of %v, seen before: %v: it takes %v, and with all pollers %v: %v",
								partitions, concurrency, batch, call, warm, took, best, around(r.Steps, at-time.Minute, r.Ended))
						}
					}
				}
			}
		}
	}
}
