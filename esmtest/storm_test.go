//go:build synctests

package esmtest_test

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

func orders(n int) []*kgo.Record {
	return esmtest.Records(n, func(n int) *kgo.Record {
		return &kgo.Record{Key: []byte(strconv.Itoa(n % 7)), Value: []byte(strconv.Itoa(n))}
	})
}

// A till counts how often each order was billed.
type till struct {
	mu     sync.Mutex
	billed map[string]int
}

func (l *till) bill(order string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.billed[order]++
}

func (l *till) once(order string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.billed[order] = 1
}

func (l *till) has(order string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.billed[order] > 0
}

// wrong reports whether any of so many orders was not billed once.
func (l *till) wrong(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		if l.billed[strconv.Itoa(i)] != 1 {
			return true
		}
	}
	return false
}

// TestStormTellsFunctionsApart has functions that go wrong in the ways that there are,
// and one that does not, in the same storms.
func TestStormTellsFunctionsApart(t *testing.T) {
	seeds := uint64(50)
	switch {
	case testing.Short():
		seeds = 5
	case build.Race:
		seeds = 10
	}
	const n = 15
	caught := map[string]int{}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plain, own, looks, right := &till{billed: map[string]int{}}, &till{billed: map[string]int{}}, &till{billed: map[string]int{}}, &till{billed: map[string]int{}}
				var mu sync.Mutex
				last := map[string]string{}
				esmtest.Storm(t, seed, orders(n), func() esm.Invoker {
					var seen sync.Map
					return esm.Each(func(_ context.Context, r *kgo.Record) error {
						order := string(r.Value)
						plain.bill(order)
						if _, again := seen.LoadOrStore(order, true); !again {
							own.bill(order)
						}
						if !looks.has(order) {
							time.Sleep(time.Millisecond)
							looks.bill(order)
						}
						right.once(order)
						mu.Lock()
						defer mu.Unlock()
						last[string(r.Key)] = order
						return nil
					})
				})
				if right.wrong(n) {
					t.Error("the right one is wrong")
				}
				for name, l := range map[string]*till{"bills each time": plain, "knows its own": own, "looks first": looks} {
					if l.wrong(n) {
						caught[name]++
					}
				}
				for k, v := range last {
					if i, _ := strconv.Atoi(v); strconv.Itoa(i%7) != k || i+7 < n {
						caught["writes what is old"]++
						break
					}
				}
			})
		})
	}
	t.Log(caught)
	for name, least := range map[string]uint64{"bills each time": seeds, "knows its own": seeds, "looks first": seeds * 6 / 10, "writes what is old": seeds / 25} {
		if uint64(caught[name]) < least {
			t.Errorf("a function that %s is caught by %d of %d seeds", name, caught[name], seeds)
		}
	}
}

// TestBillingInAStorm runs the Example: the one function is caught, with words such as
// the Example has, and the mended one passes.
func TestBillingInAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { billingInAStorm(t, billOnce) })
	synctest.Test(t, func(t *testing.T) {
		failures := watch(t, func(t testing.TB) { billingInAStorm(t, bill) })
		if len(failures) < 5 {
			t.Errorf("%q", failures)
		}
		said := regexp.MustCompile(`^order \d+ was charged [2-9] times$`)
		for _, f := range failures {
			if !said.MatchString(f) {
				t.Errorf("it fails with %q", f)
			}
		}
	})
}
