package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// unreachable is a cluster that nobody can connect to until it is healed, so
// that a start goes on until somebody ends it.
func unreachable(t *testing.T) (k *esmtest.Kafka, s esm.Source, heal func()) {
	k = esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	s = k.Source("orders", "billing")
	var healed atomic.Bool
	s.Client = append(s.Client, kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		if !healed.Load() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}
		return k.Dial(ctx, network, address)
	}))
	return k, s, func() { healed.Store(true) }
}

var errBilling = errors.New("billing is down")

func TestRunEndsWithNilWhenItsContextDoes(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		inv := esmtest.NewInvoker(t).Takes(3 * time.Second)
		m := esmtest.New(t, k.Source("orders", "billing"), inv)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		k.Produce("orders", "a", "b")
		time.Sleep(2 * time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := inv.Values(); len(got) != 2 {
			t.Errorf("handled %v: the invocation was not let to its end", got)
		}
		if a, b := k.Committed("billing", "orders", 0), k.Committed("billing", "orders", 1); a != 1 || b != 1 {
			t.Errorf("committed %d and %d", a, b)
		}
		if err := m.Err(); err != nil {
			t.Errorf("Err: %v", err)
		}
	})
}

func TestRunIsEndedWhileItStarts(t *testing.T) {
	virtual(t, func(t *testing.T) {
		_, source, _ := unreachable(t)
		m := esmtest.New(t, source, esmtest.NewInvoker(t))
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := m.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if s := m.State(); s.Phase != esm.PhaseStopped {
			t.Errorf("%+v", s)
		}
	})
}

func TestStopBeforeStart(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		m := esmtest.New(t, k.Source("orders", "billing"), esmtest.NewInvoker(t))
		if err := m.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := m.Start(t.Context()); !errors.Is(err, esm.ErrStopped) {
			t.Errorf("Start after Stop: %v", err)
		}
		if err := m.Pause(t.Context()); !errors.Is(err, esm.ErrStopped) {
			t.Errorf("Pause after Stop: %v", err)
		}
		if err := m.Resume(); !errors.Is(err, esm.ErrStopped) {
			t.Errorf("Resume after Stop: %v", err)
		}
		if err := m.Update(esm.WithBatchSize(2)); !errors.Is(err, esm.ErrStopped) {
			t.Errorf("Update after Stop: %v", err)
		}
	})
}

func TestStartTwiceAndAfterStop(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t))
		if err := m.Start(t.Context()); !errors.Is(err, esm.ErrStarted) {
			t.Errorf("second Start: %v", err)
		}
		stop(t, m)
		stop(t, m)
		if err := m.Start(t.Context()); !errors.Is(err, esm.ErrStopped) {
			t.Errorf("Start after Stop: %v", err)
		}
	})
}

func TestStopWhileStarting(t *testing.T) {
	virtual(t, func(t *testing.T) {
		_, source, _ := unreachable(t)
		m := esmtest.New(t, source, esmtest.NewInvoker(t))
		started := make(chan error, 1)
		go func() { started <- m.Start(context.Background()) }()
		time.Sleep(time.Second)
		if s := m.State(); s.Phase != esm.PhaseStarting || len(s.Problems) == 0 {
			t.Errorf("a start that cannot connect says %+v", s)
		}
		if err := m.Start(t.Context()); !errors.Is(err, esm.ErrStarted) {
			t.Errorf("second Start while starting: %v", err)
		}
		began := time.Now()
		if err := m.Stop(t.Context()); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("stopping took %s", took)
		}
		if err := <-started; !errors.Is(err, esm.ErrStopped) {
			t.Errorf("the Start that was stopped: %v", err)
		}
	})
}

func TestStartIsBoundedAndCanBeTriedAgain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k, source, heal := unreachable(t)
		inv := esmtest.NewInvoker(t)
		m := esmtest.New(t, source, inv, esm.WithStartTimeout(5*time.Second))
		began := time.Now()
		err := m.Start(t.Context())
		var se *esm.StartError
		if !errors.As(err, &se) || se.Doing != "read the topics" || se.Last == nil {
			t.Fatalf("Start: %v", err)
		}
		if took := time.Since(began); took < 5*time.Second || took > 12*time.Second {
			t.Errorf("it took %s", took)
		}
		if s := m.State(); s.Phase != esm.PhaseNew || s.Reason == "" {
			t.Errorf("%+v", s)
		}
		heal()
		if err := m.Start(t.Context()); err != nil {
			t.Fatalf("Start again: %v", err)
		}
		k.Produce("orders", "a")
		time.Sleep(time.Second)
		if got := inv.Values(); len(got) != 1 {
			t.Errorf("handled %v", got)
		}
	})
}

