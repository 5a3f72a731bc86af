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
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

func main() { demo.Main("migrate", new(settings)) }

const (
	topic      = "orders"
	partitions = 4
)

// Run does what the comment above promises.
func (s *settings) Run(ctx context.Context, progress, stderr io.Writer) (demo.Result, error) {
	fmt.Fprintf(progress, "writing %d records, of which %d are no orders\n", s.records, s.bad)
	brokers, stop, err := demo.StartKafka(ctx, demo.Topic{Name: topic, Partitions: partitions, Records: s.records, Record: s.record})
	if err != nil {
		return nil, err
	}
	defer stop()
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
		err = s.read(ctx, brokers, w, inv, progress, stderr)
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

// read has a Mapping read all records in one of the ways.
func (s *settings) read(ctx context.Context, brokers []string, w *way, inv esm.Invoker, progress, stderr io.Writer) error {
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
		esm.WithLogger(demo.Logger(stderr, slog.LevelError)),
	)
	if err != nil {
		return err
	}
	began := time.Now()
	interrupted, err := demo.Drain(ctx, m, progress, demo.Settled(s.records), func(st *esm.Stats, _ float64) string {
		return fmt.Sprintf("%7d records handled, %d calls", st.SettledEventCount, st.InvokeCount)
	})
	if err == nil && interrupted {
		err = errors.New("interrupted")
	}
	w.Seconds = time.Since(began).Seconds()
	w.GivenUp, w.Calls = givenUp.Load(), m.Stats().InvokeCount
	return err
}
