package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// cacheFolder returns where wazero keeps what it has compiled: a minute's work on a
// loaded machine.
func cacheFolder() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "esm-sim")
}

// prune leaves the newest files of wazero's cache. Each change of the simulation
// makes another, of a hundred megabytes.
func prune(cache string, keep int) error {
	files, err := filepath.Glob(filepath.Join(cache, "*", "*"))
	if err != nil {
		return err
	}
	type file struct {
		name string
		time time.Time
	}
	var all []file
	for _, name := range files {
		info, err := os.Stat(name)
		if err == nil && info.Mode().IsRegular() {
			all = append(all, file{name, info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b file) int { return cmp.Or(b.time.Compare(a.time), cmp.Compare(a.name, b.name)) })
	for _, f := range all[min(keep, len(all)):] {
		if err := os.Remove(f.name); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// build compiles the simulation, natively or to WebAssembly, with an overlay if one
// is given.
func (h *host) build(ctx context.Context, wasm bool, overlay string) (file string, err error) {
	file = filepath.Join(h.temp, "sim.test")
	args := []string{"test", "-c", "-tags", "synctests", "-vet=off"}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
		file = filepath.Join(h.temp, "mutant.test")
	}
	if wasm {
		file = filepath.Join(h.temp, "sim.wasm")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", file, "./internal/sim")...)
	cmd.Dir = h.root
	if wasm {
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	}
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the simulation does not compile: %w\n%s", err, out)
	}
	return file, nil
}
