package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// A summary adds runs up.
type summary struct {
	mu             sync.Mutex
	began          time.Time
	asked, done    uint64
	virtual        time.Duration
	faults, counts map[string]int64
	broken         []run
}

func newSummary(asked uint64) *summary {
	return &summary{began: time.Now(), asked: asked, faults: map[string]int64{}, counts: map[string]int64{}}
}

// add counts a run, and returns which failure it is: 0 if it is none.
func (s *summary) add(v run) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	s.virtual += time.Duration(v.VirtualNs)
	for name, n := range v.Faults {
		s.faults[name] += n
	}
	for name, n := range v.Counts {
		s.counts[name] += n
	}
	if len(v.Broken) == 0 {
		return 0
	}
	s.broken = append(s.broken, v)
	return len(s.broken)
}

func (s *summary) soFar() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d of %d seeds, %.1f a second, %d failed", s.done, s.asked, s.rate(), len(s.broken))
}

func (s *summary) rate() float64 {
	return float64(s.done) / max(time.Since(s.began).Seconds(), 0.001)
}

func (s *summary) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d seeds in %s, %.1f a second; %.1f hours of virtual time\n", s.done, s.asked,
		time.Since(s.began).Round(time.Second), s.rate(), s.virtual.Hours())
	fmt.Fprintf(&b, "faults: %s\n", counted(s.faults))
	fmt.Fprintf(&b, "counts: %s\n", counted(s.counts))
	if len(s.broken) == 0 {
		b.WriteString("every promise held\n")
		return b.String()
	}
	by, seeds := map[string]int64{}, map[string][]string{}
	for _, v := range slices.SortedFunc(slices.Values(s.broken), func(a, b run) int { return cmp.Compare(a.Seed, b.Seed) }) {
		j := v.judge()
		by[j]++
		seeds[j] = append(seeds[j], fmt.Sprint(v.Seed))
	}
	fmt.Fprintf(&b, "BROKEN in %d seeds: %s\n", len(s.broken), counted(by))
	for _, j := range slices.Sorted(maps.Keys(seeds)) {
		list := seeds[j]
		more := ""
		if len(list) > 20 {
			list, more = list[:20], " ..."
		}
		fmt.Fprintf(&b, "    %s: %s%s\n", j, strings.Join(list, " "), more)
	}
	return b.String()
}

// counted writes what was counted, by name.
func counted(counts map[string]int64) string {
	if len(counts) == 0 {
		return "none"
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(words, ", ")
}
