// Package explain says in a paragraph what limits a Mapping right now, and what to change.
package explain

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/scaling"
)

// Facts are what is known of a Mapping at one moment.
type Facts struct {
	Now time.Time
	// Phase is a word for what it does if it does not run, "" if it does, and Because
	// why, if it says.
	Phase, Because string
	// Member is whether it is in its group.
	Member bool
	// Problems are in the words of who has them, the oldest first.
	Problems []string

	Partitions int
	Unknown    int       // of which the lag is not known
	Lagging    int       // of which there is one
	Lag        int64     // of those
	Oldest     time.Time // when the oldest record was made that is not settled, zero if that is not known
	Largest    string    // the partition with the largest lag,
	LargestLag int64     // and that

	Pollers, MostPollers, Slots, Busy int
	SetPollers                        int // what WithMaxPollers says
	MaxConcurrency, SetConcurrency    int // of this process, and what WithMaxConcurrency says; or scaling.Unlimited
	GroupBounds                       bool
	Called                            int           // partitions that are in a call
	LongestCall                       time.Duration // for how long the oldest of these has been running
	Waiting                           int           // of those busy, for a place of the function's own
	Ready                             int           // partitions with a batch that waits for a slot
	BatchSize                         int
	RecordsPerCall                    float64
	CallTime, FetchTime               time.Duration // CallTime is 0 while none has ended
	ByteRate                          int           // of a poller, or scaling.Unlimited

	ThrottledFor  time.Duration
	MemoryLimited bool
	MemoryBudget  int64
	Reason        scaling.Reason

	HeldUp   int    // partitions that wait to try again
	Worst    string // what holds the one up that has waited for longest
	Delivers bool   // whether that waits for its destination, and not for the function
}

// A Limit is what keeps a Mapping from being faster.
type Limit int

// The limits, in no order.
const (
	Nothing Limit = iota
	Stopped
	Group
	Throttle
	Failing
	Places
	Function
	MaxPollers
	MaxConcurrency
	Partitions
	Growing
	Memory
	ByteRate
	Retries
	Destination
	Hanging
	OnePartition
	Windows
	Brokers
)

// Limit is what limits it right now.
func (f *Facts) Limit() Limit {
	switch {
	case f.Phase != "":
		return Stopped
	case !f.Member:
		return Group
	case f.Lag == 0:
		return Nothing
	case f.ThrottledFor > 0 || f.is(scaling.Throttles):
		return Throttle
	case f.is(scaling.Failures):
		return Failing
	case f.Busy > 0 && 2*f.Waiting >= f.Busy:
		return Places
	case f.HeldUp > 0 && f.HeldUp >= f.Lagging:
		if f.Delivers {
			return Destination
		}
		return Retries
	case f.Reason.Cause == scaling.ByteRate:
		return ByteRate
	case f.keepsUp():
		return Nothing
	case f.Slots > 0 && 10*f.Busy >= 9*f.Slots || f.Ready > 0: // a slot is free for a moment only
		return f.busy()
	case f.MemoryLimited:
		return Memory
	case f.Reason.Cause == scaling.InFlight:
		return Windows
	case f.hot():
		return f.orHanging(OnePartition)
	case f.allCalled():
		return f.orHanging(Partitions)
	}
	return Brokers
}

// busy is the limit where all slots are.
func (f *Facts) busy() Limit {
	switch {
	case f.is(scaling.Latency):
		return Function
	case f.MaxConcurrency > 0 && f.Busy >= f.MaxConcurrency:
		return f.orHanging(MaxConcurrency)
	case f.hot():
		return f.orHanging(OnePartition)
	case f.allCalled(), f.Slots >= f.Partitions: // more pollers would have nothing to do
		return f.orHanging(Partitions)
	case f.Pollers >= f.MostPollers:
		return f.orHanging(MaxPollers)
	}
	return Growing
}

// orHanging is a limit, unless calls go on for so much longer than calls take that they are
// it.
func (f *Facts) orHanging(l Limit) Limit {
	if f.LongestCall >= time.Minute && f.LongestCall > 5*f.CallTime {
		return Hanging
	}
	return l
}

func (f *Facts) is(c scaling.Cause) bool {
	return f.Reason.Cause == c || f.Reason.Limit == c && f.Reason.Allowed > 0
}

// keepsUp reports whether what lags is what has just come: no partition has more than
// a batch, and none waits for a slot.
func (f *Facts) keepsUp() bool {
	return f.Ready == 0 && f.Unknown == 0 && f.LargestLag <= int64(f.BatchSize) && f.orHanging(Nothing) == Nothing
}

