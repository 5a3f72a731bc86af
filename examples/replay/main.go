// Command replay says what other bounds would have done to a Mapping, from a trace
// of what it did.
//
//	go run ./examples/replay trace.jsonl -min 10 -max 100
//
// reads a trace that the hook Sampled wrote, which is one line in the host application:
//
//	esm.WithHooks(esm.Hooks{Sampled: scaling.Record(f, func(err error) { log.Print(err) })})
//
// and simulates a Mapping with the same records, partitions and times of calls, for
// the bounds that were recorded and for those that were asked for: when the last
// record is settled, how long records wait, and what the pollers cost, in poller-hours
// and in AWS's EPU-hours (10 pollers, or 20 MB a second; -price makes money of them).
//
//	go run ./examples/replay trace.jsonl -lag 30s -plot replay.svg
//
// looks for the cheapest bounds with which 99 % of the records are settled within 30
// seconds, and draws lag and pollers.
//
// Without a trace it makes one: it starts a Kafka in this process, and a Mapping with
// one poller at most, which takes eight seconds for its records.
//
// The trace does not say what the function would do with more calls at once, nor what
// other members of the group did: a call takes as long here as it did then, and
// failures and throttles are left out. A run with the recorded bounds is beside the
// record, and shows how far that is true. Exit code 0, 1 if that is impossible, 2 if
// it was called wrongly.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed429fd032/esm/examples/internal/demo"
)

func main() {
	ctx, cancel := demo.Interrupted()
	defer cancel()
	os.Exit(demo.Run(ctx, "replay", new(settings), arguments(os.Args[1:]), os.Stdout, os.Stderr))
}

// arguments makes a flag of a trace that is named first.
func arguments(args []string) []string {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return append([]string{"-trace", args[0]}, args[1:]...)
	}
	return args
}

type settings struct {
	trace, mapping, plot, save string
	least, most, records       int
	lag                        time.Duration
	price                      float64
	given                      func(string) bool
}

// Flags defines the flags.
func (s *settings) Flags(f *demo.Flags) {
	s.given = f.Given
	f.StringVar(&s.trace, "trace", "", "the `file` with the trace; it may also be named first, without a flag. Without one a trace is made")
	f.StringVar(&s.mapping, "mapping", "", "whose trace, by the `name` of the Mapping, where a file has several")
	f.Number(&s.least, "min", 1, 1, 200, "the minimum of pollers (default: as recorded)")
	f.Number(&s.most, "max", 200, 1, 2000, "the maximum of pollers (default: as recorded)")
	f.Time(&s.lag, "lag", 0, 0, 24*time.Hour, "propose bounds with which 99 % of the records are settled within this time")
	f.Float64Var(&s.price, "price", 0, "what an EPU-hour costs (AWS's example, for us-east-1: 0.185)")
	f.StringVar(&s.plot, "plot", "", "draw lag and pollers into this `file`, as SVG")
	f.StringVar(&s.save, "save", "", "keep the trace that is made here in this `file`")
	f.Number(&s.records, "records", 40_000, 1000, 10_000_000, "how many records there are for a trace that is made here")
	f.JSON()
	f.Check(func() error {
		switch {
		case s.given("min") && s.given("max") && s.least > s.most:
			return fmt.Errorf("-max is %d, and must be at least the minimum of pollers, which is %d", s.most, s.least)
		case !(s.price >= 0 && s.price < 1e6):
			return fmt.Errorf("-price is %v, and must be 0 to 1,000,000", s.price)
		case s.trace != "" && (s.save != "" || s.given("records")):
			return errors.New("-save and -records are for a trace that is made here, without -trace")
		}
		for name, file := range map[string]string{"plot": s.plot, "save": s.save} {
			if file == "" {
				continue
			}
			if dir, err := os.Stat(filepath.Dir(file)); err != nil || !dir.IsDir() {
				return fmt.Errorf("-%s is %q, and must be a file in a directory that is there", name, file)
			}
		}
		return nil
	})
}

// Run does what the comment above promises.
func (s *settings) Run(ctx context.Context, progress, stderr io.Writer) (demo.Result, error) {
	m, err := s.read(ctx, progress, stderr)
	if err != nil {
		return nil, err
	}
	least, most := m.least, m.most
	if s.given("min") {
		least = s.least
		most = max(most, least)
	}
	if s.given("max") {
		most = s.most
		least = min(least, most)
	}
	a := &advice{Trace: m.facts(), Recorded: m.recorded(s.price)}
	a.Replayed = m.simulate(bounds{m.least, m.most}, s.price)
	asked := m.simulate(bounds{least, most}, s.price)
	a.Asked = &asked
	if s.lag > 0 {
		fmt.Fprintf(progress, "looking for bounds with a time lag of %s\n", s.lag)
		a.LagSeconds = s.lag.Seconds()
		if a.Proposed, a.Fastest, err = m.propose(ctx, s.lag, s.price); err != nil {
			return nil, err
		}
	}
	if s.plot != "" {
		if err := os.WriteFile(s.plot, m.picture(a), 0o644); err != nil {
			return nil, fmt.Errorf("-plot: %w", err)
		}
		fmt.Fprintf(progress, "the curves are in %s\n", s.plot)
	}
	return a, nil
}

// read reads the trace, or makes one first.
func (s *settings) read(ctx context.Context, progress, stderr io.Writer) (*model, error) {
	if s.trace != "" {
		f, err := os.Open(s.trace)
		if err != nil {
			return nil, fmt.Errorf("-trace: %w", err)
		}
		defer f.Close()
		return readModel(f, s.mapping, progress)
	}
	var made bytes.Buffer
	if err := s.record(ctx, &made, progress, stderr); err != nil {
		return nil, err
	}
	if s.save != "" {
		if err := os.WriteFile(s.save, made.Bytes(), 0o644); err != nil {
			return nil, fmt.Errorf("-save: %w", err)
		}
		fmt.Fprintf(progress, "the trace is in %s\n", s.save)
	}
	return readModel(&made, s.mapping, progress)
}
