// Command wrap shows how to do something around every invocation: a function
// behind three wrappers, of which each sees other calls.
//
//	go run ./examples/wrap
//
// starts a Kafka in this process with 400 records, and hands them to a service
// that falls ill on the way. From the Mapping to the service there are
//
//   - timing: measures every call, and prints those that went wrong
//   - breaker: after three failures in a row it leaves the service alone for a
//     while, then sends one call to see; meanwhile it returns esm.Throttled, so
//     that the records wait and no attempt is counted
//   - timeout: ends a call of which the service makes nothing
//
// None of them calls again: that is the Mapping's work. At the end there is a
// table of what each saw, and a check that the numbers add up and that every
// record was handled once and in order: exit code 0 if so, 1 if not, 2 if it
// was called wrongly.
//
//	go run ./examples/wrap -brokers localhost:9092 -topic orders -group mine
//
// does the same with what is in a topic of any Kafka, and ends after -records
// of them, or with Ctrl-C. The offsets of what it handled are committed for
// the group.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

func main() { demo.Main("wrap", new(settings)) }

const (
	partitions = 4
	batchSize  = 10
	limit      = 3 // failures in a row that open the breaker
	rest       = 200 * time.Millisecond
	patience   = 100 * time.Millisecond // of the timeout
)

// Run does what the comment above promises.
func (s *settings) Run(ctx context.Context, progress, stderr io.Writer) (demo.Result, error) {
	embedded := len(s.Brokers) == 0
	stop, err := s.embed(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	out := log.New(progress, "", 0)

	// From the inside out, each around the one before.
	sick := &service{limit: int64(s.records), done: make(chan struct{}), last: map[esm.TopicPartition]int64{}}
	seen := []*layer{{name: "timing"}, {name: "breaker"}, {name: "timeout"}, {name: "service"}}
	function := seen[3].watch(sick)
	inTime := seen[2].watch(&timeout{next: function, most: patience})
	fused := seen[1].watch(&breaker{next: inTime, limit: limit, rest: rest, report: out.Println})
	whole := seen[0].watch(&timing{next: fused, report: out.Printf})

	m, err := esm.New(
		esm.Source{Brokers: s.Brokers, Topics: []string{s.Topic}, Group: s.Group},
		whole,
		esm.WithBatchSize(batchSize),
		esm.WithBackoff(esm.Constant(50*time.Millisecond)),
		esm.WithLogger(demo.Logger(stderr, slog.LevelError)),
	)
	if err != nil {
		return nil, err
	}
	out.Printf("reading %d records of %q; call %d of the service will hang, and the %d after it will fail", s.records, s.Topic, illFrom, illFor-1)
	if err := m.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, errors.New("interrupted before it had started")
		}
		return nil, err
	}
	finished := false
	select {
	case <-sick.done:
		finished = true
	case <-m.Done():
	case <-ctx.Done():
		out.Print("interrupted: letting the invocations end")
	}
	// Not ctx, which may be over: WithStopTimeout bounds it.
	_ = m.Stop(context.Background())
	if err := m.Err(); err != nil {
		return nil, err
	}

	table(progress, seen)
	r := report{
		layers: seen, stats: m.Stats(), repeated: sick.repeated, handled: sick.handled,
		all: embedded && finished, records: int64(s.records),
	}
	fmt.Fprintf(progress, "\n%d records handled, offsets committed for %d: ", r.handled, r.stats.CommittedEventCount)
	if err := r.check(); err != nil {
		fmt.Fprintln(progress, "THE CHECK FAILED")
		return nil, err
	}
	fmt.Fprintln(progress, "all adds up")
	return nil, nil
}

// timing measures every call, and prints those that went wrong.
type timing struct {
	next   esm.Invoker
	report func(format string, args ...any)
}

func (t *timing) Invoke(ctx context.Context, b *esm.Batch) error {
	began := time.Now()
	err := t.next.Invoke(ctx, b)
	if err != nil {
		t.report("%4d ms  %s/%d offset %d, attempt %d: %v", time.Since(began).Milliseconds(),
			b.Records[0].Topic, b.Records[0].Partition, b.Records[0].Offset, b.Attempt, err)
	}
	return err
}

// A timeout ends the context of a call after a time. esm.WithInvokeTimeout
// does that for all wrappers together; this one bounds the service alone, and
// the breaker hears of it.
type timeout struct {
	next esm.Invoker
	most time.Duration
}

var errSlow = errors.New("the service took too long")

func (t *timeout) Invoke(ctx context.Context, b *esm.Batch) error {
	ctx, cancel := context.WithTimeoutCause(ctx, t.most, errSlow)
	defer cancel()
	err := t.next.Invoke(ctx, b)
	if err != nil && errors.Is(context.Cause(ctx), errSlow) && !errors.Is(err, errSlow) {
		return fmt.Errorf("%w: %w", errSlow, err) // not: deadline exceeded
	}
	return err
}
