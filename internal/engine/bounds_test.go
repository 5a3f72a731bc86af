package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
	"github.com/seed429fd032/esm/internal/share"
)

// TestBoundsOfAProcess by what it has of the group's.
func TestBoundsOfAProcess(t *testing.T) {
	for name, tt := range map[string]struct {
		change     func(*Settings)
		partitions int
		of         share.Share
		unknown    bool
		want       bounds
	}{
		"its shares":                   {partitions: 9, of: share.Share{Least: 2, Most: 3}, want: bounds{least: 2, most: 3, slots: 5, concurrency: -1, calls: 15, shared: share.Share{Least: 2, Most: 3, Calls: -1}}},
		"no more than its partitions":  {partitions: 2, of: share.Share{Least: 4, Most: 7}, want: bounds{least: 2, most: 2, slots: 5, concurrency: -1, calls: 10, shared: share.Share{Least: 2, Most: 2, Calls: -1}}},
		"none at least":                {partitions: 9, of: share.Share{Most: 3}, want: bounds{least: 1, most: 3, slots: 5, concurrency: -1, calls: 15, shared: share.Share{Most: 3, Calls: -1}}},
		"none at most is one slot":     {partitions: 9, want: bounds{least: 1, most: 1, slots: 1, concurrency: -1, calls: 1, shared: share.Share{Calls: -1}}},
		"no partition, no call":        {want: bounds{least: 1, most: 1, slots: 1, concurrency: -1, calls: 0, shared: share.Share{Calls: -1}}},
		"unknown is one slot":          {partitions: 9, of: share.Share{Least: 2, Most: 3, Calls: 9}, unknown: true, want: bounds{least: 1, most: 1, slots: 1, concurrency: -1, calls: 1, shared: share.Share{Calls: -1}}},
		"a concurrency":                {change: concurrency(40), partitions: 9, of: share.Share{Least: 1, Most: 3, Calls: 4}, want: bounds{least: 1, most: 3, slots: 5, concurrency: 4, calls: 4, shared: share.Share{Least: 1, Most: 3, Calls: 4}}},
		"no concurrency is one call":   {change: concurrency(40), partitions: 9, of: share.Share{Least: 1, Most: 3}, want: bounds{least: 1, most: 3, slots: 5, concurrency: 1, calls: 1, shared: share.Share{Least: 1, Most: 3}}},
		"one slot, whatever the calls": {change: concurrency(40), partitions: 9, of: share.Share{Calls: 4}, want: bounds{least: 1, most: 1, slots: 1, concurrency: 4, calls: 1, shared: share.Share{Calls: 4}}},
		"on demand":                    {change: onDemand(40), partitions: 9, of: share.Share{Least: 1, Most: 3, Calls: 4}, want: bounds{least: 1, most: 9, slots: 5, concurrency: 4, calls: 4, shared: share.Share{Least: 1, Most: 9, Calls: 4}}},
		"on demand, unknown":           {change: onDemand(40), partitions: 9, unknown: true, want: bounds{least: 1, most: 1, slots: 1, concurrency: 1, calls: 1}},
		"on demand, no partition":      {change: onDemand(40), want: bounds{least: 1, most: 1, slots: 1, concurrency: 1, calls: 0}},
	} {
		s := usual()
		if tt.change != nil {
			tt.change(s)
		}
		if got := s.ofGroup(tt.partitions, tt.of, !tt.unknown); got != tt.want {
			t.Errorf("%s:\n%+v, want\n%+v", name, got, tt.want)
		}
	}
}

func concurrency(n int) func(*Settings) { return func(s *Settings) { s.MaxConcurrency = n } }

func onDemand(n int) func(*Settings) {
	return func(s *Settings) { s.MaxConcurrency, s.OnDemand = n, true }
}

