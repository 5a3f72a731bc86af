package lambdaapi

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// A runner has one mapping be what is wanted, in this host. One goroutine does it all, so
// that a mapping is never stopped and started at once; a start that is under way is given
// up if something else is wanted.
type runner struct {
	host *Host
	uuid string
	bell bell

	mu      sync.Mutex // guards the rest
	want    *Record    // nil: it is gone
	give    func()     // gives up what is under way for version trying
	trying  int64
	m       *esm.Mapping
	of      *Record   // what m was made of, with what it was updated to since
	started bool      // m has
	since   time.Time // when it did; kept after it has ended
	tried   bool
	version int64 // what was tried last
	failed  error
	last    string // the last result of what was stopped
}

// tell says what is wanted from now on.
func (r *runner) tell(want *Record) {
	r.mu.Lock()
	was := r.want
	r.want = want
	same := was != nil && want != nil && was.Version == want.Version && was.Deleting == want.Deleting && (was.unreadable == nil) == (want.unreadable == nil)
	if r.give != nil && (want == nil || want.Deleting || want.Version != r.trying) {
		r.give()
	}
	r.mu.Unlock()
	if !same { // or a pause would end with each look at the Store
		r.bell.ring()
	}
}

func (r *runner) mapping() *esm.Mapping {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m
}

// An observation is what a runner has come to.
type observation struct {
	runs    bool  // something runs, or starts
	started bool  // it has
	tried   bool  // version was tried
	version int64 // the last one
	result  string
}

func (r *runner) observed() observation {
	r.mu.Lock()
	m, err, is := r.m, r.failed, observation{r.m != nil, r.started, r.tried, r.version, r.last}
	r.mu.Unlock()
	switch {
	case err != nil:
		is.result = "PROBLEM: " + guard.Text(err)
	case m != nil:
		if is.result == "" || !m.State().LastResultAt.IsZero() {
			is.result = m.State().LastResult
		}
	}
	return is
}

// startPause is how long a mapping waits that could not start, or was halted by its function
// right after it; at first. mostPause is how long at most, and how long it must have run for the
// next pause to be short again.
const (
	startPause = time.Second
	mostPause  = time.Minute
)

// run does what is wanted, until ctx ends or the mapping is gone.
func (r *runner) run(ctx context.Context) {
	defer r.stop()
	pause := startPause
	for ctx.Err() == nil {
		r.mu.Lock()
		want := r.want
		r.mu.Unlock()
		if want == nil || want.Deleting {
			r.stop()
			if err := r.remove(ctx, want); err != nil {
				r.tellOf(want, err)
				r.wait(ctx, nil, startPause)
				continue
			}
			r.host.mu.Lock()
			delete(r.host.runners, r.uuid)
			r.host.mu.Unlock()
			return
		}
		err := r.try(ctx, want)
		if errors.Is(err, errGivenUp) {
			continue
		}
		if err == nil {
			r.wait(ctx, r.mapping(), 0)
			continue
		}
		if r.ranWell() {
			pause = startPause
		}
		r.wait(ctx, r.mapping(), pause)
		pause = min(2*pause, mostPause)
	}
}

// ranWell reports whether the last Mapping ran for a while, once.
func (r *runner) ranWell() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	well := !r.since.IsZero() && time.Since(r.since) > mostPause
	r.since = time.Time{}
	return well
}

// remove takes a mapping out of the Store that was asked to be deleted and runs here no more.
func (r *runner) remove(ctx context.Context, want *Record) error {
	if want == nil {
		return nil
	}
	return r.host.change(ctx, func(all map[string]Record) (Change, error) {
		if is, ok := all[r.uuid]; !ok || !is.Deleting {
			return Change{}, nil
		}
		return Change{UUID: r.uuid}, nil
	})
}

// wait waits for another wish, the end of the Mapping, or a time if it is not 0.
func (r *runner) wait(ctx context.Context, m *esm.Mapping, most time.Duration) {
	var done <-chan struct{}
	if m != nil {
		done = m.Done()
	}
	var over <-chan time.Time
	if most > 0 {
		t := time.NewTimer(most)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-ctx.Done():
	case <-r.bell.rung():
	case <-done:
	case <-over:
	}
}

