//go:build synctests

package esmtest_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// inAStorm returns how a test of a function fails, and what the storm reports.
func inAStorm(t *testing.T, records []*kgo.Record, f esm.InvokerFunc, opts ...esm.Option) (failures []string, report *esmtest.StormReport) {
	t.Helper()
	failures = watch(t, func(t testing.TB) {
		report = esmtest.Storm(t, 3, records, func() esm.Invoker { return f }, opts...)
	})
	return failures, report
}

// once reports whether something is seen for the first time.
func once() func(v any) bool {
	var seen sync.Map
	return func(v any) bool {
		_, again := seen.LoadOrStore(v, true)
		return !again
	}
}

// first is which of many calls with the same records is the first one.
func first(b *esm.Batch) string {
	return fmt.Sprint(b.Records[0].Topic, b.Records[0].Partition, b.Records[0].Offset)
}

func TestStormBearsFunctions(t *testing.T) {
	for name, newFunction := range map[string]func() esm.InvokerFunc{
		"that panic": func() esm.InvokerFunc {
			fresh := once()
			return func(_ context.Context, b *esm.Batch) error {
				if fresh(first(b)) {
					panic("as this test wants it to")
				}
				return nil
			}
		},
		"that end their goroutine": func() esm.InvokerFunc {
			fresh := once()
			return func(_ context.Context, b *esm.Batch) error {
				if fresh(first(b)) {
					runtime.Goexit()
				}
				return nil
			}
		},
		"that wait for the end of their context": func() esm.InvokerFunc {
			fresh := once()
			return func(ctx context.Context, b *esm.Batch) error {
				if fresh(first(b)) {
					ctx, cancel := context.WithTimeout(ctx, time.Minute)
					defer cancel()
					<-ctx.Done()
					return context.Cause(ctx)
				}
				return nil
			}
		},
		"that ignore their context": func() esm.InvokerFunc {
			return func(context.Context, *esm.Batch) error {
				time.Sleep(10 * time.Second)
				return nil
			}
		},
		"that name some records, and throttle": func() esm.InvokerFunc {
			fresh := once()
			return func(_ context.Context, b *esm.Batch) error {
				if fresh(b.Group) {
					return esm.Throttled(time.Minute, nil)
				}
				var f esm.Failures
				for _, r := range b.Records {
					if fresh(string(r.Value)) {
						f.Add(r, errBilling)
					}
				}
				return f.Err()
			}
		},
		"that make a mess of their batch": func() esm.InvokerFunc {
			return func(_ context.Context, b *esm.Batch) error {
				for i := range b.Records {
					b.Records[i].Offset, b.Records[i].Value = 99, nil
					b.Records[i] = &kgo.Record{Topic: "nonsense"}
				}
				b.Records = b.Records[:0]
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failures, report := inAStorm(t, orders(12), newFunction())
				if len(failures) > 0 {
					t.Fatalf("%q", failures)
				}
				for _, r := range report.Records {
					if r.Handled == 0 {
						t.Errorf("%s", r)
					}
				}
			})
		})
	}
}

func TestStormNamesFunctions(t *testing.T) {
	for name, tt := range map[string]struct {
		f    esm.InvokerFunc
		want []string
	}{
		"that always fail":                {func(context.Context, *esm.Batch) error { return errBilling }, []string{"seed 3", "never got done with 12 of 12 records", "for 10m0s", errBilling.Error(), "and 7 more"}},
		"that fail one record":            {failing("5"), []string{"seed 3", "never got done with", "record 5 (storm/", errBilling.Error()}},
		"that always panic":               {func(context.Context, *esm.Batch) error { panic("a panic that this test wants") }, []string{"never got done", "a panic that this test wants"}},
		"that always end their goroutine": {func(context.Context, *esm.Batch) error { runtime.Goexit(); return nil }, []string{"never got done", "Goexit"}},
		"that halt":                       {func(context.Context, *esm.Batch) error { return esm.Halt(errBilling) }, []string{"seed 3", "ended by itself", errBilling.Error()}},
		"that wait for ever":              {func(ctx context.Context, _ *esm.Batch) error { <-ctx.Done(); return context.Cause(ctx) }, []string{"never got done", "goes on for"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if name != "that always fail" {
					defer esmtest.StormStandsStill(3 * time.Minute)()
				}
				began := time.Now()
				failures, _ := inAStorm(t, orders(12), tt.f)
				wantFailure(t, failures, tt.want...)
				if took := time.Since(began); took > 2*time.Hour {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// failing is a function that is never done with one value.
func failing(value string) esm.InvokerFunc {
	return func(_ context.Context, b *esm.Batch) error {
		var f esm.Failures
		for _, r := range b.Records {
			if string(r.Value) == value {
				f.Add(r, errBilling)
			}
		}
		return f.Err()
	}
}

func TestStormNamesFunctionsThatAreLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer esmtest.StormStandsStill(3 * time.Minute)()
		fresh, release := once(), make(chan struct{})
		failures, _ := inAStorm(t, orders(12), func(_ context.Context, b *esm.Batch) error {
			if fresh("call") {
				<-release
			}
			return nil
		})
		close(release)
		wantFailure(t, failures, "ignores that its context ended", "a call of process", "with record ")
	})
}

func TestStormNamesFunctionsThatWriteIntoRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures, _ := inAStorm(t, orders(12), func(_ context.Context, b *esm.Batch) error {
			b.Records[0].Value[0] = '!'
			return nil
		})
		if len(failures) == 0 || !strings.Contains(failures[0], "Bytes of records are read-only") {
			t.Errorf("%q", failures)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		failures := watch(t, func(t testing.TB) {
			esmtest.Storm(t, 3, orders(12), func() esm.Invoker {
				return esmtest.MayWrite(esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
					b.Records[0].Value[0] = '!'
					return nil
				}))
			})
		})
		if len(failures) > 0 {
			t.Errorf("%q", failures)
		}
	})
}

func TestStormOfRecordsThatAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures, report := inAStorm(t, orders(30), func(_ context.Context, b *esm.Batch) error {
			var f esm.Failures
			for _, r := range b.Records {
				if string(r.Value) == "5" {
					f.Add(r, esm.Permanent(errBilling))
				}
			}
			return f.Err()
		}, esm.WithDestination(esm.Drop))
		if len(failures) > 0 {
			t.Fatalf("%q", failures)
		}
		for i, r := range report.Records {
			if r.GivenUp != (i == 5) || (r.Handled == 0) != (i == 5) {
				t.Errorf("%d: %s", i, r)
			}
		}
	})
}

// TestStormThatDidNothingFails: a check that cannot fail proves nothing.
func TestStormThatDidNothingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := watch(t, func(t testing.TB) {
			esmtest.CalmStorm(t, 3, orders(12), func() esm.Invoker {
				return esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil })
			})
		})
		wantFailure(t, failures, "seed 3", "proved too little", "again after it was handled", "two minutes", "while another process had it")
	})
}

func TestStormOfFewRecordsAndOfMany(t *testing.T) {
	for n, seeds := range map[int]uint64{1: 3, 2: 3, 100: 1} {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%d of seed %d", n, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					records := orders(n)
					for i, r := range records {
						if r.Topic = fmt.Sprint("topic ", i%2); i%3 == 0 {
							r.Key = nil
						}
						if i%5 == 4 {
							esmtest.At(6, r)
						}
						r.Topic = strings.ReplaceAll(r.Topic, " ", "-")
					}
					report := esmtest.Storm(t, seed, records, func() esm.Invoker {
						return esm.InvokerFunc(func(context.Context, *esm.Batch) error { return nil })
					})
					for i, r := range report.Records {
						if r.Record.Topic != records[i].Topic || r.Handled == 0 || (i%5 == 4 && r.Record.Partition != 6) {
							t.Errorf("record %d: %s", i, r)
						}
						if records[i].Offset != 0 || !records[i].Timestamp.IsZero() {
							t.Errorf("it wrote into record %d of the test", i)
						}
					}
				})
			})
		}
	}
}

func TestStormThatIsCalledWrong(t *testing.T) {
	never := func() esm.Invoker {
		t.Error("it went on")
		return nil
	}
	wantFailure(t, watch(t, func(t testing.TB) { esmtest.Storm(t, 1, orders(3), never) }), "outside of a testing/synctest bubble")
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			storm func(t testing.TB)
			want  string
		}{
			{func(t testing.TB) { esmtest.Storm(t, 1, nil, never) }, "no records"},
			{func(t testing.TB) { esmtest.Storm(t, 1, []*kgo.Record{nil}, never) }, "record 0 as nil"},
			{func(t testing.TB) { esmtest.Storm(t, 1, orders(3), nil) }, "no function that makes Invokers"},
			{func(t testing.TB) { esmtest.Storm(t, 1, orders(3), func() esm.Invoker { return nil }) }, "returned nil"},
			{func(t testing.TB) { esmtest.Storm(t, 1, orders(3), func() esm.Invoker { return esm.InvokerFunc(nil) }) }, "returned nil"},
			{func(t testing.TB) { esmtest.Storm(t, 1, []*kgo.Record{esmtest.At(-1, &kgo.Record{})}, never) }, "partition -1"},
			{func(t testing.TB) {
				esmtest.Storm(t, 1, orders(3), func() esm.Invoker { return failing("") }, esm.WithBatchSize(-1))
			}, "WithBatchSize"},
		} {
			wantFailure(t, watch(t, tt.storm), tt.want)
		}
	})
}

func TestOneSeedIsOnePlan(t *testing.T) {
	plans := map[string]uint64{}
	for seed := range uint64(200) {
		plan := esmtest.Forecast(seed, orders(20))
		if other, known := plans[plan]; known {
			t.Errorf("seeds %d and %d are one plan", seed, other)
		}
		if again := esmtest.Forecast(seed, orders(20)); again != plan {
			t.Errorf("seed %d:\n%s\nand then\n%s", seed, plan, again)
		}
		for _, part := range []string{fmt.Sprintf("seed %d:", seed), "process dies", "all processes die", "at the same time"} {
			if !strings.Contains(plan, part) {
				t.Errorf("a plan without %q: %s", part, plan)
			}
		}
		plans[plan] = seed
	}
}
