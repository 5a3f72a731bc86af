package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// A machine has the simulation compiled, and runs any number of instances of it,
// also at once: they share nothing.
type machine struct {
	runtime wazero.Runtime
	module  wazero.CompiledModule
	cache   wazero.CompilationCache
	hang    time.Duration
}

func (h *host) machine(ctx context.Context) (*machine, error) {
	file, err := h.build(ctx, true, "")
	if err != nil {
		return nil, err
	}
	code, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cache, err := wazero.NewCompilationCacheWithDir(h.cache)
	if err != nil {
		return nil, err
	}
	config := wazero.NewRuntimeConfig().WithCompilationCache(cache).WithCloseOnContextDone(true)
	m := &machine{runtime: wazero.NewRuntimeWithConfig(ctx, config), cache: cache, hang: h.hang}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, m.runtime); err != nil {
		return nil, errors.Join(err, m.close())
	}
	m.module, err = m.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, goruntime.GOMAXPROCS(0)), code)
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, prune(h.cache, 4)
}

func (m *machine) close() error {
	ctx := context.Background()
	return errors.Join(m.runtime.Close(ctx), m.cache.Close(ctx))
}

// start is when the clocks begin. A bubble has a clock of its own.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// run does one work. Whatever is left to chance elsewhere follows from its seed:
// entropy, and clocks that go on by a microsecond whenever one is read. There is
// one thread, so nothing else makes a difference.
func (m *machine) run(ctx context.Context, w work) (v run, err error) {
	within, cancel := context.WithTimeout(ctx, m.hang)
	defer cancel()
	n := 0
	r := &reader{each: func(r run) { v = r; n++ }}
	var now int64
	tick := func() int64 { now += 1000; return now }
	// A hang outside a bubble comes to the limit of the test at once, because to
	// sleep takes no time here.
	config := wazero.NewModuleConfig().WithName("").
		WithArgs("sim", "-test.run", "^TestSeed$", "-test.timeout", "10m").
		WithEnv("GOTRACEBACK", "all").
		WithStdout(r).WithStderr(r).
		WithRandSource(entropy(w.seed)).
		WithNanotime(tick, 1).
		WithWalltime(func() (int64, int32) {
			t := start.Add(time.Duration(tick()))
			return t.Unix(), int32(t.Nanosecond())
		}, 1).
		WithNanosleep(func(d int64) { now += max(d, 0) })
	env := w.env()
	if long, ok := os.LookupEnv("ESM_SIM_LONG"); ok {
		env = append(env, "ESM_SIM_LONG="+long)
	}
	for _, e := range env {
		key, value, _ := strings.Cut(e, "=")
		config = config.WithEnv(key, value)
	}
	instance, err := m.runtime.InstantiateModule(within, m.module, config)
	if instance != nil {
		defer instance.Close(context.Background())
	}
	how := ""
	var exit *sys.ExitError
	switch {
	case ctx.Err() != nil:
		return v, ctx.Err()
	case within.Err() != nil:
		how = fmt.Sprintf("no verdict came for %s", m.hang)
	case errors.As(err, &exit) && exit.ExitCode() != 0:
		how = fmt.Sprintf("exit status %d", exit.ExitCode())
	case err != nil && exit == nil:
		how = err.Error()
	}
	if err := r.end(how); err != nil {
		return v, err
	}
	if n != 1 {
		return v, fmt.Errorf("one run was asked for, and %d came", n)
	}
	return v, nil
}

// entropy returns random bytes that follow from a seed.
func entropy(seed uint64) *rand.ChaCha8 {
	return rand.NewChaCha8(sha256.Sum256([]byte("esm-sim " + strconv.FormatUint(seed, 10))))
}

// print identifies a run: by its hash, or by all that was printed if it has none.
func (v run) print() string {
	if v.Hash != "" {
		return v.Hash
	}
	sum := sha256.Sum256([]byte(strings.Join(v.Broken, "\n") + v.log))
	return hex.EncodeToString(sum[:8])
}
