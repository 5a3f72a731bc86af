package kafka

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/redact"
)

// A diagnosis says what it means that a connection failed, and what to do, where
// the client's words do not. The zero value is none.
type diagnosis struct {
	what string // what the other side did, or is; it follows its address
	do   string
}

const (
	giveTLS   = "if it wants TLS, give kgo.DialTLSConfig in Source.Client"
	otherPort = "give the address of a broker's listener"
)

// Signs are what the client (v1.22.3) says. Its errors have no types for most of
// this, so a test holds each of them to a connection that fails in that way.
var signs = []struct {
	sign string
	diagnosis
}{
	{"tls alert record", diagnosis{"speaks TLS, and this client does not", "give kgo.DialTLSConfig in Source.Client"}},
	{"is TLS missing?", diagnosis{"ends connections before it answers anything: it wants TLS, or is no Kafka", giveTLS + "; otherwise " + otherPort}},
	{"is TLS misconfigured", endsTLS},
	{"first record does not look like a TLS handshake", diagnosis{"does not speak TLS", "leave kgo.DialTLSConfig out of Source.Client, or " + otherPort + " that has TLS"}},
	{"is SASL missing?", diagnosis{"ends connections at the first request: it wants a login, or is no Kafka", "give kgo.SASL in Source.Client, or " + otherPort + " that takes none"}},
	{"beginning of an HTTP response", diagnosis{"is no Kafka: it answers with HTTP", otherPort}},
	{"invalid negative response size", noKafka},
	{"correlation ID mismatch", noKafka},
	{"short response from ApiVersions", noKafka},
	{"response did not contain enough data", noKafka},
}

var endsTLS = diagnosis{"ends connections when TLS begins: it does not speak TLS, or is no Kafka", "leave kgo.DialTLSConfig out of Source.Client, or " + otherPort + " that has TLS"}

var noKafka = diagnosis{"is no Kafka: what it answers is not Kafka's protocol", otherPort}

// sizeOf finds the first four bytes of an answer that was taken for the size of a
// response.
var sizeOf = regexp.MustCompile(`invalid large response size (\d+)`)

// diagnose judges an error that was kept.
func diagnose(err error) diagnosis {
	text := err.Error()
	if r, ok := guard.Find[tls.RecordHeaderError](err); ok && string(r.RecordHeader[:4]) == "HTTP" {
		return diagnosis{"is no Kafka: it answers with HTTP", otherPort}
	}
	for _, s := range signs {
		if strings.Contains(text, s.sign) {
			return s.diagnosis
		}
	}
	if size := sizeOf.FindStringSubmatch(text); size != nil {
		n, _ := strconv.ParseUint(size[1], 10, 32)
		begins := string(binary.BigEndian.AppendUint32(nil, uint32(n)))
		if strings.IndexFunc(begins, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			return noKafka
		}
		return diagnosis{fmt.Sprintf("is no Kafka: its answer begins with %q", begins), otherPort}
	}
	// Find, because the error may be a user's, whose methods may do anything.
	op, _ := guard.Find[*net.OpError](err)
	code, _ := guard.Find[*kerr.Error](err)
	errno, _ := guard.Find[syscall.Errno](err)
	switch {
	case code == kerr.IllegalSaslState:
		return diagnosis{"takes no login", "leave kgo.SASL out of Source.Client, or " + otherPort + " that has logins"}
	case code == kerr.UnsupportedSaslMechanism:
		return diagnosis{"does not know this kind of login", "give kgo.SASL a mechanism in Source.Client that the broker has in sasl.enabled.mechanisms"}
	case op != nil && op.Op == "dial":
		return diagnosis{}
	case (errno == syscall.ECONNRESET || errno == syscall.EPIPE) && strings.HasPrefix(text, "unable to dial"):
		return endsTLS // of a dialer that shakes hands
	case errno == syscall.ECONNRESET || errno == syscall.EPIPE:
		return diagnosis{"resets connections before it answers anything: it wants TLS, or is no Kafka", giveTLS + "; otherwise " + otherPort}
	case strings.HasSuffix(text, "i/o timeout"):
		return diagnosis{"takes connections and does not answer: it hangs, wants TLS, or is no Kafka", giveTLS + "; otherwise " + otherPort}
	case strings.HasPrefix(text, "unable to dial: context deadline exceeded"):
		return diagnosis{"takes connections and does not answer when TLS begins: it hangs, or does not speak TLS", "leave kgo.DialTLSConfig out of Source.Client, or " + otherPort + " that has TLS"}
	case text == io.EOF.Error():
		return diagnosis{"ends connections during the login: it takes none, or not this one", "look at kgo.SASL in Source.Client, and at the broker's log"}
	}
	return diagnosis{}
}

