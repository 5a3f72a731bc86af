package proof_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// The table of what user code may do wrong, and what comes of it: each cell is
// tried, and README.md has the table as it is made here.
var (
	misdeedCode = []string{"Invoker", "Destination", "back-off", "hook", "log handler", "method of an error"}
	misdeedDoes = []string{"panics", "exits its goroutine", "never returns", "calls back", "lies", "keeps what it got", "changes what it got"}
)

// misdeedAnswers has a text for each code, in the order of misdeedDoes. An empty
// one says that there is nothing to do wrong.
var misdeedAnswers = map[string][]string{
	"Invoker": {
		"a failure of that call, logged with its stack",
		"the same",
		"holds its partitions; told after 1 min, a Problem after 5; Stop names it and goes on",
		"works; Stop and Pause with the call's context are refused at once",
		"a record that is not of the batch: the whole batch failed",
		"works; it keeps alive what was fetched with it",
		"gone at the next attempt; replaced keys, values and headers are read again",
	},
	"Destination": {
		"not taken: delivered again after the back-off",
		"the same",
		"its context ends after 30 s; holds its partition; Stop names it and goes on",
		"works",
		"nil is believed",
		"works",
		"gone at the next delivery, as above",
	},
	"back-off": {
		"the default back-off takes its place",
		"the same",
		"the same, after 1 s",
		"works",
		"negative is none, and more than 24 h is 24 h",
		"",
		"",
	},
	"hook": {
		"logged with its stack, and ignored",
		"the same",
		"left behind after 5 s, 1 s in a Stop or Pause; a Problem; not called while four calls hang",
		"works; Stop and Pause leave it behind",
		"",
		"works",
		"other hooks see it, and the function what was done to the batch of InvokeStarted; the Mapping does not",
	},
	"log handler": {
		"ignored; New refuses one whose WithAttrs does",
		"the same",
		"left behind, as a hook",
		"works",
		"its level is asked for once a second",
		"works",
		"",
	},
	"method of an error": {
		"the error is a plain failure",
		"the same",
		"the call has not returned",
		"works",
		"one that holds itself is a plain failure",
		"its text is made once, and cut to 4 KiB",
		"",
	},
}

// A misdeed is a Mapping with user code that does something wrong, in partition
// 0, once or for ever.
type misdeed struct {
	t       *testing.T
	k       *esmtest.Kafka
	code    string
	does    string
	m       atomic.Pointer[esm.Mapping]
	release chan struct{}
	done    atomic.Int64 // how often it was done
	free    func()

	mu   sync.Mutex
	kept []any
	seen map[string]int // values that were handled, by how often
}

// act does what is wrong, if this is the code that does it, the first time.
func (d *misdeed) act(code string) {
	if d.code != code || d.done.Add(1) > 1 {
		return
	}
	switch d.does {
	case "panics":
		panic("a misdeed")
	case "exits its goroutine":
		runtime.Goexit()
	case "never returns":
		<-d.release
	case "calls back":
		askAll(d.m.Load())
		if d.code == "hook" || d.code == "log handler" {
			_ = d.m.Load().Pause(context.Background())
			_ = d.m.Load().Resume()
		}
	}
}

func (d *misdeed) is(code, does string) bool { return d.code == code && d.does == does }

func (d *misdeed) keep(what any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = append(d.kept, what)
}