func TestTenStopsGetTheSameAnswer(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t)
		release := inv.Hang()
		defer release()
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithStopTimeout(8*time.Second))
		k.Produce("orders", "a")
		time.Sleep(time.Second)
		errs := make([]error, 10)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = m.Stop(context.Background()) })
		}
		wg.Wait()
		var first *esm.DrainError
		if !errors.As(errs[0], &first) || len(first.Stuck) != 1 || first.Cancelled != 1 {
			t.Fatalf("%v", errs[0])
		}
		for _, err := range errs {
			if err != errs[0] {
				t.Errorf("another answer: %v", err)
			}
		}
		if err := m.Stop(context.Background()); err != errs[0] {
			t.Errorf("a later answer: %v", err)
		}
		if got := k.Committed("billing", "orders", 0); got > 0 {
			t.Errorf("committed %d, though the call never returned", got)
		}
	})
}

func TestStopWithAnExpiredContextCancelsAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t)
		inv.Block()
		m := esmtest.Start(t, k.Source("orders", "billing"), inv)
		k.Produce("orders", "a")
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		began := time.Now()
		err := m.Stop(ctx)
		var de *esm.DrainError
		if !errors.As(err, &de) || de.Cancelled != 1 || len(de.Stuck) != 0 {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
		calls := inv.Calls()
		if len(calls) != 1 || !errors.Is(calls[0].Err, esm.ErrStopping) {
			t.Errorf("%v", calls)
		}
	})
}

// someKey is a key of a context.
type someKey struct{}

func TestStopFromInsideAnInvocation(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var m *esm.Mapping
		inside := make(chan error, 4)
		inv := esmtest.NewInvoker(t).Always(func(ctx context.Context, _ *esm.Batch) error {
			inside <- m.Stop(ctx)
			inside <- m.Pause(ctx)
			inside <- m.Stop(context.WithValue(ctx, someKey{}, 1))
			return nil
		})
		m = esmtest.Start(t, k.Source("orders", "billing"), inv)
		k.Produce("orders", "a")
		for range 3 {
			if err := <-inside; !errors.Is(err, esm.ErrInsideInvocation) {
				t.Errorf("%v", err)
			}
		}
	})
}

func TestStopFromInsideWithAnotherContextIsBounded(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var m *esm.Mapping
		inside := make(chan error, 1)
		inv := esmtest.NewInvoker(t).Always(func(context.Context, *esm.Batch) error {
			inside <- m.Stop(context.Background())
			return nil
		})
		m = esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithStopTimeout(4*time.Second))
		k.Produce("orders", "a")
		var de *esm.DrainError
		if err := <-inside; !errors.As(err, &de) || len(de.Stuck) != 1 {
			t.Errorf("%v", err)
		}
	})
}

func TestStopDoesNotWaitForABackoff(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Fail(1, errBilling)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithBackoff(esm.Constant(time.Hour)))
		k.Produce("orders", "a")
		time.Sleep(time.Second)
		began := time.Now()
		stop(t, m)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
		// The next process takes it up.
		again := esmtest.NewInvoker(t)
		esmtest.Start(t, k.Source("orders", "billing"), again)
		time.Sleep(time.Second)
		if got := again.Values(); len(got) != 1 {
			t.Errorf("handled %v", got)
		}
	})
}

func TestStopWithBrokersGone(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), esm.WithStopTimeout(10*time.Second))
		k.Produce("orders", "a")
		time.Sleep(600 * time.Millisecond) // handled, and not yet committed
		k.Cluster().Control(func(kmsg.Request) (kmsg.Response, error, bool) {
			k.Cluster().KeepControl()
			return nil, nil, true // and no answer
		})
		began := time.Now()
		err := m.Stop(t.Context())
		var de *esm.DrainError
		if !errors.As(err, &de) || de.CommitErr == nil {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestPauseAndHaltAreSeparateReasons(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		gone := errors.New("function not found")
		inv := esmtest.NewInvoker(t).Fail(1, esm.Halt(gone))
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithPauseOnHalt(true))
		k.Produce("orders", "a")
		time.Sleep(time.Second)
		phase := func(want esm.Phase) {
			t.Helper()
			if s := m.State(); s.Phase != want {
				t.Errorf("%+v, want %s", s, want)
			}
		}
		phase(esm.PhaseHalted)
		if err := m.Healthy(); err == nil {
			t.Error("healthy though halted")
		}
		if err := m.Ready(); err == nil {
			t.Error("ready though halted")
		}
		// A pause while halted, and its end, leave the halt.
		if err := m.Pause(t.Context()); err != nil {
			t.Error(err)
		}
		phase(esm.PhaseHalted)
		if err := m.Resume(); err != nil {
			t.Error(err)
		}
		phase(esm.PhaseHalted)
		time.Sleep(time.Minute)
		if got := len(inv.Calls()); got != 1 {
			t.Fatalf("%d calls while halted", got)
		}
		if err := m.Resume(); err != nil {
			t.Error(err)
		}
		phase(esm.PhaseRunning)
		time.Sleep(time.Second)
		if got := inv.Values(); len(got) != 1 {
			t.Errorf("handled %v after the halt", got)
		}

		// A halt that comes while pausing.
		inv.Then(func(context.Context, *esm.Batch) error {
			time.Sleep(5 * time.Second)
			return esm.Halt(gone)
		})
		k.Produce("orders", "b")
		time.Sleep(time.Second)
		if err := m.Pause(t.Context()); err != nil {
			t.Error(err)
		}
		phase(esm.PhaseHalted)
		for range 2 {
			if err := m.Resume(); err != nil {
				t.Error(err)
			}
		}
		phase(esm.PhaseRunning)
		time.Sleep(time.Second)
		if got := inv.Values(); len(got) != 2 {
			t.Errorf("handled %v at the end", got)
		}
	})
}

