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
	"github.com/seed429fd032/esm/internal/guard"
)

// ErrItem is what a record failed with of which the function says only that it
// did.
var ErrItem = errors.New("the function reported this record in batchItemFailures")

// space is the white space of JSON, which is less than that of Unicode.
const space = " \t\r\n"

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
func Items(b *esm.Batch, payload []byte) error { return ItemsSaying(b, payload, Excerpt) }

// ItemsSaying is Items. What it quotes of the payload in errors, say makes a short
// text of.
func ItemsSaying(b *esm.Batch, payload []byte, say func([]byte) string) error {
	payload = bytes.Trim(payload, space)
	if len(payload) == 0 {
		return nil
	}
	answer := struct {
		Failures items `json:"batchItemFailures"`
	}{items{batch: b, say: say}}
	if err := json.Unmarshal(payload, &answer); err != nil {
		return fmt.Errorf("the function's answer is no batch item failures, so all records of the batch count as failed: %w: %s", guard.Keep(err), say(payload))
	}
	if err := answer.Failures.err; err != nil {
		return err
	}
	var failures esm.Failures
	for _, r := range answer.Failures.records {
		failures.Add(r, ErrItem)
	}
	return failures.Err()
}

// items are the records that an answer names. They are found one after the
// other, until the first that is none of the batch: an answer may have millions.
type items struct {
	batch   *esm.Batch
	say     func([]byte) string
	records []*kgo.Record // each once
	err     error         // of the first that cannot be understood
}

// UnmarshalJSON reads a list of items.
func (f *items) UnmarshalJSON(list []byte) error {
	f.records, f.err = nil, nil // the last field of the name counts
	if string(list) == "null" {
		return nil
	}
	from := json.NewDecoder(bytes.NewReader(list))
	if begin, err := from.Token(); err != nil {
		return err
	} else if begin != json.Delim('[') {
		return errors.New("batchItemFailures is no list")
	}
	known := newIndex(f.batch, f.say)
	seen := map[*kgo.Record]bool{}
	for i := 0; from.More() && f.err == nil; i++ {
		var item struct {
			Identifier json.RawMessage `json:"itemIdentifier"`
		}
		if err := from.Decode(&item); err != nil {
			return err
		}
		r, err := known.find(item.Identifier)
		if err != nil {
			f.err = fmt.Errorf("batchItemFailures[%d] of the function's answer %w, so all records of the batch count as failed: %s", i, err, f.say(item.Identifier))
		} else if !seen[r] {
			seen[r] = true
			f.records = append(f.records, r)
		}
	}
	return nil
}

// An index finds the records of a batch by what a function calls them.
type index struct {
	partitions map[string]int // by "topic-partition" and its other forms: a place in records
	records    []map[int64]*kgo.Record
	say        func([]byte) string
}

// separators are what people put between a topic, a partition and an offset.
const separators = "-:/@"

func newIndex(b *esm.Batch, say func([]byte) string) *index {
	x := &index{partitions: map[string]int{}, say: say}
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
			return nil, fmt.Errorf("is malformed: %w", guard.Keep(err))
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
		return nil, fmt.Errorf("is malformed: %w", guard.Keep(err))
	}
	if object.Partition == nil || len(object.Offset) == 0 {
		return nil, errors.New(`does not have the fields "partition" and "offset"`)
	}
	offset := string(object.Offset)
	if offset[0] == '"' {
		if err := json.Unmarshal(object.Offset, &offset); err != nil {
			return nil, fmt.Errorf("is malformed: %w", guard.Keep(err))
		}
	}
	return x.record(*object.Partition, offset)
}

func (x *index) record(partition, offset string) (*kgo.Record, error) {
	n, err := strconv.ParseInt(offset, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("has an offset that is no whole number, %q", x.say([]byte(offset)))
	}
	at, ok := x.partitions[partition]
	switch {
	case !ok:
		return nil, fmt.Errorf("names partition %q, which is not in the batch", x.say([]byte(partition)))
	case at == ambiguous:
		return nil, fmt.Errorf("names partition %q, which may be one of two in the batch", partition)
	}
	r := x.records[at][n]
	if r == nil {
		return nil, fmt.Errorf("names %s offset %d, which is not in the batch", partition, n)
	}
	return r, nil
}
