package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var titles = map[string]string{
	"A": "A. Drain a backlog",
	"B": "B. What it costs",
	"C": "C. One hot partition",
	"D": "D. A poison record in each partition",
	"E": "E. A member that comes and goes",
	"F": "F. A trickle",
	"G": "G. The first seconds, 8 partitions",
	"H": "H. The first seconds, 20 partitions",
	"J": "J. One record at a time",
	"K": "K. Hot partitions, several brokers",
	"I": "Nothing to do",
}

// about says what the run is.
func (s *section) about() string {
	sh := s.shape
	what := fmt.Sprintf("%s records of %s bytes in %s partitions, batches of %d", number(float64(sh.Records), 0), number(float64(sh.Size), 0), number(float64(sh.Partitions), 0), sh.Batch)
	if sh.Stored > 0 {
		what += fmt.Sprintf(" from record batches of %s in Kafka", number(float64(sh.Stored), 0))
	}
	function := fmt.Sprintf("a function of %s a call", sh.Function)
	limit := fmt.Sprintf("Cut at %s.", sh.Limit)
	switch s.run {
	case "A":
		return fmt.Sprintf("%s, %s. One call of a partition after the other takes %s s: the floor for what keeps the order. %s", what, function, number(s.floor(), 1), limit)
	case "B":
		return fmt.Sprintf("%s, a function that returns at once. *bare* is a loop over the client's PollFetches. "+
			"The clock starts at the first call, when who fetches much at once has much already; *with the start* it starts with the program, before it joins its group. %s", what, limit)
	case "C":
		return fmt.Sprintf("%s, of which one has a fifth; %s. The floor of that partition is %s s for what keeps the order. %s", what, function, number(s.floor(), 1), limit)
	case "D":
		return fmt.Sprintf("%s, %s, which fails for ever if the poison record is in it. After %s: how many good records were handled, how many partitions stand still, "+
			"how many good records the committed offset passed without their having been handled.", what, function, sh.Limit)
	case "E":
		return fmt.Sprintf("%s, %s, for %s. A second process of the contender comes at a quarter of that and at three, and goes at half, gracefully. "+
			"One member alone, undisturbed, does %s records/s. The pause is the longest in which nobody handled a record of some partition. "+
			"Its parts, of who tells: until the one process has let it go, until the other has it, and until its first call has ended.",
			what, function, sh.Limit, number(float64(sh.Partitions*sh.Batch)/sh.Function.Seconds(), 0))
	case "F":
		return fmt.Sprintf("A record of %s bytes every %s to %d partitions in turn, for %s; no batch window, a function that returns at once. "+
			"From before it is produced to the function. The bare loop reads the same topic at the same time: *added* is the difference of the pair.",
			number(float64(sh.Size), 0), tricklePer, sh.Partitions, sh.Limit)
	case "G", "H":
		return fmt.Sprintf("%s, a function that returns at once, from the first assignment on; no batch window. A pair is a contender and the bare loop of the same round. %s", what, limit)
	case "J":
		return fmt.Sprintf("%s records of %s bytes, one after the other to %d partitions in turn: each is sent when the one before was handled. No batch window, a function that returns at once. "+
			"From before it is produced to the function. The bare loop gets as many, on a topic of its own, in turn with the contender: *added* is the difference of the pair.",
			number(float64(sh.Records), 0), number(float64(sh.Size), 0), sh.Partitions)
	}
	if s.run == "K" {
		return fmt.Sprintf("%s, of which %d have %s records each; %d brokers, %d replicas, %s. One call of a partition after the other takes %s s. "+
			"The wait is the longest in which a partition had records left and no call. %s",
			what, sh.Hots, number(float64(sh.Hot), 0), hotBrokers, sh.Replicas, function, number(s.floor(), 1), limit)
	}
	return fmt.Sprintf("%s, a function of %s, as many pollers as there may be. When all is handled: 30 s with nothing to do.", what, sh.Function)
}

// floor is how long the calls of the largest partition take, one after the
// other.
func (s *section) floor() float64 {
	records := max(s.shape.Hot, s.shape.Records/int64(s.shape.Partitions))
	return float64(records) / float64(s.shape.Batch) * s.shape.Function.Seconds()
}

// A column is one number of the results of a group.
type column struct {
	head string
	cell func(*group) string
}

func of(head string, digits int, value func(*result) float64) column {
	return column{head, func(g *group) string { return g.of(value).format(digits) }}
}

// most is a column of what should be 0: the most of all rounds.
func most(head string, value func(*result) float64) column {
	return column{head, func(g *group) string { return number(g.of(value).max, 0) }}
}

