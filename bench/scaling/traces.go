package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/seed429fd032/esm/internal/scalesim"
)

// A trace is what happens to a Mapping, and to its function.
type trace struct {
	name, about string
	config      func() scalesim.Config
}

const ms = time.Millisecond

// noise is a factor for each second, of a fifth to both sides.
func noise(second int) float64 {
	return 0.8 + 0.4*rand.New(rand.NewPCG(16, uint64(second))).Float64()
}

func traces() []trace {
	return []trace{
		{"start", "2,000,000 records in 100 partitions, from 1 poller. A call takes 100 ms: AWS's published scenario.", func() scalesim.Config {
			return scalesim.Config{Trace: scalesim.Trace{Partitions: 100, Bursts: scalesim.Backlog(100, 2_000_000)}, Function: scalesim.Function{Call: 100 * ms, Noise: 0.05}}
		}},
		{"burst", "20 records a second in 40 partitions for ten minutes, and after two of them 400,000 at once. A call takes 100 ms.", func() scalesim.Config {
			return scalesim.Config{
				Trace: scalesim.Trace{
					Partitions: 40, Length: 10 * time.Minute, Bursts: scalesim.BurstAt(2*time.Minute, 40, 400_000),
					Rate: func(int, int) float64 { return 0.5 },
				}, Function: scalesim.Function{Call: 100 * ms, Noise: 0.05},
			}
		}},
		{"idle", "1,000 records at once in 20 partitions, after an hour without any. A call takes 100 ms, and carries one record.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 20, Bursts: scalesim.BurstAt(time.Hour, 20, 1000), Length: time.Hour},
				Function: scalesim.Function{Call: 100 * ms, Noise: 0.05}, Settings: scalesim.Settings{Batch: 1},
			}
		}},
		{"steady", "10,000 records a second in 40 partitions for ten minutes, with a fifth of noise each second. A call takes 200 ms.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 40, Length: 10 * time.Minute, Rate: func(_, s int) float64 { return 250 * noise(s) }},
				Function: scalesim.Function{Call: 200 * ms, Noise: 0.05},
			}
		}},
		{"ramp", "From none to 16,000 records a second in ten minutes, in 40 partitions. A call takes 200 ms.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 40, Length: 10 * time.Minute, Rate: func(_, s int) float64 { return 400 * float64(s) / 600 }},
				Function: scalesim.Function{Call: 200 * ms, Noise: 0.05},
			}
		}},
		{"sawtooth", "Five times from none to 16,000 records a second in four minutes, and back at once. A call takes 200 ms.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 40, Length: 20 * time.Minute, Rate: func(_, s int) float64 { return 400 * float64(s%240) / 240 }},
				Function: scalesim.Function{Call: 200 * ms, Noise: 0.05},
			}
		}},
		{"day", "A day's curve in 48 minutes, from 400 to 12,000 records a second and back, with a fifth of noise. A call takes 400 ms.", func() scalesim.Config {
			return scalesim.Config{
				Trace: scalesim.Trace{Partitions: 60, Length: 48 * time.Minute, Rate: func(_, s int) float64 {
					wave := 0.5 - 0.5*math.Cos(2*math.Pi*float64(s)/2880)
					return (400 + 11_600*wave*wave) / 60 * noise(s)
				}}, Function: scalesim.Function{Call: 400 * ms, Noise: 0.05},
			}
		}},
		{"hot partition", "Ten minutes of 20 records a second in each of 20 partitions, but for one, which has 700 and the backlog of 100,000. A call takes 100 ms.", func() scalesim.Config {
			return scalesim.Config{
				Trace: scalesim.Trace{
					Partitions: 20, Length: 10 * time.Minute, Bursts: []scalesim.Burst{{Partition: 7, Records: 100_000}},
					Rate: func(p, _ int) float64 {
						if p == 7 {
							return 700
						}
						return 20
					},
				}, Function: scalesim.Function{Call: 100 * ms, Noise: 0.05},
			}
		}},
		{"poison partitions", "4 of 20 partitions fail whatever they are given, and have a backlog, for ten minutes; the others have 200 records a second each. A call takes 100 ms.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 20, Length: 10 * time.Minute, Bursts: scalesim.Backlog(20, 200_000), Rate: func(int, int) float64 { return 200 }},
				Function: scalesim.Function{Call: 100 * ms, Noise: 0.05, Poison: []int{2, 7, 11, 17}},
			}
		}},
		{"knee", "A backlog of 1,000,000 in 64 partitions. The function works on 8 calls at once at full speed (100 ms): 16 take twice as long, and it does a third less. Pollers have one call each.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 64, Bursts: scalesim.Backlog(64, 1_000_000)},
				Function: scalesim.Function{Call: 100 * ms, Noise: 0.05, Knee: 8, Harm: 0.3}, Settings: scalesim.Settings{Concurrency: 1},
			}
		}},
		{"knee that moves", "The same with 2,000,000, and no harm but the time of calls; after a minute it works on 16 at once, and after two on 4.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 64, Bursts: scalesim.Backlog(64, 2_000_000)},
				Function: scalesim.Function{Call: 100 * ms, Noise: 0.05, Knee: 8, Knees: []scalesim.Change{{At: time.Minute, To: 16}, {At: 2 * time.Minute, To: 4}}},
				Settings: scalesim.Settings{Concurrency: 1},
			}
		}},
		{"throttling", "A backlog of 1,000,000 in 64 partitions. The function takes 20 calls at once, of 100 ms, and throttles others.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 64, Bursts: scalesim.Backlog(64, 1_000_000)},
				Function: scalesim.Function{Call: 100 * ms, Noise: 0.05, Limit: 20},
			}
		}},
		{"failing waves", "4,000 records a second in 40 partitions for ten minutes. A call takes 200 ms, and from the third to the fifth minute all fail.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 40, Length: 10 * time.Minute, Rate: func(int, int) float64 { return 100 }},
				Function: scalesim.Function{Call: 200 * ms, Noise: 0.05, Failing: []scalesim.Span{{From: 3 * time.Minute, To: 5 * time.Minute}}},
			}
		}},
		{"cold starts", "A backlog of 500,000 in 50 partitions. A call takes 100 ms, and the first of each instance three seconds more.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 50, Bursts: scalesim.Backlog(50, 500_000)},
				Function: scalesim.Function{Call: 100 * ms, Noise: 0.05, Cold: 3 * time.Second},
			}
		}},
		{"calls of a minute", "A backlog of 50,000 in 100 partitions. A call takes 60 s.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 100, Bursts: scalesim.Backlog(100, 50_000)},
				Function: scalesim.Function{Call: time.Minute, Noise: 0.05},
			}
		}},
		{"bytes", "A backlog of 200,000 records of 50 KB in 40 partitions. A poller moves 5 MB a second, and a call takes 20 ms.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 40, Bursts: scalesim.Backlog(40, 200_000)},
				Function: scalesim.Function{Call: 20 * ms, Noise: 0.05}, Settings: scalesim.Settings{RecordBytes: 50_000, ByteRate: 5_000_000},
			}
		}},
		{"unknown lag", "6,000 records a second in 40 partitions for ten minutes. The ends are not known from the third minute to the fifth, and after the fourth 400,000 more come. A call takes 200 ms.", func() scalesim.Config {
			return scalesim.Config{
				Trace: scalesim.Trace{
					Partitions: 40, Length: 10 * time.Minute, Bursts: scalesim.BurstAt(4*time.Minute, 40, 400_000),
					Rate: func(int, int) float64 { return 150 },
				}, Function: scalesim.Function{Call: 200 * ms, Noise: 0.05}, Unknown: []scalesim.Span{{From: 3 * time.Minute, To: 5 * time.Minute}},
			}
		}},
		{"rebalances", "9,000 records a second in 60 partitions for ten minutes. Two thirds of these go to another member in the third minute, and come back in the sixth, with what nobody handled in its last twenty seconds. A call takes 200 ms.", func() scalesim.Config {
			var some []int
			for p := range 40 {
				some = append(some, p)
			}
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 60, Length: 10 * time.Minute, Rate: func(int, int) float64 { return 150 }},
				Function: scalesim.Function{Call: 200 * ms, Noise: 0.05},
				Away: []scalesim.Away{
					{Span: scalesim.Span{From: 3 * time.Minute, To: 340 * time.Second}, Partitions: some, Handled: true},
					{Span: scalesim.Span{From: 340 * time.Second, To: 6 * time.Minute}, Partitions: some},
				},
			}
		}},
		{"trickle", "A record a second in each of 100 partitions for ten minutes. A call takes 20 ms.", func() scalesim.Config {
			return scalesim.Config{
				Trace:    scalesim.Trace{Partitions: 100, Length: 10 * time.Minute, Rate: func(int, int) float64 { return 1 }},
				Function: scalesim.Function{Call: 20 * ms, Noise: 0.05},
			}
		}},
	}
}
