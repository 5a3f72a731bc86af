//go:build synctests

package esmtest_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// A trap is a test in a bubble that makes a mistake that others made before.
// Some end the process, so each runs in one of its own.
var traps = map[string]struct {
	run  func(t *testing.T)
	says []string // all of this, when it fails
}{
	"a real HTTP server before Start": {inBubble(func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		defer server.Close()
		startOne(t, esmtest.NewInvoker(t))
		t.Error("it went on")
	}), []string{"esmtest: a server in this testing/synctest bubble listens on a real socket", "esmtest.NewServer", "httptest.(*Server).goServe"}},

	"a real listener of any kind before Start": {inBubble(func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() { _, _ = l.Accept() }()
		startOne(t, esmtest.NewInvoker(t))
		t.Error("it went on")
	}), []string{"listens on a real socket", "kfake.VirtualNetwork", "trap_test.go"}},

	"a real HTTP server after Start": {inBubble(func(t *testing.T) {
		startOne(t, esmtest.NewInvoker(t))
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		defer server.Close()
		time.Sleep(time.Hour)
		t.Error("it went on")
	}), []string{"panic: esmtest: the clock of the testing/synctest bubble of TestTrap stands still", "IO wait. It waits for a real socket", "esmtest.NewServer", "goServe"}},

	"a connection to a server outside": {func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "fine") }))
		defer server.Close()
		synctest.Test(t, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{}}
			inv := esm.InvokerFunc(func(ctx context.Context, _ *esm.Batch) error {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
				if err != nil {
					return err
				}
				answer, err := client.Do(r)
				if err != nil {
					return err
				}
				defer answer.Body.Close()
				_, err = io.Copy(io.Discard, answer.Body)
				return err // and the connection stays, to be used again
			})
			k := startOne(t, inv)
			k.Produce("orders", "a")
			time.Sleep(time.Hour)
			t.Error("it went on")
		})
	}, []string{"stands still", "IO wait. It waits for a real socket", "persistConn"}},

	"a mutex held across a wait": {inBubble(func(t *testing.T) {
		var mu sync.Mutex
		k := startOne(t, esm.InvokerFunc(func(context.Context, *esm.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			return nil
		}))
		mu.Lock()
		defer mu.Unlock()
		k.Produce("orders", "a")
		time.Sleep(time.Minute)
		t.Error("it went on")
	}), []string{"stands still", "sync.Mutex.Lock. It waits for a mutex, which somebody holds", "trap_test.go"}},

	"a sync.Once whose function waits": {inBubble(func(t *testing.T) {
		var once sync.Once
		open := func() { time.Sleep(time.Second) }
		go once.Do(open)
		k := startOne(t, esm.InvokerFunc(func(context.Context, *esm.Batch) error {
			once.Do(open)
			return nil
		}))
		k.Produce("orders", "a")
		time.Sleep(time.Minute)
		t.Error("it went on")
	}), []string{"stands still", "sync.Mutex.Lock. It waits for a mutex, which somebody holds", "sync.(*Once)"}},

	"a WaitGroup of the package": {inBubble(func(t *testing.T) {
		packageGroup.Add(1)
		k := startOne(t, esm.InvokerFunc(func(context.Context, *esm.Batch) error {
			packageGroup.Wait()
			return nil
		}))
		time.AfterFunc(time.Hour, packageGroup.Done)
		k.Produce("orders", "a")
		time.Sleep(time.Minute)
		t.Error("it went on")
	}), []string{"stands still", "sync.WaitGroup.Wait. It waits for a WaitGroup that is a package variable", "trap_test.go"}},

	"a channel from outside": {func(t *testing.T) {
		done := make(chan struct{})
		synctest.Test(t, func(t *testing.T) {
			k := startOne(t, esm.InvokerFunc(func(context.Context, *esm.Batch) error {
				<-done
				return nil
			}))
			k.Produce("orders", "a")
			time.Sleep(time.Minute)
			t.Error("it went on")
		})
	}, []string{"stands still", "chan receive. It waits on a channel, a timer or a context that was made outside", "trap_test.go"}},

	"a context from outside": {func(outer *testing.T) {
		done := outer.Context().Done()
		synctest.Test(outer, func(t *testing.T) {
			k := startOne(t, esm.InvokerFunc(func(context.Context, *esm.Batch) error {
				select {
				case <-done:
				case <-time.After(time.Minute):
				}
				return nil
			}))
			k.Produce("orders", "a")
			time.Sleep(time.Hour)
			t.Error("it went on")
		})
	}, []string{"stands still", "select. It waits on a channel, a timer or a context that was made outside", "trap_test.go"}},

	"a socket that is left at the end": {inBubble(func(t *testing.T) {
		esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = l.Accept() }()
	}), []string{"the clock of the testing/synctest bubble of TestTrap stands still", "IO wait", "trap_test.go"}},

	"the t of the test around it, for a Kafka": {func(outer *testing.T) {
		synctest.Test(outer, func(*testing.T) {
			esmtest.NewKafka(outer, esmtest.Topic("orders", 1))
			outer.Error("it went on")
		})
	}, []string{"esmtest: NewKafka in a testing/synctest bubble got the t of the test around it", "trap_test.go"}},

	"the t of the test around it, for an Invoker": {func(outer *testing.T) {
		synctest.Test(outer, func(*testing.T) {
			esmtest.NewInvoker(outer)
			outer.Error("it went on")
		})
	}, []string{"esmtest: NewInvoker in a testing/synctest bubble got the t of the test around it", "trap_test.go"}},

	"the t of the test around it, for a Mapping": {func(outer *testing.T) {
		synctest.Test(outer, func(t *testing.T) {
			k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
			esmtest.Start(outer, k.Source("orders", "billing"), esmtest.NewInvoker(t))
			outer.Error("it went on")
		})
	}, []string{"esmtest: a Mapping in a testing/synctest bubble got the t of the test around it", "trap_test.go"}},

	"a Kafka from outside": {func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		synctest.Test(t, func(t *testing.T) {
			esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t))
			t.Error("it went on")
		})
	}, []string{"esmtest: this Kafka was made outside of a testing/synctest bubble, and is used in bubble", "trap_test.go"}},

	"the t of the test around it, for a Server": {func(outer *testing.T) {
		synctest.Test(outer, func(*testing.T) {
			esmtest.NewServer(outer, http.NotFoundHandler())
			outer.Error("it went on")
		})
	}, []string{"esmtest: NewServer in a testing/synctest bubble got the t of the test around it", "trap_test.go"}},

	"a Kafka from outside that is written to": {func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		synctest.Test(t, func(t *testing.T) {
			k.Produce("orders", "a")
			t.Error("it went on")
		})
	}, []string{"esmtest: this Kafka was made outside of a testing/synctest bubble, and is used in bubble", "trap_test.go"}},

	"a Server from outside": {func(t *testing.T) {
		server := esmtest.NewServer(t, http.NotFoundHandler())
		synctest.Test(t, func(t *testing.T) {
			if _, err := server.Client().Get(server.URL); err == nil {
				t.Error("it went on")
			}
		})
	}, []string{"esmtest: this Server was made outside of a testing/synctest bubble, and is used in bubble"}},

	"a handler that never returns": {inBubble(func(t *testing.T) {
		server := esmtest.NewServer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { select {} }))
		go func() { _, _ = server.Client().Get(server.URL + "/records") }()
		time.Sleep(time.Second)
	}), []string{"esmtest: 1h0m0s after the server was closed", "these handlers still run: GET /records for 1h0m1s", "trap_test.go"}},

	"an Invoker from outside": {func(t *testing.T) {
		inv := esmtest.NewInvoker(t)
		synctest.Test(t, func(t *testing.T) {
			k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
			esmtest.Start(t, k.Source("orders", "billing"), inv)
			t.Error("it went on")
		})
	}, []string{"esmtest: this Invoker was made outside of a testing/synctest bubble, and is used in bubble", "trap_test.go"}},
}

