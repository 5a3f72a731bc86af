// Command bench measures a Mapping against a real Kafka: what it costs over a
// bare loop of the client, and how close it comes to the shortest time that is
// possible. Each run is a process of its own, so that CPU and memory are its
// alone; the broker is another one.
//
//	go run ./internal/bench
//
// starts a broker, writes 2,000,000 records of 1 KB into 100 partitions, and
// runs, five times in turn:
//
//   - bare: a loop over the client's PollFetches, with its default settings
//   - fast: a Mapping with a function that returns at once
//   - drain100, drain1: a Mapping with a function of 100 ms, beginning with
//     100 pollers and with 1
//
// and before that, once, idle: a Mapping with 2,000 partitions that has nothing
// to do.
//
// It prints medians, and what is to be compared as ratios of pairs.
package main

import (
	"bufio"
	"cmp"
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
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/kafkatest"
)

// A result is what one run says of itself, as one line of JSON.
type result struct {
	Records    int64   `json:"records"`
	Seconds    float64 `json:"seconds"` // first record polled to last one settled
	CPUSeconds float64 `json:"cpu_seconds"`
	PeakRSS    int64   `json:"peak_rss_bytes"`
	ReadBytes  int64   `json:"read_bytes"`
	Pollers    int     `json:"pollers_max"`
	Rebalances int64   `json:"rebalances"`
	Duplicates int64   `json:"duplicates"`
	OutOfOrder int64   `json:"out_of_order"`
	IdleCPU    float64 `json:"idle_cpu,omitempty"` // of one processor
	Goroutines int     `json:"goroutines,omitempty"`
}

type settings struct {
	brokers    string
	topic      string
	records    int64
	size       int
	partitions int
	function   time.Duration
	minimum    int
	maximum    int
	unlimited  bool
	budget     int64
	pprof      string
	heap       string
}

func main() {
	var (
		s     settings
		child = flag.String("child", "", "run this one and print its result (bare, mapping or idle); for the parent's use")
		runs  = flag.Int("runs", 5, "runs of each")
		only  = flag.String("only", "idle,bare,fast,drain100,drain1", "which to run")
	)
	flag.StringVar(&s.brokers, "brokers", "", "brokers to use, instead of starting one")
	flag.StringVar(&s.topic, "topic", "bench", "topic; it is filled if it is not there")
	flag.Int64Var(&s.records, "records", 2_000_000, "records in the topic")
	flag.IntVar(&s.size, "size", 1024, "bytes of a value")
	flag.IntVar(&s.partitions, "partitions", 100, "partitions of the topic")
	flag.DurationVar(&s.function, "function", 0, "how long the function takes; for the child")
	flag.IntVar(&s.minimum, "min", 1, "minimum of pollers; for the child")
	flag.IntVar(&s.maximum, "max", 200, "maximum of pollers; for the child")
	flag.BoolVar(&s.unlimited, "unlimited", false, "no byte rate; for the child")
	flag.Int64Var(&s.budget, "budget", 128<<20, "memory budget in bytes; for the child")
	flag.StringVar(&s.pprof, "cpuprofile", "", "write a CPU profile of the last Mapping to this file")
	flag.StringVar(&s.heap, "heapprofile", "", "write an allocation profile of the last Mapping to this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch *child {
	case "":
		err = parent(ctx, s, *runs, strings.Split(*only, ","))
	case "bare":
		err = report(profiled(ctx, s, bare))
	case "mapping":
		err = report(profiled(ctx, s, mapping))
	case "idle":
		err = report(profiled(ctx, s, idle))
	default:
		err = fmt.Errorf("there is no child %q", *child)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func report(r result, err error) error {
	if err != nil {
		return err
	}
	r.CPUSeconds, r.PeakRSS = usage()
	return json.NewEncoder(os.Stdout).Encode(r)
}

// profiled runs f, with a profile if one is wanted.
func profiled(ctx context.Context, s settings, f func(context.Context, settings) (result, error)) (result, error) {
	if s.pprof != "" {
		f, err := os.Create(s.pprof)
		if err != nil {
			return result{}, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return result{}, err
		}
		defer pprof.StopCPUProfile()
	}
	return f(ctx, s)
}

// bare reads the topic with nothing but the client.
func bare(ctx context.Context, s settings) (result, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.brokers, ",")...), kgo.ConsumeTopics(s.topic),
		kgo.ConsumerGroup("bare-"+strconv.FormatInt(time.Now().UnixNano(), 36)), kgo.DisableAutoCommit())
	if err != nil {
		return result{}, err
	}
	defer cl.Close()
	var r result
	var first time.Time
	for r.Records < s.records {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return r, err
		}
		if n := fetches.NumRecords(); n > 0 {
			if first.IsZero() {
				first = time.Now()
			}
			r.Records += int64(n)
		}
	}
	r.Seconds = time.Since(first).Seconds()
	return r, nil
}

