package proof_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestWhyNothingComesIsSaidWithinTwoSeconds: who runs a program for the first time
// has no Kafka where it looks for one. Start goes on trying, for Kafka may be about
// to start, and says at once what it tries, why that fails and what to do.
func TestWhyNothingComesIsSaidWithinTwoSeconds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	swallows := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	silent := func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, there) }()
		return here, nil
	}
	notFound := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "kafka.test", IsNotFound: true}}
	}
	real := func(t *testing.T, f func(*testing.T)) { f(t) }
	const advice = "start Kafka, or give the address of a broker's listener in Source.Brokers"
	for _, tt := range []struct {
		name    string
		run     func(*testing.T, func(*testing.T))
		address string
		opts    []kgo.Opt
		want    []string
	}{
		{"a closed port", real, closed, nil, []string{closed + " refuses connections: nothing listens there", advice}},
		{"no such host", virtual, "kafka.test:9092", []kgo.Opt{kgo.Dialer(notFound)}, []string{"kafka.test:9092 is not known here", advice}},
		{"a host that swallows packets", virtual, "10.0.0.7:9092", []kgo.Opt{kgo.Dialer(swallows)}, []string{"no broker has answered yet", "10.0.0.7:9092", "firewall"}},
		{"a listener that says nothing", virtual, "10.0.0.7:9092", []kgo.Opt{kgo.Dialer(silent)}, []string{"no broker has answered yet", "10.0.0.7:9092"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.run(t, func(t *testing.T) {
				var lines list[string]
				said := make(chan struct{}, 100)
				m := esmtest.New(t, esm.Source{Brokers: []string{tt.address}, Topics: []string{"orders"}, Group: "billing", Client: tt.opts}, esmtest.NewInvoker(t),
					esm.WithLogger(logger(func(line string) {
						lines.add(line)
						if strings.Contains(line, "level=WARN") {
							said <- struct{}{}
						}
					})))
				ctx, end := context.WithCancel(t.Context())
				defer end()
				ended := make(chan error, 1)
				began := time.Now()
				go func() { ended <- m.Start(ctx) }()
				select {
				case <-said:
				case err := <-ended:
					t.Fatalf("Start gave up after %s: %v", time.Since(began), err)
				case <-time.After(10 * time.Second):
					t.Fatalf("nothing was said:\n%s", strings.Join(lines.all(), ""))
				}
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("it took %s", took)
				}
				for _, want := range tt.want {
					if all := strings.Join(lines.all(), ""); !strings.Contains(all, want) {
						t.Errorf("want %q in\n%s", want, all)
					}
				}
				end()
				<-ended
			})
		})
	}
}
