package esmotel

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/seed429fd032/esm"
)

// A lane is a partition as one group reads it.
type lane struct {
	group string
	esm.TopicPartition
}

// A stretch is what a batch has of a partition, from one offset to another, both included.
type stretch struct {
	lane
	first, last int64
}

// An attempt is a call that failed, and the span of which the next one has a link to.
type attempt struct {
	first, last int64
	span        trace.SpanContext
	batch       string
	number      int
	ending      int
	ended       time.Time
}

// attempts are the last ones of records that come again. A partition has one batch at a time,
// so it has one of them, or a few while a batch is tried in pieces. Each is forgotten when its
// records are settled, when records behind them come, and when the partition is gone.
type attempts struct {
	many atomic.Int64 // how many there are; written with mu

	mu sync.Mutex
	of map[string]map[lane][]attempt // by name of the Mapping; those of a lane are disjoint
}

const (
	// maxAttempts bounds those of all partitions: each has some 200 bytes. One more takes
	// the place of those of any other partition, of which a link is missing then.
	maxAttempts = 10_000
	// maxPieces bounds those of a partition. A batch of 10,000 that is halved again and
	// again is in 14 pieces at a time.
	maxPieces = 16
)

// meet returns the earlier attempts of a batch that begins, those of a partition in the
// order of their offsets, and forgets those whose records do not come again.
func (a *attempts) meet(mapping string, stretches []stretch) (earlier []attempt) {
	if a.many.Load() == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range stretches {
		list, known := a.of[mapping][s.lane]
		if !known {
			continue
		}
		kept := make([]attempt, 0, len(list))
		for _, one := range list {
			if one.last < s.first {
				continue // what is before a batch is done with
			}
			kept = append(kept, one)
			if one.first <= s.last {
				earlier = append(earlier, one)
			}
		}
		a.put(mapping, s.lane, kept)
	}
	return earlier
}

// failed remembers an attempt of a batch.
func (a *attempts) failed(mapping string, stretches []stretch, one attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[string]map[lane][]attempt{}
	}
	for _, s := range stretches {
		one.first, one.last = s.first, s.last
		list := append(without(a.of[mapping][s.lane], s), one)
		slices.SortFunc(list, func(a, b attempt) int { return cmp.Compare(a.first, b.first) })
		a.put(mapping, s.lane, list[:min(len(list), maxPieces)]) // the first ones come next
		a.evict(mapping, s.lane)
	}
}

// settled forgets what is known of the records of a batch.
func (a *attempts) settled(mapping string, stretches []stretch) {
	if a.many.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range stretches {
		if list, known := a.of[mapping][s.lane]; known {
			a.put(mapping, s.lane, without(list, s))
		}
	}
}

// last returns the last attempt of a record.
func (a *attempts) last(mapping string, of lane, offset int64) (one attempt, known bool) {
	if a.many.Load() == 0 {
		return attempt{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.of[mapping][of] {
		if one.first <= offset && offset <= one.last {
			return one, true
		}
	}
	return attempt{}, false
}

// revoked forgets partitions of a Mapping.
func (a *attempts) revoked(mapping string, partitions []esm.TopicPartition) {
	if a.many.Load() == 0 {
		return
	}
	gone := make(map[esm.TopicPartition]bool, len(partitions))
	for _, tp := range partitions {
		gone[tp] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for l := range a.of[mapping] {
		if gone[l.TopicPartition] {
			a.put(mapping, l, nil)
		}
	}
}

// stopped forgets a Mapping.
func (a *attempts) stopped(mapping string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for l := range a.of[mapping] {
		a.put(mapping, l, nil)
	}
}

// forget forgets all.
func (a *attempts) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of = nil
	a.many.Store(0)
}

// put sets what is known of a lane, with mu.
func (a *attempts) put(mapping string, l lane, list []attempt) {
	lanes := a.of[mapping]
	a.many.Add(int64(len(list) - len(lanes[l])))
	switch {
	case len(list) > 0 && lanes == nil:
		a.of[mapping] = map[lane][]attempt{l: list}
	case len(list) > 0:
		lanes[l] = list
	default:
		delete(lanes, l)
		if len(lanes) == 0 {
			delete(a.of, mapping)
		}
	}
}

// evict forgets any lane but one while there are too many attempts, with mu.
func (a *attempts) evict(mapping string, but lane) {
	for a.many.Load() > maxAttempts {
		of, victim := a.other(mapping, but)
		if victim == nil {
			return
		}
		a.put(of, *victim, nil)
	}
}

func (a *attempts) other(mapping string, but lane) (of string, victim *lane) {
	for name, lanes := range a.of {
		for l := range lanes {
			if name != mapping || l != but {
				return name, &l
			}
		}
	}
	return "", nil
}

// without returns the attempts of a lane without a stretch of it.
func without(list []attempt, s stretch) []attempt {
	kept := make([]attempt, 0, len(list)+1)
	for _, one := range list {
		if one.last < s.first || one.first > s.last {
			kept = append(kept, one)
			continue
		}
		if before := one; before.first < s.first {
			before.last = s.first - 1
			kept = append(kept, before)
		}
		if after := one; after.last > s.last {
			after.first = s.last + 1
			kept = append(kept, after)
		}
	}
	return kept
}
