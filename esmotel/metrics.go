package esmotel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed429fd032/esm"
)

// A source is a Mapping that is observed.
type source struct {
	mapping *esm.Mapping
	base    attribute.Set // what the host says of it; others may have the same
	number  int           // 1 for the first of these
	set     metric.MeasurementOption
	phases  [int(esm.PhaseStopped) + 1]metric.MeasurementOption
}

// Add has the metrics of a Mapping observed from now on, with these attributes besides
// esm.mapping, which is its name. A second Mapping of the same name and attributes has
// esm.mapping.instance too, which is 2.
func (t *Telemetry) Add(m *esm.Mapping, attributes ...attribute.KeyValue) error {
	if m == nil {
		return errors.New("esmotel: Add: the Mapping is nil: give one that esm.New made")
	}
	name := clean(m.State().Mapping, maxName)
	s := &source{mapping: m, number: 1}
	attributes = append(append(t.attributes[:len(t.attributes):len(t.attributes)], attributes...), mappingKey.String(name))
	s.base = attribute.NewSet(slices.Clone(attributes)...)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errors.New("esmotel: Add: the Telemetry was closed: make another one with New")
	}
	all := t.all()
	for _, other := range all {
		if other.mapping == m {
			return fmt.Errorf("esmotel: Add: the Mapping %q was added already: Remove it before", name)
		}
	}
	for slices.ContainsFunc(all, func(o *source) bool { return o.number == s.number && o.base.Equals(&s.base) }) {
		s.number++
	}
	if s.number > 1 {
		attributes = append(attributes, instanceKey.Int(s.number))
	}
	s.set = metric.WithAttributeSet(attribute.NewSet(slices.Clone(attributes)...))
	for p := range s.phases {
		s.phases[p] = metric.WithAttributeSet(attribute.NewSet(append(slices.Clone(attributes), phaseKey.String(esm.Phase(p).String()))...))
	}
	more := append(slices.Clone(all), s)
	t.sources.Store(&more)
	return nil
}

// Remove ends that. A Mapping that was not added is nothing to remove. Flush the
// MeterProvider before, if the last counts of the Mapping matter.
func (t *Telemetry) Remove(m *esm.Mapping) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(t.all()), func(s *source) bool { return s.mapping == m })
	t.sources.Store(&left)
}

// all are the sources. Nobody writes to them.
func (t *Telemetry) all() []*source {
	if all := t.sources.Load(); all != nil {
		return *all
	}
	return nil
}

// A gauge is an instrument with what it reads, one of the two.
type gauge struct {
	ints   metric.Int64Observable
	floats metric.Float64Observable
	int    func(*esm.Stats) (int64, bool)
	float  func(*esm.Stats) (float64, bool)
}

// phaseMetric is one for each phase: 1 for that in which a Mapping is.
const phaseMetric = "esm.phase"

// durationMetric is the name that the conventions have for it.
const durationMetric = "messaging.process.duration"

// instruments makes all of them, and the one callback.
func (t *Telemetry) instruments(m metric.Meter) error {
	var errs []error
	var all []metric.Observable
	for _, r := range readings() {
		g, err := r.make(m)
		if err != nil {
			errs = append(errs, fmt.Errorf("esmotel: the metric %s: %w", r.name, err))
			continue
		}
		t.gauges = append(t.gauges, g)
		if g.ints != nil {
			all = append(all, g.ints)
		} else {
			all = append(all, g.floats)
		}
	}
	phase, err := m.Int64ObservableUpDownCounter(phaseMetric, metric.WithUnit("{mapping}"), metric.WithDescription("1 for the phase in which the Mapping is, 0 for the others."))
	errs = append(errs, err)
	bounds := esm.HistogramBounds()
	seconds := make([]float64, len(bounds))
	for i, b := range bounds {
		seconds[i] = b.Seconds()
	}
	t.durations, err = m.Float64Histogram(durationMetric, metric.WithUnit("s"), metric.WithDescription("Duration of processing operation."),
		metric.WithExplicitBucketBoundaries(seconds...))
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	t.observing, err = m.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		return t.observe(ctx, o, phase)
	}, append(all, phase)...)
	if err != nil {
		return fmt.Errorf("esmotel: register the metrics: %w", err)
	}
	return nil
}

// observe reads all Mappings.
func (t *Telemetry) observe(ctx context.Context, o metric.Observer, phase metric.Int64Observable) error {
	for _, s := range t.all() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("esmotel: not all Mappings were observed: %w", err)
		}
		stats := s.mapping.Stats()
		for i := range t.gauges {
			g := &t.gauges[i]
			if g.int != nil {
				if v, known := g.int(&stats); known {
					o.ObserveInt64(g.ints, v, s.set)
				}
			} else if v, known := g.float(&stats); known {
				o.ObserveFloat64(g.floats, v, s.set)
			}
		}
		for p, set := range s.phases {
			o.ObserveInt64(phase, bit(esm.Phase(p) == stats.Phase), set)
		}
	}
	return nil
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// seconds is a duration that is known.
func seconds(d time.Duration) (float64, bool) { return d.Seconds(), true }
