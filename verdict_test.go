package esm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

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
		{"permanent", wrap(Permanent(plain)), nil, OutcomePermanent, 0},
		{"permanent, because it was throttled", Permanent(Throttled(time.Second, nil)), nil, OutcomePermanent, 0},
		{"permanent and plain", errors.Join(Permanent(nil), plain), nil, OutcomeFailure, 0},
		{"too large", wrap(TooLarge(nil)), nil, OutcomeTooLarge, 0},
		{"too large and permanent", errors.Join(Permanent(nil), TooLarge(nil)), nil, OutcomeTooLarge, 0},
		{"failures", wrap(failuresOf(plain)), nil, OutcomePartial, 0},
		{"failures twice", errors.Join(failuresOf(plain), failuresOf(plain)), nil, OutcomePartial, 0},
		{"failures and permanent", errors.Join(failuresOf(plain), Permanent(nil)), nil, OutcomeFailure, 0},
		{"too large and failures", errors.Join(TooLarge(nil), failuresOf(plain)), nil, OutcomeFailure, 0},
		{"an error that says that it is a throttle, and wraps another", actsThrottledAndWraps{plain}, nil, OutcomeThrottled, 0},
		{"failures and plain", errors.Join(failuresOf(plain), plain), nil, OutcomeFailure, 0},
		{"failures and throttled", errors.Join(failuresOf(plain), Throttled(time.Second, nil)), nil, OutcomeThrottled, time.Second},
		{"failures, one throttled", failuresOf(plain, Throttled(time.Second, nil)), nil, OutcomeThrottled, time.Second},
		{"failures, one a halt", failuresOf(Halt(nil), plain, Throttled(time.Second, nil)), nil, OutcomeHalt, 0},
		{"failures, one permanent", failuresOf(Permanent(nil)), nil, OutcomePartial, 0},
		{"busy", wrap(Busy(time.Second, plain)), nil, OutcomeThrottled, time.Second},
		{"busy, beside a plain one", errors.Join(plain, Busy(time.Second, nil)), nil, OutcomeThrottled, time.Second},
		{"a throttle that names no reason beside one that does", errors.Join(Busy(time.Second, nil), ErrThrottled), nil, OutcomeThrottled, time.Second},
		{"busy, of records", failuresOf(Busy(time.Second, nil), plain), nil, OutcomeThrottled, time.Second},
		{"failures, one throttled by itself", failuresOf(Busy(time.Second, nil), Throttled(0, nil)), nil, OutcomeThrottled, time.Second},
		{"busy, in a panic", &PanicError{Value: Busy(time.Second, nil)}, nil, OutcomeThrottled, time.Second},
		{"refused", wrap(Refused(plain)), nil, OutcomeHalt, 0},
		{"refused, and throttled", errors.Join(Refused(nil), Throttled(time.Second, nil)), nil, OutcomeHalt, 0},
		{"a halt beside one that may pass", errors.Join(Refused(nil), Halt(nil)), nil, OutcomeHalt, 0},
		{"refused, of a record", failuresOf(Refused(nil), plain), nil, OutcomeHalt, 0},
		{"failures, one a halt beside one that may pass", failuresOf(Refused(nil), Halt(nil)), nil, OutcomeHalt, 0},
		{"refused, in a panic", &PanicError{Value: Refused(nil)}, nil, OutcomeHalt, 0},
		{"an error that wraps nothing", emptyJoin{}, nil, OutcomeFailure, 0},
		{"an error that says that it is a throttle", actsThrottled{}, nil, OutcomeThrottled, 0},
	} {
		if got := judge(tt.err, tt.cause); Outcome(got.Outcome) != tt.want || got.After != tt.after || (got.Err == nil) != (tt.err == nil) ||
			got.Busy != strings.Contains(tt.name, "busy") || got.Refused != strings.Contains(tt.name, "refused") {
			t.Errorf("%s: %s, %s, %v", tt.name, got.Outcome, got.After, got.Err)
		}
	}
	if got := judge(plain, ErrInvokeTimeout); !errors.Is(got.Err, ErrInvokeTimeout) || !errors.Is(got.Err, plain) {
		t.Errorf("%v", got.Err)
	}
}

func failuresOf(errs ...error) error {
	var f Failures
	for i, err := range errs {
		f.Add(&kgo.Record{Topic: "orders", Offset: int64(i)}, err)
	}
	return f.Err()
}

// emptyJoin wraps no error.
type emptyJoin struct{}

func (emptyJoin) Error() string   { return "empty" }
func (emptyJoin) Unwrap() []error { return []error{nil} }

