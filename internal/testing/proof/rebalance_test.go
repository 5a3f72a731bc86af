package proof_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// takeover starts a second member and returns it when it has at least one
// partition. The first member revokes on the way.
func takeover(t *testing.T, s esm.Source, inv esm.Invoker, opts ...esm.Option) (*esm.Mapping, *atomic.Int64) {
	t.Helper()
	var assigned atomic.Int64
	opts = append([]esm.Option{quiet(), esm.WithName("second"), esm.WithStartTimeout(10 * time.Minute),
		esm.WithHooks(esm.Hooks{Assigned: func(i esm.Rebalance) { assigned.Store(int64(i.Total)) }})}, opts...)
	m := esmtest.New(t, s, inv, opts...)
	go func() {
		if err := m.Start(context.Background()); err != nil && !errors.Is(err, esm.ErrStopped) {
			t.Errorf("second member: %v", err)
		}
	}()
	return m, &assigned
}

func quick(s esm.Source) esm.Source {
	s.Client = append(s.Client, kgo.HeartbeatInterval(200*time.Millisecond))
	return s
}

func TestRevokeDuringInvokeWaitsForItAndCommits(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		source := quick(k.Source("orders", "billing"))
		first := esmtest.NewInvoker(t).Takes(10 * time.Second)
		var seen list[esm.Rebalance]
		esmtest.Start(t, source, first, quiet(), esm.WithBatchWindow(0), esm.WithMinPollers(2),
			esm.WithHooks(esm.Hooks{Revoked: seen.add}))
		k.ProduceTo("orders", 0, "a")
		k.ProduceTo("orders", 1, "b")
		time.Sleep(time.Second)
		second := esmtest.NewInvoker(t)
		_, assigned := takeover(t, source, second)
		time.Sleep(5 * time.Second)
		if assigned.Load() != 0 {
			t.Errorf("the second member has %d partitions while the first still works on them", assigned.Load())
		}
		time.Sleep(10 * time.Second)
		if assigned.Load() != 1 {
			t.Fatalf("the second member has %d partitions", assigned.Load())
		}
		revoked := seen.all()
		if len(revoked) != 1 || revoked[0].Lost || revoked[0].Cancelled != 0 || revoked[0].CommitErr != nil || revoked[0].Waited < 5*time.Second {
			t.Errorf("%+v", revoked)
		}
		if got := len(first.Values()) + len(second.Values()); got != 2 || len(second.Values()) != 0 {
			t.Errorf("handled %v and %v", first.Values(), second.Values())
		}
	})
}

// TestRevokeDuringInvokeDoesNotCommit has the invocation go on longer than the
// revoke timeout, in all ways in which it can then end.
func TestRevokeDuringInvokeDoesNotCommit(t *testing.T) {
	tests := map[string]func(ctx context.Context) error{
		"returns its context's error": func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
		"halts":                       func(ctx context.Context) error { <-ctx.Done(); return esm.Halt(nil) },
		"ignores its context":         func(context.Context) error { time.Sleep(time.Minute); return nil },
		"ignores it and fails":        func(context.Context) error { time.Sleep(time.Minute); return errBilling },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
				source := quick(k.Source("orders", "billing"))
				book := newLedger()
				var cause atomic.Value
				var revoked atomic.Int64
				first := esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
					err := f(ctx)
					if c := context.Cause(ctx); c != nil {
						cause.Store(c)
					}
					if err == nil {
						book.handled("first", b)
					}
					return err
				})
				m1 := esmtest.Start(t, source, first, quiet(), esm.WithBatchWindow(0), esm.WithMinPollers(2), esm.WithBackoff(esm.Constant(time.Hour)),
					esm.WithRevokeTimeout(5*time.Second), esm.WithHooks(esm.Hooks{Revoked: func(i esm.Rebalance) { revoked.Add(int64(i.Cancelled)) }}))
				k.ProduceTo("orders", 0, "a")
				k.ProduceTo("orders", 1, "b")
				time.Sleep(time.Second)
				second := esmtest.NewInvoker(t)
				takeover(t, source, second)
				time.Sleep(20 * time.Second)
				if revoked.Load() != 1 {
					t.Errorf("%d calls were cancelled", revoked.Load())
				}
				if got := second.Values(); len(got) != 1 {
					t.Errorf("the second member handled %v of the partition that it got", got)
				}
				for p := range int32(2) {
					if info := k.Cluster().GroupInfo("billing").Commits["orders"][p]; info.Offset > 0 && len(second.Values()) == 0 {
						t.Errorf("partition %d: committed %d though its call was cancelled", p, info.Offset)
					}
				}
				if c, _ := cause.Load().(error); strings.Contains(name, "context") && !strings.Contains(name, "ignores") && !errors.Is(c, esm.ErrRevoked) {
					t.Errorf("the cause is %v", c)
				}
				if m1.State().Phase != esm.PhaseRunning {
					t.Errorf("%+v", m1.State())
				}
				time.Sleep(2 * time.Minute)
				_ = m1.Stop(t.Context()) // its other call waits for just that
			})
		})
	}
}

