package awsevent

import (
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Conditions are why a record is given up. The first two are AWS's words in the
// document for a topic. For the others AWS publishes none for Kafka, so these
// are ours, in the style of AWS's.
const (
	RetriesExhausted   = "RetriesExhausted"
	PayloadTooLarge    = "MaximumPayloadSizeExceeded"
	RecordAgeExceeded  = "RecordAgeExceeded"
	PermanentlyRefused = "PermanentFailure"
	Unreadable         = "RecordsUnreadable"
)

// A Document tells an on-failure destination of a record.
type Document struct {
	// RequestID is the id of the last invocation, empty if there was none.
	RequestID string
	// Function names the function.
	Function string
	// Condition is why the record is given up.
	Condition string
	// Invocations is how often the function was tried.
	Invocations int
	// Time is when the document was made.
	Time time.Time
	// SourceARN and Brokers are those of the [Event].
	SourceARN string
	Brokers   []string
	// Record is the record.
	Record *kgo.Record
}

// AppendTopicDocument appends the document as it goes to a Kafka topic: of one
// record, which it holds as a JSON object.
//
// The forms for a queue (no record) and for a bucket (the event as a string)
// have the same head. In place of recordInfo they have recordsInfo, with a
// field for each partition.
func AppendTopicDocument(dst []byte, d *Document) []byte {
	e := Event{SourceARN: d.SourceARN, Brokers: d.Brokers, Records: []*kgo.Record{d.Record}}
	payload := e.appendPayload(nil)
	dst = d.appendHead(dst, &e, len(payload))
	dst = append(dst, `,"recordInfo":{"offset":"`...)
	dst = strconv.AppendInt(dst, d.Record.Offset, 10)
	dst = append(dst, `","timestamp":`...)
	dst = appendTime(dst, d.Record.Timestamp)
	dst = append(dst, `}},"payload":`...)
	dst = append(dst, payload...)
	return append(dst, '}')
}

// appendHead appends what all forms of the document begin with: up to, and
// within, KafkaBatchInfo.
func (d *Document) appendHead(dst []byte, e *Event, payloadSize int) []byte {
	dst = append(dst, `{"requestContext":{"requestId":`...)
	dst = AppendString(dst, d.RequestID)
	dst = append(dst, `,"functionArn":`...)
	dst = AppendString(dst, d.Function)
	dst = append(dst, `,"condition":`...)
	dst = AppendString(dst, d.Condition)
	dst = append(dst, `,"approximateInvokeCount":`...)
	dst = strconv.AppendInt(dst, int64(d.Invocations), 10)
	dst = append(dst, `},"responseContext":`...)
	if d.Condition == PayloadTooLarge || d.Invocations == 0 {
		// Nothing answered.
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, `{"statusCode":200,"executedVersion":"$LATEST","functionError":"Unhandled"}`...)
	}
	dst = append(dst, `,"version":"1.0","timestamp":`...)
	dst = appendTime(dst, d.Time)
	dst = append(dst, `,"KafkaBatchInfo":{"batchSize":`...)
	dst = strconv.AppendInt(dst, int64(len(e.Records)), 10)
	if e.SourceARN != "" {
		dst = append(dst, `,"eventSourceArn":`...)
		dst = AppendString(dst, e.SourceARN)
	}
	dst = append(dst, ',')
	dst = e.appendServers(dst)
	dst = append(dst, `,"payloadSize":`...)
	return strconv.AppendInt(dst, int64(payloadSize), 10)
}
