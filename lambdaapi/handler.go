package lambdaapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed429fd032/esm/awsconfig"
	"github.com/seed429fd032/esm/internal/guard"
)

const (
	// mostBody is how large the body of a request may be, in bytes.
	mostBody = 1 << 20
	// mostOfAPage is how many mappings a page has at most: AWS's limit.
	mostOfAPage = 100

	mappingsPath = "/2015-03-31/event-source-mappings"
	tagsPath     = "/2017-03-31/tags/"

	// userInitiated is AWS's reason for what a request changes.
	userInitiated = "USER_INITIATED"
)

// ServeHTTP answers a request of AWS's API.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, is, err := h.serve(w, r)
	if err == nil {
		answer(w, status, is)
		return
	}
	var p *problem
	if !errors.As(err, &p) {
		h.say(slog.LevelError, "a request cannot be answered", "path", guard.Cut(r.URL.Path, 200), "error", guard.Text(err))
		p = failed(err)
	}
	p.write(w)
}

func (h *Host) serve(w http.ResponseWriter, r *http.Request) (status int, is any, err error) {
	if err := h.admit(r); err != nil { // before a body is read
		return 0, nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
	if err != nil {
		return 0, nil, &problem{http.StatusRequestEntityTooLarge, "RequestTooLargeException", "the body is more than 1 MiB, or did not come"}
	}
	if err := h.admitBody(r, body); err != nil {
		return 0, nil, err
	}
	ctx, done := context.WithTimeout(r.Context(), storeWithin)
	defer done()
	return h.route(ctx, r, body)
}

// route finds the operation.
func (h *Host) route(ctx context.Context, r *http.Request, body []byte) (status int, is any, err error) {
	path := r.URL.EscapedPath()
	if arn, ok := strings.CutPrefix(path, tagsPath); ok {
		arn, err := url.PathUnescape(strings.TrimSuffix(arn, "/"))
		if err != nil {
			return 0, nil, malformed("the ARN cannot be read")
		}
		return h.tags(ctx, r, arn, body)
	}
	rest, ok := strings.CutPrefix(path, mappingsPath)
	uuid := strings.Trim(rest, "/")
	switch {
	case !ok || rest != "" && rest[0] != '/' || strings.Contains(uuid, "/"):
	case uuid == "" && r.Method == http.MethodPost:
		is, err = h.create(ctx, body)
		return http.StatusAccepted, is, err
	case uuid == "" && r.Method == http.MethodGet:
		is, err = h.list(ctx, r.URL.Query())
		return http.StatusOK, is, err
	case uuid == "":
	case r.Method == http.MethodGet:
		is, err = h.get(ctx, uuid)
		return http.StatusOK, is, err
	case r.Method == http.MethodPut:
		is, err = h.update(ctx, uuid, body)
		return http.StatusAccepted, is, err
	case r.Method == http.MethodDelete:
		is, err = h.remove(ctx, uuid)
		return http.StatusAccepted, is, err
	}
	return 0, nil, unknownOperation()
}

func (h *Host) create(ctx context.Context, body []byte) (any, error) {
	c, err := awsconfig.ParseJSON(body)
	if err != nil {
		return nil, said(err)
	}
	name, ok := nameOf(c.FunctionName)
	if !ok {
		return nil, invalid("FunctionName: %q is no name of a function", c.FunctionName)
	}
	now := time.Now()
	r := Record{UUID: newUUID(), Config: c, FunctionArn: h.arn(name), Created: now, LastModified: now, Reason: userInitiated}
	if err := h.possible(ctx, &r); err != nil {
		return nil, err
	}
	err = h.change(ctx, func(all map[string]Record) (Change, error) {
		for _, o := range all {
			if r.duplicates(&o) {
				return Change{}, conflict(o.UUID)
			}
		}
		// Here, where no other create comes in between.
		if err := h.full(len(all)); err != nil {
			return Change{}, err
		}
		return Change{r.UUID, &r}, nil
	})
	if err != nil {
		return nil, err
	}
	h.bell.ring()
	return h.shown(&r, "Creating"), nil
}

func (h *Host) get(ctx context.Context, uuid string) (any, error) {
	all, err := h.all(ctx)
	if err != nil {
		return nil, err
	}
	r, ok := all[uuid]
	if !ok {
		if r := h.leaving(uuid); r != nil {
			return h.shown(r, ""), nil
		}
		return nil, missing(uuid)
	}
	return h.shown(&r, ""), nil
}

func (h *Host) list(ctx context.Context, q url.Values) (any, error) {
	most := mostOfAPage
	if s := q.Get("MaxItems"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 10_000 {
			return nil, malformed("MaxItems: %q must be 1 to 10,000", s)
		}
		most = min(most, n)
	}
	var function FunctionName
	if s := q.Get("FunctionName"); s != "" {
		var ok bool
		if function, ok = nameOf(s); !ok {
			return nil, malformed("FunctionName: %q is no name of a function", s)
		}
	}
	all, err := h.all(ctx)
	if err != nil {
		return nil, err
	}
	sorted := slices.SortedFunc(maps.Values(all), func(a, b Record) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.UUID, b.UUID))
	})
	after := q.Get("Marker")
	if after != "" {
		// The mapping that was last on the page before may be gone by now.
		at, uuid, ok := strings.Cut(after, "/")
		created, err := time.Parse(time.RFC3339Nano, at)
		if !ok || err != nil {
			return nil, invalid("Marker: %q was not issued by this endpoint", after)
		}
		sorted = slices.DeleteFunc(sorted, func(r Record) bool {
			return cmp.Or(r.Created.Compare(created), cmp.Compare(r.UUID, uuid)) <= 0
		})
	}
	page := struct {
		EventSourceMappings []any
		NextMarker          string `json:",omitempty"`
	}{EventSourceMappings: []any{}}
	var last *Record
	for i := range sorted {
		r := &sorted[i]
		is, _ := nameOf(r.FunctionArn)
		if arn := q.Get("EventSourceArn"); arn != "" && r.Config.EventSourceArn != arn || function.Name != "" && !is.matches(function) {
			continue
		}
		if len(page.EventSourceMappings) == most {
			page.NextMarker = last.Created.UTC().Format(time.RFC3339Nano) + "/" + last.UUID
			break
		}
		page.EventSourceMappings, last = append(page.EventSourceMappings, h.shown(r, "")), r
	}
	return page, nil
}

