package lambdalocal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
	"github.com/seed429fd032/esm/lambdalocal"
)

// function makes a Process of the function in Go.
func function(t testing.TB, opts ...lambdalocal.ProcessOption) *lambdalocal.Process {
	t.Helper()
	return process(t, []string{lambdatest.Build(t, "function")}, opts...)
}

// until waits for what must become true soon.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	limit, done := context.WithTimeout(t.Context(), 20*time.Second)
	defer done()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-limit.Done():
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

func TestProcessesAreKeptAndLetGo(t *testing.T) {
	p := function(t, lambdalocal.WithMaxConcurrency(3), lambdalocal.WithIdleTimeout(time.Second))
	for range 5 {
		if err := p.Invoke(t.Context(), lambdatest.Tell("")); err != nil {
			t.Fatal(err)
		}
	}
	if s := p.Stats(); s.Processes != 1 || s.Busy != 0 || s.ColdStarts != 1 || s.Restarts != 0 || s.Invocations != 5 {
		t.Errorf("one after the other: %+v", s)
	}
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			if err := p.Invoke(t.Context(), lambdatest.Tell("sleep 500ms")); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "three are busy, and the others wait", func() bool { s := p.Stats(); return s.Busy == 3 && s.Waiting == 7 })
	group.Wait()
	if s := p.Stats(); s.Processes != 3 || s.Busy != 0 || s.Waiting != 0 || s.ColdStarts != 3 || s.Restarts != 0 || s.Invocations != 15 {
		t.Errorf("ten at once: %+v", s)
	}
	until(t, "none is left", func() bool { return p.Stats().Processes == 0 })
	if err := p.Invoke(t.Context(), lambdatest.Tell("")); err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s.ColdStarts != 4 || s.Restarts != 0 {
		t.Errorf("after they were let go: %+v", s)
	}
}

func TestStatsCountWhatHarmed(t *testing.T) {
	p := function(t, lambdalocal.WithTimeout(2*time.Second))
	for _, what := range []string{"exit", "hang", "panic", "error"} {
		if err := p.Invoke(t.Context(), lambdatest.Tell(what)); err == nil {
			t.Errorf("%s is a success", what)
		}
	}
	// A panic is reported first; the process ends then.
	until(t, "three have ended", func() bool { return p.Stats().Restarts == 3 })
	if s := p.Stats(); s.Exited != 1 || s.TimedOut != 1 || s.Invocations != 4 || s.ColdStarts != 4 {
		t.Errorf("%+v", s)
	}
}

func TestTimeoutIsAnErrorOfItsOwn(t *testing.T) {
	p := function(t, lambdalocal.WithTimeout(2*time.Second))
	if err := p.Invoke(t.Context(), lambdatest.Tell("hang")); !errors.Is(err, lambdalocal.ErrTimedOut) {
		t.Error(err)
	}
	var f *lambdalocal.FunctionError
	if err := p.Invoke(t.Context(), lambdatest.Tell("error")); !errors.As(err, &f) || f.Message != "told to fail" || f.Type != "errorString" || f.RequestID == "" {
		t.Errorf("%+v: %v", f, err)
	}
}

func TestMemoryLimit(t *testing.T) {
	if runtime.GOOS != "linux" {
		if _, err := lambdalocal.NewProcess([]string{"go"}, lambdalocal.WithMemory(64<<20)); err == nil || !strings.Contains(err.Error(), "WithMemory") {
			t.Error(err)
		}
		return
	}
	p := function(t, lambdalocal.WithMemory(128<<20))
	var f *lambdalocal.FunctionError
	if err := p.Invoke(t.Context(), lambdatest.Tell("grow")); !errors.As(err, &f) || f.Type != "Runtime.OutOfMemory" {
		t.Fatal(err)
	}
	if err := p.Invoke(t.Context(), lambdatest.Tell("")); err != nil {
		t.Error(err)
	}
	if s := p.Stats(); s.OutOfMemory != 1 || s.ColdStarts != 2 {
		t.Errorf("%+v", s)
	}
}

