package kafkadest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/redact"
)

// A lane is a partition of a source, as one Mapping reads it.
type lane struct {
	mapping, group, brokers, topic string
	partition                      int32
}

// A sending is a message that is on its way. The client cannot take back what
// it has sent, so the message may go on when the Deliver that began it has
// returned. The next Deliver for the record waits for it then; if it sent
// another, both would arrive.
//
// Rejected: to let the client forget what it has sent
// (AllowIdempotentProduceCancellation), which repeats a record whenever a broker
// is slow; and to wait on in Deliver, which would hold up a stop and a
// rebalance.
type sending struct {
	offset int64
	stamp  time.Time
	size   size
	client *kgo.Client
	done   chan struct{}
	err    error // once done
}

// patience is how often a message is sent again that failed because another one
// before it in its batch was taken back.
const patience = 100

// Deliver sends the record and waits until it is acknowledged, at most until
// ctx ends. What can pass by itself the client tries a few times, for some
// seconds. An error means that the record is not known to be taken; what it says
// of the broker is found with errors.Is (kerr.MessageTooLarge and so on).
//
// It refuses a record of its own topic ([ErrSourceTopic]) if the source shares a
// broker with the Destination, seed or not, or says nothing of its brokers. The
// same name in another cluster is no matter. Brokers are compared by their
// addresses. Calls at once are sent together.
func (d *Destination) Deliver(ctx context.Context, g *esm.Discard) error {
	if err := d.checkLoop(ctx, g); err != nil {
		return err
	}
	var m *kgo.Record // made once it is needed
	with := usual
	for range patience {
		s := d.pending(g)
		if s == nil {
			if m == nil {
				m = message(d.config.Topic, d.config.Format, g, time.Now())
			}
			var err error
			if s, err = d.send(ctx, g, m, with); err != nil {
				return err
			}
			m = nil // the client's now
		}
		select {
		case <-s.done:
		case <-d.closed:
			return ErrClosed
		case <-ctx.Done():
			return d.late(ctx)
		}
		d.forget(g, s)
		switch {
		case s.err == nil:
			return nil
		case ctx.Err() != nil:
			return d.late(ctx)
		case errors.Is(s.err, context.Canceled), errors.Is(s.err, context.DeadlineExceeded):
			// Not ours: the client failed all that waited behind a message
			// whose Deliver had ended. It was not sent.
		case errors.Is(s.err, kgo.ErrClientClosed):
			// By renew, unless the Destination was closed, which send says.
		case errors.Is(s.err, kerr.MessageTooLarge) && s.size == usual:
			// It may have been the batch that was too large, or the limit of
			// the client.
			with = large
		case errors.Is(s.err, kerr.UnknownTopicID), errors.Is(s.err, kerr.ClusterAuthorizationFailed):
			// The client would stay with the topic that was deleted when
			// another one of that name is there, and with the refusal when the
			// right was given, for ever.
			d.renew(s.size, s.client)
			return d.explain(s.err)
		default:
			return d.explain(s.err)
		}
	}
	return fmt.Errorf("kafkadest: topic %q: the client took the message back %d times", d.config.Topic, patience)
}

// pending returns what an earlier Deliver for the same record left, or nil: a
// message that is on its way, or that arrived since.
func (d *Destination) pending(g *esm.Discard) *sending {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sendings[laneOf(g)]
	if s == nil || s.offset != g.Record.Offset || !s.stamp.Equal(g.Record.Timestamp) {
		return nil
	}
	select {
	case <-s.done:
		// The first try of a record that comes again, perhaps because somebody
		// set the group back, is not answered with what became of the last one.
		if s.err != nil || g.Delivery <= 1 {
			return nil
		}
	default:
	}
	return s
}

// send gives a message to a client.
func (d *Destination) send(ctx context.Context, g *esm.Discard, m *kgo.Record, with size) (*sending, error) {
	release := func() {}
	if with == large {
		// One at a time, so that each is a batch of its own, and what the
		// broker says is said of this one.
		select {
		case d.alone <- struct{}{}:
		case <-d.closed:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, d.late(ctx)
		}
		release = func() { <-d.alone }
	}
	client, err := d.client(with)
	if err != nil {
		release()
		return nil, err
	}
	s := &sending{offset: g.Record.Offset, stamp: g.Record.Timestamp, size: with, client: client, done: make(chan struct{})}
	d.mu.Lock()
	d.sendings[laneOf(g)] = s
	d.mu.Unlock()
	client.Produce(ctx, m, func(_ *kgo.Record, err error) {
		s.err = redact.Error(err, nil) // a broker, or a dialer of the host, may say as much as it likes
		close(s.done)
		release()
	})
	return s, nil
}

