package esm

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// update writes what plan does into the scenarios, to be read before it is
// believed: go test -run TestScenarios -update .
var update = flag.Bool("update", false, "write the traces of testdata/retry")

// A scenario is a text file with what is done to the records of some
// partitions, each line that begins with > a step, and below it what is left of
// them. Nothing is left of a partition that is not listed.
//
//	> policy retries=3 bisect discards age=1h
//	> batch a 0-7            partition a has these records to handle
//	> age 5m a 3             this record is so old when it is tried
//	> call a b: fail         the next portions of a and b are invoked
//	> wait                   back-offs end
//	> deliver a              the destination takes the first portion of a
//	> others 20              so many calls of other records were answered
//	> denied 1               so many others were throttled for the first time
//
// Outcomes of a call are ok, fail, throttle, busy, refuse, abandon, halt, permanent,
// too-large, and for partial failures a list of OFFSET=fail, =stop, =permanent,
// =too-large, =throttle; a:3=fail names the partition where there are several.
type scenario struct {
	policy     policy
	now        time.Time
	evidence   evidence
	partitions map[string][]portion
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/retry/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &scenario{now: time.Unix(1_000_000, 0), evidence: newEvidence(), partitions: map[string][]portion{}}
			s.policy = policy{maxRetries: -1, backoff: time.Second}
			var got strings.Builder
			for line := range strings.Lines(string(want)) {
				switch {
				case strings.HasPrefix(line, ">"):
					got.WriteString(line)
					fmt.Fprint(&got, s.step(t, strings.Fields(line[1:])))
				case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
					got.WriteString(line)
				}
			}
			if got.String() == string(want) {
				return
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("it goes otherwise:\n%s", got.String())
		})
	}
}

// step does one line, and returns what it shows.
func (s *scenario) step(t *testing.T, words []string) string {
	t.Helper()
	switch words[0] {
	case "policy":
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			switch name {
			case "retries":
				s.policy.maxRetries = atoi(t, value)
			case "age":
				age, err := time.ParseDuration(value)
				if err != nil {
					t.Fatal(err)
				}
				s.policy.maxAge = age
			case "bisect":
				s.policy.bisect = true
			case "discards":
				s.policy.discards = true
			default:
				t.Fatalf("no policy %q", w)
			}
		}
		return ""
	case "batch":
		from, to, _ := strings.Cut(words[2], "-")
		p := portion{}
		for o := atoi(t, from); o <= atoi(t, to); o++ {
			p.records = append(p.records, record{offset: int64(o), millis: s.now.UnixMilli()})
		}
		s.partitions[words[1]] = []portion{p}
	case "age":
		age, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range s.partitions[words[2]] {
			for i := range p.records {
				if r := &p.records[i]; r.offset == int64(atoi(t, words[3])) {
					r.millis = s.now.Add(-age).UnixMilli()
				}
			}
		}
	case "wait":
		s.now = s.now.Add(time.Minute)
	case "others":
		for range atoi(t, words[1]) {
			s.evidence.answered()
		}
		return ""
	case "denied":
		s.evidence.denied += int64(atoi(t, words[1]))
		return ""
	case "deliver":
		of := s.partitions[words[1]]
		if of[0].reason == planReasonNone {
			t.Fatal("nothing is given up")
		}
		s.partitions[words[1]] = of[1:]
	case "call":
		return s.call(t, words[1:])
	default:
		t.Fatalf("no step %q", words[0])
	}
	return s.show()
}

// call invokes the first portions of some partitions.
func (s *scenario) call(t *testing.T, words []string) string {
	t.Helper()
	var names []string
	var tried []portion
	for {
		name := strings.TrimSuffix(words[0], ":")
		of := remaining(s.partitions[name], sequel{left: s.policy.expire(s.partitions[name][0], s.now)})
		s.partitions[name] = of
		switch {
		case of[0].reason != planReasonNone:
			return "  " + name + " has something to deliver first\n" + s.show()
		case of[0].due.After(s.now):
			t.Fatalf("%s waits", name)
		}
		names, tried = append(names, name), append(tried, of[0])
		last := strings.HasSuffix(words[0], ":")
		if words = words[1:]; last {
			break
		}
	}
	v := s.verdict(t, names, tried, words)
	v = s.evidence.weigh(v, tried, refusalLasts, s.now)
	d := plan(v, tried, s.policy, s.now)
	for i, name := range names {
		s.partitions[name][0].suspicion = tried[i].suspicion
		if d.step == stepSplit {
			s.partitions[name][0].suspicion = tried[i].suspicion.part()
		}
	}
	switch {
	case v.refused && v.outcome == planOutcomeHalt:
		return "  halts, and goes back as it was\n"
	case d.step == stepAgain:
		return "  again, as it was\n"
	case d.step == stepSplit:
		return "  again, in halves of the partitions\n"
	}
	for i, name := range names {
		s.partitions[name] = remaining(s.partitions[name], d.sequels[i])
	}
	return s.show()
}

