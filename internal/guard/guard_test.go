package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCallSaysHowItsFunctionEnded(t *testing.T) {
	if f := Call(func() {}); f != nil {
		t.Errorf("returned: %v", f)
	}
	if f := Call(func() { panic("oh") }); f == nil || f.Value != "oh" || f.Goexit || !strings.Contains(string(f.Stack), "guard_test.go") {
		t.Errorf("panicked: %v", f)
	}
	if f := Call(func() { panic(nil) }); f == nil || f.Goexit { //nolint:govet // on purpose
		t.Errorf("panicked with nil: %v", f)
	}
	if f := Call(runtime.Goexit); f == nil || !f.Goexit || f.Value != nil {
		t.Errorf("exited: %v", f)
	}
	var deep func(n int)
	deep = func(n int) {
		if n == 0 {
			panic("down")
		}
		deep(n - 1)
	}
	if f := Call(func() { deep(10_000) }); len(f.Stack) > StackLimit {
		t.Errorf("a stack of %d bytes", len(f.Stack))
	}
}

func FuzzCut(f *testing.F) {
	f.Add("héllo", 2)
	f.Add("\x80\x80\x80\x80\x80\x80", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = min(max(most, 0), 1000)
		got := Cut(s, most)
		if len(s) <= most {
			if got != s {
				t.Fatalf("%q became %q", s, got)
			}
			return
		}
		kept, rest, found := strings.Cut(got, "... (")
		for found && !strings.HasSuffix(rest, " bytes more)") { // it may be in the text
			more, after, again := strings.Cut(rest, "... (")
			kept, rest, found = kept+"... ("+more, after, again
		}
		if len(kept) > most || !strings.HasPrefix(s, kept) {
			t.Fatalf("%q cut to %d is %q", s, most, got)
		}
		if utf8.ValidString(s) && !utf8.ValidString(kept) {
			t.Fatalf("%q cut within a rune: %q", s, kept)
		}
	})
}

type small struct{ text string }

func (e *small) Error() string { return e.text }

// circle is an error that holds itself and says much.
type circle struct{ n int }

func (c *circle) Error() string { return strings.Repeat("o", c.n) }
func (c *circle) Unwrap() error { return c }

// tree is an error that holds itself twice.
type tree struct{}

func (t tree) Error() string   { return "tree" }
func (t tree) Unwrap() []error { return []error{t, nil, t} }

type broken struct{ error }

func (b *broken) Error() string   { return b.error.Error() } // a nil pointer
func (b *broken) Unwrap() []error { panic("no") }

func TestAnErrorIsKeptWithoutItsSize(t *testing.T) {
	cause := &small{"the cause"}
	huge := strings.Repeat("é", 5<<20)
	for name, err := range map[string]error{
		"short":         fmt.Errorf("no: %w", cause),
		"long":          fmt.Errorf("%s: %w", huge, cause),
		"long in long":  fmt.Errorf("%w: %s", fmt.Errorf("%w: %s", cause, huge), huge),
		"long and join": errors.Join(errors.New(huge), cause),
	} {
		kept := Keep(err)
		if got := (*small)(nil); !errors.Is(kept, cause) || !errors.As(kept, &got) {
			t.Errorf("%s: the cause is not found", name)
		}
		if text := kept.Error(); len(text) > TextLimit+100 || !utf8.ValidString(text) || text != Text(err) {
			t.Errorf("%s: a text of %d bytes", name, len(text))
		}
		if again := Keep(kept); again != kept {
			t.Errorf("%s: it was wrapped twice", name)
		}
		if data, err := json.Marshal(struct{ Err error }{kept}); err != nil || !strings.HasPrefix(string(data), `{"Err":"`) {
			t.Errorf("%s: as JSON %.50s, %v", name, data, err)
		}
	}
	if Keep(nil) != nil {
		t.Error("nil became an error")
	}
	var none *small
	for name, err := range map[string]error{"circle": &circle{TextLimit + 1}, "broken": &broken{}, "nil": none, "short circle": &circle{3}, "tree": tree{}} {
		kept := Keep(err)
		if text := kept.Error(); text == "" || len(text) > TextLimit+100 {
			t.Errorf("%s: %.100q", name, text)
		}
		_ = errors.Is(kept, errors.ErrUnsupported) // ends
	}
}

func TestKeepFreesWhatIsLarge(t *testing.T) {
	kept := make([]error, 50)
	for i := range kept {
		kept[i] = Keep(fmt.Errorf("%d: %s", i, strings.Repeat("x", 10<<20)))
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 20<<20 {
		t.Errorf("%d MiB of heap for 50 errors of 10 MiB", m.HeapAlloc>>20)
	}
	runtime.KeepAlive(kept)
}

// TestAskSaysWhatWentWrong, and does not wait for what does not return.
func TestAskSaysWhatWentWrong(t *testing.T) {
	out := errors.New("out of order")
	over := make(chan struct{})
	defer close(over)
	for _, tt := range []struct {
		f    func(ctx context.Context) (int, error)
		want int
		says string
	}{
		{func(context.Context) (int, error) { return 7, nil }, 7, ""},
		{func(context.Context) (int, error) { return 7, out }, 0, "out of order"},
		{func(context.Context) (int, error) { panic("oh") }, 0, "Keys failed: it panicked: oh"},
		{func(context.Context) (int, error) { runtime.Goexit(); return 7, nil }, 0, "Keys failed"},
		{func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }, 0, "deadline exceeded"},
		{func(context.Context) (int, error) { <-over; return 7, nil }, 0, "Keys did not return, although its context ended: context deadline exceeded"},
	} {
		got, err := Ask(t.Context(), 10*time.Millisecond, "Keys", tt.f)
		if got != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%d, %v; want %d, %s", got, err, tt.want, tt.says)
		}
		if tt.says == "out of order" && !errors.Is(err, out) {
			t.Errorf("%v is not %v", err, out)
		}
	}
}
