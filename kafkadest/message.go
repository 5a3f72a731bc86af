package kafkadest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/awsevent"
	"github.com/seed429fd032/esm/internal/guard"
)

// A Format is the form of the messages. All of them have the key of the record,
// or none if it has none; the partition is chosen by the key as Kafka's own
// clients do, and spread without one. The timestamp is the time of the
// delivery, so that the topic keeps an old record as long as any other.
//
// All of them have these headers:
//
//   - esm-reason: [esm.Discard].Reason, for example "retries-exhausted".
//   - esm-attempts: how many attempts failed, a decimal number.
//   - esm-error: what the last of them failed with, at most 4 KiB of it,
//     and how many bytes were left out. It is missing if there was none.
//   - esm-source-topic, esm-source-partition, esm-source-offset: where the
//     record is from.
//   - esm-source-timestamp: the timestamp of the record, in milliseconds since
//     1970; -1 if it has none.
type Format int

const (
	// FormatRecord, the default, is the record as it was: value and headers too. To
	// replay it, copy it to the source topic, or let a Mapping read this one. A
	// record that was given up before and comes again has each of the headers above
	// once: they tell of the last time. A batch that cannot be read is one message
	// without key and value; esm-error says which offsets.
	FormatRecord Format = iota
	// FormatDocument is AWS's document, in JSON: the reason, and the record
	// itself in "payload" as a function gets it, with its headers. (AWS: the document
	// of a kafka:// destination, which is the only form there.) Where AWS says one
	// thing and a Mapping knows another:
	//
	//   - functionArn is the name of the Mapping, which knows no function.
	//   - requestId is the id of the last batch that held the record, and empty
	//     if it was in none.
	//   - condition is "RetriesExhausted", or "MaximumPayloadSizeExceeded" for a
	//     record that is too large. AWS has no word for the others:
	//     "RecordAgeExceeded" for one that is too old, "PermanentFailure", and
	//     "RecordsUnreadable" for a batch that cannot be read, which is one
	//     message, with null for key and value; esm-error says which offsets.
	//   - responseContext is null where no function answered: for a record that
	//     is too large, and for one that was never tried. Otherwise it is always
	//     the same. What the function said is in the header esm-error.
	//   - approximateInvokeCount counts the attempts that failed.
	//   - eventSource is "SelfManagedKafka", and there is no eventSourceArn,
	//     unless the Mapping has [esm.Source].ARN.
	//   - a key or a value that is null is null.
	FormatDocument
)

// String returns the format in one word.
func (f Format) String() string {
	switch f {
	case FormatDocument:
		return "document"
	case FormatRecord:
		return "record"
	}
	return fmt.Sprintf("Format(%d)", int(f))
}

// The headers that tell of a discard.
const (
	headerReason    = "esm-reason"
	headerAttempts  = "esm-attempts"
	headerError     = "esm-error"
	headerTopic     = "esm-source-topic"
	headerPartition = "esm-source-partition"
	headerOffset    = "esm-source-offset"
	headerTimestamp = "esm-source-timestamp"
)

var ourHeaders = []string{headerReason, headerAttempts, headerError, headerTopic, headerPartition, headerOffset, headerTimestamp}

// message makes the message of a discard. It shares nothing with it: the client
// may hold the message for longer than the discard is valid.
func message(topic string, format Format, g *esm.Discard, now time.Time) *kgo.Record {
	m := &kgo.Record{Topic: topic, Key: bytes.Clone(g.Record.Key), Timestamp: now}
	if format == FormatRecord {
		m.Value = bytes.Clone(g.Record.Value)
		for _, h := range g.Record.Headers {
			if !slices.Contains(ourHeaders, h.Key) {
				m.Headers = append(m.Headers, kgo.RecordHeader{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)})
			}
		}
	} else {
		m.Value = awsevent.AppendTopicDocument(nil, &awsevent.Document{
			RequestID: g.BatchID, Function: g.Mapping, Condition: condition(g.Reason), Invocations: g.Attempts,
			Time: now, SourceARN: g.SourceARN, Brokers: g.Brokers, Record: g.Record,
		})
	}
	header := func(key, value string) {
		m.Headers = append(m.Headers, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	header(headerReason, g.Reason.String())
	header(headerAttempts, strconv.Itoa(g.Attempts))
	if g.Err != nil {
		// An error of the user, which may panic: a record must not be stuck for that.
		header(headerError, strings.ToValidUTF8(guard.Text(g.Err), "\uFFFD"))
	}
	header(headerTopic, g.Record.Topic)
	header(headerPartition, strconv.Itoa(int(g.Record.Partition)))
	header(headerOffset, strconv.FormatInt(g.Record.Offset, 10))
	header(headerTimestamp, strconv.FormatInt(g.Record.Timestamp.UnixMilli(), 10))
	return m
}

// condition is the word of the document for a reason.
func condition(r esm.Reason) string {
	switch r {
	case esm.ReasonRetriesExhausted:
		return awsevent.RetriesExhausted
	case esm.ReasonTooLarge:
		return awsevent.PayloadTooLarge
	case esm.ReasonTooOld:
		return awsevent.RecordAgeExceeded
	case esm.ReasonPermanent:
		return awsevent.PermanentlyRefused
	case esm.ReasonUnreadable:
		return awsevent.Unreadable
	}
	return r.String()
}
