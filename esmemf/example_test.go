package esmemf_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmemf"
)

// The metrics and the system log of a Mapping that handles two records and gives one of them up.
func Example() {
	brokers, stopKafka := startKafka("order", "an order of nobody")
	defer stopKafka()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	var lines, events bytes.Buffer // os.Stdout, and a file
	metrics, err := esmemf.NewMetrics(esmemf.MetricsConfig{Writer: &lines, Namespace: "Bills"})
	if err != nil {
		log.Fatal(err)
	}
	logs, err := esmemf.NewLog(esmemf.LogConfig{Writer: &events, Level: "INFO"})
	if err != nil {
		log.Fatal(err)
	}
	source := esm.Source{Brokers: brokers, Topics: []string{"orders"}, Group: "billing"}
	m, err := esm.New(source,
		esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			if string(b.Records[0].Value) != "order" {
				return esm.Permanent(errors.New("no such account"))
			}
			return nil
		}),
		esm.WithBatchSize(1),
		esm.WithDestination(esm.Drop),
		esm.WithHooks(logs.Hooks()),
		esm.WithHooks(esm.Hooks{Discarded: func(*esm.Discard) { cancel() }}), // that is all of this example
		esm.WithLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		log.Fatal(err)
	}
	subject := esmemf.Subject{UUID: "91eaeb7e-c976-4939-9430-8bf9b7a3c7b5", FunctionName: "billing", Source: source}
	metrics.Add(m, subject)
	logs.Add(m, subject)
	go metrics.Run(ctx)
	go logs.Run(ctx)
	if err := errors.Join(m.Run(ctx), metrics.Flush(), logs.Flush()); err != nil {
		log.Fatal(err)
	}

	counted := map[string]int{}
	for line := range bytes.Lines(lines.Bytes()) {
		var is struct{ PolledEventCount, DroppedEventCount, CommittedEventCount int }
		if err := json.Unmarshal(line, &is); err != nil {
			log.Fatal(err)
		}
		counted["polled"] += is.PolledEventCount
		counted["dropped"] += is.DroppedEventCount
		counted["committed"] += is.CommittedEventCount
	}
	fmt.Println(counted)
	for line := range bytes.Lines(events.Bytes()) {
		var is struct {
			LogLevel, EventType string
			Error               struct{ ErrorCode string }
		}
		if err := json.Unmarshal(line, &is); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s %q\n", is.LogLevel, is.EventType, is.Error.ErrorCode)
	}
	// Output:
	// map[committed:2 dropped:1 polled:2]
	// INFO POLLER_STATUS_EVENT ""
	// WARN ESM_PROCESSING_EVENT "RecordDiscarded"
	// INFO POLLER_STATUS_EVENT ""
}

// startKafka starts a Kafka in this process for an example to run against, with these records
// in a topic. Tests use esmtest.NewKafka.
func startKafka(values ...string) (brokers []string, stop func()) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		log.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("orders"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, v := range values {
		if err := client.ProduceSync(context.Background(), kgo.StringRecord(v)).FirstErr(); err != nil {
			log.Fatal(err)
		}
	}
	return cluster.ListenAddrs(), cluster.Close
}
