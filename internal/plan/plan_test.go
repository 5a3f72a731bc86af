package plan

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
	policy     Policy
	now        time.Time
	evidence   Evidence
	partitions map[string][]Portion
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
			s := &scenario{now: time.Unix(1_000_000, 0), evidence: NewEvidence(), partitions: map[string][]Portion{}}
			s.policy = Policy{MaxRetries: -1, Backoff: time.Second}
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
				s.policy.MaxRetries = atoi(t, value)
			case "age":
				age, err := time.ParseDuration(value)
				if err != nil {
					t.Fatal(err)
				}
				s.policy.MaxAge = age
			case "bisect":
				s.policy.Bisect = true
			case "discards":
				s.policy.Discards = true
			default:
				t.Fatalf("no policy %q", w)
			}
		}
		return ""
	case "batch":
		from, to, _ := strings.Cut(words[2], "-")
		p := Portion{}
		for o := atoi(t, from); o <= atoi(t, to); o++ {
			p.Records = append(p.Records, Record{Offset: int64(o), Millis: s.now.UnixMilli()})
		}
		s.partitions[words[1]] = []Portion{p}
	case "age":
		age, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range s.partitions[words[2]] {
			for i := range p.Records {
				if r := &p.Records[i]; r.Offset == int64(atoi(t, words[3])) {
					r.Millis = s.now.Add(-age).UnixMilli()
				}
			}
		}
	case "wait":
		s.now = s.now.Add(time.Minute)
	case "others":
		for range atoi(t, words[1]) {
			s.evidence.Answered()
		}
		return ""
	case "denied":
		s.evidence.denied += int64(atoi(t, words[1]))
		return ""
	case "deliver":
		of := s.partitions[words[1]]
		if of[0].Reason == ReasonNone {
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
	var tried []Portion
	for {
		name := strings.TrimSuffix(words[0], ":")
		of := Remaining(s.partitions[name], Sequel{Left: s.policy.Expire(s.partitions[name][0], s.now)})
		s.partitions[name] = of
		switch {
		case of[0].Reason != ReasonNone:
			return "  " + name + " has something to deliver first\n" + s.show()
		case of[0].Due.After(s.now):
			t.Fatalf("%s waits", name)
		}
		names, tried = append(names, name), append(tried, of[0])
		last := strings.HasSuffix(words[0], ":")
		if words = words[1:]; last {
			break
		}
	}
	v := s.verdict(t, names, tried, words)
	v = s.evidence.Weigh(v, tried, RefusalLasts, s.now)
	d := After(v, tried, s.policy, s.now)
	for i, name := range names {
		s.partitions[name][0].Suspicion = tried[i].Suspicion
		if d.Step == Split {
			s.partitions[name][0].Suspicion = tried[i].Suspicion.Part()
		}
	}
	switch {
	case v.Refused && v.Outcome == OutcomeHalt:
		return "  halts, and goes back as it was\n"
	case d.Step == Again:
		return "  again, as it was\n"
	case d.Step == Split:
		return "  again, in halves of the partitions\n"
	}
	for i, name := range names {
		s.partitions[name] = Remaining(s.partitions[name], d.Sequels[i])
	}
	return s.show()
}

// kinds are what a call may say, of all records or of one.
var kinds = map[string]Verdict{
	"ok":        {},
	"fail":      {Outcome: OutcomeFailure},
	"stop":      {Outcome: OutcomeFailure},
	"throttle":  {Outcome: OutcomeThrottled},
	"busy":      {Outcome: OutcomeThrottled, Busy: true},
	"abandon":   {Outcome: OutcomeAbandoned},
	"halt":      {Outcome: OutcomeHalt},
	"refuse":    {Outcome: OutcomeHalt, Refused: true},
	"permanent": {Outcome: OutcomePermanent},
	"too-large": {Outcome: OutcomeTooLarge},
}

// verdict is what a line says of a call.
func (s *scenario) verdict(t *testing.T, names []string, tried []Portion, words []string) Verdict {
	t.Helper()
	var v Verdict
	for _, w := range words {
		at, what, partial := strings.Cut(w, "=")
		if !partial {
			what = w
		}
		said, known := kinds[what]
		if !known {
			t.Fatalf("nobody says %q", what)
		}
		if said.Outcome != OutcomeSuccess {
			said.Err = errors.New(what)
		}
		if !partial {
			return said
		}
		name, offset, named := strings.Cut(at, ":")
		if !named {
			name, offset = names[0], at
		}
		f := Failure{Part: slices.Index(names, name), Err: said.Err, Outcome: said.Outcome, Stopped: what == "stop"}
		found := false
		if f.Record, found = Find(tried[f.Part].Records, int64(atoi(t, offset))); !found {
			t.Fatalf("%s has no offset %s", name, offset)
		}
		v.Failures = append(v.Failures, f)
		switch { // a throttle or a halt of one record is that of the call
		case v.Outcome == OutcomeSuccess && !throttles(said.Outcome):
			v.Outcome, v.Err = OutcomePartial, said.Err
		case !throttles(said.Outcome):
		case v.Outcome == said.Outcome:
			v.Busy, v.Refused = v.Busy && said.Busy, v.Refused && said.Refused
		case v.Outcome != OutcomeHalt:
			v.Outcome, v.Err, v.Busy, v.Refused = said.Outcome, said.Err, said.Busy, said.Refused
		}
	}
	slices.SortFunc(v.Failures, func(a, b Failure) int { return cmp.Or(cmp.Compare(a.Part, b.Part), cmp.Compare(a.Record, b.Record)) })
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
			for i := 0; i < len(p.Records); {
				j := i
				for j+1 < len(p.Records) && p.Records[j+1].Offset == p.Records[j].Offset+1 {
					j++
				}
				if i == j {
					offsets = append(offsets, fmt.Sprint(p.Records[i].Offset))
				} else {
					offsets = append(offsets, fmt.Sprintf("%d-%d", p.Records[i].Offset, p.Records[j].Offset))
				}
				i = j + 1
			}
			one := strings.Join(offsets, ",")
			if p.Attempts > 0 {
				one += fmt.Sprintf(" failed %d", p.Attempts)
			}
			if p.Due.After(s.now) {
				one += " waits"
			}
			if p.Suspicion.Suspected() {
				one += fmt.Sprintf(" (%d throttles count)", p.Suspicion.Times)
			}
			if p.Reason != ReasonNone {
				one += " given up: " + p.Reason.String()
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
