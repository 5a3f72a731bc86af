package proof_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// listen takes connections and does this with each.
func listen(t *testing.T, f func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				f(c)
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// answers is a server that says something, at once or after it heard something.
func answers(t *testing.T, heard bool, text string) string {
	return listen(t, func(c net.Conn) {
		if heard {
			_, _ = bufio.NewReader(c).ReadByte()
		}
		_, _ = io.WriteString(c, text)
	})
}

// TestWhatIsNoKafkaIsNamed: each server is something else than what the client was
// told, and is in the error of Start by what it does, with what to do, and in the
// Problem while it starts.
func TestWhatIsNoKafkaIsNamed(t *testing.T) {
	t.Parallel()
	quietly := func(s *httptest.Server) *httptest.Server {
		s.Config.ErrorLog = nil
		t.Cleanup(s.Close)
		return s
	}
	web := quietly(httptest.NewServer(http.NotFoundHandler())).Listener.Addr().String()
	broker := func(opts ...kfake.Opt) string {
		k, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		return k.ListenAddrs()[0]
	}
	speakTLS := kgo.DialTLSConfig(&tls.Config{InsecureSkipVerify: true}) // #nosec: a test
	login := kgo.SASL(plain.Auth{User: "app", Pass: "secret"}.AsMechanism())
	hasty := kgo.RequestTimeoutOverhead(time.Second)
	ends := func(c net.Conn) { _ = c.Close() }
	for _, tt := range []struct {
		name    string
		address string
		opts    []kgo.Opt
		want    string
		do      string
	}{
		{"a web server", answers(t, true, "HTTP/1.1 400 Bad Request\r\n\r\n"), nil, "is no Kafka: it answers with HTTP", "the address of a broker's listener"},
		{"a web server, by TLS", web, []kgo.Opt{speakTLS}, "is no Kafka: it answers with HTTP", "the address of a broker's listener"},
		{"SSH", answers(t, false, "SSH-2.0-OpenSSH_9.9\r\n"), nil, `is no Kafka: its answer begins with "SSH-"`, "the address of a broker's listener"},
		{"Redis", answers(t, true, "-ERR unknown command\r\n"), nil, `is no Kafka: its answer begins with "-ERR"`, "the address of a broker's listener"},
		{"MySQL", answers(t, false, "\x4a\x00\x00\x00\x0a8.0.34\x00abcdef"), nil, "is no Kafka: what it answers is not Kafka's protocol", "the address of a broker's listener"},
		{"a negative size", answers(t, true, "\xff\x00\x00\x00abcdef"), nil, "is no Kafka", "the address of a broker's listener"},
		{"another answer", answers(t, true, "\x00\x00\x00\x08abcdefgh"), nil, "is no Kafka", "the address of a broker's listener"},
		{"an empty answer", answers(t, true, "\x00\x00\x00\x00"), nil, "is no Kafka", "the address of a broker's listener"},
		{"one that is too short", answers(t, true, "\x00\x00\x00\x05\x00\x00\x00\x00\x00"), nil, "is no Kafka", "the address of a broker's listener"},
		{"an echo", listen(t, func(c net.Conn) { _, _ = io.Copy(c, c) }), nil, "is no Kafka", "the address of a broker's listener"},
		{"an end", listen(t, ends), nil, "it wants TLS, or is no Kafka", "kgo.DialTLSConfig"},
		{"an end, by TLS", listen(t, ends), []kgo.Opt{speakTLS}, "it does not speak TLS, or is no Kafka", "leave kgo.DialTLSConfig out"},
		{"a reset", listen(t, func(c net.Conn) {
			_, _ = bufio.NewReader(c).ReadByte()
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}), nil, "resets connections", "kgo.DialTLSConfig"},
		{"silence", listen(t, func(net.Conn) {}), []kgo.Opt{hasty}, "takes connections and does not answer", "kgo.DialTLSConfig"},
		{"silence, by TLS", listen(t, func(net.Conn) {}), []kgo.Opt{speakTLS, kgo.DialTimeout(time.Second)}, "does not answer when TLS begins", "leave kgo.DialTLSConfig out"},
		{"TLS", listen(t, func(c net.Conn) { _, _ = c.Write([]byte("\x15\x03\x03\x00\x02\x02\x46")) }), nil, "speaks TLS, and this client does not", "give kgo.DialTLSConfig"},
		{"a broker without TLS", broker(), []kgo.Opt{speakTLS, kgo.DialTimeout(time.Second)}, "TLS", "leave kgo.DialTLSConfig out"},
		{"a broker without logins", broker(), []kgo.Opt{login}, "ends connections during the login: it takes none, or not this one", "kgo.SASL"},
		{"a broker with logins", broker(kfake.EnableSASL(), kfake.Superuser("PLAIN", "app", "secret")), nil, "it wants a login, or is no Kafka", "give kgo.SASL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			raised := make(chan esm.Problem, 1000)
			m := esmtest.New(t, esm.Source{Brokers: []string{tt.address}, Topics: []string{"orders"}, Group: "billing", Client: tt.opts},
				esmtest.NewInvoker(t), quiet(), esm.WithStartTimeout(3*time.Second),
				esm.WithHooks(esm.Hooks{ProblemRaised: func(i esm.Problem) { raised <- i }}))
			began := time.Now()
			err := m.Start(t.Context())
			t.Logf("after %s: %v", time.Since(began).Round(time.Millisecond), err)
			var se *esm.StartError
			if !errors.As(err, &se) || se.Doing != "read the topics" {
				t.Fatal(err)
			}
			for _, want := range []string{tt.want, tt.do} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nwant %q", err, want)
				}
			}
			if !strings.Contains(err.Error(), tt.address) {
				t.Errorf("it does not name %s: %v", tt.address, err)
			}
			for said := ""; !strings.Contains(said, tt.want) || !strings.Contains(said, tt.do); {
				select {
				case p := <-raised:
					said = p.Err.Error()
				default:
					t.Fatalf("the last problem was %q", said)
				}
			}
		})
	}
}

