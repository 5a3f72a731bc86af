package esmprom_test

import (
	"context"
	"errors"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmprom"
	"github.com/seed429fd032/esm/esmtest"
)

func TestWhatAMappingDoesIsShown(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		inv := esmtest.NewInvoker(t).Takes(30*time.Millisecond).Fail(1, errors.New("billing is down"))
		m := esmtest.New(t, k.Source("orders", "billing"), inv, quiet(), esm.WithMinPollers(2), esm.WithMaxPollers(2), esm.WithBackoff(esm.Constant(time.Second)))
		c := add(t, esmprom.New(), m)
		before := gather(t, c)
		before.want(t, scrape{"esm_ready": 0, "esm_healthy": 1, "esm_phase{new}": 1, "esm_phase{running}": 0, "esm_scale_cause{none}": 1, "esm_events_polled_total": 0, "esm_provisioned_pollers": 0})
		before.absent(t, "esm_offset_lag", "esm_max_offset_lag", "esm_time_lag_seconds", "esm_time_lag_at_least_seconds", "esm_last_result_timestamp_seconds",
			"esm_records_per_call", "esm_last_commit_duration_seconds", "esm_last_fetch_duration_seconds")

		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		since := time.Now()
		k.ProduceTo("orders", 0, "a", "b", "c")
		time.Sleep(10 * time.Second)
		s := gather(t, c)
		s.want(t, scrape{
			"esm_ready": 1, "esm_phase{running}": 1, "esm_phase{new}": 0, "esm_provisioned_pollers": 2, "esm_active_pollers": 1, "esm_min_pollers": 2, "esm_max_pollers": 2,
			"esm_events_polled_total": 3, "esm_events_invoked_total": 6, "esm_events_failed_total": 3, "esm_events_settled_total": 3, "esm_events_committed_total": 3,
			"esm_invoke_calls_total": 2, "esm_invoke_errors_total": 1, "esm_retries_total": 1, "esm_partitions": 2, "esm_offset_lag": 0, "esm_max_offset_lag": 0,
			"esm_offset_lag_unknown_partitions": 0, "esm_time_lag_seconds": 0, "esm_time_lag_at_least_seconds": 0, "esm_slots": 10, "esm_busy_slots": 0,
			"esm_invoke_duration_seconds_count": 2, "esm_invoke_duration_seconds_sum": 0.06, "esm_memory_budget_bytes": 128 << 20, "esm_throttled_seconds": 0,
			"esm_problems{function}": 0, "esm_polled_bytes_total": 3, "esm_max_concurrency": math.Inf(1),
		})
		if got := s["esm_poller_time_seconds_total"]; math.Abs(got-2*time.Since(since).Seconds()) > 1 {
			t.Errorf("two pollers for %s are %v s", time.Since(since), got)
		}
		if at := s["esm_last_result_timestamp_seconds"]; at < float64(since.Unix()) || at > float64(time.Now().Unix()) {
			t.Errorf("the last result was at %v", at)
		}
		for _, set := range []string{"esm_phase", "esm_scale_cause"} {
			if ones := s.ones(set); len(ones) != 1 {
				t.Errorf("of %s these are 1: %q", set, ones)
			}
		}
		for name := range s {
			if strings.Contains(name, "partition_") || strings.Contains(name, "orders") {
				t.Errorf("%s, without WithPartitions", name)
			}
		}

		inv.Throttle(1, time.Minute)
		k.ProduceTo("orders", 0, "d")
		time.Sleep(20 * time.Second)
		s = gather(t, c)
		if left := s["esm_throttled_seconds"]; left < 30 || left > 45 {
			t.Errorf("throttled for %v s more", left)
		}
		s.want(t, scrape{"esm_invoke_throttles_total": 1, "esm_offset_lag": 1})
	})
}

