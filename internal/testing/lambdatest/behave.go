package lambdatest

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// Settings are how a function is to be run, for [Behave].
type Settings struct {
	Env     []string
	Timeout time.Duration
	Most    int // processes
	Report  bool
}

// Behave tests that the function beside this file, in any language, works
// through an Invoker: what it gets, and what becomes of what it does.
func Behave(t *testing.T, start func(t *testing.T, s Settings) esm.Invoker) {
	usual := Settings{Timeout: 10 * time.Second, Most: 2}
	// run starts the function, and returns what it remembers.
	run := func(t *testing.T, s Settings) (inv esm.Invoker, seen func() []Sight) {
		file := filepath.Join(t.TempDir(), "seen")
		s.Env = append(s.Env, "FUNCTION_SEEN="+file)
		return start(t, s), func() []Sight { return Seen(t, file) }
	}
	outcome := func(t *testing.T, inv esm.Invoker, b *esm.Batch, want esm.Outcome, text string) error {
		t.Helper()
		err := inv.Invoke(t.Context(), b)
		if got := esm.Classify(t.Context(), err); got != want || err != nil && !strings.Contains(err.Error(), text) {
			t.Fatalf("%v: %v (want %v: %q)", got, err, want, text)
		}
		return err
	}
	works := func(t *testing.T, inv esm.Invoker) {
		t.Helper()
		outcome(t, inv, Tell(""), esm.OutcomeSuccess, "")
	}

	t.Run("success, with each record as it was", func(t *testing.T) {
		inv, seen := run(t, usual)
		b := Tell("",
			&kgo.Record{Topic: "orders", Partition: 3, Offset: 101, Timestamp: time.UnixMilli(0), Key: []byte{0, 255}, Value: []byte{},
				Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{0, 127, 128, 255}}, {Key: "h", Value: []byte("again")}, {Key: "", Value: nil}, {Key: "ż\"\\\n<&", Value: []byte("x")}}},
			&kgo.Record{Topic: "orders", Partition: 3, Offset: 105, Timestamp: time.UnixMilli(1), Key: []byte{}},
			&kgo.Record{Topic: "orders-3", Partition: 3, Offset: 1, Timestamp: time.UnixMilli(2), Value: []byte("another topic")},
		)
		outcome(t, inv, b, esm.OutcomeSuccess, "")
		s := seen()
		if len(s) != 1 {
			t.Fatalf("it saw %d invocations", len(s))
		}
		if s[0].Request == "" || !strings.HasPrefix(s[0].ARN, "arn:aws:lambda:") || !s[0].Deadline {
			t.Errorf("its context: %+v", s[0])
		}
		wantRecords(t, s[0].Event, b.Records)
	})
	t.Run("error", func(t *testing.T) {
		inv, _ := run(t, usual)
		for range 2 {
			outcome(t, inv, Tell("error"), esm.OutcomeFailure, "told to fail")
			works(t, inv)
		}
	})
	t.Run("panic and exit, then a new process", func(t *testing.T) {
		inv, seen := run(t, usual)
		for _, what := range []string{"panic", "exit", "panic"} {
			outcome(t, inv, Tell(what), esm.OutcomeFailure, "the function failed")
			works(t, inv)
		}
		pids := map[int]bool{}
		for _, s := range seen() {
			pids[s.PID] = true
		}
		if len(seen()) != 6 || len(pids) < 4 {
			t.Errorf("%d invocations in %d processes", len(seen()), len(pids))
		}
	})
	t.Run("timeout, then a new process", func(t *testing.T) {
		s := usual
		s.Timeout = 2 * time.Second // with an interpreter that begins
		inv, seen := run(t, s)
		works(t, inv)
		outcome(t, inv, Tell("hang"), esm.OutcomeFailure, "timed out")
		works(t, inv)
		if s := seen(); len(s) != 3 || s[1].PID == s[2].PID {
			t.Errorf("%+v", s)
		}
	})
	t.Run("a context that ends", func(t *testing.T) {
		inv, _ := run(t, usual)
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := time.AfterFunc(500*time.Millisecond, func() { cancel(esm.ErrStopping) })
		defer stop.Stop()
		if err := inv.Invoke(ctx, Tell("hang")); esm.Classify(ctx, err) != esm.OutcomeAbandoned {
			t.Fatal(err)
		}
		works(t, inv)
	})
	t.Run("answers", func(t *testing.T) {
		s := usual
		s.Report = true
		inv, _ := run(t, s)
		more := &kgo.Record{Topic: "orders", Partition: 3, Offset: 101}
		for answer, want := range map[string]esm.Outcome{
			`null`:                     esm.OutcomeSuccess,
			`{}`:                       esm.OutcomeSuccess,
			`{"batchItemFailures":[]}`: esm.OutcomeSuccess,
			`{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-3","offset":101}}]}`: esm.OutcomePartial,
			`{"batchItemFailures":[{"itemIdentifier":"orders-3-101"}]}`:                        esm.OutcomePartial,
			`{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-3","offset":102}}]}`: esm.OutcomeFailure,
			`{"batchItemFailures":[{"itemIdentifier":""}]}`:                                    esm.OutcomeFailure,
			`"done"`: esm.OutcomeFailure,
		} {
			err := outcome(t, inv, Tell("answer "+answer, more), want, "")
			if f := esm.FailuresOf(err); want == esm.OutcomePartial && (len(f) != 1 || f[0].Offset != 101) {
				t.Errorf("%s: %v", answer, f)
			}
		}
	})
	t.Run("answers that nobody asked for", func(t *testing.T) {
		inv, _ := run(t, usual)
		outcome(t, inv, Tell(`answer {"batchItemFailures":[{"itemIdentifier":{"partition":"orders-3","offset":100}}]}`), esm.OutcomeSuccess, "")
	})
	t.Run("an answer that is too large", func(t *testing.T) {
		inv, _ := run(t, usual)
		outcome(t, inv, Tell("large"), esm.OutcomeFailure, "the function failed")
		works(t, inv)
	})
	t.Run("two answers: the first holds", func(t *testing.T) {
		inv, _ := run(t, usual)
		outcome(t, inv, Tell("twice"), esm.OutcomeSuccess, "")
		works(t, inv)
	})
	t.Run("a flood of output", func(t *testing.T) {
		inv, _ := run(t, usual)
		outcome(t, inv, Tell("flood"), esm.OutcomeSuccess, "")
		works(t, inv)
	})
	t.Run("100 at once", func(t *testing.T) {
		s := usual
		s.Most = 4
		inv, seen := run(t, s)
		errs := make(chan error)
		for i := range 100 {
			b := Tell("")
			b.Records[0].Partition = int32(i)
			go func() {
				// Who is throttled comes again, as a Mapping would.
				for {
					err := inv.Invoke(t.Context(), b)
					if esm.Classify(t.Context(), err) != esm.OutcomeThrottled {
						errs <- err
						return
					}
					wait := time.NewTimer(10 * time.Millisecond)
					<-wait.C
				}
			}()
		}
		for range 100 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		var names []string
		for _, s := range seen() {
			for name := range s.Event.Records {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		if n := len(names); n != 100 || len(slices.Compact(names)) != 100 {
			t.Errorf("%d invocations, of %d partitions", n, len(slices.Compact(names)))
		}
	})
	t.Run("a function that cannot begin", func(t *testing.T) {
		s := usual
		s.Env = []string{"FUNCTION_INIT=exit"}
		inv, _ := run(t, s)
		outcome(t, inv, Tell(""), esm.OutcomeFailure, "")
	})
}

// wantRecords compares what a function got with what was sent. It tells null
// from nothing only where the language of the function does.
func wantRecords(t *testing.T, got Event, want []*kgo.Record) {
	t.Helper()
	left := map[string][]Record{}
	for name, records := range got.Records {
		left[name] = records
	}
	for _, w := range want {
		name := fmt.Sprintf("%s-%d", w.Topic, w.Partition)
		if len(left[name]) == 0 {
			t.Fatalf("%s offset %d is missing", name, w.Offset)
		}
		r := left[name][0]
		left[name] = left[name][1:]
		if r.Topic != w.Topic || r.Partition != w.Partition || r.Offset != w.Offset || r.Timestamp != w.Timestamp.UnixMilli() || r.TimestampType != "CREATE_TIME" {
			t.Errorf("%+v of %+v", r, w)
		}
		wantBytes(t, r.Key, w.Key)
		wantBytes(t, r.Value, w.Value)
		if len(r.Headers) != len(w.Headers) {
			t.Fatalf("%d headers, want %d", len(r.Headers), len(w.Headers))
		}
		for i, h := range w.Headers {
			signed := make([]int8, len(h.Value))
			for j, c := range h.Value {
				signed[j] = int8(c)
			}
			if value, ok := r.Headers[i][h.Key]; !ok || len(r.Headers[i]) != 1 || !slices.Equal(value, signed) {
				t.Errorf("%+v of %+v", r.Headers[i], h)
			}
		}
	}
	for name, records := range left {
		if len(records) > 0 {
			t.Errorf("%d records too many of %s", len(records), name)
		}
	}
}

func wantBytes(t *testing.T, got *string, want []byte) {
	t.Helper()
	var b []byte
	if got != nil {
		var err error
		if b, err = base64.StdEncoding.DecodeString(*got); err != nil {
			t.Error(err)
		}
	}
	if !bytes.Equal(b, want) {
		t.Errorf("%q, want %q", b, want)
	}
}
