//go:build synctests

package esmpage_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmpage"
	"github.com/seed429fd032/esm/esmtest"
)

// TestThePageSaysWhatStatsSays, of a Mapping that works, fails, is held up and scales.
func TestThePageSaysWhatStatsSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		var fails atomic.Bool
		inv := esmtest.NewInvoker(t).Always(func(_ context.Context, b *esm.Batch) error {
			time.Sleep(100 * time.Millisecond)
			for tp := range b.ByPartition() {
				if fails.Load() && tp.Partition == 2 {
					return errors.New("the order <b>17</b> has no customer")
				}
			}
			return nil
		})
		p := newPage(t)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithLogger(quiet()), esm.WithHooks(p.Hooks()), esm.WithMaxPollers(4), esm.WithPollerConcurrency(1), esm.WithBatchSize(10))
		defer m.Stop(t.Context())
		add(t, p, m)
		running, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(running) }()
		fails.Store(true)
		for range 1000 {
			for partition := range int32(4) {
				k.ProduceTo("orders", partition, "a")
			}
		}
		time.Sleep(5*time.Second + 500*time.Millisecond)
		synctest.Wait() // what happens at this moment has happened
		st := m.Stats()
		s := snapshot(t, p, "")
		want := map[string]any{}
		text, err := json.Marshal(st)
		if err == nil {
			err = json.Unmarshal(text, &want)
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range want {
			if got := s.Shown.Stats[name]; fmt.Sprint(got) != fmt.Sprint(v) {
				t.Errorf("%s is %v, want %v", name, got, v)
			}
		}
		if explain := m.Explain(); s.Shown.Explain != explain {
			t.Errorf("it says %q, want %q", s.Shown.Explain, explain)
		}
		if s.Shown.State.Phase != "running" || s.Shown.State.AWS != "Enabled" || s.Shown.Settings.BatchSize != 10 || s.Shown.Reason != st.ScaleReason.String() {
			t.Errorf("%+v", s.Shown)
		}
		if len(s.Shown.Rows) != 4 {
			t.Fatalf("%d rows", len(s.Shown.Rows))
		}
		first := s.Shown.Rows[0]
		if first.Partition != 2 || first.Held == nil || first.Held.Err != "the order <b>17</b> has no customer" || first.Lag == nil || *first.Lag != 1000 {
			t.Errorf("the first row is %+v", first)
		}
		kinds := map[string]bool{}
		for _, e := range s.Shown.Events {
			kinds[e.Kind] = true
		}
		var past struct {
			Events []struct{ Kind string }
			Steps  []struct{ From, To int }
			Points map[string][]*float64
		}
		if err := json.Unmarshal(ask(p, "GET", "/api/history?m=1", "").Body.Bytes(), &past); err != nil {
			t.Fatal(err)
		}
		for _, e := range past.Events {
			kinds[e.Kind] = true
		}
		for _, kind := range []string{"state", "partitions", "retry", "pollers"} {
			if !kinds[kind] {
				t.Errorf("no event of the kind %q in %v", kind, kinds)
			}
		}
		if n := len(past.Steps); n == 0 || past.Steps[n-1].To != st.ProvisionedPollers {
			t.Errorf("the steps are %+v, with %d pollers", past.Steps, st.ProvisionedPollers)
		}
		if n := len(past.Points["at"]); n != 6 {
			t.Errorf("there are %d points", n)
		}
		handled := 0.0
		for i, v := range past.Points["handled"] {
			if (v == nil) != (i == 0) {
				t.Errorf("point %d is %v", i, v)
			}
			if v != nil {
				handled += *v
			}
			if mean := past.Points["mean"][i]; i > 1 && (mean == nil || *mean != 100) {
				t.Errorf("a call takes %v ms", mean)
			}
		}
		if handled < 900 || handled > float64(st.SettledEventCount) {
			t.Errorf("%v records were handled in the history, of %d", handled, st.SettledEventCount)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestAnUnknownLagIsNull in all that the page says.
func TestAnUnknownLagIsNull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t)
		add(t, p, newMapping(t, "a")) // which is in no group
		running, stop := context.WithCancel(t.Context())
		go func() { _ = p.Run(running) }()
		synctest.Wait()
		s := snapshot(t, p, "")
		for name, v := range map[string]any{"lag": s.Shown.Point["lag"][0], "age": s.Shown.Point["age"][0], "handled": s.Shown.Point["handled"][0], "mean": s.Shown.Point["mean"][0]} {
			if v.(*float64) != nil {
				t.Errorf("%s is %v", name, *v.(*float64))
			}
		}
		if lag := fmt.Sprint(s.Shown.Stats["OffsetLag"]); !strings.Contains(lag, "sum:<nil>") {
			t.Errorf("the lag is %s", lag)
		}
		stop()
	})
}