// A network remembers which addresses answered, and explains why others do not.
//
// A cluster is entered at a seed, and says itself at which addresses its brokers
// are reached (advertised.listeners). A broker in a container often names one that
// means something inside only: the seed answers, and nothing after it. That an
// address is from the cluster, and never answered, is known from the number of its
// broker: seeds have none.
type network struct {
	mu       sync.Mutex
	seed     string          // the last one that answered
	answered map[string]bool // by address
	broken   map[string]breakdown
	order    int
}

// A breakdown is why an address did not answer last.
type breakdown struct {
	err   error
	means diagnosis
	order int
}

// explain notes how a connection to a broker went, and says what it means that it
// failed.
func (n *network) explain(b kgo.BrokerMetadata, err error) error {
	address := redact.Address(guard.Cut(net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), 300))
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		if n.answered == nil {
			n.answered, n.broken = map[string]bool{}, map[string]breakdown{}
		}
		if n.answered[address] = true; b.NodeID < 0 {
			n.seed = address
		}
		delete(n.broken, address)
		return nil
	}
	kept := guard.Keep(err)
	f := breakdown{means: diagnose(kept), err: kept, order: n.order}
	n.order++
	said := redact.Text(kept.Error())
	switch {
	case b.NodeID >= 0 && n.seed != "" && !n.answered[address]:
		f.err = guard.Holding(n.advertised(b, address, f.means, kept, said), kept)
	case f.means != diagnosis{}:
		f.err = guard.Holding(f.means.of(address, said), kept)
	case b.NodeID < 0:
		if means := undialled(kept); (means != diagnosis{}) {
			f.err = guard.Holding(means.of(address, said), kept)
		}
	}
	if n.broken == nil {
		n.answered, n.broken = map[string]bool{}, map[string]breakdown{}
	}
	n.broken[address] = f
	return f.err
}

// undialled says why there is no connection to a seed, which is what somebody sees
// who runs a program for the first time.
func undialled(err error) diagnosis {
	const here = "start Kafka, or give the address of a broker's listener in Source.Brokers"
	dns, _ := guard.Find[*net.DNSError](err)
	errno, _ := guard.Find[syscall.Errno](err)
	text := err.Error()
	switch {
	case dns != nil && dns.IsNotFound:
		return diagnosis{"is not known here: there is no such host", here}
	case errno == syscall.ECONNREFUSED, strings.Contains(text, "connection refused"), strings.Contains(text, "actively refused"): // Windows
		return diagnosis{"refuses connections: nothing listens there", here}
	case strings.HasSuffix(text, "i/o timeout"), strings.HasPrefix(text, "unable to dial: context deadline exceeded"):
		return diagnosis{"does not take connections: the host is down, or a firewall is in the way", here}
	}
	return diagnosis{}
}

// of is what is said of an address.
func (d diagnosis) of(address, said string) string {
	return fmt.Sprintf("%s %s; %s (%s)", address, d.what, d.do, said)
}

// advertised says that a broker is not where the cluster says.
func (n *network) advertised(b kgo.BrokerMetadata, address string, means diagnosis, err error, said string) string {
	what, do := "cannot be reached from here", ", or start the broker if it is down"
	dns, _ := guard.Find[*net.DNSError](err)
	seed, _, _ := net.SplitHostPort(n.seed)
	switch {
	case means != diagnosis{}:
		what, do = means.what, "; or "+means.do
	case dns != nil && dns.IsNotFound:
		what, do = "is not known here", ""
	case isLoopback(b.Host) && !isLoopback(seed):
		what, do = "is this machine itself", ""
	}
	return fmt.Sprintf("the seed %s answers and says that broker %d is at %s, which %s: set advertised.listeners of the broker to an address that it has from here, or give Source.Client a kgo.Dialer that knows the way%s (%s)",
		n.seed, b.NodeID, address, what, do, said)
}

// isLoopback reports whether a host is whoever asks.
func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// of is what was said last of a connection that failed as err says, or what
// err means, or err itself.
func (n *network) of(err error) error {
	kept := guard.Keep(err)
	means := diagnose(kept)
	if (means == diagnosis{}) {
		return err
	}
	if f, ok := n.last(func(f breakdown) bool { return f.means == means }); ok {
		return f
	}
	return guard.Holding(means.of(n.who(), redact.Text(kept.Error())), kept)
}

// who names the address that a request went to, if that is plain: the only one that
// answered, or the only one that there is. What broke there last may be something
// else by now, such as a reset after an end.
func (n *network) who() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for address := range n.answered {
		if len(n.answered) == 1 {
			return address
		}
	}
	for address := range n.broken {
		if len(n.answered) == 0 && len(n.broken) == 1 {
			return address
		}
	}
	return "a broker"
}

// last is what was said last of a connection that failed, and did not come up
// since.
func (n *network) last(which func(breakdown) bool) (error, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var last breakdown
	for _, f := range n.broken {
		if which(f) && (last.err == nil || f.order > last.order) {
			last = f
		}
	}
	return last.err, last.err != nil
}