// A fleet is the processes of a group, each an engine. Partitions move between them
// as the group's protocol has it: one that moves is given up, and then assigned.
type fleet struct {
	t        *testing.T
	settings Settings
	counts   map[string]int
	most     int // calls of all at once
	takes    func(ctx context.Context)

	mu         sync.Mutex // before those of the engines
	engines    []*Engine
	calls      int
	highest    int // calls at once
	oneSlots   int // of those at most were the one slot of a process without a share
	outlived   int // and these nobody waited for any more
	violations []string
}

// join adds a process without partitions.
func (f *fleet) join() *Engine {
	s := f.settings
	e := outside{function: func(c *Call) plan.Verdict {
		f.judge("a call begins")
		f.takes(c.Ctx)
		return succeeded
	}}.engine(&s, context.Background())
	e.Counted(f.counts, time.Now())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.engines = append(f.engines, e)
	return e
}

// judge counts the calls of all processes in one moment, with the locks of all.
func (f *fleet) judge(when string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls, oneSlots, outlived, shares := 0, 0, 0, share.Share{}
	for _, e := range f.engines {
		e.mu.Lock()
		defer e.mu.Unlock()
		b := e.bounds()
		here := 0
		for l := range e.leases {
			if l.left {
				outlived++
			} else {
				here++
			}
		}
		if e.pool.Busy() < here { // a lease is a call of the pool: there is no destination
			f.t.Errorf("%d calls, and the pool has %d", here, e.pool.Busy())
		}
		calls += here
		if here > 0 && (b.shared.Most == 0 || b.shared.Calls == 0) {
			oneSlots++
		}
		if len(e.lanes) > 0 {
			shares.Least, shares.Most = shares.Least+b.shared.Least, shares.Most+b.shared.Most
		}
	}
	f.calls++
	f.highest, f.oneSlots, f.outlived = max(f.highest, calls), max(f.oneSlots, oneSlots), max(f.outlived, outlived)
	if calls > f.most+oneSlots || shares.Most > f.settings.MaxPollers || shares.Least > f.settings.MinPollers {
		f.violations = append(f.violations, fmt.Sprintf("%s: %s: %d calls run, %d may, and %d processes have one slot; %+v of the pollers", time.Now().Format("05.000"), when, calls, f.most, oneSlots, shares))
	}
}

// gives hands partitions over to a process, with records to handle.
func (f *fleet) gives(e *Engine, ids []partition.ID) {
	now := time.Now()
	e.Assign(ids, now)
	for _, id := range ids {
		e.Place([]Placement{{ID: id, LeaderEpoch: -1, Committed: true}}, now)
		e.Enqueue(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: id.Topic, Partitions: []kgo.FetchPartition{{
			Partition: id.Partition, HighWatermark: 300, Records: recordsOf(id, 300)}}}}}}, now)
	}
	f.judge("partitions were assigned")
}

func recordsOf(id partition.ID, n int64) (records []*kgo.Record) {
	for o := range n {
		records = append(records, &kgo.Record{Topic: id.Topic, Partition: id.Partition, Value: []byte("v"), Offset: o, Timestamp: time.UnixMilli(1), LeaderEpoch: -1})
	}
	return records
}

// takesFrom has partitions given up by a process.
func (f *fleet) takesFrom(e *Engine, ids []partition.ID, most time.Duration) {
	e.Revoke(context.Background(), ids, most, func() error { return nil })
	f.judge("partitions were given up")
}

func (f *fleet) owned(e *Engine) (ids []partition.ID) {
	ids = e.Here().Partitions
	slices.SortFunc(ids, func(a, b partition.ID) int { return int(a.Partition) - int(b.Partition) })
	return ids
}

func newFleet(t *testing.T, partitions int, change func(*Settings)) *fleet {
	f := &fleet{t: t, settings: *usual(), counts: map[string]int{"orders": partitions}}
	f.settings.GroupBounds, f.settings.BatchSize, f.settings.BatchWindow, f.settings.PollerByteRate = true, 1, 0, -1
	change(&f.settings)
	f.settings.MinPollers = f.settings.MaxPollers // all that may be
	f.most = f.settings.MaxPollers * f.settings.PollerConcurrency
	if n := f.settings.MaxConcurrency; n >= 0 {
		f.most = min(f.most, n)
	}
	return f
}

