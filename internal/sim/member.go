package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A member is a Mapping of the group, from its making until it stops or is killed.
type member struct {
	w    *World
	name string
	id   int // of all members
	net  *network
	m    *esm.Mapping
	// life ends when it is killed, and with it what its function does.
	life context.Context
	end  context.CancelFunc

	// What follows is guarded by World.mu.
	dead    bool // it was killed
	leaving bool // Stop was called
	stopped bool // Stop has returned
	started bool
	failed  bool      // a Start did
	frozen  time.Time // until when it stands still
	paused  bool      // Pause has returned, and Resume was not called
	choked  int       // faults that throttle it
	running int       // calls
	tenures map[place]*tenure
	phase   esm.Phase
	seen    recount
	limits  limits
}

// limits are what options say of calls: now and before the last update.
type limits struct {
	batch, batchWas  int
	calls, callsWere int // 0 for no limit
	slots            int // pollers times concurrency
	updated          time.Time
	retries          int
	age              time.Duration
}

// join makes a member and starts it, as a host does: when it cannot start, it tries
// again.
func (w *World) join(name string) {
	net := newNetwork(w, name)
	m := &member{w: w, name: name, net: net, tenures: map[place]*tenure{}}
	m.life, m.end = context.WithCancel(context.Background())
	w.mu.Lock()
	m.id = len(w.members)
	w.mu.Unlock()
	opts, lim := w.options(m)
	m.limits = lim
	source := esm.Source{Brokers: w.addresses, Group: group, Start: w.start(), Client: w.client(m)}
	for _, t := range w.topics() {
		source.Topics = append(source.Topics, t.Name)
	}
	if w.plan.Protocol == "static" {
		source.InstanceID = name
	}
	mapping, err := esm.New(source, esm.InvokerFunc(m.invoke), opts...)
	if err != nil {
		w.fails("world", "%v", err)
		return
	}
	m.m = mapping
	w.mu.Lock()
	w.members = append(w.members, m)
	w.traced("%s joins", name)
	w.mu.Unlock()
	go m.live()
}

// live starts the Mapping until that goes well.
func (m *member) live() {
	for {
		err := m.m.Start(m.life)
		m.w.mu.Lock()
		m.started, m.failed = m.started || err == nil, m.failed || err != nil
		over := err == nil || m.dead || m.leaving
		m.w.traced("%s started: %v", m.name, err)
		m.w.mu.Unlock()
		if over {
			return
		}
		select {
		case <-time.After(2 * time.Second):
		case <-m.life.Done():
			return
		}
	}
}

