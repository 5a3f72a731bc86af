package esmpage

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/scaling"
)

// An event is a line of what happened.
type event struct {
	Seq  int64  `json:"seq"` // one after that of the event before
	At   int64  `json:"at"`  // ms
	Kind string `json:"kind"`
	// Level is "info", "warn" or "error".
	Level string `json:"level"`
	Text  string `json:"text"`
}

// A step is a change of the number of pollers.
type step struct {
	Seq    int64  `json:"seq"` // of its event
	At     int64  `json:"at"`  // ms
	From   int    `json:"from"`
	To     int    `json:"to"`
	Reason string `json:"reason"`
}

const (
	mostEvents  = 500 // of a Mapping
	mostSteps   = 500
	mostRecords = 1000 // names of Mappings; a host has a few
	eachSecond  = 5    // of one kind that can come often
	resent      = 20   // events that each message has, for viewers that missed one
	textLimit   = 600
	errorLimit  = 200 // of an error in a row of the table
)

// A record keeps what happened to the Mappings of one name.
type record struct {
	used   time.Time // last
	seq    int64
	events []event // the oldest first
	steps  []step
	often  map[string]*allowance
}

// An allowance is how many events of a kind came in a second, and how many were left out.
type allowance struct {
	second int64
	came   int
	left   int64
}

// recordOf returns the record of a name, to be written. Where there would be too many, that
// of no Mapping on the page goes which was not written for the longest time. The lock is held.
func (p *Page) recordOf(name string, now time.Time) *record {
	r := p.records[name]
	if r == nil {
		if len(p.records) >= mostRecords {
			oldest := ""
			for name, r := range p.records {
				if o := p.records[oldest]; !p.shows(name) && (o == nil || r.used.Before(o.used)) {
					oldest = name
				}
			}
			delete(p.records, oldest)
		}
		r = &record{often: map[string]*allowance{}}
		p.records[name] = r
	}
	r.used = now
	return r
}

// allows reports whether an event that can come often is kept, and how many of its kind were
// left out before it.
func (r *record) allows(kind string, now time.Time) (left int64, ok bool) {
	a := r.often[kind]
	if a == nil {
		a = &allowance{}
		r.often[kind] = a
	}
	if second := now.Unix(); a.second != second {
		a.second, a.came = second, 0
	}
	if a.came == eachSecond {
		a.left++
		return 0, false
	}
	a.came++
	left, a.left = a.left, 0
	return left, true
}

// sumUp adds an event for those of a kind that were left out since the last one, once their
// second is over.
func (r *record) sumUp(now time.Time) {
	for kind, a := range r.often {
		if a.left > 0 && a.second != now.Unix() {
			r.add(now, kind, "info", fmt.Sprintf("%d more were left out", a.left))
			a.left = 0
		}
	}
}

// since returns the events after one. The slice may be read for ever.
func (r *record) since(seq int64) []event {
	return r.events[max(0, min(int64(len(r.events)), int64(len(r.events))-(r.seq-seq))):]
}

// add adds an event.
func (r *record) add(now time.Time, kind, level, text string) {
	r.seq++
	r.events = push(r.events, event{r.seq, now.UnixMilli(), kind, level, guard.Cut(text, textLimit)}, mostEvents)
}

// push appends, and forgets the oldest where there would be too many. The slice is copied
// each time that it is full twice, so that it may be read without a copy.
func push[T any](s []T, v T, most int) []T {
	if len(s) < most {
		return append(s, v)
	}
	if len(s) < cap(s) {
		return append(s[1:], v)
	}
	return append(append(make([]T, 0, 2*most), s[1:]...), v)
}