func (f *fleet) all() (ids []partition.ID) {
	for p := range f.counts["orders"] {
		ids = append(ids, partition.ID{Topic: "orders", Partition: int32(p)})
	}
	return ids
}

// bounded are bounds below, at and above the numbers of processes and partitions.
var bounded = map[string]func(*Settings){
	"a poller of 1":           func(s *Settings) { s.MaxPollers, s.PollerConcurrency = 1, 1 },
	"3 pollers of 2":          func(s *Settings) { s.MaxPollers, s.PollerConcurrency = 3, 2 },
	"12 pollers of 1":         func(s *Settings) { s.MaxPollers, s.PollerConcurrency = 12, 1 },
	"24 pollers of 1":         func(s *Settings) { s.MaxPollers, s.PollerConcurrency = 24, 1 },
	"a concurrency of 9":      func(s *Settings) { s.MaxConcurrency = 9 },
	"a concurrency of 2 of 5": func(s *Settings) { s.MaxConcurrency, s.MaxPollers, s.PollerConcurrency = 2, 5, 1 },
}

// TestTheGroupKeepsItsBounds: whatever partitions move while calls run, no more run
// than the bounds of the group say, and as many do.
func TestTheGroupKeepsItsBounds(t *testing.T) {
	const partitions = 24
	for name, change := range bounded {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, partitions, change)
				f.takes = func(context.Context) { time.Sleep(time.Duration(10+rand.IntN(200)) * time.Millisecond) }
				f.gives(f.join(), f.all())
				for i := range 120 {
					time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
					switch n := len(f.engines); {
					case n < 6 && i%5 == 0:
						f.join()
					case n > 2 && i%17 == 0: // one leaves
						i := rand.IntN(n)
						e := f.engines[i]
						ids := f.owned(e)
						e.Hold(HoldStop)
						e.DrainAll(t.Context(), ErrStopping)
						f.takesFrom(e, ids, time.Minute)
						f.mu.Lock()
						f.engines = slices.Delete(f.engines, i, i+1)
						f.mu.Unlock()
						f.gives(f.engines[0], ids)
						continue
					}
					// A rebalance: several give up some, at once, and then others get them.
					var moving sync.WaitGroup
					gone := make([][]partition.ID, len(f.engines))
					for i, e := range f.engines {
						ids := f.owned(e)
						rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
						if gone[i] = ids[:rand.IntN(len(ids)+1)]; len(gone[i]) > 0 && rand.IntN(2) == 0 {
							moving.Go(func() { f.takesFrom(e, gone[i], time.Minute) })
						} else {
							gone[i] = nil
						}
					}
					moving.Wait()
					for i, ids := range gone {
						f.gives(f.engines[(i+1)%len(f.engines)], ids)
					}
				}
				for _, e := range f.engines {
					e.Hold(HoldStop)
					e.DrainAll(t.Context(), ErrStopping)
				}
				for i, v := range f.violations {
					if i < 5 {
						t.Error(v)
					}
				}
				if f.calls < 500 || f.highest < min(f.most, partitions) || f.outlived > 0 {
					t.Errorf("%d steps, at most %d calls at once of %d, %d outlived: the test proves little", f.calls, f.highest, f.most, f.outlived)
				}
				t.Logf("%d steps, at most %d calls at once of %d, %d in one slot", f.calls, f.highest, f.most, f.oneSlots)
			})
		})
	}
}

// ends lets all calls end, and no other begin.
func (f *fleet) ends(release chan struct{}) {
	for _, e := range f.engines {
		e.Hold(HoldStop)
	}
	close(release)
	synctest.Wait()
}

