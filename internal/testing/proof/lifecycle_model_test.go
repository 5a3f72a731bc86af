package proof_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

// TestStopsAtOnceOfANewMapping: each is told the same, and it ends once.
func TestStopsAtOnceOfANewMapping(t *testing.T) {
	source := esm.Source{Brokers: []string{"nowhere:9092"}, Topics: []string{"orders"}, Group: "billing"}
	for range 3_000 {
		m, err := esm.New(source, esmtest.NewInvoker(t), quiet())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := m.Stop(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() { _ = m.Update(esm.WithBatchSize(7)) })
		wg.Wait()
		<-m.Done()
	}
}

// TestStopBesideStart: it is stopped or it runs, and never both.
func TestStopBesideStart(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		for i := range build.Volume(5_000, 1_000) {
			// A hook is where the scheduler gets in between.
			m := esmtest.New(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet(), esm.WithHooks(esm.Hooks{
				StateChanged: func(esm.State) { runtime.Gosched() },
			}))
			var wg sync.WaitGroup
			var started, stopped error
			wg.Go(func() { started = m.Start(context.Background()) })
			wg.Go(func() { stopped = m.Stop(context.Background()) })
			wg.Wait()
			if stopped != nil || started != nil && !errors.Is(started, esm.ErrStopped) {
				t.Errorf("Start returned %v, and Stop %v", started, stopped)
			}
			if s := m.State(); s.Phase != esm.PhaseStopped {
				t.Fatalf("round %d: Start returned %v, Stop %v, and it is %s", i, started, stopped, s.Phase)
			}
			<-m.Done()
		}
		time.Sleep(time.Minute) // a session
		g := k.Cluster().GroupInfo("billing")
		if g != nil && len(g.Members) > 0 {
			t.Errorf("%d members are left", len(g.Members))
		}
	})
}

// A life is a Mapping on which several things are done at once.
type life struct {
	t     *testing.T
	k     *esmtest.Kafka
	m     *esm.Mapping
	inv   *esmtest.Invoker
	reach func() // lets it connect

	producing sync.Mutex

	mu     sync.Mutex
	phases []esm.Phase
	errs   map[string][]error // what each kind of call returned
}

