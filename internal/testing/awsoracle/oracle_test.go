package awsoracle

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An object is one of JSON.
type object = map[string]any

// ask runs a script of testdata: in is its standard input, and out is made of what it writes.
func ask(t *testing.T, script string, in []byte, out any) {
	t.Helper()
	python := os.Getenv("ESM_AWS_PYTHON")
	if python == "" {
		t.Skip("ESM_AWS_PYTHON names no python3 with boto3, aws-sam-translator and cfn-lint")
	}
	var said, wrong bytes.Buffer
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", script))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &said, &wrong
	if err := cmd.Run(); err != nil {
		if strings.Contains(wrong.String(), "ModuleNotFoundError") {
			t.Skipf("the python3 of ESM_AWS_PYTHON lacks a module: %s", wrong.String())
		}
		t.Fatalf("%s: %v\n%s", script, err, wrong.String())
	}
	var by struct{ Version string }
	err := json.Unmarshal(said.Bytes(), &by)
	if err == nil {
		err = json.Unmarshal(said.Bytes(), out)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%.1000s", script, err, said.String())
	}
	t.Logf("%s is of version %s", script, by.Version)
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A difference is one that is on purpose: a value that the oracle takes and awsconfig does
// not, or the other way round.
type difference struct {
	// field is the field, or one that it is in. * is all.
	field string
	// taken is whether awsconfig takes the value.
	taken bool
	// when says of which values this is; nil is of all.
	when func(v any) bool
	why  string
}

// differences are the rows of a table, and which of them were needed.
type differences struct {
	rows   []difference
	needed map[int]bool
}

// has reports whether a difference is on purpose.
func (d *differences) has(field string, taken bool, v any) bool {
	for i, r := range d.rows {
		rest, in := strings.CutPrefix(field, r.field)
		in = r.field == "*" || in && (rest == "" || strings.ContainsAny(rest[:1], ".[{"))
		if in && r.taken == taken && (r.when == nil || r.when(v)) {
			if d.needed == nil {
				d.needed = map[int]bool{}
			}
			d.needed[i] = true
			return true
		}
	}
	return false
}

// idle fails the test for rows that nothing needed.
func (d *differences) idle(t *testing.T) {
	t.Helper()
	for i, r := range d.rows {
		if !d.needed[i] {
			t.Errorf("no value needs the row of %s, taken %v: %s", r.field, r.taken, r.why)
		}
	}
}

// isText makes a condition on texts one on values.
func isText(is func(s string) bool) func(any) bool {
	return func(v any) bool {
		s, ok := v.(string)
		return ok && is(s)
	}
}

// blank reports whether a value says nothing, as those of the CLI's skeleton do.
func blank(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case int:
		return v == 0
	case []any:
		for _, e := range v {
			if !blank(e) {
				return false
			}
		}
		return true
	case object:
		for _, e := range v {
			if !blank(e) {
				return false
			}
		}
		return true
	}
	return false
}
