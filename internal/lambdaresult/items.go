// Package lambdaresult reads what a Lambda function answers: the records that
// it says failed, and the error that it returned. It is what all invokers that
// reach such a function have in common.
package lambdaresult

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// ErrItem is what a record failed with of which the function says only that it
// did.
var ErrItem = errors.New("the function reported this record in batchItemFailures")

// Items says what becomes of a batch whose function succeeded with this
// payload and reports records that failed, as AWS has it with
// ReportBatchItemFailures:
//
//	{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":100}}]}
//
// The offset may be a string, and the identifier too: "orders-0-100", or with
// ":", "/" or "@" in place of a hyphen. Nothing, null, an empty object and an
// empty list are a success. Whatever cannot be understood, and a record that
// the batch does not have, is a failure of the whole batch: that loses nothing.
func Items(b *esm.Batch, payload []byte) error {
	payload = bytes.TrimSpace(payload)
	if len(payload) == 0 {
		return nil
	}
	var answer struct {
		Failures []struct {
			Identifier json.RawMessage `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(payload, &answer); err != nil {
		return fmt.Errorf("the function's answer is no batch item failures, so all records of the batch count as failed: %w: %s", err, Excerpt(payload))
	}
	if len(answer.Failures) == 0 {
		return nil
	}
	known := newIndex(b)
	var failures esm.Failures
	for i, f := range answer.Failures {
		r, err := known.find(f.Identifier)
		if err != nil {
			return fmt.Errorf("batchItemFailures[%d] of the function's answer %w, so all records of the batch count as failed: %s", i, err, Excerpt(f.Identifier))
		}
		failures.Add(r, ErrItem)
	}
	return failures.Err()
}

// An index finds the records of a batch by what a function calls them.
type index struct {
	partitions map[string]int // by "topic-partition" and its other forms: a place in records
	records    []map[int64]*kgo.Record
}

// separators are what people put between a topic, a partition and an offset.
const separators = "-:/@"

func newIndex(b *esm.Batch) *index {
	x := &index{partitions: map[string]int{}}
	at := map[esm.TopicPartition]int{}
	for tp, records := range b.ByPartition() {
		i, ok := at[tp]
		if !ok {
			i = len(x.records)
			at[tp] = i
			x.records = append(x.records, make(map[int64]*kgo.Record, len(records)))
			for _, separator := range separators {
				name := tp.Topic + string(separator) + strconv.Itoa(int(tp.Partition))
				if _, taken := x.partitions[name]; taken {
					x.partitions[name] = ambiguous
				} else {
					x.partitions[name] = i
				}
			}
		}
		for _, r := range records {
			x.records[i][r.Offset] = r
		}
	}
	return x
}

// ambiguous is the place of two partitions with one name, such as partition 2
// of a topic "a-1" and partition -2 of "a-1-".
const ambiguous = -1

// find returns the record of an identifier.
func (x *index) find(identifier json.RawMessage) (*kgo.Record, error) {
	if len(identifier) == 0 || string(identifier) == "null" {
		return nil, errors.New("has no itemIdentifier")
	}
	if identifier[0] == '"' {
		var text string
		if err := json.Unmarshal(identifier, &text); err != nil {
			return nil, fmt.Errorf("is malformed: %w", err)
		}
		at := strings.LastIndexAny(text, separators)
		if at < 0 {
			return nil, errors.New("does not name a partition and an offset, as topic-partition-offset")
		}
		return x.record(text[:at], text[at+1:])
	}
	var object struct {
		Partition *string         `json:"partition"`
		Offset    json.RawMessage `json:"offset"`
	}
	if err := json.Unmarshal(identifier, &object); err != nil {
		return nil, fmt.Errorf("is malformed: %w", err)
	}
	if object.Partition == nil || len(object.Offset) == 0 {
		return nil, errors.New(`does not have the fields "partition" and "offset"`)
	}
	offset := string(object.Offset)
	if offset[0] == '"' {
		if err := json.Unmarshal(object.Offset, &offset); err != nil {
			return nil, fmt.Errorf("is malformed: %w", err)
		}
	}
	return x.record(*object.Partition, offset)
}

func (x *index) record(partition, offset string) (*kgo.Record, error) {
	n, err := strconv.ParseInt(offset, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("has an offset that is no whole number, %q", offset)
	}
	at, ok := x.partitions[partition]
	switch {
	case !ok:
		return nil, fmt.Errorf("names partition %q, which is not in the batch", partition)
	case at == ambiguous:
		return nil, fmt.Errorf("names partition %q, which may be one of two in the batch", partition)
	}
	r := x.records[at][n]
	if r == nil {
		return nil, fmt.Errorf("names %s offset %d, which is not in the batch", partition, n)
	}
	return r, nil
}

// Excerpt is the beginning of what a function said, for errors.
func Excerpt(b []byte) string {
	const most = 500
	if len(b) > most {
		return strings.ToValidUTF8(string(b[:most]), "\ufffd") + "..."
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}
