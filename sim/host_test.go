package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cache is what wazero compiled for the tests of this process.
var cache string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "esm-sim-test")
	if err != nil {
		panic(err)
	}
	cache = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// fake runs the command over a stand-in of the simulation, in which the last digit
// of a seed is how the run ends.
func fake(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	return fakeContext(t.Context(), t, args...)
}

func fakeContext(ctx context.Context, t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	root := filepath.Join(workdir(t), "testdata", "fake")
	var out bytes.Buffer
	code = command(ctx, host{root: root, cache: cache, out: &out, err: t.Output()}, args)
	t.Logf("%s: exit code %d\n%s", args, code, out.String())
	return code, out.String()
}

func wants(t *testing.T, code int, said string, want int, words ...string) {
	t.Helper()
	if code != want {
		t.Errorf("exit code %d, and not %d", code, want)
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("it does not say %q", w)
		}
	}
}

// TestSeedIsOneRun: what a native process leaves to chance follows from the seed in
// WebAssembly, and another seed has another run.
func TestSeedIsOneRun(t *testing.T) {
	h := host{root: filepath.Join(workdir(t), "testdata", "fake"), cache: cache, temp: t.TempDir(), err: t.Output(), hang: time.Minute}
	hashes := func(native bool, seeds ...uint64) (all []string) {
		runs, done, err := h.runner(t.Context(), native)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		for _, seed := range seeds {
			v, err := runs(t.Context(), work{seed: seed})
			if err != nil || len(v.Broken) > 0 || len(v.Hash) != 16 {
				t.Fatalf("%+v, %v", v, err)
			}
			all = append(all, v.Hash)
		}
		return all
	}
	if h := hashes(true, 1, 1); h[0] == h[1] {
		t.Error("two native runs are the same, so the test compares nothing")
	}
	first, later := hashes(false, 1, 2, 1), hashes(false, 1)
	if first[0] != first[2] || first[0] != later[0] {
		t.Errorf("runs of a seed differ: %s, %s", first, later)
	}
	if first[0] == first[1] {
		t.Error("two seeds are one run")
	}
}

func TestSingle(t *testing.T) {
	code, said := fake(t, "-seed", "1", "-native")
	wants(t, code, said, held, "seed 1\n", "faults 20", "held for 1m0s of virtual time; records 10", "hash ")
}

func workdir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestEachEnd: every end is charged to its seed, the others go on, and the logs of
// those that fail are kept.
func TestEachEnd(t *testing.T) {
	for _, native := range []bool{true, false} {
		name, args := "wasm", []string{"-twice"}
		if native {
			name, args = "native", []string{"-native"}
		}
		t.Run(name, func(t *testing.T) {
			logs := t.TempDir()
			code, said := fake(t, append(args, "-seeds", "6", "-from", "2", "-hang", "4s", "-logs", logs)...)
			wants(t, code, said, broken, "seeds 2 to 7", "6 of 6 seeds", "BROKEN in 5 seeds: crash 4, lost 1",
				"    crash: 4 5 6 7\n", "    lost: 3\n", "BROKEN  lost: a record of partition 1", "panic: as seed 4 does",
				"no verdict came for 4s", "BROKEN  crash: it ended without a verdict", "deadlock", "again: go run . -seed 3"+nativeFlag(native)+"\n",
				"faults: kill 4\n", "counts: records 20\n")
			files, _ := filepath.Glob(logs + "/*")
			if len(files) != 5 || filepath.Base(files[0]) != "seed-3.log" {
				t.Fatalf("logs: %s", files)
			}
			if log, err := os.ReadFile(files[1]); err != nil || !bytes.Contains(log, []byte("the log of seed 4\n")) || !bytes.Contains(log, []byte("panic: as seed 4 does")) {
				t.Errorf("%v\n%s", err, log)
			}
		})
	}
}

// TestTwiceSeesWhatDiffers, because a hash that is compared with itself says nothing.
func TestTwiceSeesWhatDiffers(t *testing.T) {
	hashes := []string{"a", "b"}
	runs := func(context.Context, work) (run, error) {
		h := hashes[0]
		hashes = hashes[1:]
		return run{Hash: h}, nil
	}
	v, err := once(t.Context(), runs, work{seed: 1}, true)
	if err != nil || v.judge() != "twice" || !strings.Contains(v.Broken[0], "a and b") {
		t.Errorf("%v, %v", v.Broken, err)
	}
}

