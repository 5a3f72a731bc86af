package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
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
		"at most " + strconv.Itoa(o.PollersMax), grouped(o.Invocations), grouped(o.Rebalances), cpu, memory, ratio,
	}, marked
}

// verdict says what the check found.
func (s *summary) verdict(w io.Writer, mode string, records int64) {
	fmt.Fprintf(w, "%s: ", mode)
	if s.Interrupted {
		fmt.Fprintf(w, "interrupted, %s of %s records handled; ", grouped(s.Records), grouped(records))
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
		grouped(s.Records), grouped(int64(s.Size)), s.Partitions, grouped(int64(s.Batch)), s.Function)
}

// grouped writes a number with commas.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), ",")
}