func (h *Host) update(ctx context.Context, uuid string, body []byte) (any, error) {
	all, err := h.all(ctx)
	if err != nil {
		return nil, err
	}
	// Whether this host could run it is asked once, and not while the Store waits. What
	// another request changes meanwhile is judged with it below, and asked by the runner.
	was, is, err := h.changed(all, uuid, body)
	if err != nil {
		return nil, err
	}
	if asksMore(&was, &is) {
		if err := h.possible(ctx, &is); err != nil {
			return nil, err
		}
	}
	err = h.change(ctx, func(all map[string]Record) (Change, error) {
		a, b, err := h.changed(all, uuid, body)
		if err != nil {
			return Change{}, err
		}
		was, is = a, b
		return Change{uuid, &b}, nil
	})
	if err != nil {
		return nil, err
	}
	h.bell.ring()
	state := "Updating"
	switch a, b := was.enabled(), is.enabled(); {
	case a && !b:
		state = "Disabling"
	case !a && b:
		state = "Enabling"
	}
	return h.shown(&is, state), nil
}

// changed is a mapping as it was, and as an update makes it.
func (h *Host) changed(all map[string]Record, uuid string, body []byte) (was, is Record, err error) {
	was, ok := all[uuid]
	switch {
	case !ok:
		return was, is, missing(uuid)
	case was.Deleting:
		return was, is, &problem{http.StatusBadRequest, "ResourceInUseException", "the mapping is being deleted"}
	case was.unreadable != nil:
		return was, is, failed(was.unreadable)
	}
	is = was
	if is.Config, err = updated(&was, body); err != nil {
		return was, is, err
	}
	is.Version++
	is.LastModified, is.Reason = time.Now(), userInitiated
	if onlyDisables(&was, &is) {
		return was, is, nil
	}
	if _, err := is.Config.Plan(uuid); err != nil {
		return was, is, said(err)
	}
	if asksMore(&was, &is) {
		if err := h.allowed(&is.Config); err != nil {
			return was, is, err
		}
	}
	name, ok := nameOf(is.Config.FunctionName)
	if !ok {
		return was, is, invalid("FunctionName: %q is no name of a function", is.Config.FunctionName)
	}
	is.FunctionArn = h.arn(name)
	for _, o := range all {
		if is.FunctionArn != was.FunctionArn && is.duplicates(&o) {
			return was, is, conflict(o.UUID)
		}
	}
	if is.FunctionArn != was.FunctionArn || !live(&was.Config, &is.Config) {
		is.Replaced++
	}
	return was, is, nil
}