// errGivenUp says that something else is wanted meanwhile.
var errGivenUp = errors.New("something else is wanted")

// try does what is wanted, and notes how that went.
func (r *runner) try(ctx context.Context, want *Record) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	if r.want != want {
		r.mu.Unlock()
		return errGivenUp
	}
	r.give, r.trying = cancel, want.Version
	r.mu.Unlock()
	err := r.be(ctx, want)
	r.mu.Lock()
	r.give = nil
	if ctx.Err() != nil {
		r.mu.Unlock()
		return errGivenUp // or the end
	}
	r.tried, r.version = true, want.Version
	r.mu.Unlock()
	if errors.Is(err, ErrNoFunction) && r.host.config.OtherHosts {
		r.tellOf(want, nil) // another host runs it
	} else {
		r.tellOf(want, err)
	}
	return err
}

// tellOf keeps what is wrong for those that ask, and logs it once.
func (r *runner) tellOf(want *Record, err error) {
	r.mu.Lock()
	fresh := err != nil && (r.failed == nil || guard.Text(r.failed) != guard.Text(err))
	r.failed = err
	r.mu.Unlock()
	if fresh {
		r.host.say(slog.LevelError, "a mapping cannot be started, changed or deleted, and is tried again", "mapping", r.uuid, "function", want.FunctionArn, "error", guard.Text(err))
	}
}

// be makes what runs what is wanted.
func (r *runner) be(ctx context.Context, want *Record) error {
	r.mu.Lock()
	m, of := r.m, r.of
	r.mu.Unlock()
	if m != nil {
		select {
		case <-m.Done(): // by itself
			err := m.Err()
			r.stop()
			if err != nil {
				return err
			}
			m = nil
		default:
		}
	}
	if err := want.unreadable; err != nil {
		return err // what runs goes on
	}
	if m != nil && (!want.enabled() || of.Replaced != want.Replaced) {
		r.stop()
		m = nil
	}
	if !want.enabled() || m != nil && of.Version == want.Version {
		return nil
	}
	plan, err := want.Config.Plan(want.UUID)
	if err != nil {
		return err
	}
	// It was allowed when it was asked for; the host may have been made anew since.
	if err := r.host.allowed(&want.Config); err != nil {
		return err
	}
	var inv esm.Invoker
	var opts []esm.Option
	if m == nil { // first: a host without the function need not have what it needs
		if inv, opts, err = r.host.function(ctx, want, &plan); err != nil {
			return err
		}
	}
	if err := plan.Connect(ctx, r.host.config.Needs); err != nil {
		return err
	}
	own := append(plan.Options, r.host.config.Override...)
	if m != nil {
		if err := m.Update(own...); err != nil {
			return err
		}
		r.mu.Lock()
		r.of = want
		r.mu.Unlock()
		return nil
	}
	plan.Source.Client = append(slices.Clone(r.host.config.Client), plan.Source.Client...)
	m, err = esm.New(plan.Source, inv, append(append([]esm.Option{esm.WithName(want.UUID), esm.WithLogger(r.host.config.Logger)}, opts...), own...)...)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.m, r.of = m, want
	r.mu.Unlock()
	if err := m.Start(ctx); err != nil {
		r.stop()
		return err
	}
	r.mu.Lock()
	r.started, r.since = true, time.Now()
	r.mu.Unlock()
	return nil
}

// stop stops what runs. It takes as long as esm.WithStopTimeout says, whatever happens
// meanwhile: a stop that is cut short has records handled twice.
func (r *runner) stop() {
	m := r.mapping()
	if m == nil {
		return
	}
	if err := m.Stop(context.Background()); err != nil {
		r.host.say(slog.LevelError, "a mapping did not stop well", "mapping", r.uuid, "error", guard.Text(err))
	}
	last := m.State()
	r.mu.Lock()
	if !last.LastResultAt.IsZero() {
		r.last = last.LastResult
	}
	r.m, r.of, r.started = nil, nil, false // only now the API says Disabled
	r.mu.Unlock()
}
