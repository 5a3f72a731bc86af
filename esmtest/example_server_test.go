package esmtest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm/esmhttp"
	"github.com/seed429fd032/esm/esmtest"
)

// outage tests what becomes of records while the service that takes them is
// down for half an hour. It runs in a moment.
func outage(t *testing.T) {
	began := time.Now()
	service := esmtest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if time.Since(began) < 30*time.Minute {
			w.Header().Set("Retry-After", "300") // seconds
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	inv, err := esmhttp.New(service.URL+"/records", esmhttp.WithTransport(service.Transport()))
	if err != nil {
		t.Fatal(err)
	}
	kafka := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	m := esmtest.Start(t, kafka.Source("orders", "billing"), inv)
	kafka.Produce("orders", "tea", "coffee")

	time.Sleep(20 * time.Minute)
	if got := kafka.Committed("billing", "orders", 0); got > 0 {
		t.Errorf("committed %d while the service is down", got)
	}
	time.Sleep(15 * time.Minute)
	if got := kafka.Committed("billing", "orders", 0); got != 2 {
		t.Errorf("committed %d after the outage", got)
	}
	if s := m.Stats(); s.ThrottleCount != 6 || s.InvokeErrorCount > 0 {
		t.Errorf("%d throttles, which should be one in five minutes, and %d errors", s.ThrottleCount, s.InvokeErrorCount)
	}
}

// An outage of half an hour of a service that is called by HTTP. Run it with
//
//	go test -tags synctests
func ExampleNewServer() {
	var t *testing.T // of func TestOutage(t *testing.T)
	synctest.Test(t, outage)
}
