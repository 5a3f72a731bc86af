package esm

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/hostport"
	"github.com/seed429fd032/esm/internal/kafka"
	"github.com/seed429fd032/esm/internal/redact"
)

// A Source says what a [Mapping] reads.
type Source struct {
	// Brokers are the seed brokers, "host:port"; at least one. The port may
	// be left out if it is 9092.
	Brokers []string
	// Topics are the topics to read; at least one, none twice. They must
	// exist when the Mapping starts. (AWS: Topics, which takes one.)
	Topics []string
	// Group is the consumer group, which holds the committed offsets.
	// Processes with the same group share the partitions. Two Mappings that
	// each want all records need two groups. Required: see [EphemeralGroup]
	// for a throw-away one. (AWS: ConsumerGroupId.)
	Group string
	// Start is where partitions begin for which the group has no committed
	// offset. The zero value is [TrimHorizon]. (AWS: StartingPosition.)
	Start StartingPosition
	// ARN is the ARN of an MSK cluster, for functions that look at it: the
	// events of [Batch.AppendJSON] then are those of MSK, with eventSource
	// "aws:kafka" and this eventSourceArn. Without one they are those of a
	// self-managed Kafka, with "SelfManagedKafka". A [Discard] has it too. It is
	// not used to connect. (AWS: EventSourceArn.)
	ARN string
	// InstanceID makes this process a static member of its group (KIP-345):
	// it can restart within the session timeout without a rebalance. It must
	// differ between processes. Stop then does not leave the group, so its
	// partitions wait for the restart, or for the session to time out. With
	// KIP-848 the session is the broker's (group.consumer.session.timeout.ms),
	// and after a crash Start waits for it to end.
	InstanceID string
	// Client holds further options for the Kafka client: TLS, SASL, dialer,
	// client id, rack, isolation level, session timeout, balancers,
	// kgo.ServerSideBalancer for KIP-848, hooks.
	//
	// These belong to the Mapping, and Start refuses them by name:
	// ConsumerGroup, ConsumeTopics, ConsumePartitions, ConsumeRegex,
	// ConsumeExcludeTopics, ShareGroup, InstanceID, TransactionalID,
	// AdjustFetchOffsetsFn, OnOffsetsFetched, BlockRebalanceOnPoll, AutoCommitMarks,
	// GreedyAutoCommit, AutoCommitInterval, ConsumeStartOffset,
	// ConsumeResetOffset, RebalanceTimeout (see [WithRevokeTimeout]),
	// FetchMaxBytes and FetchMaxPartitionBytes (see [WithMemoryBudget]),
	// MaxConcurrentFetches, KeepRetryableFetchErrors.
	//
	// These are set by the Mapping too and win silently: SeedBrokers,
	// WithContext, OnPartitionsAssigned, OnPartitionsRevoked and OnPartitionsLost (see
	// [Hooks]), WithLogger, KeepControlRecords, DisableAutoCommit,
	// FetchMaxWait, MetadataMaxAge.
	//
	// MetadataMinAge is 250 ms and HeartbeatInterval 500 ms unless they are set
	// here: a partition that moves to another process stands still for about one
	// heartbeat. In a KIP-848 group too the coordinator is asked that often, and not
	// only as often as it says (group.consumer.heartbeat.interval.ms, 5 s).
	//
	// The options are applied to two clients: one that never connects, to
	// see such conflicts, and the real one. A hook sees both come and go.
	Client []kgo.Opt
}

// EphemeralGroup returns the name of a consumer group that nobody has: for a
// reader that wants all records for itself and leaves nothing to come back to.
// Kafka forgets such a group when its offsets expire (7 days by default).
func EphemeralGroup() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails: see its documentation
	return "esm-ephemeral-" + hex.EncodeToString(b[:])
}

// A StartingPosition says where to begin in partitions for which the consumer group
// has no committed offset. It is never used for a partition that has one.
type StartingPosition struct {
	kind startKind
	at   time.Time
}

type startKind int