// Invoke is the function.
func (d *misdeed) Invoke(ctx context.Context, b *esm.Batch) error {
	if b.Records[0].Partition != 0 {
		d.handled(b)
		return nil
	}
	if d.is("Invoker", "calls back") {
		if err := d.m.Load().Stop(ctx); !errors.Is(err, esm.ErrInsideInvocation) {
			d.t.Errorf("Stop inside: %v", err)
		}
		if err := d.m.Load().Pause(ctx); !errors.Is(err, esm.ErrInsideInvocation) {
			d.t.Errorf("Pause inside: %v", err)
		}
	}
	d.act("Invoker")
	first := b.Attempt == 1
	switch {
	case d.is("Invoker", "lies") && first:
		d.done.Add(1)
		var f esm.Failures
		f.Add(&kgo.Record{Topic: "another"}, errBilling)
		return f.Err()
	case d.is("Invoker", "keeps what it got"):
		d.done.Add(1)
		d.keep(b)
		d.keep(slices.Clone(b.Records))
	case d.is("Invoker", "changes what it got") && b.Attempt <= 2:
		d.done.Add(1)
		for _, r := range b.Records {
			*r = kgo.Record{Topic: "mine", Offset: 99}
		}
		b.Records = nil
		return errBilling
	case d.code == "method of an error" && first:
		return &brokenError{method: "every method", do: d.methods(), holds: errBilling}
	case d.code == "Destination":
		return esm.Permanent(errBilling)
	case d.code == "back-off" && first:
		return errBilling
	}
	d.handled(b)
	return nil
}

// methods is what methods of an error do.
func (d *misdeed) methods() func() {
	switch d.does {
	case "lies", "keeps what it got":
		d.done.Add(1)
		return func() {}
	case "exits its goroutine": // each time
		return func() { d.done.Add(1); runtime.Goexit() }
	case "panics":
		return func() { d.done.Add(1); panic("a method") }
	}
	return func() { d.act("method of an error") }
}

func (d *misdeed) handled(b *esm.Batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range b.Records {
		d.seen[string(r.Value)]++
	}
}

