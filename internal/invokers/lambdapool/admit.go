package lambdapool

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// ServeHTTP serves the Runtime API to the process of the worker, and to nobody
// else as far as a request tells: another user of the machine, or a page in a
// browser, which can send requests to every address that the browser reaches.
func (w *worker) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	c := connOf(r)
	if kind, why := w.refusal(r); kind != "" {
		c.dismiss()
		status := http.StatusForbidden
		if kind == kindNotFound {
			status = http.StatusNotFound
		}
		// What is left of its body is not waited for.
		_ = http.NewResponseController(to).SetReadDeadline(time.Now().Add(bodyOfStranger))
		to.Header().Set("Connection", "close")
		refuse(to, status, kind, why)
		return
	}
	c.admit()
	w.api.ServeHTTP(to, r)
}

// bodyOfStranger is how long the body of a request that was refused is read, so
// that its sender can read why.
const bodyOfStranger = 100 * time.Millisecond

const (
	kindHost     = "Runtime.ForeignHost"
	kindBrowser  = "Runtime.Browser"
	kindNotFound = "Runtime.NotFound"
)

// refusal says why a request is not the process's, and what for, or "".
//
// A browser names the host that its page wanted, also where that was made to
// mean this machine; it says in Origin whose a page is that sends a body or
// opens a WebSocket, and in Sec-Fetch-Site whose any page is. Nothing else sends
// a header that begins with Sec-, except fetch of Node. The form of a body tells
// nothing: AWS's own clients and examples send forms and HTML, as a page can.
func (w *worker) refusal(r *http.Request) (kind, why string) {
	if r.Host != w.host || r.URL.Host != "" {
		return kindHost, fmt.Sprintf("this is %s, as AWS_LAMBDA_RUNTIME_API has it, and the request is for %q", w.host, guard.Cut(r.Host, 100))
	}
	if _, ok := r.Header["Origin"]; ok {
		return kindBrowser, "a request with the header Origin is one of a page in a browser, and no function is"
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Sec-") {
			return kindBrowser, fmt.Sprintf("a request with the header %s is one of a page in a browser, and no function is. (fetch of Node sends Sec-Fetch-Mode: use node:http)", guard.Cut(name, 100))
		}
	}
	if strings.HasPrefix(r.UserAgent(), "Mozilla/") {
		return kindBrowser, "a request with a User-Agent that begins with Mozilla/ is one of a browser, and no function is"
	}
	path, at := r.URL.Path, w.prefix+runtimeAPI+"/"
	if len(path) < len(at) || subtle.ConstantTimeCompare([]byte(path[:len(at)]), []byte(at)) != 1 {
		return kindNotFound, "there is nothing here: the Runtime API is below the address in AWS_LAMBDA_RUNTIME_API"
	}
	return "", ""
}
