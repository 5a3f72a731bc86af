// Command bench measures a Mapping and its peers at the same work, against a
// real Kafka: each in its best settings, each in a process of its own, with the
// same records and a function that costs the same for all.
//
//	cd bench && go run .
//
// builds the contenders, starts a broker, fills topics, and runs five rounds of
// all of them in turn:
//
//   - A: drains 2,000,000 records of 1 KB in 100 partitions with a function of
//     100 ms
//   - B: the same with a function that returns at once: what it costs
//   - C: a fifth of all records in one of 100 partitions
//   - D: a poison record in each partition
//   - E: a second member of the group comes and goes
//   - F: a trickle: how late a record reaches the function
//   - G, H: the first seconds: 1,000,000 records in 8 and in 20 partitions, from the
//     first assignment on, against the bare loop
//   - J: one record at a time, each when the one before was handled
//   - K: 1,000 partitions on three brokers, a fifth of them hot; only if asked for
//   - M: what a Mapping takes in memory, by its budget and what it reads; once
//   - idle: a Mapping with 2,000 partitions that has nothing to do; once
//
// Each result is appended to the results file as it comes, so that a benchmark
// can be made in several sittings, with -only and -who. What is published has K
// and F of 40 s (-trickle-for 40s), A and B of 1,000 partitions (-only A,B -partitions
// 1000), and of 10, A of these with -records 200000. A topic is named after its
// partitions, so that other numbers of records need another -topic. With -table it makes
// the tables of what is in the file, which is also what it ends with.
//
// It needs Go, a JDK 17 and Maven; without cgo a contender is left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) error {
	b := &bench{commands: map[string][]string{}, filled: map[string]int64{}}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	var (
		rounds  = f.Int("runs", 5, "rounds")
		only    = f.String("only", "", "which runs, separated by commas: A to H, J, K, M, idle; all but K if empty")
		who     = f.String("who", "", "which contenders, separated by commas; all if empty")
		file    = f.String("results", "results.jsonl", "file that results are appended to")
		out     = f.String("out", "BENCHMARKS.md", "file for the tables")
		table   = f.Bool("table", false, "make the tables of the results file, and run nothing")
		seconds = f.Int("seconds", 60, "when a run is cut")
	)
	f.StringVar(&b.brokers, "brokers", "", "brokers to use, instead of starting one")
	f.StringVar(&b.topic, "topic", "bench", "what the names of topics begin with; they are filled if they are not there")
	f.Int64Var(&b.records, "records", 2_000_000, "records of the runs A, B and E")
	f.IntVar(&b.size, "size", 1024, "bytes of a value")
	f.IntVar(&b.stored, "record-batch", 100, "records of a record batch of Kafka in the topics that are filled, of 1 MB at most")
	f.IntVar(&b.partitions, "partitions", 100, "partitions of the runs A, B, C and E")
	f.Int64Var(&b.skewed, "skewed", 200_000, "records of the run C, about")
	f.Int64Var(&b.poisoned, "poisoned", 20_000, "records of the run D")
	f.DurationVar(&b.poisonFor, "poison-for", 15*time.Second, "length of the run D")
	f.DurationVar(&b.churnFor, "churn-for", 40*time.Second, "length of the run E")
	f.DurationVar(&b.trickleFor, "trickle-for", 2*time.Minute, "length of the run F")
	f.Int64Var(&b.firsts, "first-records", 1_000_000, "records of the runs G and H")
	f.IntVar(&b.singles, "singles", 1000, "records of the run J")
	f.IntVar(&b.idleParts, "idle-partitions", 2000, "partitions of the run idle")
	f.IntVar(&b.trickleParts, "trickle-partitions", 10, "partitions of the run F")
	f.Int64Var(&b.idle, "idle-records", 200_000, "records of the run idle")
	f.Int64Var(&b.extra.Budget, "budget", 128<<20, "memory budget of a Mapping, in bytes")
	f.StringVar(&b.extra.CPUProfile, "cpuprofile", "", "write a CPU profile of the last Mapping to this file")
	f.StringVar(&b.extra.HeapProfile, "heapprofile", "", "write a profile of its allocations of the last Mapping to this file")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	b.cut = time.Duration(*seconds) * time.Second
	runs, cs, err := chosen(*only, *who)
	if err != nil {
		return err
	}
	if !*table {
		if err := b.all(ctx, *rounds, runs, cs, *file); err != nil {
			return err
		}
	}
	return writeTables(*file, *out)
}