func TestUnknownLagIsAbsent(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2), esmtest.Brokers(2))
		well := k.Cluster().CoordinatorFor("billing")
		for p := range int32(2) {
			if err := k.Cluster().MoveTopicPartition("orders", p, (well+p)%2); err != nil {
				t.Fatal(err)
			}
		}
		sick := k.Brokers()[(well+1)%2]
		var g gate
		source := k.Source("orders", "billing")
		source.Client = append(source.Client, g.through(k))
		var fails atomic.Bool
		m := esmtest.Start(t, source, esm.InvokerFunc(func(context.Context, *esm.Batch) error {
			if fails.Load() {
				return errors.New("billing is down")
			}
			return nil
		}), quiet())
		c := add(t, esmprom.New(esmprom.WithPartitions(true)), m)
		time.Sleep(5 * time.Second)
		gather(t, c).want(t, scrape{"esm_offset_lag": 0, "esm_time_lag_seconds": 0, "esm_offset_lag_unknown_partitions": 0, "esm_partition_offset_lag{1,orders}": 0})

		g.set(sick, true)
		fails.Store(true)
		k.ProduceTo("orders", 0, "a")
		time.Sleep(20 * time.Second)
		s := gather(t, c)
		s.absent(t, "esm_offset_lag", "esm_max_offset_lag", "esm_time_lag_seconds", "esm_partition_offset_lag{1,orders}")
		s.want(t, scrape{"esm_offset_lag_unknown_partitions": 1, "esm_time_lag_unknown_partitions": 1, "esm_partition_offset_lag{0,orders}": 1, "esm_partitions": 2})
		if age := s["esm_time_lag_at_least_seconds"]; age < 19 || age > 20 {
			t.Errorf("the record that is known is %v s old", age)
		}
		if attempts := s["esm_partition_blocker_attempts{0,orders}"]; attempts < 2 {
			t.Errorf("%v attempts", attempts)
		}
		if since, now := s["esm_partition_blocked_since_timestamp_seconds{0,orders}"], float64(time.Now().Unix()); since < now-21 || since > now-19 {
			t.Errorf("blocked since %v, and it is %v", since, now)
		}

		g.set(sick, false)
		fails.Store(false)
		time.Sleep(time.Minute)
		s = gather(t, c)
		s.want(t, scrape{"esm_offset_lag": 0, "esm_time_lag_seconds": 0, "esm_partition_offset_lag{1,orders}": 0, "esm_partition_blocker_attempts{0,orders}": 0, "esm_partition_committed_offset{0,orders}": 1, "esm_partition_end_offset{0,orders}": 1})
		s.absent(t, "esm_partition_blocked_since_timestamp_seconds{0,orders}", "esm_partition_oldest_timestamp_seconds{0,orders}")
	})
}

func TestAStoppedMappingKeepsItsCounters(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet())
		c := add(t, esmprom.New(), m)
		k.Produce("orders", "a", "b")
		time.Sleep(5 * time.Second)
		if err := m.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s := gather(t, c)
		s.want(t, scrape{"esm_phase{stopped}": 1, "esm_phase{running}": 0, "esm_events_settled_total": 2, "esm_invoke_duration_seconds_count": 1, "esm_provisioned_pollers": 0, "esm_ready": 0})
		s.absent(t, "esm_offset_lag", "esm_time_lag_seconds")
		c.Remove(m)
		c.Remove(m)
		if s := gather(t, c); len(s) != 0 {
			t.Errorf("%v", s)
		}
	})
}

