package esm_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// TestErrorsThatTheLibraryMakesAreTextInJSON, each error that the library makes, wherever a struct
// of a user or a log has it.
func TestErrorsThatTheLibraryMakesAreTextInJSON(t *testing.T) {
	made := []error{
		&esm.PanicError{Value: "x"},
		&esm.HaltError{Err: errors.New("billing is down")},
		&esm.StartError{Doing: "join the group", Err: errors.New("billing is down")},
		&esm.DrainError{CommitErr: errors.New("billing is down")},
		&esm.OptionError{Option: "WithName", Value: func() {}, Bound: "must be short"},
		&esm.Gap{TopicPartition: esm.TopicPartition{Topic: "orders"}, Err: errors.New("billing is down")},
	}
	for _, err := range made {
		text, failed := json.Marshal(struct{ Err error }{err})
		var got struct{ Err string }
		if failed == nil {
			failed = json.Unmarshal(text, &got)
		}
		if failed != nil || got.Err != err.Error() {
			t.Errorf("%T is %s: %v", err, text, failed)
		}
	}
}

// TestNounsInJSON: what cannot be written as it is.
func TestNounsInJSON(t *testing.T) {
	three := esm.TopicPartition{Topic: "orders", Partition: 3}
	r := &kgo.Record{Topic: "orders", Partition: 3, Offset: 7, Value: []byte("secret"), Timestamp: time.UnixMilli(0).UTC()}
	var f esm.Failures
	f.Add(r, errors.New("billing is down"))
	of := esm.FailuresOf(f.Err())
	for want, v := range map[string]any{
		`{"Offsets":{"orders/3":7},"Failed":{}`: esm.Commit{Offsets: map[esm.TopicPartition]int64{three: 7}},
		`{"Record":{"Topic":"orders","Partition":3,"Offset":7,"Timestamp":"1970-01-01T00:00:00Z"},"Reason":"none"`: &esm.Discard{Record: r},
		`{"Record":null`: &esm.Discard{},
		`{"count":7,"seconds":0.21,"at most":{"25ms":4,"50ms":2},"longer":1}`: esm.Histogram{Counts: [18]int64{4: 4, 5: 2, 17: 1}, Seconds: 0.21},
		`"InvokeDurations":{"count":0,"seconds":0,"at most":{},"longer":0}`:   esm.Stats{},
		`"Outcome":"running"`:                             esm.Invocation{Outcome: esm.OutcomeRunning, Batch: &esm.Batch{Records: []*kgo.Record{r}}},
		`"Partition":3,"Offset":7,"Err":"billing is down`: of[0],
	} {
		text, err := json.Marshal(v)
		if err != nil || !strings.Contains(string(text), strings.TrimPrefix(want, "{")) || strings.Contains(string(text), "c2VjcmV0") {
			t.Errorf("%T is %s: %v; want %s", v, text, err, want)
		}
	}
}
