package esmtest_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// newInvoker is what TestInvoker takes.
type newInvoker = func(t testing.TB, target esm.InvokerFunc) esm.Invoker

// wrapped makes a newInvoker of a wrapper.
func wrapped(wrap func(target esm.InvokerFunc) esm.InvokerFunc) newInvoker {
	return func(_ testing.TB, target esm.InvokerFunc) esm.Invoker { return wrap(target) }
}

// rebatched makes a newInvoker that passes on a changed copy of the records.
func rebatched(change func(rs []*kgo.Record) []*kgo.Record) newInvoker {
	return wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
		return func(ctx context.Context, b *esm.Batch) error {
			return target(ctx, b.With(change(slices.Clone(b.Records))))
		}
	})
}

// rewritten makes a newInvoker that passes on changed copies of the records.
func rewritten(change func(r *kgo.Record)) newInvoker {
	return rebatched(func(rs []*kgo.Record) []*kgo.Record {
		for i, r := range rs {
			c := *r
			c.Headers = slices.Clone(r.Headers)
			change(&c)
			rs[i] = &c
		}
		return rs
	})
}

// answered makes a newInvoker that changes what the target answered.
func answered(change func(ctx context.Context, err error) error) newInvoker {
	return wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
		return func(ctx context.Context, b *esm.Batch) error { return change(ctx, target(ctx, b)) }
	})
}

func TestInvokerFuncConforms(t *testing.T) {
	esmtest.TestInvoker(t, func(_ testing.TB, target esm.InvokerFunc) esm.Invoker { return target })
}

func TestScriptedInvokerConforms(t *testing.T) {
	esmtest.TestInvoker(t, func(t testing.TB, target esm.InvokerFunc) esm.Invoker {
		return esmtest.NewInvoker(t).Always(target)
	})
}

func TestWrapperConforms(t *testing.T) {
	esmtest.TestInvoker(t, func(_ testing.TB, target esm.InvokerFunc) esm.Invoker {
		return timed{next: target, tell: func(time.Duration) {}}
	})
}

func TestOneCallAtATimeConforms(t *testing.T) {
	esmtest.TestInvoker(t, wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
		turn := make(chan struct{}, 1)
		return func(ctx context.Context, b *esm.Batch) error {
			turn <- struct{}{}
			defer func() { <-turn }()
			return target(ctx, b)
		}
	}))
}

func TestSplitterConforms(t *testing.T) {
	// It calls the target with each partition, all at once, in several parts.
	esmtest.TestInvoker(t, wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
		return func(ctx context.Context, b *esm.Batch) error {
			var errs []error
			var mu sync.Mutex
			var all sync.WaitGroup
			for _, records := range b.ByPartition() {
				all.Go(func() {
					defer func() {
						if v := recover(); v != nil {
							mu.Lock()
							defer mu.Unlock()
							errs = append(errs, fmt.Errorf("panic: %v", v))
						}
					}()
					for part := range slices.Chunk(records, 100) {
						if err := target(ctx, b.With(part)); err != nil {
							mu.Lock()
							defer mu.Unlock()
							errs = append(errs, err)
							if &part[len(part)-1] != &records[len(records)-1] {
								// Nothing else says that these come again.
								errs = append(errs, errors.New("the rest of the partition was not tried"))
							}
							return
						}
					}
				})
			}
			all.Wait()
			return errors.Join(errs...)
		}
	}))
}

func TestRetrierConforms(t *testing.T) {
	esmtest.TestInvoker(t, wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
		return func(ctx context.Context, b *esm.Batch) (err error) {
			for range 3 {
				if err = target(ctx, b); err == nil {
					return nil
				}
			}
			return err
		}
	}))
}

// TestForwarderConforms: a client that produces a record writes into it where it
// stands then, and that is no mistake.
func TestForwarderConforms(t *testing.T) {
	esmtest.TestInvoker(t, wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
		return func(ctx context.Context, b *esm.Batch) error {
			err := target(ctx, b)
			for _, r := range b.Records {
				r.Topic, r.Partition, r.Offset, r.LeaderEpoch, r.Timestamp, r.Context = "forwarded", 7, 1000+r.Offset, 9, time.Now(), ctx
			}
			return err
		}
	}))
}

func TestInvokerThatMayWriteConforms(t *testing.T) {
	esmtest.TestInvoker(t, func(_ testing.TB, target esm.InvokerFunc) esm.Invoker {
		return esmtest.MayWrite(esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
			err := target(ctx, b)
			for _, r := range b.Records {
				for i := range r.Value {
					r.Value[i] = 'x'
				}
			}
			return err
		}))
	})
}

