// Command lambda invokes a function in AWS Lambda with records from Kafka.
//
//	go run ./examples/lambda
//
// needs no account: it builds a real Lambda function (the folder function),
// runs it in processes of this machine behind a front end that speaks Lambda's
// API on the loopback interface, starts a Kafka in this process with 20,000
// records, and has a Mapping between them call the function with the AWS SDK.
// One process of the function is killed on the way. In the end it checks that
// the function got every record, each partition's in order, and that all
// offsets are committed: exit code 0 if so, 1 if not, 2 if it was called
// wrongly.
//
//	go run ./examples/lambda -function billing -region eu-north-1
//
// sends the same records to a function in AWS, with the credentials in the
// variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. A
// program of your own gets them from config.LoadDefaultConfig of
// aws-sdk-go-v2/config. With -endpoint it is another Lambda, such as an
// emulator.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awslambda"
	"github.com/seed429fd032/esm/internal/lambdafront"
	"github.com/seed429fd032/esm/internal/lambdapool"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const (
	topic      = "orders"
	group      = "billing"
	partitions = 8
	processes  = 4
	patience   = 2 * time.Minute // in which all must be done
)

type settings struct {
	function, endpoint, region string
	records                    int
	json                       bool
}

// A summary is the last line with -json.
type summary struct {
	Records    int     `json:"records"` // handled
	Missing    int     `json:"missing"`
	Duplicates int     `json:"duplicates"` // some, where a process is killed
	OutOfOrder int     `json:"out_of_order"`
	Seconds    float64 `json:"seconds"`
	Calls      int64   `json:"calls"`
	Failed     int64   `json:"failed_calls"`
	ColdStarts uint64  `json:"cold_starts,omitempty"`
	Committed  int64   `json:"committed"`
	Good       bool    `json:"good"`
}

// errUsage says that the flag package has said what was wrong.
var errUsage = errors.New("usage")

func parse(args []string, stderr io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("lambda", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.function, "function", "", "the function to invoke in AWS, by `name` or ARN (default: one that is built and run here)")
	f.StringVar(&s.region, "region", os.Getenv("AWS_REGION"), "the region of the function, with -function")
	f.StringVar(&s.endpoint, "endpoint", "", "the `URL` of another Lambda, with -function")
	f.IntVar(&s.records, "records", 20_000, "how many records there are")
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
	case s.function == "" && s.endpoint != "":
		return s, errors.New("-endpoint needs -function, what to invoke there")
	case s.function != "" && s.region == "":
		return s, errors.New("-function needs -region, or the variable AWS_REGION")
	case s.function != "" && os.Getenv("AWS_ACCESS_KEY_ID") == "":
		return s, errors.New("-function needs credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	case s.records < 1 || s.records > 1_000_000:
		return s, fmt.Errorf("-records is %d, and must be 1 to 1,000,000", s.records)
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
		fmt.Fprintf(stderr, "lambda: %v\n", err)
		return 2
	}
	progress := stdout
	if s.json {
		progress = stderr
	}
	sum, err := s.run(ctx, progress, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "lambda: %v\n", err)
		return 1
	}
	if s.json {
		if err := json.NewEncoder(stdout).Encode(sum); err != nil {
			return 1
		}
	} else {
		sum.print(stdout)
	}
	if !sum.Good {
		return 1
	}
	return 0
}

func (s *settings) run(ctx context.Context, progress, stderr io.Writer) (*summary, error) {
	var here *lambda // nil if it is in AWS
	if s.function == "" {
		fmt.Fprintln(progress, "building the function, and starting a Lambda for it here")
		var err error
		if here, err = startLambda(ctx); err != nil {
			return nil, err
		}
		defer here.close()
		s.function, s.endpoint, s.region = "billing", here.url, "local"
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic))
	if err != nil {
		return nil, fmt.Errorf("start a Kafka in this process: %w", err)
	}
	defer cluster.Close()
	fmt.Fprintf(progress, "writing %d records into a Kafka in this process\n", s.records)
	if err := s.fill(ctx, cluster.ListenAddrs()); err != nil {
		return nil, fmt.Errorf("write records: %w", err)
	}

	cfg := aws.Config{Region: s.region, Credentials: aws.CredentialsProviderFunc(credentials)}
	if here != nil {
		cfg.Credentials = aws.CredentialsProviderFunc(noCredentials)
	}
	if s.endpoint != "" {
		cfg.BaseEndpoint = &s.endpoint
	}
	inv, err := awslambda.New(cfg, s.function)
	if err != nil {
		return nil, err
	}
	defer inv.Close()
	m, err := esm.New(
		esm.Source{Brokers: cluster.ListenAddrs(), Topics: []string{topic}, Group: group},
		inv,
		esm.WithMaxConcurrency(processes),
		esm.WithBackoff(esm.Constant(100*time.Millisecond)),
		esm.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError}))),
	)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := m.Start(ctx); err != nil {
		return nil, err
	}
	watched := s.watch(ctx, m, here, progress)
	seconds := time.Since(began).Seconds()
	// Not ctx, which may be over: WithStopTimeout bounds it.
	if err := errors.Join(watched, m.Stop(context.Background())); err != nil {
		return nil, err
	}
	st := m.Stats()
	sum := &summary{Seconds: seconds, Calls: st.InvokeCount, Failed: st.InvokeErrorCount, Committed: st.CommittedEventCount, Records: int(st.SettledEventCount)}
	if here != nil {
		sum.ColdStarts = here.pool.Stats().ColdStarts
		if err := sum.judge(here.seen, s.records); err != nil {
			return nil, err
		}
	}
	// What the killed process had done comes again.
	sum.Good = sum.Missing == 0 && sum.OutOfOrder == 0 && sum.Committed == int64(s.records) && (sum.Duplicates == 0 || sum.Failed > 0)
	return sum, nil
}

