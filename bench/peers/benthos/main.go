// Command benthos reads a topic with a stream of Benthos, whose output is the
// function. Its two modes are the two things it can do: keep the order of a
// partition, or work at several batches of it at once.
package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	_ "github.com/benthosdev/benthos/v4/public/components/kafka"
	_ "github.com/benthosdev/benthos/v4/public/components/pure"
	"github.com/benthosdev/benthos/v4/public/service"

	"github.com/seed429fd032/esm/bench/job"
)

// inFlight is how many batches are worked at: one of each partition.
const inFlight = 100

func main() {
	job.Main(func(ctx context.Context, j *job.Job) error {
		j.About.Versions = job.Versions("github.com/benthosdev/benthos/v4", "github.com/IBM/sarama", "github.com/twmb/franz-go")
		env := service.NewEnvironment()
		if err := register(env, "function", function{j}); err != nil {
			return err
		}
		if err := register(env, "given_up", givenUp{j}); err != nil {
			return err
		}
		b := env.NewStreamBuilder()
		input, said := input(j)
		j.About.Settings = append(said, "the function is an output with 100 calls in flight")
		if err := b.AddInputYAML(input); err != nil {
			return err
		}
		if err := b.AddOutputYAML(output(j)); err != nil {
			return err
		}
		if err := b.SetLoggerYAML("level: NONE"); err != nil {
			return err
		}
		if err := b.SetMetricsYAML("none: {}"); err != nil {
			return err
		}
		s, err := b.Build()
		if err != nil {
			return err
		}
		over := make(chan error, 1)
		go func() { over <- s.Run(context.WithoutCancel(ctx)) }()
		select {
		case err := <-over:
			return err
		case <-ctx.Done():
		}
		return s.StopWithin(20 * time.Second)
	})
}

// input is the configuration of an input, and what is to be said of it.
func input(j *job.Job) (yaml string, said []string) {
	batching := fmt.Sprintf("{count: %d, period: %s}", j.Batch, j.Window)
	if j.Window == 0 {
		batching = "{count: 1}" // it knows no batch of what is there
	}
	if j.Mode == "unordered" {
		return fmt.Sprintf(`
kafka_franz:
  seed_brokers: [%s]
  topics: [%s]
  consumer_group: %s
  checkpoint_limit: %d
  commit_period: 1s
  batching: %s
`, j.Brokers, j.Topic, j.Group, 100*j.Batch, batching), []string{
				"input kafka_franz with batching by 100; checkpoint_limit 100 batches: it works at several batches of a partition at once, so nothing is in order",
			}
	}
	return fmt.Sprintf(`
kafka:
  addresses: [%s]
  topics: [%s]
  target_version: 3.3.0
  consumer_group: %s
  checkpoint_limit: 1
  commit_period: 1s
  fetch_buffer_cap: 2048
  batching: %s
`, strings.ReplaceAll(j.Brokers, ",", ", "), j.Topic, j.Group, batching), []string{
			"input kafka with batching by 100 and checkpoint_limit 1, which its documentation asks for to keep the order",
			"fetch_buffer_cap 2048, as for sarama, on which it is built",
		}
}

// output is the configuration of the output.
func output(j *job.Job) string {
	if j.Poison < 0 {
		return "function: {}"
	}
	j.About.Settings = append(j.About.Settings, "fallback of retry (3, 1s), then split into single messages, then what counts those given up, as documented for dead letters")
	return fmt.Sprintf(`
fallback:
  - retry:
      max_retries: %d
      backoff: {initial_interval: %s, max_interval: %s, max_elapsed_time: 0s}
      output:
        function: {}
  - function: {}
    processors:
      - split: {size: 1}
  - given_up: {}
`, j.Retries, j.Retry, j.Retry)
}

func register(env *service.Environment, name string, o service.BatchOutput) error {
	return env.RegisterBatchOutput(name, service.NewConfigSpec(),
		func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
			return o, service.BatchPolicy{}, inFlight, nil
		})
}

// function is the function as an output.
type function struct{ j *job.Job }

func (function) Connect(context.Context) error { return nil }
func (function) Close(context.Context) error   { return nil }

func (f function) WriteBatch(_ context.Context, b service.MessageBatch) error {
	return job.Call(f.j, b, func(m *service.Message) (int32, int64, []byte) {
		value, _ := m.AsBytes() // no processor made anything else of it
		return int32(number(m, "kafka_partition")), number(m, "kafka_offset"), value
	})
}

// number is a number of the metadata.
func number(m *service.Message, key string) int64 {
	switch v, _ := m.MetaGetMut(key); v := v.(type) {
	case int:
		return int64(v)
	case int64:
		return v
	}
	return math.MinInt64
}

// givenUp counts what the function does not take.
type givenUp struct{ j *job.Job }

func (givenUp) Connect(context.Context) error { return nil }
func (givenUp) Close(context.Context) error   { return nil }

func (g givenUp) WriteBatch(_ context.Context, b service.MessageBatch) error {
	for range b {
		g.j.GiveUp()
	}
	return nil
}
