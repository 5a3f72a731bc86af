// Command migrate runs one Lambda function in three ways without AWS, and
// checks that all do the same.
//
//	go run ./examples/migrate
//
// starts a Kafka in this process and writes orders into it, a few of which are
// none. Then it has a Mapping read them with the function in the folder
// function, which is as it runs in AWS:
//
//   - handler: called in this process, lambdalocal.Handler(function.Handle)
//   - process: as the program that is deployed, lambdalocal.NewProcess
//   - python: its twin in Python, if there is Python with awslambdaric
//
// The function says which records failed; those are tried twice and then given
// up, and the others go on. In the end the ledgers that the function wrote are
// compared: each order once and in order, the same in each way, and each record
// that is no order given up once. Exit code 0 if so, 1 if not, 2 if it was
// called wrongly.
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
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/migrate/function"
	"github.com/seed429fd032/esm/lambdalocal"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const (
	topic      = "orders"
	partitions = 4
	patience   = time.Minute // in which all must be done
)

type settings struct {
	records, bad int
	json         bool
}

// A summary is the last line with -json.
type summary struct {
	Ways []*way `json:"ways"`
	Good bool   `json:"good"`
}

// A way is one way to run the function, and what came of it.
type way struct {
	Name       string  `json:"name"`
	Seconds    float64 `json:"seconds"`
	Records    int     `json:"records"` // lines of its ledger
	Missing    int     `json:"missing"`
	Wrong      int     `json:"wrong"` // lines that no order makes
	Duplicates int     `json:"duplicates"`
	OutOfOrder int     `json:"out_of_order"`
	GivenUp    int64   `json:"given_up"`
	Calls      int64   `json:"calls"`
	Skipped    string  `json:"skipped,omitempty"` // why it was left out
}

func (w *way) good(s settings) bool {
	return w.Skipped != "" || w.Missing == 0 && w.Wrong == 0 && w.Duplicates == 0 && w.OutOfOrder == 0 && w.GivenUp == int64(s.bad)
}

// errUsage says that the flag package has said what was wrong.
var errUsage = errors.New("usage")

func parse(args []string, stderr io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("migrate", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&s.records, "records", 20_000, "how many records there are")
	f.IntVar(&s.bad, "bad", 3, "how many of them are no orders")
	f.BoolVar(&s.json, "json", false, "print the summary as one line of JSON, and the progress to stderr")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, err
		}
		return s, errUsage
	}
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is not a flag", f.Arg(0))
	case s.records < 1 || s.records > 1_000_000:
		return s, fmt.Errorf("-records is %d, and must be 1 to 1,000,000", s.records)
	case s.bad < 0 || s.bad > s.records:
		return s, fmt.Errorf("-bad is %d, and must be 0 to -records", s.bad)
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
		fmt.Fprintf(stderr, "migrate: %v\n", err)
		return 2
	}
	progress := stdout
	if s.json {
		progress = stderr
	}
	sum, err := s.run(ctx, progress, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "migrate: %v\n", err)
		return 1
	}
	if s.json {
		if err := json.NewEncoder(stdout).Encode(sum); err != nil {
			return 1
		}
	} else {
		s.print(stdout, sum)
	}
	if !sum.Good {
		return 1
	}
	return 0
}

func (s settings) run(ctx context.Context, progress, stderr io.Writer) (*summary, error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic))
	if err != nil {
		return nil, fmt.Errorf("start a Kafka in this process: %w", err)
	}
	defer cluster.Close()
	fmt.Fprintf(progress, "writing %d records, of which %d are no orders\n", s.records, s.bad)
	if err := s.fill(ctx, cluster.ListenAddrs()); err != nil {
		return nil, fmt.Errorf("write records: %w", err)
	}
	dir, err := os.MkdirTemp("", "migrate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	sum := &summary{Good: true}
	for _, start := range []func(context.Context, string) (*way, esm.Invoker, func() error, error){handler, process, python} {
		ledger := filepath.Join(dir, fmt.Sprintf("ledger-%d", len(sum.Ways)))
		w, inv, end, err := start(ctx, ledger)
		if err != nil {
			return nil, err
		}
		sum.Ways = append(sum.Ways, w)
		if w.Skipped != "" {
			fmt.Fprintf(progress, "%-8s left out: %s\n", w.Name, w.Skipped)
			continue
		}
		fmt.Fprintf(progress, "%-8s reading\n", w.Name)
		err = s.read(ctx, cluster.ListenAddrs(), w, inv, stderr)
		if err := errors.Join(err, end()); err != nil {
			return nil, fmt.Errorf("%s: %w", w.Name, err)
		}
		if err := s.judge(w, ledger); err != nil {
			return nil, err
		}
		sum.Good = sum.Good && w.good(s)
	}
	return sum, nil
}

// handler is the function in this process.
func handler(_ context.Context, ledger string) (*way, esm.Invoker, func() error, error) {
	if err := os.Setenv("LEDGER", ledger); err != nil {
		return nil, nil, nil, err
	}
	inv, err := lambdalocal.Handler(function.Handle, lambdalocal.WithReportBatchItemFailures())
	return &way{Name: "handler"}, inv, func() error { return nil }, err
}

// process is the program that is deployed.
func process(ctx context.Context, ledger string) (*way, esm.Invoker, func() error, error) {
	program := filepath.Join(filepath.Dir(ledger), "bootstrap")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/seed429fd032/esm/examples/migrate/function/cmd")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, nil, nil, fmt.Errorf("build the function: %w: %s", err, out)
	}
	p, err := lambdalocal.NewProcess([]string{program}, lambdalocal.WithEnv("LEDGER="+ledger), lambdalocal.WithReportBatchItemFailures())
	if err != nil {
		return nil, nil, nil, err
	}
	return &way{Name: "process"}, p, p.Close, nil
}

