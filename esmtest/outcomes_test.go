package esmtest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// misread makes a newInvoker that returns another error for one outcome of the
// target.
func misread(outcome esm.Outcome, as func(err error) error) newInvoker {
	return answered(func(_ context.Context, err error) error {
		if esm.Classify(context.Background(), err) == outcome {
			return as(err)
		}
		return err
	})
}

func plainly(err error) error { return errors.New(err.Error()) }

// retold makes a newInvoker that changes what is said of each record.
func retold(change func(f *esm.RecordFailure) (keep bool)) newInvoker {
	return misread(esm.OutcomePartial, func(err error) error {
		var failures esm.Failures
		for _, f := range esm.FailuresOf(err) {
			if !change(&f) {
				continue
			}
			r := &kgo.Record{Topic: f.Topic, Partition: f.Partition, Offset: f.Offset}
			if f.Stopped {
				failures.StopAt(r, f.Err)
			} else {
				failures.Add(r, f.Err)
			}
		}
		return failures.Err()
	})
}

func nothing(error) error { return nil }

// every is every exemption.
var every = []esmtest.Exemption{
	esmtest.NoThrottle, esmtest.NoHalt, esmtest.NoBatchInfo,
	esmtest.NoPermanent, esmtest.NoTooLarge, esmtest.NoFailures, esmtest.NoStopAt, esmtest.Drops,
}

// tried is an invoker that says of records which were not tried that they
// failed.
func tried(target esm.InvokerFunc) esm.InvokerFunc {
	return func(ctx context.Context, b *esm.Batch) error {
		err := target(ctx, b)
		if esm.Classify(ctx, err) != esm.OutcomePartial {
			return err
		}
		var failures esm.Failures
		for _, f := range esm.FailuresOf(err) {
			for _, r := range b.Records {
				if r.Topic == f.Topic && r.Partition == f.Partition && (r.Offset == f.Offset || f.Stopped && r.Offset > f.Offset) {
					failures.Add(r, f.Err)
				}
			}
		}
		return failures.Err()
	}
}

func TestExemptInvokersConform(t *testing.T) {
	for _, tt := range []struct {
		name   string
		make   newInvoker
		exempt []esmtest.Exemption
	}{
		{"plain errors", answered(func(_ context.Context, err error) error {
			if err != nil {
				return plainly(err)
			}
			return nil
		}), slices.DeleteFunc(slices.Clone(every), func(e esmtest.Exemption) bool { return e == esmtest.NoBatchInfo })},
		{"no throttle", misread(esm.OutcomeThrottled, plainly), []esmtest.Exemption{esmtest.NoThrottle}},
		{"no halt", misread(esm.OutcomeHalt, plainly), []esmtest.Exemption{esmtest.NoHalt}},
		{"a throttle for a halt", misread(esm.OutcomeHalt, func(err error) error {
			return esm.Throttled(time.Minute, plainly(err))
		}), []esmtest.Exemption{esmtest.NoHalt}},
		{"no permanent", misread(esm.OutcomePermanent, plainly), []esmtest.Exemption{esmtest.NoPermanent}},
		{"no too large", misread(esm.OutcomeTooLarge, plainly), []esmtest.Exemption{esmtest.NoTooLarge}},
		{"no failures of records", misread(esm.OutcomePartial, plainly), []esmtest.Exemption{esmtest.NoFailures}},
		{"no stop", wrapped(tried), []esmtest.Exemption{esmtest.NoStopAt}},
		{"no info", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error { return target(ctx, &esm.Batch{Records: b.Records}) }
		}), []esmtest.Exemption{esmtest.NoBatchInfo}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			esmtest.TestInvoker(t, tt.make, tt.exempt...)
		})
	}
}

