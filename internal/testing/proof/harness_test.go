package proof_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

var nightly = build.Nightly

// virtual runs a test in virtual time. It needs the Kafka client's locks to be
// known to synctest, which a build tag does.
func virtual(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if !virtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	synctest.Test(t, f)
}

// quiet is a logger that writes only if ESM_TEST_LOG is set.
func quiet() esm.Option {
	var w io.Writer = io.Discard
	if os.Getenv("ESM_TEST_LOG") != "" {
		w = os.Stderr
	}
	return esm.WithLogger(slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})))
}

// logger gives each line of the log to a function.
func logger(f func(line string)) *slog.Logger {
	return slog.New(slog.NewTextHandler(writer(func(b []byte) { f(string(b)) }), nil))
}

// A ledger keeps what several members of a group have handled, and judges it.
type ledger struct {
	mu       sync.Mutex
	seen     map[esm.TopicPartition]map[int64]int
	last     map[string]int64 // by member and partition
	records  int
	repeats  int
	backward int
	notes    []string
}

func newLedger() *ledger {
	return &ledger{seen: map[esm.TopicPartition]map[int64]int{}, last: map[string]int64{}}
}

// handled notes a batch that a member has handled.
func (l *ledger) handled(member string, b *esm.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for tp, records := range b.ByPartition() {
		if l.seen[tp] == nil {
			l.seen[tp] = map[int64]int{}
		}
		key := fmt.Sprint(member, tp)
		for _, r := range records {
			l.records++
			l.seen[tp][r.Offset]++
			if l.seen[tp][r.Offset] > 1 {
				l.repeats++
				l.note("%s handled %v offset %d again", member, tp, r.Offset)
			}
			if last, ok := l.last[key]; ok && r.Offset <= last {
				l.backward++
				l.note("%s handled %v offset %d after %d", member, tp, r.Offset, last)
			}
			l.last[key] = r.Offset
		}
	}
}

// different counts the records that were handled, each once.
func (l *ledger) different() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.records - l.repeats)
}

// repeated counts how often one was handled again.
func (l *ledger) repeated() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.repeats)
}

func (l *ledger) note(format string, args ...any) {
	if len(l.notes) < 10 {
		l.notes = append(l.notes, fmt.Sprintf(format, args...))
	}
}

// reassigned forgets the order of a member's partitions: a new assignment may
// begin anywhere.
func (l *ledger) reassigned(member string, tps []esm.TopicPartition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, tp := range tps {
		delete(l.last, fmt.Sprint(member, tp))
	}
}

// missing counts what was not handled of partitions with so many records.
func (l *ledger) missing(topic string, partitions int, each int64) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range int32(partitions) {
		for o := range each {
			if l.seen[esm.TopicPartition{Topic: topic, Partition: p}][o] == 0 {
				n++
				l.note("%s/%d offset %d was not handled", topic, p, o)
			}
		}
	}
	return n
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := fmt.Sprintf("%d records, %d repeats, %d backward", l.records, l.repeats, l.backward)
	for _, n := range l.notes {
		s += "\n  " + n
	}
	return s
}

// A list is what several goroutines add to.
type list[T any] struct {
	mu    sync.Mutex
	items []T
}

func (l *list[T]) add(item T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, item)
}

func (l *list[T]) all() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.items)
}

// fill writes so many numbered records into each partition.
func fill(k *esmtest.Kafka, topic string, partitions int, each int64) {
	var records []*kgo.Record
	for o := range each {
		for p := range int32(partitions) {
			records = append(records, esmtest.At(p, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d/%d", p, o)}))
			if len(records) == 5000 {
				k.ProduceRecords(records...)
				records = nil
			}
		}
	}
	if len(records) > 0 {
		k.ProduceRecords(records...)
	}
}

// waitFor waits in steps until f is true, and fails after so long. It is for
// virtual time, where that costs nothing, and what happened then happened
// before what f sees.
func waitFor(t *testing.T, most time.Duration, what string, f func() bool) {
	t.Helper()
	synctest.Wait()
	for end := time.Now().Add(most); !f(); synctest.Wait() {
		if time.Now().After(end) {
			t.Fatalf("after %s: not %s", most, what)
		}
		time.Sleep(most / 1000)
	}
}

// stop stops a Mapping and fails the test if that does not go well.
func stop(t *testing.T, m *esm.Mapping) {
	t.Helper()
	if err := m.Stop(context.Background()); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// setBatchLimit lets a topic take larger batches.
func setBatchLimit(t *testing.T, k *esmtest.Kafka, topic string, bytes int) {
	t.Helper()
	limit := fmt.Sprint(bytes)
	resp, err := kadm.NewClient(k.Client()).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &limit}}, topic)
	if err == nil {
		_, err = resp.On(topic, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}