var (
	rate      = of("records/s", 0, (*result).rate)
	cpu       = of("CPU s per million", 2, (*result).cpu)
	memory    = of("peak RSS, MiB", 0, func(r *result) float64 { return float64(r.PeakRSS) / (1 << 20) })
	calls     = of("calls", 0, func(r *result) float64 { return float64(r.Calls) })
	twice     = most("twice", func(r *result) float64 { return float64(r.Duplicates) })
	late      = most("out of order", func(r *result) float64 { return float64(r.OutOfOrder) })
	firstCall = of("first call after, s", 1, func(r *result) float64 { return r.WaitSeconds })
	rounds    = column{"rounds", func(g *group) string { return strconv.Itoa(len(g.results)) }}
	kind      = column{"what it does", func(g *group) string { return g.is }}
	seconds   = column{"seconds", func(g *group) string {
		if g.cut() {
			return fmt.Sprintf("> %.0f", g.median(func(r *result) float64 { return r.Seconds }))
		}
		return g.of(func(r *result) float64 { return r.Seconds }).format(2)
	}}
)

// columnsOf are the columns of a run.
func columnsOf(s *section) []column {
	switch s.run {
	case "A":
		return []column{kind, seconds, rate, cpu, memory, calls, twice, late, firstCall, rounds}
	case "B":
		return []column{kind, cpu, s.overBare("CPU over bare", (*result).cpu), rate, s.overBare("speed over bare", (*result).rate), s.overBare("the same, with the start", (*result).wholeRate), memory, twice, late, rounds}
	case "C":
		return []column{kind, seconds, {"all others after, s", func(g *group) string {
			if slices.ContainsFunc(g.results, func(r *result) bool { return r.Others != nil && !r.Others.Done }) {
				return "not at the cut"
			}
			return g.of(othersSeconds).format(2)
		}}, rate, memory, twice, late, rounds}
	case "D":
		d := func(value func(*poison) float64) func(*result) float64 {
			return func(r *result) float64 { return value(r.Poison) }
		}
		return []column{kind,
			of("good records handled", 0, d(func(p *poison) float64 { return float64(p.Good) })),
			of("of", 0, d(func(p *poison) float64 { return float64(p.Of) })),
			of("the last after, s", 1, d(func(p *poison) float64 { return p.LastSeconds })),
			of("partitions that stand still", 0, still), of("good records passed over", 0, passed),
			of("given up", 0, func(r *result) float64 { return float64(r.GivenUp) }),
			calls, twice, late, rounds}
	case "K":
		return []column{kind, seconds, of("longest wait, s", 2, func(r *result) float64 { return r.WaitedSeconds }), rate, cpu, memory,
			{"read over stored", func(g *group) string {
				read := g.of(func(r *result) float64 { return r.Extra["read_over_stored"] })
				if read.max == 0 {
					return "" // it does not say
				}
				return read.format(3)
			}}, twice, late, rounds}
	case "E":
		return []column{kind, rate, of("longest pause, s", 2, pause), {"of it, s: let go, handed over, begun", func(g *group) string {
			var letGo, handed, begun []float64
			for _, r := range g.results {
				if p := r.Churn.Parts; p != nil {
					letGo, handed, begun = append(letGo, p.LetGo), append(handed, p.Handed), append(begun, p.Begun)
				}
			}
			if letGo == nil {
				return "" // it does not say
			}
			return fmt.Sprintf("%s, %s, %s", number(spreadOf(letGo).median, 2), number(spreadOf(handed).median, 2), number(spreadOf(begun).median, 2))
		}}, {"of what stayed, s", func(g *group) string {
			if !slices.ContainsFunc(g.results, func(r *result) bool { return r.Churn.Parts != nil || r.Churn.StayedSeconds > 0 }) {
				return "" // it does not say what moved
			}
			return g.of(func(r *result) float64 { return r.Churn.StayedSeconds }).format(2)
		}}, twice, late, cpu, memory, rounds}
	case "G", "H":
		return []column{kind, of("seconds", 3, assignedSeconds), s.overBare("time over bare, of pairs", assignedSeconds), cpu, memory, calls, twice, late, rounds}
	case "F", "J":
		return []column{kind,
			of("p50, ms", 2, func(r *result) float64 { return r.Latency.P50 }), of("p99, ms", 2, func(r *result) float64 { return r.Latency.P99 }),
			of("most, ms", 1, func(r *result) float64 { return r.Latency.Max }),
			of("bare p50, ms", 2, func(r *result) float64 { return r.Pair.Latency.P50 }), of("bare p99, ms", 2, func(r *result) float64 { return r.Pair.Latency.P99 }),
			of("added p50, ms", 2, addedP50), of("added p99, ms", 2, func(r *result) float64 { return r.Latency.P99 - r.Pair.Latency.P99 }),
			twice, late, rounds}
	}
	extra := func(head, name string, digits int, factor float64) column {
		return of(head, digits, func(r *result) float64 { return factor * r.Extra[name] })
	}
	return []column{extra("pollers", "pollers", 0, 1), memory, extra("% of a processor, idle", "idle_cpu", 1, 100), extra("goroutines, idle", "goroutines", 0, 1), rounds}
}