// withoutCall lists the partitions that no call runs for.
func (e *Engine) withoutCall() (idle []partition.ID) {
	e.mu.Lock()
	defer e.unlock()
	for id, l := range e.lanes {
		if l.state != laneLeased {
			idle = append(idle, id)
		}
	}
	return idle
}

// TestRevokeWaitsUntilTheCallsFit, those of the partitions that stay too: and begins
// none meanwhile that would not.
func TestRevokeWaitsUntilTheCallsFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 24, func(s *Settings) { s.MaxConcurrency = 12 })
		release := make(chan struct{})
		f.takes = func(context.Context) { <-release }
		e := f.join()
		defer f.ends(release)
		f.gives(e, f.all())
		synctest.Wait()
		if n := e.pool.Busy(); n != 12 {
			t.Fatalf("%d calls", n)
		}
		// Partitions go of which no call runs, and they take places with them.
		idle := e.withoutCall()
		e.mu.Lock()
		var gone share.Share
		for _, id := range idle {
			gone.Add(e.shares, id, 1, 1, 12)
		}
		e.unlock()
		if len(idle) != 12 || gone.Calls < 2 {
			t.Fatalf("%d partitions without a call have %d places", len(idle), gone.Calls)
		}
		var waited time.Duration
		began, returned := time.Now(), make(chan struct{})
		go func() {
			defer close(returned)
			f.takesFrom(e, idle, time.Minute)
			waited = time.Since(began)
		}()
		for i := range gone.Calls {
			synctest.Wait()
			select {
			case <-returned:
				t.Fatalf("it returned with %d calls, and %d may run", e.pool.Busy(), 12-gone.Calls)
			default:
			}
			if n := e.pool.Busy(); n != 12-i {
				t.Fatalf("%d calls after %d ended: some began", n, i)
			}
			time.Sleep(time.Second)
			release <- struct{}{}
		}
		<-returned
		if waited != time.Duration(gone.Calls)*time.Second {
			t.Errorf("it waited for %s", waited)
		}
		release <- struct{}{} // and now another one begins in its place
		synctest.Wait()
		if n := e.pool.Busy(); n != 12-gone.Calls {
			t.Errorf("%d calls run, and %d may", n, 12-gone.Calls)
		}
	})
}

// TestRevokeWaitsNoLongerThanItsTime for calls of partitions that stay, which go on,
// and not again for what ignores its context.
func TestRevokeWaitsNoLongerThanItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 24, func(s *Settings) { s.MaxConcurrency = 12 })
		release := make(chan struct{})
		cancelled := 0
		f.takes = func(ctx context.Context) {
			<-release
			if ctx.Err() != nil {
				cancelled++ // they end one after the other
			}
		}
		e := f.join()
		defer f.ends(release)
		f.gives(e, f.all())
		synctest.Wait()
		var idle, called, stay []partition.ID // those that stay are one slot, and two calls
		for id, l := range e.lanes {
			var of share.Share
			of.Add(e.shares, id, 1, 1, 12)
			switch {
			case l.state != laneLeased:
				idle = append(idle, id)
			case of.Calls == 0 && len(stay) < 2:
				stay = append(stay, id)
			default:
				called = append(called, id)
			}
		}
		if len(idle) != 12 || len(stay) != 2 {
			t.Fatalf("%d idle, and %d called without a share", len(idle), len(stay))
		}
		wait := func(ids []partition.ID) time.Duration {
			began := time.Now()
			e.Revoke(t.Context(), ids, 10*time.Second, func() error { return nil })
			return time.Since(began)
		}
		if took := wait(idle); took != 10*time.Second || e.pool.Busy() != 12 {
			t.Errorf("it took %s, and %d calls go on", took, e.pool.Busy())
		}
		// These ignore that they are cancelled, and nobody waits for them again.
		if took := wait(called); took != 10*time.Second+cancelGrace {
			t.Errorf("it took %s", took)
		}
		f.gives(e, idle)
		synctest.Wait()
		if n := e.pool.Busy(); n != 12 {
			t.Errorf("%d calls: those that go on have their places", n)
		}
		if took := wait(idle[:2]); took != 0 {
			t.Errorf("it took %s", took)
		}
		// Calls that stay and have ignored for a minute that their time is over.
		for l := range e.leases {
			if !l.left {
				l.Cancel(context.DeadlineExceeded)
			}
		}
		for range 70 {
			time.Sleep(time.Second)
			e.WatchAll(time.Now())
		}
		if took := wait(idle[2:]); took != 0 {
			t.Errorf("it took %s", took)
		}
		e.Hold(HoldStop) // or the partition that is left has more to do
		for range 12 {
			release <- struct{}{}
			synctest.Wait()
		}
		if cancelled != 12 {
			t.Errorf("%d of the calls were cancelled", cancelled)
		}
	})
}

