package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestTimeLagIsTheAgeOfTheOldestUnsettledRecord, unknown where nothing of it was read, and 0
// where all is settled.
func TestTimeLagIsTheAgeOfTheOldestUnsettledRecord(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		made := time.Now()
		time.Sleep(time.Hour)
		var fails atomic.Bool
		fails.Store(true)
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
			if fails.Load() {
				return errors.New("billing is down")
			}
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet())
		time.Sleep(5 * time.Second)
		if age, known := m.Stats().TimeLag.Max(); age != 0 || !known {
			t.Errorf("without a record it is %s, known: %v", age, known)
		}
		k.ProduceRecords(esmtest.At(0, &kgo.Record{Topic: "orders", Value: []byte("a"), Timestamp: made}), esmtest.At(1, &kgo.Record{Topic: "orders", Value: []byte("b"), Timestamp: made.Add(time.Minute)}))
		time.Sleep(10 * time.Second)
		s := m.Stats()
		if age, known := s.TimeLag.Max(); !known || age != s.At.Sub(made).Truncate(time.Millisecond) && (s.At.Sub(made)-age).Abs() > time.Millisecond {
			t.Errorf("it is %s, known: %v; want %s", age, known, s.At.Sub(made))
		}
		text, err := json.Marshal(s.TimeLag)
		if err != nil || !strings.Contains(string(text), `"unknown":0`) || strings.Contains(string(text), "null") {
			t.Errorf("%s: %v", text, err)
		}
		fails.Store(false)
		time.Sleep(2 * time.Minute)
		if age, known := m.Stats().TimeLag.Max(); age != 0 || !known {
			t.Errorf("with all settled it is %s, known: %v", age, known)
		}
		if err := m.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.ProduceTo("orders", 0, "c") // which nobody reads, so its timestamp is not known
		time.Sleep(10 * time.Second)
		if s := m.Stats(); s.TimeLag.Unknown() != 1 {
			lag, _ := s.OffsetLag.Sum()
			t.Errorf("with a lag of %d records that were not read, the age is unknown of %d partitions", lag, s.TimeLag.Unknown())
		} else if _, known := s.TimeLag.Max(); known {
			t.Error("the age of what was not read is known")
		}
		if age, known := (esm.Stats{}).TimeLag.Max(); age != 0 || known {
			t.Errorf("of nothing it is %s, known: %v", age, known)
		}
	})
}

// TestWhatIsSummedUp: the time of pollers and units, and how long calls took.
func TestWhatIsSummedUp(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 20))
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
			time.Sleep(30 * time.Millisecond)
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMinPollers(20), esm.WithMaxPollers(20))
		before := m.Stats()
		time.Sleep(10 * time.Minute)
		s := m.Stats()
		if got := s.PollerSecondsTotal - before.PollerSecondsTotal; math.Abs(got-12_000) > 1e-3 {
			t.Errorf("twenty pollers for ten minutes are %v s", got)
		}
		if got := s.EventPollerUnitSecondsTotal - before.EventPollerUnitSecondsTotal; math.Abs(got-1200) > 4 {
			t.Errorf("two units for ten minutes are %v s", got)
		}
		for range 7 {
			k.Produce("orders", "a")
			time.Sleep(time.Second)
		}
		s = m.Stats()
		if n := s.InvokeDurations.Count(); n != 7 || math.Abs(s.InvokeDurations.Seconds-0.21) > 1e-6 {
			t.Errorf("%d calls took %v s", n, s.InvokeDurations.Seconds)
		}
		for i, b := range esm.HistogramBounds() {
			if n := s.InvokeDurations.Counts[i]; (n == 7) != (b == 50*time.Millisecond) || n != 0 && n != 7 {
				t.Errorf("%d took %s at most", n, b)
			}
		}
		if s.FetchDuration <= 0 { // a commit takes no time here
			t.Errorf("a fetch took %s", s.FetchDuration)
		}
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		end := m.Stats()
		time.Sleep(time.Hour)
		if s := m.Stats(); s.PollerSecondsTotal != end.PollerSecondsTotal || s.EventPollerUnitSecondsTotal != end.EventPollerUnitSecondsTotal {
			t.Errorf("stopped for an hour, %v became %v, and %v %v", end.PollerSecondsTotal, s.PollerSecondsTotal, end.EventPollerUnitSecondsTotal, s.EventPollerUnitSecondsTotal)
		}
	})
}

// TestFailedPollsAreCounted: a fetch without an answer, and an answer with an error.
func TestFailedPollsAreCounted(t *testing.T) {
	for name, fails := range map[string]func(*kmsg.FetchRequest) (kmsg.Response, error){
		"no answer": func(*kmsg.FetchRequest) (kmsg.Response, error) { return nil, errors.New("no answer") },
		"an error": func(r *kmsg.FetchRequest) (kmsg.Response, error) {
			answer := r.ResponseKind().(*kmsg.FetchResponse)
			for _, of := range r.Topics {
				topic := kmsg.NewFetchResponseTopic()
				topic.Topic, topic.TopicID = of.Topic, of.TopicID
				for _, p := range of.Partitions {
					partition := kmsg.NewFetchResponseTopicPartition()
					partition.Partition, partition.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
					topic.Partitions = append(topic.Partitions, partition)
				}
				answer.Topics = append(answer.Topics, topic)
			}
			return answer, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				var sick atomic.Bool
				k.Cluster().ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
					k.Cluster().KeepControl()
					if r := req.(*kmsg.FetchRequest); sick.Load() {
						answer, err := fails(r)
						return answer, err, true
					}
					return nil, nil, false
				})
				source := k.Source("orders", "billing")
				source.Client = append(source.Client, kgo.DisableFetchSessions()) // each request names its partitions
				m := esmtest.Start(t, source, esmtest.NewInvoker(t), quiet())
				time.Sleep(time.Minute)
				if n := m.Stats().PollingErrorCount; n != 0 {
					t.Errorf("of %d polls that went well, it counts %d", n, n)
				}
				sick.Store(true)
				time.Sleep(time.Minute)
				if n := m.Stats().PollingErrorCount; n == 0 {
					t.Error("none was counted")
				}
			})
		})
	}
}
