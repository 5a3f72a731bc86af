package esmprom_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmprom"
	"github.com/seed429fd032/esm/esmtest"
)

// A server is a Prometheus that runs.
type server struct {
	t   *testing.T
	url string
}

// startPrometheus runs a Prometheus that scrapes an address each second.
func startPrometheus(t *testing.T, target, rules string) *server {
	t.Helper()
	program := os.Getenv("ESM_PROMETHEUS")
	if program == "" {
		t.Skip("needs a Prometheus: ESM_PROMETHEUS is not set to its path")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"rules.yml": rules,
		"prom.yml": "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\n" +
			"scrape_configs:\n  - job_name: esm\n    static_configs: [{targets: ['" + target + "']}]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for attempt := range 3 { // another one may take the port
		if s := runPrometheus(t, program, dir, fmt.Sprint("data", attempt)); s != nil {
			return s
		}
	}
	t.Fatal("no Prometheus came up")
	return nil
}

// runPrometheus returns nil if it does not come up.
func runPrometheus(t *testing.T, program, dir, data string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	var said bytes.Buffer
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prom.yml"), "--storage.tsdb.path="+filepath.Join(dir, data),
		"--web.listen-address="+addr, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("Prometheus said:\n%s", &said)
		}
	})
	s := &server{t, "http://" + addr}
	up := eventually(20*time.Second, func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		return s.get("/-/ready", nil) == nil
	})
	select {
	case <-ended:
		t.Logf("Prometheus ended: %s", &said)
		return nil
	default:
	}
	if !up {
		t.Fatal("Prometheus is not ready")
	}
	return s
}

// eventually asks until f is true, and reports whether it was before the time was over.
func eventually(most time.Duration, f func() bool) bool {
	end, every := time.After(most), time.NewTicker(100*time.Millisecond)
	defer every.Stop()
	for !f() {
		select {
		case <-end:
			return false
		case <-every.C:
		}
	}
	return true
}

// get reads the data of an answer of its API.
func (s *server) get(path string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if into != nil {
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return fmt.Errorf("%s: %w", resp.Status, err)
		}
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", resp.Status, answer.Error)
	case into == nil:
		return nil
	}
	return json.Unmarshal(answer.Data, into)
}

// query returns the labels of the samples of a query.
func (s *server) query(q string) (samples []map[string]string, err error) {
	var data struct {
		Result []struct{ Metric map[string]string }
	}
	err = s.get("/api/v1/query?query="+url.QueryEscape(q), &data)
	for _, r := range data.Result {
		samples = append(samples, r.Metric)
	}
	return samples, err
}

// fires reports whether an alert of a Mapping does.
func (s *server) fires(alert, mapping string) bool {
	var data struct {
		Alerts []struct {
			State  string
			Labels map[string]string
		}
	}
	if err := s.get("/api/v1/alerts", &data); err != nil {
		s.t.Error(err)
	}
	for _, a := range data.Alerts {
		if a.Labels["alertname"] == alert && a.Labels["mapping"] == mapping && a.State == "firing" {
			return true
		}
	}
	return false
}

// until waits for an alert to fire, or to end.
func (s *server) until(alert string, fires bool) {
	s.t.Helper()
	began := time.Now()
	if !eventually(30*time.Second, func() bool { return s.fires(alert, "billing") == fires }) {
		s.t.Errorf("%s fires: %v", alert, !fires)
	}
	s.t.Logf("%s fires: %v, after %s", alert, fires, time.Since(began).Round(time.Second/10))
}

// hasty makes rules that fire within seconds of those that take minutes.
func hasty(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`\[\d+m\]`).ReplaceAll(text, []byte("[4s]"))
	return string(regexp.MustCompile(`for: \d+m`).ReplaceAll(text, []byte("for: 1s")))
}