// TestRevokeEndsWhenMoreMayRun: the bounds change while it waits.
func TestRevokeEndsWhenMoreMayRun(t *testing.T) {
	for name, change := range map[string]func(*Engine, *Settings){
		"by an update": func(e *Engine, s *Settings) {
			s.MaxConcurrency = 200
			e.Reconfigure(func() *Settings { return s }, time.Now())
		},
		"by partitions that are gone": func(e *Engine, s *Settings) {
			e.Counted(map[string]int{"orders": 12}, time.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 12, func(s *Settings) { s.MaxConcurrency = 24 })
				f.counts["orders"] = 48 // half a place each, and 6 of all that are here
				release := make(chan struct{})
				f.takes = func(context.Context) { <-release }
				e := f.join()
				defer f.ends(release)
				f.gives(e, f.all()[:12])
				synctest.Wait()
				running := e.pool.Busy()
				var idle []partition.ID
				for id, l := range e.lanes {
					if l.state != laneLeased {
						idle = append(idle, id)
					}
				}
				returned := make(chan struct{})
				go func() {
					defer close(returned)
					e.Revoke(t.Context(), idle, time.Hour, func() error { return nil })
				}()
				time.Sleep(time.Minute)
				select {
				case <-returned:
					t.Fatalf("it did not wait for %d calls, of which %d fit", running, e.bounds().calls)
				default:
				}
				settings := f.settings
				change(e, &settings)
				began := time.Now()
				if <-returned; time.Since(began) != 0 {
					t.Errorf("it waited for another %s", time.Since(began))
				}
			})
		})
	}
}

// TestCallsBeginWhenMoreMay: none has to end first.
func TestCallsBeginWhenMoreMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 24, func(s *Settings) { s.MaxPollers, s.PollerConcurrency = 1, 12 })
		release := make(chan struct{})
		f.takes = func(context.Context) { <-release }
		e := f.join()
		e.shares = nil
		defer f.ends(release)
		f.gives(e, f.all())
		synctest.Wait()
		before := e.pool.Busy()
		e.Counted(f.counts, time.Now())
		synctest.Wait()
		if n := e.pool.Busy(); before != 1 || n != 12 {
			t.Errorf("%d calls, and then %d", before, n)
		}
	})
}

// TestARevokeBesideAStopWaitsForTheCalls of what stays until the process is out: what
// goes has a share that they need.
func TestARevokeBesideAStopWaitsForTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 24, func(s *Settings) { s.MaxConcurrency = 12 })
		release := make(chan struct{})
		f.takes = func(context.Context) { <-release }
		e := f.join()
		defer f.ends(release)
		f.gives(e, f.all())
		synctest.Wait()
		idle := e.withoutCall()
		e.mu.Lock()
		calls := e.pool.Busy()
		e.unlock()
		if calls != 12 || len(idle) != 12 {
			t.Fatalf("%d calls, and %d partitions without one", calls, len(idle))
		}
		returned, out := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(returned)
			f.takesFrom(e, idle, time.Minute)
		}()
		synctest.Wait()
		e.Hold(HoldStop)
		go func() {
			defer close(out)
			e.DrainAll(t.Context(), ErrStopping)
		}()
		for range calls {
			synctest.Wait()
			select {
			case <-returned:
				t.Fatalf("the revoke returned while %d calls run", e.pool.Busy())
			case <-out:
				t.Fatalf("the process was out while %d calls run", e.pool.Busy())
			default:
			}
			release <- struct{}{}
		}
		<-returned
		<-out
	})
}

