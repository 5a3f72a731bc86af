package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/testing/build"
)

// What follows is the time of a driver, and what goes on in it beside the driver's
// own steps: deliveries, and partitions that are being given up. There is no clock
// and no goroutine that could run by itself, so a seed is one run.

// A delivery is what the engine runs on a goroutine of its own. Here it goes on
// only when the driver lets it.
type delivery struct {
	goOn  func() (struct{}, bool) // until it waits again, or false at its end
	wait  func(struct{}) bool
	ctx   context.Context // what it waits with, nil if it has not begun
	until time.Time
}

func (t *delivery) waits(now time.Time) bool {
	return t.ctx != nil && t.ctx.Err() == nil && t.until.After(now)
}

// spawn is World.Go.
func (d *driver) spawn(f func()) {
	t := &delivery{}
	t.goOn, _ = iter.Pull(func(yield func(struct{}) bool) {
		t.wait = yield
		f()
	})
	d.deliveries = append(d.deliveries, t)
}

// waitWithin waits in the delivery that runs, and returns why it is over if that
// is not the time.
func (d *driver) waitWithin(ctx context.Context, most time.Duration) error {
	t := d.delivering
	t.ctx, t.until = ctx, d.now.Add(min(most, deliveryTakes))
	t.wait(struct{}{})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case most > deliveryTakes:
		return context.DeadlineExceeded
	}
	return nil
}

// A leaving is a partition that is being given up, as in a rebalance: what runs for
// it may end, for some time.
type leaving struct {
	partition.ID
	lane   *lane
	waited []*lane // for whose calls it waits
	epoch  int
	until  time.Time
	stage  int           // what is next: to cancel calls, to end the drain, or to give it up
	flush  time.Duration // how long the last commit takes
}

// giveUp revokes a partition. It may be lost meanwhile, and come back.
func (d *driver) giveUp(tp partition.ID, most time.Duration) {
	n := d.lanes[tp]
	n.draining = true
	d.e.mu.Lock()
	l := d.e.lanes[tp]
	d.leaving = append(d.leaving, &leaving{ID: tp, lane: l, waited: d.e.endLanes([]*lane{l}), epoch: n.epoch, until: d.now.Add(most), flush: time.Duration(d.rng.IntN(3)) * time.Second / 2})
	d.e.unlock()
}

// leave goes on with it, and reports whether it is gone.
func (d *driver) leave(v *leaving) bool {
	d.e.mu.Lock()
	defer d.e.unlock()
	n := d.lanes[v.ID]
	switch v.stage {
	case 0:
		if called(v.waited) && v.until.After(d.now) {
			return false
		}
		if v.stage = 1; d.e.cancelCalls(v.waited, ErrRevoked) > 0 {
			v.until = d.now.Add(cancelGrace)
		}
	case 1:
		if called(v.waited) && v.until.After(d.now) {
			return false
		}
		if called(v.waited) && n.epoch == v.epoch {
			n.epoch++ // its call goes on, and counts no more
			v.epoch++
		}
		d.e.shelveAll(v.waited)
		v.stage, v.until = 2, d.now.Add(v.flush)
	case 2:
		if v.until.After(d.now) {
			return false
		}
		d.e.kill(v.lane, ErrRevoked, d.now)
		if n.epoch == v.epoch {
			n.lose()
		}
		v.stage = 3
	}
	return v.stage == 3
}

// settle lets go on what need not wait, until all of it waits.
func (d *driver) settle() {
	for moved := true; moved; {
		moved = false
		for _, v := range slices.Clone(d.leaving) {
			was := v.stage
			if d.leave(v) {
				d.leaving = slices.DeleteFunc(d.leaving, func(o *leaving) bool { return o == v })
			}
			moved = moved || v.stage != was
		}
		if i := slices.IndexFunc(d.deliveries, func(t *delivery) bool { return !t.waits(d.now) }); i >= 0 {
			t := d.deliveries[i]
			d.delivering, moved = t, true
			if _, more := t.goOn(); !more {
				d.deliveries = slices.DeleteFunc(d.deliveries, func(o *delivery) bool { return o == t })
			}
		}
	}
}

// elapse lets time pass.
func (d *driver) elapse(t time.Duration) {
	end := d.now.Add(t)
	for {
		d.settle()
		next := end
		for _, t := range d.deliveries {
			if t.until.Before(next) {
				next = t.until
			}
		}
		for _, v := range d.leaving {
			if v.until.Before(next) {
				next = v.until
			}
		}
		d.now = next
		if next == end {
			d.settle()
			return
		}
	}
}

// A run of a scenario has these steps, by their numbers: what a step does depends
// on its number only, and on what there is.
func allSteps(n int) (steps []int) {
	for i := range n {
		steps = append(steps, i)
	}
	return steps
}

