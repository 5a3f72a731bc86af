package esm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/plan"
)

// A Destination takes the records that a [Mapping] gives up: [WithDestination].
//
// Deliver is called for one record after the other of a partition, and for
// several partitions at once, never twice at once for one record. An error,
// a panic or a runtime.Goexit means that the record was not taken: it is
// delivered again after [WithBackoff]'s pause, for ever. Until it is taken its
// partition waits, and no other does; nothing of it is committed. So a record
// is never lost to a Destination that is down; but after a crash, or where a
// partition moves away between a delivery and its commit, the record comes
// again: it is tried again, and may be delivered a second time.
//
// One call takes one record, so a Destination that waits for its answer costs a
// partition with many discards that many round trips.
//
// The record is Deliver's own, as those of a [Batch] are the function's: a client
// may write its new place into it, and its bytes are read-only.
//
// ctx ends after 30 seconds, or when the Mapping stops or the partition moves
// away. A call that goes on regardless holds its partition and is shown as
// stuck, like one of an Invoker. (AWS: DestinationConfig.OnFailure, which drops
// what it cannot deliver.)
type Destination interface {
	Deliver(ctx context.Context, d *Discard) error
}

// DestinationFunc makes a [Destination] of a function.
type DestinationFunc func(ctx context.Context, d *Discard) error

// Deliver calls f.
func (f DestinationFunc) Deliver(ctx context.Context, d *Discard) error { return f(ctx, d) }

// Drop is a [Destination] that throws records away. Each is logged with its
// coordinates and the reason, counted in [Stats].DroppedEventCount, and told to
// [Hooks].Discarded.
var Drop Destination = dropper{}

type dropper struct{}

func (dropper) Deliver(context.Context, *Discard) error { return nil }

// deliverTimeout is how long one call of a Destination may take.
const deliverTimeout = 30 * time.Second

// ErrDeliverTimeout is the cause of the context of a [Destination] whose call
// took longer than 30 seconds.
var ErrDeliverTimeout = errors.New("esm: the delivery took longer than 30s")

// errNoDestination is why records are not delivered that were given up before
// the destination was taken away.
var errNoDestination = errors.New("esm: there is no destination any more (WithDestination)")

// deliveries calls the Destination of a Mapping for its engine.
type deliveries struct {
	mapping     string // its name
	source      *Source
	destination func() Destination // as it was updated last
}

// deliver is the one call of a Destination. Whatever does not return did not
// take the record. What it returned is made a text before it counts as
// returned, as with a verdict.
func (d *deliveries) deliver(ctx context.Context, r *kgo.Record, of plan.Portion) (dropped bool, err error) {
	dest := d.destination()
	if dest == nil && of.Reason == plan.ReasonUnreadable {
		dest = Drop // SkipUnreadable was that said aloud
	}
	if dest == nil {
		return false, errNoDestination
	}
	_, dropped = dest.(dropper)
	discard := &Discard{
		Record: r, Reason: Reason(of.Reason), Attempts: of.Attempts,
		FirstErr: of.Account.FirstErr, Err: of.Account.LastErr, FirstFailed: of.Account.FirstAt, LastFailed: of.Account.LastAt,
		Mapping: d.mapping, Group: d.source.Group, Brokers: slices.Clone(d.source.Brokers), SourceARN: d.source.ARN,
		BatchID: of.Account.BatchID, BatchRecords: of.Account.BatchRecords, Delivery: of.Deliveries + 1,
	}
	failure := guard.Call(func() {
		ctx, done := context.WithTimeoutCause(ctx, deliverTimeout, ErrDeliverTimeout)
		defer done()
		err = guard.Keep(dest.Deliver(ctx, discard))
	})
	if failure == nil {
		return dropped, err
	}
	// The panic may be an error of the user's too.
	if guard.Call(func() { err = guard.Keep(panicked(failure)) }) != nil {
		err = guard.Keep(&PanicError{Goexit: failure.Goexit, Stack: failure.Stack})
	}
	return false, err
}

// A Reason is why a record is given up.
type Reason uint8

const (
	_ Reason = iota // it is not given up
	// ReasonRetriesExhausted: it failed once more than [WithMaxRetries] allows.
	ReasonRetriesExhausted
	// ReasonTooOld: it is older than [WithMaxRecordAge].
	ReasonTooOld
	// ReasonTooLarge: the function does not take it ([TooLarge]).
	ReasonTooLarge
	// ReasonPermanent: the function said that trying again makes no sense
	// ([Permanent]).
	ReasonPermanent
	// ReasonUnreadable: it cannot be read, and [Mapping.SkipUnreadable] was
	// called.
	ReasonUnreadable
)

