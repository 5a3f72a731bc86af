package lambdapool_test

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/seed429fd032/esm/internal/invokers/lambdapool"
)

// TestOfALongErrorLittleIsKept: a function may say megabytes.
func TestOfALongErrorLittleIsKept(t *testing.T) {
	long := strings.Repeat("x", 5<<20)
	for name, body := range map[string]string{
		"message": `{"errorType":"E","errorMessage":"` + long + `"}`,
		"type":    `{"errorType":"` + long + `"}`,
		"stack":   `{"errorType":"E","errorMessage":"m","stackTrace":["` + strings.Repeat(`a line of a function","`, 100_000) + `"]}`,
		"no JSON": long,
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, c := hold(t, "puppet", nil)
		p := &puppet{c, t, nil}
		link := p.dial()
		link.ask()
		id := link.event()
		resp, said, _ := send(t, c.host, fmt.Sprintf("POST %s/invocation/%s/error HTTP/1.1\r\nHost: %s\r\nLambda-Runtime-Function-Error-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			c.path, id, c.host, long[:50_000], len(body), body))
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("%s: %s: %s", name, resp.Status, said)
		}
		err := <-c.result
		failed := (*lambdapool.Error)(nil)
		if !errors.As(err, &failed) || len(err.Error()) > 5000 || len(failed.Stack) > 101 {
			t.Errorf("%s: %.500v", name, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if held := int(after.HeapAlloc) - int(before.HeapAlloc); held > 1<<20 {
			t.Errorf("%s: %d KiB are held", name, held>>10)
		}
		runtime.KeepAlive(err)
		c.release()
	}
	for how, says := range map[string]string{"long-init-error": "NoBank: xxx", "long-last-words": `its last output is "xxx`} {
		_, err := invoke(t, rogue(t, how, nil))
		if err == nil || len(err.Error()) > 5000 || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %.500v", how, err)
		}
	}
}
