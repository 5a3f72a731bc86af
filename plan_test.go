package esm

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
)

// update writes what plan does into the scenarios, to be read before it is
// believed: go test -run TestScenarios -update .
var update = flag.Bool("update", false, "write the traces of testdata/retry")

// A scenario is a text file with what is done to the records of some
// partitions, each line that begins with > a step, and below it what is left of
// them. Nothing is left of a partition that is not listed.
//
//	> policy retries=3 bisect discards age=1h
//	> batch a 0-7            partition a has these records to handle
//	> age 5m a 3             this record is so old when it is tried
//	> call a b: fail         the next portions of a and b are invoked
//	> wait                   back-offs end
//	> deliver a              the destination takes the first portion of a
//	> others 20              so many calls of other records were answered
//	> denied 1               so many others were throttled for the first time
//
// Outcomes of a call are ok, fail, throttle, busy, refuse, abandon, halt, permanent,
// too-large, and for partial failures a list of OFFSET=fail, =stop, =permanent,
// =too-large, =throttle; a:3=fail names the partition where there are several.
type scenario struct {
	policy     policy
	now        time.Time
	evidence   evidence
	partitions map[string][]portion
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/retry/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &scenario{now: time.Unix(1_000_000, 0), evidence: newEvidence(), partitions: map[string][]portion{}}
			s.policy = policy{maxRetries: -1, backoff: time.Second}
			var got strings.Builder
			for line := range strings.Lines(string(want)) {
				switch {
				case strings.HasPrefix(line, ">"):
					got.WriteString(line)
					fmt.Fprint(&got, s.step(t, strings.Fields(line[1:])))
				case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
					got.WriteString(line)
				}
			}
			if got.String() == string(want) {
				return
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("it goes otherwise:\n%s", got.String())
		})
	}
}

// step does one line, and returns what it shows.
func (s *scenario) step(t *testing.T, words []string) string {
	t.Helper()
	switch words[0] {
	case "policy":
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			switch name {
			case "retries":
				s.policy.maxRetries = atoi(t, value)
			case "age":
				age, err := time.ParseDuration(value)
				if err != nil {
					t.Fatal(err)
				}
				s.policy.maxAge = age
			case "bisect":
				s.policy.bisect = true
			case "discards":
				s.policy.discards = true
			default:
				t.Fatalf("no policy %q", w)
			}
		}
		return ""
	case "batch":
		from, to, _ := strings.Cut(words[2], "-")
		p := portion{}
		for o := atoi(t, from); o <= atoi(t, to); o++ {
			p.records = append(p.records, record{offset: int64(o), millis: s.now.UnixMilli()})
		}
		s.partitions[words[1]] = []portion{p}
	case "age":
		age, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range s.partitions[words[2]] {
			for i := range p.records {
				if r := &p.records[i]; r.offset == int64(atoi(t, words[3])) {
					r.millis = s.now.Add(-age).UnixMilli()
				}
			}
		}
	case "wait":
		s.now = s.now.Add(time.Minute)
	case "others":
		for range atoi(t, words[1]) {
			s.evidence.answered()
		}
		return ""
	case "denied":
		s.evidence.denied += int64(atoi(t, words[1]))
		return ""
	case "deliver":
		of := s.partitions[words[1]]
		if of[0].reason == reasonNone {
			t.Fatal("nothing is given up")
		}
		s.partitions[words[1]] = of[1:]
	case "call":
		return s.call(t, words[1:])
	default:
		t.Fatalf("no step %q", words[0])
	}
	return s.show()
}