// mapping reads the topic with a Mapping.
func mapping(ctx context.Context, s settings) (result, error) {
	var (
		seen, duplicates, disorder atomic.Int64
		first                      = sync.OnceValue(time.Now)
		last                       time.Time
		done                       = make(chan struct{})
		next                       = make([]int64, s.partitions) // each guarded by the Mapping's promise
		pollers                    atomic.Int64
	)
	invoker := esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		if s.function > 0 {
			time.Sleep(s.function)
		}
		for tp, records := range b.ByPartition() {
			at := records[0].Offset
			switch want := next[tp.Partition]; {
			case at < want:
				duplicates.Add(1)
			case at > want:
				disorder.Add(1)
			}
			next[tp.Partition] = records[len(records)-1].Offset + 1
		}
		if seen.Add(int64(len(b.Records))) == s.records {
			last = time.Now()
			close(done)
		}
		return nil
	})
	opts := []esm.Option{
		esm.WithMinPollers(s.minimum), esm.WithMaxPollers(s.maximum), esm.WithMemoryBudget(s.budget),
		esm.WithHooks(esm.Hooks{
			Polled: func(esm.PolledInfo) { first() },
			Scaled: func(i esm.ScaledInfo) { pollers.Store(max(pollers.Load(), int64(i.To))) },
		}),
		esm.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
	}
	if s.unlimited {
		opts = append(opts, esm.WithPollerByteRate(esm.Unlimited))
	}
	m, err := esm.New(esm.Source{Brokers: strings.Split(s.brokers, ","), Topics: []string{s.topic}, Group: esm.EphemeralGroup()}, invoker, opts...)
	if err != nil {
		return result{}, err
	}
	if err := m.Start(ctx); err != nil {
		return result{}, err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return result{}, ctx.Err()
	}
	st := m.Stats()
	if err := m.Stop(ctx); err != nil {
		return result{}, err
	}
	if s.heap != "" {
		f, err := os.Create(s.heap)
		if err != nil {
			return result{}, err
		}
		defer f.Close()
		runtime.GC()
		if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
			return result{}, err
		}
	}
	return result{
		Records: seen.Load(), Seconds: last.Sub(first()).Seconds(), ReadBytes: st.FetchedBytes,
		Pollers: int(pollers.Load()), Rebalances: st.Rebalances, Duplicates: duplicates.Load(), OutOfOrder: disorder.Load(),
	}, nil
}