// allCalled reports whether each partition that lags is in a call, but for those that wait to
// try again.
func (f *Facts) allCalled() bool { return f.Called >= f.Lagging-f.HeldUp }

// hot reports whether one partition has most of the lag, and what the others have is not
// worth a slot.
func (f *Facts) hot() bool {
	rest := f.Lag - f.LargestLag
	return f.Partitions > 1 && (f.Ready == 0 || rest <= int64(f.BatchSize)) && 10*f.LargestLag >= 6*f.Lag && f.LargestLag > int64(f.BatchSize)
}

// String is the paragraph.
func (f *Facts) String() string {
	limit := f.Limit()
	var said []string
	if limit != Group && (limit != Stopped || f.Partitions > 0) {
		said = append(said, f.lag())
	}
	said = append(said, f.words(limit))
	if f.HeldUp > 0 && f.Worst != "" {
		who := ""
		if f.HeldUp > 1 {
			who = fmt.Sprintf("%d partitions are held up, this one for the longest: ", f.HeldUp)
		}
		said = append(said, sentence(who+guard.Cut(f.Worst, 300)))
	}
	const most = 3
	for i, p := range f.Problems {
		if i == most {
			said = append(said, fmt.Sprintf("There are %d more problems.", len(f.Problems)-most))
			break
		}
		said = append(said, sentence("A problem: "+guard.Cut(p, 300)))
	}
	return strings.Join(said, " ")
}

// sentence ends a text with one period.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	s = strings.TrimRight(s, ";:, ")
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, "…") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}

// lag says how much there is to do.
func (f *Facts) lag() string {
	unknown := ""
	if f.Unknown > 0 {
		unknown = fmt.Sprintf(" The lag of %d of %s is unknown.", f.Unknown, count(int64(f.Partitions), "partition"))
	}
	if f.Lag == 0 {
		switch {
		case f.Partitions == 0:
			return "No partition is assigned to this process: the others of its group have them all."
		case f.Unknown > 0:
			return unknown[1:]
		}
		return fmt.Sprintf("Nothing waits in %s.", count(int64(f.Partitions), "partition"))
	}
	s := fmt.Sprintf("A lag of %s in %d of %s", count(f.Lag, "record"), f.Lagging, count(int64(f.Partitions), "partition"))
	if !f.Oldest.IsZero() && f.Unknown == 0 {
		if age := f.Now.Sub(f.Oldest); age > 0 {
			s += ", the oldest " + short(age) + " old"
		}
	}
	return s + "." + unknown
}

