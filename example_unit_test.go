//go:build synctests

package esm_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// withoutTests is what is tested here: a wrapper that keeps test orders from
// the function behind it.
func withoutTests(next esm.Invoker) esm.Invoker {
	return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		kept := slices.DeleteFunc(slices.Clone(b.Records), func(r *kgo.Record) bool { return string(r.Value) == "test" })
		if len(kept) == 0 {
			return nil
		}
		return next.Invoke(ctx, b.With(kept))
	})
}

// TestBilling is an example of a test: the Kafka is in memory, the function
// behind the wrapper follows a script, and everything between the two is what
// runs in production. The three minutes in it take milliseconds:
//
//	go test -tags synctests ./...
func TestBilling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kafka := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		billing := esmtest.NewInvoker(t).Fail(2, errors.New("billing is down"))
		esmtest.Start(t, kafka.Source("orders", "billing"), withoutTests(billing), esm.WithBackoff(esm.Constant(time.Minute)))

		kafka.Produce("orders", "a", "test", "b")
		time.Sleep(3 * time.Minute)

		if got := billing.Values(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("billed %q", got)
		}
		if got := len(billing.Calls()); got != 3 {
			t.Errorf("%d calls, want two that fail and one more", got)
		}
		if got := kafka.Committed("billing", "orders", 0); got != 3 {
			t.Errorf("committed %d, want all three records", got)
		}
	})
}

// TestWithoutTestsAlone needs neither Kafka nor time: a batch can be written
// down.
func TestWithoutTestsAlone(t *testing.T) {
	billing := esmtest.NewInvoker(t)
	batch := &esm.Batch{Attempt: 1, Records: []*kgo.Record{{Topic: "orders", Value: []byte("test")}}}
	if err := withoutTests(billing).Invoke(t.Context(), batch); err != nil {
		t.Error(err)
	}
	if got := len(billing.Calls()); got != 0 {
		t.Errorf("billing was called %d times for a test order", got)
	}
}
