package lambdapool_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed429fd032/esm/internal/invokers/lambdapool"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	lambdatest.Clean()
	os.Exit(code)
}

// rogue is a pool of a function that does not do as it should.
func rogue(t *testing.T, how string, change func(c *lambdapool.Config)) *lambdapool.Pool {
	t.Helper()
	c := lambdapool.Config{
		Command: []string{lambdatest.Build(t, "rogue")}, Name: "rogue", Most: 2, Timeout: 20 * time.Second, Start: 20 * time.Second, Idle: time.Minute,
		Env: []string{"ROGUE=" + how}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&c)
	}
	p := lambdapool.New(c)
	t.Cleanup(func() {
		p.Close()
		if s := p.Stats(); s.Processes != 0 {
			t.Errorf("after Close: %+v", s)
		}
	})
	return p
}

func invoke(t *testing.T, p *lambdapool.Pool) (string, error) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), 20*time.Second)
	defer done()
	answer, err := p.Invoke(ctx, lambdapool.Event{Name: "n", Body: []byte("{}")})
	return string(answer), err
}

func TestEventWithoutAnswerFailsAndTheNextIsGiven(t *testing.T) {
	p := rogue(t, "no-answer", nil)
	for range 3 {
		_, err := invoke(t, p)
		if failed := (*lambdapool.Error)(nil); !errors.As(err, &failed) || failed.Type != "Runtime.NoAnswer" {
			t.Fatal(err)
		}
	}
	if s := p.Stats(); s.ColdStarts != 1 || s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAnswerToAnotherEventIsRefused(t *testing.T) {
	p := rogue(t, "another-id", nil)
	for range 3 {
		if answer, err := invoke(t, p); err != nil || answer != `"right"` {
			t.Fatal(answer, err)
		}
	}
}

func TestProcessThatEndsWhileItIsIdleHarmsNobody(t *testing.T) {
	p := rogue(t, "ends-idle", nil)
	for range 10 {
		if answer, err := invoke(t, p); err != nil || answer != `"right"` {
			t.Fatal(answer, err)
		}
	}
	if s := p.Stats(); s.Exited != 0 || s.Invocations != 10 || s.ColdStarts < 5 {
		t.Errorf("%+v", s)
	}
}

// TestProcessThatHangsAfterItsAnswerHarmsNobody: the next event goes to another
// one, and the one that hangs is killed when its time is over.
func TestProcessThatHangsAfterItsAnswerHarmsNobody(t *testing.T) {
	p := rogue(t, "hangs-after", func(c *lambdapool.Config) { c.Most, c.Start = 3, 3*time.Second })
	for range 3 {
		if answer, err := invoke(t, p); err != nil || answer != `"right"` {
			t.Fatal(answer, err)
		}
	}
	if s := p.Stats(); s.ColdStarts != 3 || s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
	// All three hang: this one waits until the first of them is replaced.
	if answer, err := invoke(t, p); err != nil || answer != `"right"` {
		t.Fatal(answer, err)
	}
	if s := p.Stats(); s.Restarts == 0 || s.Exited != 0 {
		t.Errorf("%+v", s)
	}
}

// TestProcessThatGivesUpAskingIsReplaced: it asked for the next event, went
// away, and hangs.
func TestProcessThatGivesUpAskingIsReplaced(t *testing.T) {
	out, says := io.Pipe()
	defer out.Close()
	p := rogue(t, "gives-up", func(c *lambdapool.Config) {
		c.Most, c.Start, c.Timeout = 1, time.Second, 3*time.Second
		c.Logger = slog.New(slog.NewTextHandler(says, nil))
	})
	// Read all the time: a line that nobody reads would hold the pool up.
	gone := make(chan struct{}, 100)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "gone") {
				gone <- struct{}{}
			}
		}
	}()
	for lost := uint64(0); p.Stats().Restarts <= lost; {
		answer, err := invoke(t, p)
		if failed := (*lambdapool.Error)(nil); errors.As(err, &failed) || errors.Is(err, lambdapool.ErrTimedOut) {
			lost++ // it was given this event before it was noticed that nobody asks any more
			continue
		}
		if err != nil || answer != `"right"` {
			t.Fatal(answer, err)
		}
		<-gone
	}
}

func TestInitErrorIsTold(t *testing.T) {
	p := rogue(t, "init-error", nil)
	_, err := invoke(t, p)
	if failed := (*lambdapool.Error)(nil); !errors.As(err, &failed) || failed.Type != "Runtime.InitError" || !strings.Contains(failed.Message, "NoBank: the bank is closed") {
		t.Error(err)
	}
}

// TestProcessThatNeverAsksIsReplaced: also if those who waited for it have gone,
// each before its time was over.
func TestProcessThatNeverAsksIsReplaced(t *testing.T) {
	p := rogue(t, "never-asks", func(c *lambdapool.Config) { c.Most, c.Start = 1, 500*time.Millisecond })
	limit, done := context.WithTimeout(t.Context(), 20*time.Second)
	defer done()
	for p.Stats().Restarts < 2 && limit.Err() == nil {
		ctx, done := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := p.Invoke(ctx, lambdapool.Event{}); err == nil {
			t.Error("a success")
		}
		done()
	}
	if s := p.Stats(); s.Restarts < 2 {
		t.Errorf("%+v", s)
	}
}

// TestCloseDuringColdStarts: it waits for what has begun, and nothing begins
// after it.
func TestCloseDuringColdStarts(t *testing.T) {
	for range 20 {
		p := rogue(t, "", func(c *lambdapool.Config) { c.Most = 4 })
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if _, err := p.Invoke(t.Context(), lambdapool.Event{Body: []byte("{}")}); err != nil && !errors.Is(err, lambdapool.ErrClosed) {
					t.Error(err)
				}
			})
		}
		p.Close()
		if s := p.Stats(); s.Processes != 0 {
			t.Errorf("%+v", s)
		}
		group.Wait()
		if s := p.Stats(); s.Processes != 0 {
			t.Errorf("later: %+v", s)
		}
	}
}
