package esmemf

import (
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/seed429fd032/esm/internal/testing/build"
)

var quiet = slog.New(slog.DiscardHandler)

// virtual runs a test in virtual time.
func virtual(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if !build.VirtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	synctest.Test(t, test)
}

// A sheet is a writer that can fail.
type sheet struct {
	mu    sync.Mutex
	text  strings.Builder
	fails func(p []byte) (int, error)
}

// Write lets the lock go while it fails, which may take as long as it likes.
func (s *sheet) Write(p []byte) (int, error) {
	s.mu.Lock()
	fails := s.fails
	s.mu.Unlock()
	if fails != nil {
		n, err := fails(p)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.text.Write(p[:max(0, min(n, len(p)))])
		return n, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sheet) set(fails func(p []byte) (int, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = fails
}

// lines are what stands there. What has no end is a line, too.
func (s *sheet) lines() (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(s.text.String()) {
		lines = append(lines, line)
	}
	return lines
}

// A reading is what CloudWatch makes of a line.
type reading struct {
	at         int64
	metrics    map[string]float64
	units      map[string]string
	dimensions map[string]string // of each metric: the name of its dimension
	values     map[string]string // of each dimension
}

// read takes a line apart by the rules of the format, and reports each that is broken.
func read(t *testing.T, text string) reading {
	t.Helper()
	r := reading{metrics: map[string]float64{}, units: map[string]string{}, dimensions: map[string]string{}, values: map[string]string{}}
	all := object(t, text)
	var meta struct {
		Timestamp         int64
		CloudWatchMetrics []struct {
			Namespace  string
			Dimensions [][]string
			Metrics    []struct{ Name, Unit string }
		}
	}
	d := json.NewDecoder(strings.NewReader(string(all["_aws"])))
	d.DisallowUnknownFields()
	if err := d.Decode(&meta); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if r.at = meta.Timestamp; len(meta.CloudWatchMetrics) == 0 || r.at < 946684800_000 || r.at > 4102444800_000 { // 2000 and 2100
		t.Errorf("it has no metric, or no time in milliseconds: %s", text)
	}
	for _, d := range meta.CloudWatchMetrics {
		if d.Namespace == "" || len(d.Namespace) > 255 || strings.HasPrefix(d.Namespace, "AWS/") || len(d.Metrics) == 0 || len(d.Metrics) > 100 {
			t.Errorf("an odd directive: %+v", d)
		}
		if len(d.Dimensions) != 1 || len(d.Dimensions[0]) != 1 { // or a metric would be several
			t.Errorf("odd dimensions: %+v", d)
			continue
		}
		name := d.Dimensions[0][0]
		var v string
		if err := json.Unmarshal(all[name], &v); err != nil || v == "" || len(v) > 1024 || strings.TrimSpace(v) == "" || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("the dimension %s is %s: %v", name, all[name], err)
		}
		r.values[name] = v
		for _, m := range d.Metrics {
			var v float64
			if err := json.Unmarshal(all[m.Name], &v); err != nil || string(all[m.Name]) == "null" || v < 0 {
				t.Errorf("%s is %s: %v", m.Name, all[m.Name], err)
			}
			if _, twice := r.metrics[m.Name]; twice || m.Unit != "Count" && m.Unit != "Bytes" || len(m.Name) > 255 {
				t.Errorf("%s has the unit %q; twice: %v", m.Name, m.Unit, twice)
			}
			r.metrics[m.Name], r.units[m.Name], r.dimensions[m.Name] = v, m.Unit, name
		}
	}
	if len(all) != len(r.metrics)+len(r.values)+1 {
		t.Errorf("the line has something else: %s", text)
	}
	return r
}

// object reads a line that is one object of JSON, with each member once.
func object(t *testing.T, text string) map[string]json.RawMessage {
	t.Helper()
	if !strings.HasSuffix(text, "}\n") || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "{") || len(text) > 256<<10 {
		t.Fatalf("it is no line: %.1000q", text)
	}
	all := map[string]json.RawMessage{}
	d := json.NewDecoder(strings.NewReader(text))
	_, _ = d.Token()
	for d.More() {
		name, err := d.Token()
		var v json.RawMessage
		if err == nil {
			err = d.Decode(&v)
		}
		s, _ := name.(string)
		if _, twice := all[s]; err != nil || twice {
			t.Fatalf("%.1000s: %v; twice: %v", text, err, twice)
		}
		all[s] = v
	}
	if !json.Valid([]byte(text)) {
		t.Fatalf("it is no JSON: %.1000s", text)
	}
	return all
}

// sums adds up the metrics of lines.
func sums(t *testing.T, lines []string) map[string]float64 {
	t.Helper()
	sum := map[string]float64{}
	for _, line := range lines {
		for name, v := range read(t, line).metrics {
			sum[name] += v
		}
	}
	return sum
}

// A line is what AWS's documents show of each event, and what of it is ours.
var eventMembers = map[string][]string{
	"":                           {"eventType", "timestamp", "resourceArn", "eventSourceArn", "eventProcessorId", "logLevel"},
	"error":                      {"errorMessage", "errorCode", "leftOutCount"},
	"kafkaEventSourceConnection": {"brokerEndpoints", "consumerId", "topics", "consumerGroupId", "securityProtocol", "saslMechanism", "assignedPartitionCount", "assignedPartitions"},
	"kafkaPartitionOffsets":      {"partition", "endOffset", "consumedOffset", "processedOffset", "committedOffset"},
}

// readEvent takes a line of the system log apart, and reports what AWS does not have.
func readEvent(t *testing.T, text string) event {
	t.Helper()
	all := object(t, text)
	about := map[string]string{"ESM_PROCESSING_EVENT": "error", "POLLER_STATUS_EVENT": "kafkaEventSourceConnection", "KAFKA_STATUS_EVENT": "kafkaPartitionOffsets"}
	levels := map[string]string{"ESM_PROCESSING_EVENT": "WARN", "POLLER_STATUS_EVENT": "INFO", "KAFKA_STATUS_EVENT": "DEBUG"}
	var e event
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var inside map[string]json.RawMessage
	if err := json.Unmarshal(all[about[e.EventType]], &inside); err != nil || e.LogLevel != levels[e.EventType] || e.Timestamp < 946684800_000 {
		t.Errorf("%s: %v", text, err)
	}
	for name := range maps.Keys(all) {
		if name != about[e.EventType] && !slices.Contains(eventMembers[""], name) {
			t.Errorf("it has %s: %s", name, text)
		}
	}
	for name := range maps.Keys(inside) {
		if !slices.Contains(eventMembers[about[e.EventType]], name) {
			t.Errorf("it has %s: %s", name, text)
		}
	}
	return e
}
