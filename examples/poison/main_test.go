package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/examples/internal/demotest"
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return demo.Run(ctx, "poison", new(settings), args, stdout, stderr)
}

// result runs the command with -json and returns what it says.
func result(t *testing.T, ctx context.Context, stderr io.Writer, args ...string) (s summary, exitCode int) {
	t.Helper()
	exitCode = demotest.JSON(t, ctx, "poison", new(settings), stderr, &s, args...)
	return s, exitCode
}

func TestPoisonIsFoundAndDeliveredAndTheRestIsHandled(t *testing.T) {
	t.Parallel()
	s, code := result(t, t.Context(), t.Output(), "-records", "4000")
	if code != 0 || !s.OK() || s.Records != 4000 || s.Poison != 3 || s.Handled != 3997 || s.Delivered != 3 {
		t.Errorf("exit code %d: %+v", code, s)
	}
	if s.SearchInvocations < 3*7 || s.SearchInvocations > 3*14 {
		t.Errorf("the search took %d invocations for 3 records", s.SearchInvocations)
	}
	if s.Meanwhile == 0 {
		t.Error("nothing shows that the other partitions did not wait")
	}
}

func TestSummaryForPeople(t *testing.T) {
	t.Parallel()
	demotest.Says(t, "poison", new(settings), "-records 1001 -poison 1",
		"writing 1001 records into 4 partitions", "100 records  failed", "waits 400ms", "50 records  ok",
		"orders/2  68                1 record   given up after 4 attempts (retries-exhausted), now in orders.poison",
		"1001 records in ", "1000 handled by the function, 1 of 1 poison records", "2*log2(100) is 13.3", "0 of them waited", "all is well")
}

func TestNoPoison(t *testing.T) {
	t.Parallel()
	s, code := result(t, t.Context(), t.Output(), "-records", "1000", "-poison", "0")
	if code != 0 || !s.OK() || s.Handled != 1000 || s.Delivered != 0 || s.SearchInvocations != 0 {
		t.Errorf("exit code %d: %+v", code, s)
	}
}

// TestInterruptCommitsWhatWasDone: Ctrl-C in the middle of a search and of a
// delivery loses nothing, and says what was done.
func TestInterruptCommitsWhatWasDone(t *testing.T) {
	for _, moment := range []string{"50 records  ", "given up"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var said bytes.Buffer
			watching := demotest.OnText(&said, moment, cancel)
			if code := run(ctx, nil, watching, t.Output()); code != 0 {
				t.Errorf("exit code %d", code)
			}
			for _, want := range []string{"interrupted: letting the invocations end", "offsets committed for ", "all is well"} {
				if !strings.Contains(said.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, said.String())
				}
			}
		})
	}
}

func TestBadFlags(t *testing.T) {
	demotest.Refuses(t, "poison", func() demo.Program { return new(settings) }, map[string]string{
		"-what":            "flag provided but not defined",
		"here":             `"here" is not a flag`,
		"-records 999":     "-records is 999, and must be 1,000 to 1,000,000",
		"-records 1000001": "must be 1,000 to 1,000,000",
		"-records many":    "invalid value",
		"-poison -1":       "-poison is -1, and must be 0 to 100",
		"-poison 101":      "must be 0 to 100",
	})
}

func TestPoisonIsInTwoPartitionsAndAtDifferentPlaces(t *testing.T) {
	for _, records := range []int{1000, 1003, 40_000} {
		for poison := range 101 {
			s := settings{records: records, poison: poison}
			n, ends := 0, s.ends()
			for p, places := range s.places() {
				n += len(slices.Compact(slices.Clone(places)))
				if p != 1 && p != 2 || !slices.IsSorted(places) || places[len(places)-1] >= ends[p] {
					t.Errorf("%+v: partition %d: %v", s, p, places)
				}
			}
			if n != poison || ends[0]+ends[1]+ends[2]+ends[3] != int64(records) {
				t.Errorf("%+v: %v, ends %v", s, s.places(), ends)
			}
		}
	}
}

// TestDestinationSaysWhenKafkaDoesNotTakeIt: the Mapping would go on behind the
// record if it did not.
func TestDestinationSaysWhenKafkaDoesNotTakeIt(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DefaultProduceTopic("nowhere"), kgo.UnknownTopicRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	d := &esm.Discard{Record: &kgo.Record{Topic: topic, Value: []byte(poisoned)}, Reason: esm.ReasonTooOld}
	if err := deliverTo(cl)(t.Context(), d); err == nil {
		t.Error("no error")
	}
}

// arrival is a record in the topic for poison, as it must be or, by change, not.
func arrival(partition int32, offset int64, change func(*kgo.Record)) *kgo.Record {
	r := &kgo.Record{Key: key(partition, offset), Value: []byte(poisoned)}
	for _, h := range [][2]string{
		{headerReason, "retries-exhausted"}, {headerAttempts, "4"}, {headerError, errOrder.Error()},
		{headerTopic, topic}, {headerPartition, fmt.Sprint(partition)}, {headerOffset, fmt.Sprint(offset)},
	} {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	if change != nil {
		change(r)
	}
	return r
}

func header(key, value string) func(*kgo.Record) {
	return func(r *kgo.Record) {
		i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == key })
		r.Headers[i].Value = []byte(value)
	}
}