// parent starts Kafka if need be, fills the topic, and runs the children in
// turn.
func parent(ctx context.Context, s settings, runs int, only []string) error {
	if s.brokers == "" {
		k, err := kafkatest.Start(ctx, kafkatest.Config{Fast: true, Memory: "512m"})
		if err != nil {
			return err
		}
		defer k.Stop()
		s.brokers = strings.Join(k.Addrs, ",")
	}
	if i := slices.Index(only, "idle"); i >= 0 {
		if err := measureIdle(ctx, s); err != nil {
			return err
		}
		if only = slices.Delete(only, i, i+1); len(only) == 0 {
			return nil
		}
	}
	stored, err := fill(ctx, s)
	if err != nil {
		return err
	}
	floor := float64(s.records) / 100 / float64(s.partitions) * 0.1
	fmt.Printf("%d records of %d bytes in %d partitions, %.0f MiB stored; %s, %d processors\n",
		s.records, s.size, s.partitions, float64(stored)/(1<<20), runtime.Version(), runtime.NumCPU())
	kinds := map[string][]string{
		"bare":     {"-child", "bare"},
		"fast":     {"-child", "mapping", "-unlimited"},
		"drain100": {"-child", "mapping", "-function", "100ms", "-min", "100"},
		"drain1":   {"-child", "mapping", "-function", "100ms", "-min", "1"},
	}
	results := map[string][]result{}
	for i := range runs {
		for _, kind := range only {
			args, ok := kinds[kind]
			if !ok {
				return fmt.Errorf("there is no %q", kind)
			}
			r, err := run(ctx, s, args)
			if err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
			results[kind] = append(results[kind], r)
			fmt.Printf("%d %-9s %6.2f s  %8.0f records/s  %5.2f CPU s/M  %4d MiB  read %.3f  pollers %d  rebalances %d  duplicates %d  out of order %d\n",
				i+1, kind, r.Seconds, float64(r.Records)/r.Seconds, r.CPUSeconds/float64(r.Records)*1e6, r.PeakRSS>>20,
				float64(r.ReadBytes)/float64(stored), r.Pollers, r.Rebalances, r.Duplicates, r.OutOfOrder)
		}
	}
	fmt.Println("\nmedians")
	for _, kind := range only {
		rs := results[kind]
		fmt.Printf("  %-9s %6.2f s  %8.0f records/s  %5.2f CPU s/M  %4.0f MiB  read %.3f\n", kind,
			median(rs, func(r result) float64 { return r.Seconds }),
			median(rs, func(r result) float64 { return float64(r.Records) / r.Seconds }),
			median(rs, func(r result) float64 { return r.CPUSeconds / float64(r.Records) * 1e6 }),
			median(rs, func(r result) float64 { return float64(r.PeakRSS) / (1 << 20) }),
			median(rs, func(r result) float64 { return float64(r.ReadBytes) / float64(stored) }))
	}
	if b, f := results["bare"], results["fast"]; len(b) > 0 && len(f) > 0 {
		var speed, cpu []float64
		for i := range b {
			speed = append(speed, b[i].Seconds/f[i].Seconds)
			cpu = append(cpu, f[i].CPUSeconds/b[i].CPUSeconds)
		}
		slices.Sort(speed)
		slices.Sort(cpu)
		fmt.Printf("  fast over bare, pair by pair: speed %.3f (%.3f to %.3f), CPU %.3f (%.3f to %.3f)\n",
			speed[len(speed)/2], speed[0], speed[len(speed)-1], cpu[len(cpu)/2], cpu[0], cpu[len(cpu)-1])
	}
	fmt.Printf("  the floor of a drain is %.1f s\n", floor)
	return nil
}

func median(rs []result, of func(result) float64) float64 {
	vs := make([]float64, len(rs))
	for i := range rs {
		vs[i] = of(rs[i])
	}
	slices.SortFunc(vs, cmp.Compare[float64])
	return vs[len(vs)/2]
}

// run runs one child.
func run(ctx context.Context, s settings, args []string) (r result, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	args = append([]string{
		"-brokers", s.brokers, "-topic", s.topic, "-records", strconv.FormatInt(s.records, 10), "-partitions", strconv.Itoa(s.partitions),
		"-budget", strconv.FormatInt(s.budget, 10),
	}, args...)
	if s.pprof != "" && args[len(args)-1] != "bare" {
		args = append(args, "-cpuprofile", s.pprof)
	}
	if s.heap != "" && args[len(args)-1] != "bare" {
		args = append(args, "-heapprofile", s.heap)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	err = json.NewDecoder(bufio.NewReader(out)).Decode(&r)
	_, _ = io.Copy(io.Discard, out)
	return r, errors.Join(cmd.Wait(), err)
}

// fill writes the records if they are not there, and returns how many bytes
// the topic has on the broker's disk.
func fill(ctx context.Context, s settings) (int64, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.brokers, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(100_000), kgo.ProducerLinger(50*time.Millisecond))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, int32(s.partitions), 1, nil, s.topic); err == nil {
		began := time.Now()
		value := make([]byte, s.size)
		for i := range value {
			value[i] = byte(i*7 + i>>8)
		}
		var failed atomic.Pointer[error]
		for i := range s.records {
			cl.Produce(ctx, &kgo.Record{
				Topic: s.topic, Partition: int32(i % int64(s.partitions)), Key: fmt.Appendf(nil, "%08d", i%100_000_000), Value: value,
			}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			})
		}
		if err := cl.Flush(ctx); err != nil {
			return 0, err
		}
		if err := failed.Load(); err != nil {
			return 0, *err
		}
		fmt.Fprintf(os.Stderr, "produced in %s\n", time.Since(began).Round(time.Millisecond))
	}
	ends, err := adm.ListEndOffsets(ctx, s.topic)
	if err != nil {
		return 0, err
	}
	var have, stored int64
	ends.Each(func(o kadm.ListedOffset) { have += o.Offset })
	if have != s.records {
		return 0, fmt.Errorf("topic %s has %d records, not %d: choose another with -topic", s.topic, have, s.records)
	}
	dirs, err := adm.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return 0, err
	}
	for _, broker := range dirs {
		broker.EachPartition(func(p kadm.DescribedLogDirPartition) {
			if p.Topic == s.topic {
				stored += p.Size
			}
		})
	}
	return stored, nil
}
