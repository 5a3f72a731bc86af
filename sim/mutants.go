package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A mutant is an entry of the index that internal/testing/mutants writes.
type mutant struct {
	Name    string
	Package string
	Symbol  string
	Overlay string // a file beside the index
}

// A finding is what came of one mutant.
type finding struct {
	mutant mutant
	judge  string // "" if every seed held
	text   string
	seeds  uint64 // until it was found, or that held
	noise  bool   // the seed breaks the same without the mutant
	timeUp bool
	absent bool // no run links what it breaks
}

// mutants runs each mutant until a judge finds it, and prints the table.
func (h *host) mutants(ctx context.Context, t task) (int, error) {
	all, err := h.table(ctx, t.match)
	if err != nil {
		return broken, err
	}
	whole, _, err := h.runner(ctx, true)
	if err != nil {
		return broken, err
	}
	linked, err := h.linked(ctx)
	if err != nil {
		return broken, err
	}
	var found []finding
	for i, m := range all {
		f, err := h.find(ctx, t, m, linked)
		if err != nil {
			return broken, fmt.Errorf("%s: %w", m.Name, err)
		}
		if f.judge != "" {
			v, err := whole(ctx, work{seed: t.from + f.seeds - 1})
			if err != nil {
				return broken, err
			}
			f.noise = v.brokenBy(f.judge)
		}
		fmt.Fprintf(h.err, "%d of %d: %s %s\n", i+1, len(all), f.row(), f.text)
		found = append(found, f)
	}
	table := markdown(found, t.from)
	fmt.Fprint(h.out, table)
	if t.out != "" {
		return held, os.WriteFile(t.out, []byte(table), 0o644)
	}
	return held, nil
}

// table has the mutants written by the command that owns their table.
func (h *host) table(ctx context.Context, match string) ([]mutant, error) {
	dir := filepath.Join(h.temp, "mutants")
	cmd := exec.CommandContext(ctx, "go", "run", "./internal/testing/mutants", "-all", "-write", dir)
	cmd.Dir = h.root
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the mutants cannot be written: %w\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return nil, err
	}
	var all, some []mutant
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	for _, m := range all {
		if yes, err := regexp.MatchString(match, m.Name); err != nil {
			return nil, err
		} else if yes {
			m.Overlay = filepath.Join(dir, m.Overlay)
			some = append(some, m)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("%w: no mutant matches %q", errMisuse, match)
	}
	return some, nil
}

// linked returns the folders of the packages that the simulation has.
func (h *host) linked(ctx context.Context) (map[string]bool, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-test", "-tags", "synctests", "-f", "{{with .Module}}{{if .Main}}{{$.Dir}}{{end}}{{end}}", "./internal/sim")
	cmd.Dir = h.root
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	linked := map[string]bool{}
	for dir := range strings.Lines(string(out)) {
		linked[strings.TrimSpace(dir)] = true
	}
	return linked, nil
}

// find runs seeds over one mutant until one breaks.
func (h *host) find(ctx context.Context, t task, m mutant, linked map[string]bool) (f finding, err error) {
	f.mutant = m
	if !linked[filepath.Join(h.root, m.Package)] {
		f.absent = true
		return f, nil
	}
	file, err := h.build(ctx, false, m.Overlay)
	if err != nil {
		return f, err
	}
	limited, cancel := context.WithTimeout(ctx, t.each)
	defer cancel()
	// The first seed that breaks is the same whoever is faster: seeds below it are
	// run to their end.
	best := t.from + t.seeds
	share := func(ctx context.Context, from, n uint64, each func(run) bool) error {
		return h.nativeSeeds(ctx, file, from, n, each)
	}
	err = inShares(limited, t.from, t.seeds, 10, share, func(v run) bool {
		switch {
		case v.Seed < best && len(v.Broken) > 0:
			best, f.judge, f.text, f.seeds = v.Seed, v.judge(), v.Broken[0], v.Seed-t.from+1
		case f.judge == "":
			f.seeds++
		}
		return v.Seed < best
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		f.timeUp, err = f.judge == "", nil
	}
	return f, err
}

func (f finding) row() string {
	by, seeds := f.judge, fmt.Sprint(f.seeds)
	switch {
	case f.absent:
		by, seeds = "nobody", "not part of the simulation"
	case f.judge == "" && f.timeUp:
		by, seeds = "nobody", fmt.Sprintf("%d held, and the time was up", f.seeds)
	case f.judge == "":
		by, seeds = "nobody", fmt.Sprintf("%d held", f.seeds)
	case f.noise:
		by += " (without the mutant too)"
	}
	return fmt.Sprintf("| %s | %s | %s |", strings.ReplaceAll(f.mutant.Name, "|", "\\|"), by, seeds)
}

// markdown is the table of all.
func markdown(found []finding, from uint64) string {
	var b strings.Builder
	n := 0
	b.WriteString("| mutant | judge that found it | seeds until |\n| --- | --- | --- |\n")
	for _, f := range found {
		if f.judge != "" && !f.noise {
			n++
		}
		b.WriteString(f.row() + "\n")
	}
	fmt.Fprintf(&b, "\n%d of %d mutants were found; the first seed was %d.\n", n, len(found), from)
	return b.String()
}
