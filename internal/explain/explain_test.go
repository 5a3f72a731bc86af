package explain

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm/scaling"
)

// busy is a Mapping with a backlog that nothing but its slots limits.
func busy() Facts {
	return Facts{
		Now: time.Unix(1_000_000, 0), Member: true, Partitions: 100, Lagging: 50, Lag: 500_000, Oldest: time.Unix(1_000_000-720, 0), Largest: "orders/3", LargestLag: 12_000,
		Pollers: 2, MostPollers: 2, SetPollers: 2, Slots: 10, Busy: 10, Ready: 40, Called: 10, LongestCall: 90 * time.Millisecond, MaxConcurrency: scaling.Unlimited, SetConcurrency: scaling.Unlimited, BatchSize: 100, RecordsPerCall: 100,
		CallTime: 104 * time.Millisecond, FetchTime: 12 * time.Millisecond, ByteRate: scaling.Unlimited, MemoryBudget: 128 << 20,
		Reason: scaling.Reason{Cause: scaling.Backlog, Wanted: 40},
	}
}

// TestEachLimitIsFoundAndSaysWhatToChange.
func TestEachLimitIsFoundAndSaysWhatToChange(t *testing.T) {
	for _, tt := range []struct {
		limit Limit
		is    func(*Facts)
		want  string
	}{
		{MaxPollers, func(*Facts) {}, "A lag of 500000 records in 50 of 100 partitions, the oldest 12m0s old. The limit is WithMaxPollers(2): all 10 slots are busy, a call takes 104ms. 40 pollers would do, if the function can take the calls."},
		{MaxPollers, func(f *Facts) { f.Reason.Wanted, f.GroupBounds, f.MostPollers, f.SetPollers = 0, true, 2, 6 }, "WithMaxPollers(6): all 10 slots are busy, a call takes 104ms, and 2 pollers are this process's share. Raise it"},
		{MaxPollers, func(f *Facts) { f.Busy = 9 }, "WithMaxPollers(2): 9 of 10 slots are busy"}, // between two calls
		{Stopped, func(f *Facts) { f.Phase, f.Because = "halted", "billing is down" }, "It is halted (billing is down): nothing is invoked. Resume it when the cause is gone."},
		{Stopped, func(f *Facts) { f.Phase = "paused" }, "A lag of 500000 records in 50 of 100 partitions, the oldest 12m0s old. It is paused: nothing is invoked. Resume it."},
		{Stopped, func(f *Facts) { *f = Facts{Phase: "new"} }, "It is new: nothing is invoked. Start it."},
		{Group, func(f *Facts) { f.Member = false }, "not in its consumer group"},
		{Nothing, func(f *Facts) { f.Lag, f.Lagging, f.Busy, f.Ready = 0, 0, 0, 0 }, "Nothing waits in 100 partitions. Nothing limits it: 2 pollers, 0 of 10 slots busy."},
		{Nothing, func(f *Facts) { f.Lag, f.Unknown = 0, 3 }, "The lag of 3 of 100 partitions is unknown. What limits it is unknown, too."},
		{Brokers, func(f *Facts) { f.LargestLag, f.Lag, f.Ready, f.Unknown, f.Busy, f.Called = 90, 400, 0, 90, 1, 1 }, "The lag of 90 of 100 partitions is unknown. The limit is what the brokers send"},
		{Nothing, func(f *Facts) { f.Lag, f.Partitions = 0, 0 }, "No partition is assigned"},
		{Nothing, func(f *Facts) { f.LargestLag, f.Lag, f.Ready = 90, 400, 0 }, "A lag of 400 records in 50 of 100 partitions, the oldest 12m0s old. Nothing limits it: 2 pollers, 10 of 10 slots busy."},
		{Throttle, func(f *Facts) { f.ThrottledFor = 2 * time.Second }, "it throttles, and nothing is invoked for 2s. Give it more concurrency, or set WithMaxConcurrency"},
		{Throttle, func(f *Facts) { f.Reason = scaling.Reason{Cause: scaling.Throttles, Allowed: 1} }, "it throttles. Give it"},
		{Failing, func(f *Facts) { f.Reason = scaling.Reason{Cause: scaling.Failures, Calls: 9, Of: 10} }, "most calls fail (9 of the last 10)"},
		{Failing, func(f *Facts) { f.Reason.Limit, f.Reason.Allowed = scaling.Failures, 2 }, "most calls fail"},
		{Places, func(f *Facts) { f.Waiting = 5 }, "5 of 10 calls wait for a place of its own"},
		{Function, func(f *Facts) {
			f.Reason = scaling.Reason{Cause: scaling.Latency, Allowed: 2, CallTime: time.Second, BestTime: 100 * time.Millisecond, BusySlots: 10}
		}, "a call takes 1s with 10 at once and took 100ms at best"},
		{MaxConcurrency, func(f *Facts) { f.MaxConcurrency, f.SetConcurrency = 10, 10 }, "WithMaxConcurrency(10): as many calls run, each of 104ms."},
		{MaxConcurrency, func(f *Facts) { f.MaxConcurrency, f.SetConcurrency, f.GroupBounds = 10, 30, true }, "WithMaxConcurrency(30), of which this process has 10: as many"},
		{Partitions, func(f *Facts) { f.Partitions, f.Lagging = 10, 10 }, "one call a partition at a time, which keeps their order: each one that can go on has its call, of 104ms. Larger batches help (WithBatchSize, 100 now), more partitions, or a faster function."},
		{Partitions, func(f *Facts) { f.Lagging, f.Busy, f.Called, f.Ready, f.RecordsPerCall = 3, 3, 3, 0, 2 }, "What helps is more partitions"},
		// Some fail, and the others have their calls; or a call has several; or pollers are as many as partitions.
		{Partitions, func(f *Facts) { f.Lagging, f.HeldUp, f.Busy, f.Called, f.Ready = 10, 4, 6, 6, 0 }, "each one that can go on has its call"},
		{Partitions, func(f *Facts) { f.Lagging, f.Busy, f.Called, f.Ready = 10, 7, 10, 0 }, "each one that can go on has its call"},
		{Partitions, func(f *Facts) {
			f.Partitions, f.Lagging, f.Pollers, f.MostPollers, f.SetPollers, f.Slots, f.Busy, f.Called, f.Ready = 5, 5, 5, 5, 200, 5, 4, 4, 1
		}, "each one that can go on has its call"},
		{Hanging, func(f *Facts) { f.Lagging, f.Busy, f.Called, f.Ready, f.LongestCall = 3, 3, 3, 0, 5*time.Minute }, "a call has been running for 5m0s, where one takes 104ms."},
		{Hanging, func(f *Facts) { f.Lagging, f.Busy, f.Called, f.CallTime, f.LongestCall = 10, 10, 10, 0, 5*time.Minute }, "a call has been running for 5m0s. Find out"},
		{Hanging, func(f *Facts) {
			f.Busy, f.Called, f.Ready, f.LargestLag, f.LongestCall = 1, 1, 0, 400_000, 5*time.Minute
		}, "a call has been running for 5m0s"},
		{Growing, func(f *Facts) { f.MostPollers = 40 }, "Now all 10 slots are busy, with 2 pollers of 40 at most, and the scaler says: a lag of"},
		{Memory, func(f *Facts) { f.Busy, f.Ready, f.MemoryLimited = 4, 0, true }, "the memory budget, 128 MiB: 6 of 10 slots are idle because of it. Raise WithMemoryBudget"},
		{Memory, func(f *Facts) { f.Busy, f.Ready, f.MemoryLimited, f.Reason.NeededMemory = 4, 0, true, 300<<20 }, "About 300 MiB would do"},
		{ByteRate, func(f *Facts) { f.ByteRate, f.Busy, f.Reason.Cause = 5_000_000, 0, scaling.ByteRate }, "WithPollerByteRate(5000000): 2 pollers move as much as they may. Raise it"},
		{ByteRate, func(f *Facts) {
			f.ByteRate, f.Reason.Cause, f.Reason.NeededByteRate = 5_000_000, scaling.ByteRate, 7_000_000
		}, "7000000 would do"},
		{Destination, func(f *Facts) { f.HeldUp, f.Delivers, f.Worst = 50, true, "orders/3 is held up at offset 17" }, "The limit is the destination"},
		{Retries, func(f *Facts) { f.HeldUp, f.Worst = 50, "orders/3 is held up at offset 17" }, "50 partitions are held up, this one for the longest: orders/3 is held up at offset 17."},
		{OnePartition, func(f *Facts) { f.Busy, f.Ready, f.LargestLag = 1, 0, 400_000 }, "orders/3 has 80 % of the lag and one call at a time, of 104ms, which keeps its order; 9 of 10 slots are idle."},
		{OnePartition, func(f *Facts) { f.Ready, f.LargestLag = 3, 499_950 }, "orders/3 has 99 % of the lag"},
		{OnePartition, func(f *Facts) { f.Slots, f.Busy, f.Ready, f.LargestLag, f.CallTime = 2, 1, 0, 400_000, 0 }, "one call at a time, which keeps its order; 1 of 2 slots is idle."},
		{Windows, func(f *Facts) { f.Busy, f.Ready, f.Reason.Cause = 1, 0, scaling.InFlight }, "in windows that are open"},
		{Brokers, func(f *Facts) { f.Busy, f.Called, f.Ready = 1, 1, 0 }, "what the brokers send: 9 of 10 slots are idle, no batch waits and memory is free; the last fetch took 12ms"},
	} {
		f := busy()
		tt.is(&f)
		if got := f.Limit(); got != tt.limit {
			t.Errorf("it is %d, want %d, of which %q", got, tt.limit, tt.want)
		}
		if got := f.String(); !strings.Contains(got, tt.want) {
			t.Errorf("it says %q, want %q", got, tt.want)
		}
	}
}

