package esmotel

import (
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// leftOut are the fields of Stats that no metric has.
var leftOut = map[string]string{
	"At":              "a backend has the time of its own",
	"ScaleReason":     "it is a text with numbers, and esm.pollers is what it made; the log has it",
	"InvokeDurations": "a histogram cannot be observed: the Invoker records messaging.process.duration",
}

// TestEachFieldOfStatsIsObserved, or left out for a reason: one that is not 0 changes a metric.
func TestEachFieldOfStatsIsObserved(t *testing.T) {
	read := func(s *esm.Stats) map[string]float64 {
		values := map[string]float64{}
		for _, r := range readings() {
			if r.int != nil {
				if v, known := r.int(s); known {
					values[r.name] = float64(v)
				}
			} else if v, known := r.float(s); known {
				values[r.name] = v
			}
		}
		values[phaseMetric] = float64(s.Phase)
		return values
	}
	zero := read(new(esm.Stats))
	changed := map[string][]string{} // metrics, by field
	of := reflect.TypeFor[esm.Stats]()
	for i := range of.NumField() {
		name := of.Field(i).Name
		for _, unknown := range []int64{0, 3} { // partitions, of those that a lag does not know
			s := esm.Stats{At: time.Now()}
			if name != "At" {
				fill(reflect.ValueOf(&s).Elem().Field(i), unknown)
			}
			for metric, v := range read(&s) {
				if was, there := zero[metric]; !there || was != v {
					changed[name] = append(changed[name], metric)
				}
			}
		}
		if why := leftOut[name]; (why == "") != (len(changed[name]) > 0) {
			t.Errorf("Stats.%s changes %v; it is left out: %q", name, changed[name], why)
		}
	}
	moved := map[string]bool{}
	for _, metrics := range changed {
		for _, m := range metrics {
			moved[m] = true
		}
	}
	for _, r := range readings() {
		if !moved[r.name] {
			t.Errorf("%s does not change with any field", r.name)
		}
	}
}

// fill sets what is in a value to something else than 0, what is not exported too, but for a
// field Unknown.
func fill(v reflect.Value, unknown int64) {
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(3)
	case reflect.Float64:
		v.SetFloat(3)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), unknown)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Now().Add(time.Hour)))
			return
		}
		for i := range v.NumField() {
			if fill(v.Field(i), unknown); v.Type().Field(i).Name == "Unknown" {
				v.Field(i).SetInt(unknown)
			}
		}
	case reflect.String:
		v.SetString("x")
	}
}

// TestMetricsOfAMapping are its Stats.
func TestMetricsOfAMapping(t *testing.T) {
	virtual(t, func(t *testing.T) {
		b := newBench(t, WithAttributes(attribute.String("team", "red")))
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		inv := esmtest.NewInvoker(t).Fail(1, errDown).Takes(30 * time.Millisecond)
		m := esmtest.Start(t, k.Source("orders", "billing"), b.Invoker(inv), quiet(), esm.WithName("bills"), esm.WithBatchSize(1), esm.WithBackoff(esm.Constant(time.Second)))
		if err := b.Add(m, attribute.String("zone", "a")); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			k.Produce("orders", "a")
			time.Sleep(10 * time.Second)
		}
		s := m.Stats()
		const of = "esm.mapping=bills,team=red,zone=a"
		for name, want := range map[string]float64{
			"esm.events.polled": 6, "esm.events.invoked": 7, "esm.events.failed": 1, "esm.events.settled": 6, "esm.events.committed": float64(s.CommittedEventCount),
			"esm.invoke.calls": 7, "esm.invoke.errors": 1, "esm.partition.retries": 1, "esm.partitions": 2, "esm.lag.events": 0, "esm.lag.max": 0, "esm.lag.unknown": 0,
			"esm.time_lag.max": 0, "esm.bytes.polled": float64(s.PolledByteCount), "esm.memory.budget": 128 << 20, "esm.pollers": float64(s.ProvisionedPollers),
			"esm.poller.time": s.PollerSecondsTotal, "esm.invoke.average_events": 1, "esm.throttle.remaining": 0,
		} {
			if got := b.points(name); len(got) != 1 || got[of] != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if got := b.points("esm.invoke.max_concurrency"); len(got) != 0 {
			t.Errorf("without a bound it is %v", got)
		}
		phases := b.points(phaseMetric)
		sum := 0.0
		for _, v := range phases {
			sum += v
		}
		if len(phases) != 7 || sum != 1 || phases["esm.mapping=bills,esm.phase=running,team=red,zone=a"] != 1 {
			t.Errorf("the phases are %v", phases)
		}
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.points(phaseMetric)["esm.mapping=bills,esm.phase=stopped,team=red,zone=a"]; got != 1 {
			t.Errorf("after Stop the phase stopped is %v", got)
		}
		if got := b.points("esm.events.settled")[of]; got != 6 {
			t.Errorf("after Stop %v are settled", got)
		}
		b.Remove(m)
		if got := b.points("esm.events.settled"); len(got) != 0 {
			t.Errorf("after Remove there are %v", got)
		}
	})
}