// watch shows what the Mapping does until all is settled, and kills a process
// of the function when half of it is.
func (s *settings) watch(ctx context.Context, m *esm.Mapping, here *lambda, w io.Writer) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	shown, killed := time.Now(), here == nil
	for {
		st := m.Stats()
		if now := time.Now(); now.Sub(shown) >= time.Second || st.SettledEventCount == int64(s.records) {
			shown = now
			fmt.Fprintf(w, "%7d records handled, %d calls, %d failed\n", st.SettledEventCount, st.InvokeCount, st.InvokeErrorCount)
		}
		if st.SettledEventCount == int64(s.records) {
			return nil
		}
		if !killed && st.SettledEventCount > int64(s.records/2) {
			killed = true
			if here.pool.Kill() {
				fmt.Fprintln(w, "killed a process of the function")
			}
		}
		select {
		case <-tick.C:
		case <-m.Done():
			return m.Err()
		case <-limit.C:
			return fmt.Errorf("%d of %d records were handled in %s", st.SettledEventCount, s.records, patience)
		case <-ctx.Done():
			return errors.New("interrupted")
		}
	}
}

// A lambda is a Lambda in this process.
type lambda struct {
	pool   *lambdapool.Pool
	server *http.Server
	url    string
	dir    string
	seen   string // what the function got
}

// startLambda builds the function, and starts a front end for it.
func startLambda(ctx context.Context) (l *lambda, err error) {
	dir, err := os.MkdirTemp("", "lambda-")
	if err != nil {
		return nil, err
	}
	l = &lambda{dir: dir, seen: filepath.Join(dir, "seen")}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	program := filepath.Join(dir, "bootstrap")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/seed429fd032/esm/examples/lambda/function").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the function: %w: %s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.pool = lambdapool.New(lambdapool.Config{
		Command: []string{program}, Name: "billing", Most: processes, Timeout: time.Minute, Start: 10 * time.Second, Idle: time.Minute,
		Env: []string{"SEEN=" + l.seen}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	front := lambdafront.New()
	front.Add("billing", processes, l.pool)
	l.server = &http.Server{Handler: http.NewCrossOriginProtection().Handler(front), ReadHeaderTimeout: 5 * time.Second}
	l.url = "http://" + listener.Addr().String()
	go func() { _ = l.server.Serve(listener) }() // close ends it
	return l, nil
}

func (l *lambda) close() {
	_ = l.server.Close()
	l.pool.Close()
	_ = os.RemoveAll(l.dir)
}

// credentials are those of the environment.
func credentials(context.Context) (aws.Credentials, error) {
	return aws.Credentials{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN"),
	}, nil
}

// noCredentials are for the Lambda here, which looks at none.
func noCredentials(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "none", SecretAccessKey: "none"}, nil
}

func (s *settings) fill(ctx context.Context, brokers []string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	value := []byte(strings.Repeat("x", 1000))
	records := make([]*kgo.Record, s.records)
	for i := range records {
		records[i] = &kgo.Record{Partition: int32(i % partitions), Value: value}
	}
	return cl.ProduceSync(ctx, records...).FirstErr()
}

// judge compares what the function got with what was written. Processes write
// to one file, a batch at a time, and a partition has one batch at a time.
func (s *summary) judge(file string, records int) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	highest := map[int]int64{}
	for line := range strings.Lines(string(text)) {
		var partition int
		var offset int64
		if _, err := fmt.Sscan(line, &partition, &offset); err != nil {
			return fmt.Errorf("the function wrote the line %q: %w", line, err)
		}
		if seen[line] {
			s.Duplicates++
			continue
		}
		seen[line] = true
		if at, ok := highest[partition]; ok && offset < at {
			s.OutOfOrder++
		}
		highest[partition] = max(highest[partition], offset)
	}
	s.Records, s.Missing = len(seen), records-len(seen)
	return nil
}

func (s *summary) print(w io.Writer) {
	fmt.Fprintf(w, "\n%d records in %.1f s: %d calls, of which %d failed", s.Records, s.Seconds, s.Calls, s.Failed)
	if s.ColdStarts > 0 {
		fmt.Fprintf(w, ", %d processes", s.ColdStarts)
	}
	fmt.Fprintf(w, "\nmissing %d, duplicates %d, out of order %d, committed %d: ", s.Missing, s.Duplicates, s.OutOfOrder, s.Committed)
	if s.Good {
		fmt.Fprintln(w, "all is well")
	} else {
		fmt.Fprintln(w, "THE CHECK FAILED")
	}
}
