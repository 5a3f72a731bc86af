package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// single runs one seed or plan, and shows everything of it.
func (h *host) single(ctx context.Context, t task, w work) (int, error) {
	runs, done, err := h.runner(ctx, t.native)
	if err != nil {
		return broken, err
	}
	defer done()
	v, err := runs(ctx, w)
	if err != nil {
		return broken, err
	}
	fmt.Fprintf(h.out, "seed %d\n", v.Seed)
	h.show(v, 200)
	if len(v.Broken) == 0 {
		fmt.Fprintf(h.out, "held for %s of virtual time; %s\n", time.Duration(v.VirtualNs), counted(v.Counts))
	}
	if v.Hash != "" {
		fmt.Fprintf(h.out, "hash %s\n", v.Hash)
	}
	if err := t.keep(v); err != nil || len(v.Broken) == 0 {
		return held, err
	}
	fmt.Fprintf(h.out, "again:  go run . %s%s\nshrink: go run . -shrink %s\n", t.subject(), nativeFlag(t.native), t.subject())
	return broken, nil
}

// runner compiles the simulation and returns what does one work.
func (h *host) runner(ctx context.Context, native bool) (runs func(context.Context, work) (run, error), done func(), err error) {
	if native {
		file, err := h.build(ctx, false, "")
		return func(ctx context.Context, w work) (run, error) { return h.nativeOne(ctx, file, w) }, func() {}, err
	}
	fmt.Fprintf(h.err, "compiling for WebAssembly; what wazero makes of it is kept in %s\n", h.cache)
	m, err := h.machine(ctx)
	if err != nil {
		return nil, nil, err
	}
	return m.run, func() { _ = m.close() }, nil
}

// show prints the plan of a run and what it broke.
func (h *host) show(v run, lines int) {
	fmt.Fprint(h.out, indent(v.Text))
	for _, b := range v.Broken {
		fmt.Fprintf(h.out, "BROKEN  %s\n", b)
	}
	if len(v.Broken) > 0 && v.log != "" {
		fmt.Fprintf(h.out, "log:\n%s", indent(excerpt(v.log, lines)))
	}
}

// keep writes the log of a run that failed, if -logs says where.
func (t task) keep(v run) error {
	if t.logs == "" || len(v.Broken) == 0 {
		return nil
	}
	if err := os.MkdirAll(t.logs, 0o755); err != nil {
		return err
	}
	all := fmt.Sprintf("seed %d\n%s\n%s\n%s\n\n%s", v.Seed, v.Text, v.Plan, strings.Join(v.Broken, "\n"), v.log)
	return os.WriteFile(filepath.Join(t.logs, fmt.Sprintf("seed-%d.log", v.Seed)), []byte(all), 0o644)
}

func nativeFlag(native bool) string {
	if native {
		return " -native"
	}
	return ""
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}

// isTerminal reports whether somebody watches.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
