package kafkadest_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/kafkadest"
)

// TestMappingWaitsForItsDestination: the topic is missing at first. That is
// told, nothing is lost, and when the topic is there the record arrives once.
func TestMappingWaitsForItsDestination(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
	k.ProduceTo("orders", 0, "good", "poison", "later")
	k.ProduceTo("orders", 1, "other")
	dest, err := kafkadest.New(kafkadest.Config{Brokers: k.Brokers(), Topic: "orders-failed", Client: []kgo.Opt{k.Dialer()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dest.Close)

	errPoison := errors.New("no such account")
	handled, failed, taken := make(chan string, 100), make(chan *esm.Discard, 100), make(chan *esm.Discard, 100)
	m := esmtest.Start(t, k.Source("orders", "billing"), esm.Each(func(_ context.Context, r *kgo.Record) error {
		if string(r.Value) == "poison" {
			return errPoison
		}
		handled <- string(r.Value)
		return nil
	}), esm.WithDestination(dest), esm.WithMaxRetries(1), esm.WithBackoff(esm.Constant(10*time.Millisecond)), esm.WithBatchWindow(0),
		esm.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
		esm.WithHooks(esm.Hooks{
			DeliveryFailed: func(i *esm.Discard) { failed <- i },
			Discarded:      func(i *esm.Discard) { taken <- i },
		}))

	first := wait(t, failed)
	if !errors.Is(first.DeliveryErr, kerr.UnknownTopicOrPartition) || first.Record.Offset != 1 || first.Reason != esm.ReasonRetriesExhausted {
		t.Errorf("%+v", first)
	}
	var problem *esm.Problem
	for _, p := range m.State().Problems {
		if p.With == "destination" {
			problem = &p
		}
	}
	if problem == nil || !errors.Is(problem.Err, kerr.UnknownTopicOrPartition) || !strings.Contains(problem.Err.Error(), `"orders-failed"`) {
		t.Fatalf("%+v", m.State().Problems)
	}
	if got := []string{wait(t, handled), wait(t, handled)}; !strings.Contains(strings.Join(got, " "), "other") {
		t.Errorf("handled %q: the other partition waits too", got)
	}
	if c := k.Committed("billing", "orders", 0); c > 1 {
		t.Errorf("committed %d", c)
	}

	k.CreateTopic("orders-failed", 1)
	if i := wait(t, taken); i.Record.Offset != 1 || i.Attempts != 2 || !errors.Is(i.Err, errPoison) {
		t.Errorf("%+v", i)
	}
	if got := wait(t, handled); got != "later" {
		t.Errorf("handled %q", got)
	}
	for _, p := range m.State().Problems {
		if p.With == "destination" {
			t.Errorf("it is solved: %+v", p)
		}
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if c := k.Committed("billing", "orders", 0); c != 3 {
		t.Errorf("committed %d, want 3", c)
	}
	if s := m.Stats(); s.OnFailureDestinationDeliveredEventCount != 1 {
		t.Errorf("%+v", s)
	}
	arrived := connectTo(t, k.Brokers(), k.Dialer()).read("orders-failed", 1)[0]
	if string(arrived.Value) != "poison" {
		t.Errorf("%q", arrived.Value)
	}
	if got := strings.Join(headers(arrived), " "); !strings.Contains(got, "esm-attempts=2") || !strings.Contains(got, "no such account") {
		t.Error(got)
	}
}

// TestStateSaysWhatTheBrokerSaid of a destination that does not take a record,
// until somebody mends that; nothing is lost, and nothing comes twice.
func TestStateSaysWhatTheBrokerSaid(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		t.Run("missing", func(t *testing.T) {
			k, topic := k.in(t), name()
			k.heals(t, topic, kerr.UnknownTopicOrPartition, func() { k.make(topic, 1, "max.message.bytes", "300000") })
		})
		t.Run("too large", func(t *testing.T) {
			k := k.in(t)
			topic := k.make(name(), 1, "max.message.bytes", "100000")
			k.heals(t, topic, kerr.MessageTooLarge, func() {
				limit := "300000"
				if _, err := k.admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &limit}}, topic); err != nil {
					t.Fatal(err)
				}
			})
		})
	})
	t.Run("no right", func(t *testing.T) {
		k, deny, allow := guardedKafka(t)
		topic := k.make(name(), 1, "max.message.bytes", "300000")
		deny(topic)
		k.heals(t, topic, kerr.TopicAuthorizationFailed, func() { allow(topic) })
	})
}

// heals runs a Mapping into a destination that refuses with this error until it
// is mended.
func (k *anyKafka) heals(t *testing.T, into string, refusal error, mend func()) {
	t.Helper()
	from := k.make(name(), 1)
	for _, v := range []string{"good", strings.Repeat("poison", 25_000), "later"} {
		if err := k.client.ProduceSync(t.Context(), &kgo.Record{Topic: from, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	dest := k.dest(kafkadest.Config{Topic: into, Client: []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())}})
	failed, taken := make(chan *esm.Discard, 1000), make(chan *esm.Discard, 1000)
	m := esmtest.Start(t, esm.Source{Brokers: k.brokers, Topics: []string{from}, Group: from},
		esm.Each(func(_ context.Context, r *kgo.Record) error {
			if len(r.Value) > 100 {
				return errors.New("poison")
			}
			return nil
		}), esm.WithDestination(dest), esm.WithMaxRetries(0), esm.WithBackoff(esm.Constant(50*time.Millisecond)), esm.WithBatchWindow(0),
		esm.WithLogger(slog.New(slog.DiscardHandler)),
		esm.WithHooks(esm.Hooks{
			DeliveryFailed: func(i *esm.Discard) { failed <- i },
			Discarded:      func(i *esm.Discard) { taken <- i },
		}))
	if i := wait(t, failed); !errors.Is(i.DeliveryErr, refusal) || i.Record.Offset != 1 {
		t.Errorf("%+v", i)
	}
	said := func() (says bool) {
		for _, p := range m.State().Problems {
			says = says || p.With == "destination" && errors.Is(p.Err, refusal)
		}
		return says
	}
	if !said() {
		t.Errorf("%+v", m.State().Problems)
	}
	mend()
	if i := wait(t, taken); i.Record.Offset != 1 {
		t.Errorf("%+v", i)
	}
	if said() {
		t.Errorf("it is mended: %+v", m.State().Problems)
	}
	if err := m.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	offsets, err := k.admin.FetchOffsets(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := offsets.Lookup(from, 0); !ok || o.At < 2 {
		t.Errorf("committed %d", o.At)
	}
	if got := k.read(into, 1); len(got[0].Value) != 150_000 {
		t.Errorf("%d bytes arrived", len(got[0].Value))
	}
}

// wait waits for what comes on a channel.
func wait[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(time.Minute):
		t.Fatalf("no %T after a minute", v)
	}
	return v
}
