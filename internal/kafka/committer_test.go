package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
)

// A commitDesk is an engine with a committer whose requests go nowhere.
type commitDesk struct {
	e *engine.Engine
	w *problemBook
	c *Committer

	mu   sync.Mutex
	sent []map[partition.ID]int64
	wait chan struct{} // what a request waits for between being put together and being sent
	fail error
}

// set says how the next requests go.
func (d *commitDesk) set(wait chan struct{}, fail error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wait, d.fail = wait, fail
}

// requests are those that were sent.
func (d *commitDesk) requests() []map[partition.ID]int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.sent)
}

// committed is how far the partition is committed.
func (d *commitDesk) committed() (at int64) {
	d.e.Look(time.Now(), func(r *engine.Row) { at = r.Committed })
	return at
}

func newCommitDesk(t *testing.T) *commitDesk {
	d := &commitDesk{}
	d.e, d.w = ordersEngine()
	d.c = newCommitter(&d.e.Books, func(_ context.Context, fs []offsetCommit, check commitCheck) (map[partition.ID]error, error) {
		d.mu.Lock()
		wait, fail := d.wait, d.fail
		d.mu.Unlock()
		if wait != nil {
			<-wait
		}
		failed, sent := map[partition.ID]error{}, map[partition.ID]int64{}
		for _, f := range fs {
			if check("", f.ID) {
				sent[f.ID] = f.At
			} else {
				failed[f.ID] = errPartitionGone
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.sent = append(d.sent, sent)
		return failed, fail
	}, func(string, error) {})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); defer close(d.c.gone); d.c.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return d
}

// begin assigns the partition at an offset and settles some records of it.
func (d *commitDesk) begin(at, records int64) {
	begins(d.e, order0, at)
	d.settleMore(at, records)
}

// settleMore has records arrive and settles them.
func (d *commitDesk) settleMore(at, records int64) {
	arrive(d.e, at, records)
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
		d.set(stalled, nil)
		pass(2 * time.Second) // the request is put together
		d.e.Lose([]partition.ID{order0}, time.Now())
		d.begin(500, 5) // somebody else came to 500
		d.set(nil, nil)
		close(stalled)
		pass(5 * time.Second)
		for i, sent := range d.requests() {
			if at, ok := sent[order0]; ok && at < 500 {
				t.Errorf("request %d rewinds to %d", i, at)
			}
		}
		if last := d.requests()[len(d.requests())-1]; last[order0] != 505 {
			t.Errorf("the last one says %v", last)
		}
		if got := d.committed(); got != 505 {
			t.Errorf("the partition is said to be committed up to %d", got)
		}
	})
}

func TestCommitThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		no := errors.New("no")
		d.set(nil, no)
		d.begin(0, 10)
		if err := d.c.Flush(t.Context()); !errors.Is(err, no) {
			t.Errorf("flush says %v", err)
		}
		pass(10 * time.Second)
		if n := len(d.requests()); n < 8 || n > 12 {
			t.Errorf("%d requests in ten seconds", n)
		}
		if got := d.committed(); got != 0 {
			t.Errorf("committed %d", got)
		}
		d.set(nil, nil)
		pass(2 * time.Second)
		if got := d.committed(); got != 10 {
			t.Errorf("committed %d", got)
		}
		before := len(d.requests())
		pass(time.Minute)
		if len(d.requests()) != before {
			t.Errorf("%d requests with nothing to commit", len(d.requests())-before)
		}
	})
}

func TestFlushWaitsForWhatIsSettledAndNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newCommitDesk(t)
		d.begin(0, 10)
		if err := d.c.Flush(t.Context()); err != nil || d.committed() != 10 {
			t.Errorf("%v, committed %d", err, d.committed())
		}
		if err := d.c.Flush(t.Context()); err != nil {
			t.Errorf("with nothing to do: %v", err)
		}
		stalled := make(chan struct{})
		d.set(stalled, nil)
		d.settleMore(10, 1)
		short, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		if err := d.c.Flush(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		go func() {
			pass(time.Second)
			d.e.Lose([]partition.ID{order0}, time.Now())
		}()
		if err := d.c.Flush(t.Context()); !errors.Is(err, errSessionLost) {
			t.Errorf("%v", err)
		}
		d.set(nil, nil)
		close(stalled)
		synctest.Wait()
	})
}
