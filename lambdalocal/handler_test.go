package lambdalocal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
	"github.com/seed429fd032/esm/lambdalocal"
)

// raw is a handler of the kind that lambda.Start takes as it is.
type raw func(ctx context.Context, payload []byte) ([]byte, error)

func (r raw) Invoke(ctx context.Context, payload []byte) ([]byte, error) { return r(ctx, payload) }

var _ lambda.Handler = raw(nil)

func TestSignatures(t *testing.T) {
	calls := 0
	event := func(e events.KafkaEvent) {
		if len(e.Records["orders-3"]) == 1 && e.EventSource == "SelfManagedKafka" {
			calls++
		}
	}
	type own struct {
		Records map[string][]struct{ Offset int64 }
	}
	type renamed interface{ context.Context }
	handlers := []any{
		func(renamed) { calls++ },
		func() { calls++ },
		func() error { calls++; return nil },
		func(e events.KafkaEvent) { event(e) },
		func(e events.KafkaEvent) error { event(e); return nil },
		func(context.Context) error { calls++; return nil },
		func() (string, error) { calls++; return "", nil },
		func(e *events.KafkaEvent) (any, error) { event(*e); return nil, nil },
		func(_ context.Context, e events.KafkaEvent) error { event(e); return nil },
		func(_ context.Context, e events.KafkaEvent) (map[string]any, error) { event(e); return nil, nil },
		func(_ context.Context, e json.RawMessage) error {
			var k events.KafkaEvent
			err := json.Unmarshal(e, &k)
			event(k)
			return err
		},
		func(_ context.Context, e map[string]any) error {
			calls += len(e["records"].(map[string]any))
			return nil
		},
		func(e any) error { calls += len(e.(map[string]any)["records"].(map[string]any)); return nil },
		func(e own) error {
			if e.Records["orders-3"][0].Offset == 100 {
				calls++
			}
			return nil
		},
		raw(func(context.Context, []byte) ([]byte, error) { calls++; return nil, nil }),
		lambda.NewHandler(func(e events.KafkaEvent) error { event(e); return nil }),
	}
	for i, h := range handlers {
		inv, err := lambdalocal.Handler(h)
		if err != nil {
			t.Fatalf("%T: %v", h, err)
		}
		if err := inv.Invoke(t.Context(), lambdatest.Tell("x")); err != nil || calls != i+1 {
			t.Errorf("%T: %d calls, %v", h, calls-i, err)
		}
	}
	for _, h := range []any{
		nil, 5, (func())(nil), func(int, int) {}, func(context.Context, int, int) {}, func(...int) {}, func() int { return 0 }, func() (int, int) { return 0, 0 },
		func() (int, int, error) { return 0, 0, nil }, func(interface{ Foo() }) {},
	} {
		if _, err := lambdalocal.Handler(h); err == nil {
			t.Errorf("it took a %T", h)
		}
	}
}

func TestHandlerFindsItsContext(t *testing.T) {
	inv, err := lambdalocal.Handler(func(ctx context.Context, _ events.KafkaEvent) error {
		lc, ok := lambdacontext.FromContext(ctx)
		deadline, has := ctx.Deadline()
		if left := time.Until(deadline); !ok || lc.AwsRequestID != "batch" || !strings.HasSuffix(lc.InvokedFunctionArn, ":function:billing") || !has || left > time.Minute || left < 30*time.Second {
			return errors.New("something is missing")
		}
		return nil
	}, lambdalocal.WithTimeout(time.Minute), lambdalocal.WithFunctionName("billing"))
	if err != nil {
		t.Fatal(err)
	}
	if err := inv.Invoke(t.Context(), lambdatest.Tell("x")); err != nil {
		t.Error(err)
	}
}

