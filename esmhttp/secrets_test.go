package esmhttp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmhttp"
	"github.com/seed429fd032/esm/internal/testing/connstest"
	"github.com/seed429fd032/esm/internal/testing/secrettest"
)

// raw is a server that reads a request, answers these bytes, and hangs up.
func raw(t *testing.T, answer func(r *http.Request) string) *httptest.Server {
	return connstest.Raw(t, func(r *http.Request) []byte { return []byte(answer(r)) })
}

// TestSecretsOfTheURLAreNotSaid: the user, the path, the query and the headers of
// a request, whatever becomes of it, and whatever the server says.
func TestSecretsOfTheURLAreNotSaid(t *testing.T) {
	ear := secrettest.New(t)
	user, password, token, code, key := ear.Plant(), ear.Plant(), ear.Plant(), ear.Plant(), ear.Plant()
	// with puts the secrets into a URL.
	with := func(target string) string {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, password)
		u.Path = "/hooks/" + token
		u.RawQuery = url.Values{"code": {code}, "x": {"1"}}.Encode()
		return u.String()
	}
	echo := func(r *http.Request) string {
		return fmt.Sprintf("cannot POST %s of %v: %v", r.RequestURI, r.URL, r.Header)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	other := serve(t, func(http.ResponseWriter, *http.Request) {})
	release := make(chan struct{})
	defer close(release)

	targets := map[string]struct {
		target string
		opts   []esmhttp.Option
		want   esm.Outcome
	}{
		"nobody there":         {target: gone.URL, want: esm.OutcomeThrottled},
		"no trust":             {target: secure.URL, want: esm.OutcomeThrottled},
		"TLS with plain HTTP":  {target: strings.Replace(other.URL, "http:", "https:", 1), want: esm.OutcomeThrottled},
		"plain HTTP with TLS":  {target: strings.Replace(secure.URL, "https:", "http:", 1), want: esm.OutcomePermanent},
		"no such name":         {target: "http://nobody.invalid", want: esm.OutcomeThrottled},
		"an abort":             {target: raw(t, func(*http.Request) string { return "" }).URL, want: esm.OutcomeFailure},
		"no HTTP":              {target: raw(t, func(r *http.Request) string { return echo(r) + "\r\n\r\n" }).URL, want: esm.OutcomeFailure},
		"half an answer":       {target: raw(t, func(r *http.Request) string { return "HTTP/1.1 200 " + echo(r) + "\r\nContent-Length: 10\r\n\r\n{" }).URL, opts: []esmhttp.Option{esmhttp.WithReportBatchItemFailures(true)}, want: esm.OutcomeFailure},
		"an answer of nothing": {target: raw(t, func(r *http.Request) string { return "HTTP/1.1 200 OK\r\n\r\n" + r.RequestURI }).URL, opts: []esmhttp.Option{esmhttp.WithReportBatchItemFailures(true)}, want: esm.OutcomeFailure},
		"too large an answer": {target: raw(t, func(r *http.Request) string {
			return "HTTP/1.1 200 " + r.RequestURI + "\r\n\r\n" + strings.Repeat("x", 2000)
		}).URL,
			opts: []esmhttp.Option{esmhttp.WithReportBatchItemFailures(true), esmhttp.WithMaxAnswer(1024)}, want: esm.OutcomeFailure},
		"a reason": {target: raw(t, func(r *http.Request) string { return "HTTP/1.1 500 " + echo(r) + "\r\n\r\n" }).URL, want: esm.OutcomeFailure},
		"a redirect of ours": {target: raw(t, func(r *http.Request) string {
			return "HTTP/1.1 307 \r\nLocation: https://elsewhere.test" + r.RequestURI + "\r\n\r\n"
		}).URL, want: esm.OutcomeHalt},
		"to another scheme": {target: raw(t, func(r *http.Request) string {
			return "HTTP/1.1 308 \r\nLocation: https://" + r.Host + r.RequestURI + "\r\n\r\n"
		}).URL, want: esm.OutcomeHalt},
		"a redirect as GET": {target: raw(t, func(r *http.Request) string { return "HTTP/1.1 302 \r\nLocation: " + r.RequestURI + "\r\n\r\n" }).URL, want: esm.OutcomeHalt},
		"a redirect to a user": {target: raw(t, func(r *http.Request) string {
			return "HTTP/1.1 307 \r\nLocation: https://" + user + ":" + password + "@elsewhere.test/" + token + "\r\n\r\n"
		}).URL, want: esm.OutcomeHalt},
		"a bad redirect": {target: raw(t, func(r *http.Request) string { return "HTTP/1.1 307 \r\nLocation: /%zz" + r.RequestURI + "\r\n\r\n" }).URL, want: esm.OutcomeFailure},
		"a bad redirect away": {target: raw(t, func(r *http.Request) string {
			return "HTTP/1.1 307 \r\nLocation: http://u:" + password + "@x:" + token + "\r\n\r\n"
		}).URL, want: esm.OutcomeFailure},
		"in a loop": {target: raw(t, func(r *http.Request) string { return "HTTP/1.1 307 \r\nLocation: " + r.RequestURI + "\r\n\r\n" }).URL, want: esm.OutcomeHalt},
		"a timeout": {target: serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}).URL, opts: []esmhttp.Option{esmhttp.WithTimeout(50 * time.Millisecond)}, want: esm.OutcomeFailure},
		"a proxy that is wrong": {target: "http://billing.test", opts: []esmhttp.Option{esmhttp.WithTransport(&http.Transport{Proxy: func(*http.Request) (*url.URL, error) {
			_, err := url.Parse("http://u:" + password + "@proxy.test:" + code)
			return nil, fmt.Errorf("invalid proxy address %q: %w", "http://u:"+password+"@proxy.test", err)
		}})}, want: esm.OutcomeFailure},
		"a proxy that refuses": {target: "https://billing.test", opts: []esmhttp.Option{esmhttp.WithTransport(&http.Transport{Proxy: func(*http.Request) (*url.URL, error) {
			return url.Parse(strings.Replace(raw(t, func(r *http.Request) string { return "HTTP/1.1 407 " + echo(r) + "\r\n\r\n" }).URL, "//", "//"+user+":"+password+"@", 1))
		}})}, want: esm.OutcomeFailure},
		"a transport of the host": {target: "http://billing.test", opts: []esmhttp.Option{esmhttp.WithTransport(connstest.Tripper(func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("sending %s with %v: %w", r.URL, r.Header, &net.OpError{Op: "dial", Err: &url.Error{Op: "Get", URL: r.URL.String(), Err: io.ErrUnexpectedEOF}})
		}))}, want: esm.OutcomeThrottled},
	}
	for _, status := range []int{200, 400, 401, 404, 408, 413, 429, 500, 503} {
		want := map[int]esm.Outcome{400: esm.OutcomePermanent, 401: esm.OutcomeHalt, 404: esm.OutcomeHalt, 408: esm.OutcomeFailure, 413: esm.OutcomeTooLarge,
			429: esm.OutcomeThrottled, 500: esm.OutcomeFailure, 503: esm.OutcomeThrottled}[status]
		for name, body := range map[string]func(r *http.Request) string{
			"": echo, ", JSON": func(r *http.Request) string { return fmt.Sprintf(`{"at":%q}`, r.RequestURI) },
			// Where an excerpt ends in the middle of a secret.
			", cut": func(r *http.Request) string { return strings.Repeat("x", 490) + code },
			", long": func(r *http.Request) string {
				return strings.Repeat(code+password, 65536/len(code+password)-1) + strings.Repeat(" ", 20) + code + code
			},
		} {
			targets[fmt.Sprint(status, name)] = struct {
				target string
				opts   []esmhttp.Option
				want   esm.Outcome
			}{target: serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Retry-After", code)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body(r))
			}).URL, want: want}
		}
	}
	for name, tt := range targets {
		inv, err := esmhttp.New(with(tt.target), append(tt.opts, esmhttp.WithHeader("Authorization", "Bearer "+key), esmhttp.WithHeader("X-Api-Key", key))...)
		if err != nil {
			t.Fatal(err)
		}
		err = inv.Invoke(t.Context(), small())
		if got := esm.Classify(t.Context(), err); got != tt.want {
			t.Errorf("%s: %v, want %v: %v", name, got, tt.want, err)
		}
		ear.Hear(name, err)
		if host := strings.TrimPrefix(strings.TrimPrefix(tt.target, "https://"), "http://"); errors.Is(err, esm.ErrThrottled) && !strings.Contains(name, "29") && !strings.Contains(name, "503") && !strings.Contains(err.Error(), host) {
			t.Errorf("%s: the host is not named: %v", name, err)
		}
		var of *url.Error
		if errors.As(err, &of) {
			t.Errorf("%s: it holds %v", name, of)
		}
		if err := inv.Close(); err != nil {
			t.Error(err)
		}
	}
	// What the error holds is found.
	err := invoker(t, with(gone.URL)).Invoke(t.Context(), small())
	if op := (*net.OpError)(nil); !errors.As(err, &op) || op.Op != "dial" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(esm.ErrStopping)
	err = invoker(t, with(gone.URL)).Invoke(ctx, small())
	if ear.Hear("a context that has ended", err); !errors.Is(err, esm.ErrStopping) {
		t.Error(err)
	}
}