// call invokes the first portions of some partitions.
func (s *scenario) call(t *testing.T, words []string) string {
	t.Helper()
	var names []string
	var tried []portion
	for {
		name := strings.TrimSuffix(words[0], ":")
		of := remaining(s.partitions[name], sequel{left: s.policy.expire(s.partitions[name][0], s.now)})
		s.partitions[name] = of
		switch {
		case of[0].reason != reasonNone:
			return "  " + name + " has something to deliver first\n" + s.show()
		case of[0].due.After(s.now):
			t.Fatalf("%s waits", name)
		}
		names, tried = append(names, name), append(tried, of[0])
		last := strings.HasSuffix(words[0], ":")
		if words = words[1:]; last {
			break
		}
	}
	var f Failures
	made := func(what string) error {
		switch what {
		case "throttle":
			return Throttled(0, nil)
		case "busy":
			return Busy(0, nil)
		case "refuse":
			return Refused(nil)
		case "halt":
			return Halt(nil)
		case "permanent":
			return Permanent(nil)
		case "too-large":
			return TooLarge(nil)
		}
		return errors.New(what)
	}
	v := verdict{outcome: OutcomeSuccess}
	for _, w := range words {
		at, what, partial := strings.Cut(w, "=")
		switch {
		case w == "ok":
		case w == "abandon":
			v = judge(errors.New("no"), ErrStopping)
		case !partial:
			v = judge(made(w), nil)
		default:
			name, offset, named := strings.Cut(at, ":")
			if !named {
				name, offset = names[0], at
			}
			r := &kgo.Record{Topic: name, Offset: int64(atoi(t, offset))}
			if what == "stop" {
				f.StopAt(r, nil)
			} else {
				f.Add(r, made(what))
			}
			v = judge(f.Err(), nil)
		}
	}
	var parts []*part
	for i, name := range names {
		parts = append(parts, &part{lane: newLane(partition.ID{Topic: name}), records: tried[i].records, kafka: make([]*kgo.Record, len(tried[i].records)), left: []portion{tried[i]}})
	}
	v.resolve(parts)
	v = s.evidence.weigh(v, tried, refusalLasts, s.now)
	d := plan(v, tried, s.policy, s.now)
	for i, name := range names {
		s.partitions[name][0].suspicion = tried[i].suspicion
		if d.step == stepSplit {
			s.partitions[name][0].suspicion = tried[i].suspicion.part()
		}
	}
	switch {
	case v.refused && v.outcome == OutcomeHalt:
		return "  halts, and goes back as it was\n"
	case d.step == stepAgain:
		return "  again, as it was\n"
	case d.step == stepSplit:
		return "  again, in halves of the partitions\n"
	}
	for i, name := range names {
		s.partitions[name] = remaining(s.partitions[name], d.sequels[i])
	}
	return s.show()
}

// show lists what is left.
func (s *scenario) show() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.partitions)) {
		if len(s.partitions[name]) == 0 {
			delete(s.partitions, name)
			continue
		}
		var left []string
		for _, p := range s.partitions[name] {
			var offsets []string
			for i := 0; i < len(p.records); {
				j := i
				for j+1 < len(p.records) && p.records[j+1].offset == p.records[j].offset+1 {
					j++
				}
				if i == j {
					offsets = append(offsets, fmt.Sprint(p.records[i].offset))
				} else {
					offsets = append(offsets, fmt.Sprintf("%d-%d", p.records[i].offset, p.records[j].offset))
				}
				i = j + 1
			}
			one := strings.Join(offsets, ",")
			if p.attempts > 0 {
				one += fmt.Sprintf(" failed %d", p.attempts)
			}
			if p.due.After(s.now) {
				one += " waits"
			}
			if p.suspicion.suspected() {
				one += fmt.Sprintf(" (%d throttles count)", p.suspicion.times)
			}
			if p.reason != reasonNone {
				one += " given up: " + p.reason.String()
			}
			left = append(left, one)
		}
		fmt.Fprintf(&b, "  %s: %s\n", name, strings.Join(left, " | "))
	}
	if b.Len() == 0 {
		return "  all is settled\n"
	}
	return b.String()
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
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
		if got := judge(tt.err, tt.cause); got.outcome != tt.want || got.after != tt.after || (got.err == nil) != (tt.err == nil) ||
			got.busy != strings.Contains(tt.name, "busy") || got.refused != strings.Contains(tt.name, "refused") {
			t.Errorf("%s: %s, %s, %v", tt.name, got.outcome, got.after, got.err)
		}
	}
	if got := judge(plain, ErrInvokeTimeout); !errors.Is(got.err, ErrInvokeTimeout) || !errors.Is(got.err, plain) {
		t.Errorf("%v", got.err)
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
