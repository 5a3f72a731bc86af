package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/scalesim"
)

// A row is a trace, and what each policy made of it.
type row struct {
	trace
	call    time.Duration // of a function that has nothing else to do
	least   time.Duration // poller time of anybody at least
	best    time.Duration // to drain, with all pollers from the start
	results []result      // of rivals, in their order
}

type result struct {
	name  string
	run   *scalesim.Result
	score float64 // of this row, 1 for the best
}

// equal is how much worse than the best one is as good as it.
const equal = 1.1

// measure runs all policies on a trace.
func measure(t trace, all []rival) row {
	c := t.config()
	r := row{trace: t, call: c.Function.Call}
	most := c
	most.Settings.Start = 2000
	fixed := scalesim.Run(most, scalesim.Fixed(2000))
	r.best = fixed.Drained
	for _, v := range all {
		r.results = append(r.results, result{name: v.name, run: scalesim.Run(c, v.make())})
	}
	soonest := fixed.Drained // which is not that of all pollers where they harm
	r.least = fixed.WorkTime
	for _, v := range r.results {
		r.least = min(r.least, v.run.WorkTime)
		if v.run.Left == 0 {
			soonest = min(soonest, v.run.Drained)
		}
	}
	r.least = max(r.least, time.Duration(max(1, c.Settings.Min))*max(soonest, c.Trace.Length))
	if rate := c.Settings.ByteRate; rate > 0 {
		bytes := float64(fixed.Settled) * float64(c.Settings.RecordBytes)
		r.least = max(r.least, time.Duration(bytes/float64(rate)*float64(time.Second)))
	}
	r.judge()
	return r
}

// judge scores the row. The score of a policy is how many times worse than the best
// it is, in three things that are multiplied: the time lag p99, where a call and 100
// ms are nothing, the poller time, and the p99 of a call. Who leaves records behind
// has none.
func (r *row) judge() {
	cost := func(v *scalesim.Result) float64 {
		if v.Left > 0 {
			return math.Inf(1)
		}
		lag := max(v.Lag.Quantile(0.99), r.call+100*time.Millisecond)
		return lag.Seconds() * v.PollerTime.Seconds() * v.CallTime.Quantile(0.99).Seconds()
	}
	best := math.Inf(1)
	for i := range r.results {
		best = min(best, cost(r.results[i].run))
	}
	for i := range r.results {
		r.results[i].score = cost(r.results[i].run) / best
	}
}

// first is whether ours is the best of the row, or as good.
func (r *row) first() bool {
	for _, v := range r.results {
		if v.name == ours {
			return v.score <= equal
		}
	}
	return false
}

// unexplained says which rows do not fit their sentences: those where ours is not
// first need one, and others must have none.
func unexplained(rows []row, why map[string]string) (said []string) {
	names := map[string]bool{}
	for i := range rows {
		r := &rows[i]
		names[r.name] = true
		switch _, has := why[r.name]; {
		case !r.first() && !has:
			said = append(said, fmt.Sprintf("in the row %q %s is not first, and no sentence says why", r.name, ours))
		case r.first() && has:
			said = append(said, fmt.Sprintf("in the row %q %s is first, and a sentence says why it is not", r.name, ours))
		}
	}
	for name := range why {
		if !names[name] {
			said = append(said, fmt.Sprintf("a sentence is about %q, which is no row", name))
		}
	}
	return said
}

// markdown is the published page.
func markdown(rows []row, all []rival, why map[string]string) string {
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("\n## Who is compared\n\n")
	for _, v := range all {
		fmt.Fprintf(&b, "- **%s.** %s\n", v.name, v.source)
	}
	fmt.Fprintf(&b, "\n%s\n", sameFormula)

	b.WriteString("\n## All in one\n\nHow many times worse than the best each is: time lag p99, times poller time, times p99 of a call.\n\n|  |")
	for _, v := range all {
		fmt.Fprintf(&b, " %s |", v.name)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" ---: |", len(all)) + "\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| [%s](#%s) |", r.name, anchor(r.name))
		for _, v := range r.results {
			fmt.Fprintf(&b, " %s |", mark(score(v.score), v.score <= equal))
		}
		b.WriteString("\n")
	}
	for i := range rows {
		b.WriteString("\n" + rows[i].markdown(why))
	}
	return b.String()
}

func (r *row) markdown(why map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s With all pollers from the start the last record is settled after %s, and %s of pollers are the least that anybody needs.\n\n", r.name, r.about, span(r.best), span(r.least))
	b.WriteString("|  | last record | time lag p50 | p99 | poller time | over the least | call p99 | steps | turns | peak | overshoot | worse than the best |\n")
	b.WriteString("| --- |" + strings.Repeat(" ---: |", 11) + "\n")
	for _, v := range r.results {
		o := v.run
		last := span(o.Drained)
		if o.Left > 0 {
			last = "never"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %.2f | %s | %d | %d | %d | %d | %s |\n", v.name, last, span(o.Lag.Quantile(0.5)), span(o.Lag.Quantile(0.99)),
			span(o.PollerTime), o.PollerTime.Seconds()/r.least.Seconds(), span(o.CallTime.Quantile(0.99)), len(o.Steps)-1, o.Turns(0, o.Ended+1), o.Peak, o.Overshoot(), mark(score(v.score), v.score <= equal))
	}
	if words := why[r.name]; words != "" {
		fmt.Fprintf(&b, "\nWhy %s is not first: %s\n", ours, words)
	}
	fmt.Fprintf(&b, "\n![%s](%s)\n", r.name, file(r.name))
	return b.String()
}

func mark(s string, first bool) string {
	if first {
		return "**" + s + "**"
	}
	return s
}

func score(x float64) string {
	switch {
	case math.IsInf(x, 0):
		return "-"
	case x < 10:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.0f", x)
}

// span is a time with three digits.
func span(d time.Duration) string {
	switch s := d.Seconds(); {
	case d == 0:
		return "0"
	case s < 0.1:
		return fmt.Sprintf("%.3g ms", s*1000)
	case s < 10:
		return fmt.Sprintf("%.2f s", s)
	case s < 100:
		return fmt.Sprintf("%.1f s", s)
	case s < 6000:
		return fmt.Sprintf("%.0f s", s)
	}
	return fmt.Sprintf("%.1f h", d.Hours())
}

func anchor(name string) string { return strings.ReplaceAll(name, " ", "-") }
func file(name string) string   { return anchor(name) + ".svg" }

const head = `# Scaling, simulated

Each policy decides the number of pollers of the same Mapping, with the same function, for the same records. The Mapping is simulated
(` + "`internal/scalesim`" + `): lanes, batches, the pool of pollers, retries and throttles are those of the engine. All policies have its
steps, which are free: no process starts, and no group rebalances. In their own systems these cost seconds, so this favours them. They start with
one poller of five calls at once, have bounds of 1 to 200, and batches of 100, unless a row says otherwise.

It is made by

    cd bench && go run ./scaling

and the same each time. *Time lag* is how long a record waited from when it came until it was settled. *Over the least* is the poller time
over what the work takes at full speed, and one poller all the time. *Turns* are changes of direction. *Overshoot* is how many of the pollers at the peak were never
busy. A policy is as good as the best of a row where it is at most a tenth worse.
`
