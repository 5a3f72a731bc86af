package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// writeTables makes the document of a results file.
func writeTables(file, out string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	rs, err := readResults(f)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var b bytes.Buffer
	document(&b, rs)
	return os.WriteFile(out, b.Bytes(), 0o644)
}

// A group is the results of one contender in one run.
type group struct {
	contender
	results []*result // those without an error
	errors  []string
}

// of condenses one number of the results.
func (g *group) of(value func(*result) float64) spread {
	var vs []float64
	for _, r := range g.results {
		vs = append(vs, value(r))
	}
	return spreadOf(vs)
}

// median is the median of one number.
func (g *group) median(value func(*result) float64) float64 { return g.of(value).median }

// cut is whether some of the results were cut.
func (g *group) cut() bool {
	return slices.ContainsFunc(g.results, func(r *result) bool { return r.Cut })
}

// A section is one run with one shape on one machine.
type section struct {
	run     string
	shape   shape
	machine string
	groups  []*group
	all     []result
}

// sections sorts results by runs and contenders, in the order of both; what is
// no contender any more comes last.
func sections(rs []result) (ss []*section) {
	groups := map[key]*group{}
	for _, run := range strings.Split(allRuns, "") {
		for i := range rs {
			r := &rs[i]
			if r.Run != run || run == "M" { // which has a table of its own
				continue
			}
			at := slices.IndexFunc(ss, func(s *section) bool { return s.run == run && s.shape == r.Shape && s.machine == r.Machine.String() })
			if at < 0 {
				at = len(ss)
				ss = append(ss, &section{run: run, shape: r.Shape, machine: r.Machine.String(), all: rs})
			}
			k := key{run, r.Shape, r.Machine.String(), r.Who}
			if groups[k] == nil {
				groups[k] = &group{contender: contender{name: r.Who}}
				if i := place(r.Who); i < len(contenders) {
					groups[k].contender = contenders[i]
				}
				ss[at].groups = append(ss[at].groups, groups[k])
			}
			if r.Err != "" {
				groups[k].errors = append(groups[k].errors, r.Err)
				continue
			}
			groups[k].results = append(groups[k].results, r)
		}
	}
	for _, s := range ss {
		slices.SortStableFunc(s.groups, func(a, b *group) int { return place(a.name) - place(b.name) })
	}
	return ss
}

// days is when it was measured.
func (s *section) days() string {
	var first, last time.Time
	for _, g := range s.groups {
		for _, r := range g.results {
			if first.IsZero() || r.At.Before(first) {
				first = r.At
			}
			if r.At.After(last) {
				last = r.At
			}
		}
	}
	if a, b := first.Format(time.DateOnly), last.Format(time.DateOnly); a != b {
		return a + " to " + b
	}
	return last.Format(time.DateOnly)
}

// place is where a contender stands among all.
func place(name string) int {
	if i := slices.IndexFunc(contenders, func(c contender) bool { return c.name == name }); i >= 0 {
		return i
	}
	return len(contenders)
}

// document writes all tables.
func document(w io.Writer, rs []result) {
	fmt.Fprint(w, "# Benchmarks\n\n")
	if len(rs) == 0 {
		fmt.Fprint(w, "There are no results.\n")
		return
	}
	fmt.Fprint(w, `Made by `+"`cd bench && go run .`"+`, which says how. Each contender is a process of its own, in the settings listed at
the end; all read the same records from the same Kafka, and call a function that costs the same: a sleep in the process.
CPU and memory are those of the process, as the system counts them, from its start to its end. *Twice* is how many records
were handled a second time, *out of order* how many after a later one of their partition. Numbers are medians, with the
least and the most of all rounds. What is slower than the cut is not waited for: its rate is given.

`)
	on := ""
	for _, s := range sections(rs) {
		fmt.Fprintf(w, "## %s\n\n%s\n\n", titles[s.run], s.about())
		fmt.Fprintf(w, "Measured %s", s.days())
		if s.machine != on {
			fmt.Fprintf(w, ", on %s", s.machine)
			on = s.machine
		}
		fmt.Fprint(w, ".\n\n")
		columns := columnsOf(s)
		heads, bars := []string{"contender"}, []string{"---"}
		for _, c := range columns {
			bar := "---:"
			if c.head == kind.head {
				bar = "---" // words
			}
			heads, bars = append(heads, c.head), append(bars, bar)
		}
		fmt.Fprintf(w, "| %s |\n| %s |\n", strings.Join(heads, " | "), strings.Join(bars, " | "))
		for _, g := range s.groups {
			cells := []string{g.name}
			for _, c := range columns {
				if len(g.results) == 0 {
					cells = append(cells, "-")
					continue
				}
				cells = append(cells, c.cell(g))
			}
			fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
		}
		fmt.Fprintf(w, "\n%s\n\n", s.says())
		for _, g := range s.groups {
			if len(g.errors) > 0 {
				fmt.Fprintf(w, "%s failed in %d of %d rounds: %s\n\n", g.name, len(g.errors), len(g.errors)+len(g.results), strings.ReplaceAll(g.errors[0], "\n", " "))
			}
		}
	}
	memoryTable(w, rs)
	about(w, rs)
}

// about writes what each contender was, by its last result.
func about(w io.Writer, rs []result) {
	fmt.Fprint(w, "## Contenders\n")
	for _, c := range contenders {
		var versions []string
		var settings []string
		runs := ""
		for i := range rs {
			r := &rs[i]
			if r.Who != c.name || r.Err != "" {
				continue
			}
			if !strings.Contains(runs, r.Run) {
				runs += r.Run
			}
			for name, version := range r.Versions {
				if v := name + " " + version; name != "go" && !slices.Contains(versions, v) {
					versions = append(versions, v)
				}
			}
			for _, s := range r.Settings {
				if !slices.Contains(settings, s) {
					settings = append(settings, s)
				}
			}
		}
		if runs == "" {
			continue
		}
		slices.Sort(versions)
		fmt.Fprintf(w, "\n**%s** (%s): %s\n\n", c.name, c.is, strings.Join(versions, ", "))
		for _, s := range settings {
			fmt.Fprintf(w, "- %s\n", s)
		}
	}
}