// all runs everything that is asked for.
func (b *bench) all(ctx context.Context, rounds int, runs string, cs []contender, file string) (err error) {
	if _, err := os.Stat("peers"); err != nil {
		return errors.New("run it in the folder bench")
	}
	if b.into, err = os.MkdirTemp("", "esm-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.into)
	if err := b.buildPeers(ctx, cs); err != nil {
		return err
	}
	if strings.Contains(runs, "K") && runs != "K" {
		return errors.New("run K needs a Kafka of several brokers: do it alone, with -only K")
	}
	if b.brokers == "" {
		config := kafkatest.Config{Fast: true, Memory: "512m"}
		if runs == "K" {
			config.Brokers = hotBrokers
		}
		k, err := kafkatest.Start(ctx, config)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Stop()) }()
		b.brokers = strings.Join(k.Addrs, ",")
	}
	m := thisMachine(ctx)
	fmt.Println(m)
	sitting := time.Now().UTC().Format("2006-01-02T15:04:05Z")
	for round := 1; round <= rounds; round++ {
		for _, run := range runs {
			for _, c := range shuffled(cs, round) {
				if !strings.ContainsRune(c.runs, run) || b.commands[c.peer] == nil || strings.ContainsRune("IM", run) && round > 1 {
					continue // it takes no part, is left out, or is done once
				}
				if err := calm(ctx); err != nil {
					return err
				}
				for r, err := range b.results(ctx, string(run), c) {
					if ctx.Err() != nil {
						return ctx.Err()
					}
					if err != nil {
						r.Err = err.Error()
					}
					r.At, r.Sitting, r.Round, r.Run, r.Who, r.Machine = time.Now().UTC().Truncate(time.Second), sitting, round, string(run), c.name, m
					if err := keep(file, r); err != nil {
						return err
					}
					fmt.Println(r.progress())
				}
			}
		}
	}
	return nil
}

// shuffled is the order of a round, in each another one and always the same:
// who comes after a contender that kept the broker busy for a minute is slower
// for it. The first round has the order of the list.
func shuffled(cs []contender, round int) []contender {
	cs = slices.Clone(cs)
	if round > 1 {
		rand.New(rand.NewPCG(uint64(round), 0)).Shuffle(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
	}
	return cs
}

// progress is a line about a result for who waits for it.
func (r *result) progress() string {
	s := fmt.Sprintf("%d %s %-18s ", r.Round, r.Run, r.Who)
	if r.Err != "" {
		return s + "failed: " + r.Err
	}
	if r.Workload != "" {
		s += fmt.Sprintf("%s, a budget of %d MiB: ", r.Workload, r.Budget>>20)
	}
	s += fmt.Sprintf("%6.2f s  %8.0f records/s  %6.2f CPU s/M  %4d MiB  %d calls  %d twice  %d out of order  first call after %.1f s",
		r.Seconds, r.rate(), r.cpu(), r.PeakRSS>>20, r.Calls, r.Duplicates, r.OutOfOrder, r.WaitSeconds)
	if r.Cut && r.Poison == nil && r.Churn == nil && r.Pair == nil {
		s += "  CUT"
	}
	if o := r.Others; o != nil {
		s += fmt.Sprintf("  others %.2f s (%t)", o.Seconds, o.Done)
	}
	if d := r.Poison; d != nil {
		s += fmt.Sprintf("  good %d of %d, the last after %.1f s; %d stand still, %d passed over, %d given up", d.Good, d.Of, d.LastSeconds, d.Still, d.Passed, r.GivenUp)
	}
	if c := r.Churn; c != nil {
		s += fmt.Sprintf("  longest pause %.2f s", c.PauseSeconds)
		if p := c.Parts; p != nil {
			s += fmt.Sprintf(" (let go %.2f, handed over %.2f, begun %.2f)", p.LetGo, p.Handed, p.Begun)
		}
		if c.Parts != nil || c.StayedSeconds > 0 {
			s += fmt.Sprintf(", of what stayed %.2f", c.StayedSeconds)
		}
	}
	if r.WaitedSeconds > 0 {
		s += fmt.Sprintf("  longest wait %.2f s", r.WaitedSeconds)
	}
	if r.AssignedSeconds > 0 {
		s += fmt.Sprintf("  %.3f s from the assignment", r.AssignedSeconds)
	}
	if r.Pair != nil && r.Latency != nil && r.Pair.Latency != nil {
		s += fmt.Sprintf("  p50 %.2f p99 %.2f max %.1f ms; bare %.2f %.2f %.1f", r.Latency.P50, r.Latency.P99, r.Latency.Max,
			r.Pair.Latency.P50, r.Pair.Latency.P99, r.Pair.Latency.Max)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Extra)) {
		s += fmt.Sprintf("  %s %.4g", name, r.Extra[name])
	}
	if r.Note != "" {
		s += "  NOTE " + r.Note
	}
	return s
}
