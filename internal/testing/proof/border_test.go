package proof_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/guard"
)

var handles = esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil })

// asksState is an error whose text takes a lock of the Mapping.
type asksState struct{ m *atomic.Pointer[esm.Mapping] }

func (e *asksState) Error() string {
	if m := e.m.Load(); m != nil {
		m.State()
	}
	return "no way"
}

// refuses is a login that fails before it begins.
type refuses struct{ err error }

func (refuses) Name() string { return "PLAIN" }
func (l refuses) Authenticate(context.Context, string) (sasl.Session, []byte, error) {
	return nil, nil, l.err
}

// TestErrorOfALoginAsksWhileStarting: no text is made with a lock of the Mapping.
func TestErrorOfALoginAsksWhileStarting(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	var mapping atomic.Pointer[esm.Mapping]
	m, err := esm.New(esm.Source{Brokers: cluster.ListenAddrs(), Topics: []string{"orders"}, Group: "billing",
		Client: []kgo.Opt{kgo.SASL(refuses{&asksState{&mapping}})}}, handles, quiet(), esm.WithStartTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	mapping.Store(m)
	ended := make(chan error, 1)
	go func() { ended <- m.Start(context.Background()) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "no way") {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Start does not return")
	}
}

// TestErrorOfAStartIsShort, whatever the dialer says.
func TestErrorOfAStartIsShort(t *testing.T) {
	m, err := esm.New(esm.Source{Brokers: []string{"localhost:1"}, Topics: []string{"orders"}, Group: "billing",
		Client: []kgo.Opt{kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New(strings.Repeat("x", 5<<20))
		})}}, handles, quiet(), esm.WithStartTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	err = m.Start(context.Background())
	if n, r := len(err.Error()), len(m.State().Reason); n > 20<<10 || r > 20<<10 {
		t.Errorf("an error of %d bytes, and a reason of %d", n, r)
	}
}

// TestStopNamesCallsOfPartitionsThatMoved: they go on, and Stop does not say that
// nothing is left.
func TestStopNamesCallsOfPartitionsThatMoved(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		source := k.Source("orders", "billing")
		release := []chan struct{}{make(chan struct{}), make(chan struct{})}
		m := esmtest.New(t, source, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			<-release[b.Records[0].Partition]
			return nil
		}), quiet(), esm.WithBatchSize(1), esm.WithMinPollers(2), esm.WithRevokeTimeout(2*time.Second))
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.ProduceTo("orders", 0, "a")
		k.ProduceTo("orders", 1, "a")
		time.Sleep(2 * time.Second)
		other := esmtest.Start(t, source, handles, quiet())
		time.Sleep(time.Minute)
		has := m.AppendPartitions(nil)
		if len(has) != 1 {
			t.Fatal(len(has))
		}
		close(release[has[0].Partition]) // this call ends
		time.Sleep(2 * time.Second)
		if got := m.Stats().StuckSlots; got != 1 {
			t.Fatal(got)
		}
		err := m.Stop(context.Background())
		var drain *esm.DrainError
		if !errors.As(err, &drain) || len(drain.Stuck) != 1 || drain.Cancelled != 0 || !strings.Contains(err.Error(), "1 call ignores") {
			t.Errorf("a call goes on, and Stop returned %v", err)
		}
		close(release[1-has[0].Partition])
		stop(t, other)
	})
}

// shortOutside has a short text and holds a long one.
type shortOutside struct{ err error }

func (shortOutside) Error() string   { return "a short text" }
func (e shortOutside) Unwrap() error { return e.err }