// TestADayIsBounded: an hour is kept, and no more memory than that.
func TestADayIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t)
		m := newMapping(t, "a")
		add(t, p, m)
		h := p.Hooks()
		running, stop := context.WithCancel(t.Context())
		go func() { _ = p.Run(running) }()
		used := func() int64 {
			runtime.GC()
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			return int64(s.HeapAlloc)
		}
		day := func() {
			for range 24 * 60 {
				time.Sleep(time.Minute)
				h.StateChanged(esm.State{Mapping: "a", Reason: strings.Repeat("why", 300)})
				h.Throttled(esm.Invocation{Mapping: "a"})
			}
		}
		before := used()
		day()
		first := used()
		day()
		if second := used(); first-before > 2<<20 || second-first > 1<<20 {
			t.Errorf("the first day took %d bytes, and the second %d more", first-before, second-first)
		}
		var past struct{ Points map[string][]*float64 }
		if err := json.Unmarshal(ask(p, "GET", "/api/history", "").Body.Bytes(), &past); err != nil {
			t.Fatal(err)
		}
		at := past.Points["at"]
		if len(at) != 3600 || *at[3599]-*at[0] != 3599_000 || len(past.Points["lag"]) != 3600 {
			t.Errorf("%d points", len(at))
		}
		for i := range at[1:] {
			if *at[i+1] <= *at[i] {
				t.Fatalf("point %d comes before the one before", i+1)
			}
		}
		stop()
	})
}

// TestAHostThatDoesNotAnswerHoldsUpItsOwnRequest, and that for five seconds.
func TestAHostThatDoesNotAnswerHoldsUpItsOwnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		p := made(t, esmpage.Config{Logger: quiet(), Authorize: func(*http.Request) bool { <-free; return true }})
		m := newMapping(t, "a")
		add(t, p, m)
		began := time.Now()
		w := ask(p, "POST", "/api/act", `{"id":"1","name":"a","do":"update","batchSize":7}`)
		if took := time.Since(began); w.Code != 403 || took != 5*time.Second || m.Settings().BatchSize != 100 {
			t.Errorf("after %s: %d %s", took, w.Code, w.Body)
		}
		snapshot(t, p, "")
		close(free)
	})
}

// TestAPauseDoesNotWaitForEver: it holds, and the page says that calls run still.
func TestAPauseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Always(func(ctx context.Context, _ *esm.Batch) error {
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithLogger(quiet()))
		defer m.Stop(t.Context())
		p := newPage(t)
		add(t, p, m)
		k.Produce("orders", "a")
		time.Sleep(5 * time.Second)
		act := func(do string) string {
			w := ask(p, "POST", "/api/act", `{"id":"1","name":"billing","do":"`+do+`"}`)
			return fmt.Sprint(w.Code, " ", w.Body)
		}
		if said := act("pause"); !strings.HasPrefix(said, "202 ") || !strings.Contains(said, "calls are still running") || m.State().Phase != esm.PhasePaused {
			t.Errorf("%s, and it is %s", said, m.State().Phase)
		}
		if said := act("resume"); !strings.HasPrefix(said, "200 ") || m.State().Phase != esm.PhaseRunning {
			t.Errorf("%s, and it is %s", said, m.State().Phase)
		}
	})
}

// stalled is a connection whose other end stops reading after so many writes.
type stalled struct {
	*httptest.ResponseRecorder
	reads    int
	deadline time.Time
}

func (s *stalled) SetWriteDeadline(t time.Time) error { s.deadline = t; return nil }

func (s *stalled) Write(b []byte) (int, error) {
	if s.reads--; s.reads < 0 {
		time.Sleep(time.Until(s.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	return len(b), nil
}

// TestAViewerThatDoesNotReadIsDropped, and holds up nobody.
func TestAViewerThatDoesNotReadIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t)
		add(t, p, newMapping(t, "a"))
		running, stop := context.WithCancel(t.Context())
		go func() { _ = p.Run(running) }()
		synctest.Wait()
		follow := func(reads int) (ended func() time.Duration) {
			w := &stalled{ResponseRecorder: httptest.NewRecorder(), reads: reads}
			r := httptest.NewRequest("GET", "/api/stream", nil).WithContext(t.Context())
			r.Host = "localhost"
			began, done := time.Now(), make(chan time.Duration, 1)
			go func() {
				p.ServeHTTP(w, r)
				done <- time.Since(began)
			}()
			return func() time.Duration { return <-done }
		}
		slow, good := follow(4), follow(1<<30) // 4: the first line, and one message
		if took := slow(); took < 11*time.Second || took > 13*time.Second {
			t.Errorf("it was dropped after %s", took)
		}
		time.Sleep(time.Minute)
		before := time.Now()
		stop()
		good()
		if took := time.Since(before); took != 0 {
			t.Errorf("at the end it went after %s", took)
		}
	})
}

// TestManyPartitionsAreCut: a page has 2,000, and says how many more there are.
func TestManyPartitionsAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2100))
		m := esmtest.Start(t, k.Source("orders", "billing"), esmtest.NewInvoker(t), esm.WithLogger(quiet()))
		defer m.Stop(t.Context())
		p := newPage(t)
		add(t, p, m)
		time.Sleep(10 * time.Second)
		if s := snapshot(t, p, ""); len(s.Shown.Rows) != 2000 || s.Shown.Left != 100 {
			t.Errorf("%d rows, and %d are left", len(s.Shown.Rows), s.Shown.Left)
		}
	})
}
