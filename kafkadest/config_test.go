package kafkadest_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/kafkadest"
)

func TestNewTellsAllMistakesAtOnce(t *testing.T) {
	_, err := kafkadest.New(kafkadest.Config{Brokers: []string{"host:0"}, Topic: "bad name", Format: 7, Client: []kgo.Opt{kgo.RecordRetries(1), kgo.ManualFlushing()}})
	for _, says := range []string{
		`kafkadest.Config.Brokers: "host:0" must be host:port`, `kafkadest.Config.Topic: "bad name" must be 1 to 249 letters`,
		`kafkadest.Config.Format: Format(7) must be`, `kgo.RecordRetries is set by the Destination`, `kgo.ManualFlushing is set by the Destination`,
	} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v\ndoes not say %q", err, says)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 5 {
		t.Errorf("%d mistakes: %v", n, err)
	}
	var option *esm.OptionError
	if !errors.As(err, &option) {
		t.Errorf("%T", err)
	}
}

func TestNewRefuses(t *testing.T) {
	good := kafkadest.Config{Brokers: []string{"localhost"}, Topic: "orders-failed"}
	for says, change := range map[string]func(c *kafkadest.Config){
		"at least one broker":      func(c *kafkadest.Config) { c.Brokers = nil },
		`Brokers: ""`:              func(c *kafkadest.Config) { c.Brokers = []string{"a", ""} },
		`Topic: ""`:                func(c *kafkadest.Config) { c.Topic = "" },
		`Topic: ".."`:              func(c *kafkadest.Config) { c.Topic = ".." },
		"must be 1 to 249":         func(c *kafkadest.Config) { c.Topic = strings.Repeat("x", 250) },
		`the name alone, "orders"`: func(c *kafkadest.Config) { c.Topic = "kafka://orders" },
		"Format(-1)":               func(c *kafkadest.Config) { c.Format = -1 },
		"nil option":               func(c *kafkadest.Config) { c.Client = []kgo.Opt{nil} },
		"acks":                     func(c *kafkadest.Config) { c.Client = []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck())} },
		"kgo.RequiredAcks": func(c *kafkadest.Config) {
			c.Client = []kgo.Opt{kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()}
		},
		"kgo.TransactionalID":         func(c *kafkadest.Config) { c.Client = []kgo.Opt{kgo.TransactionalID("t")} },
		"kgo.RecordDeliveryTimeout":   func(c *kafkadest.Config) { c.Client = []kgo.Opt{kgo.RecordDeliveryTimeout(time.Minute)} },
		"kgo.UnknownTopicRetries":     func(c *kafkadest.Config) { c.Client = []kgo.Opt{kgo.UnknownTopicRetries(-1)} },
		"kgo.ProducerBatchMaxBytes":   func(c *kafkadest.Config) { c.Client = []kgo.Opt{kgo.ProducerBatchMaxBytes(1000)} },
		"kgo.DefaultProduceTopic ":    func(c *kafkadest.Config) { c.Client = []kgo.Opt{kgo.DefaultProduceTopic("x")} },
		"kgo.ConsumerGroup":           func(c *kafkadest.Config) { c.Client = []kgo.Opt{kgo.ConsumerGroup("g")} },
		"kgo.ConsumeTopics":           func(c *kafkadest.Config) { c.Client = []kgo.Opt{kgo.ConsumeTopics("x")} },
		"kgo.AllowIdempotentProduceC": func(c *kafkadest.Config) { c.Client = []kgo.Opt{kgo.AllowIdempotentProduceCancellation()} },
		"kgo.StopProducerOnDataLoss":  func(c *kafkadest.Config) { c.Client = []kgo.Opt{kgo.StopProducerOnDataLossDetected()} },
	} {
		c := good
		change(&c)
		if _, err := kafkadest.New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v\ndoes not say %q", err, says)
		}
	}
	good.Format = kafkadest.FormatRecord
	good.Brokers = []string{"localhost", "[::1]:9092", "::1", "kafka.test:1"}
	good.Client = []kgo.Opt{kgo.ClientID("x"), kgo.DialTLSConfig(new(tls.Config)), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.ZstdCompression()),
		kgo.SeedBrokers("elsewhere"), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.WithHooks(new(batches))}
	d, err := kafkadest.New(good)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

func TestFormatNames(t *testing.T) {
	for f, want := range map[kafkadest.Format]string{kafkadest.FormatDocument: "document", kafkadest.FormatRecord: "record", 9: "Format(9)"} {
		if got := f.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