// lines is a logger that can be read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// all are what was logged.
func (l *lines) all(t *testing.T) (all []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func TestOutputIsLogged(t *testing.T) {
	var out lines
	file := filepath.Join(t.TempDir(), "seen")
	p := function(t, lambdalocal.WithLogger(slog.New(slog.NewJSONHandler(&out, nil))), lambdalocal.WithEnv("FUNCTION_SEEN="+file), lambdalocal.WithFunctionName("billing"))
	if err := p.Invoke(t.Context(), lambdatest.Tell("say hello there")); err != nil {
		t.Fatal(err)
	}
	said := func(text string) func(map[string]any) bool {
		return func(m map[string]any) bool { return strings.Contains(fmt.Sprint(m["msg"]), text) }
	}
	until(t, "the line is logged", func() bool { return slices.ContainsFunc(out.all(t), said("hello there")) })
	seen := lambdatest.Seen(t, file)
	for _, m := range out.all(t) {
		if m["function"] != "billing" || m["stream"] != "stdout" || m["request"] != seen[0].Request || m["pid"] != float64(seen[0].PID) {
			t.Errorf("%v of %+v", m, seen)
		}
	}
	if !strings.HasPrefix(seen[0].Request, "batch-") || !strings.HasSuffix(seen[0].ARN, ":billing") {
		t.Errorf("%+v", seen[0])
	}
	// A flood is cut off, and that is said.
	if err := p.Invoke(t.Context(), lambdatest.Tell("flood")); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, m := range out.all(t) {
		total += len(fmt.Sprint(m["msg"]))
	}
	if total > 2<<20 || !slices.ContainsFunc(out.all(t), said("was dropped")) {
		t.Errorf("%d bytes of a flood were logged", total)
	}
}

func TestFunctionThatDoesNotBegin(t *testing.T) {
	p := function(t, lambdalocal.WithEnv("FUNCTION_INIT=hang"), lambdalocal.WithStartTimeout(200*time.Millisecond))
	if err := p.Invoke(t.Context(), lambdatest.Tell("")); err == nil || !strings.Contains(err.Error(), "did not ask for an event within 200ms") {
		t.Error(err)
	}
	p = function(t, lambdalocal.WithEnv("FUNCTION_INIT=exit"))
	if err := p.Invoke(t.Context(), lambdatest.Tell("")); err == nil || !strings.Contains(err.Error(), `exit status 7: its last output is "this function cannot begin"`) {
		t.Error(err)
	}
}

func TestProgramThatIsNotThere(t *testing.T) {
	if _, err := lambdalocal.NewProcess([]string{"no-such-program"}); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Error(err)
	}
	// In another folder it is looked for when it is started, and the function
	// was not reached.
	p := process(t, []string{"./no-such-program"}, lambdalocal.WithDir(t.TempDir()))
	if err := p.Invoke(t.Context(), lambdatest.Tell("")); !errors.Is(err, esm.ErrThrottled) {
		t.Error(err)
	}
	if s := p.Stats(); s.Processes != 0 || s.Busy != 0 {
		t.Errorf("%+v", s)
	}
}

func TestCloseWhileItRuns(t *testing.T) {
	p := function(t, lambdalocal.WithMaxConcurrency(1))
	errs := make(chan error, 2)
	for range 2 {
		go func() { errs <- p.Invoke(t.Context(), lambdatest.Tell("hang")) }()
	}
	until(t, "one runs and one waits", func() bool { s := p.Stats(); return s.Invocations == 1 && s.Waiting == 1 })
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-errs; err == nil || !strings.Contains(err.Error(), "closed") {
			t.Error(err)
		}
	}
	if err := p.Invoke(t.Context(), lambdatest.Tell("")); !notReached(err) || !strings.Contains(err.Error(), "closed") {
		t.Error(err)
	}
}

// notReached reports whether an error says that the function did not get the
// batch, so that no attempt is charged.
func notReached(err error) bool { return errors.Is(err, esm.ErrThrottled) }

