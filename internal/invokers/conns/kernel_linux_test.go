package conns_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/invokers/conns"
)

// A server that takes nothing ends a connection of HTTP/1.1 long before the time
// of the call, which may be a quarter of an hour. It has real sockets: their
// kernel is the subject.
func TestTheKernelEndsAConnectionThatTakesNothing(t *testing.T) {
	conns.SetSilence(t, time.Second)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // nobody accepts: the kernel does, up to a window
	pool := conns.New(&http.Transport{DialContext: new(net.Dialer).DialContext})
	defer pool.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	body := make([]byte, 32<<20)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+listener.Addr().String(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := pool.RoundTrip(r)
	if err == nil {
		answer.Body.Close()
	}
	if err == nil || ctx.Err() != nil || !errors.Is(err, syscall.ETIMEDOUT) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("%v, and the context says %v", err, ctx.Err())
	}
}