const (
	startTrimHorizon startKind = iota
	startLatest
	startAtTimestamp
)

// TrimHorizon begins at the oldest record that there is. It is the zero
// StartingPosition. (AWS: TRIM_HORIZON.)
func TrimHorizon() StartingPosition { return StartingPosition{} }

// Latest begins at the ends that the partitions have while [Mapping.Start] runs,
// and loses none of the records that are produced after Start has returned: the
// ends are committed as soon as the partitions are assigned, so that a partition
// that moves to another process before its first record goes on where it stood. It
// applies if the group has no committed offset at all; if it has some, a partition
// without one is new and is read from its beginning. (AWS: LATEST, which may lose
// records.)
//
// A partition whose end no broker says does not hold the others up for more than
// 10 s. One that has no leader begins where it stood, exactly, as soon as it has
// one. One whose leader does not answer begins with the first record that is
// by its timestamp at most 5 minutes older than the start; a producer that writes
// records more than 5 minutes after it stamped them may lose these. If the process
// ends before it could commit where such a partition begins, the next one reads it
// from its beginning.
func Latest() StartingPosition { return StartingPosition{kind: startLatest} }

// AtTimestamp begins with the first record whose timestamp is t or later, or
// at the end if there is none yet. Kafka's timestamps are milliseconds, and
// are the producers' unless the topic is set to LogAppendTime. (AWS:
// AT_TIMESTAMP.)
func AtTimestamp(t time.Time) StartingPosition {
	return StartingPosition{kind: startAtTimestamp, at: t}
}

// String returns AWS's name of the position.
func (p StartingPosition) String() string {
	switch p.kind {
	case startLatest:
		return "LATEST"
	case startAtTimestamp:
		return "AT_TIMESTAMP " + p.at.Format(time.RFC3339Nano)
	}
	return "TRIM_HORIZON"
}

// validate reports every mistake in the Source.
func (s *Source) validate(now time.Time) (errs []error) {
	bad := func(field string, value any, bound string) {
		errs = append(errs, &OptionError{Option: "Source." + field, Value: value, Bound: bound})
	}
	if len(s.Brokers) == 0 {
		bad("Brokers", s.Brokers, "must name at least one broker, as host:port")
	}
	for i, b := range s.Brokers {
		if why := hostport.Wrong(b); why != "" {
			bad("Brokers", hostport.Entry(i, b), why)
		}
	}
	if len(s.Topics) == 0 {
		bad("Topics", s.Topics, "must name at least one topic")
	}
	seen := map[string]bool{}
	for _, t := range s.Topics {
		switch {
		case t == "":
			bad("Topics", s.Topics, "must not hold an empty name")
		case len(t) > 249:
			bad("Topics", t, "must be at most 249 characters long, which is Kafka's limit")
		case seen[t]:
			bad("Topics", t, "must not be named twice")
		}
		seen[t] = true
	}
	if s.Group == "" {
		bad("Group", s.Group, "must be set; EphemeralGroup() makes a throw-away one")
	}
	if s.Start.kind == startAtTimestamp && (s.Start.at.IsZero() || s.Start.at.After(now)) {
		bad("Start", s.Start, "must be a time that is set and not in the future")
	}
	if s.ARN != "" && !(strings.HasPrefix(s.ARN, "arn:") && strings.Count(s.ARN, ":") >= 5) {
		bad("ARN", strconv.Quote(s.ARN), "must be an ARN, arn:PARTITION:kafka:REGION:ACCOUNT:cluster/NAME/ID, or empty")
	}
	for i, o := range s.Client {
		if o == nil {
			bad("Client", i, "must not hold a nil option")
		}
	}
	return errs
}

