package esm_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layout says what each package of this repository may import: packages of this
// repository, and of others. A package imports what stands above it in the table,
// so there are no cycles and the table reads from the foundation to the roof.
//
// A row that ends in /... is for all packages of a folder that have no row of
// their own, and * allows everything that the order does. The tests of a package
// may import what the package may, the package itself and all of others; those of
// the root and of what is above it, also all from the root on; those below, what is
// in internal/testing and imports nothing of this repository.
const layout = `
# The foundation: what others say, and where they are.
internal/guard                 |                                |
internal/redact                | internal/guard                 |
internal/hostport              | internal/guard internal/redact |
internal/awsevent              |                                | base64 kgo

# The cores: values and the time in, values out.
internal/partition             |                                |
internal/offset                |                                |
internal/mark                  | internal/offset internal/partition |
internal/plan                  | internal/guard                 |
internal/pollers               |                                | rate
internal/pace                  |                                |
internal/memory                | internal/partition             |
internal/share                 | internal/partition             |
scaling                        |                                |
internal/scalesim              | internal/pace internal/pollers scaling | # what a policy does to a Mapping, simulated
internal/explain               | internal/guard scaling         |
internal/plot                  |                                |

# The machine: lanes and calls under one lock, and the client.
internal/engine                | internal/guard internal/mark internal/memory internal/offset internal/pace internal/partition internal/plan internal/pollers internal/share scaling | kerr kgo
internal/kafka                 | internal/engine internal/guard internal/mark internal/memory internal/partition internal/plan internal/redact scaling | kerr kgo kmsg

# The root: what users see.
.                              | internal/awsevent internal/engine internal/explain internal/guard internal/hostport internal/kafka internal/partition internal/plan internal/redact scaling | kgo rate

# Above the root: what is written as a user could write it.
internal/invokers/conns        |                                |
internal/invokers/payload      |                                |
internal/invokers/reach        |                                |
internal/invokers/lambdaresult | . internal/guard               | kgo
internal/invokers/lambdapool   | internal/guard internal/invokers/lambdaresult internal/redact |
awslambda                      | . internal/guard internal/invokers/conns internal/invokers/lambdaresult internal/invokers/payload internal/invokers/reach internal/redact | aws-sdk-go-v2 smithy-go
lambdalocal                    | . internal/invokers/lambdapool internal/invokers/lambdaresult internal/redact | aws-lambda-go
esmhttp                        | . internal/awsevent internal/invokers/conns internal/invokers/lambdaresult internal/invokers/payload internal/invokers/reach internal/redact | kgo
esmemf                         | . internal/guard               |
esmpage                        | . internal/guard scaling       |
kafkadest                      | . internal/awsevent internal/guard internal/hostport internal/redact | kerr kgo kmsg
awsconfig                      | . internal/guard               | aws-sdk-go-v2 gmsm kgo oauth2 sasl yaml
lambdaapi                      | . awsconfig internal/guard     | aws-sdk-go-v2 flock kadm kerr kgo kmsg
esmtest                        | . internal/guard               | kerr kfake kgo kmsg

# What no user links.
internal/testing/kafkatest     |                                | kadm kerr kgo kmsg
internal/testing/kafkatest/serve | internal/testing/kafkatest   |
internal/testing/build         |                                |
internal/testing/mutants       |                                |
internal/testing/proof         | internal/guard internal/mark internal/offset internal/partition scaling | # the tests of a whole Mapping
internal/sim                   | . esmtest internal/testing/build | kadm kerr kfake kgo kmsg # the whole library by seed
internal/testing/awsclients    |                                | # tests of lambdaapi, with clients that others wrote
internal/testing/awsoracle     |                                | # tests of awsconfig, with what others say of AWS
internal/testing/connstest     | .                              | kgo
internal/testing/secrettest    | .                              | kgo
internal/testing/lambdatest    | .                              | kgo
internal/testing/lambdatest/... |                               | aws-lambda-go
internal/testing/lambdafront   | internal/invokers/lambdapool   |
internal/testing/faults        | . internal/testing/kafkatest   | kadm kerr kgo kmsg sasl
internal/testing/fleet         | . lambdaapi awsconfig internal/testing/kafkatest | kadm kfake kgo # several hosts, killed and restarted
internal/testing/turns         |                                | kfake kmsg
examples/internal/demo         | . internal/testing/turns       | kadm kerr kfake kgo
examples/internal/demotest     | examples/internal/demo         |
examples/lambda/function       |                                | aws-lambda-go
examples/lambda                | . awslambda examples/internal/demo internal/invokers/lambdapool internal/testing/lambdafront | aws-sdk-go-v2 kgo
examples/migrate/function      |                                | aws-lambda-go
examples/migrate/function/cmd  | examples/migrate/function      | aws-lambda-go
examples/migrate               | . examples/internal/demo examples/migrate/function lambdalocal | kgo
examples/drain                 | . scaling examples/internal/demo internal/plot internal/testing/kafkatest | kadm kerr kfake kgo
examples/replay                | . scaling examples/internal/demo internal/plot internal/scalesim | kgo
examples/controlplane          | . lambdaapi examples/internal/demo | aws-sdk-go-v2 kgo
examples/...                   | . examples/internal/demo       | kadm kgo

# Modules of their own: they have the public packages, and what is heavy, or a Kafka.
esmprom                        | . scaling                      | client_golang
esmotel                        | .                              | kgo otel
examples/watch                 | . esmpage esmprom examples/internal/demo | chromedp client_golang kadm kgo
sim                            |                                | wazero # runs internal/sim, and links nothing of it
bench/job                      |                                |
bench/topics                   |                                | kadm
bench/fill                     | bench/topics                   | kadm kerr kgo
bench                          | bench/job bench/topics internal/testing/kafkatest | kadm kgo
bench/scaling/earlier          | scaling                        | # the policy of before, to compare with
bench/scaling                  | internal/scalesim internal/plot scaling bench/scaling/earlier |
bench/peers/esm                | . scaling bench/job            | kgo
bench/peers/watched            | . esmotel esmpage esmprom bench/job | client_golang kgo otel
bench/peers/...                | bench/job                      | *
`