// TestDurationsHaveTheBoundsOfTheLibrary, and hold what took so long.
func TestDurationsHaveTheBoundsOfTheLibrary(t *testing.T) {
	virtual(t, func(t *testing.T) {
		b := newBench(t)
		inv := b.Invoker(esm.InvokerFunc(func(context.Context, *esm.Batch) error { time.Sleep(30 * time.Millisecond); return nil }))
		for range 3 {
			if err := inv.Invoke(t.Context(), batchOf(record("orders", 0, 1))); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range b.collect() {
			if m.Name != durationMetric {
				continue
			}
			p := m.Data.(metricdata.Histogram[float64]).DataPoints[0]
			if p.Count != 3 || p.Sum < 0.0899 || p.Sum > 0.0901 || m.Unit != "s" {
				t.Errorf("%d took %v %s", p.Count, p.Sum, m.Unit)
			}
			if len(p.Bounds) != len(esm.HistogramBounds()) {
				t.Fatalf("the bounds are %v", p.Bounds)
			}
			for i, bound := range esm.HistogramBounds() {
				if p.Bounds[i] != bound.Seconds() || (p.BucketCounts[i] == 3) != (bound == 50*time.Millisecond) {
					t.Errorf("%d took %v at most", p.BucketCounts[i], p.Bounds[i])
				}
			}
			if len(p.Exemplars) == 0 || fmt.Sprintf("%x", p.Exemplars[0].SpanID) == "" {
				t.Error("there is no exemplar")
			}
			return
		}
		t.Error("there is no histogram")
	})
}

// idle is a Mapping that was not started.
func idle(t testing.TB, name string) *esm.Mapping {
	t.Helper()
	m, err := esm.New(esm.Source{Brokers: []string{"localhost:9092"}, Topics: []string{"orders"}, Group: "billing"}, esm.InvokerFunc(succeed), quiet(), esm.WithName(name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestUnknownLagIsAbsent(t *testing.T) {
	b := newBench(t)
	if err := b.Add(idle(t, "bills")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"esm.lag.events", "esm.lag.max", "esm.time_lag.max", "esm.invoke.average_duration", "esm.invoke.average_events", "esm.commit.last_duration", "esm.fetch.last_duration"} {
		if got := b.points(name); len(got) != 0 {
			t.Errorf("%s is %v", name, got)
		}
	}
	if got := b.points("esm.lag.unknown"); len(got) != 1 {
		t.Errorf("esm.lag.unknown is %v", got)
	}
	virtual(t, func(t *testing.T) {
		b := newBench(t)
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 3))
		k.Produce("orders", "a")
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet())
		if err := b.Add(m); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := b.points("esm.lag.events"); len(got) != 1 {
			t.Errorf("the lag is %v", got)
		}
		k.Cluster().Close() // nobody says any more where partitions end
		time.Sleep(10 * time.Minute)
		if lag, unknown := b.points("esm.lag.events"), b.points("esm.lag.unknown"); len(lag) != 0 || unknown["esm.mapping=billing"] != float64(m.Stats().OffsetLag.Unknown()) {
			t.Errorf("without a broker the lag is %v, and of %v partitions it is unknown", lag, unknown)
		}
		_ = m.Stop(t.Context()) // it cannot leave its group
	})
}

func TestMappingsOfOneNameAreApart(t *testing.T) {
	b := newBench(t)
	one, two, three := idle(t, "bills"), idle(t, "bills"), idle(t, "bills")
	keys := func() string { return strings.Join(slices.Sorted(maps.Keys(b.points("esm.events.polled"))), " ") }
	for _, m := range []*esm.Mapping{one, two, three} {
		if err := b.Add(m); err != nil {
			t.Fatal(err)
		}
	}
	if got := keys(); got != "esm.mapping=bills esm.mapping=bills,esm.mapping.instance=2 esm.mapping=bills,esm.mapping.instance=3" {
		t.Errorf("they are %s", got)
	}
	b.Remove(two)
	b.Remove(two)
	b.Remove(nil)
	if err := b.Add(idle(t, "bills"), attribute.String("zone", "a")); err != nil {
		t.Fatal(err)
	}
	if got := keys(); got != "esm.mapping=bills esm.mapping=bills,esm.mapping.instance=3 esm.mapping=bills,zone=a" {
		t.Errorf("they are %s", got)
	}
	if err := b.Add(two); err != nil {
		t.Fatal(err)
	}
	if got := keys(); !strings.Contains(got, "esm.mapping.instance=2") { // the number is free again
		t.Errorf("they are %s", got)
	}
	if err := b.Add(two); err == nil || !strings.Contains(err.Error(), "Remove it before") {
		t.Errorf("it is added twice: %v", err)
	}
	if err := b.Add(nil); err == nil {
		t.Error("a nil Mapping is added")
	}
}

func TestHostileNamesAreCleaned(t *testing.T) {
	b := newBench(t)
	long := strings.Repeat("\xff\x00,=\"\n", 1<<16)
	for _, name := range []string{long, long + "x", "\xff", "\xfe", " ", "esm.mapping=other"} {
		if err := b.Add(idle(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	points := b.points("esm.events.polled")
	if len(points) != 6 {
		t.Errorf("%d points of 6 Mappings", len(points))
	}
	for key := range points {
		if strings.ToValidUTF8(key, "") != key || len(key) > 2000 {
			t.Errorf("%d bytes: %.60q", len(key), key)
		}
	}
}

// TestMetricsWhileMappingsComeAndGo.
func TestMetricsWhileMappingsComeAndGo(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				m := idle(t, "bills")
				if err := b.Add(m); err != nil {
					t.Error(err)
				}
				b.points("esm.events.polled")
				b.Remove(m)
			}
		})
	}
	wg.Wait()
	if got := b.points("esm.events.polled"); len(got) != 0 || len(b.all()) != 0 {
		t.Errorf("%v is left", got)
	}
}