func TestShrinkLeavesWhatBreaks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "corpus", "lost.json")
	code, said := fake(t, "-seed", "13", "-shrink", "-o", file)
	wants(t, code, said, broken, "seed 13 breaks: lost: a record of partition 1", "the shortest plan has 2 of 20 faults", "written: "+file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var e struct {
		entry
		Plan struct {
			Seed   int
			Note   string
			Faults []struct{ At int }
		} `json:"plan"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	if e.Plan.Seed != 13 || e.Plan.Note != "a < b" || len(e.Plan.Faults) != 2 || e.Plan.Faults[0].At != 5 || e.Plan.Faults[1].At != 13 {
		t.Errorf("%s", text)
	}
	if e.Judge != "lost" || e.Why != "lost: a record of partition 1" {
		t.Errorf("%s", text)
	}
	code, said = fake(t, "-plan", file, "-native")
	wants(t, code, said, broken, "faults 2\n", "BROKEN  lost")
}

// TestShrinkOfACrash has no verdict to take the plan from.
func TestShrinkOfACrash(t *testing.T) {
	file := filepath.Join(t.TempDir(), "crash.json")
	code, said := fake(t, "-seed", "4", "-shrink", "-o", file)
	wants(t, code, said, broken, "the shortest plan has 0 of 20 faults")
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(text, []byte(`"judge": "crash"`)) {
		t.Errorf("%s, %v", text, err)
	}
}

// TestShrinkOfWhatHoldsNatively goes where a run repeats itself.
func TestShrinkOfWhatHoldsNatively(t *testing.T) {
	file := filepath.Join(t.TempDir(), "order.json")
	code, said := fake(t, "-seed", "8", "-shrink", "-o", file)
	wants(t, code, said, broken, "it breaks in 0 of 5 native runs, so it is run in WebAssembly", "the shortest plan has 1 of 20 faults")
}

func TestShrinkOfWhatHolds(t *testing.T) {
	code, said := fake(t, "-seed", "1", "-shrink")
	wants(t, code, said, held, "nothing to shrink")
}

func TestMutants(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mutants.md")
	code, said := fake(t, "-mutants", "-seeds", "2", "-hang", "2s", "-o", file)
	wants(t, code, said, held, "| breaks | mutant | 2 |\n", "| hangs | crash | 1 |\n", "| nothing | nobody | 2 held |\n",
		"| elsewhere | nobody | not part of the simulation |\n", "2 of 4 mutants were found; the first seed was 1.")
	if text, err := os.ReadFile(file); err != nil || string(text) != said {
		t.Errorf("%v\n%s", err, text)
	}
	code, said = fake(t, "-mutants", "-from", "13", "-match", "^noth", "-native")
	wants(t, code, said, held, "| nothing | lost (without the mutant too) | 1 |\n", "0 of 1 mutants")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, said := fakeContext(ctx, t, "-seeds", "3", "-native")
	wants(t, code, said, broken)
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{
		{}, {"17"}, {"-seed", "x"}, {"-seed", "1", "-seeds", "2"}, {"-seed", "1", "-from", "2"}, {"-seeds", "1", "-native", "-twice"},
		{"-seeds", "1", "-shrink"}, {"-seed", "1", "-match", "x"}, {"-mutants", "-match", "("}, {"-seed", "1", "-o", "x"},
		{"-seed", "1", "-hang", "0s"}, {"-plan", "nowhere.json"}, {"-mutants", "-match", "no such"},
	} {
		if code, said := fake(t, args...); code != misuse {
			t.Errorf("%s: exit code %d\n%s", args, code, said)
		}
	}
	if code, _ := fake(t, "-h"); code != held {
		t.Errorf("exit code of -h: %d", code)
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "wazero"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(dir, "wazero", name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := prune(dir, 2); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(dir + "/wazero/*")
	if len(left) != 2 {
		t.Errorf("%s are left", left)
	}
}
