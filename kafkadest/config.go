package kafkadest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/hostport"
	"github.com/seed429fd032/esm/internal/redact"
)

// A Config says where records go, and in which form.
type Config struct {
	// Brokers are the seed brokers of the cluster, "host:port"; at least one.
	// The port may be left out if it is 9092. It may be another cluster than
	// the source's. (AWS: always the source's.)
	Brokers []string
	// Topic is the topic, 1 to 249 of the characters that Kafka takes. It must
	// exist, unless Client and the cluster make topics, and must not be the
	// source topic. It should take larger messages than that
	// (max.message.bytes): 5 KiB more for [FormatRecord]; for [FormatDocument]
	// a third more for keys and values, five times the size of the headers, and
	// 6 KiB. (AWS: the topic of kafka://topic.)
	Topic string
	// Format is the form of the messages. The zero value is [FormatRecord]. (AWS:
	// always [FormatDocument].)
	Format Format
	// Client holds further options for the Kafka client: TLS, SASL, dialer,
	// client id, compression, partitioner, linger (1 ms if nothing is said),
	// hooks, kgo.AllowAutoTopicCreation.
	//
	// These belong to the Destination, and New refuses them by name:
	// TransactionalID, RequiredAcks, DisableIdempotentWrite,
	// AllowIdempotentProduceCancellation, MaxProduceRequestsInflightPerBroker,
	// StopProducerOnDataLossDetected, RecordRetries, UnknownTopicRetries,
	// RecordDeliveryTimeout, ManualFlushing, ProducerBatchMaxBytes,
	// BrokerMaxWriteBytes, DefaultProduceTopic, DefaultProduceTopicAlways,
	// ConsumerGroup, ShareGroup, ConsumeTopics, ConsumePartitions. SeedBrokers
	// and WithContext win silently.
	//
	// The options are applied to several clients: one that never connects, to
	// see such conflicts, one for most records, and one for the large ones. A
	// hook sees all of them.
	Client []kgo.Opt
}

// What the clients are given. An error of the broker is told after a few tries,
// within ten seconds or so, and not when the time for the delivery is over: the
// Mapping tries again anyway, and somebody should know why.
const (
	recordRetries       = 4
	unknownTopicRetries = 2
	linger              = time.Millisecond
	metadataMinAge      = 250 * time.Millisecond
	// maxBatch is how large a batch of a client for large records may be, and
	// maxWrite a request: above that, brokers drop the connection unless they
	// are told otherwise (socket.request.max.bytes).
	maxBatch = 96 << 20
	maxWrite = 100 << 20
)

// options are those of a client that connects.
func (c *Config) options(s size) []kgo.Opt {
	opts := append([]kgo.Opt{kgo.ProducerLinger(linger), kgo.MetadataMinAge(metadataMinAge)}, c.Client...)
	opts = append(opts, kgo.SeedBrokers(c.Brokers...), kgo.RecordRetries(recordRetries), kgo.UnknownTopicRetries(unknownTopicRetries),
		kgo.BrokerMaxWriteBytes(maxWrite), kgo.WithContext(context.Background()))
	if s == large {
		opts = append(opts, kgo.ProducerBatchMaxBytes(maxBatch), kgo.ProducerLinger(0))
	}
	return opts
}

// validate reports every mistake.
func (c *Config) validate() error {
	var errs []error
	bad := func(field string, value any, bound string) {
		errs = append(errs, &esm.OptionError{Option: "kafkadest.Config." + field, Value: value, Bound: bound})
	}
	if len(c.Brokers) == 0 {
		bad("Brokers", c.Brokers, "must name at least one broker, as host:port")
	}
	for i, b := range c.Brokers {
		if why := hostport.Wrong(b); why != "" {
			bad("Brokers", hostport.Entry(i, b), why)
		}
	}
	switch topic, isURL := strings.CutPrefix(c.Topic, "kafka://"); {
	case isURL && validTopic(topic):
		bad("Topic", c.Topic, "must be the name alone, "+strconv.Quote(topic))
	case strings.Contains(c.Topic, "://"):
		bad("Topic", strconv.Quote(redact.Address(c.Topic)), "must be the name of the topic alone")
	case !validTopic(c.Topic):
		bad("Topic", strconv.Quote(c.Topic), "must be 1 to 249 letters, digits, dots, underscores and dashes, and not only one dot or two")
	}
	if c.Format != FormatDocument && c.Format != FormatRecord {
		bad("Format", c.Format, "must be FormatRecord or FormatDocument")
	}
	set := true
	for i, o := range c.Client {
		if o == nil {
			bad("Client", i, "must not hold a nil option")
			set = false
		}
	}
	if set {
		errs = append(errs, c.conflicts(bad))
	}
	return errors.Join(errs...)
}

// conflicts says which of the client options belong to the Destination, by
// asking a client that has only them. Its context is over before it is made, so
// it never opens a connection.
func (c *Config) conflicts(bad func(field string, value any, bound string)) error {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	plain, err := kgo.NewClient(kgo.WithContext(over))
	if err != nil {
		return fmt.Errorf("kafkadest: make a client: %w", err)
	}
	defer plain.Close()
	users, err := kgo.NewClient(append(c.Client[:len(c.Client):len(c.Client)], kgo.WithContext(over))...)
	if err != nil {
		return fmt.Errorf("kafkadest: Config.Client: %w", redact.Error(err, nil))
	}
	defer users.Close()
	for _, o := range ownedOptions {
		if !reflect.DeepEqual(plain.OptValues(o.name), users.OptValues(o.name)) {
			bad("Client", "kgo."+o.name, "is set by the Destination: "+o.why)
		}
	}
	return nil
}

// ownedOptions are the client options on which the Destination is built.
var ownedOptions = []struct{ name, why string }{
	{"TransactionalID", "each record is taken for itself"},
	{"RequiredAcks", "a record is taken when all replicas in sync have it"},
	{"DisableIdempotentWrite", "the client's own retries must not repeat a record"},
	{"AllowIdempotentProduceCancellation", "a record that was sent must not be repeated without need"},
	{"MaxProduceRequestsInflightPerBroker", "the client chooses what its retries allow"},
	{"StopProducerOnDataLossDetected", "one error must not be the end of all deliveries"},
	{"RecordRetries", "the Mapping tries again, for ever"},
	{"UnknownTopicRetries", "the Mapping tries again, for ever"},
	{"RecordDeliveryTimeout", "the context of Deliver bounds a delivery"},
	{"ManualFlushing", "Deliver waits for its record"},
	{"ProducerBatchMaxBytes", "the topic says what is too large, by its max.message.bytes"},
	{"BrokerMaxWriteBytes", "the topic says what is too large, by its max.message.bytes"},
	{"DefaultProduceTopic", "use Config.Topic"},
	{"DefaultProduceTopicAlways", "use Config.Topic"},
	{"ConsumerGroup", "a Destination does not read"},
	{"ShareGroup", "a Destination does not read"},
	{"ConsumeTopics", "a Destination does not read"},
	{"ConsumePartitions", "a Destination does not read"},
}

// validTopic reports whether Kafka takes a name.
func validTopic(s string) bool {
	legal := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r)
	}
	return s != "" && len(s) <= 249 && s != "." && s != ".." && strings.IndexFunc(s, func(r rune) bool { return !legal(r) }) < 0
}