// TestWhereTheClusterSaysThatABrokerIs: the seed answers, the address that the
// broker advertises does not, as with a broker in a container.
func TestWhereTheClusterSaysThatABrokerIs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		advertised string
		dial       func(ctx context.Context, network, address string) (net.Conn, error)
		want       string
	}{
		{"a name of the inside", "kafka.inside.test", func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "kafka.inside.test", IsNotFound: true}}
		}, "broker 0 is at kafka.inside.test:9092, which is not known here: set advertised.listeners"},
		{"this machine", "localhost", func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		}, "broker 0 is at localhost:9092, which is this machine itself: set advertised.listeners"},
		{"nobody", "10.0.0.7", func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")}
		}, "broker 0 is at 10.0.0.7:9092, which cannot be reached from here: set advertised.listeners"},
		{"something else", "10.0.0.7", func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, answers(t, true, "HTTP/1.1 400 Bad Request\r\n\r\n"))
		}, "broker 0 is at 10.0.0.7:9092, which is no Kafka: it answers with HTTP: set advertised.listeners"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// The cluster is where the seed's name leads, and says that it is elsewhere.
			at := ""
			k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.ListenFn(func(network, address string) (net.Listener, error) {
				l, err := net.Listen(network, address)
				if err == nil {
					at = l.Addr().String()
				}
				return advertising{l, tt.advertised}, err
			}))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(k.Close)
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				if address == "seed.test:29092" {
					return new(net.Dialer).DialContext(ctx, network, at)
				}
				return tt.dial(ctx, network, address)
			}
			raised := make(chan esm.Problem, 1000)
			m := esmtest.New(t, esm.Source{Brokers: []string{"seed.test:29092"}, Topics: []string{"orders"}, Group: "billing", Client: []kgo.Opt{kgo.Dialer(dial)}},
				esmtest.NewInvoker(t), quiet(), esm.WithStartTimeout(3*time.Second),
				esm.WithHooks(esm.Hooks{ProblemRaised: func(i esm.Problem) { raised <- i }}))
			err = m.Start(t.Context())
			t.Log(err)
			for _, want := range []string{"the seed seed.test:29092 answers", tt.want, "kgo.Dialer"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nwant %q", err, want)
				}
			}
			if p := <-raised; !strings.HasPrefix(p.With, "connection to ") || !strings.Contains(p.Err.Error(), tt.want) {
				t.Errorf("the first problem: %+v", p)
			}
		})
	}
}

// An advertising listener says that it is elsewhere.
type advertising struct {
	net.Listener
	host string
}

func (a advertising) Addr() net.Addr { return address(net.JoinHostPort(a.host, "9092")) }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