// TestCountersNeverFall: neither when a Mapping is removed and added, nor when another one
// of its name comes, nor when a Start that failed is called again.
func TestCountersNeverFall(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		c := esmprom.New()
		source := k.Source("orders", "billing")
		refused := true
		start := func() *esm.Mapping {
			return esmtest.New(t, source, esmtest.NewInvoker(t), quiet(), esm.WithStartCheck(func(context.Context) error {
				if refused {
					return errors.New("not yet")
				}
				return nil
			}))
		}
		m := start()
		add(t, c, m)
		if err := m.Start(t.Context()); err == nil {
			t.Fatal("it starts")
		}
		gather(t, c).want(t, scrape{"esm_phase{new}": 1})
		refused = false
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.Produce("orders", "a", "b")
		time.Sleep(5 * time.Second)
		gather(t, c).want(t, scrape{"esm_events_settled_total": 2})

		c.Remove(m)
		k.Produce("orders", "c")
		time.Sleep(5 * time.Second)
		add(t, c, m)
		gather(t, c).want(t, scrape{"esm_events_settled_total": 3})
		add(t, c, m) // once more is nothing

		k.Produce("orders", "d")
		time.Sleep(5 * time.Second)
		if err := m.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		second := start()
		add(t, c, second) // it takes the place of the one that has stopped, which was not scraped since
		gather(t, c).want(t, scrape{"esm_events_settled_total": 4, "esm_phase{new}": 1, "esm_phase{stopped}": 0})
		if err := second.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		k.Produce("orders", "e")
		time.Sleep(5 * time.Second)
		s := gather(t, c)
		s.want(t, scrape{"esm_events_settled_total": 5, "esm_invoke_duration_seconds_count": 4})

		// One that counted more before it is added than the one before it ever did.
		if err := second.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		third := start()
		if err := third.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			k.Produce("orders", "f")
			time.Sleep(time.Second)
		}
		add(t, c, third)
		gather(t, c).want(t, scrape{"esm_events_settled_total": 11, "esm_invoke_duration_seconds_count": 10})
	})
}

