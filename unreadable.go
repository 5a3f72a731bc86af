package esm

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

// An UnreadableError says that records of a partition cannot be read, however
// often that is tried: their batch is corrupt, or expands beyond what the client
// may decompress at once (kgo.MaxDecompressBatchBytes, 1 GiB unless
// [Source].Client says otherwise). It is the Err of a [Problem] and in what
// [Mapping.Healthy] returns. The partition waits; no other does. Its leader is
// asked again now and then, in case that another broker has a copy that can be
// read. [Mapping.SkipUnreadable] passes over the records.
type UnreadableError struct {
	TopicPartition
	// From is the first offset that cannot be read, and To the one after the
	// last of its batch. Between them may be fewer records than offsets.
	From, To int64
	// Err is what is wrong with it.
	Err error
}

// Error says what cannot be read and what to do.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("offsets %d to %d of %s/%d cannot be read: %s; Mapping.SkipUnreadable passes over them", e.From, e.To-1, e.Topic, e.Partition, guard.Text(e.Err))
}

// MarshalText is Error, for JSON and logs.
func (e *UnreadableError) MarshalText() ([]byte, error) { return []byte(guard.Text(e)), nil }

// Unwrap returns what is wrong.
func (e *UnreadableError) Unwrap() error { return e.Err }

// SkipUnreadable passes over records of a partition that cannot be read, from an
// offset on: [UnreadableError].From, so that nobody passes over others than he
// has looked at. It only asks for that, and it has to be asked for again if what
// comes before is read again meanwhile: the Problem is then there again. Once all
// that comes before is settled, the [Destination] gets one [Discard] for all of
// them, with [ReasonUnreadable], the *UnreadableError as its Err, and a Record that
// has only coordinates. Without a Destination they are dropped. Until that was done
// and committed another member of the group, or this one after a crash, meets them
// again.
//
// It returns an error if the partition is not this process's, or if no
// unreadable records begin at that offset.
func (m *Mapping) SkipUnreadable(tp TopicPartition, from int64) error {
	m.mu.Lock()
	r := m.run
	m.mu.Unlock()
	if r == nil {
		return errors.New("esm: skip: the mapping was not started")
	}
	return r.engine.skip(partition.ID(tp), from, time.Now())
}

// newUnreadableError makes an error of what cannot be read of a partition.
func newUnreadableError(id partition.ID, u *unreadable) error {
	return &UnreadableError{TopicPartition(id), u.from, u.to, u.err}
}
