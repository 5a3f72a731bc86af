// Package scalesim simulates a Mapping and its function, to see what a policy that
// decides the number of pollers does to them. It has no clock and no goroutine, and
// the same seed gives the same run.
//
// It is as the engine is in what a policy can notice: lanes with one batch in flight
// each, a lane with a full batch alone and thin ones combined, one ready queue, the
// pool of pollers and the pace of calls (which are the engine's own), back-offs,
// throttles, the numbers of a [scaling.Sample], and when the policy is asked. Records
// are counts here, there are no batch windows, and fetches take no time and no memory.
package scalesim

import (
	"time"

	"github.com/seed429fd032/esm/scaling"
)

// A Config is what is simulated. Times are since the start.
type Config struct {
	Trace    Trace
	Function Function
	Settings Settings

	Unknown []Span        // when the ends of all partitions are not to be had
	Away    []Away        // partitions that others have
	Seed    uint64        // of all chance
	Until   time.Duration // the run ends then at the latest; 0 for two hours after the trace
	Every   time.Duration // between two points of the series; 0 for a second

	// Measure is when records must be settled and calls must end to be in the times
	// of the result; the zero Span for the whole run.
	Measure Span

	// Watch gets each sample and what the policy answered. The Lanes are only
	// valid until it returns.
	Watch func(scaling.Sample, Answer)
}

// Settings are those of the Mapping that matter here.
type Settings struct {
	Min, Max       int // pollers
	Concurrency    int // calls at once of one poller; 0 for 5
	MaxConcurrency int // calls at once; 0 for any number
	ByteRate       int // bytes a second of one poller; 0 for any number
	Batch          int // records; 0 for 100
	RecordBytes    int
	Start          int // pollers in the beginning, if that is more than Min
	OnDemand       bool
}

// A Trace is which records come when.
type Trace struct {
	Partitions int
	// Rate is how many records a second come into a partition in a second of the
	// trace. It is asked once for each, in order. nil for none.
	Rate func(partition, second int) float64
	// Bursts are records that come at once.
	Bursts []Burst
	// Length is how long records come.
	Length time.Duration
}

// A Burst is records that come at once.
type Burst struct {
	At        time.Duration
	Partition int
	Records   int64
}

// Backlog is bursts in the beginning, the same in each partition, but for what is
// left over.
func Backlog(partitions int, records int64) []Burst { return BurstAt(0, partitions, records) }

// BurstAt spreads a burst over all partitions.
func BurstAt(at time.Duration, partitions int, records int64) []Burst {
	var all []Burst
	for p := range partitions {
		n := records / int64(partitions)
		if int64(p) < records%int64(partitions) {
			n++
		}
		if n > 0 {
			all = append(all, Burst{at, p, n})
		}
	}
	return all
}

// A Span is a time: from its beginning, before its end.
type Span struct{ From, To time.Duration }

func (s Span) has(t time.Duration) bool { return t >= s.From && t < s.To }

func within(spans []Span, t time.Duration) bool {
	for _, s := range spans {
		if s.has(t) {
			return true
		}
	}
	return false
}

// Away is a time in which another member of the group has partitions.
type Away struct {
	Span
	Partitions []int
	// Handled is whether that member handles what comes meanwhile. Where it does
	// not, it all comes back as a backlog.
	Handled bool
	// Left is how many records it leaves of each partition, of those that came by the
	// end, where it handles them.
	Left int64
}

// A Policy decides how many pollers there are.
type Policy interface {
	// Decide is asked when the engine would ask its scaler. The Lanes of the
	// sample are only valid until it returns.
	Decide(scaling.Sample) Answer
}

// An Answer is a number of pollers, which the bounds still limit.
type Answer struct {
	Pollers int
	Again   time.Duration  // when it wants to be asked again at the latest; 0 for a second
	Why     scaling.Reason // of a Scaler
}

// PolicyFunc is a Policy.
type PolicyFunc func(scaling.Sample) Answer

// Decide calls it.
func (f PolicyFunc) Decide(s scaling.Sample) Answer { return f(s) }

// Fixed is always the same number.
func Fixed(n int) Policy {
	return PolicyFunc(func(scaling.Sample) Answer { return Answer{Pollers: n} })
}

// Scaler is the policy of this library.
func Scaler(m scaling.Mode) Policy {
	s := scaling.New(m)
	return PolicyFunc(func(in scaling.Sample) Answer {
		d := s.Decide(in)
		return Answer{d.To, d.Again, d.Reason}
	})
}
