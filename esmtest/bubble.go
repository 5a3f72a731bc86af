package esmtest

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// inBubble reports whether the caller is in a testing/synctest bubble, whose
// clock begins in the year 2000 by its documentation. synctest has no function
// that tells.
func inBubble() bool { return time.Now().Year() < 2010 }

// bubbleHere names the bubble that the caller is in, and is empty outside of
// one. Only the header of a stack has that name. Should a later version of Go
// write it otherwise, it is empty, and nothing that goes by it is checked.
func bubbleHere() string {
	if !inBubble() {
		return ""
	}
	var header [256]byte
	g, _ := parseGoroutine(string(header[:runtime.Stack(header[:], false)]))
	return g.bubble
}

// needOwn fails the test at once if the caller is in a bubble and t is of the
// test around it: its cleanups would run after the bubble, whose goroutines
// would never end.
func needOwn(t testing.TB, what string) {
	t.Helper()
	if tt, ok := t.(*testing.T); ok && inBubble() && hasDeadline(tt) {
		t.Fatalf("esmtest: %s in a testing/synctest bubble got the t of the test around it: name the t of the function that synctest.Test calls", what)
	}
}

// hasDeadline reports whether testing lets t be asked for its deadline, which
// it refuses to the t of a bubble, by a panic and by its documentation.
func hasDeadline(t *testing.T) (has bool) {
	defer func() {
		if recover() != nil {
			has = false
		}
	}()
	t.Deadline()
	return true
}

// needSame fails the test at once if what was made in one bubble, or outside of
// all, is used in another: its channels would end the program, or stop the
// clock.
func needSame(t testing.TB, what, made string) {
	t.Helper()
	if here := bubbleHere(); here != made {
		t.Fatalf("esmtest: %s was made %s, and is used %s: make it where it is used", what, whereIs(made), whereIs(here))
	}
}

func whereIs(bubble string) string {
	if bubble == "" {
		return "outside of a testing/synctest bubble"
	}
	return "in bubble " + bubble
}

// A goroutine is one as the runtime describes it.
type goroutine struct {
	id     string
	state  string // such as "IO wait", without what is told apart below
	bubble string // empty outside of one
	// durable is whether only goroutines of its bubble can wake it, so that it
	// does not hold up the clock.
	durable bool
	stack   string
}

// goroutines describes all that there are.
func goroutines() []goroutine {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			return parseGoroutines(string(buf[:n]))
		}
		if len(buf) >= 64<<20 {
			return nil // of so many none can be judged: the last are missing
		}
		buf = make([]byte, 4*len(buf))
	}
}

func parseGoroutines(dump string) (all []goroutine) {
	for part := range strings.SplitSeq(dump, "\n\n") {
		if g, ok := parseGoroutine(part); ok {
			all = append(all, g)
		}
	}
	return all
}

// parseGoroutine reads
//
//	goroutine 8 [IO wait, 2 minutes, synctest bubble 1]:
//
// and the stack below.
func parseGoroutine(text string) (g goroutine, ok bool) {
	header, stack, _ := strings.Cut(text, "\n")
	rest, ok := strings.CutPrefix(header, "goroutine ")
	if !ok {
		return goroutine{}, false
	}
	id, rest, ok := strings.Cut(rest, " ")
	if !ok {
		return goroutine{}, false
	}
	_, rest, ok = strings.Cut(rest, "[")
	rest, _, closed := strings.Cut(rest, "]")
	if !ok || !closed {
		return goroutine{}, false
	}
	g = goroutine{id: id, stack: strings.TrimSpace(stack)}
	for n, word := range strings.Split(rest, ", ") {
		if n == 0 {
			g.state, g.durable = strings.CutSuffix(strings.TrimSuffix(word, " (scan)"), " (durable)")
		} else if bubble, ok := strings.CutPrefix(word, "synctest bubble "); ok {
			g.bubble, _, _ = strings.Cut(bubble, " ")
		}
	}
	return g, true
}
