package esmotel

import (
	"go.opentelemetry.io/otel/metric"

	"github.com/seed429fd032/esm"
)

// A kind says which instrument a number is.
type kind int

const (
	counter kind = iota // counts since Start
	amount              // of the moment, and that of two Mappings is their sum
	level               // of the moment, and a sum makes no sense
)

// A reading is a number of Stats, and how it is told.
type reading struct {
	name, unit, about string
	kind              kind
	// One of them. The bool is whether it is known: what is not is not observed.
	int   func(s *esm.Stats) (int64, bool)
	float func(s *esm.Stats) (float64, bool)
}

// make makes the instrument.
func (r *reading) make(m metric.Meter) (g gauge, err error) {
	g.int, g.float = r.int, r.float
	unit, about := metric.WithUnit(r.unit), metric.WithDescription(r.about)
	switch {
	case r.int != nil && r.kind == counter:
		g.ints, err = m.Int64ObservableCounter(r.name, unit, about)
	case r.int != nil && r.kind == amount:
		g.ints, err = m.Int64ObservableUpDownCounter(r.name, unit, about)
	case r.int != nil:
		g.ints, err = m.Int64ObservableGauge(r.name, unit, about)
	case r.kind == counter:
		g.floats, err = m.Float64ObservableCounter(r.name, unit, about)
	default:
		g.floats, err = m.Float64ObservableGauge(r.name, unit, about)
	}
	return g, err
}

