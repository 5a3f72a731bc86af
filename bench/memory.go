package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// budgets are those of the run M.
var budgets = []int64{16 << 20, 64 << 20, 128 << 20, 256 << 20, 512 << 20}

// A workload is what a Mapping does in the run M: what it reads and what the function
// takes, long enough to fill the largest budget.
type workload struct {
	name  string
	mode  string // of the contender
	topic string // what the name of its topic ends with
	shape
}

// workloads are those of the run M.
func workloads() []workload {
	slow := shape{Records: 800_000, Size: 1024, Stored: 100, Partitions: 100, Batch: batchSize, Function: 100 * time.Millisecond, Limit: 20 * time.Second}
	with := func(change func(sh *shape)) shape {
		sh := slow
		change(&sh)
		return sh
	}
	return []workload{
		{"1 KB, 100 ms", "", "", slow},
		{"1 KB, at once", "", "", with(func(sh *shape) { sh.Function = 0 })},
		{"1 KB, 100 ms, Lambda's event", "encode", "", slow},
		{"1 KB, 1,000 partitions, 100 ms", "", "", with(func(sh *shape) { sh.Partitions = 1000 })},
		{"100 bytes, 1,000 a call, 100 ms", "", "-small", with(func(sh *shape) { sh.Size, sh.Records, sh.Stored, sh.Batch = 100, 3_200_000, 1000, 1000 })},
		{"100 KB, two a call, 100 ms", "", "-large", with(func(sh *shape) { sh.Size, sh.Records, sh.Stored, sh.Batch = 100_000, 8000, 8, 2 })},
		{"1 KB, record batches of 1 MB, 100 ms", "", "", with(func(sh *shape) { sh.Stored = 900 })},
		{"1 KB, compressed, 100 ms", "", "-zstd", with(func(sh *shape) { sh.Codec = "zstd" })},
	}
}

// memory runs a Mapping with all workloads and budgets.
func (b *bench) memory(ctx context.Context, c contender) iter.Seq2[result, error] {
	return func(yield func(result, error) bool) {
		for _, w := range workloads() {
			for _, budget := range budgets {
				r, err := b.budgeted(ctx, c, w, budget)
				r.Shape, r.Workload, r.Budget = w.shape, w.name, budget
				if !yield(r, err) || ctx.Err() != nil {
					return
				}
			}
		}
	}
}

func (b *bench) budgeted(ctx context.Context, c contender, w workload, budget int64) (result, error) {
	topic, err := b.fill(ctx, "-memory"+w.topic, w.shape, w.Records/int64(w.Partitions))
	if err != nil {
		return result{}, err
	}
	c.mode = w.mode
	s := b.spec(c, "M", topic, w.shape)
	s.Records, s.Budget = w.Records, budget
	return b.alone(ctx, c, s)
}

// memoryTable writes what the run M came to: a row for each workload, a column for each
// budget.
func memoryTable(w io.Writer, rs []result) {
	var names []string
	peaks := map[string]map[int64][]float64{}
	machine, last := "", time.Time{}
	for i := range rs {
		r := &rs[i]
		if r.Run != "M" || r.Err != "" {
			continue
		}
		if peaks[r.Workload] == nil {
			names, peaks[r.Workload] = append(names, r.Workload), map[int64][]float64{}
		}
		peaks[r.Workload][r.Budget] = append(peaks[r.Workload][r.Budget], float64(r.PeakRSS)/(1<<20))
		if r.At.After(last) {
			machine, last = r.Machine.String(), r.At
		}
	}
	if names == nil {
		return
	}
	fmt.Fprintf(w, "## M. Memory\n\nPeak RSS of a Mapping's process in MiB, by its budget. The function does nothing but wait, and keeps nothing. "+
		"What is more than the budget is the program, its stacks, and what the collector has not found yet.\n\nMeasured %s, on %s.\n\n", last.Format(time.DateOnly), machine)
	heads := []string{"what it reads, and what a call takes"}
	for _, b := range budgets {
		heads = append(heads, fmt.Sprintf("%d MiB", b>>20))
	}
	fmt.Fprintf(w, "| %s |\n| ---%s |\n", strings.Join(heads, " | "), strings.Repeat(" | ---:", len(budgets)))
	worst := map[int64]float64{}
	for _, name := range names {
		cells := []string{name}
		for _, b := range budgets {
			peak := spreadOf(peaks[name][b])
			cells, worst[b] = append(cells, peak.format(0)), max(worst[b], peak.max)
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
	var said []string
	for _, b := range budgets {
		if worst[b] > 0 {
			said = append(said, fmt.Sprintf("%d MiB: %.0f", b>>20, max(0, worst[b]-1.5*float64(b>>20))))
		}
	}
	fmt.Fprintf(w, "\nBeyond one and a half times the budget, at most, in MiB: %s.\n\n", strings.Join(said, ", "))
}