const (
	maxRootFiles = 15  // without tests
	maxLines     = 500 // of a file, without tests
)

const module = "github.com/seed429fd032/esm"

// A rule is a row of the layout.
type rule struct {
	name            string
	inside, outside []string
}

func parseLayout(text string) (rules []rule) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		cells := strings.Split(line, "|")
		if name := strings.TrimSpace(cells[0]); name != "" {
			rules = append(rules, rule{name, strings.Fields(cells[1]), strings.Fields(cells[2])})
		}
	}
	return rules
}

// A folder is a package as it is: what it and its tests import, by path.
type folder struct {
	imports, testImports map[string]bool
}

// ruleOf returns the row of a package, and the number of the row.
func ruleOf(rules []rule, name string) (found rule, at int) {
	at = -1
	for i, r := range rules {
		if prefix, ok := strings.CutSuffix(r.name, "..."); r.name == name || ok && strings.HasPrefix(name, prefix) && len(r.name) > len(found.name) {
			found, at = r, i
			if r.name == name {
				break
			}
		}
	}
	return found, at
}

// breaches says where folders are otherwise than the layout has them.
func breaches(rules []rule, folders map[string]folder) (said []string) {
	add := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	_, root := ruleOf(rules, ".")
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		r, at := ruleOf(rules, name)
		if at < 0 {
			add("%s has no row", name)
			continue
		}
		for imported := range folders[name].imports {
			other, where := ruleOf(rules, inside(imported))
			switch {
			case inside(imported) == "":
				if !slices.ContainsFunc(r.outside, func(s string) bool { return isOf(imported, s) }) {
					add("%s imports %s", name, imported)
				}
			case !slices.Contains(r.inside, inside(imported)):
				add("%s imports %s", name, inside(imported))
			case where >= at && other.name != r.name:
				add("%s imports %s, which stands below it in the table", name, inside(imported))
			}
		}
		for imported := range folders[name].testImports {
			other := inside(imported)
			there, where := ruleOf(rules, other)
			leaf := strings.HasPrefix(other, "internal/testing/") && len(there.inside) == 0
			if other != "" && other != name && !leaf && !slices.Contains(r.inside, other) && (at < root || where < root) {
				add("the tests of %s import %s", name, other)
			}
		}
	}
	return append(said, idle(rules, folders)...)
}

// idle says which rows nobody needs, and which permissions.
func idle(rules []rule, folders map[string]folder) (said []string) {
	for _, r := range rules {
		uses := map[string]bool{}
		there := false
		for name, f := range folders {
			if of, _ := ruleOf(rules, name); of.name == r.name {
				there = true
				maps.Copy(uses, f.imports)
				maps.Copy(uses, f.testImports) // a permission may be for those alone
			}
		}
		if !there {
			said = append(said, fmt.Sprintf("%s is not there", r.name))
			continue
		}
		for _, may := range slices.Concat(r.inside, r.outside) {
			used := may == "*"
			for imported := range uses {
				used = used || inside(imported) == may || inside(imported) == "" && isOf(imported, may)
			}
			if !used {
				said = append(said, fmt.Sprintf("%s does not import %s, which it may", r.name, may))
			}
		}
	}
	return said
}