func TestPausedMappingReadsAndInvokesNothingAndKeepsItsPartitions(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		inv := esmtest.NewInvoker(t).Takes(2 * time.Second)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv)
		k.Produce("orders", "a", "b", "c", "d")
		time.Sleep(time.Second)
		began := time.Now()
		if err := m.Pause(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < time.Second {
			t.Errorf("Pause returned after %s, with an invocation running", took)
		}
		polled := m.Stats().PolledEventCount
		calls := len(inv.Calls())
		k.Produce("orders", "e", "f", "g", "h")
		time.Sleep(2 * time.Hour)
		s := m.Stats()
		if s.PolledEventCount != polled || len(inv.Calls()) != calls {
			t.Errorf("read or invoked while paused: %+v", s)
		}
		if s.Partitions != 4 || s.RebalanceCount != 0 {
			t.Errorf("partitions %d, rebalances %d", s.Partitions, s.RebalanceCount)
		}
		if err := m.Ready(); err == nil {
			t.Error("ready though paused")
		}
		if err := m.Healthy(); err != nil {
			t.Error(err)
		}
		if err := m.Resume(); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		if got := len(inv.Values()); got != 8 {
			t.Errorf("handled %d", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		k.Produce("orders", "i")
		time.Sleep(time.Second)
		if err := m.Pause(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Pause with a context that ends: %v", err)
		}
		if s := m.State(); s.Phase != esm.PhasePaused {
			t.Errorf("%+v", s)
		}
	})
}

func TestStartsPausedIfPausedBefore(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t)
		m := esmtest.New(t, k.Source("orders", "billing"), inv)
		if err := m.Pause(t.Context()); err != nil {
			t.Error(err)
		}
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.Produce("orders", "a")
		time.Sleep(time.Minute)
		if s := m.State(); s.Phase != esm.PhasePaused || len(inv.Calls()) != 0 {
			t.Errorf("%+v, %d calls", s, len(inv.Calls()))
		}
		if err := m.Resume(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if got := inv.Values(); len(got) != 1 {
			t.Errorf("handled %v", got)
		}
	})
}

func TestHaltStopsTheMapping(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		gone := errors.New("function not found")
		inv := esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error {
			if string(b.Records[0].Value) == "bad" {
				return esm.Halt(gone)
			}
			time.Sleep(time.Second)
			return nil
		})
		m := esmtest.New(t, k.Source("orders", "billing"), inv, esm.WithBatchSize(1))
		done := make(chan error, 1)
		go func() { done <- m.Run(context.Background()) }()
		time.Sleep(time.Second)
		k.ProduceTo("orders", 0, "good", "later")
		k.ProduceTo("orders", 1, "bad")
		err := <-done
		var he *esm.HaltError
		if !errors.As(err, &he) || !errors.Is(err, gone) {
			t.Fatalf("Run: %v", err)
		}
		if got := k.Committed("billing", "orders", 0); got != 1 {
			t.Errorf("committed %d: what ran was not let to its end, or more was started", got)
		}
		if got := k.Committed("billing", "orders", 1); got > 0 {
			t.Errorf("committed %d of the partition that halted", got)
		}
		if err := m.Stop(t.Context()); err != nil {
			t.Errorf("Stop after a halt: %v", err)
		}
		if err := m.Err(); !errors.Is(err, gone) {
			t.Errorf("Err: %v", err)
		}
		if err := m.Healthy(); err == nil {
			t.Error("healthy though halted")
		}
	})
}

