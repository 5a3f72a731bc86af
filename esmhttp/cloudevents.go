package esmhttp

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/awsevent"
	"github.com/seed429fd032/esm/internal/invokers/payload"
)

// appendBatch appends the CloudEvents of a batch as an array.
func (i *Invoker) appendBatch(dst []byte, b *esm.Batch) []byte {
	dst = append(dst, '[')
	for n, r := range b.Records {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = i.appendCloudEvent(dst, r)
	}
	return append(dst, ']')
}

// appendCloudEvent appends a record as a CloudEvent in JSON, of version 1.0.
//
// The attributes that CloudEvents does not have are extensions: their names may
// have nothing but lower-case letters and digits, an integer 32 bits, so the
// offset is a string. partitionkey is what the extension for partitioning says,
// for a key that is text; kafkakey is any key, and missing for a record without
// one. Without a value there is no data. kafkaheaders is JSON in a string, as
// headers are in the event of AWS.
func (i *Invoker) appendCloudEvent(dst []byte, r *kgo.Record) []byte {
	dst = append(dst, `{"specversion":"1.0","id":`...)
	partition, offset := strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10)
	dst = awsevent.AppendString(dst, r.Topic+"/"+partition+"/"+offset)
	dst = append(dst, `,"source":`...)
	source := i.eventSource
	if source == "" {
		source = "kafka:" + r.Topic
	}
	dst = awsevent.AppendString(dst, source)
	dst = append(dst, `,"type":`...)
	dst = awsevent.AppendString(dst, i.eventType)
	if ms := r.Timestamp.UnixMilli(); ms >= 0 && ms <= lastMilli {
		dst = append(dst, `,"time":"`...)
		dst = r.Timestamp.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
		dst = append(dst, '"')
	}
	if key := string(r.Key); key != "" && utf8.ValidString(key) && !strings.ContainsFunc(key, notInAttribute) {
		dst = append(dst, `,"partitionkey":`...)
		dst = awsevent.AppendString(dst, key)
	}
	dst = append(dst, `,"kafkatopic":`...)
	dst = awsevent.AppendString(dst, r.Topic)
	dst = append(dst, `,"kafkapartition":`...)
	dst = append(dst, partition...)
	dst = append(dst, `,"kafkaoffset":"`...)
	dst = append(dst, offset...)
	dst = append(dst, '"')
	if r.Key != nil {
		dst = append(dst, `,"kafkakey":`...)
		dst = awsevent.AppendBase64(dst, r.Key)
	}
	if len(r.Headers) > 0 {
		dst = append(dst, `,"kafkaheaders":`...)
		dst = awsevent.AppendString(dst, string(awsevent.AppendHeaders(nil, r.Headers)))
	}
	switch {
	case r.Value == nil:
	case i.jsonData && utf8.Valid(r.Value) && json.Valid(r.Value):
		dst = append(dst, `,"datacontenttype":"application/json","data":`...)
		dst = append(dst, r.Value...)
	default:
		dst = append(dst, `,"datacontenttype":"application/octet-stream","data_base64":`...)
		dst = awsevent.AppendBase64(dst, r.Value)
	}
	return append(dst, '}')
}

// lastMilli is the end of the year 9999: a time has four digits for the year.
const lastMilli = 253402300799999

// notInAttribute reports what a string of a CloudEvent must not hold: control
// characters, and what is no character.
func notInAttribute(r rune) bool {
	return r < ' ' || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

// invokeEach posts the records of a batch one after the other.
func (i *Invoker) invokeEach(ctx context.Context, b *esm.Batch) error {
	return esm.Each(func(ctx context.Context, r *kgo.Record) error {
		p := payload.Get()
		defer p.Release()
		p.Bytes = i.appendCloudEvent(p.Bytes, r)
		_, err := i.post(ctx, b, p, "application/cloudevents+json")
		if err != nil {
			err = fmt.Errorf("%s/%d offset %d: %w", r.Topic, r.Partition, r.Offset, err)
		}
		return err
	}).Invoke(ctx, b)
}
