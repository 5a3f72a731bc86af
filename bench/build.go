package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// ErrMissing says that what a contender needs is not installed. It is left out
// then.
var ErrMissing = errors.New("left out")

// build makes the program of a peer, or of another folder, and returns how to
// run it.
func build(ctx context.Context, folder, into string) (command []string, err error) {
	if _, err := os.Stat(filepath.Join(folder, "pom.xml")); err == nil {
		return buildJava(ctx, folder)
	}
	if _, err := os.Stat(filepath.Join(folder, "stub.go")); err == nil {
		if out, err := exec.CommandContext(ctx, "go", "env", "CGO_ENABLED").Output(); err != nil || strings.TrimSpace(string(out)) != "1" {
			return nil, fmt.Errorf("%w: it needs cgo", ErrMissing)
		}
	}
	program := filepath.Join(into, filepath.Base(folder))
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	cmd.Dir = folder // a peer may be a module of its own
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w\n%s", folder, err, out)
	}
	return []string{program}, nil
}

// buildJava resolves and compiles a peer in Java into the user's cache. What is
// there already is used, if nothing of the folder has changed.
func buildJava(ctx context.Context, folder string) ([]string, error) {
	for _, program := range []string{"java", "javac", "mvn"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w: it needs a JDK 17 and Maven: %w", ErrMissing, err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	sources, err := filepath.Glob(filepath.Join(folder, "*.java"))
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	for _, name := range append(sources, filepath.Join(folder, "pom.xml")) {
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		hash.Write(content)
	}
	into := filepath.Join(cache, "esm-bench-"+filepath.Base(folder)+"-"+hex.EncodeToString(hash.Sum(nil)[:6]))
	lib, classes := filepath.Join(into, "lib"), filepath.Join(into, "classes")
	path := classes + string(os.PathListSeparator) + filepath.Join(lib, "*")
	command := []string{"java", "-Xmx1g", "-cp", path, "Peer"}
	if _, err := os.Stat(filepath.Join(into, "complete")); err == nil {
		return command, nil
	}
	if err := os.MkdirAll(classes, 0o755); err != nil {
		return nil, err
	}
	// Maven writes beside the POM, so it gets a copy of it.
	pom, err := os.ReadFile(filepath.Join(folder, "pom.xml"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(into, "pom.xml"), pom, 0o644); err != nil {
		return nil, err
	}
	mvn := exec.CommandContext(ctx, "mvn", "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+lib)
	mvn.Dir = into
	if out, err := mvn.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mvn could not resolve %s: %w\n%s", folder, err, out)
	}
	args := append([]string{"-nowarn", "-d", classes, "-cp", filepath.Join(lib, "*")}, sources...)
	if out, err := exec.CommandContext(ctx, "javac", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("javac: %w\n%s", err, out)
	}
	return command, os.WriteFile(filepath.Join(into, "complete"), nil, 0o644)
}
