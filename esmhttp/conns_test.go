package esmhttp_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmhttp"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/connstest"
)

// reached makes an Invoker with its own transport, and the network that this goes
// through.
func reached(t *testing.T, version int, h http.HandlerFunc, opts ...esmhttp.Option) (*esmhttp.Invoker, *connstest.Net) {
	t.Helper()
	server := esmtest.NewTLSServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != version {
			t.Errorf("the protocol is %s", r.Proto)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		h(w, r)
	}))
	net := connstest.New(server.DialContext)
	usual := http.DefaultTransport
	own := usual.(*http.Transport).Clone()
	own.DialContext, own.Proxy, own.ForceAttemptHTTP2 = net.DialContext, nil, version == 2
	http.DefaultTransport = own
	defer func() { http.DefaultTransport = usual }()
	roots := &tls.Config{RootCAs: server.Transport().TLSClientConfig.RootCAs}
	inv := invoker(t, server.URL, append(opts, esmhttp.WithTLS(roots))...)
	if own.HTTP2 != nil {
		t.Error("the host's transport has changed")
	}
	return inv, net
}

func TestADeadConnectionCostsOneAttempt(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		inv, net := reached(t, version, connstest.ASecond, esmhttp.WithTimeout(5*time.Second))
		connstest.Outcomes(inv, 10)
		net.Swallow()
		failed := 0
		for range 10 {
			failed += connstest.Outcomes(inv, 1)[esm.OutcomeFailure]
		}
		if failed != 1 {
			t.Errorf("%d of 10 calls were attempts", failed)
		}
	})
}

// The time-out of a call is longer than that of a ping, so HTTP/2 says it sooner.
func TestACallInADeadConnectionEndsWithAPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inv, net := reached(t, 2, connstest.ASecond, esmhttp.WithTimeout(time.Hour))
		connstest.Outcomes(inv, 10)
		net.Swallow()
		since := time.Now()
		if found := connstest.Outcomes(inv, 5); found[esm.OutcomeFailure] != 5 {
			t.Errorf("%v", found)
		}
		if d := time.Since(since); d > 30*time.Second {
			t.Errorf("it took %s", d)
		}
		if found := connstest.Outcomes(inv, 5); found[esm.OutcomeSuccess] != 5 {
			t.Errorf("afterwards: %v", found)
		}
	})
}

func TestAConnectionThatWasClosedIdleIsNoAttempt(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		var calls atomic.Int64
		inv, net := reached(t, version, func(_ http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			for name := range r.Header {
				if strings.Contains(name, "Idempotency") {
					t.Errorf("a header %s", name)
				}
			}
		}, esmhttp.WithFormat(esmhttp.CloudEventBatch))
		for range 10 {
			connstest.Outcomes(inv, 5)
			net.CloseOnWrite(io.EOF)
		}
		if found := connstest.Outcomes(inv, 10); found[esm.OutcomeSuccess] != 10 || calls.Load() != 60 {
			t.Errorf("%v, with %d calls", found, calls.Load())
		}
	})
}

// A transport of the host is used as it is.
func TestATransportOfTheHostStaysAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := esmtest.NewTLSServer(t, http.HandlerFunc(connstest.ASecond))
		server.Transport().HTTP2 = &http.HTTP2Config{SendPingTimeout: time.Minute}
		inv := invoker(t, server.URL, esmhttp.WithTransport(server.Transport()))
		connstest.Outcomes(inv, 3)
		if h := server.Transport().HTTP2; !reflect.DeepEqual(h, &http.HTTP2Config{SendPingTimeout: time.Minute}) {
			t.Errorf("%+v", h)
		}
	})
}
