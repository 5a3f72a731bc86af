package job

import (
	"iter"
	"math/bits"
	"slices"
	"sync"
	"time"
)

// A lane is what is known of one partition: which offsets were handled, and
// whether in order.
type lane struct {
	mu      sync.Mutex
	handled []uint64 // a bit each offset
	count   int64
	highest int64 // offset, -1 before the first
	last    time.Time
	spans   []Span
	moves   []Move
	again   int64 // handled a second time
	late    int64 // handled for the first time after a later one
}

// mark says that an offset was handled. The caller holds mu.
func (l *lane) mark(offset int64) (fresh bool) {
	word, bit := offset>>6, uint64(1)<<(offset&63)
	if int(word) >= len(l.handled) {
		l.handled = append(l.handled, make([]uint64, int(word)-len(l.handled)+len(l.handled)/2+16)...)
	}
	if l.handled[word]&bit != 0 {
		l.again++
		return false
	}
	l.handled[word] |= bit
	l.count++
	if offset < l.highest {
		l.late++
	}
	l.highest = max(l.highest, offset)
	return true
}

// A Span is a time in which a partition was worked at, from its first to its
// last handled record, in milliseconds of the wall clock.
type Span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// A Move is a partition that came to this process, or that it let go, at a time in
// milliseconds of the wall clock. A Kafka client says of the one when it begins, and of
// the other when it is done.
type Move struct {
	At   int64 `json:"at"`
	Came bool  `json:"came,omitempty"`
}

// Moved notes that partitions came or were let go.
func (j *Job) Moved(came bool, partitions iter.Seq[int32]) {
	at := time.Now().UnixMilli()
	for p := range partitions {
		l := &j.lanes[p]
		l.mu.Lock()
		l.moves = append(l.moves, Move{at, came})
		l.mu.Unlock()
	}
}

// quiet is how long nothing has to happen for a span to end.
const quiet = 100 * time.Millisecond

// worked notes that a call of the partition ended. The caller holds mu.
func (l *lane) worked(now time.Time, detail bool) {
	if detail {
		ms := now.UnixMilli()
		if n := len(l.spans); n > 0 && now.Sub(l.last) < quiet {
			l.spans[n-1].To = ms
		} else {
			l.spans = append(l.spans, Span{ms, ms})
		}
	}
	l.last = now
}

// A Set says which offsets of a partition were handled.
type Set []uint64

// Has reports whether the offset is in the set.
func (s Set) Has(offset int64) bool {
	word := int(offset >> 6)
	return word < len(s) && s[word]&(1<<(offset&63)) != 0
}

// Len is how many offsets are in the set.
func (s Set) Len() (n int64) {
	for _, word := range s {
		n += int64(bits.OnesCount64(word))
	}
	return n
}

// Union returns the offsets that are in one of the two.
func (s Set) Union(t Set) Set {
	if len(s) < len(t) {
		s, t = t, s
	}
	u := slices.Clone(s)
	for i, word := range t {
		u[i] |= word
	}
	return u
}
