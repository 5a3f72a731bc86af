package main

import (
	"context"
	"testing"

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/examples/internal/demotest"
)

func TestSession(t *testing.T) {
	var s summary
	code := demotest.JSON(t, t.Context(), "controlplane", new(settings), t.Output(), &s, "-check", "-records", "20000")
	if code != 0 || !s.Good || s.Handled != 20_000 || s.PollersLater < 10 {
		t.Fatalf("exit code %d: %+v", code, s)
	}
}

// TestCommandsAreExplained until somebody ends it.
func TestCommandsAreExplained(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	defer end()
	out := demotest.OnText(t.Output(), "Ctrl-C ends it", end)
	var s summary
	if code := demotest.JSON(t, ctx, "controlplane", new(settings), out, &s, "-address", "127.0.0.1:0", "-records", "1000"); code != 0 || !s.Good {
		t.Errorf("exit code %d: %+v", code, s)
	}
}

// TestCheckSeesWhatIsWrong: a check that cannot fail is none.
func TestCheckSeesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		s    summary
		want bool
	}{
		{summary{Handled: 10, PollersAtFirst: 4, PollersLater: 10, Deleted: true}, true},
		{summary{Handled: 9, PollersAtFirst: 4, PollersLater: 10, Deleted: true}, false},
		{summary{Handled: 10, Repeated: 1, PollersAtFirst: 4, PollersLater: 10, Deleted: true}, false},
		{summary{Handled: 10, OutOfOrder: 1, PollersAtFirst: 4, PollersLater: 10, Deleted: true}, false},
		{summary{Handled: 10, WhileDisabled: 1, PollersAtFirst: 4, PollersLater: 10, Deleted: true}, false},
		{summary{Handled: 10, PollersAtFirst: 5, PollersLater: 10, Deleted: true}, false},
		{summary{Handled: 10, PollersAtFirst: 4, PollersLater: 9, Deleted: true}, false},
		{summary{Handled: 10, PollersAtFirst: 4, PollersLater: 10}, false},
	} {
		if tt.s.good(10) != tt.want {
			t.Errorf("%+v", tt.s)
		}
	}
}

func TestBadFlags(t *testing.T) {
	demotest.Refuses(t, "controlplane", func() demo.Program { return new(settings) }, map[string]string{
		"-what":                 "flag provided but not defined",
		"-records 10":           "must be 1,000 to 10,000,000",
		"-address 0.0.0.0:9001": "must be an address of the loopback interface",
		"-address here":         "must be an address of the loopback interface",
	})
}