// The names of the checks.
const (
	success     = "a success of the target is nil"
	failure     = "a failure of the target is a plain failure"
	throttle    = "a throttle of the target is a throttle"
	halt        = "a halt of the target is a halt"
	permanent   = "a permanent failure of the target is a permanent failure"
	tooLarge    = "a batch that is too large for the target is too large"
	partial     = "a failure of some records is a failure of some records"
	waits       = "a call does not return before the target does"
	cancelled   = "a call that is cancelled returns an error soon"
	timedOut    = "a call whose deadline passes returns an error soon"
	endedBefore = "a call with a context that has ended returns an error soon"
	panics      = "a panic of the target is no success and the next call works"
	ownRecords  = "calls at once get their own records"
	ownAnswers  = "calls at once get their own answers"
	unchanged   = "the batch is not changed"
	unused      = "the batch is not used after the call"
	info        = "attempt and id and mapping of the batch arrive"
	single      = "a single record arrives"
	contents    = "nil and empty keys and values arrive as they are"
	headers     = "headers arrive in order"
	times       = "offsets and timestamps arrive"
	mixed       = "several topics and partitions arrive each in order"
	many        = "ten thousand records arrive"
	large       = "records of 1 MiB arrive"
)

// arriving are the checks that compare what arrives with what was sent, each
// with a batch of more than one record except single.
var arriving = []string{success, ownRecords, unused, info, single, contents, headers, times, mixed, many, large}

// outcomes are the checks of what becomes of the errors of a target, without
// those of many at once.
var outcomes = []string{failure, throttle, halt, permanent, tooLarge, partial}

// ends are the checks of a call whose context ends.
var ends = []string{cancelled, timedOut, endedBefore}

func lacking(names []string, drop ...string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(drop, n) })
}

// wantFailing runs checks and fails unless exactly these of them fail, the
// first with these words.
func wantFailing(t *testing.T, fails []string, says string, checks []esmtest.Check) {
	t.Helper()
	var failed []string
	said := ""
	for _, c := range checks {
		if failures := watch(t, c.Run); len(failures) > 0 {
			failed = append(failed, c.Name)
			said += c.Name + ": " + strings.Join(failures, "\n") + "\n"
		}
	}
	fails = slices.Clone(fails)
	slices.Sort(fails)
	slices.Sort(failed)
	if !slices.Equal(fails, failed) {
		t.Errorf("these checks failed:\n  %s\nnot these:\n  %s\n%.3000s", strings.Join(failed, "\n  "), strings.Join(fails, "\n  "), said)
	}
	if !strings.Contains(said, says) {
		t.Errorf("no failure says %q:\n%.3000s", says, said)
	}
}

func TestInvokerThatDoesNotWaitDoesNotConform(t *testing.T) {
	checks := esmtest.Checks(wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
		return func(ctx context.Context, b *esm.Batch) error {
			b = b.With(slices.Clone(b.Records))
			go func() {
				defer func() { _ = recover() }()
				_ = target(ctx, b)
			}()
			return nil
		}
	}))
	// Whether records arrive in time is chance, so only these are sure.
	for _, c := range checks {
		if !slices.Contains(slices.Concat(outcomes, ends, []string{waits, panics, ownAnswers}), c.Name) {
			continue
		}
		if failures := watch(t, c.Run); len(failures) == 0 {
			t.Errorf("%s: it passed", c.Name)
		} else if c.Name == waits {
			wantFailure(t, failures, "Invoke returned <nil>")
		}
	}
}