// TestCheckSeesWhatIsWrong: a check that cannot fail is none. There are five
// records in partition 2, of which 1 and 3 are poison; -1 stands for 1 taken by
// the destination.
func TestCheckSeesWhatIsWrong(t *testing.T) {
	one, three := arrival(2, 1, nil), arrival(2, 3, nil)
	both := []*kgo.Record{one, three}
	fine := []int64{0, -1, 2, -3, 4}
	for _, tt := range []struct {
		name        string
		done        []int64
		committed   int64
		arrived     []*kgo.Record
		interrupted bool
		want        summary
	}{
		{"all is well", fine, 5, both, false, summary{Handled: 3, Delivered: 2}},
		{"a good record is missing", []int64{0, -1, -3, 4}, 5, both, false, summary{Handled: 2, Delivered: 2, Missing: 1}},
		{"handled twice", []int64{0, -1, 2, 2, -3, 4}, 5, both, false, summary{Handled: 3, Delivered: 2, Duplicates: 1}},
		{"out of order", []int64{0, -1, -3, 2, 4}, 5, both, false, summary{Handled: 3, Delivered: 2, OutOfOrder: 1}},
		{"handled before the poison was given up", []int64{0, 2, -1, -3, 4}, 5, both, false, summary{Handled: 3, Delivered: 2, OutOfOrder: 1}},
		{"poison handled", []int64{0, 1, 2, -3, 4}, 5, []*kgo.Record{three}, false, summary{Handled: 3, Delivered: 1, Missing: 1, Unexpected: 1}},
		{"a good record given up", []int64{0, -1, -2, -3, 4}, 5, both, false, summary{Handled: 2, Delivered: 2, Missing: 1, Unexpected: 1}},
		{"after the end", []int64{0, -1, 2, -3, 4, 5}, 6, both, false, summary{Handled: 3, Delivered: 2, Unexpected: 1}},
		{"poison that did not arrive", fine, 5, []*kgo.Record{one}, false, summary{Handled: 3, Delivered: 1, Missing: 1}},
		{"poison that arrived twice", fine, 5, []*kgo.Record{one, one, three}, false, summary{Handled: 3, Delivered: 2, Duplicates: 1}},
		{"a good record arrived", fine, 5, []*kgo.Record{one, three, arrival(2, 2, nil)}, false, summary{Handled: 3, Delivered: 2, Unexpected: 1}},
		{"not committed", fine, 4, both, false, summary{Handled: 3, Delivered: 2, NotCommitted: 1}},
		{"nothing committed", fine, -1, both, false, summary{Handled: 3, Delivered: 2, NotCommitted: 5}},
		{"interrupted", []int64{0, -1}, 2, []*kgo.Record{one}, true, summary{Handled: 1, Delivered: 1}},
		{"interrupted, a good record is missing", []int64{-1}, 2, []*kgo.Record{one}, true, summary{Delivered: 1, Missing: 1}},
		{"interrupted, poison that did not arrive", []int64{0, -1}, 2, nil, true, summary{Handled: 1, Missing: 1}},
		{"interrupted, not committed", []int64{0, -1, 2}, 2, []*kgo.Record{one}, true, summary{Handled: 2, Delivered: 1, NotCommitted: 1}},
		{"interrupted, not confirmed", []int64{0}, 1, []*kgo.Record{one}, true, summary{Handled: 1, Delivered: 1}},
	} {
		c := newCheck(map[int32]int64{2: 5}, map[int32][]int64{2: {1, 3}})
		for _, o := range tt.done {
			if o < 0 {
				c.taken(&kgo.Record{Partition: 2, Offset: -o})
			} else {
				c.handled([]*kgo.Record{{Partition: 2, Offset: o}})
			}
		}
		got := c.judge(map[int32]int64{2: tt.committed}, tt.arrived, tt.interrupted)
		bad := tt.want.Missing+tt.want.Duplicates+tt.want.OutOfOrder+tt.want.Unexpected+tt.want.NotCommitted > 0
		tt.want.Records, tt.want.Poison, tt.want.interrupted = 5, 2, tt.interrupted
		tt.want.committed = min(max(tt.committed, 0), 5)
		if *got != tt.want || got.OK() == bad {
			t.Errorf("%s: %+v, want %+v", tt.name, *got, tt.want)
		}
	}
}

func TestCheckSeesWhatIsWrongWithAnArrival(t *testing.T) {
	c := newCheck(map[int32]int64{2: 5}, map[int32][]int64{2: {1, 3}})
	if _, _, ok := c.comesFrom(arrival(2, 3, nil)); !ok {
		t.Fatal("the right one is wrong")
	}
	for name, change := range map[string]func(*kgo.Record){
		"reason":           header(headerReason, "permanent"),
		"attempts":         header(headerAttempts, "3"),
		"error":            header(headerError, "other"),
		"topic":            header(headerTopic, "other"),
		"partition":        header(headerPartition, "1"),
		"no partition":     header(headerPartition, "x"),
		"offset":           header(headerOffset, "1"),
		"no offset":        header(headerOffset, ""),
		"key":              func(r *kgo.Record) { r.Key = nil },
		"value":            func(r *kgo.Record) { r.Value = nil },
		"headers":          func(r *kgo.Record) { r.Headers = nil },
		"not poison at 2":  func(r *kgo.Record) { *r = *arrival(2, 2, nil) },
		"no partition 200": header(headerPartition, "200"),
	} {
		if _, _, ok := c.comesFrom(arrival(2, 3, change)); ok {
			t.Errorf("%s: not seen", name)
		}
	}
}