func TestWaitingEndsWithItsContext(t *testing.T) {
	p := function(t, lambdalocal.WithMaxConcurrency(1))
	ctx, cancel := context.WithCancelCause(t.Context())
	running := make(chan error, 1)
	go func() { running <- p.Invoke(ctx, lambdatest.Tell("hang")) }()
	until(t, "it runs", func() bool { return p.Stats().Invocations == 1 })
	waiting, stop := context.WithCancelCause(t.Context())
	waited := make(chan error, 1)
	go func() { waited <- p.Invoke(waiting, lambdatest.Tell("")) }()
	until(t, "one waits", func() bool { return p.Stats().Waiting == 1 })
	stop(esm.ErrRevoked)
	if err := <-waited; !errors.Is(err, esm.ErrRevoked) || !notReached(err) {
		t.Error(err)
	}
	cancel(esm.ErrStopping)
	if err := <-running; !errors.Is(err, esm.ErrStopping) || notReached(err) {
		t.Error(err)
	}
	if err := p.Invoke(t.Context(), lambdatest.Tell("")); err != nil {
		t.Error(err)
	}
}

// TestStrangersGetNothing: who does not know the secret of an address gets no
// event and answers none.
func TestStrangersGetNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "address")
	script := fmt.Sprintf("printf %%s $AWS_LAMBDA_RUNTIME_API > %s; exec %s", file, lambdatest.Build(t, "function"))
	if runtime.GOOS == "windows" {
		script = "" // it has no shell
	}
	for _, plain := range []bool{false, true} {
		if script == "" {
			continue
		}
		var opts []lambdalocal.ProcessOption
		if plain {
			opts = append(opts, lambdalocal.WithPlainAddress(true))
		}
		p := process(t, []string{"sh", "-c", script}, opts...)
		done := make(chan error, 1)
		go func() { done <- p.Invoke(t.Context(), lambdatest.Tell("sleep 1s")) }()
		until(t, "it runs", func() bool { return p.Stats().Invocations == 1 })
		address, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		host, secret, found := strings.Cut(string(address), "/")
		if found == plain || !plain && len(secret) < 20 || !strings.HasPrefix(host, "127.0.0.1:") {
			t.Errorf("the address is %q", address)
		}
		for _, path := range []string{"/2018-06-01/runtime/invocation/batch-1/response", "/guess/2018-06-01/runtime/invocation/batch-1/response"} {
			if plain {
				break // this user may: it is the function's
			}
			resp, err := http.Post("http://"+host+path, "application/json", strings.NewReader("null"))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %s", path, resp.Status)
			}
		}
		// Who has the address, but not the id, answers nothing either.
		resp, err := http.Post("http://"+string(address)+"/2018-06-01/runtime/invocation/batch-9/response", "application/json", strings.NewReader("null"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Error(resp.Status)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOptionsOfProcess(t *testing.T) {
	_, err := lambdalocal.NewProcess(nil, lambdalocal.WithFunctionName(""), lambdalocal.WithTimeout(0), lambdalocal.WithMaxConcurrency(0), lambdalocal.WithIdleTimeout(0),
		lambdalocal.WithStartTimeout(time.Hour), lambdalocal.WithMemory(1), lambdalocal.WithEnv("NAME"), lambdalocal.WithLogger(nil), nil)
	if err == nil {
		t.Fatal("it took all of them")
	}
	for _, want := range []string{"WithFunctionName", "WithTimeout(0s)", "WithMaxConcurrency(0)", "WithIdleTimeout(0s)", "WithStartTimeout(1h0m0s)", "WithMemory(1)",
		"WithEnv: variable 1 has no name, or no =", "WithLogger(nil)", "nil option", "command is empty"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in: %v", want, err)
		}
	}
}

// TestProcessesEndWithTheirGroup: what a function started is not left behind,
// however it ends.
func TestProcessesEndWithTheirGroup(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it looks into /proc")
	}
	for _, what := range []string{"hang", "exit", "let go"} {
		file := filepath.Join(t.TempDir(), "child")
		// It does not mind to be asked.
		script := fmt.Sprintf("(trap '' TERM; exec sleep 3600) & echo $! > %s; exec %s", file, lambdatest.Build(t, "function"))
		p := process(t, []string{"sh", "-c", script}, lambdalocal.WithTimeout(2*time.Second))
		err := p.Invoke(t.Context(), lambdatest.Tell(what))
		if what == "let go" {
			err = errors.Join(err, p.Close())
		}
		if (err == nil) != (what == "let go") {
			t.Fatalf("%s: %v", what, err)
		}
		pid, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "its child has ended after "+what, func() bool {
			// A zombie that nobody waits for has ended too.
			state, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
			return err != nil || strings.Contains(string(state), ") Z ")
		})
	}
}