// kinds are what a call may say, of all records or of one.
var kinds = map[string]verdict{
	"ok":        {},
	"fail":      {outcome: planOutcomeFailure},
	"stop":      {outcome: planOutcomeFailure},
	"throttle":  {outcome: planOutcomeThrottled},
	"busy":      {outcome: planOutcomeThrottled, busy: true},
	"abandon":   {outcome: planOutcomeAbandoned},
	"halt":      {outcome: planOutcomeHalt},
	"refuse":    {outcome: planOutcomeHalt, refused: true},
	"permanent": {outcome: planOutcomePermanent},
	"too-large": {outcome: planOutcomeTooLarge},
}

// verdict is what a line says of a call.
func (s *scenario) verdict(t *testing.T, names []string, tried []portion, words []string) verdict {
	t.Helper()
	var v verdict
	for _, w := range words {
		at, what, partial := strings.Cut(w, "=")
		if !partial {
			what = w
		}
		said, known := kinds[what]
		if !known {
			t.Fatalf("nobody says %q", what)
		}
		if said.outcome != planOutcomeSuccess {
			said.err = errors.New(what)
		}
		if !partial {
			return said
		}
		name, offset, named := strings.Cut(at, ":")
		if !named {
			name, offset = names[0], at
		}
		f := failure{part: slices.Index(names, name), err: said.err, outcome: said.outcome, stopped: what == "stop"}
		found := false
		if f.record, found = find(tried[f.part].records, int64(atoi(t, offset))); !found {
			t.Fatalf("%s has no offset %s", name, offset)
		}
		v.failures = append(v.failures, f)
		switch { // a throttle or a halt of one record is that of the call
		case v.outcome == planOutcomeSuccess && !throttles(said.outcome):
			v.outcome, v.err = planOutcomePartial, said.err
		case !throttles(said.outcome):
		case v.outcome == said.outcome:
			v.busy, v.refused = v.busy && said.busy, v.refused && said.refused
		case v.outcome != planOutcomeHalt:
			v.outcome, v.err, v.busy, v.refused = said.outcome, said.err, said.busy, said.refused
		}
	}
	slices.SortFunc(v.failures, func(a, b failure) int { return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.record, b.record)) })
	return v
}

// show lists what is left.
func (s *scenario) show() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.partitions)) {
		if len(s.partitions[name]) == 0 {
			delete(s.partitions, name)
			continue
		}
		var left []string
		for _, p := range s.partitions[name] {
			var offsets []string
			for i := 0; i < len(p.records); {
				j := i
				for j+1 < len(p.records) && p.records[j+1].offset == p.records[j].offset+1 {
					j++
				}
				if i == j {
					offsets = append(offsets, fmt.Sprint(p.records[i].offset))
				} else {
					offsets = append(offsets, fmt.Sprintf("%d-%d", p.records[i].offset, p.records[j].offset))
				}
				i = j + 1
			}
			one := strings.Join(offsets, ",")
			if p.attempts > 0 {
				one += fmt.Sprintf(" failed %d", p.attempts)
			}
			if p.due.After(s.now) {
				one += " waits"
			}
			if p.suspicion.suspected() {
				one += fmt.Sprintf(" (%d throttles count)", p.suspicion.times)
			}
			if p.reason != planReasonNone {
				one += " given up: " + p.reason.String()
			}
			left = append(left, one)
		}
		fmt.Fprintf(&b, "  %s: %s\n", name, strings.Join(left, " | "))
	}
	if b.Len() == 0 {
		return "  all is settled\n"
	}
	return b.String()
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
