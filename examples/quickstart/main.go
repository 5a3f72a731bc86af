// Command quickstart shows a Mapping at work, and checks that it did its work.
//
//	go run ./examples/quickstart
//
// starts a Kafka in this process, writes 200,000 records of 1 KB into 20
// partitions, and reads them with a Mapping of 1 to 20 pollers into a function
// that takes 20 ms a batch. It shows what happens once a second, checks that
// every offset was handled once and in order, and ends with a summary: exit
// code 0 if all is well, 1 if not, 2 if it was called wrongly.
//
//	go run ./examples/quickstart -brokers localhost:9092 -topic orders -group mine
//
// does the same with what is in a topic of any Kafka, from where the group
// stands to the ends as they are at the beginning. Nobody else should be in the
// group. Ctrl-C lets the invocations end, commits, and says what.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
)

func main() { demo.Main("quickstart", new(settings)) }

const (
	batchSize  = 100
	maxPollers = 20
)

// Run does what the comment above promises.
func (s *settings) Run(ctx context.Context, progress, stderr io.Writer) (demo.Result, error) {
	kafka, err := s.open(ctx, progress)
	if err != nil {
		return nil, err
	}
	defer kafka.close()
	check, err := kafka.expect(ctx)
	if err != nil {
		return nil, err
	}

	var firstPolled, lastSettled atomic.Int64
	m, err := esm.New(
		esm.Source{Brokers: kafka.Brokers, Topics: []string{kafka.Topic}, Group: kafka.Group},
		esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
			if err := demo.Work(ctx, s.work); err != nil {
				return err
			}
			check.handled(b.Records)
			return nil
		}),
		esm.WithBatchSize(batchSize),
		esm.WithMinPollers(1),
		esm.WithMaxPollers(maxPollers),
		esm.WithLogger(demo.Logger(stderr, slog.LevelWarn)),
		esm.WithHooks(esm.Hooks{
			Polled:      func(esm.Poll) { firstPolled.CompareAndSwap(0, time.Now().UnixNano()) },
			InvokeEnded: func(esm.Invocation) { lastSettled.Store(time.Now().UnixNano()) },
		}),
	)
	if err != nil {
		return nil, err
	}
	if err := m.Start(ctx); err != nil && ctx.Err() == nil {
		return nil, err
	}
	finished := demo.Follow(ctx, m, progress, check.reached, func(st *esm.Stats, rate float64) string {
		lag := "unknown"
		if n, known := st.OffsetLag.Sum(); known {
			lag = fmt.Sprint(n)
		}
		return fmt.Sprintf("lag %-8s %7.0f records/s  pollers %-3d %s", lag, rate, st.ProvisionedPollers, st.ScaleReason)
	})
	interrupted := !finished && ctx.Err() != nil
	if interrupted {
		fmt.Fprintln(progress, "interrupted: letting the invocations end")
	}
	// Not ctx, which may be over: WithStopTimeout bounds it.
	if err := m.Stop(context.Background()); err != nil {
		return nil, err
	}

	sum, err := kafka.judge(check, interrupted)
	if err != nil {
		return nil, err
	}
	sum.Seconds = max(0, time.Duration(lastSettled.Load()-firstPolled.Load()).Seconds())
	sum.FloorSeconds = float64(sum.Records) / batchSize * s.work.Seconds() / float64(max(1, check.busy()))
	sum.Rebalances = m.Stats().RebalanceCount
	return sum, nil
}
