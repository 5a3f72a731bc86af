package esm

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"
)

// everyOption sets everything to something else than its default. A setting
// that is not reached by an option of this list has none.
func everyOption() []Option {
	return []Option{
		WithMinPollers(3), WithMaxPollers(9), WithOnDemand(true), WithGroupBounds(true), WithPollerConcurrency(7), WithPollerByteRate(123_456), WithMaxConcurrency(11),
		WithBatchSize(33), WithBatchWindow(44 * time.Second), WithBatchBytes(55), WithBackoff(Constant(0)), WithInvokeTimeout(time.Hour),
		WithPauseOnHalt(true), WithStopTimeout(time.Hour), WithRevokeTimeout(time.Minute), WithStartTimeout(time.Hour),
		WithStartCheck(func(context.Context) error { return nil }),
		WithMaxRetries(4), WithMaxRecordAge(time.Hour), WithBisect(true), WithDestination(Drop), WithMemoryBudget(1 << 30), WithName("x"), WithLogger(slog.New(slog.DiscardHandler)), WithHooks(Hooks{}),
	}
}

func TestEverySettingHasAnOption(t *testing.T) {
	was, is := defaults("g"), defaults("g").with(everyOption())
	if len(is.errs) > 0 {
		t.Fatal(is.errs)
	}
	a, b := reflect.ValueOf(was), reflect.ValueOf(is)
	for _, f := range reflect.VisibleFields(a.Type()) { // those of the engine's settings too
		if f.Name == "errs" || f.Anonymous {
			continue
		}
		same, x, y := false, a.FieldByIndex(f.Index), b.FieldByIndex(f.Index)
		switch f.Type.Kind() {
		case reflect.Func, reflect.Pointer, reflect.Slice:
			same = x.Pointer() == y.Pointer()
		default:
			same = x.Equal(y)
		}
		if same {
			t.Errorf("no option sets %s", f.Name)
		}
	}
}

// TestEveryOptionCanBeUpdatedOrSaysThatItCannot: one that is forgotten in
// validateUpdate would change in a Mapping that does not look at it any more.
func TestEveryOptionCanBeUpdatedOrSaysThatItCannot(t *testing.T) {
	fixed := []string{"WithOnDemand", "WithGroupBounds", "WithPauseOnHalt", "WithRevokeTimeout", "WithStartTimeout", "WithStartCheck", "WithName", "WithLogger", "WithHooks"}
	var refused []string
	for _, o := range everyOption() {
		was := defaults("g")
		was.destination = DestinationFunc(func(context.Context, *Discard) error { return nil }) // which limits need
		is := was.with([]Option{o})
		is.boundsSet = "" // WithOnDemand is judged alone
		err := is.validateUpdate(&was)
		if err == nil {
			continue
		}
		for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
			if oe, ok := e.(*OptionError); ok {
				refused = append(refused, oe.Option)
			}
		}
	}
	if !slices.Equal(refused, fixed) {
		t.Errorf("these cannot be updated: %v, want %v", refused, fixed)
	}
}

// TestAWSLimitsAreFourSettings: nothing else changes, and whichever option comes
// later wins.
func TestAWSLimitsAreFourSettings(t *testing.T) {
	settings := func(c config) [4]int {
		return [4]int{c.PollerConcurrency, c.PollerByteRate, int(c.BatchWindow / time.Millisecond), c.BatchBytes}
	}
	was := defaults("g")
	if got, want := settings(was), [4]int{5, Unlimited, 0, 4 << 20}; got != want {
		t.Errorf("by default: %v, want %v", got, want)
	}
	aws := [4]int{5, 5_000_000, 500, 4 << 20}
	is := was.with([]Option{WithAWSLimits()})
	if got := settings(is); got != aws {
		t.Errorf("AWS's limits: %v, want %v", got, aws)
	}
	others := is
	others.PollerConcurrency, others.PollerByteRate, others.BatchWindow, others.BatchBytes = was.PollerConcurrency, was.PollerByteRate, was.BatchWindow, was.BatchBytes
	a, b := reflect.ValueOf(was), reflect.ValueOf(others)
	for _, f := range reflect.VisibleFields(a.Type()) {
		if x, y := a.FieldByIndex(f.Index), b.FieldByIndex(f.Index); !f.Anonymous && x.Comparable() && !x.Equal(y) {
			t.Errorf("%s changed as well", f.Name)
		}
	}
	all := everyOption() // it has other values for all four
	if got := settings(was.with(append(all, WithAWSLimits()))); got != aws {
		t.Errorf("after other options: %v, want %v", got, aws)
	}
	if got, want := settings(was.with(append([]Option{WithAWSLimits()}, all...))), settings(was.with(all)); got != want {
		t.Errorf("before other options: %v, want %v", got, want)
	}
	if err := is.validate(); err != nil {
		t.Error(err)
	}
}
