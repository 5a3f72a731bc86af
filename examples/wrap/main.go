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
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

type settings struct {
	brokers, topic, group string
	records               int
}

const (
	partitions = 4
	batchSize  = 10
	limit      = 3 // failures in a row that open the breaker
	rest       = 200 * time.Millisecond
	patience   = 100 * time.Millisecond // of the timeout
)

// run does all that main does, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "wrap: %v\n", err)
		return 2
	}
	if err := s.run(ctx, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "wrap: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("wrap", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.brokers, "brokers", "", "`addresses` of a Kafka, with commas between them (default: one in this process)")
	f.StringVar(&s.topic, "topic", "", "the topic to read, with -brokers")
	f.StringVar(&s.group, "group", "", "the consumer group, with -brokers")
	f.IntVar(&s.records, "records", 400, "how many records to handle")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, err
		}
		return s, errors.New("see above for the flags that there are")
	}
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is not a flag", f.Arg(0))
	case s.brokers == "" && (s.topic != "" || s.group != ""):
		return s, errors.New("-topic and -group need -brokers, the Kafka that they are in")
	case s.brokers != "" && s.topic == "":
		return s, errors.New("-brokers needs -topic, what to read")
	case s.brokers != "" && s.group == "":
		return s, errors.New("-brokers needs -group, the consumer group that keeps the offsets")
	case s.records < 1:
		return s, fmt.Errorf("-records is %d, and must be 1 or more", s.records)
	}
	return s, nil
}

func (s *settings) run(ctx context.Context, stdout, stderr io.Writer) error {
	embedded := s.brokers == ""
	if embedded {
		stop, err := s.embed(ctx)
		if err != nil {
			return err
		}
		defer stop()
	}
	out := log.New(stdout, "", 0) // which many goroutines may use at once

	// From the inside out, each around the one before.
	sick := &service{limit: int64(s.records), done: make(chan struct{}), last: map[esm.TopicPartition]int64{}}
	seen := []*layer{{name: "timing"}, {name: "breaker"}, {name: "timeout"}, {name: "service"}}
	function := seen[3].watch(sick)
	inTime := seen[2].watch(&timeout{next: function, most: patience})
	fused := seen[1].watch(&breaker{next: inTime, limit: limit, rest: rest, report: out.Println})
	whole := seen[0].watch(&timing{next: fused, report: out.Printf})

	m, err := esm.New(
		esm.Source{Brokers: strings.Split(s.brokers, ","), Topics: []string{s.topic}, Group: s.group},
		whole,
		esm.WithBatchSize(batchSize),
		esm.WithBackoff(esm.Constant(50*time.Millisecond)),
		esm.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError}))),
	)
	if err != nil {
		return err
	}
	out.Printf("reading %d records of %q; call %d of the service will hang, and the %d after it will fail", s.records, s.topic, illFrom, illFor-1)
	if err := m.Start(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted before it had started")
		}
		return err
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
		return err
	}

	table(stdout, seen)
	r := report{
		layers: seen, stats: m.Stats(), repeated: sick.repeated, handled: sick.handled,
		all: embedded && finished, records: int64(s.records),
	}
	fmt.Fprintf(stdout, "\n%d records handled, offsets committed for %d: ", r.handled, r.stats.CommittedEventCount)
	if err := r.check(); err != nil {
		fmt.Fprintln(stdout, "THE CHECK FAILED")
		return err
	}
	fmt.Fprintln(stdout, "all adds up")
	return nil
}

// embed starts a Kafka in this process and fills a topic of it.
func (s *settings) embed(ctx context.Context) (stop func(), err error) {
	s.topic, s.group = "orders", "billing"
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, s.topic))
	if err != nil {
		return nil, fmt.Errorf("start a Kafka in this process: %w", err)
	}
	s.brokers = strings.Join(cluster.ListenAddrs(), ",")
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		cluster.Close()
		return nil, fmt.Errorf("connect to the Kafka in this process: %w", err)
	}
	defer client.Close()
	records := make([]*kgo.Record, s.records)
	for i := range records {
		records[i] = &kgo.Record{Topic: s.topic, Value: fmt.Appendf(nil, "order %d", i)}
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		cluster.Close()
		return nil, fmt.Errorf("write records: %w", err)
	}
	return cluster.Close, nil
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

// A breaker leaves a function alone for a while after it failed several times
// in a row. When that is over it lets one call through, and by how that ends
// it closes, or stays open for as long again.
//
// What it holds back it answers with esm.Throttled: the function was not
// called, so that is no attempt, and the Mapping does not come again before
// the time is over. A call that it lets through it neither repeats nor judges
// otherwise than the function did.
type breaker struct {
	next   esm.Invoker
	limit  int
	rest   time.Duration
	report func(...any)

	mu     sync.Mutex
	state  breakerState
	failed int       // in a row, while closed
	until  time.Time // while open
}

type breakerState int

const (
	closed  breakerState = iota
	open                 // the function is left alone
	probing              // one call is on its way, to see
)

var (
	errOpen     = errors.New("the breaker is open")
	errPanicked = errors.New("the function did not return")
)

func (k *breaker) Invoke(ctx context.Context, b *esm.Batch) (err error) {
	wait, probe := k.ask(time.Now())
	if wait > 0 {
		return esm.Throttled(wait, errOpen)
	}
	err = errPanicked // what is seen of a panic, which goes on to the Mapping
	defer func() { k.learn(ctx, err, probe, time.Now()) }()
	err = k.next.Invoke(ctx, b)
	return err
}

