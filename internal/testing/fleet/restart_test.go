package fleet_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A member is a host of a fleet: one process after the other.
type member struct {
	f    *fleet
	name string
	runs int
	now  string // the name of the process that runs
	url  string
	*child
}

// A fleet is hosts with one Store and one topic of records.
type fleet struct {
	t     *testing.T
	k     *kafka
	store string // the topic of the Store
	calls string // the URL of the judge
	judge *judge
}

// start starts a member, and waits until it serves the API.
func (m *member) start() {
	m.f.t.Helper()
	m.runs++
	m.now = fmt.Sprintf("%s%d", m.name, m.runs)
	m.child = start(m.f.t, part{Role: "host", Name: m.now, Topic: m.f.store, Brokers: m.f.k.brokers, Calls: m.f.calls})
	m.url = m.hears(serving)
}

// works waits until a member has handled records, beside those that it had handled before.
func (m *member) works() {
	m.f.t.Helper()
	was := m.f.judge.called(m.now)
	until(m.f.t, m.now+" handles records", func() bool { return m.f.judge.called(m.now) > was })
}

// restart is a part of a rolling restart.
func (m *member) restart() {
	m.f.t.Helper()
	m.stop()
	m.start()
	m.works()
}

// asks asks the API of a member for a mapping, or changes one.
func (m *member) asks(method, uuid string, body any) shown {
	m.f.t.Helper()
	is, err := ask[shown](m.f.t.Context(), remote, method, m.url+mappings+uuid, body)
	if err != nil {
		m.f.t.Fatalf("%s: %v", m.now, err)
	}
	return is
}

// list is the UUIDs of all mappings, as a member has them.
func (m *member) list() (uuids []string) {
	m.f.t.Helper()
	is, err := ask[struct{ EventSourceMappings []shown }](m.f.t.Context(), remote, http.MethodGet, m.url+mappings, nil)
	if err != nil {
		m.f.t.Fatalf("%s: %v", m.now, err)
	}
	for _, one := range is.EventSourceMappings {
		uuids = append(uuids, one.UUID)
	}
	return uuids
}

// A running is what these tests read of esm.Stats.
type running struct{ MinPollers, MaxPollers, ProvisionedPollers int }

// stats is what runs of a mapping in a member.
func (m *member) stats(uuid string) running {
	m.f.t.Helper()
	all, err := ask[map[string]running](m.f.t.Context(), remote, http.MethodGet, m.url+statsPath, nil)
	if err != nil {
		m.f.t.Fatalf("%s: %v", m.now, err)
	}
	return all[uuid]
}

// A source writes records to all partitions in turn, until it is to end.
type source struct {
	mu       sync.Mutex
	produced map[int32]int64
	err      error
}

const partitions = 8

// produce writes about 800 records a second.
func (s *source) produce(ctx context.Context, cl *kgo.Client, topic string) {
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		var records []*kgo.Record
		for p := range int32(partitions) {
			records = append(records, &kgo.Record{Topic: topic, Partition: p, Value: []byte("an order")})
		}
		// Its end is not that of what is under way: how much there is must be known.
		err := cl.ProduceSync(context.WithoutCancel(ctx), records...).FirstErr()
		s.mu.Lock()
		if err != nil {
			s.err = err
			s.mu.Unlock()
			return
		}
		for p := range int32(partitions) {
			s.produced[p]++
		}
		s.mu.Unlock()
	}
}

// all is how many records were written.
func (s *source) all() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range s.produced {
		n += of
	}
	return n
}

