package esmprom

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed429fd032/esm"
)

// A view is what a Mapping shows of itself at one scrape.
type view struct {
	stats          esm.Stats
	state          esm.State
	ready, healthy bool
	partitions     []esm.PartitionStats
}

// A gauge is a metric of the moment. Its sample is absent if it is not known.
type gauge struct {
	desc *prometheus.Desc
	of   func(*view) (value float64, known bool)
}

func is[N int | int64](name, help string, of func(*esm.Stats) N) gauge {
	return gauge{description(name, help), func(v *view) (float64, bool) { return float64(of(&v.stats)), true }}
}

func truth(name, help string, of func(*view) bool) gauge {
	return gauge{description(name, help), func(v *view) (float64, bool) { return bit(of(v)), true }}
}

// unless is a time that is absent while it is 0.
func unless(name, help string, of func(*esm.Stats) time.Duration) gauge {
	return gauge{description(name, help), func(v *view) (float64, bool) { return of(&v.stats).Seconds(), of(&v.stats) != 0 }}
}

func bit(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// moment is a time as Prometheus has it, which the zero time is not.
func moment(t time.Time) (float64, bool) {
	return float64(t.UnixMilli()) / 1000, !t.IsZero()
}

var gauges = [...]gauge{
	truth("ready", "Whether the Mapping runs and is in its group (Mapping.Ready).", func(v *view) bool { return v.ready }),
	truth("healthy", "Whether the Mapping gets on (Mapping.Healthy).", func(v *view) bool { return v.healthy }),

	is("provisioned_pollers", "Pollers that there are.", func(s *esm.Stats) int { return s.ProvisionedPollers }),
	is("active_pollers", "Pollers that had an invocation in the last five minutes.", func(s *esm.Stats) int { return s.ActivePollers }),
	is("min_pollers", "Lower bound on the pollers of this process.", func(s *esm.Stats) int { return s.MinPollers }),
	is("max_pollers", "Upper bound on the pollers of this process.", func(s *esm.Stats) int { return s.MaxPollers }),
	{description("max_concurrency", "Upper bound on the invocations of this process at once, +Inf if there is none."), func(v *view) (float64, bool) {
		if v.stats.MaxConcurrency == esm.Unlimited {
			return math.Inf(1), true
		}
		return float64(v.stats.MaxConcurrency), true
	}},
	is("event_poller_units", "Event poller units that AWS would bill now.", func(s *esm.Stats) int { return s.EventPollerUnits }),

	is("partitions", "Partitions that are assigned to this process.", func(s *esm.Stats) int { return s.Partitions }),
	is("ready_partitions", "Partitions with a batch that waits for a slot.", func(s *esm.Stats) int { return s.ReadyPartitions }),
	is("waiting_partitions", "Partitions in back-off.", func(s *esm.Stats) int { return s.WaitingPartitions }),
	{description("offset_lag", "Records that are not settled, of all partitions. Absent while that of any is unknown."), func(v *view) (float64, bool) {
		sum, known := v.stats.OffsetLag.Sum()
		return float64(sum), known
	}},
	{description("max_offset_lag", "Records that are not settled, of the partition that has most. Absent while that of any is unknown."), func(v *view) (float64, bool) {
		most, known := v.stats.OffsetLag.Max()
		return float64(most), known
	}},
	is("offset_lag_unknown_partitions", "Partitions whose lag is unknown.", func(s *esm.Stats) int { return s.OffsetLag.Unknown() }),
	{description("time_lag_seconds", "Age of the oldest record that is not settled, 0 if all are. Absent while that of any partition is unknown."), func(v *view) (float64, bool) {
		age, known := v.stats.TimeLag.Max()
		return age.Seconds(), known
	}},
	{description("time_lag_at_least_seconds", "Age of the oldest record that is not settled, of the partitions of which it is known: the time lag is this or more. Absent if it is known of none."), func(v *view) (float64, bool) {
		age, known := v.stats.TimeLag.Max()
		return age.Seconds(), known || age > 0
	}},
	is("time_lag_unknown_partitions", "Partitions whose oldest record that is not settled has an unknown age.", func(s *esm.Stats) int { return s.TimeLag.Unknown() }),

	is("slots", "Invocations that the pollers can have at once.", func(s *esm.Stats) int { return s.Slots }),
	is("busy_slots", "Invocations that run.", func(s *esm.Stats) int { return s.BusySlots }),
	is("waiting_slots", "Invocations that wait for a place of the function's own.", func(s *esm.Stats) int { return s.WaitingSlots }),
	is("slow_slots", "Calls that have been running for more than a minute.", func(s *esm.Stats) int { return s.SlowSlots }),
	is("stuck_slots", "Calls that go on although their context ended.", func(s *esm.Stats) int { return s.StuckSlots }),
	{description("throttled_seconds", "For how much longer nothing is invoked because the function asked for it, 0 if it did not."), func(v *view) (float64, bool) {
		if v.stats.ThrottledUntil.IsZero() {
			return 0, true
		}
		return max(0, v.stats.ThrottledUntil.Sub(v.stats.At).Seconds()), true
	}},
	{description("records_per_call", "Records that an invocation carries, averaged over the last five minutes. Absent if there was none."), func(v *view) (float64, bool) {
		return v.stats.RecordsPerCall, v.stats.RecordsPerCall > 0
	}},
	{description("last_result_timestamp_seconds", "When the last invocation ended. Absent if none has."), func(v *view) (float64, bool) {
		return moment(v.state.LastResultAt)
	}},
	unless("last_commit_duration_seconds", "How long the last commit took. Absent if there was none.", func(s *esm.Stats) time.Duration { return s.CommitDuration }),
	unless("last_fetch_duration_seconds", "How long the last fetch took, in which a broker waits for records. Absent if there was none.", func(s *esm.Stats) time.Duration { return s.FetchDuration }),

	is("held_bytes", "What the Mapping holds in memory.", func(s *esm.Stats) int64 { return s.HeldBytes }),
	is("memory_budget_bytes", "What the Mapping may hold in memory.", func(s *esm.Stats) int64 { return s.MemoryBudget }),
	truth("memory_limited", "Whether the memory budget keeps the Mapping from polling.", func(v *view) bool { return v.stats.MemoryLimited }),
}