func TestExemptionsAreForWhatIsNotCarriedAndNotForSuccess(t *testing.T) {
	whole := func(err error) error { return esm.Permanent(plainly(err)) }
	for _, tt := range []struct {
		name  string
		make  newInvoker
		fails []string
		says  string
	}{
		{"throttle as success", misread(esm.OutcomeThrottled, nothing), []string{throttle, ownAnswers}, "throttled returned nil"},
		{"halt as success", misread(esm.OutcomeHalt, nothing), []string{halt}, "esm.Halt returned nil"},
		{"permanent as success", misread(esm.OutcomePermanent, nothing), []string{permanent, ownAnswers}, "esm.Permanent returned nil"},
		{"too large as success", misread(esm.OutcomeTooLarge, nothing), []string{tooLarge, ownAnswers}, "esm.TooLarge returned nil"},
		{"failures of records as success", misread(esm.OutcomePartial, nothing), []string{partial, ownAnswers}, "esm.Failures returned nil"},
		{"throttle as permanent", misread(esm.OutcomeThrottled, whole), []string{throttle, ownAnswers}, `is "permanent" for esm.Classify, not "throttled"`},
		{"halt as permanent", misread(esm.OutcomeHalt, whole), []string{halt}, `is "permanent" for esm.Classify, not "halt"`},
		{"too large as permanent", misread(esm.OutcomeTooLarge, whole), []string{tooLarge, ownAnswers}, "the records would be given up"},
		{"failures of records as permanent", misread(esm.OutcomePartial, whole), []string{partial, ownAnswers}, "the records would be given up"},
		{"permanent as throttle", misread(esm.OutcomePermanent, func(err error) error {
			return esm.Throttled(time.Second, err)
		}), []string{permanent, ownAnswers}, "no attempt would count"},
		{"wrong id", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				return target(ctx, &esm.Batch{Records: b.Records, ID: "another"})
			}
		}), arriving, "another"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantFailing(t, tt.fails, tt.says, esmtest.Checks(tt.make, every...))
		})
	}
}

func TestExemptionsHaveNames(t *testing.T) {
	if got := fmt.Sprint(append(slices.Clone(every), 99, -1)); got != "[NoThrottle NoHalt NoBatchInfo NoPermanent NoTooLarge NoFailures NoStopAt Drops Exemption(99) Exemption(-1)]" {
		t.Error(got)
	}
}

