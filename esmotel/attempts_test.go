package esmotel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/seed429fd032/esm"
)

func laneOf(p int32) lane {
	return lane{"billing", esm.TopicPartition{Topic: "orders", Partition: p}}
}

func try(n int) attempt {
	return attempt{span: remote(n, true), number: n, ended: time.Now()}
}

// numbers are those of attempts.
func numbers(list []attempt) string {
	s := ""
	for _, a := range list {
		s += fmt.Sprintf("%d:%d-%d ", a.number, a.first, a.last)
	}
	return s
}

// TestPiecesOfABatchAreFound as it is halved.
func TestPiecesOfABatchAreFound(t *testing.T) {
	var a attempts
	piece := func(first, last int64) []stretch { return []stretch{{laneOf(0), first, last}} }
	want := func(first, last int64, want string) {
		t.Helper()
		if got := numbers(a.meet("m", piece(first, last))); got != want {
			t.Errorf("%d to %d meet %q, want %q", first, last, got, want)
		}
	}
	a.failed("m", piece(0, 99), try(1))
	want(0, 49, "1:0-99 ")
	a.failed("m", piece(0, 49), try(2))
	want(0, 24, "2:0-49 ")
	a.settled("m", piece(0, 24))
	want(25, 49, "2:25-49 ")
	a.failed("m", piece(25, 49), try(3))
	want(25, 60, "3:25-49 1:50-99 ")
	a.settled("m", piece(25, 60))
	want(61, 70, "1:61-99 ")
	want(100, 120, "")
	if a.many.Load() != 0 || len(a.of) != 0 {
		t.Errorf("%v is left", a.of)
	}
	if a.failed("m", piece(0, 9), try(1)); numbers(a.meet("another", piece(0, 9))) != "" || numbers(a.meet("m", []stretch{{laneOf(1), 0, 9}})) != "" {
		t.Error("another Mapping or partition has it")
	}
	if one, known := a.last("m", laneOf(0), 9); !known || one.number != 1 {
		t.Errorf("the last attempt of 9 is %v, %v", one, known)
	}
	if _, known := a.last("m", laneOf(0), 10); known {
		t.Error("there is one of 10")
	}
}

// TestMemoryOfAttemptsIsBounded, and counted right, whatever happens.
func TestMemoryOfAttemptsIsBounded(t *testing.T) {
	var a attempts
	random := rand.New(rand.NewPCG(1, 2))
	count := func() (n int) {
		for _, lanes := range a.of {
			if len(lanes) == 0 {
				t.Fatal("an empty Mapping is kept")
			}
			for l, list := range lanes {
				if len(list) == 0 || len(list) > maxPieces {
					t.Fatalf("%v has %d", l, len(list))
				}
				for i, one := range list {
					if one.first > one.last || i > 0 && one.first <= list[i-1].last {
						t.Fatalf("%v has %s", l, numbers(list))
					}
				}
				n += len(list)
			}
		}
		return n
	}
	for step := range 30_000 {
		first := random.Int64N(1000)
		s := []stretch{{laneOf(random.Int32N(3000)), first, first + random.Int64N(30)}}
		mapping := fmt.Sprint(random.IntN(3))
		switch random.IntN(10) {
		case 0:
			a.settled(mapping, s)
		case 1:
			if n := random.IntN(500); n == 0 {
				a.stopped(mapping)
			} else {
				a.revoked(mapping, []esm.TopicPartition{s[0].TopicPartition})
			}
		case 2:
			s[0].first = 500
			a.meet(mapping, s)
		default:
			a.failed(mapping, s, try(step))
		}
		if step%1000 == 0 {
			if n := count(); int64(n) != a.many.Load() || n > maxAttempts {
				t.Fatalf("there are %d, and %d are counted", n, a.many.Load())
			}
		}
	}
	for n := range int32(2 * maxAttempts) {
		a.failed("m", []stretch{{laneOf(n), 0, 9}}, try(1))
	}
	if n := count(); n != maxAttempts || int64(n) != a.many.Load() {
		t.Errorf("there are %d, and %d are counted", n, a.many.Load())
	}
	if _, known := a.last("m", laneOf(2*maxAttempts-1), 0); !known {
		t.Error("the last one is not there")
	}
	a.forget()
	if count() != 0 || a.many.Load() != 0 {
		t.Error("something is left")
	}
}

