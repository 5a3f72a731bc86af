package lambdapool_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/invokers/lambdapool"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
)

// descriptors is how many this process has.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestAStrangerHoldsNobodyUp: somebody else on this machine, another user in the
// plain mode, keeps 3,000 connections to a worker coming. It holds few
// descriptors of this process, and calls go on, even those of a runtime client
// that has a new connection for each request.
func TestAStrangerHoldsNobodyUp(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	const connections, calls = 3000, 200
	for mode, plain := range modes {
		t.Run(mode, func(t *testing.T) {
			p, c := hold(t, "", func(c *lambdapool.Config) { c.Plain, c.Env = plain, append(c.Env, "ROGUE_CLOSES=1") })
			before := descriptors(t)
			stranger := exec.Command(lambdatest.Build(t, "stranger"), c.host, strconv.Itoa(connections))
			switch {
			case os.Geteuid() == 0:
				stranger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			case plain:
				t.Skip("it takes root to be another user")
			}
			in, err := stranger.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := stranger.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := stranger.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = in.Close()
				_ = stranger.Wait()
			}()
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "opened\n" {
				t.Fatalf("%q, %v", line, err)
			}
			c.ends(t)
			c.open()
			most, slowest := 0, time.Duration(0)
			for range calls {
				ctx, done := context.WithTimeout(t.Context(), 10*time.Second)
				began := time.Now()
				answer, err := p.Invoke(ctx, lambdapool.Event{Name: "n", Body: []byte("{}")})
				done()
				if err != nil || string(answer) != `"right"` {
					t.Fatalf("%s, %v", answer, err)
				}
				slowest = max(slowest, time.Since(began))
				most = max(most, descriptors(t))
			}
			if s := p.Stats(); s.ColdStarts != 1 {
				t.Errorf("%+v", s)
			}
			// Those of the pool, of the gate, and of its client.
			if most > before+60 {
				t.Errorf("%d descriptors, and before the stranger came %d", most, before)
			}
			t.Logf("the slowest of %d calls took %s; %d descriptors, %d before", calls, slowest, most, before)
		})
	}
}