func TestRevokeOfOnePartitionOfACombinedBatch(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%t", late), func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
				source := quick(k.Source("orders", "billing"))
				takes := 3 * time.Second
				if late {
					takes = 30 * time.Second
				}
				first := esmtest.NewInvoker(t).Takes(takes)
				m1 := esmtest.Start(t, source, first, quiet(), esm.WithRevokeTimeout(5*time.Second))
				k.Produce("orders", "a", "b", "c", "d")
				time.Sleep(time.Second)
				if now, _ := first.Running(); now != 1 {
					t.Fatalf("%d calls run, not a combined one", now)
				}
				second := esmtest.NewInvoker(t)
				takeover(t, source, second)
				time.Sleep(15 * time.Second)
				first.Takes(0)
				time.Sleep(time.Minute)
				if late {
					// The call was cancelled: the first member tries what it
					// kept again, the second gets the rest.
					if a, b := len(first.Values()), len(second.Values()); a != 2 || b != 2 {
						t.Errorf("handled %d and %d", a, b)
					}
					calls := first.Calls()
					if got := calls[len(calls)-1].Batch.Attempt; got != 1 {
						t.Errorf("an abandoned call counted as an attempt: the next one is number %d", got)
					}
				} else if a, b := len(first.Values()), len(second.Values()); a != 4 || b != 0 {
					t.Errorf("handled %d and %d", a, b)
				}
				for p := range int32(4) {
					if got := k.Committed("billing", "orders", p); got != 1 {
						t.Errorf("partition %d: committed %d", p, got)
					}
				}
				if s := m1.Stats(); s.HeldBytes != 0 {
					t.Errorf("%d bytes are held", s.HeldBytes)
				}
			})
		})
	}
}

func TestPartitionThatComesBackWaitsForTheCallThatIgnoredItsContext(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		source := quick(k.Source("orders", "billing"))
		inv := esmtest.NewInvoker(t) // which fails the test at two calls for one partition
		releases := []func(){inv.Hang(), inv.Hang()}
		m1 := esmtest.Start(t, source, inv, quiet(), esm.WithBatchWindow(0), esm.WithMinPollers(2), esm.WithRevokeTimeout(2*time.Second))
		k.ProduceTo("orders", 0, "a")
		k.ProduceTo("orders", 1, "b")
		time.Sleep(time.Second)
		other, assigned := takeover(t, source, esmtest.NewInvoker(t).Fail(1000, errBilling), esm.WithBackoff(esm.Constant(time.Second)))
		time.Sleep(10 * time.Second)
		if assigned.Load() != 1 {
			t.Fatalf("the second member has %d partitions", assigned.Load())
		}
		stop(t, other)
		time.Sleep(10 * time.Second)
		blocked := 0
		for _, p := range m1.AppendPartitions(nil) {
			if p.State == "blocked" {
				blocked++
			}
		}
		if blocked != 1 {
			t.Errorf("%d partitions wait for the call of their last assignment: %+v", blocked, m1.AppendPartitions(nil))
		}
		for _, release := range releases {
			release()
		}
		time.Sleep(10 * time.Second)
		// The call from before the rebalance does not count, so its record
		// comes again.
		if got := len(inv.Values()); got != 3 {
			t.Errorf("handled %v", inv.Values())
		}
		for p := range int32(2) {
			if got := k.Committed("billing", "orders", p); got != 1 {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
	})
}