// actsThrottled is a user's own kind of error.
type actsThrottled struct{}

func (actsThrottled) Error() string        { return "busy" }
func (actsThrottled) Is(target error) bool { return target == ErrThrottled }

type actsThrottledAndWraps struct{ err error }

func (e actsThrottledAndWraps) Error() string        { return "busy" }
func (e actsThrottledAndWraps) Is(target error) bool { return target == ErrThrottled }
func (e actsThrottledAndWraps) Unwrap() error        { return e.err }

// TestFailuresAreReadBack by who answers for an Invoker.
func TestFailuresAreReadBack(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	var f Failures
	seven, nine := &kgo.Record{Topic: "orders", Partition: 1, Offset: 7}, &kgo.Record{Topic: "orders", Partition: 2, Offset: 9}
	f.Add(seven, a)
	f.Add(&kgo.Record{Topic: "orders", Partition: 1, Offset: 8}, nil) // says nothing
	f.StopAt(nine, b)
	f.StopAt(nil, nil)
	orders := func(p int32) partition.ID { return partition.ID{Topic: "orders", Partition: p} }
	want := []RecordFailure{{TopicPartition(orders(1)), 7, seven, a, false}, {TopicPartition(orders(2)), 9, nine, b, true}, {TopicPartition{}, -1, nil, errStopped, true}}
	if got := FailuresOf(fmt.Errorf("wrapped: %w", f.Err())); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	for _, whole := range []error{nil, a, Permanent(a), errors.Join(a, f.Err()), errors.Join(f.Err(), Permanent(a)), Throttled(0, nil)} {
		if got := FailuresOf(whole); got != nil {
			t.Errorf("%v: %+v", whole, got)
		}
	}
	if err := new(Failures).Err(); err != nil {
		t.Errorf("%v", err)
	}
	if msg := f.Err().Error(); msg != "esm: 3 records of the batch failed: orders/1 offset 7: a; orders/2 offset 9: b; /0 offset -1: the function stopped here" {
		t.Errorf("%q", msg)
	}
}

// TestRecordsAreFoundInACall: whatever a function wrote into its records and made of
// its slice, and however it names a record, once or more often, the verdict is of that
// record. One that was not in the call makes all of it a failure.
func TestRecordsAreFoundInACall(t *testing.T) {
	strangers := 0
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 15))
		var shares []engine.Share
		for p := range int32(1 + rng.IntN(3)) {
			s := engine.Share{ID: partition.ID{Topic: "orders", Partition: p}}
			offset := int64(rng.IntN(100))
			for range 1 + rng.IntN(6) {
				s.Records = append(s.Records, plan.Record{Offset: offset})
				s.Kafka = append(s.Kafka, &kgo.Record{Topic: "orders", Partition: p, Offset: offset})
				offset += 1 + int64(rng.IntN(3))
			}
			shares = append(shares, s)
		}
		was := func(part, record int) *kgo.Record {
			return &kgo.Record{Topic: "orders", Partition: shares[part].Partition, Offset: shares[part].Records[record].Offset}
		}
		scribbled := rng.IntN(2) == 0
		if scribbled {
			for _, s := range shares {
				for i := range s.Kafka { // they all say that they are another one
					s.Kafka[i].Partition, s.Kafka[i].Offset = shares[0].Partition, shares[0].Records[0].Offset
				}
			}
		}
		want := map[[2]int]plan.Failure{}
		var f Failures
		stranger := false
		for range 1 + rng.IntN(6) {
			part := rng.IntN(len(shares))
			record := rng.IntN(len(shares[part].Records))
			r := shares[part].Kafka[record]
			if rng.IntN(2) == 0 {
				r = was(part, record)
			}
			if rng.IntN(20) == 0 {
				r = []*kgo.Record{nil, {Topic: "others", Offset: r.Offset}, {Topic: "orders", Partition: shares[part].Partition, Offset: -1}}[rng.IntN(3)]
				stranger = true
			}
			at := [2]int{part, record}
			w := want[at]
			w.Part, w.Record = part, record
			kind := rng.IntN(3)
			err := []error{errors.New("no"), Permanent(nil), TooLarge(nil)}[kind]
			w.Outcome = plan.Stronger(w.Outcome, []plan.Outcome{plan.OutcomeFailure, plan.OutcomePermanent, plan.OutcomeTooLarge}[kind])
			if rng.IntN(3) == 0 {
				f.StopAt(r, err)
				w.Stopped = true
			} else {
				f.Add(r, err)
			}
			want[at] = w
		}
		v := judge(f.Err(), nil)
		v.resolve(shares)
		if stranger {
			strangers++
			if v.Outcome != plan.OutcomeFailure || v.Failures != nil || !strings.Contains(v.Err.Error(), "is no record of this batch") {
				t.Fatalf("seed %d: a stranger: %s, %v, %v", seed, v.Outcome, v.Failures, v.Err)
			}
			continue
		}
		if v.Outcome != plan.OutcomePartial || len(v.Failures) != len(want) {
			t.Fatalf("seed %d: %s of %+v, want %+v", seed, v.Outcome, v.Failures, want)
		}
		last := [2]int{-1, -1}
		for _, got := range v.Failures {
			at := [2]int{got.Part, got.Record}
			if slices.Compare(last[:], at[:]) >= 0 {
				t.Fatalf("seed %d: not in order: %+v", seed, v.Failures)
			}
			last = at
			if got.Err == nil {
				t.Fatalf("seed %d: no error: %+v", seed, got)
			}
			if got.Err = nil; got != want[at] {
				t.Fatalf("seed %d: %+v, want %+v", seed, got, want[at])
			}
		}
	}
	if strangers < 100 {
		t.Errorf("%d of the calls named a stranger: the test proves nothing of them", strangers)
	}
}