// forget drops a sending of which this Deliver has heard.
func (d *Destination) forget(g *esm.Discard, s *sending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l := laneOf(g); d.sendings[l] == s {
		delete(d.sendings, l)
	}
}

func laneOf(g *esm.Discard) lane {
	return lane{g.Mapping, g.Group, strings.Join(g.Brokers, ","), g.Record.Topic, g.Record.Partition}
}

// checkLoop refuses a record that would come back.
func (d *Destination) checkLoop(ctx context.Context, g *esm.Discard) error {
	if g.Record.Topic != d.config.Topic {
		return nil
	}
	refused := fmt.Errorf("%w: %q. Change Config.Topic", ErrSourceTopic, d.config.Topic)
	ours := map[string]bool{}
	for _, b := range d.config.Brokers {
		ours[address(b)] = true
	}
	shared := func() bool {
		for _, b := range g.Brokers {
			if ours[address(b)] {
				return true
			}
		}
		return len(g.Brokers) == 0
	}
	if shared() {
		return refused
	}
	// The same name in another cluster is none of our business, but the seeds
	// of one cluster may be written in many ways. So the cluster is asked.
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	client, err := d.client(usual)
	if err != nil {
		return err
	}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		if ctx.Err() != nil {
			return d.late(ctx)
		}
		return d.explain(redact.Error(err, nil))
	}
	for _, b := range resp.Brokers {
		ours[address(net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))))] = true
	}
	if shared() {
		return refused
	}
	return nil
}

// address is a broker as it is compared.
func address(s string) string {
	if host, port, err := net.SplitHostPort(s); err == nil {
		return strings.ToLower(net.JoinHostPort(host, port))
	}
	return strings.ToLower(net.JoinHostPort(s, "9092"))
}

// late is the error of a Deliver whose time was over.
func (d *Destination) late(ctx context.Context) error {
	d.mu.Lock()
	trouble := d.trouble
	d.mu.Unlock()
	if trouble != nil {
		return fmt.Errorf("kafkadest: topic %q: not acknowledged in time: %w; %w", d.config.Topic, context.Cause(ctx), trouble)
	}
	return fmt.Errorf("kafkadest: topic %q: not acknowledged in time: %w", d.config.Topic, context.Cause(ctx))
}

// explain says what the broker or the client said, and what to do about it.
func (d *Destination) explain(err error) error {
	if errors.Is(err, kgo.ErrClientClosed) {
		return ErrClosed
	}
	d.mu.Lock()
	trouble := d.trouble
	d.mu.Unlock()
	if errors.Is(err, kgo.ErrRecordRetries) && trouble != nil {
		return fmt.Errorf("kafkadest: topic %q: %w; %w", d.config.Topic, err, trouble)
	}
	return fmt.Errorf("kafkadest: topic %q: %w%s", d.config.Topic, err, advice(err))
}

// advice is what to do about an error, where that is not plain.
func advice(err error) string {
	for _, a := range []struct {
		err  error
		text string
	}{
		{kerr.MessageTooLarge, " Raise max.message.bytes of the topic; records of more than 96 MiB are never sent."},
		{kerr.RecordListTooLarge, " Raise segment.bytes of the topic."},
		{kerr.UnknownTopicOrPartition, " Create it, or change Config.Topic."},
		{kerr.UnknownTopicID, " It was deleted or made again."},
		{kerr.TopicAuthorizationFailed, " Sending needs the rights Describe and Write on the topic."},
		{kerr.ClusterAuthorizationFailed, " Sending needs the right Write on the topic and, before Kafka 2.8, IdempotentWrite on the cluster."},
		{kerr.SaslAuthenticationFailed, " Check the credentials in Config.Client."},
		{kerr.InvalidRecord, " A compacted topic takes no record without a key."},
		{kerr.NotEnoughReplicas, " Fewer replicas are in sync than min.insync.replicas of the topic asks for."},
	} {
		if errors.Is(err, a.err) {
			return a.text
		}
	}
	return ""
}