// TestARealPrometheusTakesAllOfIt: it scrapes a Mapping, answers each query of the dashboard
// with samples and those of the alerts without an error, and alerts come and go.
func TestARealPrometheusTakesAllOfIt(t *testing.T) {
	const hostile = "nul\x00 no text\xff \"quoted\" back\\ \n東京"
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
	var g gate
	source := k.Source("orders", "group")
	source.Client = append(source.Client, g.through(k))
	var fails atomic.Bool
	m := esmtest.Start(t, source, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
		if fails.Load() {
			return errors.New("billing is down")
		}
		var f esm.Failures
		for _, r := range b.Records {
			if string(r.Value) == "poison" {
				f.Add(r, errors.New("not an order"))
			}
		}
		return f.Err()
	}), quiet(), esm.WithName("billing"), esm.WithMaxConcurrency(50), esm.WithBackoff(esm.Constant(300*time.Millisecond)))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(add(t, esmprom.New(esmprom.WithPartitions(true)), m, unstarted(t, esm.WithName(hostile))))
	metrics := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer metrics.Close()
	p := startPrometheus(t, strings.TrimPrefix(metrics.URL, "http://"), hasty(t))

	// A partition is held up, and the others go on.
	k.ProduceTo("orders", 3, "poison")
	produced, end := make(chan struct{}), make(chan struct{})
	client := k.Client()
	go func() {
		defer close(produced)
		every := time.NewTicker(50 * time.Millisecond)
		defer every.Stop()
		for n := int32(0); ; n++ {
			select {
			case <-end:
				return
			case <-every.C:
				order := esmtest.At(n%3, &kgo.Record{Topic: "orders", Value: []byte("order")})
				if err := client.ProduceSync(t.Context(), order).FirstErr(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	defer func() { close(end); <-produced }()

	p.answers(dashboard(t))
	for _, r := range rules(t) {
		if _, err := p.query(r.Expr); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
	}
	if found, err := p.query(`esm_phase{phase="new"} == 1`); err != nil || len(found) != 1 || found[0]["mapping"] != `nul\x00 no text\xff \"quoted\" back\\ \n東京` {
		t.Errorf("of the other Mapping there is %q: %v", found, err)
	}

	fails.Store(true)
	p.until("EsmFunctionFails", true)
	fails.Store(false)
	p.until("EsmFunctionFails", false)

	if p.fires("EsmLagUnknown", "billing") {
		t.Error("the lag is unknown before it is")
	}
	g.set(k.Brokers()[0], true)
	p.until("EsmLagUnknown", true)
	g.set(k.Brokers()[0], false)
	p.until("EsmLagUnknown", false)
	p.healthy()
}

// answers fails the test unless each query of a dashboard has a sample in a while.
func (s *server) answers(b board) {
	s.t.Helper()
	began := time.Now()
	filled := strings.NewReplacer("$mapping", ".+", "$__rate_interval", "5s", "$__range", "1m")
	left := b.queries()
	if !eventually(30*time.Second, func() bool {
		var silent []string
		for _, q := range left {
			found, err := s.query(filled.Replace(q))
			if err != nil {
				s.t.Fatalf("%s: %v", q, err)
			}
			if len(found) == 0 {
				silent = append(silent, q)
			}
		}
		left = silent
		return len(left) == 0
	}) {
		s.t.Errorf("these have no sample:\n%s", strings.Join(left, "\n"))
	}
	s.t.Logf("the dashboard has samples after %s", time.Since(began).Round(time.Second/10))
	var names []string
	if err := s.get("/api/v1/label/mapping/values?match[]=esm_phase", &names); err != nil || len(names) != 2 {
		s.t.Errorf("the variable mapping has %q: %v", names, err)
	}
}

// healthy fails the test if a rule could not be evaluated, or a scrape failed.
func (s *server) healthy() {
	s.t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := s.get("/api/v1/rules", &data); err != nil || len(data.Groups) != 1 {
		s.t.Fatalf("%+v: %v", data, err)
	}
	for _, r := range data.Groups[0].Rules {
		if r.Health != "ok" {
			s.t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
		}
	}
	if failed, err := s.query(`min_over_time(up[5m]) == 0`); err != nil || len(failed) > 0 {
		s.t.Errorf("a scrape failed: %v, %v", failed, err)
	}
}