// ask returns how long to wait, or 0 and whether the call is the one to see.
func (k *breaker) ask(now time.Time) (wait time.Duration, probe bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.state == closed:
		return 0, false
	case k.state == probing:
		return k.rest / 4, false
	case now.Before(k.until):
		return k.until.Sub(now), false
	}
	k.state = probing
	k.report("breaker: one call, to see")
	return 0, true
}

// learn notes how a call ended.
func (k *breaker) learn(ctx context.Context, err error, probe bool, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !probe && k.state != closed {
		return // it began before the breaker opened
	}
	cause := context.Cause(ctx)
	nothing := err != nil && // a call that was cut short, or did not reach the function, proves nothing
		(errors.Is(cause, esm.ErrStopping) || errors.Is(cause, esm.ErrRevoked) || errors.Is(err, esm.ErrThrottled))
	switch {
	case nothing && probe:
		k.state, k.until = open, now // the next call is to see
	case nothing:
	case err == nil:
		if probe {
			k.report("breaker: closed, the service is well")
		}
		k.state, k.failed = closed, 0
	case probe:
		k.open(now, "still failing")
	default:
		if k.failed++; k.failed >= k.limit {
			k.open(now, fmt.Sprintf("%d failures in a row", k.failed))
		}
	}
}

// open leaves the function alone for a while. The lock is held.
func (k *breaker) open(now time.Time, why string) {
	k.state, k.failed, k.until = open, 0, now.Add(k.rest)
	k.report(fmt.Sprintf("breaker: open for %s, %s", k.rest, why))
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

// A service is the function: it takes its time, and is ill for some calls.
type service struct {
	limit int64         // after so many records
	done  chan struct{} // is closed

	mu       sync.Mutex
	calls    int
	handled  int64
	last     map[esm.TopicPartition]int64
	repeated int64 // records that came after a later one of their partition, or twice
}

const (
	illFrom = 11 // the first call that goes wrong
	illFor  = 8  // how many do
)

func (s *service) Invoke(ctx context.Context, b *esm.Batch) error {
	s.mu.Lock()
	s.calls++
	call := s.calls
	s.mu.Unlock()

	switch {
	case call == illFrom:
		<-ctx.Done()
		return context.Cause(ctx)
	case illFrom < call && call < illFrom+illFor:
		return errors.New("the service is down")
	}
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.handle(b)
	return nil
}

// handle notes records that the service is done with.
func (s *service) handle(b *esm.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tp, records := range b.ByPartition() {
		for _, r := range records {
			if last, ok := s.last[tp]; ok && r.Offset <= last {
				s.repeated++
			}
			s.last[tp] = r.Offset
		}
	}
	before := s.handled
	s.handled += int64(len(b.Records))
	if before < s.limit && s.handled >= s.limit {
		close(s.done)
	}
}

// A layer counts what one of the wrappers, or the service, was asked and
// answered.
type layer struct {
	name string

	mu                           sync.Mutex
	calls, ok, failed, throttled int64
	took                         time.Duration
}

// watch counts the calls of an Invoker.
func (l *layer) watch(next esm.Invoker) esm.Invoker {
	return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		began := time.Now()
		err := next.Invoke(ctx, b)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.calls++
		l.took += time.Since(began)
		switch {
		case err == nil:
			l.ok++
		case errors.Is(err, esm.ErrThrottled):
			l.throttled++
		default:
			l.failed++
		}
		return err
	})
}

// table prints what the layers saw, the outermost first.
func table(w io.Writer, layers []*layer) {
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tcalls\tok\tfailed\tthrottled\tmean\t")
	for _, l := range layers {
		mean := time.Duration(0)
		if l.calls > 0 {
			mean = l.took / time.Duration(l.calls)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\t\n", l.name, l.calls, l.ok, l.failed, l.throttled, mean.Round(100*time.Microsecond))
	}
	_ = t.Flush() // to where the lines before it went
}

// A report is what happened, to be checked.
type report struct {
	layers            []*layer // timing, breaker, timeout, service
	stats             esm.Stats
	handled, repeated int64
	all               bool  // whether exactly these
	records           int64 // records should have been handled and committed
}

// check says what does not hold.
func (r *report) check() error {
	var errs []error
	same := func(what string, got, want int64) {
		if got != want {
			errs = append(errs, fmt.Errorf("%s: %d, and %d was expected", what, got, want))
		}
	}
	timing, breaker, timeout, service := r.layers[0], r.layers[1], r.layers[2], r.layers[3]
	same("calls that the breaker saw of those that were timed", breaker.calls, timing.calls)
	same("calls that the breaker let through or held back", timeout.calls+breaker.throttled, breaker.calls)
	same("calls that reached the service", service.calls, timeout.calls)
	same("calls that failed, as the service and the breaker saw it", breaker.failed, service.failed)

	same("calls, as the Mapping counts them", r.stats.InvokeCount, timing.calls)
	same("throttled calls, as the Mapping counts them", r.stats.ThrottleCount, timing.throttled)
	same("failed calls, as the Mapping counts them", r.stats.InvokeErrorCount+r.stats.AbandonedCount, timing.failed)

	if r.stats.RebalanceCount == 0 { // another member of the group may bring records back
		same("records that came again or out of order", r.repeated, 0)
	}
	if r.all {
		same("records handled", r.handled, r.records)
		same("records whose offset is committed", r.stats.CommittedEventCount, r.records)
	}
	return errors.Join(errs...)
}
