package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// proof is how often a plan has to break in a row, run natively, to count as one
// that breaks repeatedly.
const proof = 5

// A way is how the plans of a shrinking are run: natively, or in WebAssembly. A plan
// breaks if one of so many runs does.
type way struct {
	runs  func(context.Context, work) (run, error)
	tries int
}

// breaks returns the first run in which the judge found something.
func (y way) breaks(ctx context.Context, w work, judge string) (run, bool, error) {
	for range y.tries {
		v, err := y.runs(ctx, w)
		if err != nil {
			return v, false, err
		}
		if v.brokenBy(judge) {
			return v, true, nil
		}
	}
	return run{}, false, nil
}

// shrink looks for the shortest plan that still breaks what this one does, and
// writes it into the corpus.
func (h *host) shrink(ctx context.Context, t task, w work) (int, error) {
	y, first, done, err := h.wayOf(ctx, w)
	if err != nil {
		return broken, err
	}
	defer done()
	if len(first.Broken) == 0 {
		fmt.Fprintf(h.out, "every promise held: there is nothing to shrink\n")
		return held, nil
	}
	judge := first.judge()
	fmt.Fprintf(h.out, "seed %d breaks: %s\n", first.Seed, first.Broken[0])
	if w.plan == nil {
		w.plan = first.Plan
	}
	if len(w.plan) == 0 {
		return broken, errors.New("it ended before it said what its plan is, so there is nothing to leave out")
	}
	last := first
	faults, err := faultsOf(w.plan)
	if err != nil {
		return broken, err
	}
	least, err := shortest(faults, func(some []json.RawMessage) (bool, error) {
		plan, err := withFaults(w.plan, some)
		if err != nil {
			return false, err
		}
		v, yes, err := y.breaks(ctx, work{w.seed, plan}, judge)
		word := "holds"
		if yes {
			last, word = v, "breaks"
		}
		fmt.Fprintf(h.err, "%d of %d faults: %s\n", len(some), len(faults), word)
		return yes, err
	})
	if err != nil {
		return broken, err
	}
	plan, err := withFaults(w.plan, least)
	if err != nil {
		return broken, err
	}
	fmt.Fprintf(h.out, "the shortest plan has %d of %d faults:\n", len(least), len(faults))
	h.show(last, 40)
	file := t.out
	if file == "" {
		file = filepath.Join(h.root, "internal", "sim", "testdata", "corpus", fmt.Sprintf("%s-%d.json", nameOf(judge), w.seed))
	}
	if err := write(file, entry{Plan: plan, Judge: judge, Why: last.Broken[0]}); err != nil {
		return broken, err
	}
	fmt.Fprintf(h.out, "written: %s\n", file)
	return broken, nil
}

// wayOf finds out how a plan breaks repeatedly. Native runs are ten times as fast,
// but a failure that needs one order of goroutines is not in each of them.
func (h *host) wayOf(ctx context.Context, w work) (y way, first run, done func(), err error) {
	native, _, err := h.runner(ctx, true)
	if err != nil {
		return y, first, nil, err
	}
	n := 0
	for range proof {
		v, err := native(ctx, w)
		if err != nil {
			return y, first, nil, err
		}
		if len(v.Broken) > 0 && (n == 0 || v.brokenBy(first.judge())) {
			if n++; n == 1 {
				first = v
			}
		}
	}
	if n == proof {
		return way{native, 2}, first, func() {}, nil
	}
	fmt.Fprintf(h.out, "it breaks in %d of %d native runs, so it is run in WebAssembly\n", n, proof)
	wasm, done, err := h.runner(ctx, false)
	if err != nil {
		return y, first, nil, err
	}
	v, err := wasm(ctx, w)
	switch {
	case err != nil:
		done()
		return y, first, nil, err
	case len(v.Broken) > 0:
		return way{wasm, 1}, v, done, nil
	case n > 0: // even so it can be shrunk, and only more slowly
		fmt.Fprintf(h.out, "it holds in WebAssembly: a plan counts as broken if one of %d native runs is\n", 4*proof)
	}
	return way{native, 4 * proof}, first, done, nil
}

// nameOf makes part of a file's name of a judge.
func nameOf(judge string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, judge)
}

// write writes an entry of the corpus.
func write(file string, e entry) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(e); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