func TestHandlerIsSerialUnlessItSaysOtherwise(t *testing.T) {
	for _, tt := range []struct {
		opts []lambdalocal.HandlerOption
		want int64
	}{{nil, 1}, {[]lambdalocal.HandlerOption{lambdalocal.WithMaxConcurrency(3)}, 3}} {
		var now, most atomic.Int64
		full := make(chan struct{})
		inv, err := lambdalocal.Handler(func() {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if n == tt.want {
				select {
				case <-full:
				default:
					close(full)
				}
			}
			<-full
			now.Add(-1)
		}, tt.opts...)
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				if err := inv.Invoke(t.Context(), lambdatest.Tell("")); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if most.Load() != tt.want {
			t.Errorf("%d at once, want %d", most.Load(), tt.want)
		}
	}
}

func TestHandlerErrors(t *testing.T) {
	want := errors.New("billing is down")
	for _, tt := range []struct {
		err  error
		want esm.Outcome
	}{
		{nil, esm.OutcomeSuccess}, {want, esm.OutcomeFailure}, {esm.Permanent(want), esm.OutcomePermanent}, {esm.Throttled(0, want), esm.OutcomeThrottled},
	} {
		inv, err := lambdalocal.Handler(func() error { return tt.err })
		if err != nil {
			t.Fatal(err)
		}
		err = inv.Invoke(t.Context(), lambdatest.Tell(""))
		if got := esm.Classify(t.Context(), err); got != tt.want || err != nil && !errors.Is(err, want) {
			t.Errorf("%v: %v, %v", tt.err, got, err)
		}
	}
	// A timeout is a failure also of a handler that took no notice of it.
	inv, err := lambdalocal.Handler(func(ctx context.Context) error { <-ctx.Done(); return nil }, lambdalocal.WithTimeout(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if err := inv.Invoke(t.Context(), lambdatest.Tell("")); !errors.Is(err, lambdalocal.ErrTimedOut) || esm.Classify(t.Context(), err) != esm.OutcomeFailure {
		t.Error(err)
	}
	// A panic leaves the place free.
	calls := 0
	inv, err = lambdalocal.Handler(func() {
		if calls++; calls == 1 {
			panic("once")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was hidden")
			}
		}()
		_ = inv.Invoke(t.Context(), lambdatest.Tell(""))
	}()
	if err := inv.Invoke(t.Context(), lambdatest.Tell("")); err != nil {
		t.Error(err)
	}
}

func TestOptionsOfHandler(t *testing.T) {
	_, err := lambdalocal.Handler(5, lambdalocal.WithMaxConcurrency(0), lambdalocal.WithTimeout(0), nil)
	if err == nil {
		t.Fatal("it took all of them")
	}
	for _, want := range []string{"Handler(int)", "WithMaxConcurrency(0)", "WithTimeout(0s)", "nil option"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
}

// TestAnswersAreNotMixedUp: of many at once each is read as it was given.
func TestAnswersAreNotMixedUp(t *testing.T) {
	inv, err := lambdalocal.Handler(func(event events.KafkaEvent) (json.RawMessage, error) {
		for name, records := range event.Records {
			return json.RawMessage(fmt.Sprintf(`{"batchItemFailures":[{"itemIdentifier":{"partition":%q,"offset":%d}}]}`, name, records[0].Offset)), nil
		}
		return nil, nil
	}, lambdalocal.WithMaxConcurrency(8), lambdalocal.WithReportBatchItemFailures(true))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 500 {
		b := lambdatest.Tell("")
		b.Records[0].Partition, b.Records[0].Offset = int32(i), int64(i*i)
		group.Go(func() {
			f := esm.FailuresOf(inv.Invoke(t.Context(), b))
			if len(f) != 1 || f[0].Partition != int32(i) || f[0].Offset != int64(i*i) {
				t.Errorf("of %d: %v", i, f)
			}
		})
	}
	group.Wait()
	if _, err := lambdalocal.Handler(lambda.NewHandler(func() {}), lambdalocal.WithMaxConcurrency(2), lambdalocal.WithReportBatchItemFailures(true)); err == nil {
		t.Error("it took a handler that has one buffer for two")
	}
}
