package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/examples/internal/demotest"
	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return demo.Run(ctx, "quickstart", new(settings), args, stdout, stderr)
}

// result runs the command with -json and returns what it says.
func result(t *testing.T, ctx context.Context, stderr io.Writer, args ...string) (s summary, exitCode int) {
	t.Helper()
	exitCode = demotest.JSON(t, ctx, "quickstart", new(settings), stderr, &s, args...)
	return s, exitCode
}

func TestEveryRecordIsHandledOnceAndInOrder(t *testing.T) {
	s, code := result(t, t.Context(), t.Output(), "-records", "20000", "-partitions", "4", "-work", "1ms")
	if code != 0 || s.Records != 20000 || !s.OK() || s.Rebalances != 0 || s.PollersMax < 1 {
		t.Errorf("exit code %d: %+v", code, s)
	}
	if s.FloorSeconds != 0.05 || s.Seconds < s.FloorSeconds {
		t.Errorf("%v seconds, and the function alone takes %v", s.Seconds, s.FloorSeconds)
	}
}

func TestSummaryForPeople(t *testing.T) {
	demotest.Says(t, "quickstart", new(settings), "-records 500 -partitions 2 -work 0",
		"writing 500 records", "500 records in ", "lag 0", "all is well")
}

// TestInterruptCommitsWhatWasHandled: Ctrl-C in the middle loses nothing and
// says what it did.
func TestInterruptCommitsWhatWasHandled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The first progress line comes after a second, of ten.
	watching := demotest.OnText(t.Output(), "records/s", cancel)
	s, code := result(t, ctx, watching, "-records", "20000", "-partitions", "1", "-work", "50ms")
	if code != 0 || s.Records == 0 || s.Records == 20000 || !s.OK() {
		t.Errorf("exit code %d: %+v", code, s)
	}
}

// TestAnyKafka reads a topic that has holes, because transactions were
// committed and aborted in it, and then finds nothing more to read.
func TestAnyKafka(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		testAnyKafka(t, strings.Join(cluster.ListenAddrs(), ","))
	})
	t.Run("real", func(t *testing.T) {
		if !kafkatest.Wanted() {
			t.Skip(kafkatest.NotWanted)
		}
		cluster, err := kafkatest.Start(t.Context(), kafkatest.Config{Properties: map[string]string{"auto.create.topics.enable": "true", "num.partitions": "2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := cluster.Stop(); err != nil {
				t.Error(err)
			}
		}()
		testAnyKafka(t, strings.Join(cluster.Addrs, ","))
	})
}

func testAnyKafka(t *testing.T, brokers string) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.TransactionalID("orders"), kgo.DefaultProduceTopic("orders"),
		kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for range 5 {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if err := cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-brokers", brokers, "-topic", "orders", "-group", "billing", "-work", "0"}
	if s, code := result(t, t.Context(), t.Output(), args...); code != 0 || s.Records != 100 || !s.OK() {
		t.Errorf("exit code %d: %+v", code, s)
	}
	if s, code := result(t, t.Context(), t.Output(), args...); code != 0 || s.Records != 0 || !s.OK() {
		t.Errorf("with nothing left, exit code %d: %+v", code, s)
	}
}

func TestBadFlags(t *testing.T) {
	demotest.Refuses(t, "quickstart", func() demo.Program { return new(settings) }, map[string]string{
		"-what":                   "flag provided but not defined",
		"here":                    `"here" is not a flag`,
		"-topic orders":           "-topic and -group need -brokers",
		"-brokers localhost:9092": "-brokers needs -topic",
		"-brokers localhost:9092 -topic orders -records 5": "-records and -partitions are for",
		"-records -1":   "must be 0 to 10,000,000",
		"-partitions 0": "must be 1 to 1,000",
		"-work 2m":      "must be 0 to 1m",
	})
}

func TestMissingTopicIsNamed(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	var errs bytes.Buffer
	code := run(t.Context(), []string{"-brokers", cluster.ListenAddrs()[0], "-topic", "nowhere"}, io.Discard, &errs)
	if code != 1 || !strings.Contains(errs.String(), `"nowhere"`) || !strings.Contains(errs.String(), "UNKNOWN_TOPIC") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

// TestCheckSeesWhatIsWrong: a check that cannot fail is none.
func TestCheckSeesWhatIsWrong(t *testing.T) {
	record := func(offset int64) []*kgo.Record { return []*kgo.Record{{Offset: offset}} }
	handle := func(c *check, offsets ...int64) {
		for _, o := range offsets {
			c.handled(record(o))
		}
	}
	all := func(_ int32, from, to int64, among func(int64) bool) (n int64, err error) {
		for o := from; o < to; o++ {
			if among(o) {
				n++
			}
		}
		return n, nil
	}
	holes := func(int32, int64, int64, func(int64) bool) (int64, error) { return 0, nil }
	for _, tt := range []struct {
		name        string
		offsets     []int64
		committed   int64
		interrupted bool
		count       func(int32, int64, int64, func(int64) bool) (int64, error)
		want        summary
	}{
		{name: "all is well", offsets: []int64{5, 6, 7}, committed: 8, count: all, want: summary{Records: 3, committed: 3}},
		{name: "missing", offsets: []int64{5, 7}, committed: 8, count: all, want: summary{Records: 2, Missing: 1, committed: 3}},
		{name: "a hole", offsets: []int64{5, 7}, committed: 8, count: holes, want: summary{Records: 2, committed: 3}},
		{name: "twice", offsets: []int64{5, 6, 6, 7}, committed: 8, count: all, want: summary{Records: 3, Duplicates: 1, committed: 3}},
		{name: "before the group's offset", offsets: []int64{4, 5, 6, 7}, committed: 8, count: all, want: summary{Records: 3, Duplicates: 1, committed: 3}},
		{name: "out of order", offsets: []int64{6, 5, 7}, committed: 8, count: all, want: summary{Records: 3, OutOfOrder: 1, committed: 3}},
		{name: "after the end", offsets: []int64{5, 6, 7, 8}, committed: 9, count: all, want: summary{Records: 3, committed: 4}},
		{name: "not committed", offsets: []int64{5, 6, 7}, committed: 7, count: all, want: summary{Records: 3, uncommitted: 1, committed: 2}},
		{name: "interrupted", offsets: []int64{5}, committed: 6, interrupted: true, count: all, want: summary{Records: 1, interrupted: true, committed: 1}},
		{name: "interrupted and missing", offsets: []int64{5}, committed: 7, interrupted: true, count: all, want: summary{Records: 1, Missing: 1, interrupted: true, committed: 2}},
	} {
		c := newCheck(map[int32]span{0: {5, 8}})
		handle(c, tt.offsets...)
		got, err := c.judge(map[int32]int64{0: tt.committed}, tt.interrupted, tt.count)
		if err != nil || *got != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
	c := newCheck(map[int32]span{0: {5, 8}})
	no := errors.New("no")
	if _, err := c.judge(nil, false, func(int32, int64, int64, func(int64) bool) (int64, error) { return 0, no }); !errors.Is(err, no) {
		t.Errorf("%v", err)
	}
}