// TestWaitsSeesPartitionsThatWait plays the invocations of partition 1, which
// has poison at 50, and of 0, which has none.
func TestWaitsSeesPartitionsThatWait(t *testing.T) {
	for _, tt := range []struct {
		name      string
		records   int64 // of partition 0
		meanwhile int   // invocations of it in each of the back-offs
		between   int   // and in each of the search
		waited    int
	}{
		{"goes on", 3000, 3, 1, 0},
		{"waits", 1000, 0, 0, 1},
		{"goes on in the search only", 3000, 0, 1, 1},
		{"only what was under way", 1000, 1, 0, 1},
		{"has nothing left", 300, 0, 0, 0},
	} {
		w := newWaits(map[int32]int64{0: tt.records, 1: 1000}, map[int32][]int64{1: {50}})
		next := int64(0)
		others := func(n int) {
			for range n {
				if next < tt.records {
					c := call{partition: 0, first: next, last: next + 99, records: 100, alone: true}
					next += 100
					w.started(c)
					w.ended(c, esm.OutcomeSuccess)
				}
			}
		}
		poison := func(first, last int64, pause int) {
			c := call{partition: 1, first: first, last: last, records: int(last - first + 1), alone: true}
			w.started(c)
			others(tt.between)
			w.ended(c, esm.OutcomeFailure)
			others(pause)
		}
		others(3)
		poison(0, 99, tt.meanwhile)
		for size := int64(64); size > 1; size /= 2 {
			poison(50, 49+size, 0)
		}
		poison(50, 50, tt.meanwhile)
		poison(50, 50, tt.meanwhile)
		poison(50, 50, 0)
		w.over(1)
		waited, meanwhile := w.judge()
		if waited != tt.waited || meanwhile != 3*tt.meanwhile {
			t.Errorf("%s: %d waited, %d invocations meanwhile", tt.name, waited, meanwhile)
		}
	}
	w := newWaits(map[int32]int64{0: 10, 1: 10}, map[int32][]int64{1: {5}})
	w.over(1) // of something that never failed, which the check sees
	if waited, _ := w.judge(); waited != 0 {
		t.Errorf("%d waited", waited)
	}
}

// TestSearchCountsPieces: of one batch, and not the attempts of what was found.
func TestSearchCountsPieces(t *testing.T) {
	var lines []string
	s := newSearch(func(line string) { lines = append(lines, line) })
	at := func(first, last int64, outcome esm.Outcome) {
		s.ended(call{partition: 2, first: first, last: last, records: int(last - first + 1), alone: true}, outcome)
	}
	const ok, failed = esm.OutcomeSuccess, esm.OutcomeFailure
	at(0, 99, ok) // not shown
	at(100, 103, failed)
	at(100, 103, failed)
	at(100, 101, ok)     // 1
	at(102, 103, failed) // 2
	at(102, 102, failed) // 3
	at(102, 102, failed)
	at(102, 102, failed)
	at(103, 103, esm.OutcomeAbandoned) // 4
	at(104, 199, ok)                   // not shown
	if s.total() != 4 || len(lines) != 8 {
		t.Errorf("%d pieces, and %d lines:\n%s", s.total(), len(lines), strings.Join(lines, "\n"))
	}
	for i, want := range map[int]string{
		0: "  orders/2  100-103           4 records  failed",
		2: "  orders/2  100-101           2 records  ok",
		4: "  orders/2  102               1 record   failed",
		7: "  orders/2  103               1 record   abandoned",
	} {
		if lines[i] != want {
			t.Errorf("line %d is %q", i, lines[i])
		}
	}
}

// TestFunctionFailsAsAWhole: it does not say which record it was.
func TestFunctionFailsAsAWhole(t *testing.T) {
	check := newCheck(map[int32]int64{2: 2}, map[int32][]int64{2: {1}})
	good := &kgo.Record{Topic: topic, Partition: 2, Value: []byte("3 apples")}
	bad := &kgo.Record{Topic: topic, Partition: 2, Offset: 1, Value: []byte(poisoned)}
	f := billing(check)
	err := f(t.Context(), &esm.Batch{Records: []*kgo.Record{good, bad}})
	if !errors.Is(err, errOrder) || esm.Classify(t.Context(), err) != esm.OutcomeFailure || check.partitions[2].handled != 0 {
		t.Errorf("%v", err)
	}
	if err := f(t.Context(), &esm.Batch{Records: []*kgo.Record{good}}); err != nil || check.partitions[2].handled != 1 {
		t.Errorf("%v", err)
	}
}
