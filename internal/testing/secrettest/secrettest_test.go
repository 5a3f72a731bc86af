package secrettest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// failing is a test that notes that it failed.
type failing struct {
	testing.TB
	said []string
}

func (f *failing) Errorf(format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf(format, args...))
}
func (f *failing) Error(args ...any) { f.said = append(f.said, fmt.Sprint(args...)) }
func (f *failing) Helper()           {}

type silent struct{ Secret string }

func (silent) Error() string { return "an error" }

// TestItHears: whatever a secret is said in, and nothing else.
func TestItHears(t *testing.T) {
	const secret = `pa"ss w/rd-12345`
	for name, say := range map[string]func(e *Ear){
		"an error": func(e *Ear) { e.Hear("it", errors.New("x "+secret)) },
		"a part of an error": func(e *Ear) {
			e.Hear("it", fmt.Errorf("%w", &url.Error{Op: "Post", URL: "x", Err: errors.New(secret)}))
		},
		"a join":             func(e *Ear) { e.Hear("it", errors.Join(errors.New("a"), errors.New(secret))) },
		"a record's failure": func(e *Ear) { var f esm.Failures; f.Add(&kgo.Record{}, errors.New(secret)); e.Hear("it", f.Err()) },
		"JSON of a struct":   func(e *Ear) { e.Hear("it", silent{secret}) },
		"an error in a struct": func(e *Ear) {
			e.Hear("it", esm.State{Problems: []esm.Problem{{Err: silent{secret}}}})
		},
		"a URL":                  func(e *Ear) { e.Texts("it", "http://x/?a="+url.QueryEscape(secret)) },
		"base64":                 func(e *Ear) { e.Texts("it", base64.StdEncoding.EncodeToString([]byte("u:"+secret))) },
		"hexadecimal":            func(e *Ear) { e.Texts("it", fmt.Sprintf("%x", secret)) },
		"Go":                     func(e *Ear) { e.Texts("it", fmt.Sprintf("%q", secret)) },
		"a half":                 func(e *Ear) { e.Texts("it", "x"+secret[:window]+"...") },
		"a log":                  func(e *Ear) { e.Logger().Debug("x", "y", secret) },
		"an error in a log":      func(e *Ear) { e.Logger().With("err", errors.New(secret)).WithGroup("g").Info("x") },
		"a line of a log":        func(e *Ear) { e.Logger().Info(secret) },
		"a hook":                 func(e *Ear) { e.Hooks().InvokeEnded(esm.Invocation{Err: errors.New(secret)}) },
		"the header of a record": func(e *Ear) { e.Records(&kgo.Record{Headers: []kgo.RecordHeader{{Key: "k", Value: []byte(secret)}}}) },
		"the value of a record":  func(e *Ear) { e.Records(&kgo.Record{Value: []byte(secret)}) },
		"what a writer gets":     func(e *Ear) { fmt.Fprint(e, secret) },
	} {
		f := &failing{TB: t}
		e := New(f, secret)
		say(e)
		if len(f.said) == 0 || !strings.Contains(f.said[0], "says a secret") {
			t.Errorf("%s: %q", name, f.said)
		}
		f.said = nil
		e.Hear("it", nil, errors.New("pa ss"), slog.String("a", "b"))
		if len(f.said) > 0 {
			t.Errorf("%s: without a secret it hears %q", name, f.said)
		}
	}
	f := &failing{TB: t}
	e := New(f)
	a, b := e.Plant(), e.Plant()
	e.Texts("it", a, b)
	if a == b || len(f.said) != 2 {
		t.Errorf("%q", f.said)
	}
}

// TestItFailsIfItHearsNothing: a test that asks nothing proves nothing.
func TestItFailsIfItHearsNothing(t *testing.T) {
	f := &failing{}
	t.Run("nothing", func(t *testing.T) {
		f.TB = t
		New(f, "a secret")
	})
	if len(f.said) != 1 {
		t.Errorf("%q", f.said)
	}
}

// TestAllHooksListen, those too that come later.
func TestAllHooksListen(t *testing.T) {
	e := New(t)
	h := e.Hooks()
	if h.StateChanged == nil || h.Scaled == nil || h.Discarded == nil {
		t.Errorf("%+v", h)
	}
	e.Hear("hooks", "something")
}
