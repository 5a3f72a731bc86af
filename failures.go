package esm

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/guard"
)

// Failures is what an [Invoker] returns when some records of a batch failed and
// the others did not:
//
//	var f esm.Failures
//	for _, r := range b.Records {
//		f.Add(r, handle(ctx, r))
//	}
//	return f.Err()
//
// Records that are not mentioned are settled. Those that failed are tried
// again, alone, while their partition waits; the records that came after them
// in the batch may have been handled by then, so a function that needs the
// order within a partition uses [Failures.StopAt]. A record of the batch is
// known as itself, whatever was written into it since; any other one, such as a
// copy, by its topic, partition and offset. One that is not of the batch makes
// the whole batch a failure, because nobody knows then what else is wrong.
//
// The zero value is ready. Its methods may be called on several goroutines at
// once. (AWS: ReportBatchItemFailures.)
type Failures struct {
	mu    sync.Mutex
	items []RecordFailure
}

// A RecordFailure is what an error says of one record: see [FailuresOf].
type RecordFailure struct {
	// What the record had in it when it was named.
	TopicPartition
	Offset int64 // -1 if what failed is no record
	// Record is the record that was named, nil if that was none.
	Record *kgo.Record
	Err    error // never nil
	// Stopped is whether the later records of the partition were not tried,
	// [Failures.StopAt].
	Stopped bool
}

// MarshalJSON writes all of it but the Record, whose data is not a log's.
func (f RecordFailure) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		TopicPartition
		Offset  int64
		Err     string
		Stopped bool
	}{f.TopicPartition, f.Offset, guard.Text(f.Err), f.Stopped})
}

// Add says that a record failed, with this error; if err is nil it says
// nothing. err may be made by [Permanent] or [TooLarge], which then hold for
// this record only; if it is made by [Throttled] or [Halt], the record counts as
// not tried, and the Mapping waits or halts, as if that were said of the call.
func (f *Failures) Add(r *kgo.Record, err error) {
	if err != nil {
		f.add(r, err, false)
	}
}

// StopAt says that a record failed and that the later records of its partition
// were not tried. Those are not charged with an attempt; they come again, as
// records of the same batch, once this one is settled. If err is nil, an error
// that says just that takes its place.
func (f *Failures) StopAt(r *kgo.Record, err error) {
	if err == nil {
		err = errStopped
	}
	f.add(r, err, true)
}

var errStopped = errors.New("the function stopped here")

func (f *Failures) add(r *kgo.Record, err error, stop bool) {
	item := RecordFailure{Offset: -1, Err: err, Stopped: stop} // no record of any batch
	if r != nil {
		item.TopicPartition, item.Offset, item.Record = TopicPartition{r.Topic, r.Partition}, r.Offset, r
	}
	f.put(item)
}

func (f *Failures) put(item RecordFailure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items = append(f.items, item)
}

// Err returns nil if no record failed, and otherwise an error that says which
// did: what the Invoker returns.
func (f *Failures) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.items) == 0 {
		return nil
	}
	return &failuresError{append([]RecordFailure(nil), f.items...)}
}

type failuresError struct{ items []RecordFailure }

// Error names the first of the records.
func (e *failuresError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "esm: %d records of the batch failed: ", len(e.items))
	for i, item := range e.items {
		if i == 3 {
			fmt.Fprintf(&b, "; and %d more", len(e.items)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s/%d offset %d: %s", item.Topic, item.Partition, item.Offset, guard.Text(item.Err))
	}
	return b.String()
}

// Unwrap returns the errors of the records.
func (e *failuresError) Unwrap() []error {
	errs := make([]error, len(e.items))
	for i, item := range e.items {
		errs[i] = item.Err
	}
	return errs
}

// FailuresOf returns which records an error says failed, in the order in which
// that was said: what a [Failures] was told, through wrapping and joins. It is
// for an [Invoker] that wraps another one, and for a server that answers for
// one. It returns nil if the error is of the whole batch, as [Classify] sees it.
func FailuresOf(err error) []RecordFailure {
	var failed []RecordFailure
	for _, said := range judge(err, nil).said {
		failed = append(failed, said.RecordFailure)
	}
	return failed
}