func TestTwoWithOneLabelAreRefused(t *testing.T) {
	c := add(t, esmprom.New(), unstarted(t), unstarted(t, esm.WithName("shipping")))
	for name, m := range map[string]*esm.Mapping{"a second one": unstarted(t), "none": nil} {
		err := c.Add(m)
		if err == nil {
			t.Fatalf("%s is added", name)
		}
		if m != nil && (!strings.Contains(err.Error(), `"billing"`) || !strings.Contains(err.Error(), "esm.WithName")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Two names that are two, and one label.
	add(t, c, unstarted(t, esm.WithName("a\xff")))
	if err := c.Add(unstarted(t, esm.WithName(`a\xff`))); err == nil {
		t.Error("two have the label a\\xff")
	}
	if s := gather(t, c); s["esm_phase{new}"] != 1 || s["esm_phase{shipping,new}"] != 1 || s[`esm_phase{a\xff,new}`] != 1 {
		t.Errorf("%v", slices.Sorted(maps.Keys(s)))
	}
}

func TestHostileNamesAreEscaped(t *testing.T) {
	var c esmprom.Collector // without New
	for name, label := range map[string]string{
		"a\xffb\xc3":                      `a\xffb\xc3`,
		"line\nquote\"back\\":             `line\nquote\"back\\`,
		"nul\x00":                         `nul\x00`,
		`quote"back\`:                     `quote"back\`,
		"Rechnung für 東京":                 "Rechnung für 東京",
		strings.Repeat("é", 10_000):       strings.Repeat("é", 128) + "...",
		"a" + strings.Repeat("é", 10_000): "a" + strings.Repeat("é", 127) + "...",
	} {
		add(t, &c, unstarted(t, esm.WithName(name)))
		if s := gather(t, &c); s["esm_phase{"+label+",new}"] != 1 {
			t.Errorf("of %.40q: %.200q", name, s.ones("esm_phase"))
		}
	}
}

func TestSyncHasExactlyThese(t *testing.T) {
	c := esmprom.New()
	a, b, again := unstarted(t, esm.WithName("a")), unstarted(t, esm.WithName("b")), unstarted(t, esm.WithName("a"))
	sync := func(ms ...*esm.Mapping) error { return c.Sync(slices.Values(ms)) }
	mappings := func() []string { return gather(t, c).ones("esm_phase") }
	if err := sync(a, b, a); err != nil || !slices.Equal(mappings(), []string{"a,new", "b,new"}) {
		t.Errorf("%v: %q", err, mappings())
	}
	if err := sync(again); err != nil || !slices.Equal(mappings(), []string{"a,new"}) {
		t.Errorf("%v: %q", err, mappings())
	}
	// One that cannot be added keeps out no other.
	err := sync(nil, again, a, b)
	if err == nil || !strings.Contains(err.Error(), `"a"`) || !strings.Contains(err.Error(), "nil") || !slices.Equal(mappings(), []string{"a,new", "b,new"}) {
		t.Errorf("%v: %q", err, mappings())
	}
	if err := sync(); err != nil || len(mappings()) != 0 {
		t.Errorf("%v: %q", err, mappings())
	}
}

// TestARemovedMappingIsForgotten: how far it counted is kept, of some, and not the Mapping.
func TestARemovedMappingIsForgotten(t *testing.T) {
	c := esmprom.New()
	var freed atomic.Int32
	func() {
		for i := range 300 {
			m := unstarted(t, esm.WithName(strings.Repeat("x", i%200+1)))
			runtime.AddCleanup(m, func(struct{}) { freed.Add(1) }, struct{}{})
			add(t, c, m)
			c.Remove(m)
		}
	}()
	for range 100 {
		if runtime.GC(); freed.Load() >= 299 {
			break
		}
		runtime.Gosched()
	}
	if n := freed.Load(); n < 299 {
		t.Errorf("%d of 300 are forgotten", n)
	}
	runtime.KeepAlive(c)
}

// TestProblemsAreCountedByKind, of which a broker or a topic is no part.
func TestProblemsAreCountedByKind(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var fails atomic.Bool
		fails.Store(true)
		m := esmtest.Start(t, k.Source("orders", "billing"), esm.InvokerFunc(func(context.Context, *esm.Batch) error {
			if fails.Load() {
				return errors.New("billing is down")
			}
			return nil
		}), quiet())
		c := add(t, esmprom.New(), m)
		k.Produce("orders", "a")
		time.Sleep(10 * time.Minute)
		s := gather(t, c)
		s.want(t, scrape{"esm_problems{function}": 1, "esm_problems{topic}": 0, "esm_problems{other}": 0})
		if len(m.State().Problems) != len(s.ones("esm_problems")) {
			t.Errorf("%v is shown as %q", m.State().Problems, s.ones("esm_problems"))
		}
		fails.Store(false)
		time.Sleep(10 * time.Minute)
		gather(t, c).want(t, scrape{"esm_problems{function}": 0})
	})
}

// TestAScrapeWaitsForNothing: not for a function that hangs, nor for a hook, a Pause, a Stop
// or brokers that say nothing.
func TestAScrapeWaitsForNothing(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		var g gate
		source := k.Source("orders", "billing")
		source.Client = append(source.Client, g.through(k))
		inv := esmtest.NewInvoker(t)
		release := inv.Hang()
		hook := make(chan struct{})
		m := esmtest.Start(t, source, inv, quiet(), esm.WithHooks(esm.Hooks{Polled: func(esm.Poll) { <-hook }, StateChanged: func(esm.State) { <-hook }}))
		c := add(t, esmprom.New(esmprom.WithPartitions(true)), m)
		scrapes := func(when string) {
			t.Helper()
			began := time.Now()
			gather(t, c)
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: it took %s", when, took)
			}
			time.Sleep(time.Second)
		}
		k.Produce("orders", "a", "b")
		time.Sleep(100 * time.Millisecond)
		scrapes("a hook hangs")
		time.Sleep(10 * time.Second)
		scrapes("the function hangs")
		g.set(k.Brokers()[0], true)
		scrapes("a broker says nothing")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		paused := make(chan struct{})
		go func() { _ = m.Pause(ctx); close(paused) }()
		time.Sleep(time.Second)
		scrapes("somebody waits for a pause")
		<-paused
		g.set(k.Brokers()[0], false)
		stopped := make(chan struct{})
		go func() { _ = m.Stop(context.Background()); close(stopped) }()
		time.Sleep(time.Second)
		scrapes("it stops")
		release()
		close(hook)
		<-stopped
		scrapes("it has stopped")
	})
}