// TestSecretsOfWrongSettingsAreNotSaid by New.
func TestSecretsOfWrongSettingsAreNotSaid(t *testing.T) {
	ear := secrettest.New(t)
	password, code := ear.Plant(), ear.Plant()
	for _, target := range []string{
		"ftp://user:" + password + "@billing.test/" + code, "https://user:" + password + "@billing.test:port/?code=" + code, "https://user:" + password + "/x@billing.test#" + code,
		"https://user:" + password + " @billing.test", "user:" + password + "@billing.test", password, "https://" + password + "\x00@billing.test", "https://billing.test/?code=" + code + "#" + password,
		"https://billing.test/%zz" + code, "https:///" + code, "https://billing.test/#" + code, "//" + password + "@billing.test", "https://user:" + password,
	} {
		_, err := esmhttp.New(target)
		if err == nil {
			t.Errorf("it took %q", target)
		}
		ear.Hear("New", err)
	}
	_, err := esmhttp.New("https://billing.test", esmhttp.WithHeader("Authorization: Bearer "+password, ""), esmhttp.WithHeader(password+" x", code), esmhttp.WithHeader("X-Key", code+"\n"),
		esmhttp.WithEventSource("https://user:"+password+"@billing.test/ /"+code))
	if err == nil || strings.Count(err.Error(), "WithHeader") != 3 || !strings.Contains(err.Error(), "WithEventSource") {
		t.Error(err)
	}
	ear.Hear("options", err)
}