// TestOnePartitionInPiecesIsBounded: it forgets what comes last.
func TestOnePartitionInPiecesIsBounded(t *testing.T) {
	var a attempts
	for n := range int64(100) {
		a.failed("m", []stretch{{laneOf(0), 1000 - 10*n, 1000 - 10*n}}, attempt{span: trace.SpanContext{}, number: int(n)})
	}
	if list := a.of["m"][laneOf(0)]; len(list) != maxPieces || list[0].number != 99 || a.many.Load() != maxPieces {
		t.Errorf("there are %s", numbers(list))
	}
}

// TestWhatIsRemembered of a call depends on its end: the partitions in which records come again here.
func TestWhatIsRemembered(t *testing.T) {
	stopping, stop := context.WithCancelCause(t.Context())
	stop(esm.ErrStopping)
	var failures esm.Failures
	failures.Add(record("orders", 1, 5), errDown)
	for _, c := range []struct {
		ctx  context.Context
		err  error
		left string // partitions, after both were there
	}{
		{t.Context(), nil, ""}, {t.Context(), errDown, "0:2 1:2 "}, {t.Context(), esm.Throttled(0, nil), "0:2 1:2 "},
		{t.Context(), failures.Err(), "1:2 "}, {stopping, errDown, "0:1 1:1 "},
	} {
		b := newBench(t)
		answer := errDown
		inv := b.Invoker(esm.InvokerFunc(func(context.Context, *esm.Batch) error { return answer }))
		for n, ctx := range []context.Context{t.Context(), c.ctx} {
			batch := batchOf(record("orders", 0, 5), record("orders", 1, 5))
			batch.Attempt = n + 1
			_ = inv.Invoke(ctx, batch)
			answer = c.err
		}
		left := ""
		for p := range int32(2) {
			if one, known := b.attempts.last("bills", laneOf(p), 5); known {
				left += fmt.Sprintf("%d:%d ", p, one.number)
			}
		}
		if left != c.left {
			t.Errorf("after %v it is %q, want %q", c.err, left, c.left)
		}
		b.Hooks().StateChanged(esm.State{Mapping: "bills", Phase: esm.PhaseStopping})
		if b.attempts.many.Load() != int64(strings.Count(c.left, ":")) {
			t.Error("it is forgotten before the Mapping has stopped")
		}
		b.Hooks().StateChanged(esm.State{Mapping: "bills", Phase: esm.PhaseStopped})
		if b.attempts.many.Load() != 0 {
			t.Error("it is remembered after the Mapping stopped")
		}
	}
}

func TestPartsThatDidNotFailAreForgotten(t *testing.T) {
	all := []stretch{{laneOf(0), 0, 9}, {laneOf(1), 0, 9}, {laneOf(2), 0, 9}}
	in := func(partitions ...int32) (failures []esm.RecordFailure) {
		for _, p := range partitions {
			failures = append(failures, esm.RecordFailure{TopicPartition: laneOf(p).TopicPartition})
		}
		return failures
	}
	for _, c := range []struct {
		failures  []esm.RecordFailure
		bad, good int
	}{
		{in(1), 1, 2}, {in(1, 1, 2), 2, 1}, {in(0, 1, 2), 3, 0},
		{in(7), 3, 0}, {in(1, 7), 3, 0}, // the function wrote another partition into a record
	} {
		if bad, good := split(all, c.failures); len(bad) != c.bad || len(good) != c.good {
			t.Errorf("%v: %d failed, %d did not", c.failures, len(bad), len(good))
		}
	}
}
