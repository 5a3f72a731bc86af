// Command sim runs the simulation of internal/sim, by seed: a whole Mapping, its
// client and an in-memory Kafka in virtual time, with faults drawn from the seed,
// and judges that say which promise was broken.
//
//	cd sim
//	go run . -seed 17                       # one run: its plan, the verdict and the hash of its trace
//	go run . -seeds 1000 -native            # many, of new seeds
//	go run . -seeds 50 -from 1 -twice       # each twice, and both have to be the same run
//	go run . -seed 17 -shrink               # the shortest plan that still breaks, written into the corpus
//	go run . -plan FILE                     # a plan instead of a seed
//	go run . -mutants -o mutants.md         # which mutants it finds, and how soon
//
// The simulation is compiled to WebAssembly, and run by wazero with entropy and
// clocks that follow from the seed. So a seed is one run, on any machine, to the
// nanosecond. With -native it is an ordinary process, ten times as fast: the plan
// is the same again, and the order in which goroutines run is not.
//
// Exit code 0 if every promise held, 1 if one was broken or the run did not come to
// its end, 2 if the command was called wrongly. What takes long to make is kept in
// the folder esm-sim of the user's cache.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// The exit codes.
const (
	held   = 0
	broken = 1
	misuse = 2
)

// A task is what the command line asks for.
type task struct {
	seed    uint64
	plan    string // of -plan: a file
	seeds   uint64
	from    uint64
	native  bool
	twice   bool
	shrink  bool
	mutants bool
	match   string
	out     string
	logs    string
	hang    time.Duration
	each    time.Duration
}

// A host builds the simulation and runs it.
type host struct {
	root     string // the folder of the module that has internal/sim
	cache    string // what wazero compiled
	temp     string // what is built, removed at the end
	out, err io.Writer
	hang     time.Duration // a run that takes longer will not end
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends it at once
	root, err := rootOf(".")
	if err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(misuse)
	}
	os.Exit(command(ctx, host{root: root, cache: cacheFolder(), out: os.Stdout, err: os.Stderr}, os.Args[1:]))
}

// command is the whole command, with the exit code that comes of it.
func command(ctx context.Context, h host, args []string) int {
	t, err := parse(args, h.err)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return held
	case err != nil:
		fmt.Fprintln(h.err, "sim:", err)
		return misuse
	}
	h.hang = t.hang
	h.temp, err = os.MkdirTemp("", "esm-sim")
	if err != nil {
		fmt.Fprintln(h.err, "sim:", err)
		return broken
	}
	defer os.RemoveAll(h.temp)
	code, err := h.do(ctx, t)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(h.err, "sim: interrupted")
		return broken
	case errors.Is(err, errMisuse):
		fmt.Fprintln(h.err, "sim:", err)
		return misuse
	case err != nil:
		fmt.Fprintln(h.err, "sim:", err)
		return broken
	}
	return code
}

// errMisuse is in the errors that come of what the command was given.
var errMisuse = errors.New("wrong use")

func (h *host) do(ctx context.Context, t task) (int, error) {
	switch {
	case t.mutants:
		return h.mutants(ctx, t)
	case t.seeds > 0:
		return h.many(ctx, t)
	}
	w, err := t.work()
	if err != nil {
		return broken, err
	}
	if t.shrink {
		return h.shrink(ctx, t, w)
	}
	return h.single(ctx, t, w)
}

// parse reads the command line and refuses what makes no sense.
func parse(args []string, output io.Writer) (t task, err error) {
	f := flag.NewFlagSet("sim", flag.ContinueOnError)
	f.SetOutput(output)
	f.Uint64Var(&t.seed, "seed", 0, "run this seed")
	f.StringVar(&t.plan, "plan", "", "run the plan in this `file`: a plan, or a file of the corpus")
	f.Uint64Var(&t.seeds, "seeds", 0, "run so many seeds; of -mutants, the most for each (default 1000)")
	f.Uint64Var(&t.from, "from", 0, "the first of the seeds; 0 is a new one, and 1 for -mutants")
	f.BoolVar(&t.native, "native", false, "run it as a process instead of in WebAssembly: faster, and not the same run again")
	f.BoolVar(&t.twice, "twice", false, "run each of -seeds twice, and compare the hashes")
	f.BoolVar(&t.shrink, "shrink", false, "of -seed or -plan: leave out faults while it still breaks, and write the shortest plan")
	f.BoolVar(&t.mutants, "mutants", false, "run the mutants of internal/testing/mutants until a judge finds each")
	f.StringVar(&t.match, "match", "", "only mutants whose name matches this `pattern`")
	f.DurationVar(&t.each, "each", 3*time.Minute, "how long a mutant runs at most")
	f.StringVar(&t.out, "o", "", "the `file` to write: the plan of -shrink, the table of -mutants")
	f.StringVar(&t.logs, "logs", "", "a `folder` for the logs of runs that fail")
	f.DurationVar(&t.hang, "hang", time.Minute, "a run that takes longer, by the wall clock, hangs")
	if err := f.Parse(args); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			err = fmt.Errorf("%w: see -h", errMisuse)
		}
		return t, err
	}
	bad := func(format string, args ...any) (task, error) { return t, fmt.Errorf(format, args...) }
	asked := 0
	for _, is := range []bool{t.seed > 0, t.plan != "", t.seeds > 0 && !t.mutants, t.mutants} {
		if is {
			asked++
		}
	}
	one := t.seed > 0 || t.plan != ""
	switch _, err := regexp.Compile(t.match); {
	case f.NArg() > 0:
		return bad("%q is not a flag", f.Arg(0))
	case asked != 1:
		return bad("one of -seed, -plan, -seeds and -mutants says what to run, and there are %d", asked)
	case t.twice && (t.native || t.seeds == 0 || t.mutants):
		return bad("-twice is for -seeds without -native: no two native runs are the same")
	case t.shrink && !one:
		return bad("-shrink is for -seed or -plan")
	case t.from > 0 && one:
		return bad("-from is for -seeds and -mutants")
	case t.match != "" && !t.mutants:
		return bad("-match is for -mutants")
	case err != nil:
		return bad("-match: %w", err)
	case t.out != "" && !t.shrink && !t.mutants:
		return bad("-o is for -shrink and -mutants")
	case t.hang <= 0 || t.each <= 0:
		return bad("-hang is %s and -each is %s, and both must be above 0", t.hang, t.each)
	}
	if t.mutants {
		t.from, t.seeds = max(t.from, 1), max(t.seeds, 1)
		if !isSet(f, "seeds") {
			t.seeds = 1000
		}
	}
	for t.from == 0 {
		t.from = rand.Uint64N(1_000_000_000)
	}
	return t, nil
}

func isSet(f *flag.FlagSet, name string) (set bool) {
	f.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// rootOf returns the folder of the root module, from inside it or of one nested in it.
func rootOf(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if first, _, _ := strings.Cut(string(text), "\n"); err == nil && strings.TrimSpace(first) == "module github.com/seed429fd032/esm" {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("this is not a folder of the module github.com/seed429fd032/esm")
		}
		dir = up
	}
}
