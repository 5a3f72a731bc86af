package esmtest

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A clockWatch ends the process when the clock of a bubble stands still.
//
// The clock of a bubble moves only while each of its goroutines waits for
// something that synctest knows. One that waits for a socket, for a mutex, or on
// a channel from outside, stops it, and with it the test: go test kills it after
// ten minutes, with a thousand lines of stacks. Nothing inside the bubble can
// see that, since its clock is what stands still, and nothing can end it but the
// end of the process. So a goroutine outside looks at the stacks of all once a
// second. If those of a bubble have all waited and none has moved for half a
// minute, it says which of them hold up the clock, and panics as go test does.
//
// A goroutine that runs, or is in a system call, or that is not where it was,
// proves that something goes on: nothing is said of such a bubble.
type clockWatch struct {
	interval time.Duration // between looks, in real time
	patience int           // looks in a row that find the same
	end      func(why string)

	mu      sync.Mutex // held for moments only, or it would stop clocks itself
	bubbles map[string]*watchedBubble
	wake    chan struct{} // nil while nobody watches
}

type watchedBubble struct {
	test  string
	over  bool   // the test has ended, and its goroutines end too
	seen  string // how its goroutines stood when none could go on
	times int    // for how many looks in a row they stood so
}

var clocks = &clockWatch{interval: time.Second, patience: 30, end: func(why string) { panic(why) }}

// watchClock watches the bubble that the caller is in, if it is in one.
func watchClock(t testing.TB) {
	id := bubbleHere()
	if id == "" {
		return
	}
	if clocks.add(id, t.Name()) {
		t.Cleanup(func() { clocks.over(id) })
	}
}

// add takes a bubble under watch, and reports whether it was not yet.
func (w *clockWatch) add(id, test string) bool {
	w.mu.Lock()
	_, known := w.bubbles[id]
	first := len(w.bubbles) == 0
	if w.bubbles == nil {
		w.bubbles = map[string]*watchedBubble{}
	}
	if !known {
		w.bubbles[id] = &watchedBubble{test: test}
	}
	w.mu.Unlock()
	if first {
		outside(w.run)
	}
	return !known
}

// outside starts a goroutine that is in no bubble. What a bubble starts is in
// it, except, by the documentation of synctest, cleanups of the runtime.
func outside(f func()) {
	ticket := new([4]*int) // too large to share its memory with something that lives on
	runtime.AddCleanup(ticket, func(f func()) { go f() }, f)
	runtime.GC() // at the latest the next one by itself starts it
}

