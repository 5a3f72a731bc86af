// Command drain runs the scenario for which AWS published how long its event
// source mapping takes, and shows how long a Mapping of this package takes.
//
//	go run ./examples/drain -kafka local
//
// starts an Apache Kafka on this machine (it needs Java 17 and Maven), writes
// 2,000,000 records of 1 KB (1,024 bytes of value, and 8 of key) into 100
// partitions, and reads them from the start in batches of 100 with a function
// that takes 100 ms: with a minimum of one poller, unless -min says another.
// One invocation at a time for each partition takes 20 s for that: this is the
// floor. Without -kafka local it does the same
// with 200,000 records and a Kafka in memory, which needs nothing but Go. With
// -kafka HOST:PORT it uses a Kafka that is there, in a topic of its own, which
// it deletes in the end.
//
//	go run ./examples/drain -kafka local -mode all -plot drain.svg
//
// runs all that AWS published: on-demand, and provisioned with a minimum of 1,
// 10 and 100 pollers, one after the other over the same topic.
//
// The Mapping runs in a process of its own, so that CPU and memory are its
// alone. That process is this program, started once more for each run; Kafka
// and what writes the records are elsewhere. What a user would write is in
// mapping.go.
//
// It shows what happens once a second, checks that every record was handled
// once and in order, and ends with a table: exit code 0 if all is well, 1 if
// not, 2 if it was called wrongly. Ctrl-C lets the invocations end, commits,
// and says what was done; a second one ends it at once, and leaves a topic
// behind.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

func main() {
	if isChild() {
		os.Exit(serve(os.Stdin, os.Stdout, os.Stderr))
	}
	ctx, cancel := demo.Interrupted()
	defer cancel()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (exitCode int) {
	stderr = demo.Shared(stderr) // what the other process writes to it arrives whenever it likes
	var s settings
	if _, code, ok := demo.Parse("drain", args, stderr, s.flags); !ok {
		return code
	}
	progress := stdout
	if s.json {
		progress = stderr
	}
	good, err := s.run(ctx, progress, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "drain: %v\n", err)
	}
	if err != nil || !good {
		return 1
	}
	return 0
}

// run does what main promises, and reports whether every check was passed.
func (s *settings) run(ctx context.Context, progress, stdout, stderr io.Writer) (good bool, err error) {
	kafka, err := s.open(ctx, progress)
	if ctx.Err() != nil && kafka == nil {
		return false, errors.New("interrupted before anything was written")
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, kafka.close()) }()
	if err := kafka.fill(ctx, s.scenario, progress); err != nil {
		return false, err
	}
	stored, err := kafka.stored(ctx)
	if err != nil && ctx.Err() == nil {
		// A Kafka need not tell, or need not tell us.
		fmt.Fprintf(stderr, "drain: the size of the topic is not known: %v\n", err)
	}

	var runs []*outcome
	for _, m := range s.modes {
		fmt.Fprintf(progress, "\nreading with %s\n", m)
		job := job{Scenario: s.scenario, Mode: m, Brokers: kafka.brokers, Topic: kafka.topic, Group: esm.EphemeralGroup()}
		o, err := job.spawn(ctx, progress, stderr)
		if err != nil {
			// What was done before is worth telling.
			return false, errors.Join(fmt.Errorf("%s: %w", m, err), s.report(runs, progress))
		}
		o.Summary.complete(s.scenario, m, stored)
		runs = append(runs, o)
		if s.json {
			if err := json.NewEncoder(stdout).Encode(&o.Summary); err != nil {
				return false, err
			}
		}
		if o.Summary.Interrupted {
			break
		}
	}
	good = true
	for _, o := range runs {
		good = good && o.Summary.good()
	}
	return good, s.report(runs, progress)
}

// report shows the runs, as a table and as a picture.
func (s *settings) report(runs []*outcome, w io.Writer) error {
	if len(runs) == 0 {
		return nil
	}
	s.table(w, runs)
	if s.plot == "" {
		return nil
	}
	if err := os.WriteFile(s.plot, picture(s.scenario, runs), 0o644); err != nil {
		return fmt.Errorf("-plot: %w", err)
	}
	fmt.Fprintf(w, "the curves are in %s\n", s.plot)
	return nil
}

// A scenario is what there is to read, and with what.
type scenario struct {
	Records    int64
	Size       int // bytes of a value
	Partitions int
	Batch      int
	Function   time.Duration // for a batch
}

// floor is how many seconds the function alone takes, with one invocation at a
// time for each partition: nothing that keeps the order is faster.
func (s scenario) floor() float64 {
	return float64(s.Records) / float64(s.Batch) / float64(s.Partitions) * s.Function.Seconds()
}

// records is how many records a partition has.
func (s scenario) records(partition int) int64 {
	n := int64(s.Partitions)
	return (s.Records + n - 1 - int64(partition)) / n
}

// A mode is how the pollers are scaled: between bounds, or on demand.
type mode struct {
	OnDemand bool
	Min, Max int // of the provisioned mode
}

func (m mode) String() string {
	if m.OnDemand {
		return onDemand
	}
	return fmt.Sprintf("%s, %d to %d pollers", provisioned, m.Min, m.Max)
}