func TestScrapesBesideAddAndRemove(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 3))
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet())
		c := add(t, esmprom.New(esmprom.WithPartitions(true)), m)
		registries := []*prometheus.Registry{prometheus.NewPedanticRegistry(), prometheus.NewPedanticRegistry()}
		for _, r := range registries {
			r.MustRegister(c)
		}
		others := []*esm.Mapping{unstarted(t, esm.WithName("a")), unstarted(t, esm.WithName("b")), unstarted(t, esm.WithName("a"))}
		var all sync.WaitGroup
		for _, r := range registries {
			all.Go(func() {
				last := 0.0
				for range 100 {
					families, err := r.Gather()
					if err != nil {
						t.Error(err)
						return
					}
					for _, f := range families {
						for _, s := range f.GetMetric() {
							if f.GetName() != "esm_events_settled_total" || s.GetLabel()[0].GetValue() != "billing" {
								continue
							}
							if now := s.GetCounter().GetValue(); now < last {
								t.Errorf("a counter fell from %v to %v", last, now)
							} else {
								last = now
							}
						}
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		all.Go(func() {
			for i := range 300 {
				switch i % 3 {
				case 0:
					_ = c.Add(others[i%2])
				case 1:
					c.Remove(m)
					_ = c.Add(m)
				default:
					_ = c.Sync(slices.Values(append([]*esm.Mapping{m}, others[1:]...)))
				}
				time.Sleep(time.Millisecond / 3)
			}
		})
		for range 50 {
			k.Produce("orders", "a", "b", "c")
			time.Sleep(2 * time.Millisecond)
		}
		all.Wait()
	})
}

// TestASlowReaderHoldsUpNobody: a scrape whose samples nobody takes.
func TestASlowReaderHoldsUpNobody(t *testing.T) {
	m := unstarted(t)
	c := add(t, esmprom.New(), m)
	ch := make(chan prometheus.Metric)
	done := make(chan struct{})
	go func() { c.Collect(ch); close(done) }()
	<-ch
	c.Remove(m)
	add(t, c, m)
	gather(t, c).want(t, scrape{"esm_phase{new}": 1})
	for more := true; more; {
		select {
		case <-ch:
		case <-done:
			more = false
		}
	}
}

func TestNamesAreAsPrometheusWantsThem(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet())
		c := add(t, esmprom.New(esmprom.WithPartitions(true)), m)
		k.ProduceRecords(&kgo.Record{Topic: "orders", Value: []byte("a")})
		time.Sleep(5 * time.Second)
		said, err := testutil.CollectAndLint(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range said {
			t.Errorf("%s: %s", s.Metric, s.Text)
		}
		if n := testutil.CollectAndCount(c); n < 80 || n > 120 {
			t.Errorf("%d samples", n)
		}
	})
}

func TestANilOptionSaysNothing(t *testing.T) {
	c := add(t, esmprom.New(nil, esmprom.WithPartitions(true), esmprom.WithPartitions(false), nil), unstarted(t))
	if s := gather(t, c); s["esm_phase{new}"] != 1 {
		t.Errorf("%v", s)
	}
}

func BenchmarkCollect(b *testing.B) {
	k := esmtest.NewKafka(b, esmtest.Topic("orders", 1000))
	m := esmtest.Start(b, k.Source("orders", "billing"), esmtest.NewInvoker(b), quiet())
	for name, on := range map[string]bool{"a Mapping": false, "with 1,000 partitions": true} {
		c := esmprom.New(esmprom.WithPartitions(on))
		if err := c.Add(m); err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ch := make(chan prometheus.Metric, 10_000)
				c.Collect(ch)
			}
		})
	}
}