// over says that the test of a bubble has ended, and only the ends of its
// goroutines are waited for.
func (w *clockWatch) over(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.bubbles[id]; b != nil {
		b.over = true
	}
	if w.wake != nil {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// run looks until there is no bubble left.
func (w *clockWatch) run() {
	wake := make(chan struct{}, 1)
	next, counted := w.interval, time.Now()
	w.mu.Lock()
	w.wake = wake
	for _, b := range w.bubbles {
		if b.over { // before anybody could be woken
			next = 0
		}
	}
	w.mu.Unlock()
	for {
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-wake:
			timer.Stop()
			next = 0
		}
		now := time.Now()
		count := now.Sub(counted) >= w.interval
		if count {
			counted = now
		}
		ending, left := w.look(goroutines(), count)
		switch {
		case !left:
			return
		case ending: // in a moment it is over
			next = min(2*next+time.Millisecond, w.interval)
		default:
			next = w.interval
		}
	}
}

// look judges the bubbles. ending is whether one of them is about to end, left
// whether there is one.
func (w *clockWatch) look(all []goroutine, count bool) (ending, left bool) {
	in := map[string][]goroutine{}
	for _, g := range all {
		in[g.bubble] = append(in[g.bubble], g)
	}
	var why string
	w.mu.Lock()
	for id, b := range w.bubbles {
		own := in[id]
		if len(own) == 0 && (all != nil || b.over) {
			delete(w.bubbles, id)
			continue
		}
		ending = ending || b.over
		if !count {
			continue
		}
		seen, stopped := standing(own)
		if !stopped || seen != b.seen {
			b.seen, b.times = seen, 0
		} else if b.times++; b.times >= w.patience {
			why = standstill(b.test, time.Duration(b.times)*w.interval, own)
			b.times = 0
		}
	}
	left = len(w.bubbles) > 0
	if !left {
		w.wake = nil
	}
	w.mu.Unlock()
	if why != "" {
		w.end(why)
	}
	return ending, left
}

// standing says how the goroutines of a bubble stand, and whether that stops its
// clock: all of them wait, and one of them for something from outside.
func standing(own []goroutine) (seen string, stopped bool) {
	var b strings.Builder
	for _, g := range own {
		switch {
		case g.durable:
		case advice(g.state) != "":
			stopped = true
		default:
			return "", false // it runs, or is where nobody knows how long it takes
		}
		fmt.Fprintln(&b, g.id, g.state, g.stack)
	}
	return b.String(), stopped
}

// advice is what to say of a goroutine that waits, in a bubble and not durably,
// in this state. It is empty if that is nothing to wait for long.
func advice(state string) string {
	switch state {
	case "IO wait":
		return "It waits for a real socket. For HTTP there is esmtest.NewServer; what else listens can do so on a kfake.VirtualNetwork; a database has to be a fake, or be tested outside of a bubble"
	case "sync.Mutex.Lock", "sync.RWMutex.Lock", "sync.RWMutex.RLock":
		return "It waits for a mutex, which somebody holds while he waits himself. Let him give it up first, or use a channel"
	case "chan receive", "chan send", "select":
		return "It waits on a channel, a timer or a context that was made outside of the bubble. Make it inside"
	case "sync.WaitGroup.Wait":
		return "It waits for a WaitGroup that is a package variable, or that was used outside of the bubble. Make it inside"
	}
	return ""
}

// standstill says why the clock of a bubble does not move.
func standstill(test string, since time.Duration, own []goroutine) string {
	const most, lines = 5, 24
	var b strings.Builder
	fmt.Fprintf(&b, "esmtest: the clock of the testing/synctest bubble of %s stands still: its goroutines all wait, and for %s none has moved. synctest does not know what these wait for:\n", test, since)
	holders := slices.DeleteFunc(slices.Clone(own), func(g goroutine) bool { return g.durable })
	slices.SortStableFunc(holders, func(a, b goroutine) int { return cmp.Compare(a.state, b.state) })
	for n, g := range holders {
		if n == most {
			fmt.Fprintf(&b, "\nand %d more\n", len(holders)-n)
			break
		}
		stack := strings.Split(g.stack, "\n")
		if len(stack) > lines {
			stack = append(stack[:lines:lines], "...")
		}
		fmt.Fprintf(&b, "\ngoroutine %s, %s. %s:\n%s\n", g.id, g.state, advice(g.state), strings.Join(stack, "\n"))
	}
	return b.String()
}

// needNoListener fails the test at once if something in the bubble of the caller
// accepts real connections: while it does the clock stands still, and a Mapping
// cannot do without that.
func needNoListener(t testing.TB) {
	t.Helper()
	here := bubbleHere()
	if here == "" {
		return
	}
	for range 100 {
		coming := false
		for _, g := range goroutines() {
			switch {
			case g.bubble != here:
			case g.state == "runnable":
				coming = true // a server that was just made is not at its listener yet
			case g.state == "IO wait" && strings.Contains(g.stack, "internal/poll.(*FD).Accept("):
				t.Fatalf("esmtest: a server in this testing/synctest bubble listens on a real socket, so the clock stands still. For HTTP use esmtest.NewServer in place of httptest.NewServer; what else listens can do so on a kfake.VirtualNetwork. It is\n%s", g.stack)
			}
		}
		if !coming {
			return
		}
		runtime.Gosched()
	}
}
