package proof_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// hangUp is a connection to a broker that ends it before it says anything, as
// one does that wants TLS and gets none, or that is cut off just then.
func hangUp() net.Conn {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		var size [4]byte
		if _, err := io.ReadFull(there, size[:]); err == nil {
			_, _ = io.CopyN(io.Discard, there, int64(binary.BigEndian.Uint32(size[:])))
		}
	}()
	return here
}

// TestBrokerThatHangsUpOnceDoesNotFailStart: the cluster has answered before,
// so what is spoken is right, and a broker that ends a connection will take
// the next one.
func TestBrokerThatHangsUpOnceDoesNotFailStart(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 6), esmtest.Brokers(3))
		// kfake draws the leaders: the one that does not hang up could lead them all.
		if err := k.Cluster().MoveTopicPartition("orders", 0, 1); err != nil {
			t.Fatal(err)
		}
		k.Produce("orders", "a")
		source := k.Source("orders", "billing")
		seed := source.Brokers[0]
		source.Brokers = source.Brokers[:1]
		var hung atomic.Int64
		source.Client = append(source.Client, kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != seed && hung.Add(1) <= 20 {
				return hangUp(), nil
			}
			return k.Dial(ctx, network, addr)
		}))
		inv := esmtest.NewInvoker(t)
		esmtest.Start(t, source, inv, quiet())
		inv.Wait(1)
		if n := hung.Load(); n < 20 {
			t.Errorf("only %d connections ended", n)
		}
	})
}

// TestClusterThatAlwaysHangsUpFailsStart: within seconds, with the client's
// guess at why.
func TestClusterThatAlwaysHangsUpFailsStart(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		source := k.Source("orders", "billing")
		source.Client = append(source.Client, kgo.Dialer(func(context.Context, string, string) (net.Conn, error) { return hangUp(), nil }))
		m := esmtest.New(t, source, esmtest.NewInvoker(t), quiet())
		began := time.Now()
		err := m.Start(t.Context())
		var se *esm.StartError
		if !errors.As(err, &se) || !strings.Contains(err.Error(), "is TLS missing") {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("that took %s", took)
		}
	})
}