func TestLostSessionCancelsAtOnceAndCommitsNothing(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		source := quick(k.Source("orders", "billing"))
		inv := esmtest.NewInvoker(t)
		inv.Block()
		var revoked list[esm.Rebalance]
		m := esmtest.Start(t, source, inv, quiet(), esm.WithHooks(esm.Hooks{Revoked: revoked.add}))
		k.Produce("orders", "a")
		time.Sleep(time.Second)
		commits := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Observe: true, Count: -1})
		before := commits.Hits()
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID})
		began := time.Now()
		waitFor(t, 10*time.Second, "lost", func() bool { return len(revoked.all()) > 0 })
		if took := time.Since(began); took > time.Second {
			t.Errorf("the loss took %s", took)
		}
		if !revoked.all()[0].Lost || revoked.all()[0].Cancelled != 1 {
			t.Errorf("%+v", revoked.all()[0])
		}
		if got := commits.Hits() - before; got != 0 {
			t.Errorf("%d commits for a session that was lost", got)
		}
		calls := inv.Calls()
		if len(calls) != 1 || !errors.Is(calls[0].Err, esm.ErrRevoked) {
			t.Errorf("%v", calls)
		}
		time.Sleep(30 * time.Second)
		if err := m.Ready(); err != nil {
			t.Errorf("not back in the group: %v", err)
		}
		if got := inv.Values(); len(got) != 1 {
			t.Errorf("handled %v after it came back", got)
		}
		if got := k.Committed("billing", "orders", 0); got != 1 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestSessionLostWhileStoppingEndsTheDrain: the call is cancelled, and when it
// has returned there is nothing more to wait for.
func TestSessionLostWhileStoppingEndsTheDrain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t)
		inv.Block()
		m := esmtest.Start(t, quick(k.Source("orders", "billing")), inv, quiet())
		k.Produce("orders", "a")
		time.Sleep(time.Second)
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- m.Stop(context.Background()) }()
		time.Sleep(time.Second)
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, TopLevel: true, Err: kerr.UnknownMemberID})
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the stop took %s", took)
		}
		if calls := inv.Calls(); len(calls) != 1 || !errors.Is(calls[0].Err, esm.ErrRevoked) {
			t.Errorf("%v", calls)
		}
	})
}

func TestSlowCommitsDoNotHoldUpTheRecords(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		k.Cluster().ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			k.Cluster().KeepControl()
			k.Cluster().SleepControl(func() { time.Sleep(2 * time.Second) })
			return nil, nil, false
		})
		fill(k, "orders", 4, 3000)
		inv := esmtest.NewInvoker(t).Takes(100 * time.Millisecond)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMinPollers(4))
		time.Sleep(3500 * time.Millisecond)
		if got := len(inv.Values()); got != 12_000 {
			t.Errorf("handled %d in the ideal time and half a second", got)
		}
		time.Sleep(5 * time.Second)
		for p := range int32(4) {
			if got := k.Committed("billing", "orders", p); got != 3000 {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
		k.Produce("orders", "last")
		time.Sleep(600 * time.Millisecond)
		stop(t, m)
		if a := k.Committed("billing", "orders", 0) + k.Committed("billing", "orders", 1) + k.Committed("billing", "orders", 2) + k.Committed("billing", "orders", 3); a != 12_001 {
			t.Errorf("committed %d at the end", a)
		}
	})
}

func TestCoordinatorMovesAndCommitErrors(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 6), esmtest.Brokers(3))
		book := newLedger()
		inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			time.Sleep(20 * time.Millisecond)
			book.handled("m", b)
			return nil
		})
		m := esmtest.Start(t, quick(k.Source("orders", "billing")), inv, quiet(), esm.WithMinPollers(6))
		for i := range 20 {
			fill(k, "orders", 6, 100)
			time.Sleep(time.Second)
			switch i % 4 {
			case 0:
				k.Cluster().RehashCoordinators()
			case 1:
				k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.NotCoordinator, Count: 2})
			case 2:
				k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: "orders", Partitions: []int32{3}, Err: kerr.UnknownServerError, Count: 2})
			}
		}
		time.Sleep(20 * time.Second)
		if n := book.missing("orders", 6, 2000); n != 0 || book.repeats != 0 {
			t.Errorf("%d missing: %s", n, book)
		}
		for p := range int32(6) {
			if got := k.Committed("billing", "orders", p); got != 2000 {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
		if s := m.State(); len(s.Problems) != 0 {
			t.Errorf("problems that are over: %+v", s.Problems)
		}
	})
}