// inOrder are n records of one partition.
func inOrder(n int) (records []*kgo.Record) {
	for i := range n {
		records = append(records, &kgo.Record{Topic: "orders", Value: []byte(fmt.Sprint("v", i)), Offset: int64(i), Timestamp: time.UnixMilli(1), LeaderEpoch: -1})
	}
	return records
}

// TestLongReasonOfARecord does not make it another kind of failure.
func TestLongReasonOfARecord(t *testing.T) {
	long := errors.New(strings.Repeat("x", 5000))
	records := inOrder(2)
	for name, err := range map[string]error{"permanent": Permanent(long), "too large": TooLarge(long), "throttled": Throttled(time.Second, long)} {
		var f Failures
		f.Add(records[0], err)
		shares, _ := sharesOf(&Batch{Records: records})
		v := judge(f.Err(), nil)
		v.resolve(shares)
		if got := Outcome(v.Failures[0].Outcome); got != Classify(context.Background(), err) {
			t.Errorf("%s with a long reason: %v", name, got)
		}
		if n := len(v.Failures[0].Err.Error()); n > 5000 {
			t.Errorf("%s: %d bytes are kept", name, n)
		}
	}
}

type panicsInIs struct{}

func (panicsInIs) Error() string { return "nasty" }
func (panicsInIs) Is(error) bool { panic("no") }

type holdsItself struct{}

func (holdsItself) Error() string   { return "round" }
func (h holdsItself) Unwrap() error { return h }

type holdsItselfTwice struct{}

func (holdsItselfTwice) Error() string     { return "round and round" }
func (h holdsItselfTwice) Unwrap() []error { return []error{h, h} }

// TestNastyErrorOfARecord is a failure of that record, and of no other one.
func TestNastyErrorOfARecord(t *testing.T) {
	for _, nasty := range []error{panicsInIs{}, holdsItself{}, holdsItselfTwice{}} {
		records := inOrder(9)
		var f Failures
		for _, r := range records[:5] {
			f.Add(r, nasty)
		}
		f.Add(records[5], errors.New("plain"))
		if got := len(SettledOf(context.Background(), &Batch{Records: records}, f.Err())); got != 3 {
			t.Errorf("%T: %d of 9 are settled, where 6 were said to fail", nasty, got)
		}
	}
}

// TestWhatAPanicMeans: it is a failure, but for what it may say of the function.
func TestWhatAPanicMeans(t *testing.T) {
	var f Failures
	f.Add(inOrder(1)[0], errors.New("plain"))
	for err, want := range map[error]Outcome{Permanent(nil): OutcomeFailure, Halt(nil): OutcomeHalt, Throttled(time.Second, nil): OutcomeThrottled, f.Err(): OutcomeFailure} {
		v := judge(&PanicError{Value: err}, nil)
		if Outcome(v.Outcome) != want || v.said != nil {
			t.Errorf("panic(%v): %v, and of records %v", err, v.Outcome, v.said)
		}
	}
}

// TestSettledOfRecordsWithOneOffset, as a client leaves them that is asked to
// produce without acks.
func TestSettledOfRecordsWithOneOffset(t *testing.T) {
	records := inOrder(3)
	for _, r := range records {
		r.Offset = -1
	}
	var f Failures
	f.Add(records[0], errors.New("plain"))
	if got := SettledOf(context.Background(), &Batch{Records: records}, f.Err()); !slices.Equal(got, records[1:]) {
		t.Errorf("%v", got)
	}
}
