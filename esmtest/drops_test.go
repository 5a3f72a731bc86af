package esmtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// filtered makes a newInvoker of a filter that is written well, and then changed:
// edit gets what is kept of a batch, and answer what comes of that.
func filtered(drop func(r *kgo.Record) bool, edit func(rs []*kgo.Record) []*kgo.Record, answer func(b *esm.Batch, kept []*kgo.Record, err error) error) newInvoker {
	return wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
		return func(ctx context.Context, b *esm.Batch) error {
			kept := slices.DeleteFunc(slices.Clone(b.Records), drop)
			if edit != nil {
				kept = edit(kept)
			}
			var err error
			if len(kept) > 0 {
				err = target(ctx, b.With(kept))
			}
			if answer != nil {
				err = answer(b, kept, err)
			}
			return err
		}
	})
}

func odd(r *kgo.Record) bool       { return r.Offset%2 == 1 }
func tombstone(r *kgo.Record) bool { return r.Value == nil }

// deduped makes a newInvoker that sends no record twice, by what its key is. mark
// says of which records of a call it takes note, when that is over, and before
// of which when it begins.
func deduped(key func(r *kgo.Record) string, before bool, mark func(ctx context.Context, b *esm.Batch, err error) []*kgo.Record) newInvoker {
	return wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
		var mu sync.Mutex
		seen := map[string]bool{}
		note := func(rs []*kgo.Record) {
			mu.Lock()
			defer mu.Unlock()
			for _, r := range rs {
				seen[key(r)] = true
			}
		}
		return func(ctx context.Context, b *esm.Batch) error {
			mu.Lock()
			fresh := slices.DeleteFunc(slices.Clone(b.Records), func(r *kgo.Record) bool { return seen[key(r)] })
			mu.Unlock()
			if len(fresh) == 0 {
				return nil
			}
			sent := b.With(fresh)
			if before {
				note(fresh)
			}
			err := target(ctx, sent)
			note(mark(ctx, sent, err))
			return err
		}
	})
}

func byPlace(r *kgo.Record) string { return fmt.Sprint(r.Topic, r.Partition, r.Offset) }
func byKey(r *kgo.Record) string   { return string(r.Key) + fmt.Sprint(r.Topic, r.Partition) }

func none(context.Context, *esm.Batch, error) []*kgo.Record { return nil }

// TestInvokersThatDropConform, if they say so, and not if they do not.
func TestInvokersThatDropConform(t *testing.T) {
	for _, tt := range []struct {
		name  string
		make  newInvoker
		fails []string // without the exemption
	}{
		{"a filter", filtered(odd, nil, nil), slices.Concat(lacking(arriving, single), []string{throttle, halt, partial})},
		{"the filter of the example", newWithout, slices.Concat(lacking(arriving, single, contents), []string{throttle, halt, partial})},
		{"a filter that drops little", filtered(tombstone, nil, nil), []string{contents}},
		{"a dedupe", deduped(byPlace, false, esm.SettledOf), nil},
		{"a dedupe by key", deduped(byKey, false, esm.SettledOf), []string{success, ownRecords, info}},
		{"nothing is dropped", filtered(func(*kgo.Record) bool { return false }, nil, nil), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			esmtest.TestInvoker(t, tt.make, esmtest.Drops)
			if tt.fails != nil {
				wantFailing(t, tt.fails, "An Invoker that drops records on purpose, such as a filter, is tested with esmtest.Drops", esmtest.Checks(tt.make))
			}
		})
	}
}

// The names of the checks of those that drop.
const (
	through    = "some records of a batch get through"
	settled    = "what is dropped is settled"
	comesAgain = "what failed is not dropped when it comes again"
)

