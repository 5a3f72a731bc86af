package esmprom

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/scaling"
)

var (
	phase    = description("phase", "1 for the phase that the Mapping is in, 0 for the others.", "phase")
	cause    = description("scale_cause", "1 for what the number of pollers was decided for, 0 for the others.", "cause")
	problems = description("problems", "What keeps the Mapping from working as it should, by what it is with.", "with")
)

// kinds are what problems are with, without the names of brokers and topics.
var kinds = [...]string{"connection", "group", "commit", "topic", "client", "start", "function", "destination", "hooks", "log", "lag", otherKind}

const otherKind = "other"

// prefixes are of those with a name behind them.
var prefixes = map[string]string{
	"connection to ":  "connection",
	"commit metadata": "commit",
	"topic ":          "topic",
	"end of topic ":   "topic",
	"start of topic ": "topic",
}

// kindOf is the kind of an esm.Problem.
func kindOf(with string) string {
	for _, k := range kinds {
		if k == with {
			return k
		}
	}
	for prefix, k := range prefixes {
		if strings.HasPrefix(with, prefix) {
			return k
		}
	}
	return otherKind
}

// showSets adds a sample for each value of a label whose values are few.
func (v *view) showSets(to *sheet) {
	for p := esm.PhaseNew; p <= esm.PhaseStopped; p++ {
		to.add(phase, prometheus.GaugeValue, bit(v.stats.Phase == p), p.String())
	}
	for c := scaling.NoCause; c <= scaling.Cadence; c++ {
		to.add(cause, prometheus.GaugeValue, bit(v.stats.ScaleReason.Cause == c), c.String())
	}
	many := map[string]int{}
	for _, p := range v.state.Problems {
		many[kindOf(p.With)]++
	}
	for _, k := range kinds {
		to.add(problems, prometheus.GaugeValue, float64(many[k]), k)
	}
}