// lifePhases bring a Mapping into a phase.
var lifePhases = []struct {
	name  string
	begin func(*life)
}{
	{"new", func(*life) {}},
	{"starting", func(l *life) {
		l.do("Start")
		time.Sleep(10 * time.Millisecond)
	}},
	{"running", func(l *life) { l.started() }},
	{"busy", func(l *life) {
		l.started()
		l.inv.Then(func(ctx context.Context, _ *esm.Batch) error {
			select {
			case <-time.After(2 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		l.k.Produce("orders", "busy")
		time.Sleep(time.Second)
	}},
	{"paused", func(l *life) {
		l.started()
		if err := l.m.Pause(l.t.Context()); err != nil {
			l.t.Error(err)
		}
	}},
	{"halted", func(l *life) {
		l.started()
		l.halt()
		time.Sleep(time.Second)
	}},
	{"stopping", func(l *life) {
		l.started()
		l.inv.Then(func(context.Context, *esm.Batch) error { time.Sleep(2 * time.Second); return nil })
		l.k.Produce("orders", "busy")
		time.Sleep(time.Second)
		l.do("Stop")
		time.Sleep(10 * time.Millisecond)
	}},
	{"stopped", func(l *life) {
		l.started()
		if err := l.m.Stop(l.t.Context()); err != nil {
			l.t.Error(err)
		}
	}},
}

func (l *life) started() {
	l.reach()
	if err := l.m.Start(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

// halt has the function halt the Mapping with its next call.
func (l *life) halt() {
	l.producing.Lock()
	defer l.producing.Unlock()
	l.inv.Return(esm.Halt(errBilling))
	l.k.Produce("orders", "halt")
}

// lifeCalls are what is done at once.
var lifeCalls = map[string]func(*life) error{
	"Start": func(l *life) error { return l.m.Start(context.Background()) },
	"Run": func(l *life) error {
		ctx, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		return l.m.Run(ctx)
	},
	"Stop": func(l *life) error { return l.m.Stop(context.Background()) },
	"hurried Stop": func(l *life) error {
		ctx, done := context.WithCancel(context.Background())
		done()
		return l.m.Stop(ctx)
	},
	"Pause":  func(l *life) error { return l.m.Pause(context.Background()) },
	"Resume": func(l *life) error { return l.m.Resume() },
	"Update": func(l *life) error { return l.m.Update(esm.WithBatchSize(7), esm.WithMaxPollers(3)) },
	"halt":   func(l *life) error { l.halt(); return nil },
}

func (l *life) do(call string) {
	go func() {
		err := lifeCalls[call](l)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.errs[call] = append(l.errs[call], err)
	}()
}

// lifeSteps are which phases may follow each other.
var lifeSteps = map[esm.Phase][]esm.Phase{
	esm.PhaseNew:      {esm.PhaseStarting, esm.PhaseStopped},
	esm.PhaseStarting: {esm.PhaseNew, esm.PhaseRunning, esm.PhasePaused, esm.PhaseHalted, esm.PhaseStopping},
	esm.PhaseRunning:  {esm.PhasePaused, esm.PhaseHalted, esm.PhaseStopping},
	esm.PhasePaused:   {esm.PhaseRunning, esm.PhaseHalted, esm.PhaseStopping},
	esm.PhaseHalted:   {esm.PhaseRunning, esm.PhasePaused, esm.PhaseHalted, esm.PhaseStopping},
	esm.PhaseStopping: {esm.PhaseStopped},
}

// live does calls at once in a phase, and judges what they return.
func live(t *testing.T, phase int, calls []string) {
	l := &life{t: t, k: esmtest.NewKafka(t, esmtest.Topic("orders", 2)), inv: esmtest.NewInvoker(t), errs: map[string][]error{}}
	source := l.k.Source("orders", "billing")
	open := make(chan struct{})
	l.reach = sync.OnceFunc(func() { close(open) })
	source.Client = append(source.Client, kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		select {
		case <-open:
			return l.k.Dial(ctx, network, address)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}))
	name := lifePhases[phase].name
	opts := []esm.Option{quiet(), esm.WithBatchWindow(0), esm.WithBackoff(esm.Constant(time.Second)), esm.WithHooks(esm.Hooks{StateChanged: func(i esm.State) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.phases = append(l.phases, i.Phase)
	}})}
	halts := slices.Contains(calls, "halt")
	if name == "halted" || halts && len(calls)%2 == 0 {
		opts = append(opts, esm.WithPauseOnHalt(true))
		halts = false
	}
	l.m = esmtest.New(t, source, l.inv, opts...)
	lifePhases[phase].begin(l)
	for _, c := range calls {
		l.do(c)
	}
	time.AfterFunc(time.Second, l.reach)
	time.Sleep(20 * time.Second)
	// A Start that nobody ended goes on, and a Pause that nobody ended holds.
	last := l.m.Stop(context.Background())
	synctest.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	count := 0
	for _, errs := range l.errs {
		count += len(errs)
	}
	expected := len(calls)
	if name == "starting" || name == "stopping" {
		expected++
	}
	if count != expected {
		t.Errorf("%d of %d calls returned: %v", count, expected, l.errs)
	}
	ends := halts || name == "stopping" || name == "stopped" || slices.ContainsFunc(calls, func(c string) bool { return strings.HasSuffix(c, "Stop") || c == "Run" })
	hurried := slices.Contains(calls, "hurried Stop")
	won := 0
	for call, errs := range l.errs {
		for _, err := range errs {
			var halt *esm.HaltError
			var drain *esm.DrainError
			stopped, began := errors.Is(err, esm.ErrStopped), errors.Is(err, esm.ErrStarted)
			halted := errors.As(err, &halt)
			cut := errors.As(err, &drain) && hurried
			ok := err == nil
			switch call {
			case "Start", "Run":
				if !stopped && !began {
					won++
				}
				ok = ok || stopped && ends || began && (name != "new" || l.starts() > 1) || halted && (halts || call == "Run" && slices.Contains(calls, "halt")) || cut
			case "Stop", "hurried Stop":
				ok = ok || cut
			case "Pause", "Resume", "Update":
				ok = ok || stopped && ends
			}
			if !ok {
				t.Errorf("%s returned %v", call, err)
			}
		}
	}
	if name == "new" && won > 1 {
		t.Errorf("%d of its starts went well: %v", won, l.errs)
	}
	if drain := (*esm.DrainError)(nil); last != nil && !(errors.As(last, &drain) && hurried) {
		t.Errorf("the last Stop: %v", last)
	}
	for _, err := range append(l.errs["Stop"], l.errs["hurried Stop"]...) {
		if err != last {
			t.Errorf("a Stop returned %v, and another one %v", err, last)
		}
	}
	select {
	case <-l.m.Done():
	default:
		t.Error("it has stopped, and is not done")
	}
	if err := l.m.Start(context.Background()); !errors.Is(err, esm.ErrStopped) {
		t.Errorf("Start after all: %v", err)
	}
	at := esm.PhaseNew
	for _, p := range l.phases {
		if !slices.Contains(lifeSteps[at], p) {
			t.Errorf("%s follows %s: %v", p, at, l.phases)
		}
		at = p
	}
	if at != esm.PhaseStopped || l.m.State().Phase != esm.PhaseStopped {
		t.Errorf("it ends as %s, told as %s", l.m.State().Phase, at)
	}
	// A ghost would still be in its group, and handle this.
	had := len(l.inv.Calls())
	l.k.Produce("orders", "ghost")
	time.Sleep(time.Minute)
	if got := len(l.inv.Calls()); got != had {
		t.Errorf("%d calls after the stop", got-had)
	}
}

// starts counts the calls that start. The lock is held.
func (l *life) starts() int { return len(l.errs["Start"]) + len(l.errs["Run"]) }

// TestWhateverIsDoneAtOnce: two and three calls of the Mapping's methods, from
// goroutines of their own, in each phase.
func TestWhateverIsDoneAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; not with -short")
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range lifeCalls {
			if !yield(name) {
				return
			}
		}
	})
	for phase := range lifePhases {
		for i, a := range names {
			for j, b := range names[i:] {
				for _, c := range append([]string{""}, names[i+j:]...) {
					calls := []string{a, b}
					if c != "" {
						calls = append(calls, c)
					}
					name := fmt.Sprintf("%s: %s", lifePhases[phase].name, strings.Join(calls, ", "))
					// Of three at once, some, and fewer with the race detector, which is
					// slow: the nightly run has all.
					of := uint32(12)
					if raceEnabled {
						of = 24
					}
					if h := fnv.New32(); c != "" && !nightly {
						_, _ = h.Write([]byte(name))
						if h.Sum32()%of != 0 {
							continue
						}
					}
					t.Run(name, func(t *testing.T) {
						virtual(t, func(t *testing.T) { live(t, phase, calls) })
					})
				}
			}
		}
	}
}