func assignedSeconds(r *result) float64 { return r.AssignedSeconds }
func othersSeconds(r *result) float64   { return r.Others.Seconds }
func still(r *result) float64           { return float64(r.Poison.Still) }
func passed(r *result) float64          { return float64(r.Poison.Passed) }
func pause(r *result) float64           { return r.Churn.PauseSeconds }
func addedP50(r *result) float64        { return r.Latency.P50 - r.Pair.Latency.P50 }

// overBare is a column of ratios to the bare loop of the same round.
func (s *section) overBare(head string, value func(*result) float64) column {
	return column{head, func(g *group) string { return s.ratios(g, value).format(3) }}
}

// ratios are those of a contender's results to the bare loop's of the same
// round of the same sitting.
func (s *section) ratios(g *group, value func(*result) float64) spread {
	var ratios []float64
	for _, r := range g.results {
		for i := range s.all {
			o := &s.all[i]
			if o.Who == bare.name && o.Run == r.Run && o.Shape == r.Shape && o.Sitting == r.Sitting && o.Round == r.Round && o.Err == "" && value(o) > 0 {
				ratios = append(ratios, value(r)/value(o))
			}
		}
	}
	return spreadOf(ratios)
}

// ranked are the contenders of the section that finished, best first.
func (s *section) ranked(value func(*result) float64, leave func(*group) bool) (gs []*group) {
	for _, g := range s.groups {
		if len(g.results) > 0 && !leave(g) {
			gs = append(gs, g)
		}
	}
	slices.SortStableFunc(gs, func(a, b *group) int {
		switch x, y := a.median(value), b.median(value); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return gs
}

// list names contenders with a number of each.
func list(gs []*group, digits int, unit string, value func(*result) float64) string {
	var said []string
	for _, g := range gs {
		said = append(said, fmt.Sprintf("%s %s%s", g.name, number(g.median(value), digits), unit))
	}
	if len(said) == 0 {
		return "nobody"
	}
	return strings.Join(said, ", ")
}

// names names contenders.
func names(gs []*group, which func(*group) bool) string {
	var said []string
	for _, g := range gs {
		if len(g.results) > 0 && which(g) {
			said = append(said, g.name)
		}
	}
	if len(said) == 0 {
		return "nobody"
	}
	return strings.Join(said, ", ")
}

// says is what the table of a run says, in a sentence or two.
func (s *section) says() string {
	all := func(*group) bool { return false }
	secs := func(r *result) float64 { return r.Seconds }
	switch s.run {
	case "A", "K":
		return fmt.Sprintf("Fastest first: %s. Not done at the cut: %s.", list(s.ranked(secs, (*group).cut), 2, " s", secs), names(s.groups, (*group).cut))
	case "B":
		return fmt.Sprintf("CPU seconds per million, least first: %s.", list(s.ranked((*result).cpu, all), 2, "", (*result).cpu))
	case "C":
		return fmt.Sprintf("The other partitions were done, first first: %s. All was done: %s. Not done at the cut: %s.",
			list(s.ranked(othersSeconds, func(g *group) bool {
				return slices.ContainsFunc(g.results, func(r *result) bool { return !r.Others.Done })
			}), 2, " s", othersSeconds),
			list(s.ranked(secs, (*group).cut), 2, " s", secs), names(s.groups, (*group).cut))
	case "D":
		return fmt.Sprintf("All good records handled: %s. Partitions stood still: %s. Good records passed over: %s.",
			names(s.groups, func(g *group) bool {
				return g.median(func(r *result) float64 { return float64(r.Poison.Of - r.Poison.Good) }) == 0
			}),
			names(s.groups, func(g *group) bool { return g.of(still).max > 0 }), names(s.groups, func(g *group) bool { return g.of(passed).max > 0 }))
	case "E":
		return fmt.Sprintf("Longest pause, shortest first: %s. Nothing twice: %s. Records/s: %s.",
			list(s.ranked(pause, all), 2, " s", pause),
			names(s.groups, func(g *group) bool { return g.of(func(r *result) float64 { return float64(r.Duplicates) }).max == 0 }),
			list(s.ranked(func(r *result) float64 { return -r.rate() }, all), 0, "", (*result).rate))
	case "G", "H":
		return fmt.Sprintf("Seconds, least first: %s.", list(s.ranked(assignedSeconds, all), 3, " s", assignedSeconds))
	case "F", "J":
		return fmt.Sprintf("Added to the bare loop's median, least first: %s.", list(s.ranked(addedP50, all), 2, " ms", addedP50))
	}
	return "What a large Mapping costs while it waits."
}
