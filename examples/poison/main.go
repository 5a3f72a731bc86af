// Command poison shows what a Mapping does with records that its function
// cannot take, and checks that it did just that.
//
//	go run ./examples/poison
//
// starts a Kafka in this process and writes 40,000 orders into 4 partitions.
// Three of them are poison: the function fails every batch that one is in, and
// cannot say which record it was. The Mapping has
//
//	esm.WithBisect(true), esm.WithMaxRetries(3), esm.WithDestination(...)
//
// so it searches for the record in halves, tries it three times again, writes
// it to the topic orders.poison, and goes on behind it. Every invocation of the
// search is shown, and once a second how far the rest is.
//
// In the end it is checked that every good record was handled once and in
// order, that every poison record is once in orders.poison, with its reason and
// where it came from, that all offsets are committed, and that no other
// partition waited: exit code 0 if so, 1 if not, 2 if it was called wrongly.
// Ctrl-C lets the invocations end, commits, and checks what was done by then.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const (
	topic       = "orders"
	deadLetters = "orders.poison"
	group       = "billing"
	partitions  = 4
	batchSize   = 100
	retries     = 3
	work        = 30 * time.Millisecond // what the function takes for a batch
	// backoff is many times work, so that there is no doubt whether another
	// partition went on during it. A real one is longer, and grows: the default.
	backoff = 400 * time.Millisecond
	// patience is how long nothing may be settled. A Mapping that never came to
	// its end would not be found out otherwise.
	patience = 30 * time.Second
)

type settings struct {
	records, poison int
	json            bool
}

// errUsage says that the flag package has said what was wrong.
var errUsage = errors.New("usage")

func parse(args []string, stderr io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("poison", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&s.records, "records", 40_000, "how many records there are, with the poison; 40,000 take 3 s if there is none")
	f.IntVar(&s.poison, "poison", 3, "how many of them are poison, in 2 of the 4 partitions; one holds its partition up for about 1.7 s")
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
	case s.records < 1000 || s.records > 1_000_000:
		return s, fmt.Errorf("-records is %d, and must be 1,000 to 1,000,000", s.records)
	case s.poison < 0 || s.poison > 100:
		return s, fmt.Errorf("-poison is %d, and must be 0 to 100", s.poison)
	}
	return s, nil
}

// places says at which offsets the poison is. It is in two partitions, so that
// the others show that they do not wait, and in the first quarter of these, so
// that the others still have records then. 37 keeps it away from where the
// halves of a batch end.
func (s *settings) places() map[int32][]int64 {
	of := [...]struct {
		partition int32
		n         int
	}{{2, (s.poison + 1) / 2}, {1, s.poison / 2}}
	at := map[int32][]int64{}
	for _, p := range of {
		for i := range p.n {
			at[p.partition] = append(at[p.partition], int64(37+(2*i+1)*(s.records/partitions/4)/(2*p.n)))
		}
	}
	return at
}

// ends says how many records each partition has.
func (s *settings) ends() map[int32]int64 {
	ends := map[int32]int64{}
	for p := range partitions {
		ends[int32(p)] = int64((s.records + partitions - 1 - p) / partitions)
	}
	return ends
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (exitCode int) {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "poison: %v\n", err)
		return 2
	}
	progress := stdout
	if s.json {
		progress = stderr
	}
	sum, err := s.run(ctx, progress, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "poison: %v\n", err)
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
	out := log.New(progress, "", 0) // which many goroutines may use at once
	out.Printf("writing %d records into %d partitions of a Kafka in this process; %d are poison", s.records, partitions, s.poison)
	kafka, err := s.embed(ctx)
	if err != nil {
		return nil, err
	}
	defer kafka.close()

	check := newCheck(s.ends(), s.places())
	waits := newWaits(s.ends(), s.places())
	search := newSearch(func(line string) { out.Print(line) })

	// What a Destination needs is made here, and closed when the Mapping has
	// stopped.
	producer, err := kgo.NewClient(kgo.SeedBrokers(kafka.brokers...), kgo.DefaultProduceTopic(deadLetters))
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	toTopic := deliverTo(producer)

	m, err := esm.New(
		esm.Source{Brokers: kafka.brokers, Topics: []string{topic}, Group: group},
		&witness{next: billing(check), waits: waits, search: search},
		esm.WithBatchSize(batchSize),
		esm.WithBisect(true),
		esm.WithMaxRetries(retries),
		esm.WithBackoff(esm.Constant(backoff)),
		esm.WithDestination(esm.DestinationFunc(func(ctx context.Context, d *esm.Discard) error {
			if err := toTopic(ctx, d); err != nil {
				return err
			}
			check.taken(d.Record)
			waits.over(d.Record.Partition)
			return nil
		})),
		esm.WithHooks(esm.Hooks{
			RetryScheduled: func(b esm.Blocker) {
				out.Print(line(b.Partition, b.Offset, b.Records, "waits %s", time.Until(b.Next).Round(time.Millisecond)))
			},
			Discarded: func(d *esm.Discard) {
				out.Print(line(d.Record.Partition, d.Record.Offset, 1, "given up after %d attempts (%s), now in %s", d.Attempts, d.Reason, deadLetters))
			},
			DeliveryFailed: func(d *esm.Discard) {
				out.Print(line(d.Record.Partition, d.Record.Offset, 1, "not delivered, again in %s: %v", time.Until(d.Next).Round(time.Millisecond), d.DeliveryErr))
			},
		}),
		// What the log says of failures is shown above.
		esm.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError}))),
	)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	finished := false
	if err := m.Start(ctx); err == nil {
		finished = follow(ctx, m, check, out)
	} else if ctx.Err() == nil {
		return nil, err
	}
	took := time.Since(began)
	interrupted := !finished && ctx.Err() != nil
	if interrupted {
		out.Print("interrupted: letting the invocations end")
	}
	// Not ctx, which may be over: WithStopTimeout bounds it. What goes wrong in
	// it is part of what Err says.
	_ = m.Stop(context.Background())
	if err := m.Err(); err != nil {
		return nil, err
	}

	after, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	committed, err := kafka.committed(after)
	if err != nil {
		return nil, err
	}
	arrived, err := kafka.arrived(after)
	if err != nil {
		return nil, err
	}
	sum := check.judge(committed, arrived, interrupted)
	sum.Waited, sum.Meanwhile = waits.judge()
	sum.SearchInvocations = search.total()
	sum.Seconds = took.Seconds()
	return sum, nil
}

// follow shows how far the Mapping is, until all is settled (true), or until
// ctx, the Mapping or its progress ends.
func follow(ctx context.Context, m *esm.Mapping, check *check, out *log.Logger) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	shown, moved, settled := began, began, int64(0)
	var rows []esm.PartitionStats
	for {
		select {
		case <-ctx.Done():
			return false
		case <-m.Done():
			return false
		case now := <-tick.C:
			rows = m.AppendPartitions(rows[:0])
			done := check.reached(rows)
			st := m.Stats()
			if st.SettledEventCount > settled {
				moved, settled = now, st.SettledEventCount
			}
			if done || now.Sub(shown) >= time.Second {
				shown = now
				out.Printf("%4.0fs  %d records settled, %d invocations, %d partitions in back-off", now.Sub(began).Seconds(), st.SettledEventCount, st.InvokeCount, st.WaitingPartitions)
			}
			if done {
				return true
			}
			if now.Sub(moved) > patience {
				out.Printf("nothing was settled for %s: giving up", patience)
				return false
			}
		}
	}
}