func TestCommitThatWaitsForARebalanceIsNoError(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		source := quick(k.Source("orders", "billing"))
		inv := esmtest.NewInvoker(t).Takes(50 * time.Millisecond)
		m := esmtest.Start(t, source, inv, quiet(), esm.WithMinPollers(4), esm.WithBatchSize(5))
		fill(k, "orders", 4, 1000)
		for range 6 {
			other, _ := takeover(t, source, esmtest.NewInvoker(t).Takes(50*time.Millisecond), esm.WithBatchSize(5))
			time.Sleep(4 * time.Second)
			stop(t, other)
			time.Sleep(2 * time.Second)
		}
		time.Sleep(time.Minute)
		if s := m.Stats(); s.CommitErrorCount != 0 || len(m.State().Problems) != 0 {
			t.Errorf("%d commits failed: %+v", s.CommitErrorCount, m.State().Problems)
		}
		for p := range int32(4) {
			if got := k.Committed("billing", "orders", p); got != 1000 {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
	})
}

func TestNewPartitionsArePickedUpWithinAMinute(t *testing.T) {
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				source := k.Source("orders", "billing")
				source.Start = esm.Latest()
				source.Client = append(source.Client, opts...)
				inv := esmtest.NewInvoker(t)
				m := esmtest.Start(t, source, inv, quiet())
				time.Sleep(10 * time.Second)
				req := kmsg.NewPtrCreatePartitionsRequest()
				topic := kmsg.NewCreatePartitionsRequestTopic()
				topic.Topic, topic.Count = "orders", 3
				req.Topics, req.TimeoutMillis = append(req.Topics, topic), 5000
				if _, err := req.RequestWith(t.Context(), k.Client()); err != nil {
					t.Fatal(err)
				}
				k.Client().ForceMetadataRefresh()
				time.Sleep(6 * time.Second)
				k.ProduceTo("orders", 2, "early")
				time.Sleep(54 * time.Second)
				k.ProduceTo("orders", 1, "late")
				time.Sleep(5 * time.Second)
				if got := m.Stats().Partitions; got != 3 {
					t.Errorf("%d partitions", got)
				}
				if got := strings.Join(inv.Values(), " "); got != "early late" {
					t.Errorf("handled %q", got)
				}
			})
		})
	}
}

func TestStaticMemberRestartsWithoutARebalance(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		source := quick(k.Source("orders", "billing"))
		a, b := source, source
		a.InstanceID, b.InstanceID = "a", "b"
		inv := esmtest.NewInvoker(t)
		m1 := esmtest.Start(t, a, inv, quiet(), esm.WithName("a"))
		esmtest.Start(t, b, inv, quiet(), esm.WithName("b"))
		time.Sleep(10 * time.Second)
		before := k.Cluster().GroupInfo("billing")
		if len(before.Members) != 2 {
			t.Fatalf("%d members", len(before.Members))
		}
		stop(t, m1)
		k.Produce("orders", "1", "2", "3", "4")
		time.Sleep(5 * time.Second)
		esmtest.Start(t, a, inv, quiet(), esm.WithName("a"))
		time.Sleep(10 * time.Second)
		after := k.Cluster().GroupInfo("billing")
		if len(after.Members) != 2 {
			t.Errorf("%d members after the restart", len(after.Members))
		}
		if got := len(inv.Values()); got != 4 {
			t.Errorf("handled %v", inv.Values())
		}
	})
}

// TestCommitsHaveNoMetadata where nothing is settled above them: a broker may be set
// to take none.
func TestCommitsHaveNoMetadata(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		k.Cluster().ControlKey(int16(kmsg.OffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			k.Cluster().KeepControl()
			for _, topic := range kreq.(*kmsg.OffsetCommitRequest).Topics {
				for _, p := range topic.Partitions {
					if p.Metadata != nil && *p.Metadata != "" {
						t.Errorf("metadata %q", *p.Metadata)
					}
				}
			}
			return nil, nil, false
		})
		esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet())
		k.Produce("orders", "x")
		time.Sleep(5 * time.Second)
		if got := k.Committed("billing", "orders", 0); got != 1 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestStaticMemberOfTheNewProtocolSaysWhichItIsWhenItGoes: a broker refuses to
