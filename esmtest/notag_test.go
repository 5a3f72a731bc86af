//go:build !synctests

package esmtest_test

import (
	"testing"
	"testing/synctest"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

func TestKafkaInABubbleWithoutTheTagFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := watch(t, func(t testing.TB) {
			esmtest.NewKafka(t, esmtest.Topic("orders", 1))
			t.Error("it went on")
		})
		wantFailure(t, failures, "build tag synctests", "go test -tags synctests")
	})
}

func TestStormInABubbleWithoutTheTagFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := watch(t, func(t testing.TB) {
			esmtest.Storm(t, 1, twentyOrders(), func() esm.Invoker {
				t.Error("it went on")
				return nil
			})
		})
		wantFailure(t, failures, "build tag synctests", "go test -tags synctests")
	})
}