// Hooks returns the hooks by which the page learns what happens to a Mapping: states,
// problems, rebalances, steps of the scaler, failures, records that were given up. Give them
// to [esm.WithHooks]. Without them there are charts and numbers only.
func (p *Page) Hooks() esm.Hooks {
	tell := func(mapping, kind, level, text string) {
		now := time.Now()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.recordOf(mapping, now).add(now, kind, level, text)
	}
	// often is for what can come many times a second: its text is made of what is kept.
	often := func(mapping, kind, level string, text func() string) {
		now := time.Now()
		p.mu.Lock()
		left, ok := p.recordOf(mapping, now).allows(kind, now)
		p.mu.Unlock()
		if !ok {
			return
		}
		said := text()
		if left > 0 {
			said += fmt.Sprintf(" (and %d more that were left out)", left)
		}
		tell(mapping, kind, level, said)
	}
	return esm.Hooks{
		StateChanged: func(s esm.State) {
			tell(s.Mapping, "state", "info", fmt.Sprintf("%s, it was %s%s", s.Phase, s.From, because(s.Reason)))
		},
		ProblemRaised: func(x esm.Problem) { tell(x.Mapping, "problem", "error", x.With+": "+guard.Text(x.Err)) },
		ProblemCleared: func(x esm.Problem) {
			tell(x.Mapping, "problem", "info", fmt.Sprintf("%s: solved after %s", x.With, short(time.Since(x.Since))))
		},
		Assigned: func(x esm.Rebalance) {
			tell(x.Mapping, "partitions", "info", fmt.Sprintf("%d came, %d in all", len(x.Partitions), x.Total))
		},
		Revoked: func(x esm.Rebalance) {
			level, text := "info", fmt.Sprintf("%d went, %d in all, after %s", len(x.Partitions), x.Total, short(x.Waited))
			if x.Lost {
				level, text = "warn", text+"; the session had ended"
			}
			if x.Cancelled > 0 {
				level, text = "warn", text+fmt.Sprintf("; %d calls were cancelled", x.Cancelled)
			}
			if x.CommitErr != nil {
				level, text = "warn", text+"; not committed: "+guard.Text(x.CommitErr)
			}
			tell(x.Mapping, "partitions", level, text)
		},
		RecordsLost: func(x esm.Gap) {
			tell(x.Mapping, "lost", "error", fmt.Sprintf("%s: offsets %d to %d were deleted before they were read", named(x.TopicPartition), x.From, x.To-1))
		},
		PositionReset: func(x esm.Gap) {
			tell(x.Mapping, "reset", "warn", fmt.Sprintf("%s moved back from %d to %d%s", named(x.TopicPartition), x.From, x.To, failed(x.Err)))
		},
		MemoryLimited: func(x esm.Poll) {
			often(x.Mapping, "memory", "info", func() string {
				return fmt.Sprintf("the budget is in use: polling waits (%d of %d bytes)", x.Held, x.Budget)
			})
		},
		InvokeStuck: func(x esm.Invocation) {
			often(x.Mapping, "stuck", "warn", func() string {
				return fmt.Sprintf("a call has been running for %s, of %s%s", short(x.Took), several(x.Partitions), failed(x.Err))
			})
		},
		Throttled: func(x esm.Invocation) {
			often(x.Mapping, "throttled", "warn", func() string {
				return fmt.Sprintf("nothing is invoked for %s%s", short(x.Pause), failed(x.Err))
			})
		},
		RetryScheduled: func(x esm.Blocker) { often(x.Mapping, "retry", "warn", func() string { return x.String() }) },
		HeldUp:         func(x esm.Blocker) { often(x.Mapping, "held up", "error", func() string { return x.String() }) },
		Discarded: func(x *esm.Discard) {
			often(x.Mapping, "discard", "warn", func() string {
				what := "delivered"
				if x.Dropped {
					what = "dropped"
				}
				return fmt.Sprintf("%s/%d offset %d was given up (%s, %d attempts) and %s%s", x.Record.Topic, x.Record.Partition, x.Record.Offset, x.Reason, x.Attempts, what, failed(x.Err))
			})
		},
		DeliveryFailed: func(x *esm.Discard) {
			often(x.Mapping, "delivery", "error", func() string {
				return fmt.Sprintf("the destination did not take %s/%d offset %d, delivery %d%s", x.Record.Topic, x.Record.Partition, x.Record.Offset, x.Delivery, failed(x.DeliveryErr))
			})
		},
		Committed: func(x esm.Commit) {
			if x.Err != nil {
				often(x.Mapping, "commit", "warn", func() string {
					return fmt.Sprintf("%d partitions were not committed%s", len(x.Failed), failed(x.Err))
				})
			}
		},
		Scaled: func(d scaling.Decision) {
			now, reason := time.Now(), guard.Cut(d.Reason.String(), textLimit)
			p.mu.Lock()
			defer p.mu.Unlock()
			r := p.recordOf(d.Mapping, now)
			r.add(now, "pollers", "info", fmt.Sprintf("%d, there were %d: %s", d.To, d.From, reason))
			r.steps = push(r.steps, step{r.seq, now.UnixMilli(), d.From, d.To, reason}, mostSteps)
		},
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func failed(err error) string {
	if err == nil {
		return ""
	}
	return ": " + guard.Text(err)
}

func named(tp esm.TopicPartition) string { return fmt.Sprintf("%s/%d", tp.Topic, tp.Partition) }

// several names the first partitions of many.
func several(tps []esm.TopicPartition) string {
	const most = 3
	var all []string
	for i, tp := range tps {
		if i == most {
			return strings.Join(all, ", ") + fmt.Sprintf(" and %d more", len(tps)-most)
		}
		all = append(all, named(tp))
	}
	return strings.Join(all, ", ")
}

func short(d time.Duration) string { return d.Round(time.Millisecond).String() }
