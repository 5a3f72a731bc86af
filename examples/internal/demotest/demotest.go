// Package demotest has what the tests of all examples do.
package demotest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/seed429fd032/esm/examples/internal/demo"
)

// JSON runs an example with -json, decodes what it says into result, and returns
// its exit code.
func JSON(t *testing.T, ctx context.Context, name string, p demo.Program, stderr io.Writer, result any, args ...string) (exitCode int) {
	t.Helper()
	var out bytes.Buffer
	exitCode = demo.Run(ctx, name, p, append([]string{"-json"}, args...), &out, stderr)
	if err := json.Unmarshal(out.Bytes(), result); err != nil {
		t.Fatalf("stdout %q: %v", out.String(), err)
	}
	return exitCode
}

// Says runs an example for people, and fails the test unless it says all of
// these and its exit code is 0.
func Says(t *testing.T, name string, p demo.Program, args string, want ...string) {
	t.Helper()
	var out bytes.Buffer
	if code := demo.Run(t.Context(), name, p, strings.Fields(args), &out, t.Output()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, w := range want {
		if !strings.Contains(out.String(), w) {
			t.Errorf("it does not say %q:\n%s", w, out.String())
		}
	}
}

// Refuses fails the test unless an example refuses these arguments, each with
// words that say what to do, and writes nothing to its standard output.
func Refuses(t *testing.T, name string, program func() demo.Program, wrong map[string]string) {
	t.Helper()
	for args, want := range wrong {
		var out, errs bytes.Buffer
		if code := demo.Run(t.Context(), name, program(), strings.Fields(args), &out, &errs); code != 2 || !strings.Contains(errs.String(), want) || out.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, %q", args, code, errs.String(), out.String())
		}
	}
	if code := demo.Run(t.Context(), name, program(), []string{"-h"}, io.Discard, io.Discard); code != 0 {
		t.Errorf("-h: exit code %d", code)
	}
}

// OnText is a writer that calls a func when a text is written, and passes all on.
func OnText(w io.Writer, text string, f func()) io.Writer { return &onText{w, text, f} }

type onText struct {
	w    io.Writer
	text string
	f    func()
}

func (o *onText) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(o.text)) {
		o.f()
	}
	return o.w.Write(p)
}