var packageGroup sync.WaitGroup

func inBubble(f func(t *testing.T)) func(t *testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

// startOne starts a Mapping with nothing special about it.
func startOne(t *testing.T, inv esm.Invoker) *esmtest.Kafka {
	k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
	esmtest.Start(t, k.Source("orders", "billing"), inv)
	return k
}

// TestTrap is what a process of TestTrapsAreNamedAtOnce runs.
func TestTrap(t *testing.T) {
	if name := os.Getenv("ESMTEST_TRAP"); name != "" {
		esmtest.Impatient()
		traps[name].run(t)
	}
}

// TestTrapsAreNamedAtOnce: where a stranger's test would hang for ten minutes,
// or end in a crash of the runtime, it fails within a moment and says why.
func TestTrapsAreNamedAtOnce(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if len(traps) < 10 {
		t.Fatalf("%d traps", len(traps))
	}
	for name, trap := range traps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := exec.CommandContext(t.Context(), program, "-test.run=^TestTrap$", "-test.timeout=2m")
			c.Env = append(os.Environ(), "ESMTEST_TRAP="+name)
			out, err := c.CombinedOutput()
			text := string(out)
			if err == nil {
				t.Errorf("it passed:\n%s", text)
			}
			for _, want := range trap.says {
				if !strings.Contains(text, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			for _, bad := range []string{"it went on", "test timed out", "fatal error", "deadlock", "DATA RACE"} {
				// After it is said, the runtime says the same of what cannot end.
				if strings.Contains(text, bad) && !(bad == "deadlock" && name == "a handler that never returns") {
					t.Errorf("it says %q", bad)
				}
			}
			if n := strings.Count(text, "\n"); n > 150 {
				t.Errorf("it takes %d lines to say so", n)
			}
			if t.Failed() {
				t.Logf("\n%s", regexp.MustCompile(`(?m)^time=.*\n`).ReplaceAllString(text, ""))
			}
		})
	}
}
