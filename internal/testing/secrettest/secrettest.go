// Package secrettest finds out in tests whether the library says what it should
// keep to itself: it plants secrets, and listens to everything that is said.
//
//	ear := secrettest.New(t)
//	inv, err := esmhttp.New("https://billing.test/?code=" + ear.Plant())
//	ear.Hear("New", err)
//	...
//	m, err := esm.New(source, ear.Invoker(inv), ear.Options()...)
//	...
//	ear.Mapping(m)
//
// A test fails at once where a secret is heard, or eight bytes of one. It fails at
// its end if nothing was heard at all.
package secrettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// An Ear listens. Its methods may be called on several goroutines at once.
type Ear struct {
	t testing.TB

	mu    sync.Mutex
	known map[string]string // windows of what is listened for, and of which secret they are
	heard int               // texts
	told  map[string]bool   // what has failed the test already
}

// New makes an Ear. It knows these secrets, besides those that it plants.
func New(t testing.TB, secrets ...string) *Ear {
	e := &Ear{t: t, known: map[string]string{}, told: map[string]bool{}}
	for _, s := range secrets {
		e.learn(s)
	}
	t.Cleanup(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.heard == 0 {
			t.Error("secrettest: nothing was heard")
		}
	})
	return e
}

// window is how much of a secret is too much.
const window = 8

// Plant makes a secret: letters and digits that stand nowhere else.
func (e *Ear) Plant() string {
	s := "s3cr3t" + rand.Text()
	e.learn(s)
	return s
}

// Learn has the Ear listen for a secret of at least 8 bytes that the test has
// made.
func (e *Ear) Learn(secret string) string {
	e.learn(secret)
	return secret
}

// learn notes a secret, in each form that it is likely to be said in.
func (e *Ear) learn(secret string) {
	if len(secret) < window {
		e.t.Fatalf("secrettest: %q is too short for a secret", secret)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	quoted := strconv.Quote(secret)
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), quoted[1 : len(quoted)-1]}
	// Base64 of a text has one of three forms, by what stands before it.
	for before := range 3 {
		coded := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), secret...))
		forms = append(forms, coded[(before*8+5)/6:len(coded)-2])
	}
	for _, form := range forms {
		e.listen(form, window, secret)
	}
	// Half of it may be digits only, as times are.
	e.listen(hex.EncodeToString([]byte(secret)), hexWindow, secret)
}

// hexWindow is a window in hexadecimal.
const hexWindow = 2 * window

// listen notes all windows of a form of a secret.
func (e *Ear) listen(form string, size int, secret string) {
	for i := 0; i+size <= len(form); i++ {
		if _, ok := e.known[form[i:i+size]]; !ok {
			e.known[form[i:i+size]] = secret
		}
	}
}

// text listens to a text.
func (e *Ear) text(where, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard++
	for i := 0; i+window <= len(text); i++ {
		secret, ok := e.known[text[i:i+window]]
		if !ok && i+hexWindow <= len(text) {
			secret, ok = e.known[text[i:i+hexWindow]]
		}
		if !ok {
			continue
		}
		if key := where + secret; !e.told[key] {
			e.told[key] = true
			e.t.Errorf("secrettest: %s says a secret, %s, in: %.1000q", where, secret, text[max(i-200, 0):min(i+200, len(text))])
		}
		return
	}
}

// Hear listens to values: what they print as, their JSON, and what is in a log of
// them; of errors, to each that they hold, too; of structs, to the errors in
// their fields.
func (e *Ear) Hear(where string, values ...any) {
	for _, v := range values {
		if v != nil {
			e.hear(where, v, 0)
		}
	}
}

func (e *Ear) hear(where string, v any, depth int) {
	if depth > 20 {
		return
	}
	e.text(where, fmt.Sprintf("%v", v))
	e.text(where+" with its fields", fmt.Sprintf("%+v", v))
	if data, err := json.Marshal(v); err == nil {
		e.text(where+" as JSON", string(data))
	}
	if m, ok := v.(encoding.TextMarshaler); ok {
		if data, err := m.MarshalText(); err == nil {
			e.text(where+" as text", string(data))
		}
	}
	var b bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("heard", "value", v)
	}
	e.text(where+" in a log", b.String())
	if err, ok := v.(error); ok {
		switch holds := err.(type) {
		case interface{ Unwrap() error }:
			if part := holds.Unwrap(); part != nil {
				e.hear(where+fmt.Sprintf(", in it a %T", part), part, depth+1)
			}
		case interface{ Unwrap() []error }:
			for _, part := range holds.Unwrap() {
				if part != nil {
					e.hear(where+fmt.Sprintf(", in it a %T", part), part, depth+1)
				}
			}
		}
		for _, f := range esm.FailuresOf(err) {
			e.hear(where+", of a record", f.Err, depth+1)
		}
	}
	e.fields(where, reflect.ValueOf(v), depth)
}

