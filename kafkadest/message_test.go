package kafkadest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

type panics struct{}

func (panics) Error() string { panic("oh") }

// TestErrorsOfTheUserAreTakenAsTheyAre: whatever they are, the record must go.
func TestErrorsOfTheUserAreTakenAsTheyAre(t *testing.T) {
	text := func(err error) string {
		for _, h := range message("d", FormatRecord, &esm.Discard{Record: &kgo.Record{Topic: "t"}, Err: err}, time.Now()).Headers {
			if h.Key == headerError {
				return string(h.Value)
			}
		}
		return ""
	}
	if got := text(panics{}); !strings.Contains(got, "panics") {
		t.Error(got)
	}
	if got := text(errors.New("a\xffb")); got != "a\uFFFDb" {
		t.Errorf("%q", got)
	}
	long := text(errors.New(strings.Repeat("ż", 3<<20)))
	if n := len(long); n > 4200 || n < 4000 || !utf8.ValidString(long) || !strings.HasSuffix(long, "ż... (6287360 bytes more)") {
		t.Errorf("%d bytes, ending in %q", n, long[n-50:])
	}
}

func TestEveryReasonHasACondition(t *testing.T) {
	for reason, want := range map[esm.Reason]string{
		esm.ReasonRetriesExhausted: "RetriesExhausted", esm.ReasonTooLarge: "MaximumPayloadSizeExceeded",
		esm.ReasonTooOld: "RecordAgeExceeded", esm.ReasonPermanent: "PermanentFailure", esm.ReasonUnreadable: "RecordsUnreadable", 99: "Reason(99)",
	} {
		g := &esm.Discard{Record: &kgo.Record{Topic: "t"}, Reason: reason, Attempts: 1}
		var doc struct {
			RequestContext  struct{ Condition string }
			ResponseContext *struct{}
		}
		if err := json.Unmarshal(message("d", FormatDocument, g, time.Now()).Value, &doc); err != nil {
			t.Fatal(err)
		}
		if doc.RequestContext.Condition != want || (doc.ResponseContext == nil) != (reason == esm.ReasonTooLarge) {
			t.Errorf("%v: %+v", reason, doc)
		}
	}
}

// TestMessageSharesNothing: the client may hold it for longer than the Discard
// is valid.
func TestMessageSharesNothing(t *testing.T) {
	for _, f := range []Format{FormatDocument, FormatRecord} {
		r := &kgo.Record{Topic: "t", Key: []byte("key"), Value: []byte("value"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("header")}}}
		m := message("d", f, &esm.Discard{Record: r}, time.Now())
		before := fmt.Sprintf("%q %q %q", m.Key, m.Value, m.Headers)
		for _, b := range [][]byte{r.Key, r.Value, r.Headers[0].Value} {
			clear(b)
		}
		if after := fmt.Sprintf("%q %q %q", m.Key, m.Value, m.Headers); after != before {
			t.Errorf("%v: %s became %s", f, before, after)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	d := &Destination{config: Config{Topic: "failed"}, trouble: errors.New("connection to a: refused")}
	for err, says := range map[error]string{
		kerr.SaslAuthenticationFailed: "credentials", kerr.InvalidRecord: "compacted", kerr.NotEnoughReplicas: "min.insync.replicas",
		kerr.RecordListTooLarge: "segment.bytes", kerr.ClusterAuthorizationFailed: "IdempotentWrite", kgo.ErrRecordRetries: "refused",
		kerr.KafkaStorageError: "failed",
	} {
		got := d.explain(fmt.Errorf("wrapped: %w", err))
		if !errors.Is(got, err) || !strings.Contains(got.Error(), says) || !strings.Contains(got.Error(), `"failed"`) {
			t.Errorf("%v does not say %q", got, says)
		}
	}
}