func TestCloseEndsTheMetrics(t *testing.T) {
	b := newBench(t)
	if err := b.Add(idle(t, "bills")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := b.points("esm.events.polled"); len(got) != 0 {
		t.Errorf("%v is left", got)
	}
	if err := b.Add(idle(t, "bills")); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Add says %v", err)
	}
	if err := b.Invoker(esm.InvokerFunc(succeed)).Invoke(t.Context(), batchOf(record("orders", 0, 1))); err != nil {
		t.Error(err)
	}
}

// TestACollectionThatIsOverStops.
func TestACollectionThatIsOverStops(t *testing.T) {
	b := newBench(t)
	if err := b.Add(idle(t, "bills")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.observe(ctx, nil, nil); err == nil || !strings.Contains(err.Error(), "not all Mappings") {
		t.Errorf("it says %v", err)
	}
}

// TestNamesOfMetricsAreConventional: a unit, a text, no name that is the beginning of another, and none that
// Prometheus keeps for histograms and counters.
func TestNamesOfMetricsAreConventional(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, r := range readings() {
		odd := !regexp.MustCompile(`^esm(\.[a-z][a-z_]*)+$`).MatchString(r.name) || regexp.MustCompile(`(sum|count|total|bucket)$`).MatchString(r.name)
		if odd || r.unit == "" || !strings.HasSuffix(r.about, ".") || names[r.name] {
			t.Errorf("%s: unit %q, %q, twice: %v", r.name, r.unit, r.about, names[r.name])
		}
		names[r.name] = true
		_, last, _ := strings.Cut(strings.TrimPrefix(r.name, "esm."), ".")
		if !strings.Contains(string(doc), r.name) && !strings.Contains(string(doc), " ."+last) {
			t.Errorf("the package comment does not have %s", r.name)
		}
	}
	for name := range names {
		for other := range names {
			if strings.HasPrefix(other, name+".") {
				t.Errorf("%s is the beginning of %s", name, other)
			}
		}
	}
}

// failing is a MeterProvider whose instruments cannot be made.
type failing struct{ noop.MeterProvider }

func (failing) Meter(string, ...metric.MeterOption) metric.Meter { return failingMeter{} }

type failingMeter struct{ noop.Meter }

func (failingMeter) Int64ObservableCounter(name string, _ ...metric.Int64ObservableCounterOption) (metric.Int64ObservableCounter, error) {
	return nil, fmt.Errorf("no room for %s", name)
}

func TestMistakesAreReportedTogether(t *testing.T) {
	_, err := New(nil, WithTracerProvider(nil), WithMeterProvider(nil), WithPropagator(nil), WithMaxLinks(10_001))
	for _, want := range []string{"nil Option", "WithTracerProvider(nil)", "WithMeterProvider(nil)", "WithPropagator(nil)", "WithMaxLinks(10001): must be 0 to 10000"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if _, err := New(WithMeterProvider(failing{})); err == nil || !strings.Contains(err.Error(), "the metric esm.events.polled: no room") {
		t.Errorf("it says %v", err)
	}
	if b, err := New(); err != nil || b.Close() != nil {
		t.Errorf("with the global providers: %v", err)
	}
}