// client are the options of the client.
func (w *World) client(m *member) []kgo.Opt {
	opts := []kgo.Opt{kgo.Dialer(m.net.dial), kgo.ClientID(m.name), kgo.SessionTimeout(time.Duration(w.plan.Session)),
		kgo.HeartbeatInterval(time.Duration(w.plan.Session) / 4)}
	switch w.plan.Protocol {
	case "eager":
		opts = append(opts, kgo.Balancers(kgo.RangeBalancer()))
	case "kip-848":
		opts = append(opts, kgo.ServerSideBalancer())
	}
	if w.plan.Options.ReadCommitted {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	return opts
}

func (w *World) start() esm.StartingPosition {
	if w.plan.Options.Start == "latest" {
		return esm.Latest()
	}
	return esm.TrimHorizon()
}

// options are those of a Mapping, and what they allow.
func (w *World) options(m *member) ([]esm.Option, limits) {
	o := w.plan.Options
	lim := limits{batch: o.BatchSize, batchWas: o.BatchSize, calls: o.MaxConcurrency, callsWere: o.MaxConcurrency,
		slots: o.MaxPollers * o.Concurrency, retries: o.MaxRetries, age: time.Duration(o.MaxAge)}
	opts := []esm.Option{
		esm.WithLogger(w.logger(m.name)), esm.WithName(m.name), esm.WithHooks(m.hooks()),
		esm.WithBatchSize(o.BatchSize), esm.WithBatchWindow(time.Duration(o.BatchWindow)), esm.WithBatchBytes(o.BatchBytes),
		esm.WithPollerConcurrency(o.Concurrency), esm.WithGroupBounds(o.GroupBounds), esm.WithBisect(o.Bisect),
		esm.WithBackoff(esm.Constant(time.Duration(o.Backoff))), esm.WithInvokeTimeout(time.Duration(o.InvokeTimeout)),
		esm.WithRevokeTimeout(time.Duration(o.RevokeTimeout)), esm.WithStopTimeout(time.Duration(o.StopTimeout)),
		esm.WithStartTimeout(90 * time.Second),
	}
	if o.OnDemand {
		opts = append(opts, esm.WithOnDemand(true))
	} else {
		opts = append(opts, esm.WithMinPollers(o.MinPollers), esm.WithMaxPollers(o.MaxPollers))
	}
	if o.MaxConcurrency > 0 {
		opts = append(opts, esm.WithMaxConcurrency(o.MaxConcurrency))
	}
	if o.ByteRate > 0 {
		opts = append(opts, esm.WithPollerByteRate(o.ByteRate))
	}
	if o.Destination {
		opts = append(opts, esm.WithDestination(esm.DestinationFunc(m.deliver)), esm.WithMaxRetries(o.MaxRetries))
		if o.MaxAge > 0 {
			opts = append(opts, esm.WithMaxRecordAge(time.Duration(o.MaxAge)))
		}
	}
	if o.Memory > 0 {
		opts = append(opts, esm.WithMemoryBudget(o.Memory))
	}
	return opts, lim
}

// kill ends a member without a word: its connections are cut, and what its function
// does is over. The Mapping is told to stop only so that its goroutines end.
func (m *member) kill() {
	m.w.mu.Lock()
	if m.dead || m.leaving {
		m.w.mu.Unlock()
		return
	}
	m.dead = true
	m.w.traced("%s is killed", m.name)
	m.w.mu.Unlock()
	m.net.kill()
	m.end()
	_ = m.m.Stop(context.Background()) // it cannot reach anybody, and says so
	m.w.mu.Lock()
	m.stopped = true
	m.w.mu.Unlock()
}

// freeze has a member stand still.
func (m *member) freeze(until time.Time) {
	m.w.mu.Lock()
	if until.After(m.frozen) {
		m.frozen = until
	}
	m.w.mu.Unlock()
	m.net.stall(until)
}

// stop stops a member as a host does.
func (m *member) stop() {
	m.w.mu.Lock()
	if m.dead || m.leaving {
		m.w.mu.Unlock()
		return
	}
	m.leaving = true
	peaceful := m.w.peaceful
	m.w.traced("%s stops", m.name)
	m.w.mu.Unlock()
	// A client that joins ends that first, and so waits for others, of which one may be gone.
	peaceful = peaceful && !m.net.joins()
	err := m.m.Stop(context.Background())
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.stopped = true
	m.w.traced("%s has stopped: %v", m.name, err)
	m.w.judgeStopped(m, err, peaceful)
}

// pause pauses a member for a time.
func (m *member) pause(d time.Duration) {
	ctx, done := context.WithTimeout(m.life, time.Minute)
	defer done()
	if err := m.m.Pause(ctx); err != nil {
		m.w.trace("%s does not pause: %v", m.name, err)
		return
	}
	is := m.m.State().Phase
	m.w.mu.Lock()
	m.paused = true
	m.w.judgePaused(m, is)
	m.w.mu.Unlock()
	time.Sleep(d)
	m.w.mu.Lock()
	m.paused = false
	m.w.mu.Unlock()
	if err := m.m.Resume(); err != nil {
		m.w.trace("%s does not resume: %v", m.name, err)
	}
}

// update changes options of a member that runs.
func (m *member) update(n int) {
	opts := []esm.Option{esm.WithBatchSize(n)}
	calls := n % 5
	if calls == 0 {
		opts = append(opts, esm.WithMaxConcurrency(esm.Unlimited))
	} else {
		opts = append(opts, esm.WithMaxConcurrency(calls))
	}
	m.w.mu.Lock()
	l := &m.limits
	l.batch, l.batchWas = max(n, l.batch), max(l.batch, n)
	if calls == 0 || l.calls == 0 {
		l.calls = 0
	} else {
		l.calls = max(calls, l.calls)
	}
	m.w.mu.Unlock()
	err := m.m.Update(opts...)
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.traced("%s is updated to %d and %d: %v", m.name, n, calls, err)
	if m.w.judgeUpdate(m, err); err != nil {
		return
	}
	// What runs meanwhile may be of before, and what begins is not.
	l.batchWas, l.callsWere, l.updated = l.batch, l.calls, time.Now()
	l.batch, l.calls = n, calls
}

func (m *member) String() string { return fmt.Sprintf("%s (%d)", m.name, m.id) }