// readings are all of them. A test holds them against the fields of Stats.
func readings() []reading {
	count := func(name, unit, about string, of func(*esm.Stats) int64) reading {
		return reading{name: name, unit: unit, about: about, kind: counter, int: func(s *esm.Stats) (int64, bool) { return of(s), true }}
	}
	now := func(name, unit, about string, of func(*esm.Stats) int) reading {
		return reading{name: name, unit: unit, about: about, kind: amount, int: func(s *esm.Stats) (int64, bool) { return int64(of(s)), true }}
	}
	some := func(name, unit, about string, k kind, of func(*esm.Stats) (int64, bool)) reading {
		return reading{name: name, unit: unit, about: about, kind: k, int: of}
	}
	real := func(name, unit, about string, k kind, of func(*esm.Stats) (float64, bool)) reading {
		return reading{name: name, unit: unit, about: about, kind: k, float: of}
	}
	return []reading{
		count("esm.events.polled", "{event}", "Records that were read.", func(s *esm.Stats) int64 { return s.PolledEventCount }),
		count("esm.events.invoked", "{event}", "Records that were handed to the function. Retries count again.", func(s *esm.Stats) int64 { return s.InvokedEventCount }),
		count("esm.events.failed", "{event}", "Records in invocations that failed.", func(s *esm.Stats) int64 { return s.FailedInvokeEventCount }),
		count("esm.events.delivered", "{event}", "Records that were given up and taken by the destination.", func(s *esm.Stats) int64 {
			return s.OnFailureDestinationDeliveredEventCount
		}),
		count("esm.events.dropped", "{event}", "Records that were given up and thrown away.", func(s *esm.Stats) int64 { return s.DroppedEventCount }),
		count("esm.events.committed", "{event}", "How far the committed offsets moved.", func(s *esm.Stats) int64 { return s.CommittedEventCount }),
		count("esm.events.settled", "{event}", "Records that are done with.", func(s *esm.Stats) int64 { return s.SettledEventCount }),
		count("esm.events.evicted", "{event}", "Records that were given back unhandled to make room in memory.", func(s *esm.Stats) int64 { return s.EvictedEventCount }),
		count("esm.events.reread", "{event}", "Records that were read again because the function changed them.", func(s *esm.Stats) int64 { return s.RereadEventCount }),
		count("esm.events.lost", "{event}", "Offsets that retention took before they were read.", func(s *esm.Stats) int64 { return s.LostEventCount }),
		count("esm.delivery.failures", "{delivery}", "Deliveries that the destination did not take.", func(s *esm.Stats) int64 { return s.DeliveryFailureCount }),
		count("esm.invoke.calls", "{call}", "Invocations.", func(s *esm.Stats) int64 { return s.InvokeCount }),
		count("esm.invoke.errors", "{call}", "Invocations that failed.", func(s *esm.Stats) int64 { return s.InvokeErrorCount }),
		count("esm.invoke.throttles", "{call}", "Invocations that were throttled.", func(s *esm.Stats) int64 { return s.ThrottleCount }),
		count("esm.invoke.abandoned", "{call}", "Invocations that the engine cut short.", func(s *esm.Stats) int64 { return s.AbandonedCount }),
		count("esm.partition.retries", "{retry}", "How often a partition went into back-off.", func(s *esm.Stats) int64 { return s.RetryCount }),
		count("esm.partition.resets", "{reset}", "How often the position of a partition moved backward.", func(s *esm.Stats) int64 { return s.ResetCount }),
		count("esm.commit.errors", "{commit}", "Commits that failed.", func(s *esm.Stats) int64 { return s.CommitErrorCount }),
		count("esm.poll.errors", "{poll}", "Polls that brought an error, and fetches that got no answer.", func(s *esm.Stats) int64 { return s.PollingErrorCount }),
		count("esm.rebalances", "{rebalance}", "Rebalances after the first assignment.", func(s *esm.Stats) int64 { return s.RebalanceCount }),
		count("esm.bytes.polled", "By", "Keys, values and headers that were read.", func(s *esm.Stats) int64 { return s.PolledByteCount }),
		count("esm.bytes.fetched", "By", "Fetch responses that were read.", func(s *esm.Stats) int64 { return s.FetchedByteCount }),
		real("esm.poller.time", "s", "Time of pollers: two for an hour are two hours.", counter, func(s *esm.Stats) (float64, bool) { return s.PollerSecondsTotal, true }),
		real("esm.poller_unit.time", "s", "Time of event poller units, which AWS bills.", counter, func(s *esm.Stats) (float64, bool) { return s.EventPollerUnitSecondsTotal, true }),

		now("esm.pollers", "{poller}", "Pollers.", func(s *esm.Stats) int { return s.ProvisionedPollers }),
		now("esm.poller.active", "{poller}", "Pollers that had an invocation in the last five minutes.", func(s *esm.Stats) int { return s.ActivePollers }),
		now("esm.poller.min", "{poller}", "The lower bound on the pollers of this process.", func(s *esm.Stats) int { return s.MinPollers }),
		now("esm.poller.max", "{poller}", "The upper bound on the pollers of this process.", func(s *esm.Stats) int { return s.MaxPollers }),
		now("esm.poller_units", "{unit}", "Event poller units, as AWS counts them.", func(s *esm.Stats) int { return s.EventPollerUnits }),
		now("esm.partitions", "{partition}", "Partitions that are assigned to this process.", func(s *esm.Stats) int { return s.Partitions }),
		now("esm.partition.ready", "{partition}", "Partitions with a batch that waits for a slot.", func(s *esm.Stats) int { return s.ReadyPartitions }),
		now("esm.partition.waiting", "{partition}", "Partitions in back-off.", func(s *esm.Stats) int { return s.WaitingPartitions }),
		now("esm.slots", "{slot}", "Invocations that the pollers can have at once.", func(s *esm.Stats) int { return s.Slots }),
		now("esm.slot.busy", "{slot}", "Invocations that the pollers have.", func(s *esm.Stats) int { return s.BusySlots }),
		now("esm.slot.waiting", "{slot}", "Invocations that wait for a place of the function's own.", func(s *esm.Stats) int { return s.WaitingSlots }),
		now("esm.slot.slow", "{slot}", "Calls that have been running for more than a minute.", func(s *esm.Stats) int { return s.SlowSlots }),
		now("esm.slot.stuck", "{slot}", "Calls that go on although their context ended.", func(s *esm.Stats) int { return s.StuckSlots }),
		some("esm.invoke.max_concurrency", "{call}", "The bound on invocations at once of this process; absent without one.", amount, func(s *esm.Stats) (int64, bool) {
			return int64(s.MaxConcurrency), s.MaxConcurrency != esm.Unlimited
		}),
		some("esm.memory.held", "By", "What the Mapping holds in memory.", amount, func(s *esm.Stats) (int64, bool) { return s.HeldBytes, true }),
		some("esm.memory.budget", "By", "What it may hold.", amount, func(s *esm.Stats) (int64, bool) { return s.MemoryBudget, true }),
		some("esm.memory.limited", "{mapping}", "1 while memory keeps it from polling, else 0.", amount, func(s *esm.Stats) (int64, bool) { return bit(s.MemoryLimited), true }),

		some("esm.lag.events", "{event}", "Records that are not settled, of all partitions; absent while the lag of one is unknown.", amount, func(s *esm.Stats) (int64, bool) { return s.OffsetLag.Sum() }),
		some("esm.lag.max", "{event}", "Records that are not settled, of the partition that has most; absent while the lag of one is unknown.", level, func(s *esm.Stats) (int64, bool) {
			return s.OffsetLag.Max()
		}),
		some("esm.lag.unknown", "{partition}", "Partitions whose lag is unknown.", amount, func(s *esm.Stats) (int64, bool) { return int64(s.OffsetLag.Unknown()), true }),
		real("esm.time_lag.max", "s", "The age of the oldest record that is not settled; absent while that of a partition is unknown.", level, func(s *esm.Stats) (float64, bool) {
			age, known := s.TimeLag.Max()
			return age.Seconds(), known
		}),
		some("esm.time_lag.unknown", "{partition}", "Partitions whose time lag is unknown.", amount, func(s *esm.Stats) (int64, bool) { return int64(s.TimeLag.Unknown()), true }),

		real("esm.throttle.remaining", "s", "For how long nothing is invoked yet, because the function asked for it.", level, func(s *esm.Stats) (float64, bool) {
			if s.ThrottledUntil.IsZero() {
				return 0, true
			}
			return seconds(max(0, s.ThrottledUntil.Sub(s.At)))
		}),
		real("esm.invoke.average_duration", "s", "How long an invocation takes, averaged over the last ones; absent before the first.", level, func(s *esm.Stats) (float64, bool) {
			return s.InvokeDuration.Seconds(), s.InvokeDuration > 0
		}),
		real("esm.invoke.average_events", "{event}", "Records that an invocation carries, averaged over five minutes; absent if there was none.", level, func(s *esm.Stats) (float64, bool) {
			return s.RecordsPerCall, s.RecordsPerCall > 0
		}),
		real("esm.commit.last_duration", "s", "How long the last commit took; absent before the first.", level, func(s *esm.Stats) (float64, bool) {
			return s.CommitDuration.Seconds(), s.CommitDuration > 0
		}),
		real("esm.fetch.last_duration", "s", "How long the last fetch took, with the wait for records; absent before the first.", level, func(s *esm.Stats) (float64, bool) {
			return s.FetchDuration.Seconds(), s.FetchDuration > 0
		}),
	}
}
