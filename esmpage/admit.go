package esmpage

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

//go:embed assets
var embedded embed.FS

// policy lets the page load its own files only, and run no script that stands in it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// hostOf is the name in a Host header or a list, without the port.
func hostOf(name string) string {
	if host, _, err := net.SplitHostPort(name); err == nil {
		name = host
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
}

// admitted sets the headers of all answers, and refuses requests for other hosts.
func (p *Page) admitted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		if !slices.Contains(p.config.Hosts, "*") && !slices.Contains(p.config.Hosts, hostOf(r.Host)) {
			refuse(w, http.StatusMisdirectedRequest, fmt.Errorf("the host %q is not one of this page (Config.Hosts)", guard.Cut(hostOf(r.Host), 100)))
			return
		}
		if r.URL.Path == "" {
			// Behind a prefix, without the slash: relative addresses would miss it.
			if asked, err := url.ParseRequestURI(r.RequestURI); err == nil && strings.Trim(asked.Path, "/") != "" {
				h.Set("Location", "./"+path.Base(asked.EscapedPath())+"/")
				w.WriteHeader(http.StatusTemporaryRedirect)
				return
			}
			r = r.Clone(r.Context())
			r.URL.Path = "/"
		}
		next.ServeHTTP(w, r)
	})
}

// routes are what the page answers.
func (p *Page) routes(origins *http.CrossOriginProtection) http.Handler {
	mux := http.NewServeMux()
	files, err := fs.Sub(embedded, "assets")
	if err != nil {
		panic(err) // the name is a constant
	}
	for at, file := range map[string]string{"/{$}": "index.html", "/page.js": "", "/page.css": "", "/icon.svg": "", "/uplot.js": "", "/uplot.css": "", "/uplot.LICENSE.txt": ""} {
		name := file
		if name == "" {
			name = at[1:]
		}
		mux.HandleFunc("GET "+at, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, r, files, name)
		})
	}
	mux.HandleFunc("GET /api/about", p.about)
	mux.HandleFunc("GET /api/snapshot", func(w http.ResponseWriter, r *http.Request) {
		if p.asked(w, r) != nil {
			answer(w, p.snapshot(r.URL.Query().Get("m")))
		}
	})
	mux.HandleFunc("GET /api/history", func(w http.ResponseWriter, r *http.Request) {
		if s := p.asked(w, r); s != nil {
			answer(w, p.past(s))
		}
	})
	mux.HandleFunc("GET /api/stream", p.stream)
	mux.Handle("POST /api/act", origins.Handler(http.HandlerFunc(p.act)))
	return mux
}

// asked returns the Mapping that a request is about, or answers that there is none.
func (p *Page) asked(w http.ResponseWriter, r *http.Request) *shown {
	s := p.find(r.URL.Query().Get("m"))
	if s == nil {
		refuse(w, http.StatusNotFound, errors.New("there is no such Mapping on this page"))
	}
	return s
}

// authorized asks the host whether a request may act.
func (p *Page) authorized(r *http.Request) error {
	if p.config.Authorize == nil {
		return errors.New("this page is read-only (Config.Authorize)")
	}
	may := false
	failure, ended := guard.Within(5*time.Second, func() { may = p.config.Authorize(r) })
	switch {
	case !ended:
		return errors.New("Config.Authorize has not answered within 5 s")
	case failure != nil:
		p.config.Logger.Error("Config.Authorize of the page failed", "err", failure.String())
		return errors.New("Config.Authorize failed; the log has more")
	case !may:
		return errors.New("you are not allowed to do this (Config.Authorize)")
	}
	return nil
}

func answer(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(text) // if it fails, the client is gone
}

func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintf(w, "{\"error\":%s}\n", quoted(guard.Text(err)))
}
