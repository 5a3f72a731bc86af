package esmtest

import (
	"strings"
	"testing"
	"time"
)

func TestGoroutinesAreReadAsTheRuntimeWritesThem(t *testing.T) {
	for header, want := range map[string]goroutine{
		"goroutine 8 [IO wait, synctest bubble 1]:":                                     {id: "8", state: "IO wait", bubble: "1"},
		"goroutine 14 [chan receive (durable), synctest bubble 12]:":                    {id: "14", state: "chan receive", bubble: "12", durable: true},
		"goroutine 1 [chan receive]:":                                                   {id: "1", state: "chan receive"},
		"goroutine 3 [select (no cases) (durable), 2 minutes, synctest bubble 3]:":      {id: "3", state: "select (no cases)", bubble: "3", durable: true},
		"goroutine 5 gp=0x1 m=2 mp=0x3 [running, locked to thread, synctest bubble 4]:": {id: "5", state: "running", bubble: "4"},
		"goroutine 6 [runnable (scan), synctest bubble 7 labels:{\"a\":\"b\"}]:":        {id: "6", state: "runnable", bubble: "7"},
	} {
		want.stack = "main.main()\n\t/main.go:1"
		if got, ok := parseGoroutine(header + "\nmain.main()\n\t/main.go:1\n"); !ok || got != want {
			t.Errorf("%s: %+v, %t", header, got, ok)
		}
	}
	for _, other := range []string{"", "goroutine", "goroutine 1", "goroutine 1 running:", "panic: oh\n\tgoroutine 1 [running]:"} {
		if got, ok := parseGoroutine(other); ok {
			t.Errorf("%q: %+v", other, got)
		}
	}
	var own int
	for _, g := range goroutines() {
		if strings.Contains(g.stack, "esmtest.TestGoroutinesAreRead") && g.state == "running" && g.bubble == "" {
			own++
		}
	}
	if own != 1 {
		t.Errorf("this goroutine was found %d times", own)
	}
}

func FuzzGoroutines(f *testing.F) {
	f.Add("goroutine 8 [IO wait, 2 minutes, synctest bubble 1]:\nmain.main()\n\n\ngoroutine 9 [select (durable)]:")
	f.Fuzz(func(t *testing.T, dump string) {
		for _, g := range parseGoroutines(dump) {
			if g.bubble != "" && !strings.Contains(dump, "synctest bubble "+g.bubble) || !strings.Contains(dump, "goroutine "+g.id) || !strings.Contains(dump, g.stack) {
				t.Errorf("%q became %+v", dump, g)
			}
			standing([]goroutine{g})
		}
	})
}

// TestClockIsJudgedByGoroutinesThatCannotGoOn: a bubble is given up when for the
// whole patience all its goroutines wait where they were, and one of them for
// something from outside.
func TestClockIsJudgedByGoroutinesThatCannotGoOn(t *testing.T) {
	of := func(bubble string, gs ...goroutine) (all []goroutine) {
		for _, g := range gs {
			g.bubble = bubble
			all = append(all, g)
		}
		return all
	}
	var (
		socket   = goroutine{id: "1", state: "IO wait", stack: "read()"}
		moved    = goroutine{id: "1", state: "IO wait", stack: "write()"}
		asleep   = goroutine{id: "2", state: "sleep", durable: true, stack: "sleep()"}
		running  = goroutine{id: "3", state: "running", stack: "compute()"}
		runnable = goroutine{id: "3", state: "runnable", stack: "compute()"}
		syscall  = goroutine{id: "4", state: "syscall", stack: "wait4()"}
		mutex    = goroutine{id: "5", state: "sync.Mutex.Lock", stack: "lock()"}
	)
	stuck := of("1", socket, asleep)
	for name, tt := range map[string]struct {
		looks [][]goroutine
		ends  bool
	}{
		"all wait, one for a socket":        {[][]goroutine{stuck, stuck, stuck, stuck}, true},
		"not yet":                           {[][]goroutine{stuck, stuck, stuck}, false},
		"one for a mutex":                   {[][]goroutine{of("1", mutex), of("1", mutex), of("1", mutex), of("1", mutex)}, true},
		"it moved":                          {[][]goroutine{stuck, stuck, of("1", moved, asleep), stuck, stuck, stuck}, false},
		"one runs at times":                 {[][]goroutine{stuck, stuck, of("1", socket, running), stuck, stuck, stuck}, false},
		"one is about to":                   {[][]goroutine{stuck, stuck, of("1", socket, runnable), stuck, stuck, stuck}, false},
		"one is in a system call":           {[][]goroutine{of("1", socket, syscall), of("1", socket, syscall), of("1", socket, syscall), of("1", socket, syscall)}, false},
		"all wait for each other":           {[][]goroutine{of("1", asleep), of("1", asleep), of("1", asleep), of("1", asleep)}, false},
		"another bubble, nobody watches it": {[][]goroutine{append(of("2", socket), of("1", running)...), of("2", socket), of("2", socket), of("2", socket)}, false},
		"too many to see":                   {[][]goroutine{nil, nil, nil, nil, nil}, false},
	} {
		var why string
		w := &clockWatch{interval: time.Second, patience: 3, end: func(s string) { why = s }, bubbles: map[string]*watchedBubble{"1": {test: "TestBilling"}}}
		for _, all := range tt.looks {
			w.look(all, false) // which does not count
			w.look(all, true)
		}
		if (why != "") != tt.ends {
			t.Errorf("%s: %q", name, why)
		}
		if tt.ends && !strings.Contains(why, "bubble of TestBilling stands still: its goroutines all wait, and for 3s none has moved") {
			t.Errorf("%s: %q", name, why)
		}
	}
}

func TestWatchEndsWithTheLastBubble(t *testing.T) {
	w := &clockWatch{interval: time.Hour, patience: 3, end: func(s string) { t.Error(s) }, bubbles: map[string]*watchedBubble{"1": {}, "2": {}}}
	in := func(bubbles ...string) (all []goroutine) {
		for _, b := range bubbles {
			all = append(all, goroutine{state: "running", bubble: b})
		}
		return all
	}
	step := func(all []goroutine, ending, left bool) {
		t.Helper()
		if e, l := w.look(all, true); e != ending || l != left {
			t.Errorf("ending %t, left %t", e, l)
		}
	}
	step(in("", "1", "2"), false, true)
	w.over("2")
	step(in("", "1", "2"), true, true)
	step(in("", "1"), false, true)
	w.over("1")
	step(in("", "1"), true, true)
	step(in(""), false, false)
	step(in("", "1"), false, false)

	// Whoever was told to go on for an hour notices the end at once.
	w.bubbles["no such bubble"] = &watchedBubble{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run()
	}()
	w.over("no such bubble")
	<-ended
}

// TestStandstillIsSaidInFew: of many goroutines that hold up a clock, a few, and
// of deep stacks the top.
func TestStandstillIsSaidInFew(t *testing.T) {
	var own []goroutine
	for range 50 {
		own = append(own, goroutine{id: "7", state: "IO wait", stack: strings.Repeat("frame()\n", 100)}, goroutine{id: "8", state: "sleep", durable: true, stack: "sleeper()"})
	}
	why := standstill("TestBilling", time.Minute, own)
	if n := strings.Count(why, "\n"); n > 150 || !strings.Contains(why, "and 45 more") || strings.Contains(why, "sleeper") {
		t.Errorf("%d lines: %s", n, why)
	}
}