// TestProblemsAreNamed, and not all of very many.
func TestProblemsAreNamed(t *testing.T) {
	f := busy()
	f.Problems = []string{"group: away", "commit: refused.", "a", "b", "c"}
	if got := f.String(); !strings.HasSuffix(got, "A problem: group: away. A problem: commit: refused. A problem: a. There are 2 more problems.") {
		t.Errorf("it says %q", got)
	}
}

// TestWhateverTheFactsItIsSentences: no combination makes it panic, divide by zero or stop
// in the middle.
func TestWhateverTheFactsItIsSentences(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	few := func() int { return rng.IntN(4) * rng.IntN(4) }
	seen := map[Limit]bool{}
	for range 100_000 {
		f := Facts{
			Now: time.Unix(1_000_000, 0), Member: rng.IntN(8) > 0, Partitions: few(), Unknown: few(), Lagging: few(), Largest: "orders/3", Lag: int64(few()), LargestLag: int64(few()), Pollers: few(), MostPollers: few(), Slots: few(), Busy: few(),
			MaxConcurrency: few() - 1, Waiting: few(), Ready: few(), BatchSize: few(), RecordsPerCall: float64(few()), ByteRate: few() - 1, ThrottledFor: time.Duration(rng.IntN(3) / 2),
			Called: few(), LongestCall: time.Duration(few()) * time.Minute, CallTime: time.Duration(few()) * time.Second, Delivers: rng.IntN(2) == 0, SetPollers: few(),
			MemoryLimited: rng.IntN(3) == 0, HeldUp: few(), Reason: scaling.Reason{Cause: scaling.Cause(rng.IntN(19)), Limit: scaling.Cause(rng.IntN(19)), Allowed: few()},
		}
		if rng.IntN(8) == 0 {
			f.Phase = "paused"
		}
		got := f.String()
		seen[f.Limit()] = true
		if !strings.HasSuffix(got, ".") || strings.Contains(got, "%!") || strings.Contains(got, "  ") || strings.Contains(got, "..") || strings.Contains(got, ": -") || strings.Contains(got, "s -") {
			t.Fatalf("%+v: %q", f, got)
		}
	}
	if len(seen) != int(Brokers)+1 {
		t.Errorf("only %d limits were seen", len(seen))
	}
}

