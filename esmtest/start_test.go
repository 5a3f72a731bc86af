package esmtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// started is an option that makes a Mapping invoke at once, and tell when it
// does.
func started() (<-chan struct{}, []esm.Option) {
	ch := make(chan struct{}, 100)
	hooks := esm.Hooks{InvokeStarted: func(esm.Invocation) { ch <- struct{}{} }}
	return ch, []esm.Option{esm.WithHooks(hooks), esm.WithBatchWindow(0), esm.WithStopTimeout(400 * time.Millisecond)}
}

func TestMappingIsStoppedAtTheEndOfTheTest(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	running, opts := started()
	var m *esm.Mapping
	failures := watch(t, func(t testing.TB) {
		inv := esmtest.NewInvoker(t)
		release := inv.Block()
		m = esmtest.Start(t, k.Source("orders", "billing"), inv, opts...)
		k.Produce("orders", "a")
		<-running
		go release()
	})
	if len(failures) > 0 {
		t.Errorf("%q", failures)
	}
	if s := m.State(); s.Phase != esm.PhaseStopped {
		t.Errorf("after the test: %+v", s)
	}
	if got := k.Committed("billing", "orders", 0); got != 1 {
		t.Errorf("committed %d: the invocation was not let to its end", got)
	}
}

func TestCallThatEndsWithItsContextPasses(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	running, opts := started()
	inv := esmtest.NewInvoker(t)
	failures := watch(t, func(t testing.TB) {
		inv.Block()
		esmtest.Start(t, k.Source("orders", "billing"), inv, opts...)
		k.Produce("orders", "a")
		<-running
	})
	if len(failures) > 0 {
		t.Errorf("%q", failures)
	}
	inv.Wait(1)
	if err := inv.Calls()[0].Err; !errors.Is(err, esm.ErrStopping) {
		t.Errorf("the call ended with %v", err)
	}
}

func TestFunctionThatIgnoresItsContextFailsTheTest(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	running, opts := started()
	failures := watch(t, func(t testing.TB) {
		inv := esmtest.NewInvoker(t)
		inv.Hang()
		esmtest.Start(t, k.Source("orders", "billing"), inv, opts...)
		k.Produce("orders", "a")
		<-running
	})
	wantFailure(t, failures, "did not stop well", "1 call ignores that its context ended", "orders/0")
}

func TestCommitThatFailsAtTheEndFailsTheTest(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	failures := watch(t, func(t testing.TB) {
		_, opts := started()
		inv := esmtest.NewInvoker(t)
		esmtest.Start(t, k.Source("orders", "billing"), inv, opts...)
		k.Cluster().ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
			k.Cluster().KeepControl()
			return nil, errors.New("no commits today"), true
		})
		k.Produce("orders", "a")
		inv.Wait(1)
	})
	wantFailure(t, failures, "did not stop well", "the last commit:")
}

func TestMappingThatTheTestStoppedIsTheTestsBusiness(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	running, opts := started()
	failures := watch(t, func(t testing.TB) {
		inv := esmtest.NewInvoker(t)
		inv.Hang()
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, opts...)
		k.Produce("orders", "a")
		<-running
		if drain := (*esm.DrainError)(nil); !errors.As(m.Stop(context.Background()), &drain) || len(drain.Stuck) != 1 {
			t.Errorf("stop: %v", drain)
		}
	})
	if len(failures) > 0 {
		t.Errorf("%q", failures)
	}
}

func TestMappingThatTheFunctionHaltedPasses(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	failures := watch(t, func(t testing.TB) {
		_, opts := started()
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t).Return(esm.Halt(errBilling)), opts...)
		k.Produce("orders", "a")
		<-m.Done()
		if !errors.Is(m.Err(), errBilling) {
			t.Errorf("it ended with %v", m.Err())
		}
	})
	if len(failures) > 0 {
		t.Errorf("%q", failures)
	}
}

func TestMappingThatCannotBeMadeOrStartedFailsAtOnce(t *testing.T) {
	k := esmtest.NewKafka(t)
	failures := watch(t, func(t testing.TB) {
		esmtest.New(t, k.Source("orders", ""), esmtest.NewInvoker(t))
		t.Error("it went on")
	})
	wantFailure(t, failures, "esmtest: ", "Source.Group")
	failures = watch(t, func(t testing.TB) {
		esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), esm.WithStartTimeout(5*time.Second))
		t.Error("it went on")
	})
	wantFailure(t, failures, "esmtest: ", "orders")
}

func TestMappingThatIsNotStartedPasses(t *testing.T) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	var m *esm.Mapping
	failures := watch(t, func(t testing.TB) {
		m = esmtest.New(t, k.Source("orders", "billing"), esmtest.NewInvoker(t))
		if s := m.State(); s.Phase != esm.PhaseNew {
			t.Errorf("%+v", s)
		}
	})
	if len(failures) > 0 {
		t.Errorf("%q", failures)
	}
	if err := m.Start(t.Context()); !errors.Is(err, esm.ErrStopped) {
		t.Errorf("after the test it can still be started: %v", err)
	}
}
