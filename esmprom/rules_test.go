package esmprom_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.yaml.in/yaml/v3"

	"github.com/seed429fd032/esm/esmprom"
	"github.com/seed429fd032/esm/esmtest"
)

// A rule is an alert of alerts.yml.
type rule struct {
	Alert, Expr string
	For         *string
	Labels      map[string]string
	Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	read(t, "alerts.yml", yaml.Unmarshal, &file)
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 15 {
		t.Fatalf("%+v", file)
	}
	return file.Groups[0].Rules
}

func read(t *testing.T, name string, parse func([]byte, any) error, into any) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err == nil {
		err = parse(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// A board is a dashboard of Grafana.
type board struct {
	Templating struct {
		List []struct {
			Name, Type, Definition string
		}
	}
	Panels []struct {
		ID         int
		Title      string
		Type       string
		Datasource *struct{ UID string }
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct {
			RefID, Expr string
			Datasource  struct{ UID string }
		}
	}
}

func dashboard(t *testing.T) (b board) {
	t.Helper()
	read(t, "dashboard.json", json.Unmarshal, &b)
	return b
}

// queries are those of the dashboard.
func (b *board) queries() (all []string) {
	for _, p := range b.Panels {
		for _, q := range p.Targets {
			all = append(all, q.Expr)
		}
	}
	return all
}

func TestEachAlertSaysWhatToDo(t *testing.T) {
	names := map[string]bool{}
	for _, r := range rules(t) {
		switch {
		case names[r.Alert] || !strings.HasPrefix(r.Alert, "Esm"):
			t.Errorf("the name %s", r.Alert)
		case r.For == nil:
			t.Errorf("%s has no for", r.Alert)
		case !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]):
			t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
		case !strings.Contains(r.Annotations["summary"], "{{ $labels.mapping }}"):
			t.Errorf("%s: the summary does not name the Mapping: %s", r.Alert, r.Annotations["summary"])
		case len(r.Annotations["description"]) < 80:
			t.Errorf("%s: %q", r.Alert, r.Annotations["description"])
		}
		names[r.Alert] = true
	}
}

func TestEachAlertHasATestThatFiresAndOneThatDoesNot(t *testing.T) {
	var file struct {
		Tests []struct {
			Rules []struct {
				Alert string `yaml:"alertname"`
				Fires []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	read(t, "alerts_test.yml", yaml.Unmarshal, &file)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, one := range file.Tests {
		for _, r := range one.Rules {
			fires[r.Alert] = fires[r.Alert] || len(r.Fires) > 0
			silent[r.Alert] = silent[r.Alert] || len(r.Fires) == 0
		}
	}
	for _, r := range rules(t) {
		if !fires[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s has a test that fires: %v, and one that does not: %v", r.Alert, fires[r.Alert], silent[r.Alert])
		}
	}
}

// TestRulesAndDashboardAskForWhatThereIs: a name that is misspelt is silent for ever.
func TestRulesAndDashboardAskForWhatThereIs(t *testing.T) {
	c := add(t, esmprom.New(), unstarted(t))
	ch := make(chan *prometheus.Desc, 1000)
	c.Describe(ch)
	close(ch)
	name := regexp.MustCompile(`fqName: "([^"]*)"`)
	known := map[string]bool{}
	for d := range ch {
		known[name.FindStringSubmatch(d.String())[1]] = true
	}
	for _, part := range []string{"_bucket", "_sum", "_count"} {
		known["esm_invoke_duration_seconds"+part] = true
	}
	there := gather(t, c)
	metric := regexp.MustCompile(`esm_[a-z0-9_]+`)
	selector := regexp.MustCompile(`(esm_\w+)\{([^}]*)\}`)
	label := regexp.MustCompile(`(phase|cause|with)=~?"([^"]*)"`)
	asked := map[string]bool{}
	b := dashboard(t)
	queries := b.queries()
	for _, r := range rules(t) {
		queries = append(queries, r.Expr)
	}
	for _, q := range queries {
		for _, m := range metric.FindAllString(q, -1) {
			if asked[m] = true; !known[m] {
				t.Errorf("there is no %s, for %s", m, q)
			}
		}
		for _, s := range selector.FindAllStringSubmatch(q, -1) {
			for _, l := range label.FindAllStringSubmatch(s[2], -1) {
				for value := range strings.SplitSeq(l[2], "|") {
					if _, ok := there[s[1]+"{"+value+"}"]; !ok {
						t.Errorf("there is no %s{%s=%q}, for %s", s[1], l[1], value, q)
					}
				}
			}
		}
	}
	for m := range known {
		if m != "esm_invoke_duration_seconds" && !asked[m] {
			t.Errorf("neither an alert nor the dashboard asks for %s", m)
		}
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	b := dashboard(t)
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range b.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the ID %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && (p.Datasource == nil || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0) {
			t.Errorf("%s: %+v", p.Title, p)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s is on %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.RefID] || q.Datasource.UID != "${datasource}" || !strings.Contains(q.Expr, `mapping=~"$mapping"`) {
				t.Errorf("%s: %+v", p.Title, q)
			}
			refs[q.RefID] = true
		}
	}
	if v := b.Templating.List; len(v) != 2 || v[0].Type != "datasource" || v[0].Name != "datasource" || v[1].Name != "mapping" || v[1].Definition != "label_values(esm_phase, mapping)" {
		t.Errorf("%+v", v)
	}
}

// promtool runs Prometheus' own tool. What it writes fails the test if it fails.
func promtool(t *testing.T, in string, args ...string) {
	t.Helper()
	tool := os.Getenv("ESM_PROMTOOL")
	if tool == "" {
		t.Skip("needs promtool: ESM_PROMTOOL is not set to its path")
	}
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Stdin = strings.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

func TestPromtoolTakesTheRules(t *testing.T) {
	promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")
	promtool(t, "", "test", "rules", "alerts_test.yml")
}

func TestPromtoolTakesTheMetrics(t *testing.T) {
	text := ""
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), quiet())
		k.Produce("orders", "a")
		time.Sleep(5 * time.Second)
		r := prometheus.NewRegistry()
		r.MustRegister(add(t, esmprom.New(esmprom.WithPartitions(true)), m))
		text = page(promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	})
	if !strings.Contains(text, "# HELP esm_partition_offset_lag ") || !strings.Contains(text, `esm_invoke_duration_seconds_bucket{mapping="billing",le="0.001"} `) {
		t.Fatal(text)
	}
	promtool(t, text, "check", "metrics")
}
