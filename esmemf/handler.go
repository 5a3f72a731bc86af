package esmemf

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// Handler writes what a logger is told at WARN and above as ESM_PROCESSING_EVENT: the
// message, the error (attribute err or error) and, in brackets, the other attributes. The
// attribute mapping says of which Mapping it is. It is for what no hook is told, as by the
// Logger of a lambdaapi.Host; a Mapping that has the [Log.Hooks] and this as its logger too says
// everything twice. It never waits for the Writer.
func (l *Log) Handler() slog.Handler { return &handler{log: l, foreign: true} }

// The attributes of events of our own.
const (
	mappingKey = "mapping"
	eventKey   = "event"
)

// A handler makes lines of what a logger is told.
type handler struct {
	log     *Log
	foreign bool // of what others say, only trouble is taken
	mapping string
	group   string // of WithGroup, with a dot at the end
	attrs   []slog.Attr
}

// Enabled reports whether a level is written.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.log.level && (level >= slog.LevelWarn || !h.foreign)
}

// WithAttrs remembers attributes.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	is := *h
	is.attrs = slices.Clip(h.attrs)
	for _, a := range attrs {
		is.take(a)
	}
	return &is
}

// WithGroup has the attributes that follow be named with the group.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	is := *h
	is.group += name + "."
	return &is
}

// take takes an attribute, with its group in its name.
func (h *handler) take(a slog.Attr) {
	a.Value = a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
	case a.Value.Kind() == slog.KindGroup:
		in := *h
		if a.Key != "" {
			in.group += a.Key + "."
		}
		for _, of := range a.Value.Group() {
			in.take(of)
		}
		h.attrs, h.mapping = in.attrs, in.mapping
	case a.Key == mappingKey && h.group == "":
		h.mapping = guard.Sprint(a.Value.Any())
	default:
		a.Key = h.group + a.Key
		h.attrs = append(h.attrs, a)
	}
}

// Handle writes a line.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	all := *h
	all.attrs = slices.Clip(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		all.take(a)
		return true
	})
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	e := &event{EventType: processingEvent, Timestamp: r.Time.UnixMilli(), LogLevel: logLevel(r.Level)}
	if all.foreign {
		e.Error = all.trouble(&r)
	} else {
		e.EventType = r.Message
		all.fill(e)
	}
	if e.Error != nil {
		k := kind{all.mapping, e.Error.ErrorCode}
		if all.foreign {
			k.code = guard.Cut(r.Message, 200)
		}
		if e.Error = h.log.sparse.admit(k, e.Error, time.Now()); e.Error == nil {
			return nil
		}
	}
	h.log.put(all.mapping, e)
	return nil
}

// fill puts what an event of our own is about into its place.
func (h *handler) fill(e *event) {
	for _, a := range h.attrs {
		switch v := a.Value.Any().(type) {
		case *trouble:
			e.Error = v
		case *connection:
			e.Connection = v
		case *offsets:
			e.Offsets = v
		}
	}
}

// trouble is what others say is wrong.
func (h *handler) trouble(r *slog.Record) *trouble {
	text, rest := r.Message, []string(nil)
	for _, a := range h.attrs {
		v := shown(a.Value)
		switch a.Key {
		case "err", "error":
			text += ": " + v
		default:
			rest = append(rest, a.Key+"="+v)
		}
	}
	if len(rest) > 0 {
		text += " (" + strings.Join(rest, ", ") + ")"
	}
	code := "Warning"
	if r.Level >= slog.LevelError {
		code = "Error"
	}
	return troubleOf(code, text)
}

// shown is a value as text. What it has methods for may panic.
func shown(v slog.Value) string {
	if err, ok := v.Any().(error); ok {
		return guard.Text(err)
	}
	return guard.Sprint(v.Any())
}

// troubleOf is a trouble with a text that is not too long.
func troubleOf(code, text string) *trouble {
	return &trouble{ErrorCode: code, ErrorMessage: guard.Cut(strings.ToValidUTF8(text, "\uFFFD"), guard.TextLimit)}
}

// logLevel is AWS's name of a level; it has none for errors.
func logLevel(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < slog.LevelWarn:
		return "INFO"
	}
	return "WARN"
}