// inside returns where in this repository an imported package is, or "".
func inside(imported string) string {
	if imported == module {
		return "."
	}
	rest, ok := strings.CutPrefix(imported, module+"/")
	if !ok {
		return ""
	}
	return rest
}

// isOf reports whether a word of the table means a package of others.
func isOf(imported, word string) bool {
	return word == "*" || slices.Contains(strings.Split(imported, "/"), word)
}

// repository reads all Go files, those of all platforms and tags, and those of
// nested modules, without what these need: go list would load that.
func repository(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 1 && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		files[filepath.ToSlash(name)] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 200 {
		t.Fatalf("%d files of Go", len(files))
	}
	return files
}

func isTest(file string) bool { return strings.HasSuffix(file, "_test.go") }

func TestLayout(t *testing.T) {
	folders := map[string]folder{}
	for name, f := range repository(t) {
		dir, ok := folders[path.Dir(name)]
		if !ok {
			dir = folder{map[string]bool{}, map[string]bool{}}
			folders[path.Dir(name)] = dir
		}
		for _, i := range f.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(imported, "/")
			switch {
			case !strings.Contains(first, "."): // of Go itself
			case isTest(name):
				dir.testImports[imported] = true
			default:
				dir.imports[imported] = true
			}
		}
	}
	for _, said := range breaches(parseLayout(layout), folders) {
		t.Error(said)
	}
}

// TestLayoutSeesWhatIsWrong: a check that cannot fail is none.
func TestLayoutSeesWhatIsWrong(t *testing.T) {
	rules := parseLayout(`
core     |       | kgo
kafka    | core  | kgo # and no kadm
.        | kafka |
above    | .     | *
tools/... | above |
internal/testing/a |  |
internal/testing/b | . |
`)
	set := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			switch {
			case n == ".":
				m[module] = true
			case strings.HasPrefix(n, "k:"):
				m["github.com/twmb/franz-go/pkg/"+n[2:]] = true
			default:
				m[module+"/"+n] = true
			}
		}
		return m
	}
	good := func() map[string]folder {
		return map[string]folder{
			"core":               {set("k:kgo"), set("core", "internal/testing/a", "k:kfake")},
			"kafka":              {set("core", "k:kgo"), set("kafka")},
			".":                  {set("kafka"), set(".", "above")},
			"above":              {set(".", "k:kadm"), set("tools/a")},
			"tools/a":            {set("above"), nil},
			"tools/b":            {nil, nil},
			"internal/testing/a": {},
			"internal/testing/b": {set("."), nil},
		}
	}
	if said := breaches(rules, good()); len(said) > 0 {
		t.Fatal(said)
	}
	for want, spoil := range map[string]func(map[string]folder){
		"core imports kafka": func(f map[string]folder) { f["core"] = folder{set("k:kgo", "kafka"), nil} },
		"core imports .":     func(f map[string]folder) { f["core"] = folder{set("k:kgo", "."), nil} },
		"core imports " + "github.com/twmb/franz-go/pkg/kadm": func(f map[string]folder) { f["core"] = folder{set("k:kgo", "k:kadm"), nil} },
		"above imports kafka":                         func(f map[string]folder) { f["above"] = folder{set("k:kgo", ".", "kafka"), nil} },
		"the tests of above import kafka":             func(f map[string]folder) { f["above"] = folder{set("k:kgo", "."), set("kafka")} },
		"the tests of core import .":                  func(f map[string]folder) { f["core"] = folder{set("k:kgo"), set(".")} },
		"the tests of kafka import above":             func(f map[string]folder) { f["kafka"] = folder{set("core", "k:kgo"), set("above")} },
		"the tests of core import internal/testing/b": func(f map[string]folder) { f["core"] = folder{set("k:kgo"), set("internal/testing/b")} },
		"tools/b imports core":                        func(f map[string]folder) { f["tools/b"] = folder{set("core"), nil} },
		"new has no row":                              func(f map[string]folder) { f["new"] = folder{} },
		"kafka does not import core, which it may":    func(f map[string]folder) { f["kafka"] = folder{set("k:kgo"), nil} },
		"core does not import kgo, which it may":      func(f map[string]folder) { f["core"] = folder{} },
		"above is not there":                          func(f map[string]folder) { delete(f, "above") },
	} {
		f := good()
		spoil(f)
		if said := breaches(rules, f); !slices.Contains(said, want) {
			t.Errorf("want %q, it says %q", want, said)
		}
	}
	if said := breaches(parseLayout("a | b |\nb | |"), map[string]folder{"a": {set("b"), nil}, "b": {}}); !slices.Contains(said, "a imports b, which stands below it in the table") {
		t.Errorf("of a wrong order it says %q", said)
	}
}

