package main

import (
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/seed429fd032/esm/examples/internal/demo"
)

// horizon is in how many seconds a Mapping means to be done with a backlog,
// where more pollers help.
const horizon = 10

// table writes the runs for people, one a row, beside what AWS published.
func (s *settings) table(w io.Writer, runs []*outcome) {
	fmt.Fprintf(w, "\n%s\n\n", s.scenario)
	rows := [][]string{{"", "time", "AWS", "floor", "first record", "pollers", "invocations", "rebalances", "CPU", "memory", "read/stored"}}
	foreign := false
	for i, o := range runs {
		row, marked := cells(s.modes[i], &o.Summary)
		rows, foreign = append(rows, row), foreign || marked
	}
	align(w, rows)
	fmt.Fprintln(w, "\nAWS's minutes include its network and the cold starts of its functions; here the function is a sleep in the process.")
	if foreign {
		fmt.Fprintf(w, "* AWS published this for %s, and nothing for other runs.\n", scenarioOfAWS)
	}
	if s.floor() < horizon {
		fmt.Fprintf(w, "A small backlog gets fewer pollers, not a shorter time: a Mapping means to be done with it within %d s.\n", horizon)
	}
	for i, o := range runs {
		o.Summary.verdict(w, s.modes[i].String(), s.Records)
	}
}

// cells are one row, and whether AWS's figure in it is of another scenario.
func cells(m mode, o *summary) (row []string, marked bool) {
	aws := "-"
	if took, ok := published(m); ok {
		aws = fmt.Sprintf("%g min", took/60)
		if marked = o.AWSSeconds == nil; marked {
			aws += "*"
		}
	}
	time := seconds(o.Seconds)
	if o.Interrupted {
		time = "interrupted"
	}
	cpu, memory, ratio := "-", "-", "-"
	if o.CPUSeconds != nil {
		cpu = seconds(*o.CPUSeconds)
	}
	if o.PeakRSS != nil {
		memory = fmt.Sprintf("%d MiB", *o.PeakRSS>>20)
	}
	if o.StoredBytes != nil {
		ratio = fmt.Sprintf("%.3f", float64(o.ReadBytes)/float64(*o.StoredBytes))
	}
	return []string{
		m.String(), time, aws, seconds(o.FloorSeconds), seconds(o.FirstSeconds),
		"at most " + strconv.Itoa(o.PollersMax), demo.Grouped(o.Invocations), demo.Grouped(o.Rebalances), cpu, memory, ratio,
	}, marked
}

// verdict says what the check found.
func (s *summary) verdict(w io.Writer, mode string, records int64) {
	fmt.Fprintf(w, "%s: ", mode)
	if s.Interrupted {
		fmt.Fprintf(w, "interrupted, %s of %s records handled; ", demo.Grouped(s.Records), demo.Grouped(records))
	}
	fmt.Fprintf(w, "missing %d, duplicates %d, out of order %d, not committed %d: ", s.Missing, s.Duplicates, s.OutOfOrder, s.NotCommitted)
	if s.good() {
		fmt.Fprintln(w, "all is well")
	} else {
		fmt.Fprintln(w, "THE CHECK FAILED")
	}
}

// align writes rows with the first column to the left and the others to the
// right.
func align(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		fmt.Fprintf(w, "%-*s", width[0], row[0])
		for i, cell := range row[1:] {
			fmt.Fprintf(w, "  %*s", width[i+1], cell)
		}
		fmt.Fprintln(w)
	}
}

func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.2f s", s)
	}
	return fmt.Sprintf("%.1f s", s)
}

func (s scenario) String() string {
	return fmt.Sprintf("%s records of %s bytes in %d partitions, batches of %s, a function of %s",
		demo.Grouped(s.Records), demo.Grouped(int64(s.Size)), s.Partitions, demo.Grouped(int64(s.Batch)), s.Function)
}