// runScenario runs one, and returns what did not hold. Each step is judged, and what
// would be committed after it. It writes down what happens, if w is not nil.
func runScenario(seed uint64, steps []int, w io.Writer, also func(*driver)) (d *driver, err error) {
	d = newDriver(seed, w)
	d.also = also
	defer func() {
		if v := recover(); v != nil {
			if err, _ = v.(error); err == nil {
				panic(v)
			}
			if bug, is := v.(runtime.Error); is {
				err = fmt.Errorf("%w\n%s", bug, debug.Stack())
			}
			// The engine may be locked; nobody uses it any more.
		}
		d.stop()
	}()
	for _, n := range steps {
		d.turnTo(n)
		d.step()
	}
	d.turnTo(-1)
	d.finish()
	return d, nil
}

// shrink leaves out steps for as long as a run fails without them: first all from
// one on, then pieces that get smaller. None of what it leaves can be left out.
func shrink(steps []int, fails func(steps []int) bool) []int {
	for n := range steps {
		if fails(steps[:n]) {
			steps = steps[:n:n]
			break
		}
	}
	for size := max(1, len(steps)/2); size > 0; {
		was := len(steps)
		for at := 0; at+size <= len(steps); {
			if fewer := slices.Concat(steps[:at], steps[at+size:]); fails(fewer) {
				steps = fewer
			} else {
				at += size
			}
		}
		if size > 1 || len(steps) == was { // at the end, until no step can be left out
			size /= 2
		}
	}
	return steps
}

// naming is how a run is told to -replay, and named reads that.
func naming(seed uint64, steps []int) string {
	s := fmt.Sprint(seed, ":")
	for i, n := range steps {
		if i > 0 {
			s += ","
		}
		s += strconv.Itoa(n)
	}
	return s
}

func named(s string) (seed uint64, steps []int, err error) {
	first, rest, ok := strings.Cut(s, ":")
	if seed, err = strconv.ParseUint(first, 10, 64); err != nil || !ok {
		return 0, nil, fmt.Errorf("%q is no SEED:STEP,STEP,...", s)
	}
	for f := range strings.SplitSeq(rest, ",") {
		if f == "" {
			continue
		}
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, nil, fmt.Errorf("%q is no SEED:STEP,STEP,...: %w", s, err)
		}
		steps = append(steps, n)
	}
	return seed, steps, nil
}

// TestOneSeedIsOneRun: whatever happens in a scenario, to the byte, happens in it
// again, and so does what shrinking leaves of it.
func TestOneSeedIsOneRun(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(build.Volume(200, 100)) {
		var runs [2]strings.Builder
		for i := range runs {
			if _, err := runScenario(seed, allSteps(scenarioSteps), &runs[i], nil); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		first, again := strings.Split(runs[0].String(), "\n"), strings.Split(runs[1].String(), "\n")
		for i := range first {
			if i >= len(again) || first[i] != again[i] {
				t.Fatalf("seed %d, row %d:\n%s\nand then\n%s", seed, i, first[i], strings.Join(again[min(i, len(again)):min(i+1, len(again))], ""))
			}
			event, _, _ := strings.Cut(strings.TrimSpace(first[i]), " ")
			seen[event]++
		}
		if len(first) != len(again) {
			t.Fatalf("seed %d: %d rows, and then %d", seed, len(first), len(again))
		}
	}
	for _, event := range []string{"assigned", "revoked", "recordsLost", "positionReset", "ended", "throttled", "retryScheduled", "discarded", "deliveryFailed", "committed", "raised", "cleared", "polled"} {
		if seen[event] < 20 {
			t.Errorf("%d times %s is written down: the test proves nothing of it", seen[event], event)
		}
	}
}

// TestAFailingRunIsShrunk to the steps that it needs.
func TestAFailingRunIsShrunk(t *testing.T) {
	// A fault that needs two steps in this order.
	needs := func(steps []int) bool {
		i := slices.Index(steps, 7)
		return i >= 0 && slices.Contains(steps[i:], 41)
	}
	if got := shrink(allSteps(60), needs); !slices.Equal(got, []int{7, 41}) {
		t.Errorf("shrunk to %v", got)
	}
	// One of the engine: each time that something was lost and something else
	// delivered.
	fault := errors.New("planted")
	planted := func(d *driver) {
		if d.lost > 0 && d.told > 0 {
			panic(fault)
		}
	}
	shrunk := 0
	for seed := range uint64(build.Volume(100, 50)) {
		fails := func(steps []int) bool {
			_, err := runScenario(seed, steps, nil, planted)
			return err == fault
		}
		if !fails(allSteps(scenarioSteps)) {
			continue
		}
		steps := shrink(allSteps(scenarioSteps), fails)
		if !fails(steps) || len(steps) > 30 {
			t.Errorf("seed %d is shrunk to %v", seed, steps)
		}
		for i := range steps {
			if fails(slices.Concat(steps[:i], steps[i+1:])) {
				t.Errorf("seed %d: step %d of %v is not needed", seed, steps[i], steps)
			}
		}
		gotSeed, got, err := named(naming(seed, steps))
		if gotSeed != seed || !slices.Equal(got, steps) || err != nil {
			t.Errorf("%s is read as %d, %v, %v", naming(seed, steps), gotSeed, got, err)
		}
		shrunk++
	}
	if shrunk < 5 {
		t.Errorf("%d scenarios had the fault", shrunk)
	}
}