// TestFilesAreSmallAndTypesHaveOneName: no file above the bounds, and no alias
// of a type, of which godoc shows no fields.
func TestFilesAreSmallAndTypesHaveOneName(t *testing.T) {
	files := repository(t)
	var inRoot []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if isTest(name) {
			continue
		}
		if path.Dir(name) == "." {
			inRoot = append(inRoot, name)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "\n"); n > maxLines {
			t.Errorf("%s has %d lines, and %d are the most", name, n, maxLines)
		}
		for _, alias := range aliases(files[name]) {
			t.Errorf("%s: type %s is an alias", name, alias)
		}
	}
	if len(inRoot) > maxRootFiles {
		t.Errorf("%d files in the root, and %d are the most: %s", len(inRoot), maxRootFiles, inRoot)
	}
}

// aliases returns the types of a file that are other names of types.
func aliases(f *ast.File) (names []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.TypeSpec); ok && s.Assign.IsValid() {
			names = append(names, s.Name.Name)
		}
		return true
	})
	return names
}

func TestAliasesAreSeen(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "", "package a\ntype (\n\tA = int\n\tB int\n)\nfunc f() { type C = string }\n", parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if got := aliases(f); !slices.Equal(got, []string{"A", "C"}) {
		t.Errorf("%v", got)
	}
}

// TestOptionsAreSpeltAlike: what sets an option is called With and takes its
// value, a bool too, so that it can be switched off where something else has
// switched it on. The parts of a cluster of esmtest are no settings. A preset sets
// several options to values of its own, so it takes none: each of these is switched
// off by itself.
func TestOptionsAreSpeltAlike(t *testing.T) {
	options := 0
	for name, f := range repository(t) {
		folder, _, _ := strings.Cut(name, "/")
		if isTest(name) || slices.Contains([]string{"examples", "bench", "internal", "esmtest"}, folder) {
			continue
		}
		for _, said := range oddOptions(f, &options) {
			t.Errorf("%s: %s", name, said)
		}
	}
	if options < 40 {
		t.Errorf("%d options were found", options)
	}
}

// oddOptions says which options of a file are spelt otherwise, and counts all.
func oddOptions(f *ast.File, options *int) (said []string) {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !fn.Name.IsExported() || fn.Type.Results.NumFields() != 1 {
			continue
		}
		result, ok := fn.Type.Results.List[0].Type.(*ast.Ident)
		if !ok || !strings.HasSuffix(result.Name, "Option") {
			continue
		}
		*options++
		if preset := fn.Name.Name == "WithAWSLimits"; preset {
			continue
		}
		if !strings.HasPrefix(fn.Name.Name, "With") || fn.Type.Params.NumFields() == 0 {
			said = append(said, fn.Name.Name+" must be With..., and take its value")
		}
	}
	return said
}

func TestOddOptionsAreSeen(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "", "package a\nfunc WithOn() Option\nfunc Concurrency(n int) HandlerOption\nfunc WithName(s string) Option\nfunc F() int\n", parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if got := oddOptions(f, &n); n != 3 || len(got) != 2 {
		t.Errorf("of %d: %q", n, got)
	}
}

// TestWhatUsersLink: a program carries what it uses: with package esm no test
// kit, no Kafka and no cloud, and with each Invoker only what that needs. What
// is in internal/testing nothing has.
func TestWhatUsersLink(t *testing.T) {
	for pkg, unwanted := range map[string][]string{
		".":             {"testing", "kfake", "aws-sdk", "aws-lambda-go", "smithy", "kadm", "net/http/httptest"},
		"./awslambda":   {"testing", "kfake", "aws-lambda-go", "aws-sdk-go-v2/config", "aws-sdk-go-v2/service/s", "lambdapool"},
		"./lambdalocal": {"testing", "kfake", "aws-sdk", "smithy"},
		"./esmhttp":     {"testing", "kfake", "aws-sdk", "aws-lambda-go", "smithy", "lambdapool"},
		"./kafkadest":   {"testing", "kfake", "aws-sdk", "aws-lambda-go", "smithy"},
		"./esmpage":     {"testing", "kfake", "aws-sdk", "aws-lambda-go", "smithy", "prometheus", "otel"},
		"./esmemf":      {"testing", "kfake", "aws-sdk", "aws-lambda-go", "smithy", "net/http/httptest", "prometheus", "otel"},
	} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		deps := strings.Fields(string(out))
		if len(deps) < 50 {
			t.Fatalf("%d packages: %s", len(deps), out)
		}
		for _, dep := range deps {
			for _, u := range unwanted {
				if strings.Contains(dep, u) {
					t.Errorf("package %s links %s", pkg, dep)
				}
			}
		}
	}
}