// python is the twin of the function.
func python(ctx context.Context, ledger string) (*way, esm.Invoker, func() error, error) {
	w := &way{Name: "python"}
	dir, err := folder(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := exec.CommandContext(ctx, "python3", "-c", "import awslambdaric, runtime_client").Run(); err != nil {
		w.Skipped = "there is no Python with awslambdaric (pip install awslambdaric)"
		return w, nil, nil, nil
	}
	p, err := lambdalocal.NewProcess([]string{"python3", "-m", "awslambdaric", "app.handler"},
		lambdalocal.WithDir(dir), lambdalocal.WithEnv("LEDGER="+ledger), lambdalocal.WithReportBatchItemFailures())
	if err != nil {
		return nil, nil, nil, err
	}
	return w, p, p.Close, nil
}

// folder is where the function is.
func folder(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/seed429fd032/esm/examples/migrate/function").Output()
	if err != nil {
		return "", fmt.Errorf("find the function: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// read has a Mapping read all records in one of the ways.
func (s settings) read(ctx context.Context, brokers []string, w *way, inv esm.Invoker, stderr io.Writer) error {
	var givenUp atomic.Int64
	m, err := esm.New(
		esm.Source{Brokers: brokers, Topics: []string{topic}, Group: "billing-" + w.Name},
		inv,
		esm.WithMaxRetries(1),
		esm.WithBackoff(esm.Constant(50*time.Millisecond)),
		esm.WithDestination(esm.DestinationFunc(func(context.Context, *esm.Discard) error {
			givenUp.Add(1)
			return nil
		})),
		esm.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError}))),
	)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := m.Start(ctx); err != nil {
		return err
	}
	err = s.watch(ctx, m)
	w.Seconds = time.Since(began).Seconds()
	// Not ctx, which may be over: WithStopTimeout bounds it.
	err = errors.Join(err, m.Stop(context.Background()))
	w.GivenUp, w.Calls = givenUp.Load(), m.Stats().InvokeCount
	return err
}

// watch waits until all is settled.
func (s settings) watch(ctx context.Context, m *esm.Mapping) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for m.Stats().SettledEventCount < int64(s.records) {
		select {
		case <-tick.C:
		case <-m.Done():
			return m.Err()
		case <-limit.C:
			return fmt.Errorf("%d of %d records were handled in %s", m.Stats().SettledEventCount, s.records, patience)
		case <-ctx.Done():
			return errors.New("interrupted")
		}
	}
	return nil
}

// judge reads a ledger.
func (s settings) judge(w *way, ledger string) error {
	text, err := os.ReadFile(ledger)
	if err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	want := s.ledger()
	last := map[int]int64{}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		var partition, cents int
		var offset int64
		if _, err := fmt.Sscan(line, &partition, &offset, &cents); err != nil {
			return fmt.Errorf("%s: its ledger has the line %q: %w", w.Name, line, err)
		}
		w.Records++
		if !want[line] {
			w.Wrong++
		}
		if seen[line] {
			w.Duplicates++
		}
		seen[line] = true
		if at, ok := last[partition]; ok && offset < at {
			w.OutOfOrder++
		}
		last[partition] = max(last[partition], offset)
	}
	for line := range want {
		if !seen[line] {
			w.Missing++
		}
	}
	return nil
}

// ledger is what each way must write.
func (s settings) ledger() map[string]bool {
	lines := map[string]bool{}
	for i := range s.records {
		if !s.isBad(i) {
			lines[fmt.Sprintf("%d %d %d\n", i%partitions, i/partitions, cents(i))] = true
		}
	}
	return lines
}

// isBad reports whether a record is no order: they are spread over all.
func (s settings) isBad(i int) bool {
	return s.bad > 0 && i*s.bad/s.records != (i-1)*s.bad/s.records || s.bad > 0 && i == 0
}

// cents is what is in an order.
func cents(i int) int { return i % 1000 }

// fill writes the records.
func (s settings) fill(ctx context.Context, brokers []string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	records := make([]*kgo.Record, s.records)
	for i := range records {
		value, err := json.Marshal(function.Order{Number: i, Cents: cents(i)})
		if err != nil {
			return err
		}
		if s.isBad(i) {
			value = []byte("no order")
		}
		records[i] = &kgo.Record{Partition: int32(i % partitions), Value: value}
	}
	return cl.ProduceSync(ctx, records...).FirstErr()
}

func (s settings) print(w io.Writer, sum *summary) {
	fmt.Fprintf(w, "\n%-8s %8s %8s %8s %8s %8s %8s %8s %8s\n", "way", "orders", "missing", "wrong", "twice", "disorder", "given up", "calls", "seconds")
	for _, y := range sum.Ways {
		if y.Skipped != "" {
			fmt.Fprintf(w, "%-8s left out: %s\n", y.Name, y.Skipped)
			continue
		}
		fmt.Fprintf(w, "%-8s %8d %8d %8d %8d %8d %8d %8d %8.1f\n", y.Name, y.Records, y.Missing, y.Wrong, y.Duplicates, y.OutOfOrder, y.GivenUp, y.Calls, y.Seconds)
	}
	if sum.Good {
		fmt.Fprintln(w, "all is well")
	} else {
		fmt.Fprintln(w, "THE CHECK FAILED")
	}
}
