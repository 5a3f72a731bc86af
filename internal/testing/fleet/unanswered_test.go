package fleet_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/lambdaapi"
)

// endTxn is the key of the request that commits.
const endTxn = 26

// A losing loses the answers to requests to commit.
type losing struct {
	asked, lost atomic.Int64
}

// dial makes a connection that ends instead of the answer to every second request to commit.
func (l *losing) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &losingConn{Conn: c, of: l}, nil
}

type losingConn struct {
	net.Conn
	of   *losing
	lose atomic.Bool
}

// Write writes a request, which the client does with one call.
func (c *losingConn) Write(b []byte) (int, error) {
	if len(b) >= 6 && binary.BigEndian.Uint16(b[4:]) == endTxn && c.of.asked.Add(1)%2 == 1 {
		c.lose.Store(true)
	}
	return c.Conn.Write(b)
}

// Read ends the connection when an answer is there that is to be lost: it was carried out.
func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.lose.Load() {
		c.of.lost.Add(1)
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// TestUnanswered: a change whose commit was not answered is made once, and not twice.
func TestUnanswered(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *kafka) {
		t.Run("the Store finds out", func(t *testing.T) { unanswered(t, k, kgo.RequestRetries(0)) })
		t.Run("the client asks again", func(t *testing.T) { unanswered(t, k) })
	})
}

func unanswered(t *testing.T, k *kafka, opts ...kgo.Opt) {
	const writes = 10
	l := &losing{}
	s, err := lambdaapi.OpenTopic(t.Context(), k.compacted(t), append(opts, kgo.SeedBrokers(k.brokers...), kgo.Dialer(l.dial))...)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	decided := 0
	for i := range writes {
		err := s.Change(t.Context(), func(all map[string]lambdaapi.Record) (lambdaapi.Change, error) {
			decided++
			r := change(0, 0, nil).Record
			r.UUID, r.Replaced = counted, all[counted].Replaced+1
			return lambdaapi.Change{UUID: counted, Record: r}, nil
		})
		if err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	all, err := s.All(t.Context())
	if err != nil || all[counted].Replaced != writes {
		t.Errorf("%d changes were made %d times: %v", writes, all[counted].Replaced, err)
	}
	if l.lost.Load() == 0 {
		t.Error("no answer was lost")
	}
	t.Logf("%d changes, decided %d times; %d of %d answers were lost", writes, decided, l.lost.Load(), l.asked.Load())
}
