package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// A run is what came of one seed, or of one plan.
type run struct {
	Seed      uint64           `json:"seed"`
	Hash      string           `json:"hash"`   // of the trace
	Broken    []string         `json:"broken"` // judge: text
	Plan      json.RawMessage  `json:"plan"`
	Text      string           `json:"text"` // the plan for people
	VirtualNs int64            `json:"virtualNs"`
	Faults    map[string]int64 `json:"faults"`
	Counts    map[string]int64 `json:"counts"`

	log string // what else was printed
}

// crash is the judge of what has no verdict: a panic, a deadlock, a hang.
const crash = "crash"

// judge returns who found the first of what is broken, or "".
func (r run) judge() string {
	if len(r.Broken) == 0 {
		return ""
	}
	return judgeOf(r.Broken[0])
}

// brokenBy reports whether a judge found something, first or not.
func (r run) brokenBy(judge string) bool {
	for _, b := range r.Broken {
		if judgeOf(b) == judge {
			return true
		}
	}
	return false
}

func judgeOf(text string) string {
	judge, _, _ := strings.Cut(text, ":")
	return strings.TrimSpace(judge)
}

// A reader makes runs of what the simulation prints. A run is handed over when the
// next one begins or the output ends: what goes wrong after its verdict is charged
// to it.
type reader struct {
	mu      sync.Mutex
	each    func(run)
	line    []byte // not complete yet
	log     text
	begun   *run // has no verdict yet
	judged  *run // waits for what comes next
	any     bool // a run was handed over
	failed  bool // and one of them was broken
	garbage error
	news    func() // something of the contract was printed
}

// Write takes standard output and standard error, in the order in which they were
// written: of two pipes, a log would come before or after its seed.
func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := len(p); ; {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			r.line = append(r.line, p...)
			return n, nil
		}
		r.take(append(r.line, p[:i]...))
		r.line, p = r.line[:0], p[i+1:]
	}
}

// take reads one line.
func (r *reader) take(line []byte) {
	said, ours := bytes.CutPrefix(line, []byte("sim: "))
	switch rest, begin := bytes.CutPrefix(said, []byte("begin ")); {
	case ours && begin:
		r.begin(rest)
	case ours && bytes.HasPrefix(said, []byte("{")):
		r.verdict(said)
	default:
		r.log.add(append(line, '\n'))
	}
}

// begin reads a seed, and the plan if there is one: then a run that has no verdict
// can be shrunk.
func (r *reader) begin(rest []byte) {
	r.handOver()
	number, plan, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	seed, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		r.garbage = fmt.Errorf("the simulation said %q: %w", rest, err)
		return
	}
	r.log = text{}
	r.begun = &run{Seed: seed, Plan: bytes.Clone(plan)}
	if r.news != nil {
		r.news()
	}
}

func (r *reader) verdict(said []byte) {
	var v run
	if err := json.Unmarshal(said, &v); err != nil {
		r.garbage = fmt.Errorf("the simulation said %.200q: %w", said, err)
		return
	}
	r.handOver()
	r.begun, r.judged = nil, &v
	if r.news != nil {
		r.news()
	}
}

// handOver passes on the run that was judged.
func (r *reader) handOver() {
	if r.judged == nil {
		return
	}
	v := *r.judged
	r.judged = nil
	v.log = r.log.String()
	r.any, r.failed = true, r.failed || len(v.Broken) > 0
	r.each(v)
}

// end is called once nothing more is printed. How is why it ended before its time,
// or "" if it says that all is well.
func (r *reader) end(how string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.line) > 0 {
		r.take(r.line)
		r.line = nil
	}
	log := r.log.String()
	if line := complaint(log); line != "" && how != "" {
		how += ": " + line
	}
	switch {
	case r.garbage != nil:
		return r.garbage
	case r.begun != nil:
		if how == "" {
			how = "it ended without a verdict"
		}
		v := *r.begun
		v.Broken = []string{crash + ": " + how}
		r.begun, r.judged = nil, &v
	case r.judged == nil && !r.any:
		return fmt.Errorf("no run began: %s\n%s", how, log)
	case how != "" && r.judged != nil && len(r.judged.Broken) == 0 && !r.failed:
		r.judged.Broken = []string{crash + ": after the verdict: " + how}
	}
	r.handOver()
	return nil
}

// complaint is the line that says why a Go program ended.
func complaint(log string) string {
	for line := range strings.Lines(log) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// A text keeps the first and the last of what is added: the reason stands at the
// beginning of a crash, and what went before a verdict at the end of a log.
type text struct {
	head, tail []byte
	cut        bool
}

const mostOfText = 256 << 10 // each

func (t *text) add(p []byte) {
	n := min(len(p), mostOfText-len(t.head))
	t.head = append(t.head, p[:n]...)
	t.tail = append(t.tail, p[n:]...)
	if over := len(t.tail) - mostOfText; over > mostOfText { // not at each line
		t.cut = true
		t.tail = append([]byte(nil), t.tail[over:]...)
	}
}

func (t *text) String() string {
	if t.cut {
		return string(t.head) + "\n[...]\n" + string(t.tail)
	}
	return string(t.head) + string(t.tail)
}

// excerpt returns so many lines of a log: from the reason on if it crashed, and
// the last ones otherwise.
func excerpt(log string, most int) string {
	lines := strings.Split(strings.TrimRight(log, "\n"), "\n")
	for i, line := range lines {
		if complaint(line) != "" {
			return strings.Join(lines[i:min(len(lines), i+most)], "\n")
		}
	}
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