// String returns the reason in a word or two.
func (r Reason) String() string { return plan.Reason(r).String() }

// MarshalText is String, for JSON and logs.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// A Discard is a record that is given up, with what is known of it. It is
// Deliver's own, as [Destination] says.
type Discard struct {
	// Record is what is given up. With [ReasonUnreadable] it stands for all
	// records of a batch and has only the coordinates of the first; Err then has
	// a [*Gap], for errors.As, which says up to where.
	Record *kgo.Record
	Reason Reason
	// Attempts is how many attempts failed: 0 if it was too old for the first.
	Attempts int
	// FirstErr and Err are what the first and the last of them failed with, and
	// FirstFailed and LastFailed when. Without an attempt the errors are nil
	// and the times zero.
	FirstErr, Err           error
	FirstFailed, LastFailed time.Time
	// Mapping is the name of the Mapping, and Group its consumer group.
	Mapping, Group string
	// Brokers are the seed brokers of the source.
	Brokers []string
	// SourceARN is [Source].ARN.
	SourceARN string
	// BatchID is the id of the last invocation that carried the record, and
	// BatchRecords how many records that had.
	BatchID      string
	BatchRecords int
	// Delivery is 1 for the first try to deliver it, and grows with each.
	Delivery int

	// What follows is known after the delivery: hooks have it. Their Discard is
	// not the one that the Destination got, and its Record has the coordinates
	// that it had in its partition, whatever was written into that one.

	// Took is how long the delivery took.
	Took time.Duration
	// Dropped is whether the record was thrown away ([Drop]).
	Dropped bool
	// DeliveryErr is why the Destination did not take it, and Next when it is
	// delivered again, in [Hooks].DeliveryFailed.
	DeliveryErr error
	Next        time.Time `json:",omitzero"`
}

// MarshalJSON writes all of it, and of the Record only where it is: a log of what
// was given up should not have the data.
func (d *Discard) MarshalJSON() ([]byte, error) {
	type place struct {
		TopicPartition
		Offset    int64
		Timestamp time.Time
	}
	type plain Discard // without this method
	shown := struct {
		Record *place
		*plain
	}{plain: (*plain)(d)}
	if r := d.Record; r != nil {
		shown.Record = &place{TopicPartition{r.Topic, r.Partition}, r.Offset, r.Timestamp}
	}
	return json.Marshal(shown)
}

// A Blocker is a record that holds its partition up: the first one of those
// that are being tried again, or that wait for their [Destination].
type Blocker struct {
	Mapping string
	TopicPartition
	Offset int64
	// Records is how many are tried together, it first.
	Records int
	// Attempts is how many attempts failed.
	Attempts int
	// Throttles is, where what fails them is a throttle, how many count against
	// these records ([Throttled]), from 2 on; 0 where it is a failure like any
	// other. Below 5 no attempt is charged.
	Throttles int
	// Since is when the first attempt of its batch failed.
	Since time.Time
	// Next is when the next try is due, the zero time while one runs or is
	// about to.
	Next time.Time
	// Err is what the last attempt failed with.
	Err error
	// Reason is why it is given up, "none" while it is not, and Deliveries how
	// often the Destination has not taken it.
	Reason     Reason
	Deliveries int
}

// String says all of it in one line.
func (b Blocker) String() string {
	records, attempts := "records", "attempts"
	if b.Records == 1 {
		records = "record"
	}
	if b.Attempts == 1 {
		attempts = "attempt"
	}
	s := fmt.Sprintf("%s/%d is held up at offset %d (%d %s, %d %s", b.Topic, b.Partition, b.Offset, b.Records, records, b.Attempts, attempts)
	if !b.Since.IsZero() {
		s += " since " + b.Since.Format(time.TimeOnly)
	}
	if b.Reason != 0 {
		s += fmt.Sprintf(", given up: %s, delivery %d failed", b.Reason, b.Deliveries)
	}
	if !b.Next.IsZero() {
		s += ", next at " + b.Next.Format(time.TimeOnly)
	}
	s += ")"
	if b.Err != nil {
		s += ": " + guard.Text(b.Err)
	}
	return s
}

func blockerOf(mapping string, b engine.BlockEvent) *Blocker {
	return &Blocker{Mapping: mapping, TopicPartition: TopicPartition(b.ID), Offset: b.Offset, Records: b.Records, Attempts: b.Attempts, Throttles: b.Throttles,
		Since: b.Since, Next: b.Next, Err: b.Err, Reason: Reason(b.Reason), Deliveries: b.Deliveries}
}
