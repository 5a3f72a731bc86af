package lambdaapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/seed429fd032/esm/awsconfig"
)

// A Record is a mapping as a [Store] has it: what is to be. What it does just now is not
// in it, since each host has its own of that.
type Record struct {
	UUID string
	// Config has the tags too.
	Config awsconfig.Config
	// FunctionArn is what Config.FunctionName is, whole.
	FunctionArn string
	Created     time.Time
	// LastModified and Reason are what the API says of the last change
	// (StateTransitionReason).
	LastModified time.Time
	Reason       string
	// Version counts the changes, but for those of tags.
	Version int64
	// Replaced counts the changes that take a new Mapping; the others are made while it runs.
	Replaced int64
	// Deleting is set from the request to delete it until a host that runs it has stopped it.
	Deleting bool

	unreadable error
	raw        json.RawMessage // as it was read, if it is unreadable
}

// Unreadable is why this version of the library cannot read a Record that is stored, as one
// that a later version wrote. It is kept as it is, and can be deleted. What runs of it goes
// on.
func (r *Record) Unreadable() error { return r.unreadable }

// stored is how a Record is written.
type stored struct {
	UUID                  string
	Config                json.RawMessage
	FunctionArn           string
	Created, LastModified time.Time
	Reason                string
	Version, Replaced     int64
	Deleting              bool `json:",omitempty"`
}

// MarshalJSON writes what UnmarshalJSON reads.
func (r Record) MarshalJSON() ([]byte, error) {
	if r.unreadable != nil && !r.Deleting {
		return r.raw, nil
	}
	c, err := json.Marshal(r.Config)
	if err != nil {
		return nil, err
	}
	return json.Marshal(stored{r.UUID, c, r.FunctionArn, r.Created, r.LastModified, r.Reason, r.Version, r.Replaced, r.Deleting})
}

// UnmarshalJSON reads a Record. One that this version does not understand is no error, since
// others are read with it: see [Record.Unreadable].
func (r *Record) UnmarshalJSON(data []byte) error {
	*r = Record{raw: slices.Clone(data)}
	var is stored
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&is); err != nil {
		r.unreadable = fmt.Errorf("lambdaapi: the mapping that is stored cannot be read by this version: %w", err)
		return nil
	}
	r.UUID, r.FunctionArn, r.Created, r.LastModified, r.Reason = is.UUID, is.FunctionArn, is.Created, is.LastModified, is.Reason
	r.Version, r.Replaced, r.Deleting = is.Version, is.Replaced, is.Deleting
	if err := r.Config.UnmarshalJSON(is.Config); err != nil && !r.Deleting { // then nobody needs it
		r.unreadable = fmt.Errorf("lambdaapi: the mapping that is stored cannot be read by this version: %w", err)
		return nil
	}
	r.raw = nil
	return nil
}

// group is the consumer group.
func (r *Record) group() string {
	for _, k := range []*awsconfig.KafkaEventSourceConfig{r.Config.AmazonManagedKafkaEventSourceConfig, r.Config.SelfManagedKafkaEventSourceConfig} {
		if k != nil && k.ConsumerGroupId != "" {
			return k.ConsumerGroupId
		}
	}
	return r.UUID
}

// servers are the brokers of a Kafka that is not MSK's.
func (r *Record) servers() []string {
	if r.Config.SelfManagedEventSource == nil {
		return nil
	}
	return r.Config.SelfManagedEventSource.Endpoints["KAFKA_BOOTSTRAP_SERVERS"]
}

// enabled reports whether it is to run.
func (r *Record) enabled() bool { return !r.Deleting && (r.Config.Enabled == nil || *r.Config.Enabled) }

// sameSource reports whether two mappings read the same Kafka, as far as AWS looks: one
// server in common is enough.
func (r *Record) sameSource(o *Record) bool {
	if r.Config.EventSourceArn != "" || o.Config.EventSourceArn != "" {
		return r.Config.EventSourceArn == o.Config.EventSourceArn
	}
	return slices.ContainsFunc(r.servers(), func(s string) bool { return slices.Contains(o.servers(), s) })
}

// duplicates reports whether AWS would refuse r because there is o: the same function and
// topic of the same Kafka, or the same group.
func (r *Record) duplicates(o *Record) bool {
	if r.UUID == o.UUID || o.Deleting || !r.sameSource(o) {
		return false
	}
	return r.FunctionArn == o.FunctionArn && slices.Equal(r.Config.Topics, o.Config.Topics) || r.group() == o.group()
}