// TestOfALongAnswerLittleIsKept: a reason of 9 MB, and whatever else a server may
// say much of.
func TestOfALongAnswerLittleIsKept(t *testing.T) {
	long := strings.Repeat("x", 9<<20)
	less := long[:2<<20]
	const calls = 3
	unlimited := func() esmhttp.Option {
		return esmhttp.WithTransport(&http.Transport{MaxResponseHeaderBytes: 20 << 20, DisableKeepAlives: true})
	}
	for name, tt := range map[string]struct {
		answer string
		opts   []esmhttp.Option
		want   esm.Outcome
	}{
		"a reason":            {"HTTP/1.1 503 " + long + "\r\n\r\n", []esmhttp.Option{unlimited()}, esm.OutcomeThrottled},
		"a reason, limited":   {"HTTP/1.1 503 " + long + "\r\n\r\n", nil, esm.OutcomeFailure},
		"a header":            {"HTTP/1.1 429 \r\nRetry-After: " + less + "\r\nX: " + less + "\r\n\r\n", []esmhttp.Option{unlimited()}, esm.OutcomeThrottled},
		"a header, limited":   {"HTTP/1.1 429 \r\nX: " + less + "\r\n\r\n", nil, esm.OutcomeFailure},
		"a body":              {"HTTP/1.1 500 \r\n\r\n" + long, nil, esm.OutcomeFailure},
		"a success":           {"HTTP/1.1 200 " + less + "\r\n\r\n" + long, []esmhttp.Option{unlimited(), esmhttp.WithReportBatchItemFailures(true)}, esm.OutcomeFailure},
		"items":               {"HTTP/1.1 200 OK\r\n\r\n{\"batchItemFailures\":[{\"itemIdentifier\":\"" + long[:5<<20] + "\"}]}", []esmhttp.Option{esmhttp.WithReportBatchItemFailures(true)}, esm.OutcomeFailure},
		"a redirect":          {"HTTP/1.1 307 \r\nLocation: http://" + less + "\r\n\r\n", []esmhttp.Option{unlimited()}, esm.OutcomeHalt},
		"a redirect to a bad": {"HTTP/1.1 307 \r\nLocation: http://x:" + less + "\r\n\r\n", []esmhttp.Option{unlimited()}, esm.OutcomeFailure},
		"no HTTP":             {less + "\r\n\r\n", []esmhttp.Option{unlimited()}, esm.OutcomeFailure},
		"a bad status":        {"HTTP/1.1 " + less + "\r\n\r\n", []esmhttp.Option{unlimited()}, esm.OutcomeFailure},
	} {
		answer := []byte(tt.answer)
		inv := invoker(t, connstest.Raw(t, func(*http.Request) []byte { return answer }).URL, tt.opts...)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var errs []error
		for range calls {
			err := inv.Invoke(t.Context(), small())
			if got := esm.Classify(t.Context(), err); got != tt.want || len(err.Error()) > 10<<10 {
				t.Errorf("%s: %v, want %v: %.500v", name, got, tt.want, err)
			}
			errs = append(errs, err)
		}
		if err := inv.Close(); err != nil {
			t.Error(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if held := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / calls; held > 150<<10 {
			t.Errorf("%s: %d KiB are held of each error", name, held>>10)
		}
		runtime.KeepAlive(errs)
	}
}

// TestAnswersThatAreNotLookedAtTakeNoMemory: without item failures, a body is
// read and thrown away, and its connection used again.
func TestAnswersThatAreNotLookedAtTakeNoMemory(t *testing.T) {
	body := make([]byte, 4<<20)
	clients := map[string]bool{}
	inv := invoker(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		clients[r.RemoteAddr] = true
		_, _ = w.Write(body)
	}).URL)
	call := func() {
		if err := inv.Invoke(t.Context(), small()); err != nil {
			t.Fatal(err)
		}
	}
	call()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		call()
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / 10; each > 1<<20 {
		t.Errorf("%d KiB were allocated for an answer of 4 MiB", each>>10)
	}
	if len(clients) != 1 {
		t.Errorf("%d connections", len(clients))
	}
}