// Deliver is the destination.
func (d *misdeed) Deliver(_ context.Context, g *esm.Discard) error {
	d.act("Destination")
	switch {
	case d.is("Destination", "keeps what it got"):
		d.done.Add(1)
		d.keep(g)
	case d.is("Destination", "lies"):
		d.done.Add(1)
	case d.is("Destination", "changes what it got") && g.Delivery == 1:
		d.done.Add(1)
		*g.Record = kgo.Record{Topic: "mine", Offset: 99}
		*g = esm.Discard{}
		return errBilling
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[string(g.Record.Value)]++
	return nil
}

func (d *misdeed) backoff(int) time.Duration {
	d.act("back-off")
	if d.is("back-off", "lies") {
		d.done.Add(1)
		return -time.Hour
	}
	return time.Second
}

// Enabled, Handle, WithAttrs and WithGroup are the log handler.
func (d *misdeed) Enabled(context.Context, slog.Level) bool {
	if d.is("log handler", "lies") {
		return d.done.Add(1)%2 == 0
	}
	return true
}

func (d *misdeed) Handle(_ context.Context, r slog.Record) error {
	if d.is("log handler", "keeps what it got") {
		d.done.Add(1)
		d.keep(r)
	}
	if d.m.Load() != nil {
		d.act("log handler")
	}
	return nil
}

func (d *misdeed) WithAttrs([]slog.Attr) slog.Handler { return d }
func (d *misdeed) WithGroup(string) slog.Handler      { return d }

func (d *misdeed) hook(name string, info any) {
	if d.m.Load() == nil {
		return
	}
	d.act("hook")
	switch i, _ := info.(esm.Invocation); name {
	case "InvokeStarted":
		if d.is("hook", "keeps what it got") {
			d.done.Add(1)
			d.keep(i.Batch)
		}
	case "InvokeEnded":
		if d.is("hook", "changes what it got") {
			d.done.Add(1)
			clear(i.Partitions)
		}
	}
}

// TestWhatUserCodeDoesCostsItsOwnRecordsOnly is the table: whatever one does, the
// other partition flows, nothing is lost, and the Mapping stops in time.
func TestWhatUserCodeDoesCostsItsOwnRecordsOnly(t *testing.T) {
	for _, code := range misdeedCode {
		for i, does := range misdeedDoes {
			if misdeedAnswers[code][i] == "" {
				continue
			}
			t.Run(code+" "+does, func(t *testing.T) {
				virtual(t, func(t *testing.T) { doMisdeed(t, code, does) })
			})
		}
	}
}

func doMisdeed(t *testing.T, code, does string) {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
	d := &misdeed{t: t, k: k, code: code, does: does, release: make(chan struct{}), seen: map[string]int{}}
	d.free = sync.OnceFunc(func() { close(d.release) })
	defer d.free()
	m, err := esm.New(k.Source("orders", "billing"), d, esm.WithBackoff(d.backoff), esm.WithHooks(esm.AllHooks(d.hook)), esm.WithLogger(slog.New(d)),
		esm.WithDestination(d), esm.WithBatchSize(3), esm.WithMinPollers(2), esm.WithStopTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	d.m.Store(m)
	// Before it starts: each partition has a whole batch from the first fetch on, and
	// none shares its call with the other.
	for i := range 3 {
		k.ProduceTo("orders", 0, fmt.Sprint("a", i))
		k.ProduceTo("orders", 1, fmt.Sprint("b", i))
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	holds := does == "never returns" && code != "back-off" && code != "hook" && code != "log handler"
	waitFor(t, 10*time.Minute, "the other partition handled", func() bool { return k.Committed("billing", "orders", 1) == 3 })
	if holds {
		time.Sleep(10 * time.Minute)
		if p := problemWith(m, "function"); p == nil && code != "Destination" {
			t.Errorf("a call hangs, and no problem is %v", m.State().Problems)
		}
		if got := k.Committed("billing", "orders", 0); got > 0 {
			t.Errorf("committed %d of a partition whose call goes on", got)
		}
		// A deploy: it names the call, and the next process has the partition.
		began := time.Now()
		err := m.Stop(t.Context())
		var drain *esm.DrainError
		if !errors.As(err, &drain) || len(drain.Stuck) != 1 || time.Since(began) > 6*time.Second {
			t.Errorf("Stop after %s: %v", time.Since(began), err)
		}
		d.free()
		if m, err = esm.New(k.Source("orders", "billing"), d, esm.WithBackoff(d.backoff), esm.WithDestination(d), esm.WithLogger(slog.New(slog.DiscardHandler))); err != nil {
			t.Fatal(err)
		}
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, 10*time.Minute, "its own records handled", func() bool { return k.Committed("billing", "orders", 0) == 3 })
	d.free()
	time.Sleep(time.Minute)
	stop(t, m)
	if d.done.Load() == 0 {
		t.Error("nothing was done wrong")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range []string{"a", "b"} {
		for i := range 3 {
			if n := d.seen[fmt.Sprint(p, i)]; n == 0 || n > 2 || n == 2 && !holds {
				t.Errorf("%s%d was handled %d times", p, i, n)
			}
		}
	}
	if len(d.seen) != 6 {
		t.Errorf("handled %v", d.seen)
	}
}

// TestTheTableOfMisdeedsIsInTheReadme, as it is tried.
func TestTheTableOfMisdeedsIsInTheReadme(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "| what it does | %s |\n|%s\n", strings.Join(misdeedCode, " | "), strings.Repeat(" --- |", len(misdeedCode)+1))
	for i, does := range misdeedDoes {
		fmt.Fprintf(&b, "| %s |", does)
		for _, code := range misdeedCode {
			if len(misdeedAnswers[code]) != len(misdeedDoes) {
				t.Fatalf("%s has %d answers", code, len(misdeedAnswers[code]))
			}
			answer := misdeedAnswers[code][i]
			if answer == "" {
				answer = "-"
			}
			fmt.Fprintf(&b, " %s |", answer)
		}
		b.WriteByte('\n')
	}
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- misdeeds -->\n", "<!-- end -->\n"
	before, rest, found := strings.Cut(string(readme), begin)
	table, after, closed := strings.Cut(rest, end)
	switch {
	case !found || !closed:
		t.Fatal("README.md has no place for the table")
	case table == b.String():
	case os.Getenv("ESM_UPDATE") != "":
		if err := os.WriteFile("../../../README.md", []byte(before+begin+b.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("README.md has another table; with ESM_UPDATE=1 it is written:\n%s", b.String())
	}
}