func TestInvokersThatDropBadlyDoNotConform(t *testing.T) {
	for _, tt := range []struct {
		name  string
		make  newInvoker
		fails []string
		says  string
	}{
		{"drops all", filtered(func(*kgo.Record) bool { return true }, nil, nil),
			slices.Concat(ends, []string{waits, through}), "TestInvoker proves nothing of an Invoker that drops"},
		{"forgets that a filter can leave nothing", filtered(odd, nil, func(_ *esm.Batch, kept []*kgo.Record, err error) error {
			if len(kept) == 0 {
				return errors.New("an empty batch")
			}
			return err
		}), []string{settled}, "returned an empty batch, but the target succeeded"},
		{"says that what it dropped failed", filtered(odd, nil, func(b *esm.Batch, _ []*kgo.Record, err error) error {
			var f esm.Failures
			for _, r := range b.Records {
				if odd(r) {
					f.Add(r, esm.Permanent(errors.New("dropped")))
				}
			}
			return errors.Join(f.Err(), err)
		}), slices.Concat(lacking(arriving, single), outcomes, ends, []string{waits, panics, ownAnswers, through, settled}), "but the target succeeded"},
		{"says so when others failed", filtered(odd, nil, func(b *esm.Batch, _ []*kgo.Record, err error) error {
			if esm.Classify(context.Background(), err) != esm.OutcomePartial {
				return err
			}
			var f esm.Failures
			f.Add(b.Records[1], errors.New("dropped"))
			return errors.Join(f.Err(), err)
		}), []string{partial}, `it makes "failure" of orders/0 offset 1, which is "dropped, and so settled"`},
		{"names a record of another batch", filtered(odd, nil, func(b *esm.Batch, _ []*kgo.Record, err error) error {
			if esm.Classify(context.Background(), err) != esm.OutcomePartial {
				return err
			}
			var f esm.Failures
			f.Add(&kgo.Record{Topic: b.Records[0].Topic, Offset: 1000}, errBilling)
			return errors.Join(f.Err(), err)
		}), []string{partial}, `of orders/0 offset 1000, which is "no record of the batch"`},
		{"takes a failure for a reason to drop", filtered(odd, nil, func(*esm.Batch, []*kgo.Record, error) error { return nil }),
			slices.Concat(outcomes, ends, []string{ownAnswers}), "returned nil: its records would count as handled"},
		{"remembers before it is done", deduped(byPlace, true, none), []string{comesAgain}, "orders/0 offset 0 failed, and was dropped when it came again: it would be lost"},
		{"remembers what failed", deduped(byPlace, false, func(_ context.Context, b *esm.Batch, _ error) []*kgo.Record { return b.Records }),
			[]string{comesAgain}, "it would be lost"},
		{"remembers records of which others failed", deduped(byPlace, false, func(ctx context.Context, b *esm.Batch, err error) []*kgo.Record {
			if esm.Classify(ctx, err) == esm.OutcomePartial {
				return b.Records
			}
			return esm.SettledOf(ctx, b, err)
		}), []string{comesAgain}, "orders/0 offset 1 failed, and was dropped"},
		{"remembers what was not tried", deduped(byPlace, false, func(ctx context.Context, b *esm.Batch, err error) (done []*kgo.Record) {
			if c := esm.Classify(ctx, err); c != esm.OutcomePartial && c != esm.OutcomeSuccess {
				return nil
			}
			failed := map[int64]bool{}
			for _, f := range esm.FailuresOf(err) {
				failed[f.Offset] = true
			}
			return slices.DeleteFunc(slices.Clone(b.Records), func(r *kgo.Record) bool { return failed[r.Offset] })
		}), []string{comesAgain}, "orders/0 offset 2 failed, and was dropped"},
		{"reverses what it keeps", filtered(odd, func(rs []*kgo.Record) []*kgo.Record { slices.Reverse(rs); return rs }, nil),
			lacking(arriving, single, ownRecords), "is not one of those that were sent, or comes twice or out of order"},
		{"sends twice what it keeps", filtered(odd, func(rs []*kgo.Record) []*kgo.Record { return append(rs, rs...) }, nil),
			arriving, "comes twice"},
		{"invents records", filtered(odd, func(rs []*kgo.Record) []*kgo.Record {
			if len(rs) == 0 {
				return nil
			}
			c := *rs[len(rs)-1]
			c.Offset += 1000
			return append(rs, &c)
		}, nil), arriving, "is not one of those that were sent"},
		{"invents a partition", filtered(odd, func(rs []*kgo.Record) []*kgo.Record {
			if len(rs) == 0 {
				return nil
			}
			c := *rs[0]
			c.Partition += 1000
			return append(rs, &c)
		}, nil), arriving, "orders/1000 offset 0"},
		{"changes what it keeps", filtered(odd, func(rs []*kgo.Record) []*kgo.Record {
			for i, r := range rs {
				c := *r
				c.Key = nil
				rs[i] = &c
			}
			return rs
		}, nil), arriving, "key nil, not"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantFailing(t, tt.fails, tt.says, esmtest.Checks(tt.make, esmtest.Drops))
		})
	}
}