// words say what limits it, and what to change.
func (f *Facts) words(l Limit) string {
	switch l {
	case Stopped:
		return sentence("It is "+f.Phase+because(f.Because)+": nothing is invoked") + next[f.Phase]
	case Group:
		return "It is not in its consumer group, so it has no partitions."
	case Throttle:
		s := "The limit is the function: it throttles"
		if f.ThrottledFor > 0 {
			s += ", and nothing is invoked for " + short(f.ThrottledFor)
		}
		return s + ". Give it more concurrency, or set WithMaxConcurrency to what it has."
	case Failing:
		return fmt.Sprintf("The limit is the function: most calls fail (%d of the last %d), and more at once would not help. Fix the function; its last error is in State.LastResult.", f.Reason.Calls, f.Reason.Of)
	case Places:
		return fmt.Sprintf("The limit is the function: %d of %d calls wait for a place of its own (esm.Waiting). Give it more places; more pollers would only wait.", f.Waiting, f.Busy)
	case Function:
		return fmt.Sprintf("The limit is the function: a call takes %s with %d at once and took %s at best, so more calls at once bring nothing. Make it faster, or give what is behind it more capacity.",
			short(f.Reason.CallTime), f.Reason.BusySlots, short(f.Reason.BestTime))
	case MaxPollers:
		s := fmt.Sprintf("The limit is WithMaxPollers(%d): %s busy%s", f.SetPollers, f.all(), f.calls(", a call takes "))
		if f.GroupBounds {
			s += fmt.Sprintf(", and %d pollers are this process's share", f.MostPollers)
		}
		if f.Reason.Wanted > f.Pollers {
			return s + fmt.Sprintf(". %d pollers would do, if the function can take the calls.", f.Reason.Wanted)
		}
		return s + ". Raise it, if the function can take more calls."
	case MaxConcurrency:
		share := ""
		if f.GroupBounds {
			share = fmt.Sprintf(", of which this process has %d", f.MaxConcurrency)
		}
		return fmt.Sprintf("The limit is WithMaxConcurrency(%d)%s: as many calls run%s. Raise it, if the function can take more.", f.SetConcurrency, share, f.calls(", each of "))
	case Partitions:
		return fmt.Sprintf("The limit is one call a partition at a time, which keeps their order: each one that can go on has its call%s. %s", f.calls(", of "), f.larger("more partitions, or a faster function"))
	case Growing:
		return fmt.Sprintf("Now %s busy, with %s of %d at most, and the scaler says: %s.", f.all(), count(int64(f.Pollers), "poller"), f.MostPollers, f.Reason)
	case Memory:
		s := fmt.Sprintf("The limit is the memory budget, %d MiB: %s because of it. ", f.MemoryBudget>>20, f.idle())
		if n := f.Reason.NeededMemory; n > 0 {
			return s + fmt.Sprintf("About %d MiB would do for all of them (WithMemoryBudget).", n>>20)
		}
		return s + "Raise WithMemoryBudget, or send less in a batch."
	case ByteRate:
		s := fmt.Sprintf("The limit is WithPollerByteRate(%d): %s move as much as they may. ", f.ByteRate, count(int64(f.Pollers), "poller"))
		if n := f.Reason.NeededByteRate; n > f.ByteRate {
			return s + fmt.Sprintf("%d would do, or more pollers.", n)
		}
		return s + "Raise it, or have more pollers."
	case Retries:
		return "The limit is the function: in all partitions that lag, what failed waits to be tried again. Fix the function, or give such records up: WithMaxRetries and WithDestination, and WithBisect, which finds the record that fails its batch."
	case Destination:
		return "The limit is the destination: in all partitions that lag, records are given up and it does not take them. Fix it, or set another one (WithDestination)."
	case Hanging:
		return fmt.Sprintf("The limit is the function: a call has been running for %s%s. Find out what it waits for; WithInvokeTimeout ends such calls.", short(f.LongestCall), f.calls(", where one takes "))
	case OnePartition:
		return fmt.Sprintf("The limit is one partition: %s has %d %% of the lag and one call at a time%s, which keeps its order; %s. %s",
			f.Largest, 100*f.LargestLag/f.Lag, f.calls(", of "), f.idle(), f.larger("keys that spread better, or a faster function"))
	case Windows:
		return "Nothing limits it: all of the lag is in calls that run, or waits in windows that are open (WithBatchWindow)."
	case Brokers:
		return fmt.Sprintf("The limit is what the brokers send: %s, no batch waits and memory is free; the last fetch took %s. Look at the network, the brokers and the decompression.",
			f.idle(), short(f.FetchTime))
	}
	if f.Unknown > 0 {
		return "What limits it is unknown, too."
	}
	return fmt.Sprintf("Nothing limits it: %s, %s busy.", count(int64(f.Pollers), "poller"), fmt.Sprintf("%d of %s", f.Busy, count(int64(f.Slots), "slot")))
}

// larger says what helps where each partition has one call at a time.
func (f *Facts) larger(other string) string {
	if f.RecordsPerCall > 0 && f.RecordsPerCall >= 0.9*float64(f.BatchSize) {
		return fmt.Sprintf("Larger batches help (WithBatchSize, %d now), %s.", f.BatchSize, other)
	}
	return "What helps is " + other + "."
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

func count(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// short is a time for people: three digits of it say enough.
func short(d time.Duration) string {
	for unit := time.Duration(1); unit <= time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
	return d.Round(time.Second).String()
}

// all names the slots, with a verb.
func (f *Facts) all() string {
	if f.Busy < f.Slots {
		return fmt.Sprintf("%d of %d slots are", f.Busy, f.Slots)
	}
	if f.Slots == 1 {
		return "its one slot is"
	}
	return fmt.Sprintf("all %d slots are", f.Slots)
}

// idle says how many slots have no call: pollers that leave still have some, so there may
// be more calls than slots.
func (f *Facts) idle() string {
	n, verb := max(0, f.Slots-f.Busy), "are"
	if n == 1 {
		verb = "is"
	}
	return fmt.Sprintf("%d of %s %s idle", n, count(int64(f.Slots), "slot"), verb)
}

// calls says how long a call takes, behind a few words, or nothing while that is not known.
func (f *Facts) calls(before string) string {
	if f.CallTime <= 0 {
		return ""
	}
	return before + short(f.CallTime)
}

// next is what to do about a Mapping that does not run.
var next = map[string]string{
	"new": " Start it.", "paused": " Resume it.", "halted": " Resume it when the cause is gone.",
}
