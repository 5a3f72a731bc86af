// Command controlplane serves AWS Lambda's API for event source mappings on the loopback
// interface, and runs what is made with it.
//
//	go run ./examples/controlplane
//
// starts a Kafka in this process with records in it, and a function, and prints commands of
// the AWS CLI that make a mapping between them, scale it, disable it and delete it. It runs
// until Ctrl-C, and says once a second what the mappings do.
//
//	go run ./examples/controlplane -check
//
// plays such a session by itself with AWS's SDK, and checks that each record was handled
// once and each partition's in order, that nothing was handled while the mapping was
// disabled, and that it is gone in the end: exit code 0 if so, 1 if not, 2 if it was called
// wrongly.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/lambdaapi"
)

func main() { demo.Main("controlplane", new(settings)) }

const (
	topic      = "orders"
	partitions = 20
)

type settings struct {
	address string
	records int
	check   bool
}

// Flags defines the flags.
func (s *settings) Flags(f *demo.Flags) {
	f.StringVar(&s.address, "address", "127.0.0.1:9001", "the loopback `address` to serve on")
	f.BoolVar(&s.check, "check", false, "play a session with AWS's SDK, check it, and end")
	f.Number(&s.records, "records", 200_000, 1_000, 10_000_000, "how many records there are")
	f.Check(func() error {
		if host, _, err := net.SplitHostPort(s.address); err != nil || !net.ParseIP(host).IsLoopback() {
			return fmt.Errorf("-address: %q must be an address of the loopback interface, as 127.0.0.1:9001", s.address)
		}
		return nil
	})
	f.JSON()
}

// Run does what the comment above promises.
func (s *settings) Run(ctx context.Context, progress, stderr io.Writer) (demo.Result, error) {
	fmt.Fprintf(progress, "writing %s records into a Kafka in this process\n", demo.Grouped(int64(s.records)))
	brokers, stop, err := demo.StartKafka(ctx, demo.Topic{Name: topic, Partitions: partitions, Records: s.records, Record: func(i int) *kgo.Record {
		return &kgo.Record{Partition: int32(i % partitions), Value: []byte("an order")}
	}})
	if err != nil {
		return nil, err
	}
	defer stop()
	function := newBilling()
	host, err := lambdaapi.NewHost(lambdaapi.Config{
		Store: &lambdaapi.Memory{}, Logger: demo.Logger(stderr, slog.LevelWarn),
		Functions: func(_ context.Context, name lambdaapi.FunctionName, _ bool) (esm.Invoker, []esm.Option, error) {
			if name.Name != "billing" {
				return nil, nil, lambdaapi.ErrNoFunction
			}
			return function, nil, nil
		},
	})
	if err != nil {
		return nil, err
	}
	if s.check {
		s.address = "127.0.0.1:0" // any port: nobody types it
	}
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return nil, fmt.Errorf("%w: choose another one with -address", err)
	}
	server := &http.Server{Handler: host, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute}
	url := "http://" + listener.Addr().String()
	live, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = host.Run(live) })
	running.Go(func() { _ = server.Serve(listener) })
	defer func() {
		_ = server.Close()
		end()
		running.Wait()
	}()
	if s.check {
		return (&session{url: url, brokers: brokers, records: int64(s.records), host: host, function: function, progress: progress}).play(ctx)
	}
	explain(progress, url, brokers)
	s.watch(ctx, progress, host, function)
	var sum summary
	sum.count(function)
	sum.Good = sum.Repeated == 0 && sum.OutOfOrder == 0
	return &sum, nil
}

// explain prints what to try.
func explain(w io.Writer, url string, brokers []string) {
	fmt.Fprintf(w, `
Lambda's API for event source mappings is at %[1]s. In another terminal:

  export AWS_ENDPOINT_URL_LAMBDA=%[1]s AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_DEFAULT_REGION=us-east-1

  aws lambda create-event-source-mapping --function-name billing --topics %[2]s \
    --self-managed-event-source '{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["%[3]s"]}}' \
    --starting-position TRIM_HORIZON --provisioned-poller-config MinimumPollers=1,MaximumPollers=20

  aws lambda list-event-source-mappings
  aws lambda update-event-source-mapping --uuid UUID --provisioned-poller-config MinimumPollers=10
  aws lambda update-event-source-mapping --uuid UUID --no-enabled
  aws lambda update-event-source-mapping --uuid UUID --enabled
  aws lambda delete-event-source-mapping --uuid UUID

Ctrl-C ends it.

`, url, topic, brokers[0])
}

// watch says once a second what the mappings do.
func (s *settings) watch(ctx context.Context, w io.Writer, host *lambdaapi.Host, function *billing) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		line := fmt.Sprintf("%s records handled, %d pollers", demo.Grouped(function.count()), pollers(host))
		if line != last {
			fmt.Fprintln(w, line)
		}
		last = line
	}
}

// pollers are those of all mappings.
func pollers(host *lambdaapi.Host) (n int) {
	for _, m := range host.Mappings() {
		n += m.Stats().ProvisionedPollers
	}
	return n
}
