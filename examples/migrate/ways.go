package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/migrate/function"
	"github.com/seed429fd032/esm/lambdalocal"
)

// handler is the function in this process.
func handler(_ context.Context, ledger string) (*way, esm.Invoker, func() error, error) {
	if err := os.Setenv("LEDGER", ledger); err != nil {
		return nil, nil, nil, err
	}
	inv, err := lambdalocal.Handler(function.Handle, lambdalocal.WithReportBatchItemFailures(true))
	return &way{Name: "handler"}, inv, func() error { return nil }, err
}

// process is the program that is deployed.
func process(ctx context.Context, ledger string) (*way, esm.Invoker, func() error, error) {
	program := filepath.Join(filepath.Dir(ledger), "bootstrap")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/seed429fd032/esm/examples/migrate/function/cmd")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, nil, nil, fmt.Errorf("build the function: %w: %s", err, out)
	}
	p, err := lambdalocal.NewProcess([]string{program}, lambdalocal.WithEnv("LEDGER="+ledger), lambdalocal.WithReportBatchItemFailures(true))
	if err != nil {
		return nil, nil, nil, err
	}
	return &way{Name: "process"}, p, p.Close, nil
}

// python is the twin of the function.
func python(ctx context.Context, ledger string) (*way, esm.Invoker, func() error, error) {
	w := &way{Name: "python"}
	dir, err := folder(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := exec.CommandContext(ctx, "python3", "-c", "import awslambdaric, runtime_client").Run(); err != nil {
		w.Skipped = "there is no Python with awslambdaric (pip install awslambdaric)"
		return w, nil, nil, nil
	}
	p, err := lambdalocal.NewProcess([]string{"python3", "-m", "awslambdaric", "app.handler"},
		lambdalocal.WithDir(dir), lambdalocal.WithEnv("LEDGER="+ledger), lambdalocal.WithReportBatchItemFailures(true))
	if err != nil {
		return nil, nil, nil, err
	}
	return w, p, p.Close, nil
}

// folder is where the function is.
func folder(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/seed429fd032/esm/examples/migrate/function").Output()
	if err != nil {
		return "", fmt.Errorf("find the function: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
