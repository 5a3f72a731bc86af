// Command mutants breaks the library on purpose, one promise at a time, and
// expects a suite to say so.
//
//	go run ./internal/testing/mutants          # those that CI runs
//	go run ./internal/testing/mutants -all     # and those that take long
//	go run ./internal/testing/mutants -run x   # those whose name matches
//	go run ./internal/testing/mutants -write d # writes them into a folder, for others to run
//
// A mutant is a piece of one function's source and what replaces it; nothing is
// written into the source tree (go test -overlay). A piece that is not there exactly
// once is an error: whoever rewrites a function rewrites its mutants. So is a
// mutant that does not compile.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A mutant breaks one promise.
type mutant struct {
	name    string
	pkg     string // folder
	symbol  string // function, or Type.method
	from    string // what of its source
	to      string // becomes what
	suites  []suite
	nightly bool // takes too long for CI
}

// A suite is tests of one package.
type suite struct {
	pkg  string
	run  string
	args []string
}

func (s suite) String() string {
	return strings.TrimSpace(s.pkg + " " + s.run + " " + strings.Join(s.args, " "))
}

func main() {
	all := flag.Bool("all", false, "those that take long too")
	only := flag.String("run", "", "only mutants whose name matches this `pattern`")
	dir := flag.String("write", "", "run nothing: write an overlay for each mutant into this `folder`, and index.json")
	flag.Parse()
	do := run
	if *dir != "" {
		do = func(all bool, only string) error { return write(*dir, all, only) }
	}
	if err := do(*all, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// chosen returns the mutants that are asked for.
func chosen(all bool, only string) (some []mutant, err error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	for _, m := range mutants {
		if (all || !m.nightly) && pattern.MatchString(m.name) {
			some = append(some, m)
		}
	}
	if len(some) == 0 {
		return nil, fmt.Errorf("no mutant matches %q", only)
	}
	return some, nil
}

func run(all bool, only string) error {
	some, err := chosen(all, only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var trials []*trial
	for i, m := range some {
		overlay, err := m.overlay(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		for _, s := range m.suites {
			trials = append(trials, &trial{mutant: m.name, suite: s, overlay: overlay, done: make(chan struct{})})
		}
	}
	// Most of a trial is one thread: a link, and a bubble in virtual time.
	stop := tryAll(trials, runtime.GOMAXPROCS(0))
	defer stop()
	survivors := 0
	for _, t := range trials {
		<-t.done
		if t.err != nil {
			return fmt.Errorf("%s: %w", t.mutant, t.err)
		}
		if t.caught {
			fmt.Printf("caught    %-44s by %s (%s)\n          %s\n", t.mutant, t.suite, t.took, t.said)
		} else {
			survivors++
			fmt.Printf("SURVIVED  %-44s %s (%s)\n", t.mutant, t.suite, t.took)
		}
	}
	if survivors > 0 {
		return fmt.Errorf("%d were not caught: a suite is blind to what they break", survivors)
	}
	return nil
}

// write writes the mutants into a folder: each in one of its own, and an index of
// all. The table stays the only one, and others can run their tests over it.
func write(dir string, all bool, only string) error {
	type entry struct {
		Name    string `json:"name"`
		Package string `json:"package"`
		Symbol  string `json:"symbol"`
		Overlay string `json:"overlay"` // from the folder
	}
	some, err := chosen(all, only)
	if err != nil {
		return err
	}
	dir, err = filepath.Abs(dir) // go test may read an overlay from anywhere
	if err != nil {
		return err
	}
	var index []entry
	for i, m := range some {
		own := fmt.Sprintf("%03d", i)
		if _, err := m.overlay(filepath.Join(dir, own)); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		index = append(index, entry{m.name, m.pkg, m.symbol, own + "/overlay.json"})
	}
	text, err := json.MarshalIndent(index, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), append(text, '\n'), 0o644)
}

// A trial is one suite over one mutant. What came of it is there when done is closed.
type trial struct {
	mutant  string
	suite   suite
	overlay string

	done   chan struct{}
	caught bool
	said   string
	err    error
	took   time.Duration
}

// tryAll runs the trials in their order, so many at once. What it returns begins no
// other and waits for those that run.
func tryAll(trials []*trial, atOnce int) (stop func()) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(trials) {
					return
				}
				t := trials[i]
				began := time.Now()
				t.caught, t.said, t.err = t.suite.catches(t.overlay)
				t.took = time.Since(began).Round(time.Second)
				close(t.done)
			}
		})
	}
	return func() {
		next.Store(int64(len(trials)))
		workers.Wait()
	}
}

// overlay writes the broken file, and the list that go test takes, into a folder of its own.
func (m mutant) overlay(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	name, src, err := m.find()
	if err != nil {
		return "", err
	}
	broken := filepath.Join(dir, "broken.go")
	if err := os.WriteFile(broken, src, 0o600); err != nil {
		return "", err
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {abs: broken}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o600)
}

// find looks for the symbol, and breaks it.
func (m mutant) find() (name string, src []byte, err error) {
	files, err := filepath.Glob(filepath.Join(m.pkg, "*.go"))
	if err != nil {
		return "", nil, err
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return "", nil, err
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, src, 0)
		if err != nil {
			return "", nil, err
		}
		for _, d := range f.Decls {
			fd, ok := d.(*ast.FuncDecl)
			if !ok || symbol(fd) != m.symbol {
				continue
			}
			lo, hi := set.Position(fd.Pos()).Offset, set.Position(fd.End()).Offset
			if n := bytes.Count(src[lo:hi], []byte(m.from)); n != 1 {
				return "", nil, fmt.Errorf("%q is %d times in %s of %s, not once", m.from, n, m.symbol, name)
			}
			body := bytes.Replace(src[lo:hi], []byte(m.from), []byte(m.to), 1)
			return name, bytes.Join([][]byte{src[:lo], body, src[hi:]}, nil), nil
		}
	}
	return "", nil, fmt.Errorf("no %s in %s", m.symbol, m.pkg)
}

// symbol names a function, with the type that it belongs to.
func symbol(fd *ast.FuncDecl) string {
	if fd.Recv == nil {
		return fd.Name.Name
	}
	t := fd.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name + "." + fd.Name.Name
	}
	return fd.Name.Name
}

// catches runs a suite over a mutant.
func (s suite) catches(overlay string) (caught bool, said string, err error) {
	args := append([]string{"test", "-tags", "synctests", "-vet=off", "-count=1", "-timeout", "5m", "-overlay", overlay, "-run", s.run, s.pkg}, s.args...)
	out, err := exec.Command("go", args...).CombinedOutput()
	text := string(out)
	switch {
	case err == nil:
		if strings.Contains(text, "no tests to run") {
			return false, "", fmt.Errorf("%s: no tests to run", s)
		}
		return false, "", nil
	case strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]"):
		return false, "", fmt.Errorf("it does not compile:\n%s", text)
	case !strings.Contains(text, "--- FAIL") && !strings.Contains(text, "panic:") && !strings.Contains(text, "fatal error:"):
		return false, "", fmt.Errorf("%s ended, and no test failed:\n%s", s, text)
	}
	return true, complaint(text), nil
}

// complaint is the first line that says what is wrong.
func complaint(text string) string {
	line := ""
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if strings.Contains(l, "_test.go:") || strings.HasPrefix(l, "panic:") || strings.HasPrefix(l, "fatal error:") {
			line = l
			break
		}
	}
	if len(line) > 160 {
		line = line[:160] + "..."
	}
	return line
}
