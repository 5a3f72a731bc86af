package esmprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed429fd032/esm"
)

var _ prometheus.Collector = (*Collector)(nil)

// Describe is for the registry. It describes the metrics of partitions too, whether they are
// collected or not.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for i := range counters {
		ch <- counters[i].desc
	}
	for i := range gauges {
		ch <- gauges[i].desc
	}
	for i := range partitionGauges {
		ch <- partitionGauges[i].desc
	}
	for _, d := range []*prometheus.Desc{durations, phase, cause, problems} {
		ch <- d
	}
}

// Collect is for the registry, at each scrape.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.take() { // without the lock, since who reads may be slow
		for _, m := range s.samples(c.partitions) {
			ch <- m
		}
	}
}

// A snapshot is what is known of a Mapping at one scrape, but for what it says itself.
type snapshot struct {
	label   string
	mapping *esm.Mapping
	stats   esm.Stats
	tally   tally
}

// take takes a snapshot of each Mapping.
func (c *Collector) take() (all []snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.live {
		stats := s.mapping.Stats()
		s.tally.count(&stats)
		all = append(all, snapshot{s.label, s.mapping, stats, s.tally})
	}
	return all
}

// samples asks the Mapping for the rest, and makes the samples.
func (s *snapshot) samples(partitions bool) []prometheus.Metric {
	m := s.mapping
	v := view{stats: s.stats, state: m.State(), ready: m.Ready() == nil, healthy: m.Healthy() == nil}
	if partitions {
		v.partitions = m.AppendPartitions(nil)
	}
	to := sheet{label: s.label}
	s.tally.show(&to)
	v.show(&to)
	return to.samples
}

// show adds the samples of a view.
func (v *view) show(to *sheet) {
	for _, g := range gauges {
		if value, known := g.of(v); known {
			to.add(g.desc, prometheus.GaugeValue, value)
		}
	}
	v.showSets(to)
	v.showPartitions(to)
}

// A sheet has the samples of one Mapping.
type sheet struct {
	label   string
	samples []prometheus.Metric
}

// add adds a sample with these values of its labels, beside that of the Mapping.
func (s *sheet) add(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
	m, err := prometheus.NewConstMetric(d, kind, value, append([]string{s.label}, labels...)...)
	s.keep(m, err)
}

// keep keeps a sample. One that cannot be made is left out: it would fail all others of the
// scrape.
func (s *sheet) keep(m prometheus.Metric, err error) {
	if err == nil {
		s.samples = append(s.samples, m)
	}
}