func TestInvokersThatMisreadErrorsDoNotConform(t *testing.T) {
	for _, tt := range []struct {
		name  string
		make  newInvoker
		fails []string
		says  string
	}{
		{"no invoker", func(testing.TB, esm.InvokerFunc) esm.Invoker { return nil },
			slices.Concat(outcomes, ends, arriving, []string{waits, panics, ownAnswers, unchanged}),
			"newInvoker returned nil"},
		{"never calls", wrapped(func(esm.InvokerFunc) esm.InvokerFunc {
			return func(context.Context, *esm.Batch) error { return nil }
		}), slices.Concat(outcomes, ends, arriving, []string{waits, panics, ownAnswers}),
			"the target was not called"},
		{"swallows errors", answered(func(context.Context, error) error { return nil }),
			slices.Concat(outcomes, ends, []string{ownAnswers}),
			"returned nil: its records would count as handled"},
		{"fails always", answered(func(context.Context, error) error { return errBilling }),
			slices.Concat(outcomes, ends, arriving, []string{waits, panics, ownAnswers}),
			"returned billing is down, but the target succeeded"},
		{"hides what errors are", answered(func(_ context.Context, err error) error {
			if err != nil {
				return fmt.Errorf("wrapped: %v", err)
			}
			return nil
		}), append(lacking(outcomes, failure), ownAnswers), "esmtest.NoThrottle"},
		{"hides throttles", misread(esm.OutcomeThrottled, plainly), []string{throttle, ownAnswers}, "esmtest.NoThrottle"},
		{"hides halts", misread(esm.OutcomeHalt, plainly), []string{halt}, "esmtest.NoHalt"},
		{"hides that it is permanent", misread(esm.OutcomePermanent, plainly), []string{permanent, ownAnswers}, "esmtest.NoPermanent"},
		{"hides that it is too large", misread(esm.OutcomeTooLarge, plainly), []string{tooLarge, ownAnswers}, "esmtest.NoTooLarge"},
		{"hides which records failed", misread(esm.OutcomePartial, plainly), []string{partial, ownAnswers}, "esmtest.NoFailures"},
		{"takes what was not tried for failed", wrapped(tried), []string{partial}, `which is "not tried"`},
		{"swallows failures of records", misread(esm.OutcomePartial, nothing), []string{partial, ownAnswers}, "esm.Failures returned nil"},
		{"returns the reason of a halt", answered(func(_ context.Context, err error) error {
			if halt := (*esm.HaltError)(nil); errors.As(err, &halt) {
				return halt.Err // nil for a halt without a reason
			}
			return err
		}), []string{halt}, "esm.Halt returned nil"},
		{"returns the first of several errors", answered(func(_ context.Context, err error) error {
			for {
				several, ok := err.(interface{ Unwrap() []error })
				if !ok {
					return err
				}
				err = several.Unwrap()[0]
			}
		}), []string{partial, ownAnswers}, `is "failure" for esm.Classify, not "partial"`},
		{"throttles when the target fails", answered(func(_ context.Context, err error) error {
			if err != nil {
				return esm.Throttled(time.Second, err)
			}
			return nil
		}), append(lacking(outcomes, throttle), ownAnswers), "the Mapping would wait"},
		{"halts when the target fails", answered(func(_ context.Context, err error) error {
			if err != nil {
				return esm.Halt(err)
			}
			return nil
		}), append(lacking(outcomes, halt), ownAnswers), "the Mapping would halt"},
		{"gives up when the target fails", misread(esm.OutcomeFailure, esm.Permanent), []string{failure, ownAnswers}, "the records would be given up"},
		{"halves when the target fails", misread(esm.OutcomeFailure, esm.TooLarge), []string{failure, ownAnswers}, "tried again in halves"},
		{"names one record when the target fails", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				err := target(ctx, b)
				if esm.Classify(ctx, err) == esm.OutcomeFailure {
					var f esm.Failures
					f.Add(b.Records[0], err)
					return f.Err()
				}
				return err
			}
		}), []string{failure, ownAnswers}, "records that it does not name would count as handled"},
		{"gives up when the target panics", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) (err error) {
				defer func() {
					if v := recover(); v != nil {
						err = esm.Permanent(fmt.Errorf("panic: %v", v))
					}
				}()
				return target(ctx, b)
			}
		}), []string{panics}, "the records would be given up"},
		{"forgets where the target stopped", retold(func(f *esm.RecordFailure) bool { f.Stopped = false; return true }), []string{partial}, `it makes "success" of orders/0 offset 1, which is "not tried"`},
		{"stops at each record that failed", retold(func(f *esm.RecordFailure) bool { f.Stopped = true; return true }), []string{partial}, `it makes "not tried" of orders/0 offset 2, which is "success"`},
		{"forgets that a record is permanent", retold(func(f *esm.RecordFailure) bool {
			if esm.Classify(context.Background(), f.Err) == esm.OutcomePermanent {
				f.Err = plainly(f.Err)
			}
			return true
		}), []string{partial}, `it makes "failure" of orders/0 offset 1, which is "permanent"`},
		{"gives each record that failed up", retold(func(f *esm.RecordFailure) bool { f.Err = esm.Permanent(f.Err); return true }), []string{partial}, `it makes "permanent" of`},
		{"names the next record", retold(func(f *esm.RecordFailure) bool { f.Offset++; return true }), []string{partial}, `it makes "failure" of orders/0 offset 2, which is "success"`},
		{"names a record of no batch", retold(func(f *esm.RecordFailure) bool { f.Topic = "stranger"; return true }), []string{partial}, `of stranger/0 offset 1, which is "no record of the batch"`},
		{"names one record of a partition", retold(func(f *esm.RecordFailure) bool { f.Partition = 0; return true }), []string{partial}, `which is`},
		{"forgets a record at offset 2", retold(func(f *esm.RecordFailure) bool { return f.Offset != 2 }), []string{partial}, `it makes "success" of orders/0 offset 2`},
		{"tries the rest again in place", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				err := target(ctx, b)
				if esm.Classify(ctx, err) == esm.OutcomePartial && b.ID == "conformance-mixed" {
					b.Records = slices.Delete(b.Records, 0, 1)
				}
				return err
			}
		}), []string{unchanged}, "changed the slice of the records"},
		{"halves in place", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				err := target(ctx, b)
				if esm.Classify(ctx, err) == esm.OutcomeTooLarge && b.ID == "conformance-mixed" {
					slices.Reverse(b.Records)
				}
				return err
			}
		}), []string{unchanged}, "changed the slice of the records"},
		{"panics itself", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				if err := target(ctx, b); err != nil {
					panic(err)
				}
				return nil
			}
		}), slices.Concat(outcomes, ends, []string{ownAnswers}), "panicked with"},
		{"exits", wrapped(func(target esm.InvokerFunc) esm.InvokerFunc {
			return func(ctx context.Context, b *esm.Batch) error {
				if err := target(ctx, b); err != nil {
					runtime.Goexit()
				}
				return nil
			}
		}), slices.Concat(outcomes, ends, []string{ownAnswers}), "called runtime.Goexit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			wantFailing(t, tt.fails, tt.says, esmtest.Checks(tt.make))
		})
	}
}
