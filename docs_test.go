package esm_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// codeBlocks returns what a document shows as Go.
func codeBlocks(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, part := range strings.Split(string(text), "```go\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	return blocks
}

// TestReadmeCompiles: programs are compiled, and tests are those that run
// somewhere, to the letter.
func TestReadmeCompiles(t *testing.T) {
	var tests strings.Builder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || path == "docs_test.go" {
			return err
		}
		text, err := os.ReadFile(path)
		tests.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	blocks := codeBlocks(t, "README.md")
	if len(blocks) < 2 {
		t.Fatalf("%d blocks of Go in README.md", len(blocks))
	}
	for _, block := range blocks {
		if !strings.HasPrefix(block, "package ") {
			if !strings.Contains(tests.String(), block) {
				t.Errorf("no test reads like this:\n%s", block)
			}
			continue
		}
		if out, err := compile(t, block); err != nil {
			t.Errorf("%v\n%s\n%s", err, out, block)
		}
	}
}

// compile builds a program as if it stood in this module.
func compile(t *testing.T, program string) (output []byte, err error) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "internal", "readme", "main.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "program"), "-overlay", filepath.Join(dir, "overlay.json"), "./internal/readme").CombinedOutput()
}