// TestRollingRestart: two hosts of one Store restart one after the other, again and again,
// while records come. None is lost and none is repeated, each partition's are in order, and
// the mappings stay what they are. What is changed by one host takes effect on the other.
func TestRollingRestart(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *kafka) {
		orders := topic(t)
		if _, err := k.admin.CreateTopic(t.Context(), partitions, 1, nil, orders); err != nil {
			t.Fatal(err)
		}
		f := &fleet{t: t, k: k, store: topic(t), judge: newJudge()}
		server := httptest.NewServer(f.judge)
		defer server.Close()
		f.calls = server.URL
		a, b := &member{f: f, name: "a"}, &member{f: f, name: "b"}
		a.start()
		b.start()

		body := map[string]any{
			"FunctionName": "billing", "Topics": []string{orders}, "StartingPosition": "TRIM_HORIZON", "BatchSize": 20, "MaximumBatchingWindowInSeconds": 0,
			"SelfManagedEventSource":  map[string]any{"Endpoints": map[string]any{"KAFKA_BOOTSTRAP_SERVERS": k.brokers}},
			"ProvisionedPollerConfig": map[string]any{"MinimumPollers": 2, "MaximumPollers": 2},
		}
		uuid := a.asks(http.MethodPost, "", body).UUID
		if is := b.asks(http.MethodGet, uuid, nil); is.UUID != uuid || is.State != "Creating" && is.State != "Enabled" {
			t.Errorf("%s has %+v", b.now, is)
		}
		body["Topics"], body["Enabled"] = []string{"none"}, false
		uuids := []string{uuid, b.asks(http.MethodPost, "", body).UUID} // one that does nothing
		slices.Sort(uuids)

		records := &source{produced: map[int32]int64{}}
		ctx, enough := context.WithCancel(t.Context())
		var producing sync.WaitGroup
		producing.Go(func() { records.produce(ctx, k.client, orders) })
		defer producing.Wait()
		defer enough()
		a.works()
		b.works()

		restarts := either(k, 3, 10)
		for range restarts {
			a.restart()
			b.restart()
			for _, m := range []*member{a, b} {
				if got := slices.Sorted(slices.Values(m.list())); !slices.Equal(got, uuids) {
					t.Errorf("%s has %v, not %v", m.now, got, uuids)
				}
			}
		}
		a.works() // it goes on with b beside it

		f.update(uuid, a, b)
		f.disable(uuid, b, a, records)

		enough()
		producing.Wait()
		if records.err != nil {
			t.Fatal(records.err)
		}
		until(t, "all records are handled", func() bool {
			_, handled := f.judge.all()
			return handled >= records.all()
		})
		a.asks(http.MethodDelete, uuid, nil)
		for _, m := range []*member{a, b} {
			until(t, m.now+" has stopped and forgotten the mapping", func() bool {
				return m.stats(uuid) == running{} && !slices.Contains(m.list(), uuid)
			})
		}
		a.stop()
		b.stop()
		calls, _ := f.judge.all()
		for _, wrong := range f.judge.verdict(records.produced) {
			t.Error(wrong)
		}
		committed, err := k.admin.FetchOffsets(t.Context(), uuid)
		if err != nil {
			t.Fatal(err)
		}
		for p, n := range records.produced {
			if at, ok := committed.Lookup(orders, p); !ok || at.At != n {
				t.Errorf("partition %d is committed up to %d of %d", p, at.At, n)
			}
		}
		t.Logf("%d records in %d calls, %d restarts", records.all(), calls, 2*restarts)
	})
}

// update has the bounds and the batches changed by one host, and looks at both.
func (f *fleet) update(uuid string, by, other *member) {
	f.t.Helper()
	// The bounds are those of both together, and no host has more than it has partitions: so
	// both have to have the new ones. A host without a share has one poller all the same.
	bounds := func(least, most int) {
		f.t.Helper()
		until(f.t, fmt.Sprintf("the hosts have %d to %d pollers together", least, most), func() bool {
			x, y := by.stats(uuid), other.stats(uuid)
			return x.MinPollers+y.MinPollers == least && x.MaxPollers+y.MaxPollers == most && x.ProvisionedPollers+y.ProvisionedPollers >= least
		})
	}
	bounds(2, 2)
	by.asks(http.MethodPut, uuid, map[string]any{"BatchSize": 3, "ProvisionedPollerConfig": map[string]any{"MinimumPollers": 8, "MaximumPollers": 8}})
	if is := other.asks(http.MethodGet, uuid, nil); is.BatchSize != 3 || is.ProvisionedPollerConfig.MinimumPollers != 8 || is.ProvisionedPollerConfig.MaximumPollers != 8 {
		f.t.Errorf("%s has %+v", other.now, is)
	}
	bounds(8, 8)
	for _, m := range []*member{by, other} {
		until(f.t, m.now+" is Enabled", func() bool { return m.asks(http.MethodGet, uuid, nil).State == "Enabled" })
		m.works()
	}
	f.judge.mu.Lock()
	clear(f.judge.most) // a call that began before the update may have ended by now
	f.judge.mu.Unlock()
	for _, m := range []*member{by, other} {
		m.works()
	}
	f.judge.mu.Lock()
	defer f.judge.mu.Unlock()
	for host, n := range f.judge.most {
		if n > 3 {
			f.t.Errorf("%s has %d records in a call, and 3 are the most", host, n)
		}
	}
}

// disable has the mapping disabled by one host, and enabled by the other.
func (f *fleet) disable(uuid string, by, other *member, records *source) {
	f.t.Helper()
	by.asks(http.MethodPut, uuid, map[string]any{"Enabled": false})
	for _, m := range []*member{by, other} {
		until(f.t, m.now+" is Disabled", func() bool { return m.asks(http.MethodGet, uuid, nil).State == "Disabled" })
	}
	was, _ := f.judge.all()
	least := records.all() + 500
	until(f.t, "records come while the mapping is disabled", func() bool { return records.all() > least })
	if is, _ := f.judge.all(); is != was {
		f.t.Errorf("%d calls began while the mapping was disabled", is-was)
	}
	other.asks(http.MethodPut, uuid, map[string]any{"Enabled": true})
	for _, m := range []*member{by, other} {
		m.works()
		until(f.t, m.now+" is Enabled", func() bool { return m.asks(http.MethodGet, uuid, nil).State == "Enabled" })
	}
}