func (h *Host) remove(ctx context.Context, uuid string) (any, error) {
	var is Record
	err := h.change(ctx, func(all map[string]Record) (Change, error) {
		r, ok := all[uuid]
		if !ok {
			return Change{}, missing(uuid)
		}
		r.Deleting, r.LastModified, r.Reason = true, time.Now(), userInitiated
		is = r
		return Change{uuid, &r}, nil
	})
	if err != nil {
		return nil, err
	}
	h.bell.ring()
	return h.shown(&is, "Deleting"), nil
}

// tags are ListTags, TagResource and UntagResource.
func (h *Host) tags(ctx context.Context, r *http.Request, arn string, body []byte) (int, any, error) {
	parts := strings.SplitN(arn, ":", 7)
	if len(parts) != 7 || parts[0] != "arn" || parts[2] != "lambda" || parts[5] != "event-source-mapping" {
		return 0, nil, invalid("the resource %q is no event source mapping", arn)
	}
	uuid := parts[6]
	if r.Method == http.MethodGet {
		all, err := h.all(ctx)
		if err != nil {
			return 0, nil, err
		}
		is, ok := all[uuid]
		if !ok || h.mappingArn(&is) != arn {
			return 0, nil, missing(uuid)
		}
		tags := is.Config.Tags
		if tags == nil {
			tags = map[string]string{}
		}
		return http.StatusOK, map[string]any{"Tags": tags}, nil
	}
	change := func(map[string]string) {}
	switch r.Method {
	case http.MethodPost:
		given, err := tagsOf(body)
		if err != nil {
			return 0, nil, err
		}
		change = func(tags map[string]string) { maps.Copy(tags, given) }
	case http.MethodDelete:
		keys := r.URL.Query()["tagKeys"]
		if len(keys) == 0 {
			return 0, nil, malformed("tagKeys is required")
		}
		change = func(tags map[string]string) {
			for _, k := range keys {
				delete(tags, k)
			}
		}
	default:
		return 0, nil, unknownOperation()
	}
	err := h.change(ctx, func(all map[string]Record) (Change, error) {
		is, ok := all[uuid]
		if !ok || h.mappingArn(&is) != arn {
			return Change{}, missing(uuid)
		}
		if is.unreadable != nil {
			return Change{}, failed(is.unreadable)
		}
		tags := map[string]string{}
		maps.Copy(tags, is.Config.Tags)
		change(tags)
		is.Config.Tags = tags
		if err := is.Config.Validate(time.Now()); err != nil {
			return Change{}, said(err)
		}
		return Change{uuid, &is}, nil
	})
	return http.StatusNoContent, nil, err
}

// tagsOf reads the body of TagResource.
func tagsOf(body []byte) (map[string]string, error) {
	given, err := object(body)
	if err != nil {
		return nil, err
	}
	var tags map[string]*string
	if err := json.Unmarshal(given["Tags"], &tags); err != nil || tags == nil || len(given) != 1 {
		return nil, malformed(`the body must be {"Tags": {...}}, with names and values that are text`)
	}
	is := map[string]string{}
	for name, v := range tags {
		if v == nil {
			return nil, malformed("Tags: the value of %q is null", name)
		}
		is[name] = *v
	}
	return is, nil
}
