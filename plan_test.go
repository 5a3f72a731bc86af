package esm

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestWhatFollowsFromAnOutcome(t *testing.T) {
	for _, tt := range []struct {
		outcome    Outcome
		partitions int
		was        history
		step       step
		now        history
	}{
		{OutcomeSuccess, 1, history{3}, stepSettle, history{}},
		{OutcomeSuccess, 7, history{}, stepSettle, history{}},
		{OutcomeFailure, 1, history{}, stepRetry, history{1}},
		{OutcomeFailure, 1, history{41}, stepRetry, history{42}},
		{OutcomeFailure, 2, history{}, stepSplit, history{}},
		{OutcomeThrottled, 1, history{2}, stepAgain, history{2}},
		{OutcomeThrottled, 9, history{}, stepAgain, history{}},
		{OutcomeAbandoned, 1, history{2}, stepAgain, history{2}},
		{OutcomeHalt, 3, history{}, stepAgain, history{}},
	} {
		if step, now := plan(tt.outcome, tt.partitions, tt.was); step != tt.step || now != tt.now {
			t.Errorf("%s of %d partitions after %+v: step %d, %+v", tt.outcome, tt.partitions, tt.was, step, now)
		}
	}
}

func TestWhatAnErrorMeans(t *testing.T) {
	plain := errors.New("plain")
	wrap := func(err error) error { return fmt.Errorf("wrapped: %w", err) }
	for _, tt := range []struct {
		name       string
		err, cause error
		want       Outcome
		after      time.Duration
	}{
		{"nil", nil, nil, OutcomeSuccess, 0},
		{"nil after a revoke", nil, ErrRevoked, OutcomeSuccess, 0},
		{"plain", plain, nil, OutcomeFailure, 0},
		{"throttled", wrap(Throttled(time.Second, plain)), nil, OutcomeThrottled, time.Second},
		{"throttled for a negative time", Throttled(-time.Second, nil), nil, OutcomeThrottled, 0},
		{"throttled by the sentinel", wrap(ErrThrottled), nil, OutcomeThrottled, 0},
		{"halt", wrap(Halt(plain)), nil, OutcomeHalt, 0},
		{"halt and throttled", errors.Join(Throttled(time.Second, nil), plain, Halt(nil)), nil, OutcomeHalt, 0},
		{"throttled and plain", errors.Join(plain, Throttled(time.Second, nil)), nil, OutcomeThrottled, time.Second},
		{"any, after a revoke", Halt(nil), ErrRevoked, OutcomeAbandoned, 0},
		{"any, after a stop", Throttled(0, nil), ErrStopping, OutcomeAbandoned, 0},
		{"any, after the timeout", Halt(nil), ErrInvokeTimeout, OutcomeFailure, 0},
		{"cancelled by somebody else", plain, errors.New("the user's own"), OutcomeFailure, 0},
	} {
		if got := judge(tt.err, tt.cause); got.outcome != tt.want || got.after != tt.after || (got.err == nil) != (tt.err == nil) {
			t.Errorf("%s: %s, %s, %v", tt.name, got.outcome, got.after, got.err)
		}
	}
	if got := judge(plain, ErrInvokeTimeout); !errors.Is(got.err, ErrInvokeTimeout) || !errors.Is(got.err, plain) {
		t.Errorf("%v", got.err)
	}
}
