package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/seed429fd032/esm/internal/testing/build"
)

// virtual runs a plan in a bubble of its own.
func virtual(t *testing.T, p Plan) (r Result) {
	t.Helper()
	if !build.VirtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	synctest.Test(t, func(t *testing.T) { r = Run(t, p) })
	return r
}

// number is that of a variable of the environment.
func number(t *testing.T, name string, standard uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return standard
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestSeed runs what the environment says, for the command of the module sim: one
// seed (ESM_SIM_SEED), one plan (ESM_SIM_PLAN), or so many seeds (ESM_SIM_SEEDS, from
// ESM_SIM_FROM on, in steps of ESM_SIM_STEP). It prints a line of JSON for each.
func TestSeed(t *testing.T) {
	var plans []func() Plan
	add := func(seed uint64) { plans = append(plans, func() Plan { return Draw(seed) }) }
	switch text := os.Getenv("ESM_SIM_PLAN"); {
	case text != "":
		var p Plan
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatalf("ESM_SIM_PLAN: %v", err)
		}
		plans = append(plans, func() Plan { return p })
	case os.Getenv("ESM_SIM_SEEDS") != "":
		from, step := number(t, "ESM_SIM_FROM", 1), number(t, "ESM_SIM_STEP", 1)
		for i := range number(t, "ESM_SIM_SEEDS", 0) {
			add(from + i*step)
		}
	case os.Getenv("ESM_SIM_SEED") != "":
		add(number(t, "ESM_SIM_SEED", 0))
	default:
		t.Skip("says what the command of the module sim asks for")
	}
	for _, plan := range plans {
		p := plan()
		fmt.Printf("sim: begin %d %s\n", p.Seed, p.JSON())
		r := virtual(t, p)
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("sim: %s\n", b)
	}
}

// TestCorpus runs the plans that broke a promise once.
func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/corpus/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d plans: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c struct {
				Plan  Plan   `json:"plan"`
				Judge string `json:"judge"`
				Why   string `json:"why"`
			}
			if err := json.Unmarshal(b, &c); err != nil {
				t.Fatal(err)
			}
			for _, broken := range virtual(t, c.Plan).Broken {
				t.Error(broken)
			}
		})
	}
}

// TestSomeSeeds runs a few, always the same: volume is for the command of the module sim.
func TestSomeSeeds(t *testing.T) {
	for seed := range uint64(build.Volume(20, 5)) {
		p := Draw(seed + 1)
		r := virtual(t, p)
		for _, broken := range r.Broken {
			t.Errorf("seed %d: %s", p.Seed, broken)
		}
		if len(r.Broken) > 0 {
			t.Log(p)
		}
	}
}
