package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A scraper is a Prometheus that runs.
type scraper struct {
	t   *testing.T
	url string
}

// scrape runs a Prometheus that asks an address, and evaluates rules, each second.
func scrape(t *testing.T, program, target, rules string) *scraper {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"rules.yml": rules,
		"prom.yml": "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\n" +
			"scrape_configs:\n  - job_name: watch\n    static_configs: [{targets: ['" + target + "']}]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for attempt := range 3 { // another one may take the port
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		_ = l.Close()
		var said bytes.Buffer
		cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prom.yml"), "--storage.tsdb.path="+filepath.Join(dir, fmt.Sprint("data", attempt)),
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
		s, isReady := &scraper{t, "http://" + addr}, false
		await(t, "Prometheus is ready", time.Now().Add(10*time.Second), func() bool {
			select {
			case <-ended:
				return true
			default:
			}
			isReady = s.get("/api/v1/targets", new(any)) == nil
			return isReady
		})
		if isReady {
			return s
		}
	}
	t.Fatal("no Prometheus came up")
	return nil
}

// await asks until f is true, and ends the test if it is not before the deadline.
func await(t *testing.T, what string, deadline time.Time, f func() bool) {
	t.Helper()
	end, every := time.After(time.Until(deadline)), time.NewTicker(100*time.Millisecond)
	defer every.Stop()
	for !f() {
		select {
		case <-end:
			t.Fatalf("not before the deadline: %s", what)
		case <-every.C:
		}
	}
}

// get reads the data of an answer of its API.
func (s *scraper) get(path string, into any) error {
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Get(s.url + path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(&struct{ Data any }{into})
}

// must is get, and ends the test if that fails.
func (s *scraper) must(path string, into any) {
	s.t.Helper()
	if err := s.get(path, into); err != nil {
		s.t.Fatal(err)
	}
}

// has reports whether a query has a sample now.
func (s *scraper) has(q string) bool {
	s.t.Helper()
	var data struct{ Result []any }
	s.must("/api/v1/query?query="+url.QueryEscape(q), &data)
	return len(data.Result) > 0
}

// hasty makes rules that fire within seconds of those that take minutes.
func hasty(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../esmprom/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	const old = "esm_time_lag_at_least_seconds > 900 "
	if strings.Count(string(text), old) != 1 {
		t.Fatalf("the rules have another bound than %q", old)
	}
	// A wave leaves records waiting for 3 s or so, a partition that is held up for 7 s or more.
	rules := strings.Replace(string(text), old, "esm_time_lag_at_least_seconds > 5 ", 1)
	rules = regexp.MustCompile(`\[\d+m\]`).ReplaceAllString(rules, "[3s]")
	return regexp.MustCompile(`for: [1-9]\d*m`).ReplaceAllString(rules, "for: 1s")
}

// TestARealPrometheusSeesAlertsFireAndClear: it scrapes the example for a round of all phases.
func TestARealPrometheusSeesAlertsFireAndClear(t *testing.T) {
	program := os.Getenv("ESM_PROMETHEUS")
	if program == "" {
		t.Skip("ESM_PROMETHEUS is not the path of a Prometheus")
	}
	const wave = 10 * time.Second
	h, stop, err := (&settings{addr: "localhost:0", wave: wave, peak: 3000}).start(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	rules := hasty(t)
	p := scrape(t, program, strings.TrimSuffix(strings.TrimPrefix(h.url, "http://"), "/"), rules)
	at := h.function.started.Add

	var targets struct {
		ActiveTargets []struct{ Health, LastError string }
	}
	isUp := func() bool {
		p.must("/api/v1/targets", &targets)
		return len(targets.ActiveTargets) == 1 && targets.ActiveTargets[0].Health == "up"
	}
	await(t, "the target is healthy", at(wave), isUp)
	await(t, "billing polls records", at(wave), func() bool { return p.has(`increase(esm_events_polled_total{mapping="billing"}[3s]) > 0`) })

	// Each alert comes in its phase, and goes after it.
	for _, x := range []struct {
		alert    string
		from, to time.Duration
	}{{"EsmRecordsTooOld", wave, 2 * wave}, {"EsmThrottled", 3*wave - wave/2, 3 * wave}} {
		deadline := at(x.to + 7*time.Second) // the window of a rule and its for make it late
		firing := fmt.Sprintf(`ALERTS{alertname=%q,alertstate="firing",mapping="billing"}`, x.alert)
		await(t, x.alert+" fires", deadline, func() bool { return p.has("count_over_time(" + firing + "[1m])") })
		fires := time.Since(at(0))
		if p.has(fmt.Sprintf("count_over_time(%s[1m] @ %d)", firing, at(x.from).Unix())) {
			t.Errorf("%s fired before its phase", x.alert)
		}
		await(t, x.alert+" clears", deadline, func() bool { return time.Now().After(at(x.to)) && !p.has(firing) })
		t.Logf("%s fires at %.1f s, and is over at %.1f s", x.alert, fires.Seconds(), time.Since(at(0)).Seconds())
	}
	if p.has(`count_over_time(ALERTS{alertname="EsmThrottled",mapping!="billing"}[5m])`) {
		t.Error("EsmThrottled is active for the Mapping that is quick")
	}
	if !isUp() || p.has(`min_over_time(up[5m]) == 0`) {
		t.Errorf("a scrape failed: %+v", targets)
	}
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if p.must("/api/v1/rules", &data); len(data.Groups) != 1 || len(data.Groups[0].Rules) != strings.Count(rules, "- alert:") {
		t.Fatalf("the rules are %+v", data)
	}
	for _, r := range data.Groups[0].Rules {
		if r.Health != "ok" {
			t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
		}
	}
}
