package esmtest_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// billingIsBack is a whole test: the function fails twice and then works. The five
// minutes in it take milliseconds, with go test -tags synctests.
func billingIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kafka := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		billing := esmtest.NewInvoker(t).Fail(2, errors.New("billing is down"))
		esmtest.Start(t, kafka.Source("orders", "billing"), billing, esm.WithBackoff(esm.Constant(2*time.Minute)))

		kafka.Produce("orders", "a")
		time.Sleep(5 * time.Minute)

		if got := len(billing.Calls()); got != 3 {
			t.Errorf("%d calls, want two that fail and one more", got)
		}
		if got := billing.Values(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("billed %q", got)
		}
		if got := kafka.Committed("billing", "orders", 0); got != 1 {
			t.Errorf("committed %d", got)
		}
	})
}

// A test of retries, without a Kafka and without waiting.
func ExampleStart() {
	var t *testing.T // of func TestBillingIsBack(t *testing.T)
	billingIsBack(t)
}