// conflicts says which of the client options belong to the Mapping, by asking
// a client that has only them. The client's context is over before it is made,
// so it never opens a connection. It returns what that client decompresses with:
// the user's own, or the client's, with the user's limit of a batch.
func (s *Source) conflicts(newClient func(...kgo.Opt) (*kgo.Client, error)) (kgo.Decompressor, error) {
	plain, err := newClient(kgo.SeedBrokers(s.Brokers...), kgo.ConsumerGroup(ours))
	if err != nil {
		return nil, fmt.Errorf("esm: Source.Brokers: %w", redact.Error(err, nil))
	}
	defer plain.Close()
	// Some options are refused without a group, so there is one, which
	// another one overrides.
	users, err := newClient(append([]kgo.Opt{kgo.ConsumerGroup(ours)}, s.Client...)...)
	if err != nil {
		return nil, fmt.Errorf("esm: Source.Client: %w", redact.Error(err, nil))
	}
	defer users.Close()

	var errs []error
	for _, o := range ownedOptions {
		if !sameValues(plain.OptValues(o.name), users.OptValues(o.name)) {
			errs = append(errs, &OptionError{Option: "Source.Client", Value: "kgo." + o.name, Bound: "is set by the Mapping: " + o.instead})
		}
	}
	decompressor, ok := users.OptValue(kgo.WithDecompressor).(kgo.Decompressor)
	if !ok {
		errs = append(errs, errors.New("esm: the Kafka client does not say what it decompresses with: this library needs another version of it"))
	}
	return decompressor, errors.Join(errs...)
}

// kafka is the Source as the Kafka side knows it.
func (s *Source) kafka(c *config) *kafka.Source {
	return &kafka.Source{
		Brokers: s.Brokers, Topics: s.Topics, Group: s.Group, InstanceID: s.InstanceID,
		Start:   kafka.StartAt{Latest: s.Start.kind == startLatest, Since: s.Start.at},
		Options: s.Client, Decompressor: func() (kgo.Decompressor, error) { return s.conflicts(kafka.NewProbe) },
		RevokeTimeout: c.revokeTimeout, Checks: c.startChecks,
	}
}

// ours is the group of a client that only answers questions.
const ours = "esm-probe"

// ownedOptions are the client options that the engine is built upon, and what
// a user does instead of setting one.
var ownedOptions = []struct{ name, instead string }{
	{"ConsumerGroup", "use Source.Group"},
	{"ConsumeTopics", "use Source.Topics"},
	{"ConsumePartitions", "use Source.Topics; the group assigns the partitions"},
	{"ConsumeRegex", "use Source.Topics"},
	{"ConsumeExcludeTopics", "use Source.Topics"},
	{"InstanceID", "use Source.InstanceID"},
	{"TransactionalID", "a Mapping does not produce"},
	{"AdjustFetchOffsetsFn", "use Source.Start"},
	{"OnOffsetsFetched", "the Mapping keeps in the metadata of commits what is settled above them"},
	{"BlockRebalanceOnPoll", "the Mapping keeps a rebalance from overtaking its records itself"},
	{"AutoCommitMarks", "the Mapping commits what is settled"},
	{"GreedyAutoCommit", "the Mapping commits what is settled"},
	{"AutoCommitInterval", "the Mapping commits what is settled, every second"},
	{"ConsumeStartOffset", "use Source.Start"},
	{"ConsumeResetOffset", "the Mapping resumes where records may have been lost, and says so"},
	{"RebalanceTimeout", "use WithRevokeTimeout"},
	{"FetchMaxBytes", "use WithMemoryBudget"},
	{"FetchMaxPartitionBytes", "use WithMemoryBudget"},
	{"MaxConcurrentFetches", "use WithMemoryBudget"},
	{"KeepRetryableFetchErrors", "the Mapping shows errors that last in State"},
}

// sameValues compares what two clients say of one option. Functions are
// compared by whether they are set.
func sameValues(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		va, vb := reflect.ValueOf(a[i]), reflect.ValueOf(b[i])
		if va.IsValid() && vb.IsValid() && va.Kind() == reflect.Func && vb.Kind() == reflect.Func {
			if va.IsNil() != vb.IsNil() {
				return false
			}
			continue
		}
		if empty(va) && empty(vb) {
			continue
		}
		if !reflect.DeepEqual(a[i], b[i]) {
			return false
		}
	}
	return true
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return false
}
