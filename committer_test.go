package esm

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A commitDesk is an engine with a committer whose requests go nowhere.
type commitDesk struct {
	e    *engine
	c    *committer
	sent []map[TopicPartition]int64
	// hold makes a request wait between being put together and being sent.
	hold func()
	fail error
}

func newCommitDesk(t *testing.T) *commitDesk {
	c := defaults("g").with([]Option{WithLogger(slog.New(slog.DiscardHandler)), WithBatchWindow(0)})
	d := &commitDesk{hold: func() {}}
	d.e = newEngine(&c, InvokerFunc(func(context.Context, *Batch) error { return nil }), newWatch(&c), context.Background())
	d.e.pool.resize(1, time.Now())
	d.c = newCommitter(d.e, func(_ context.Context, entries []commitEntry, check func(TopicPartition) bool) (map[TopicPartition]error, error) {
		d.hold()
		failed, sent := map[TopicPartition]error{}, map[TopicPartition]int64{}
		for _, e := range entries {
			if tp := e.lane.TopicPartition; check(tp) {
				sent[tp] = e.at
			} else {
				failed[tp] = errPartitionGone
			}
		}
		d.sent = append(d.sent, sent)
		return failed, d.fail
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); defer close(d.c.gone); d.c.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return d
}

var deskPartition = TopicPartition{"orders", 0}

// begin assigns the partition at an offset and settles some records of it.
func (d *commitDesk) begin(at, records int64) {
	d.e.assign([]TopicPartition{deskPartition}, time.Now())
	d.e.place([]placement{{tp: deskPartition, at: at, leaderEpoch: -1, committed: true}})
	p := kgo.FetchPartition{HighWatermark: at + records}
	for o := at; o < at+records; o++ {
		p.Records = append(p.Records, &kgo.Record{Topic: "orders", Offset: o})
	}
	d.e.enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: []kgo.FetchPartition{p}}}}}, time.Now())
	synctest.Wait()
}

// TestDescheduledCommitterOverALostAndRegainedPartition: a request is put
// together, then its goroutine does not run for a while. Meanwhile the
// partition is lost, somebody else goes on with it, and it comes back. What
// the request says of it would rewind the other's work.
func TestDescheduledCommitterOverALostAndRegainedPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		d.begin(0, 10)
		stalled := make(chan struct{})
		d.hold = func() { <-stalled }
		time.Sleep(2 * time.Second) // the request is put together
		d.e.lose([]TopicPartition{deskPartition}, time.Now())
		d.begin(500, 5) // somebody else came to 500
		d.hold = func() {}
		close(stalled)
		time.Sleep(5 * time.Second)
		for i, sent := range d.sent {
			if at, ok := sent[deskPartition]; ok && at < 500 {
				t.Errorf("request %d rewinds to %d", i, at)
			}
		}
		if last := d.sent[len(d.sent)-1]; last[deskPartition] != 505 {
			t.Errorf("the last one says %v", last)
		}
		if got := d.e.lanes[deskPartition].committed; got != 505 {
			t.Errorf("the partition is said to be committed up to %d", got)
		}
	})
}

func TestCommitThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		d.fail = errors.New("no")
		d.begin(0, 10)
		if err := d.c.flush(t.Context()); !errors.Is(err, d.fail) {
			t.Errorf("flush says %v", err)
		}
		time.Sleep(10 * time.Second)
		if n := len(d.sent); n < 8 || n > 12 {
			t.Errorf("%d requests in ten seconds", n)
		}
		if got := d.e.lanes[deskPartition].committed; got != 0 {
			t.Errorf("committed %d", got)
		}
		d.fail = nil
		time.Sleep(2 * time.Second)
		if got := d.e.lanes[deskPartition].committed; got != 10 {
			t.Errorf("committed %d", got)
		}
		before := len(d.sent)
		time.Sleep(time.Minute)
		if len(d.sent) != before {
			t.Errorf("%d requests with nothing to commit", len(d.sent)-before)
		}
	})
}

func TestFlushWaitsForWhatIsSettledAndNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		d.begin(0, 10)
		if err := d.c.flush(t.Context()); err != nil || d.e.lanes[deskPartition].committed != 10 {
			t.Errorf("%v, committed %d", err, d.e.lanes[deskPartition].committed)
		}
		if err := d.c.flush(t.Context()); err != nil {
			t.Errorf("with nothing to do: %v", err)
		}
		stalled := make(chan struct{})
		d.hold = func() { <-stalled }
		d.e.mu.Lock()
		d.e.lanes[deskPartition].anchor = true
		d.e.soil(d.e.lanes[deskPartition])
		d.e.unlock()
		short, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		if err := d.c.flush(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		go func() {
			time.Sleep(time.Second)
			d.e.lose([]TopicPartition{deskPartition}, time.Now())
		}()
		if err := d.c.flush(t.Context()); !errors.Is(err, errSessionLost) {
			t.Errorf("%v", err)
		}
		d.hold = func() {}
		close(stalled)
		synctest.Wait()
	})
}