func TestValuesOfTheContextReachTheFunctionAndItsEndDoesNot(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		type key struct{}
		got := make(chan any, 1)
		inv := esmtest.NewInvoker(t).Always(func(ctx context.Context, _ *esm.Batch) error {
			got <- ctx.Value(key{})
			return ctx.Err()
		})
		m := esmtest.New(t, k.Source("orders", "billing"), inv)
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "tenant"))
		if err := m.Start(ctx); err != nil {
			t.Fatal(err)
		}
		cancel() // it bounds the start only
		k.Produce("orders", "a")
		if v := <-got; v != "tenant" {
			t.Errorf("the function saw %v", v)
		}
		time.Sleep(time.Second)
		if calls := inv.Calls(); len(calls) != 1 || calls[0].Err != nil {
			t.Error(calls)
		}
	})
}

// TestStartGivesUpOnABrokerThatSaysNothing when it is told to, and not when the
// client does.
func TestStartGivesUpOnABrokerThatSaysNothing(t *testing.T) {
	for name, give := range map[string]func(*esm.Mapping, context.CancelFunc){
		"cancel": func(_ *esm.Mapping, cancel context.CancelFunc) { cancel() },
		"stop":   func(m *esm.Mapping, _ context.CancelFunc) { go m.Stop(context.Background()) },
		"never":  func(*esm.Mapping, context.CancelFunc) {},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				source := esm.Source{Brokers: []string{"silent:9092"}, Topics: []string{"orders"}, Group: "billing"}
				source.Client = append(source.Client, kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go func() { _, _ = io.Copy(io.Discard, theirs) }()
					return ours, nil
				}))
				m := esmtest.New(t, source, esmtest.NewInvoker(t), quiet(), esm.WithStartTimeout(time.Second))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(100*time.Millisecond, func() { give(m, cancel) })
				began := time.Now()
				if err := m.Start(ctx); err == nil {
					t.Error("it started")
				}
				if took := time.Since(began); took > 1500*time.Millisecond {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestAfterStopNothingIsKnown of partitions that are somebody else's.
func TestAfterStopNothingIsKnown(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var told list[string]
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet(), esm.WithHooks(esm.Hooks{
			StateChanged: func(i esm.State) { told.add(i.Phase.String()) },
		}))
		k.Produce("orders", "a")
		time.Sleep(2 * time.Second)
		if lag, known := m.Stats().OffsetLag.Sum(); lag != 0 || !known {
			t.Errorf("a lag of %d, %v", lag, known)
		}
		stop(t, m)
		k.Produce("orders", "b")
		s := m.Stats()
		if _, known := s.OffsetLag.Sum(); known || s.ProvisionedPollers != 0 || s.Slots != 0 || s.Partitions != 0 {
			t.Errorf("%+v", s)
		}
		if s.SettledEventCount != 1 || s.CommittedEventCount != 1 {
			t.Errorf("what it did is forgotten: %+v", s)
		}
		if got := strings.Join(told.all(), " "); got != "starting running stopping stopped" {
			t.Errorf("told %s", got)
		}
		text, err := json.Marshal(s)
		if err != nil || !strings.Contains(string(text), `"Phase":"stopped"`) || !strings.Contains(string(text), `"OffsetLag":{"sum":null,"max":null,"unknown":0}`) {
			t.Errorf("%v: %s", err, text)
		}
	})
}

// TestHaltKeepsWhatIsWrappedAroundIt: Each names the record.
func TestHaltKeepsWhatIsWrappedAroundIt(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.Each(func(_ context.Context, r *kgo.Record) error {
			if string(r.Value) == "b" {
				return esm.Halt(errBilling)
			}
			return nil
		}), quiet())
		k.Produce("orders", "a", "b")
		<-m.Done()
		want := "orders/0 offset 1: esm: halted by the function: billing is down"
		var halt *esm.HaltError
		if err := m.Err(); !errors.As(err, &halt) || err.Error() != want {
			t.Errorf("%v", err)
		}
		if s := m.State(); s.Reason != want {
			t.Errorf("%+v", s)
		}
	})
}

// TestPausesAndResumesAtOnce: whichever comes last holds, for the state and for
// what is done.
func TestPausesAndResumesAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithPauseOnHalt(true), esm.WithBatchWindow(0))
		for i := range 300 {
			if i%3 == 0 {
				inv.Return(esm.Halt(errBilling))
			}
			k.Produce("orders", fmt.Sprint(i))
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if err := m.Pause(t.Context()); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					if err := m.Resume(); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for m.State().Phase != esm.PhaseRunning {
				if err := m.Resume(); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Second)
			for m.State().Phase != esm.PhaseRunning { // it halted since
				if err := m.Resume(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
			}
			if got := len(inv.Values()); got != i+1 {
				t.Fatalf("round %d: %d records handled by a mapping that is %s", i, got, m.State().Phase)
			}
		}
	})
}
