package connstest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// EachVersion runs a test in virtual time with both versions of HTTP.
func EachVersion(t *testing.T, f func(t *testing.T, version int)) {
	for version, name := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2"} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, version) }) })
	}
}

// Outcomes makes so many calls at once, with a small batch each, and counts what
// came of them.
func Outcomes(inv esm.Invoker, n int) map[esm.Outcome]int {
	var mu sync.Mutex
	found := map[esm.Outcome]int{}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			err := inv.Invoke(context.Background(), &esm.Batch{
				Records: []*kgo.Record{{Topic: "orders", Value: []byte("v")}}, ID: "b1", Attempt: 1, Mapping: "tests", Group: "billing",
			})
			mu.Lock()
			defer mu.Unlock()
			found[esm.Classify(context.Background(), err)]++
		})
	}
	all.Wait()
	return found
}

// ASecond is a handler that takes one.
func ASecond(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) }

// Raw starts a server that answers with these bytes, be they HTTP or not, and
// hangs up.
func Raw(t *testing.T, answer func(r *http.Request) []byte) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = c.Write(answer(r)) // the client may have enough
	}))
	t.Cleanup(server.Close)
	return server
}

// A Tripper is a func that is an [http.RoundTripper].
type Tripper func(r *http.Request) (*http.Response, error)

// RoundTrip calls the func.
func (t Tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }
