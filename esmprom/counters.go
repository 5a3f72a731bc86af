package esmprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed429fd032/esm"
)

// A counter is a metric that only grows.
type counter struct {
	desc *prometheus.Desc
	of   func(*esm.Stats) float64
}

// description describes a metric of a Mapping.
func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("esm_"+name, help, append([]string{"mapping"}, labels...), nil)
}

func counts(name, help string, of func(*esm.Stats) int64) counter {
	return counter{description(name+"_total", help), func(s *esm.Stats) float64 { return float64(of(s)) }}
}

func seconds(name, help string, of func(*esm.Stats) float64) counter {
	return counter{description(name+"_seconds_total", help), of}
}

var counters = [...]counter{
	counts("events_polled", "Records that were read.", func(s *esm.Stats) int64 { return s.PolledEventCount }),
	counts("events_invoked", "Records that were handed to the function. Retries count again.", func(s *esm.Stats) int64 { return s.InvokedEventCount }),
	counts("events_failed", "Records that were in an invocation that failed. Retries count again.", func(s *esm.Stats) int64 { return s.FailedInvokeEventCount }),
	counts("events_settled", "Records that are done with.", func(s *esm.Stats) int64 { return s.SettledEventCount }),
	counts("events_committed", "How far the committed offsets moved, summed over the partitions.", func(s *esm.Stats) int64 { return s.CommittedEventCount }),
	counts("events_delivered", "Records that were given up and that the destination took.", func(s *esm.Stats) int64 { return s.OnFailureDestinationDeliveredEventCount }),
	counts("events_dropped", "Records that were given up and thrown away.", func(s *esm.Stats) int64 { return s.DroppedEventCount }),
	counts("events_lost", "Offsets that retention took before they were read.", func(s *esm.Stats) int64 { return s.LostEventCount }),
	counts("events_evicted", "Records that were given back unhandled to make room. They are read again.", func(s *esm.Stats) int64 { return s.EvictedEventCount }),
	counts("events_reread", "Records that were read again because the function had changed them.", func(s *esm.Stats) int64 { return s.RereadEventCount }),
	counts("invoke_calls", "Invocations of the function.", func(s *esm.Stats) int64 { return s.InvokeCount }),
	counts("invoke_errors", "Invocations that failed.", func(s *esm.Stats) int64 { return s.InvokeErrorCount }),
	counts("invoke_throttles", "Invocations that were throttled.", func(s *esm.Stats) int64 { return s.ThrottleCount }),
	counts("invoke_abandoned", "Invocations that were cut short by a stop, a rebalance or a lost session.", func(s *esm.Stats) int64 { return s.AbandonedCount }),
	counts("retries", "How often a partition began to wait before its batch is tried again.", func(s *esm.Stats) int64 { return s.RetryCount }),
	counts("delivery_failures", "How often the destination did not take a record.", func(s *esm.Stats) int64 { return s.DeliveryFailureCount }),
	counts("commit_errors", "Commits that failed.", func(s *esm.Stats) int64 { return s.CommitErrorCount }),
	counts("polling_errors", "Polls that brought an error, and fetches that got no answer.", func(s *esm.Stats) int64 { return s.PollingErrorCount }),
	counts("rebalances", "Rebalances of the group after the first assignment.", func(s *esm.Stats) int64 { return s.RebalanceCount }),
	counts("position_resets", "How often the position of a partition moved backward.", func(s *esm.Stats) int64 { return s.ResetCount }),
	counts("polled_bytes", "Size of the keys, values and headers that were read.", func(s *esm.Stats) int64 { return s.PolledByteCount }),
	counts("fetched_bytes", "Size of the fetch responses.", func(s *esm.Stats) int64 { return s.FetchedByteCount }),
	seconds("poller_time", "Time of pollers: two for an hour are two hours.", func(s *esm.Stats) float64 { return s.PollerSecondsTotal }),
	seconds("event_poller_unit_time", "Time of event poller units, which AWS bills by the hour.", func(s *esm.Stats) float64 { return s.EventPollerUnitSecondsTotal }),
}

var durations = description("invoke_duration_seconds", "How long invocations took that reached the function.")

// bounds are those of the histogram, in seconds.
var bounds = func() (all []float64) {
	for _, b := range esm.HistogramBounds() {
		all = append(all, b.Seconds())
	}
	return all
}()

// A tally is what was counted under one label.
//
// # The invariant
//
// No number of it ever falls. A Mapping begins at 0, another one of the same name too, and so
// does the same one whose Start failed and is called again. So what is added is what each one
// counted since it was looked at last, and a number that has fallen is one that began again.
type tally struct {
	counts [len(counters)]total
	took   [len(esm.Histogram{}.Counts)]total
	sum    total
}

// A total is one number of a tally.
type total struct {
	all  float64
	last float64 // what the Mapping had counted when it was looked at last
}

func (t *total) count(now float64) {
	grown := now - t.last
	if grown < 0 {
		grown = max(0, now)
	}
	t.all += grown
	t.last = now
}

// count adds what a Mapping has counted since it was looked at last.
func (t *tally) count(s *esm.Stats) {
	for i := range counters {
		t.counts[i].count(counters[i].of(s))
	}
	for i, n := range s.InvokeDurations.Counts {
		t.took[i].count(float64(n))
	}
	t.sum.count(s.InvokeDurations.Seconds)
}

// another makes the next Mapping that is looked at another one than the last.
func (t *tally) another() {
	for i := range t.counts {
		t.counts[i].last = 0
	}
	for i := range t.took {
		t.took[i].last = 0
	}
	t.sum.last = 0
}

// show adds the samples of a tally.
func (t *tally) show(to *sheet) {
	for i, c := range counters {
		to.add(c.desc, prometheus.CounterValue, t.counts[i].all)
	}
	below := map[float64]uint64{}
	n := uint64(0)
	for i := range t.took {
		n += uint64(t.took[i].all)
		if i < len(bounds) {
			below[bounds[i]] = n
		}
	}
	h, err := prometheus.NewConstHistogram(durations, n, t.sum.all, below, to.label)
	to.keep(h, err)
}
