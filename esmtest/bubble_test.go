//go:build synctests

package esmtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestRetries is all that a test of two failures and five minutes takes.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Fail(2, errBilling)
		esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithBackoff(esm.Constant(2*time.Minute)))
		k.Produce("orders", "a", "b")
		time.Sleep(5 * time.Minute)
		if got := inv.Calls(); len(got) != 3 || got[2].At.Sub(got[1].At) != 2*time.Minute {
			t.Fatal(got)
		}
		if got := k.Committed("billing", "orders", 0); got != 2 {
			t.Fatal(got)
		}
	})
}

func TestClusterInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Brokers(3), esmtest.Topic("orders", 6))
		inv := esmtest.NewInvoker(t).Takes(time.Second)
		esmtest.Start(t, k.Source("orders", "billing"), inv)
		k.Produce("orders", "a", "b", "c", "d", "e", "f")
		k.CreateTopic("users", 1)
		k.Produce("users", "x")
		k.Produce("orders", "g", "h", "i", "j", "k", "l")
		time.Sleep(time.Minute)
		if got := len(inv.Values()); got != 12 {
			t.Errorf("handled %d", got)
		}
		for p := range int32(6) {
			if got := k.Committed("billing", "orders", p); got != 2 {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
		if got := k.End("users", 0); got != 1 {
			t.Errorf("users/0 ends at %d", got)
		}
	})
}

func TestHungCallDoesNotOutliveItsBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := watch(t, func(t testing.TB) {
			k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
			inv := esmtest.NewInvoker(t)
			inv.Hang()
			esmtest.Start(t, k.Source("orders", "billing"), inv)
			k.Produce("orders", "a")
			time.Sleep(time.Second)
			if now, most := inv.Running(); now != 1 || most != 1 {
				t.Errorf("%d calls run, at most %d", now, most)
			}
		})
		wantFailure(t, failures, "did not stop well", "1 call ignores that its context ended")
	})
}

// TestOutage is what ExampleNewServer shows.
func TestOutage(t *testing.T) { synctest.Test(t, outage) }

// TestBillingIsBack runs the Example of Start.
func TestBillingIsBack(t *testing.T) { billingIsBack(t) }
