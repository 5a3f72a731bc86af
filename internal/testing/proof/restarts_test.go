package proof_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// held is what a process has that must not grow.
type held struct {
	goroutines, descriptors int
	heap                    uint64
}

// holds says what it is when all that was stopped is gone.
func holds() held {
	runtime.GC()
	runtime.GC() // what finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h := held{goroutines: runtime.NumGoroutine(), heap: m.HeapAlloc}
	if all, err := os.ReadDir("/proc/self/fd"); err == nil { // elsewhere it is not known
		h.descriptors = len(all)
	}
	return h
}

// TestStartsAndStopsLeaveNothing: 500 Mappings begin and end one after the
// other, in each way there is, and neither goroutines nor descriptors nor memory
// are left of them.
func TestStartsAndStopsLeaveNothing(t *testing.T) {
	if testing.Short() || raceEnabled || virtualTime {
		t.Skip("takes a minute of real time: it runs without -race and without the tag")
	}
	address := aBroker(t)
	producer, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic("orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if _, err := kadm.NewClient(producer).CreateTopic(t.Context(), 3, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	source := esm.Source{Brokers: []string{address}, Topics: []string{"orders"}, Group: "billing"}
	nobody := source
	nobody.Brokers = []string{"127.0.0.1:1"}
	mapping := func(source esm.Source, f esm.InvokerFunc, opts ...esm.Option) *esm.Mapping {
		m, err := esm.New(source, f, append([]esm.Option{quiet(), esm.WithBatchWindow(0), esm.WithStopTimeout(100 * time.Millisecond)}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	// called starts a Mapping, and returns when its function was called.
	called := func(f esm.InvokerFunc, begin func(m *esm.Mapping)) *esm.Mapping {
		is := make(chan struct{}, 1000)
		m := mapping(source, func(ctx context.Context, b *esm.Batch) error {
			is <- struct{}{}
			return f(ctx, b)
		})
		begin(m)
		if err := producer.ProduceSync(t.Context(), kgo.StringRecord("a")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		<-is
		return m
	}
	start := func(m *esm.Mapping) {
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fine := func(context.Context, *esm.Batch) error { return nil }
	ways := []func(){
		func() { // as it should be
			if err := called(fine, start).Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		func() { // without time to stop
			m := called(fine, start)
			_ = m.Stop(ended)
			<-m.Done()
		},
		func() { // with a call that goes on until its context ends
			m := called(func(ctx context.Context, _ *esm.Batch) error { <-ctx.Done(); return ctx.Err() }, start)
			_ = m.Stop(t.Context())
			<-m.Done()
		},
		func() { // with a failure that waits to be tried again
			_ = called(func(context.Context, *esm.Batch) error { return errors.New("no") }, start).Stop(t.Context())
		},
		func() { // by the context of Run
			ctx, cancel := context.WithCancel(t.Context())
			over := make(chan error, 1)
			called(fine, func(m *esm.Mapping) { go func() { over <- m.Run(ctx) }() })
			cancel()
			if err := <-over; err != nil {
				t.Fatal(err)
			}
		},
		func() { // never started
			if err := mapping(source, fine).Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		func() { // forgotten
			mapping(source, fine)
		},
		func() { // started too late
			if err := mapping(source, fine).Start(ended); err == nil {
				t.Fatal("it started")
			}
		},
		func() { // without a broker
			if err := mapping(nobody, fine, esm.WithStartTimeout(100*time.Millisecond)).Start(t.Context()); err == nil {
				t.Fatal("it started")
			}
		},
		func() { // stopped while it starts
			m := mapping(source, fine)
			over := make(chan struct{})
			go func() {
				defer close(over)
				_ = m.Start(t.Context())
			}()
			_ = m.Stop(t.Context())
			<-over
			<-m.Done()
		},
	}
	const warm = 50
	var before held
	for i := range 500 {
		if i == warm {
			before = holds()
		}
		ways[i%len(ways)]()
	}
	after := holds()
	for limit := time.Now().Add(20 * time.Second); after.goroutines > before.goroutines && time.Now().Before(limit); after = holds() {
		<-time.After(100 * time.Millisecond) // the client's last goroutines end by themselves
	}
	t.Logf("before %+v, after %+v", before, after)
	if after.goroutines > before.goroutines {
		var all strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
		t.Errorf("%d goroutines, and %d before:\n%s", after.goroutines, before.goroutines, all.String())
	}
	if after.descriptors > before.descriptors {
		t.Errorf("%d descriptors, and %d before", after.descriptors, before.descriptors)
	}
	if after.heap > before.heap+1<<20 {
		t.Errorf("%d KiB of live heap, and %d before", after.heap>>10, before.heap>>10)
	}
}
