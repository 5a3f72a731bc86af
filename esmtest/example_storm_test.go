package esmtest_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// A ledger stands for the service that bills: what it does stays, whatever becomes
// of the process that asked for it.
type ledger struct {
	mu      sync.Mutex
	charged map[string]int // how often, by order
	done    map[string]bool
}

func newLedger() *ledger { return &ledger{charged: map[string]int{}, done: map[string]bool{}} }

// charge takes the money.
func (l *ledger) charge(order string) {
	time.Sleep(10 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.charged[order]++
}

// chargeOnce takes it unless the same key was there before.
func (l *ledger) chargeOnce(key, order string) {
	time.Sleep(10 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.done[key] {
		l.done[key] = true
		l.charged[order]++
	}
}

func (l *ledger) wantEachOnce(t testing.TB, orders []*kgo.Record) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range orders {
		if n := l.charged[string(r.Value)]; n != 1 {
			t.Errorf("order %s was charged %d times", r.Value, n)
		}
	}
}

// bill is a function that is right until something goes wrong: it knows the orders
// that it has charged, but its memory is that of its process.
func bill(l *ledger) esm.Invoker {
	var charged sync.Map
	return esm.Each(func(_ context.Context, r *kgo.Record) error {
		if _, again := charged.Load(string(r.Value)); again {
			return nil
		}
		l.charge(string(r.Value))
		charged.Store(string(r.Value), true)
		return nil
	})
}

// billOnce is the same function, mended: it says what it is for, and the service
// knows what is done.
func billOnce(l *ledger) esm.Invoker {
	return esm.Each(func(_ context.Context, r *kgo.Record) error {
		l.chargeOnce("order "+string(r.Value), string(r.Value))
		return nil
	})
}

func twentyOrders() []*kgo.Record {
	return esmtest.Records(20, func(n int) *kgo.Record { return &kgo.Record{Value: []byte(strconv.Itoa(n))} })
}

// billingInAStorm is a whole test. It fails with bill, and passes with billOnce.
func billingInAStorm(t testing.TB, function func(l *ledger) esm.Invoker) {
	orders, ledger := twentyOrders(), newLedger()
	esmtest.Storm(t, 1, orders, func() esm.Invoker { return function(ledger) })
	ledger.wantEachOnce(t, orders)
}

// A function that knows what it has billed only as long as its process lives fails
// with, among others,
//
//	order 8 was charged 3 times
//
// and the output has the plan of the storm and what happened. The other one, which
// leaves that to the service, passes. Run it with
//
//	go test -tags synctests
func ExampleStorm() {
	var t *testing.T                                                       // of func TestBillingInAStorm(t *testing.T)
	for _, function := range []func(*ledger) esm.Invoker{bill, billOnce} { // the first one is caught
		synctest.Test(t, func(t *testing.T) { billingInAStorm(t, function) })
	}
}
