package awslambda_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awslambda"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/connstest"
)

// reached makes an Invoker with the SDK's own client, and the network that this
// goes through.
func reached(t *testing.T, version int, h http.HandlerFunc, change func(*awshttp.BuildableClient) *awshttp.BuildableClient, opts ...awslambda.Option) (*awslambda.Invoker, *connstest.Net) {
	t.Helper()
	server := esmtest.NewTLSServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != version {
			t.Errorf("the protocol is %s", r.Proto)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		h(w, r)
		_, _ = io.WriteString(w, `null`)
	}))
	net := connstest.New(server.DialContext)
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.DialContext, t.Proxy = net.DialContext, nil
		if version == 1 { // the SDK's transport asks for both already
			t.TLSClientConfig.NextProtos, t.TLSNextProto = []string{"http/1.1"}, map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		t.TLSClientConfig.RootCAs = server.Transport().TLSClientConfig.RootCAs
	})
	if change != nil {
		client = change(client)
	}
	c := config(server.URL)
	c.HTTPClient = client
	inv, err := awslambda.New(c, "orders", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := inv.Close(); err != nil {
			t.Error(err)
		}
	})
	if client.GetTransport().HTTP2 != nil {
		t.Error("the host's client has changed")
	}
	return inv, net
}

// Whether the time is that of the Invoker or of the SDK's client.
func TestADeadConnectionCostsOneAttempt(t *testing.T) {
	short := func(c *awshttp.BuildableClient) *awshttp.BuildableClient { return c.WithTimeout(5 * time.Second) }
	for name, s := range map[string]struct {
		change func(*awshttp.BuildableClient) *awshttp.BuildableClient
		opts   []awslambda.Option
	}{
		"WithTimeout":        {opts: []awslambda.Option{awslambda.WithTimeout(5 * time.Second)}},
		"the SDK's time-out": {change: short},
	} {
		t.Run(name, func(t *testing.T) {
			connstest.EachVersion(t, func(t *testing.T, version int) {
				inv, net := reached(t, version, connstest.ASecond, s.change, s.opts...)
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
		})
	}
}

// A call may take a quarter of an hour, and says nothing meanwhile. A connection
// that is dead is found in half a minute even so.
func TestALongCallIsToldFromADeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inv, net := reached(t, 2, func(http.ResponseWriter, *http.Request) { time.Sleep(15 * time.Minute) }, nil)
		if found := connstest.Outcomes(inv, 3); found[esm.OutcomeSuccess] != 3 {
			t.Errorf("%v", found)
		}
		time.AfterFunc(time.Second, net.Swallow)
		since := time.Now()
		if found := connstest.Outcomes(inv, 3); found[esm.OutcomeFailure] != 3 {
			t.Errorf("in a dead connection: %v", found)
		}
		if d := time.Since(since); d > 32*time.Second {
			t.Errorf("it took %s", d)
		}
		if found := connstest.Outcomes(inv, 3); found[esm.OutcomeSuccess] != 3 {
			t.Errorf("afterwards: %v", found)
		}
	})
}

func TestAConnectionThatWasClosedIdleIsNoAttempt(t *testing.T) {
	connstest.EachVersion(t, func(t *testing.T, version int) {
		inv, net := reached(t, version, connstest.ASecond, nil)
		for range 10 {
			connstest.Outcomes(inv, 5)
			net.CloseOnWrite(io.EOF)
		}
		if found := connstest.Outcomes(inv, 10); found[esm.OutcomeSuccess] != 10 {
			t.Errorf("%v", found)
		}
	})
}
