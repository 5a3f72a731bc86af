package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/examples/internal/demotest"
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return demo.Run(ctx, "wrap", new(settings), args, stdout, stderr)
}

func TestItShowsWhatEachLayerSawAndEndsByItself(t *testing.T) {
	var stdout, stderr strings.Builder
	if code := run(t.Context(), nil, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, &stdout, &stderr)
	}
	for _, want := range []string{
		"the service took too long", "the service is down", "the breaker is open",
		"breaker: open for 200ms", "breaker: one call, to see", "breaker: closed",
		"400 records handled, offsets committed for 400: all adds up",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	for _, name := range []string{"timing", "breaker", "timeout", "service"} {
		if !strings.Contains(stdout.String(), "\n"+strings.Repeat(" ", 10-len(name))+name+" ") {
			t.Errorf("the table has no %s", name)
		}
	}
	if t.Failed() {
		t.Logf("\n%s%s", &stdout, &stderr)
	}
}

func TestWrongFlagsSayWhatToDo(t *testing.T) {
	demotest.Refuses(t, "wrap", func() demo.Program { return new(settings) }, map[string]string{
		"-brokers localhost:9092 -group g":               "-brokers needs -topic",
		"-brokers localhost:9092 -topic t":               "-brokers needs -group",
		"-topic t":                                       "need -brokers",
		"-records 0":                                     "must be 1 or more",
		"-brokers localhost:9092 -topic t -group g more": "is not a flag",
		"-nonsense":                                      "not defined",
	})
}

func TestWhatDoesNotAddUpIsSaid(t *testing.T) {
	good := func() *report {
		r := &report{
			layers:  []*layer{{calls: 5, ok: 2, failed: 1, throttled: 2}, {calls: 5, ok: 2, failed: 1, throttled: 2}, {calls: 3, ok: 2, failed: 1}, {calls: 3, ok: 2, failed: 1}},
			stats:   esm.Stats{InvokeCount: 5, InvokeErrorCount: 1, ThrottleCount: 2, CommittedEventCount: 20},
			handled: 20, records: 20, all: true,
		}
		return r
	}
	if err := good().check(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*report){
		"the breaker saw":         func(r *report) { r.layers[0].calls = 6; r.stats.InvokeCount = 6 },
		"let through":             func(r *report) { r.layers[1].throttled = 1 },
		"reached the service":     func(r *report) { r.layers[3].calls = 4 },
		"calls that failed":       func(r *report) { r.layers[3].failed = 2 },
		"as the Mapping counts":   func(r *report) { r.stats.ThrottleCount = 3 },
		"came again":              func(r *report) { r.repeated = 1 },
		"records handled":         func(r *report) { r.handled = 19 },
		"whose offset is commit":  func(r *report) { r.stats.CommittedEventCount = 19 },
		"failed calls, as the Ma": func(r *report) { r.stats.InvokeErrorCount = 2 },
	} {
		r := good()
		spoil(r)
		if err := r.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestInterruptedItStillAddsUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, stderr := &strings.Builder{}, &strings.Builder{}
	if code := run(ctx, nil, demotest.OnText(stdout, "the service is down", cancel), stderr); code != 0 {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if s := stdout.String(); !strings.Contains(s, "interrupted: letting the invocations end") || !strings.Contains(s, "all adds up") {
		t.Errorf("it says\n%s%s", s, stderr)
	}
}
