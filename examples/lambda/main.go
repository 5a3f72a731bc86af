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
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awslambda"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

func main() { demo.Main("lambda", new(settings)) }

const (
	topic      = "orders"
	group      = "billing"
	partitions = 8
	processes  = 4
)

// Run does what the comment above promises.
func (s *settings) Run(ctx context.Context, progress, stderr io.Writer) (demo.Result, error) {
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
	fmt.Fprintf(progress, "writing %d records into a Kafka in this process\n", s.records)
	value := bytes.Repeat([]byte("x"), 1000)
	brokers, stop, err := demo.StartKafka(ctx, demo.Topic{Name: topic, Partitions: partitions, Records: s.records, Record: func(i int) *kgo.Record {
		return &kgo.Record{Partition: int32(i % partitions), Value: value}
	}})
	if err != nil {
		return nil, err
	}
	defer stop()

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
		esm.Source{Brokers: brokers, Topics: []string{topic}, Group: group},
		inv,
		esm.WithAWSLimits(), // among them a batch window: each call is billed
		esm.WithMaxConcurrency(processes),
		esm.WithBackoff(esm.Constant(100*time.Millisecond)),
		esm.WithLogger(demo.Logger(stderr, slog.LevelError)),
	)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	kill := here.killer(s.records/2, progress)
	interrupted, err := demo.Drain(ctx, m, progress, func(m *esm.Mapping) bool {
		kill(m)
		return demo.Settled(s.records)(m)
	}, func(st *esm.Stats, _ float64) string {
		return fmt.Sprintf("%7d records handled, %d calls, %d failed", st.SettledEventCount, st.InvokeCount, st.InvokeErrorCount)
	})
	if err != nil {
		return nil, err
	}
	if interrupted {
		return nil, errors.New("interrupted")
	}
	st := m.Stats()
	sum := &summary{Seconds: time.Since(began).Seconds(), Calls: st.InvokeCount, Failed: st.InvokeErrorCount, Committed: st.CommittedEventCount, Records: int(st.SettledEventCount)}
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
