package kafkadest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/kafkadest"
)

func TestCheckSaysWhetherRecordsCanBeDelivered(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		topic := k.make(name(), 1)
		there, err := kafkadest.New(kafkadest.Config{Brokers: k.brokers, Topic: topic})
		if err != nil {
			t.Fatal(err)
		}
		defer there.Close()
		if err := there.Check(t.Context()); err != nil {
			t.Errorf("a topic that is there: %v", err)
		}
		missing, err := kafkadest.New(kafkadest.Config{Brokers: k.brokers, Topic: topic + "-failed"})
		if err != nil {
			t.Fatal(err)
		}
		defer missing.Close()
		if err := missing.Check(t.Context()); !errors.Is(err, kerr.UnknownTopicOrPartition) {
			t.Errorf("a topic that is not there: %v", err)
		}
		m, err := esm.New(esm.Source{Brokers: k.brokers, Topics: []string{topic}, Group: topic},
			esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil }), esm.WithDestination(missing), esm.WithStartCheck(missing.Check))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Start(t.Context()); !errors.Is(err, kerr.UnknownTopicOrPartition) {
			t.Errorf("Start: %v", err)
			_ = m.Stop(t.Context())
		}
	})
}

func TestCheckOfAClusterThatCannotBeReached(t *testing.T) {
	d, err := kafkadest.New(kafkadest.Config{Brokers: []string{"127.0.0.1:1"}, Topic: "orders-failed"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, done := context.WithTimeout(t.Context(), time.Second)
	defer done()
	if err := d.Check(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	d.Close()
	if err := d.Check(t.Context()); !errors.Is(err, kafkadest.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