// let one go for a while that does not.
func TestStaticMemberOfTheNewProtocolSaysWhichItIsWhenItGoes(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		var left atomic.Int64
		k.Cluster().ControlKey(int16(kmsg.ConsumerGroupHeartbeat), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			k.Cluster().KeepControl()
			req := kreq.(*kmsg.ConsumerGroupHeartbeatRequest)
			switch {
			case req.MemberEpoch != -2:
				return nil, nil, false
			case req.InstanceID != nil:
				left.Add(1)
				return nil, nil, false
			}
			resp := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
			resp.ErrorCode = kerr.InvalidRequest.Code
			return resp, nil, true
		})
		source := k.Source("orders", "billing")
		source.InstanceID = "a"
		source.Client = append(source.Client, kgo.ServerSideBalancer())
		for i := range 2 {
			began := time.Now()
			inv := esmtest.NewInvoker(t)
			m := esmtest.Start(t, source, inv, quiet())
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("start %d took %s", i, took)
			}
			k.Produce("orders", "x")
			time.Sleep(5 * time.Second)
			if got := len(inv.Values()); got != 1 {
				t.Errorf("start %d: handled %d", i, got)
			}
			stop(t, m)
			if got := left.Load(); got != int64(i+1) {
				t.Errorf("stop %d: left %d times", i, got)
			}
		}
	})
}

// TestSoakKeepsEveryCommitMoving has members come and go for half an hour, with
// failures of the function and of the brokers, and looks every minute whether
// the committed offset of every partition moved.
func TestSoakKeepsEveryCommitMoving(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds; not with -short")
	}
	virtual(t, func(t *testing.T) {
		const partitions = 12
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		source := quick(k.Source("orders", "billing"))
		book := newLedger()
		var n atomic.Int64
		start := func(i int) *esm.Mapping {
			name := fmt.Sprint("member", i)
			m, err := esm.New(source, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
				time.Sleep(50 * time.Millisecond)
				switch n.Add(1) % 50 {
				case 7:
					return errBilling
				case 23:
					return esm.Throttled(200*time.Millisecond, nil)
				case 42:
					panic("oh")
				}
				book.handled(name, b)
				return nil
			}), quiet(), esm.WithName(name), esm.WithBatchSize(20), esm.WithBackoff(esm.Exponential(100*time.Millisecond, time.Second)),
				esm.WithHooks(esm.Hooks{Assigned: func(i esm.Rebalance) { book.reassigned(name, i.Partitions) }}))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			return m
		}
		members := []*esm.Mapping{start(0), start(1)}
		last := make([]int64, partitions)
		each := int64(0)
		for minute := range 30 {
			for range 6 {
				fill(k, "orders", partitions, 50)
				each += 50
				time.Sleep(10 * time.Second)
			}
			switch minute % 3 {
			case 0:
				members = append(members, start(minute+2))
			case 1:
				stop(t, members[0])
				members = members[1:]
			case 2:
				k.Cluster().RehashCoordinators()
			}
			for p := range int32(partitions) {
				at := k.Committed("billing", "orders", p)
				if at <= last[p] {
					t.Errorf("minute %d: the commit of partition %d stands at %d", minute, p, at)
				}
				last[p] = at
			}
		}
		time.Sleep(time.Minute)
		for _, m := range members {
			stop(t, m)
		}
		if missing := book.missing("orders", partitions, each); missing != 0 || book.repeats != 0 || book.backward != 0 {
			t.Errorf("%d missing: %s", missing, book)
		}
	})
}

// TestMemberThatJoinsHasPartitionsSoon: with nothing set, the others learn of it
// within a heartbeat, and give up what is its share.
func TestMemberThatJoinsHasPartitionsSoon(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		source := k.Source("orders", "billing")
		esmtest.Start(t, source, esmtest.NewInvoker(t), quiet())
		time.Sleep(10*time.Second + 300*time.Millisecond) // between two heartbeats
		_, assigned := takeover(t, source, esmtest.NewInvoker(t))
		time.Sleep(2 * time.Second)
		if assigned.Load() != 2 {
			t.Errorf("after 2s it has %d of 4 partitions", assigned.Load())
		}
	})
}
