// Command quickstart shows a Mapping at work, and checks that it did its work.
//
//	go run ./examples/quickstart
//
// starts a Kafka in this process, writes 200,000 records of 1 KB into 20
// partitions, and reads them with a Mapping of 1 to 20 pollers into a function
// that takes 20 ms a batch. It shows what happens once a second, checks that
// every offset was handled once and in order, and ends with a summary: exit
// code 0 if all is well, 1 if not, 2 if it was called wrongly.
//
//	go run ./examples/quickstart -brokers localhost:9092 -topic orders -group mine
//
// does the same with what is in a topic of any Kafka, from where the group
// stands to the ends as they are at the beginning. Nobody else should be in the
// group. Ctrl-C lets the invocations end, commits, and says what.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed429fd032/esm"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

type settings struct {
	brokers, topic, group string
	records, partitions   int
	work                  time.Duration
	json                  bool
}

const (
	batchSize  = 100
	maxPollers = 20
	recordSize = 1000
)

// errUsage says that the flag package has said what was wrong.
var errUsage = errors.New("usage")

func parse(args []string, stderr io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.brokers, "brokers", "", "`addresses` of a Kafka, with commas between them (default: one in this process)")
	f.StringVar(&s.topic, "topic", "", "the topic to read, with -brokers")
	f.StringVar(&s.group, "group", "", "the consumer group, with -brokers (default: a new one)")
	f.IntVar(&s.records, "records", 200_000, "how many records the Kafka in this process gets")
	f.IntVar(&s.partitions, "partitions", 20, "how many partitions it has")
	f.DurationVar(&s.work, "work", 20*time.Millisecond, "how long the function takes for a batch")
	f.BoolVar(&s.json, "json", false, "print the summary as one line of JSON, and the progress to stderr")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, err
		}
		return s, errUsage
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is not a flag", f.Arg(0))
	case s.brokers == "" && (given["topic"] || given["group"]):
		return s, errors.New("-topic and -group need -brokers, the Kafka that they are in")
	case s.brokers != "" && s.topic == "":
		return s, errors.New("-brokers needs -topic, what to read")
	case s.brokers != "" && (given["records"] || given["partitions"]):
		return s, errors.New("-records and -partitions are for the Kafka in this process: with -brokers, what is there is read")
	case s.records < 0 || s.records > 10_000_000:
		return s, fmt.Errorf("-records is %d, and must be 0 to 10,000,000", s.records)
	case s.partitions < 1 || s.partitions > 1000:
		return s, fmt.Errorf("-partitions is %d, and must be 1 to 1,000", s.partitions)
	case s.work < 0 || s.work > time.Minute:
		return s, fmt.Errorf("-work is %s, and must be 0 to 1m", s.work)
	}
	if s.group == "" {
		s.group = esm.EphemeralGroup()
	}
	return s, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (exitCode int) {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return 2
	}
	progress := stdout
	if s.json {
		progress = stderr
	}
	sum, err := s.run(ctx, progress, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "quickstart: %v\n", err)
		return 1
	}
	if s.json {
		if err := json.NewEncoder(stdout).Encode(sum); err != nil {
			return 1
		}
	} else {
		sum.print(stdout)
	}
	if !sum.good() {
		return 1
	}
	return 0
}

// run does what main promises.
func (s *settings) run(ctx context.Context, progress, stderr io.Writer) (*summary, error) {
	if s.brokers == "" {
		stop, err := s.embed(ctx, progress)
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	kafka, err := connect(s.brokers)
	if err != nil {
		return nil, err
	}
	defer kafka.close()
	ranges, err := kafka.ranges(ctx, s.topic, s.group)
	if err != nil {
		return nil, err
	}
	check := newCheck(ranges)
	fmt.Fprintf(progress, "reading %d records in %d partitions of %q in the group %q\n", check.total(), len(ranges), s.topic, s.group)

	var firstPolled, lastSettled atomic.Int64
	m, err := esm.New(
		esm.Source{Brokers: strings.Split(s.brokers, ","), Topics: []string{s.topic}, Group: s.group},
		esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
			if err := work(ctx, s.work); err != nil {
				return err
			}
			check.handled(b.Records)
			return nil
		}),
		esm.WithBatchSize(batchSize),
		esm.WithMinPollers(1),
		esm.WithMaxPollers(maxPollers),
		esm.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
		esm.WithHooks(esm.Hooks{
			Polled:      func(esm.Poll) { firstPolled.CompareAndSwap(0, time.Now().UnixNano()) },
			InvokeEnded: func(esm.Invocation) { lastSettled.Store(time.Now().UnixNano()) },
		}),
	)
	if err != nil {
		return nil, err
	}
	interrupted := false
	if err := m.Start(ctx); err != nil {
		if ctx.Err() == nil {
			return nil, err
		}
		interrupted = true
	}
	pollers := 0
	if !interrupted {
		interrupted = !watch(ctx, m, check, progress, &pollers)
	}
	if interrupted {
		fmt.Fprintln(progress, "interrupted: letting the invocations end")
	}
	// Not ctx, which may be over: WithStopTimeout bounds it.
	if err := m.Stop(context.Background()); err != nil {
		return nil, err
	}
	st := m.Stats()
	after, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	committed, err := kafka.committed(after, s.topic, s.group)
	if err != nil {
		return nil, err
	}
	absent := func(partition int32, from, to int64, among func(offset int64) bool) (int64, error) {
		return kafka.count(after, s.topic, partition, from, to, among)
	}
	sum, err := check.judge(committed, interrupted, absent)
	if err != nil {
		return nil, err
	}
	sum.Seconds = max(0, time.Duration(lastSettled.Load()-firstPolled.Load()).Seconds())
	sum.FloorSeconds = float64(sum.Records) / batchSize * s.work.Seconds() / float64(max(1, check.busy()))
	sum.PollersMax = max(pollers, st.ProvisionedPollers)
	sum.Rebalances = st.RebalanceCount
	return sum, nil
}

// work is what the function does: it takes its time.
func work(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watch shows what the Mapping does, until all is settled (true) or ctx ends.
func watch(ctx context.Context, m *esm.Mapping, check *check, w io.Writer, pollers *int) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	shown, settled := began, int64(0)
	line := func(now time.Time) {
		st := m.Stats()
		lag := "unknown"
		if n, known := st.OffsetLag.Sum(); known {
			lag = fmt.Sprint(n)
		}
		rate := float64(st.SettledEventCount-settled) / now.Sub(shown).Seconds()
		shown, settled = now, st.SettledEventCount
		fmt.Fprintf(w, "%4.0fs  lag %-8s %7.0f records/s  pollers %-3d %s\n", now.Sub(began).Seconds(), lag, rate, st.ProvisionedPollers, st.ScaleReason)
		for _, p := range m.State().Problems {
			fmt.Fprintf(w, "       %s: %v\n", p.With, p.Err)
		}
	}
	var rows []esm.PartitionStats
	for {
		select {
		case <-ctx.Done():
			return false
		case <-m.Done():
			return true // the check says the rest
		case now := <-tick.C:
			*pollers = max(*pollers, m.Stats().ProvisionedPollers)
			rows = m.AppendPartitions(rows[:0])
			if check.reached(rows) {
				line(now)
				return true
			}
			if now.Sub(shown) >= time.Second {
				line(now)
			}
		}
	}
}