func TestBadInvokersDoNotConform(t *testing.T) {
	inParallel := func(b *esm.Batch) bool { return strings.HasPrefix(b.ID, "conformance-own") }
	for _, tt := range []struct {
		name  string
		make  newInvoker
		fails []string
		says  string
	}{
		{"swallows what a cancelled context says", answered(func(ctx context.Context, err error) error {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}), ends, "returned nil for a call that was cut short"},
		{"swallows errors of calls at once", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				if err := target(ctx, b); !inParallel(b) {
					return err
				}
				return nil
			}
		}), []string{ownAnswers}, "returned nil"},
		{"ignores its context", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error { return target(context.WithoutCancel(ctx), b) }
		}), ends, "did not return within 500ms after its context ended"},
		{"ignores its context if it has ended before", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				if ctx.Err() != nil {
					ctx = context.WithoutCancel(ctx)
				}
				return target(ctx, b)
			}
		}), []string{endedBefore}, "did not return"},
		{"is broken by a panic", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			turn := make(chan struct{}, 1)
			return func(ctx context.Context, b *esm.Batch) error {
				turn <- struct{}{}
				err := target(ctx, b)
				<-turn
				return err
			}
		}), []string{panics}, "did not return within 2s"},
		{"succeeds when the target panics", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) (err error) {
				defer func() { _ = recover() }()
				return target(ctx, b)
			}
		}), []string{panics}, "a target that panicked returned nil"},
		{"is broken by a call that is cut short", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			var broken atomic.Bool
			return func(ctx context.Context, b *esm.Batch) error {
				if broken.Load() {
					return errBilling
				}
				err := target(ctx, b)
				broken.Store(ctx.Err() != nil)
				return err
			}
		}), ends, "returned billing is down"},
		{"gives all calls at once the answer of one", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			var first sync.Once
			var answer error
			return func(ctx context.Context, b *esm.Batch) error {
				if !inParallel(b) {
					return target(ctx, b)
				}
				err := target(ctx, b)
				first.Do(func() { answer = err })
				return answer
			}
		}), []string{ownAnswers}, " of 50 at once: Invoke"},
		{"gives calls at once the records of one", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			var last atomic.Pointer[esm.Batch]
			return func(ctx context.Context, b *esm.Batch) error {
				if !inParallel(b) {
					return target(ctx, b)
				}
				last.CompareAndSwap(nil, b)
				return target(ctx, last.Load())
			}
		}), []string{ownRecords, ownAnswers}, "the target got 0 records of orders/"},
		{"mixes the ids of calls at once", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			var last atomic.Pointer[string]
			return func(ctx context.Context, b *esm.Batch) error {
				last.CompareAndSwap(nil, &b.ID)
				return target(ctx, &esm.Batch{Records: b.Records, Attempt: b.Attempt, ID: *last.Load(), Mapping: b.Mapping})
			}
		}), []string{success, ownRecords, info, unused}, `with the records of attempt 1, id "conformance-own-`},
		{"loses the attempt and the id", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error { return target(ctx, &esm.Batch{Records: b.Records}) }
		}), []string{info}, "esmtest.NoBatchInfo"},
		{"loses the group", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				return target(ctx, &esm.Batch{Records: b.Records, Attempt: b.Attempt, ID: b.ID, Mapping: b.Mapping})
			}
		}), []string{info}, `mapping "conformance", group "". A wrapper passes them on with Batch.With`},
		{"takes the mapping for the group", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				c := b.With(b.Records)
				c.Group = b.Mapping
				return target(ctx, c)
			}
		}), arriving, `group "conformance" with the records of`},
		{"sends records of two batches", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			var kept []*kgo.Record
			return func(ctx context.Context, b *esm.Batch) error {
				switch {
				case b.ID == "conformance-plain-0" && kept == nil:
					kept = slices.Clone(b.Records)
					return nil
				case b.ID == "conformance-plain-1" && len(kept) > 0:
					b = b.With(append(kept, b.Records...))
					kept = kept[:0]
				}
				return target(ctx, b)
			}
		}), slices.Concat(outcomes, ends, []string{success, waits, panics, unused, info}), "the target got 0 records of orders/0, not 3"},
		{"drops the last record", rebatched(func(rs []*kgo.Record) []*kgo.Record { return rs[:max(1, len(rs)-1)] }),
			append(lacking(arriving, single), partial), "the target got 2 records of orders/0, not 3"},
		{"drops tombstones", rebatched(func(rs []*kgo.Record) []*kgo.Record {
			return slices.DeleteFunc(rs, func(r *kgo.Record) bool { return r.Value == nil })
		}), []string{contents}, "the target got 12 records of orders/0, not 16"},
		{"sends records twice", rebatched(func(rs []*kgo.Record) []*kgo.Record { return append(rs, rs...) }),
			arriving, "the target got 6 records of orders/0, not 3"},
		{"sends the batch twice", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				if err := target(ctx, b); err != nil {
					return err
				}
				return target(ctx, b)
			}
		}), arriving, "the target got 6 records of orders/0, not 3"},
		{"sends an empty batch too", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				if strings.HasPrefix(b.ID, "conformance-arrives") {
					_ = target(ctx, b.With(nil))
				}
				return target(ctx, b)
			}
		}), []string{single, contents, headers, times, mixed, many, large}, "a batch without records"},
		{"reverses records", rebatched(func(rs []*kgo.Record) []*kgo.Record { slices.Reverse(rs); return rs }),
			lacking(arriving, single), "record 0 of orders/0: offset 2, not 0"},
		{"interleaves partitions", rebatched(func(rs []*kgo.Record) []*kgo.Record {
			slices.SortStableFunc(rs, func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
			return rs
		}), []string{mixed, many}, "do not stand together"},
		{"knows one topic", rewritten(func(r *kgo.Record) { r.Topic = "orders" }), []string{partial, mixed}, "the target got 0 records of"},
		{"loses the partition", rewritten(func(r *kgo.Record) { r.Partition = 0 }), []string{partial, ownRecords, ownAnswers, mixed, many}, "the target got 0 records of orders/1, not"},
		{"cuts off offsets", rewritten(func(r *kgo.Record) { r.Offset = int64(int32(r.Offset)) }), []string{times}, "offset 705032704, not 5000000000"},
		{"sends seconds", rewritten(func(r *kgo.Record) { r.Timestamp = r.Timestamp.Truncate(time.Second) }), lacking(arriving, single), "timestamp 1699999999000, not 1699999999999"},
		{"makes empty of nil", rewritten(func(r *kgo.Record) { r.Value = append([]byte{}, r.Value...) }), []string{contents}, `value "", not nil`},
		{"makes nil of empty", rewritten(func(r *kgo.Record) { r.Key = append([]byte(nil), r.Key...) }), []string{contents}, `key nil, not ""`},
		{"makes text of bytes", rewritten(func(r *kgo.Record) {
			if r.Value != nil {
				r.Value = bytes.ToValidUTF8(r.Value, []byte("?"))
			}
		}), []string{contents, large}, "bytes), not"},
		{"loses headers", rewritten(func(r *kgo.Record) { r.Headers = nil }), arriving, `headers [], not [trace="0-0"]`},
		{"keeps one header of a name", rewritten(func(r *kgo.Record) {
			seen := map[string]bool{}
			r.Headers = slices.DeleteFunc(r.Headers, func(h kgo.RecordHeader) bool {
				defer func() { seen[h.Key] = true }()
				return seen[h.Key]
			})
		}), []string{headers}, `not [b="2" a="1" b="3" B="4"]`},
		{"sorts headers", rewritten(func(r *kgo.Record) {
			slices.SortFunc(r.Headers, func(a, b kgo.RecordHeader) int { return cmp.Compare(a.Key, b.Key) })
		}), []string{headers}, "headers"},
		{"refuses large records", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				if len(b.Records[0].Value) > 1<<19 {
					return errBilling
				}
				return target(ctx, b)
			}
		}), []string{large}, "billing is down"},
		{"refuses large batches", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				if len(b.Records) > 1000 {
					return errBilling
				}
				return target(ctx, b)
			}
		}), []string{many}, "billing is down"},
		{"sorts the batch in place", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				slices.SortFunc(b.Records, func(x, y *kgo.Record) int {
					return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Offset, y.Offset))
				})
				return target(ctx, b)
			}
		}), []string{unchanged}, "changed the slice of the records"},
		{"changes records", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				err := target(ctx, b)
				if b.ID == "conformance-mixed" {
					copy(b.Records[3].Value, "VALUE")
				}
				return err
			}
		}), []string{unchanged}, "the value of users/1 offset 102 changed in place while Invoke had it. Bytes of records are read-only"},
		{"adds headers to records", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				err := target(ctx, b)
				if b.ID == "conformance-mixed" {
					b.Records[0].Headers = append(b.Records[0].Headers, kgo.RecordHeader{Key: "seen"})
				}
				return err
			}
		}), []string{unchanged}, "Invoke replaced the headers of users/1 offset 99"},
		{"changes records before the call", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				for _, r := range b.Records {
					r.Headers = nil
				}
				return target(ctx, b)
			}
		}), append([]string{unchanged}, arriving...), "headers [], not [trace="},
		{"changes the batch", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				err := target(ctx, b)
				b.ID = ""
				return err
			}
		}), []string{unchanged}, "changed the Attempt, ID, Mapping or Group"},
		{"keeps the batch", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			// It sends again what failed before, from the slice that is the
			// caller's.
			var failed *esm.Batch
			return func(ctx context.Context, b *esm.Batch) error {
				if b.ID != "conformance-mixed" && b.ID != "conformance-plain-0" {
					return target(ctx, b)
				}
				if failed != nil {
					_ = target(ctx, failed)
					failed = nil
				}
				err := target(ctx, b)
				if err != nil && b.ID == "conformance-mixed" {
					failed = b
				}
				return err
			}
		}), []string{unused}, "records of stranger/0, not 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantFailing(t, tt.fails, tt.says, esmtest.Checks(tt.make))
		})
	}
}
