// Package kafkadest is a Destination into a Kafka topic: for the records that a
// Mapping gives up.
//
//	dest, err := kafkadest.New(kafkadest.Config{Brokers: brokers, Topic: "orders-failed"})
//	...
//	m, err := esm.New(source, invoker, esm.WithMaxRetries(10), esm.WithDestination(dest))
//
// A message is the record as it was, with headers that say why it was given up and
// where it is from. [FormatDocument] sends AWS's document instead.
//
// The host makes it and closes it, after the Mapping has stopped. One
// Destination may serve several Mappings.
//
// # What it promises
//
// A record is taken when all replicas of the topic that are in sync have it.
// Until then its partition of the source waits, whatever is wrong with the
// cluster, and nothing is lost; [esm.State].Problems says what is wrong, in the
// broker's words. (AWS drops such records.)
//
// The client's own retries repeat nothing: its producer is idempotent. Nor does
// a call of Deliver that ends too early: the client takes its message back if it
// still can, and otherwise the next call for the record waits for that message
// instead of sending another. So a record may come twice only if the process
// dies before the offset of the record is committed, if the partition of the
// source moves to another process while the message is on its way, or if a
// broker has lost its memory of the producer, as after an unclean election.
//
// A record that is larger than the topic takes stays: raise the topic's
// max.message.bytes. Up to 96 MiB before compression, the broker decides what is
// too large; more is never sent.
//
// # Rights
//
// The client needs Describe and Write on the topic, and before Kafka 2.8
// IdempotentWrite on the cluster.
package kafkadest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/redact"
)

var (
	// ErrClosed: the Destination was closed.
	ErrClosed = errors.New("kafkadest: the destination was closed")
	// ErrSourceTopic: the record is from the topic into which it should go,
	// where it would be read again and fail again.
	ErrSourceTopic = errors.New("kafkadest: a record must not go into the topic that it is from")
)

// A Destination sends records to a topic. Make it with [New].
type Destination struct {
	config Config
	// alone is held by whoever sends with the client for large records.
	alone  chan struct{}
	closed chan struct{}

	mu      sync.Mutex
	clients [2]*kgo.Client // by size; nil until they are needed
	ended   bool
	// sendings are those of which a later Deliver may want to know. There is
	// one at most for each partition of the source, because a Mapping delivers
	// the records of one partition one after the other.
	sendings map[lane]*sending
	trouble  error // of the last connection that failed, nil after one that did not
}

var _ esm.Destination = (*Destination)(nil)

// New makes a Destination. It reports all mistakes in the Config at once, joined
// with errors.Join, most of them as an [esm.OptionError]. It does not connect:
// whether the cluster and the topic are there shows at the first delivery.
func New(c Config) (*Destination, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Brokers, c.Client = slices.Clone(c.Brokers), slices.Clone(c.Client)
	d := &Destination{config: c, alone: make(chan struct{}, 1), closed: make(chan struct{}), sendings: map[lane]*sending{}}
	if _, err := d.client(usual); err != nil {
		return nil, err
	}
	return d, nil
}

// A size says which client a message goes with.
type size int

const (
	// usual messages share batches, of at most the megabyte that a topic takes
	// unless it is told otherwise.
	usual size = iota
	// large ones did not fit, and go one at a time. In most processes there is
	// never one.
	large
)

// client returns the client for a size, and makes it if there is none.
func (d *Destination) client(s size) (*kgo.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return nil, ErrClosed
	}
	if d.clients[s] == nil {
		cl, err := kgo.NewClient(append(d.config.options(s), kgo.WithHooks(connections{d}))...)
		if err != nil {
			return nil, fmt.Errorf("kafkadest: make a client: %w", redact.Error(err, nil))
		}
		d.clients[s] = cl
	}
	return d.clients[s], nil
}

// renew closes a client, so that the next message gets another one. Whoever
// waits for a message of the old one sends it again.
func (d *Destination) renew(s size, old *kgo.Client) {
	d.mu.Lock()
	first := d.clients[s] == old
	if first {
		d.clients[s] = nil
	}
	d.mu.Unlock()
	if first {
		old.Close()
	}
}

// Close closes the connections. Deliveries that run, and later ones, return
// [ErrClosed]; what was not acknowledged was not taken. Close the Destination
// after the Mappings that use it have stopped. It may be called twice.
func (d *Destination) Close() {
	d.mu.Lock()
	was, clients := d.ended, d.clients
	d.ended, d.clients = true, [2]*kgo.Client{}
	d.mu.Unlock()
	if was {
		<-d.closed
		return
	}
	for _, cl := range clients {
		if cl != nil {
			cl.Close()
		}
	}
	close(d.closed)
}

// connections hears what goes wrong with connections: a delivery whose time is
// over should say why.
type connections struct{ d *Destination }

var _ kgo.HookBrokerConnect = connections{}

func (h connections) OnBrokerConnect(b kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	if err != nil {
		err = fmt.Errorf("connection to %s: %w", net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), redact.Error(err, nil))
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.d.trouble = err
}
