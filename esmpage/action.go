package esmpage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// An action is what a viewer asks for.
type action struct {
	ID   string `json:"id"`
	Name string `json:"name"` // so that a page of before a restart does not mean another one
	Do   string `json:"do"`   // "pause", "resume" or "update"

	// Of an update: what is null stays.
	MinPollers    *int `json:"minPollers"`
	MaxPollers    *int `json:"maxPollers"`
	BatchSize     *int `json:"batchSize"`
	BatchWindowMS *int `json:"batchWindowMs"`
}

const (
	mostAction = 4096 // bytes
	pauseWaits = 10 * time.Second
)

// parseAction reads the body of a request.
func parseAction(body io.Reader) (a action, err error) {
	in := json.NewDecoder(io.LimitReader(body, mostAction+1))
	in.DisallowUnknownFields()
	if err = in.Decode(&a); err != nil {
		return a, fmt.Errorf("the body is no action of at most %d bytes: %s", mostAction, plainly(err))
	}
	if in.InputOffset() > mostAction {
		return a, fmt.Errorf("the body is longer than %d bytes", mostAction)
	}
	if _, err = in.Token(); !errors.Is(err, io.EOF) {
		return a, errors.New("the body has something after the action")
	}
	return a, nil
}

// plainly says what is wrong with JSON, without the words of Go.
func plainly(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s must be a %s, and is a %s", cmp.Or(wrong.Field, "it"), strings.Replace(wrong.Type.String(), "int", "whole number", 1), wrong.Value)
	}
	return err.Error()
}

// options are what an update sets.
func (a *action) options() (opts []esm.Option) {
	if a.MinPollers != nil {
		opts = append(opts, esm.WithMinPollers(*a.MinPollers))
	}
	if a.MaxPollers != nil {
		opts = append(opts, esm.WithMaxPollers(*a.MaxPollers))
	}
	if a.BatchSize != nil {
		opts = append(opts, esm.WithBatchSize(*a.BatchSize))
	}
	if a.BatchWindowMS != nil {
		opts = append(opts, esm.WithBatchWindow(window(*a.BatchWindowMS)))
	}
	return opts
}

// window is so many milliseconds. What is too long for a time.Duration stays too long.
func window(ms int) time.Duration {
	const most = 1 << 40
	return time.Duration(min(max(int64(ms), -most), most)) * time.Millisecond
}

// about says what this page may do.
func (p *Page) about(w http.ResponseWriter, _ *http.Request) {
	acts := "false"
	if p.config.Authorize != nil {
		acts = "true"
	}
	answer(w, fmt.Appendf(nil, `{"title":%s,"acts":%s,"kept":%d}`, quoted(p.config.Title), acts, kept))
}

// act does what a viewer asks for, if it may.
func (p *Page) act(w http.ResponseWriter, r *http.Request) {
	if err := p.authorized(r); err != nil {
		p.config.Logger.Warn("the page refused to act", "from", r.RemoteAddr, "err", err)
		refuse(w, http.StatusForbidden, err)
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, errors.New("an action is application/json"))
		return
	}
	a, err := parseAction(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	s := p.find(a.ID)
	if a.ID == "" || s == nil {
		refuse(w, http.StatusNotFound, errors.New("there is no such Mapping on this page"))
		return
	}
	if name := s.mapping.State().Mapping; name != a.Name {
		refuse(w, http.StatusConflict, fmt.Errorf("the Mapping is %q now, not %q: load the page again", name, guard.Cut(a.Name, 100)))
		return
	}
	status, err := p.do(r.Context(), s.mapping, &a)
	p.config.Logger.Info("the page was asked to act", "mapping", a.Name, "do", a.Do, "from", r.RemoteAddr, "err", err)
	if err != nil {
		refuse(w, status, err)
		return
	}
	answer(w, []byte(`{"ok":true}`))
}

// do does it. The status is that of an error.
func (p *Page) do(ctx context.Context, m *esm.Mapping, a *action) (status int, err error) {
	switch a.Do {
	case "pause":
		within, cancel := context.WithTimeout(ctx, pauseWaits)
		defer cancel()
		if err = m.Pause(within); err != nil && within.Err() != nil {
			return http.StatusAccepted, fmt.Errorf("it is paused, but after %s calls are still running", pauseWaits)
		}
	case "resume":
		err = m.Resume()
	case "update":
		opts := a.options()
		if len(opts) == 0 {
			return http.StatusBadRequest, errors.New("an update changes minPollers, maxPollers, batchSize or batchWindowMs, and this one none of them")
		}
		if err = m.Update(opts...); err != nil && !errors.Is(err, esm.ErrStopped) {
			return http.StatusUnprocessableEntity, err
		}
	default:
		return http.StatusBadRequest, fmt.Errorf("%q cannot be done: it must be pause, resume or update", guard.Cut(a.Do, 100))
	}
	return http.StatusConflict, err
}

// quoted is a text as JSON.
func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`) // a string has no error
	}
	return b
}