var typeOfError = reflect.TypeFor[error]()

// fields listens to the errors in a value.
func (e *Ear) fields(where string, v reflect.Value, depth int) {
	if depth > 20 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			if err, ok := v.Interface().(error); ok && v.Type().Implements(typeOfError) && v.Kind() == reflect.Interface {
				e.hear(where, err, depth+1)
				return
			}
			e.fields(where, v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Type != reflect.TypeFor[*esm.Batch]() {
				e.fields(where+"."+f.Name, v.Field(i), depth+1)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range min(v.Len(), 100) {
			e.fields(where, v.Index(i), depth+1)
		}
	}
}

// Write makes the Ear an io.Writer, for what writes texts.
func (e *Ear) Write(b []byte) (int, error) {
	e.text("a writer", string(b))
	return len(b), nil
}

// Logger is a logger that listens, from the level of debugging on.
func (e *Ear) Logger() *slog.Logger { return slog.New(handler{e, nil}) }

// handler listens to lines of a log.
type handler struct {
	e     *Ear
	attrs []slog.Attr
}

func (h handler) Enabled(context.Context, slog.Level) bool { return true }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	r.AddAttrs(h.attrs...)
	where := fmt.Sprintf("the log, %q", r.Message)
	r.Attrs(func(a slog.Attr) bool {
		h.e.Hear(where+" "+a.Key, a.Value.Any())
		return true
	})
	var b bytes.Buffer
	opts := &slog.HandlerOptions{Level: slog.LevelDebug - 10}
	err := errors.Join(slog.NewTextHandler(&b, opts).Handle(ctx, r), slog.NewJSONHandler(&b, opts).Handle(ctx, r))
	h.e.text(where, b.String())
	return err
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.e, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h handler) WithGroup(string) slog.Handler { return h }

// Hooks are all hooks that there are, each of which listens.
func (e *Ear) Hooks() esm.Hooks {
	return esm.AllHooks(func(name string, info any) { e.Hear("the hook "+name, info) })
}

// Options has a Mapping say everything to the Ear.
func (e *Ear) Options(more ...esm.Option) []esm.Option {
	return append([]esm.Option{esm.WithLogger(e.Logger()), esm.WithHooks(e.Hooks())}, more...)
}

// Mapping listens to all that can be asked of a Mapping.
func (e *Ear) Mapping(m *esm.Mapping) {
	e.Hear("AppendPartitions", m.AppendPartitions(nil))
	// Each method that takes nothing and returns something, and so those that come
	// later, too.
	v := reflect.ValueOf(m)
	for i := range v.NumMethod() {
		name, method := v.Type().Method(i).Name, v.Method(i)
		if method.Type().NumIn() > 0 || method.Type().NumOut() == 0 || name == "Done" || name == "Resume" {
			continue
		}
		for _, out := range method.Call(nil) {
			e.Hear(name, out.Interface())
		}
	}
}

// Invoker listens to the errors of another one.
func (e *Ear) Invoker(inv esm.Invoker) esm.Invoker {
	return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		err := inv.Invoke(ctx, b)
		e.Hear("Invoke", err)
		return err
	})
}

// Destination listens to the errors of another one, and to what it is given.
func (e *Ear) Destination(d esm.Destination) esm.Destination {
	return esm.DestinationFunc(func(ctx context.Context, g *esm.Discard) error {
		e.Hear("a discard", g.Err, g.Brokers, g.BatchID, g.Mapping)
		err := d.Deliver(ctx, g)
		e.Hear("Deliver", err)
		return err
	})
}

// Records listens to records, for example to dead letters.
func (e *Ear) Records(records ...*kgo.Record) {
	for _, r := range records {
		e.text("a dead letter", string(r.Key)+"\n"+string(r.Value))
		for _, h := range r.Headers {
			e.text("the header "+h.Key+" of a dead letter", h.Key+"\n"+string(h.Value))
		}
	}
}

// Texts listens to texts.
func (e *Ear) Texts(where string, texts ...string) {
	for _, text := range texts {
		e.text(where, text)
	}
}
