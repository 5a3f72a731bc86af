// Package esmprom shows Mappings to Prometheus: a [Collector] that takes a snapshot of each
// at every scrape.
//
//	metrics := esmprom.New()
//	prometheus.MustRegister(metrics)
//	if err := metrics.Add(m); err != nil {
//		log.Fatal(err)
//	}
//	http.Handle("/metrics", promhttp.Handler())
//
// The folder of this package has rules for alerts (alerts.yml) and a dashboard for Grafana
// (dashboard.json). The tests run both in a Prometheus.
//
// # Names and units
//
// All names begin with esm_. A name that ends in _total is of a counter, which counts since
// the Mapping started. Times are in seconds, sizes in bytes; events are records, as in AWS's
// names. Every sample has the label mapping, which is the name of the Mapping
// ([esm.WithName]). The other labels are phase, cause and with, whose values are few and known.
// Only with [WithPartitions] there are labels topic and partition.
//
// All numbers are of this process: the lag is that of the partitions which it has. That of a
// group is the sum over its processes, and unknown while that of any partition is. The queries
// of the dashboard are written so.
//
// esm_phase and esm_scale_cause have a sample for each value, of which one is 1 and the others
// are 0. esm_problems counts the problems of [esm.State] by what they are with: connection,
// group, commit, topic, client, start, function, destination, hooks, log, lag, and other. The
// names of brokers and topics are not in it.
//
// # What is absent
//
// A number that nobody knows has no sample. It is never 0. So esm_offset_lag,
// esm_max_offset_lag and esm_time_lag_seconds are absent while the lag of any partition is
// unknown, or the Mapping is not in its group. esm_offset_lag_unknown_partitions and
// esm_time_lag_unknown_partitions say of how many. The age of a partition is unknown, too,
// while nothing of its backlog was read yet: esm_time_lag_at_least_seconds is the age of the
// oldest record that is known, and the better one for an alert.
//
// Absent until they happened are the durations of the last commit and of the last fetch, the
// time of the last result, and esm_records_per_call. A concurrency without a limit is +Inf.
//
// # Mappings come and go
//
// Two Mappings cannot have the same label, or no scrape would succeed: [Collector.Add] refuses
// the second one. A Mapping that has stopped keeps its last numbers until it is removed, and
// makes room for another of its name.
//
// No counter goes backward while the process lives. What comes under a name that was there
// before goes on counting where the other one ended. Of names that were removed, that is known
// of the last 100.
package esmprom

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"weak"

	"github.com/seed429fd032/esm"
)

// A Collector is a prometheus.Collector of the metrics of Mappings. It may be registered
// with several registries. All of its methods may be called from several goroutines at once,
// and none of them waits for a broker, a function or a hook.
type Collector struct {
	settings

	mu   sync.Mutex // is held while snapshots are taken: a later scrape has later ones
	live []*series
	gone []*series // that have no Mapping now, the oldest first
}

// A series is what is collected under one label.
type series struct {
	label   string
	mapping *esm.Mapping              // nil if it was removed
	of      weak.Pointer[esm.Mapping] // the last one
	tally   tally
}

// mostGone is of how many names that were removed it is known how far they had counted.
const mostGone = 100

// New makes a Collector without a Mapping.
func New(opts ...Option) *Collector {
	c := &Collector{}
	for _, o := range opts {
		if o != nil {
			o(&c.settings)
		}
	}
	return c
}

// Add has a Mapping collected from now on, best from before its Start. Its label is the name
// that it has now. Bytes that are no text are escaped in a label, and it ends after 256.
//
// A second Mapping with the same label is an error, unless the first one has stopped: then it
// takes its place. Adding one twice is adding it once.
func (c *Collector) Add(m *esm.Mapping) error {
	if m == nil {
		return errors.New("esmprom: Add: the Mapping is nil")
	}
	label := labelOf(m.State().Mapping)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.add(m, label)
}

// add is Add. The lock is held.
func (c *Collector) add(m *esm.Mapping, label string) error {
	if slices.ContainsFunc(c.live, func(s *series) bool { return s.mapping == m }) {
		return nil
	}
	for _, s := range c.live {
		if s.label == label && !stopped(s.mapping) {
			return fmt.Errorf("esmprom: Add: there is a Mapping with the label %q already, and two with the same would fail each scrape: give one of them another name (esm.WithName), or Remove the other one first", label)
		}
	}
	c.remove(func(s *series) bool { return s.label == label })
	one := &series{label: label}
	if i := slices.IndexFunc(c.gone, func(s *series) bool { return s.label == label }); i >= 0 {
		one = c.gone[i]
		c.gone = slices.Delete(c.gone, i, i+1)
	}
	if of := weak.Make(m); one.of != of {
		one.of = of
		one.tally.another()
	}
	one.mapping = m
	c.live = append(c.live, one)
	return nil
}

// Remove has a Mapping collected no more. One that is not collected is no error.
func (c *Collector) Remove(m *esm.Mapping) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(func(s *series) bool { return s.mapping == m })
}

// remove removes what is true of. The lock is held.
func (c *Collector) remove(is func(*series) bool) {
	c.live = slices.DeleteFunc(c.live, func(s *series) bool {
		if !is(s) {
			return false
		}
		stats := s.mapping.Stats()
		s.tally.count(&stats)
		s.mapping = nil
		c.gone = append(c.gone, s)
		return true
	})
	if n := len(c.gone) - mostGone; n > 0 {
		c.gone = slices.Delete(c.gone, 0, n)
	}
}

// Sync has exactly these Mappings collected: it adds those that are new and removes the
// others. It is for a host that has a list of them, and calls it before each scrape, say. Its
// error names those that cannot be added; the others are.
func (c *Collector) Sync(mappings iter.Seq[*esm.Mapping]) error {
	var errs []error
	var all []*esm.Mapping
	labels := map[*esm.Mapping]string{}
	for m := range mappings { // without the lock, since this is the host's code
		switch _, twice := labels[m]; {
		case m == nil:
			errs = append(errs, errors.New("esmprom: Sync: a Mapping is nil"))
		case !twice:
			labels[m] = labelOf(m.State().Mapping)
			all = append(all, m)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(func(s *series) bool { _, stays := labels[s.mapping]; return !stays })
	for _, m := range all {
		errs = append(errs, c.add(m, labels[m]))
	}
	return errors.Join(errs...)
}

func stopped(m *esm.Mapping) bool {
	select {
	case <-m.Done():
		return true
	default:
		return false
	}
}