// TestNoLongErrorIsKeptBehindAShortOne.
func TestNoLongErrorIsKeptBehindAShortOne(t *testing.T) {
	kept := make([]error, 20)
	for i := range kept {
		kept[i] = guard.Keep(shortOutside{errors.Join(errors.New(strings.Repeat("x", 10<<20)), errBilling)})
		if !errors.Is(kept[i], errBilling) {
			t.Fatal("what is short is lost")
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 50<<20 {
		t.Errorf("%d MiB of heap", m.HeapAlloc>>20)
	}
	runtime.KeepAlive(kept)
}

// TestPermanentWithALongReasonIsGivenUp.
func TestPermanentWithALongReasonIsGivenUp(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var calls, taken atomic.Int32
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			calls.Add(1)
			var f esm.Failures
			f.Add(b.Records[0], esm.Permanent(errors.New(strings.Repeat("x", 5000))))
			return f.Err()
		}), quiet(), esm.WithDestination(esm.DestinationFunc(func(context.Context, *esm.Discard) error { taken.Add(1); return nil })))
		k.ProduceTo("orders", 0, "a")
		time.Sleep(time.Hour)
		if calls.Load() != 1 || taken.Load() != 1 {
			t.Errorf("after %d calls in an hour, %d given up", calls.Load(), taken.Load())
		}
		stop(t, m)
	})
}

// TestBrokersOfADiscardAreItsOwn: what is written into them is in no event.
func TestBrokersOfADiscardAreItsOwn(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var events []string
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			event := string(b.AppendJSON(nil))
			events = append(events, event[:strings.Index(event, `"records"`)])
			return esm.Permanent(errBilling)
		}), quiet(), esm.WithBatchSize(1), esm.WithDestination(esm.DestinationFunc(func(_ context.Context, d *esm.Discard) error { clear(d.Brokers); return nil })))
		k.ProduceTo("orders", 0, "a", "b")
		time.Sleep(time.Minute)
		if len(events) != 2 || events[0] != events[1] {
			t.Error(events)
		}
		stop(t, m)
	})
}

// TestNoProblemOfTheFunction where it is another's: a destination that is down,
// and a pause.
func TestNoProblemOfTheFunction(t *testing.T) {
	noProblem := func(t *testing.T) esm.Option {
		return esm.WithHooks(esm.Hooks{ProblemRaised: func(i esm.Problem) {
			if i.With == "function" {
				t.Errorf("%v", i.Err)
			}
		}})
	}
	t.Run("destination", func(t *testing.T) {
		virtual(t, func(t *testing.T) {
			k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
			m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(context.Context, *esm.Batch) error { return esm.Permanent(errBilling) }),
				quiet(), noProblem(t), esm.WithDestination(esm.DestinationFunc(func(context.Context, *esm.Discard) error { return errors.New("down") })))
			k.ProduceTo("orders", 0, "a")
			time.Sleep(time.Hour)
			if p := m.State().Problems; len(p) != 1 || p[0].With != "destination" {
				t.Errorf("%v", p)
			}
			stop(t, m)
		})
	})
	t.Run("pause", func(t *testing.T) {
		virtual(t, func(t *testing.T) {
			k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
			var well atomic.Bool
			m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(context.Context, *esm.Batch) error {
				if well.Load() {
					time.Sleep(3 * time.Second)
					return nil
				}
				return errBilling
			}), quiet(), noProblem(t), esm.WithBackoff(esm.Constant(time.Second)))
			k.ProduceTo("orders", 0, "a")
			time.Sleep(2 * time.Second)
			if err := m.Pause(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			well.Store(true)
			if err := m.Resume(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			stop(t, m)
		})
	})
}

// TestManyDeliveriesAreNoSlowCall: each is a call of its own, although one
// goroutine makes all of a partition.
func TestManyDeliveriesAreNoSlowCall(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		fill(k, "orders", 1, 3000)
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(context.Context, *esm.Batch) error { return esm.Permanent(errBilling) }),
			quiet(), esm.WithBatchSize(3000), esm.WithDestination(esm.DestinationFunc(func(context.Context, *esm.Discard) error {
				time.Sleep(time.Second)
				return nil
			})), esm.WithHooks(esm.Hooks{InvokeStuck: func(i esm.Invocation) { t.Errorf("told as slow: %+v", i) }}))
		time.Sleep(40 * time.Minute)
		if err := m.Healthy(); err != nil {
			t.Error(err)
		}
		if s := m.Stats(); s.OnFailureDestinationDeliveredEventCount < 2000 || s.SlowSlots != 0 {
			t.Errorf("%d delivered, %d slow", s.OnFailureDestinationDeliveredEventCount, s.SlowSlots)
		}
		stop(t, m)
	})
}