func TestALagThatGrowsIsSaidOnceInAWhile(t *testing.T) {
	var g Growth
	now := time.Unix(1_000_000, 0)
	settled := int64(0)
	minute := func(lag, handled int64) bool {
		now = now.Add(time.Minute)
		settled += handled
		if !g.Due(now) {
			t.Fatal("a minute is too early")
		}
		return g.Look(now, lag, settled)
	}
	for i, tt := range []struct {
		lag, handled int64
		want         bool
	}{
		{100, 0, false}, {200, 60, false}, {300, 60, false}, {400, 60, true}, // three rises
		{500, 60, false}, {-1, 60, false}, {700, 60, false}, {800, 60, false}, {900, 60, false}, // said, and then unknown for a minute
		{900, 60, false}, {901, 6000, false}, {902, 6000, false}, {903, 6000, false}, // less than ten seconds' worth
	} {
		if got := minute(tt.lag, tt.handled); got != tt.want {
			t.Errorf("minute %d: %v", i, got)
		}
	}
	if g.Due(now.Add(59 * time.Second)) {
		t.Error("due before a minute")
	}
	said := 0
	for i := range int64(60) {
		if minute(10_000+i, 60) {
			said++
		}
	}
	if said != 4 {
		t.Errorf("in an hour it is said %d times", said)
	}
}