// TestStopWaitsForNoCallTwice: a process that leaves does not wait for calls to fit.
func TestStopWaitsForNoCallTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 24, func(s *Settings) { s.MaxConcurrency = 12 })
		release := make(chan struct{})
		f.takes = func(context.Context) { <-release }
		e := f.join()
		defer f.ends(release)
		f.gives(e, f.all())
		synctest.Wait()
		e.Lose(f.all()[:12], time.Now()) // what runs of these is waited for by nobody
		e.Hold(HoldStop)
		over, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		began := time.Now()
		e.DrainAll(over, ErrStopping)
		e.Revoke(t.Context(), f.all(), time.Minute, func() error { return nil })
		if took := time.Since(began); took > time.Second+cancelGrace {
			t.Errorf("it took %s", took)
		}
	})
}

// TestBoundsFollowWhatIsKnown: partitions that nobody spoke of are one slot, until
// somebody does, and settings that change change the shares.
func TestBoundsFollowWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 24, func(s *Settings) { s.MaxPollers, s.PollerConcurrency = 12, 1 })
		release := make(chan struct{})
		f.takes = func(context.Context) { <-release }
		s := f.settings
		e := outside{function: func(c *Call) plan.Verdict { f.takes(c.Ctx); return succeeded }}.engine(&s, context.Background())
		busy := func(what string, want int, known bool) {
			t.Helper()
			for range 30 { // what ran ends, and what may begins
				select {
				case release <- struct{}{}:
				default:
				}
				synctest.Wait()
			}
			if _, is := e.SharesBounds(); e.pool.Busy() != want || is != known {
				t.Errorf("%s: %d calls run, %d may; known is %t", what, e.pool.Busy(), want, is)
			}
			if b := e.bounds(); e.pool.Size() != min(max(e.pool.Size(), b.least), b.most) {
				t.Errorf("%s: %d pollers, of %d to %d", what, e.pool.Size(), b.least, b.most)
			}
		}
		f.engines = append(f.engines, e)
		defer f.ends(release)
		f.gives(e, f.all())
		busy("nobody said how many partitions there are", 1, false)
		e.Counted(map[string]int{"orders": 24}, time.Now())
		busy("24 of 24 partitions", 12, true)
		e.Counted(map[string]int{"orders": 24}, time.Now())
		e.Counted(map[string]int{"orders": 60}, time.Now())
		var of share.Share
		for _, id := range f.all() {
			of.Add(share.Of(map[string]int{"orders": 60}), id, 12, 12, 0)
		}
		if of.Most == 0 || of.Most > 6 {
			t.Fatalf("%d of 12 are those of 24 of 60 partitions: another number would show more", of.Most)
		}
		busy("24 of 60 partitions", of.Most, true)
		e.Counted(map[string]int{"orders": 23}, time.Now())
		busy("one more than there are", 1, false)
		e.Counted(map[string]int{"orders": 24}, time.Now())
		more := s
		more.MinPollers, more.MaxPollers = 5, 7
		e.Reconfigure(func() *Settings { return &more }, time.Now())
		busy("bounds of 5 to 7", 7, true)
		left := f.all()[20:]
		of = share.Share{}
		for _, id := range left {
			of.Add(e.shares, id, 5, 7, 0)
		}
		e.Lose(f.all()[:20], time.Now())
		busy("4 partitions are left", max(1, of.Most), true)
	})
}
