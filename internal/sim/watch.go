package sim

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/seed429fd032/esm"
)

const (
	// lookEvery is how often the watch looks.
	lookEvery = time.Second
	// mostStill is how long a partition may stand still before a member that has it must
	// say so; and, if it said so, before it must say so again: something else may be in the
	// way by then.
	mostStill = 30 * time.Second
	// mostUnowned is how long nobody may have a partition in which records wait: a session of
	// a member that is gone, a rebalance that waits for calls, and starts that failed
	// because of faults.
	mostUnowned = 3 * time.Minute
	// lagAge is how old an end may be that a lag is made of, and a second of the sampler's.
	lagAge = 6 * time.Second
)

// watch looks at all members and partitions, until ctx ends.
func (w *World) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.look()
		w.exorcise(ctx)
	}
}

// A sight is what one member says of itself.
type sight struct {
	m        *member
	rows     []esm.PartitionStats
	stats    esm.Stats
	problems []string
	unwell   bool
	phase    esm.Phase
}

func (w *World) look() {
	var sights []sight
	for _, m := range w.alive() {
		s := sight{m: m, rows: m.m.AppendPartitions(nil), stats: m.m.Stats(), unwell: m.m.Ready() != nil || m.m.Healthy() != nil}
		state := m.m.State()
		s.phase = state.Phase
		for _, p := range state.Problems {
			s.problems = append(s.problems, p.With)
		}
		sights = append(sights, s)
	}
	info := w.kafka.Cluster().GroupInfo(group)
	var logs []logNow
	for _, t := range w.topics() {
		for _, p := range w.kafka.Cluster().PartitionInfos(t.Name) {
			l := logNow{tp: esm.TopicPartition{Topic: t.Name, Partition: p.Partition}, end: p.HighWatermark, committed: -1}
			if w.plan.Options.ReadCommitted {
				l.end = p.LastStableOffset
			}
			if info != nil {
				if c, ok := info.Commits[t.Name][p.Partition]; ok {
					l.committed = c.Offset
				}
			}
			logs = append(logs, l)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, l := range logs {
		p := w.ledger.now(l.tp)
		p.ends = append(p.ends, mark{now, l.end})
		w.judgeBack(p, l.committed)
	}
	for _, s := range sights {
		w.judgeMemory(s)
		for _, row := range s.rows {
			w.judgeLag(s.m, row, now)
		}
	}
	for _, p := range w.ledger.sorted() {
		if p.at.incarnation == w.ledger.incarnation[p.at.Topic] {
			w.judgeStill(p, sights, now)
		}
	}
}

// A logNow is what the brokers have of a partition: its end, and what is committed, -1
// if nothing is.
type logNow struct {
	tp             esm.TopicPartition
	end, committed int64
}

// judgeBack judges what is committed of a partition.
func (w *World) judgeBack(p *part, offset int64) {
	if offset < p.kept && !w.recentlyRemade(p.at.Topic) {
		w.breach("back", "%v is committed up to %d, and was up to %d", p.at.TopicPartition, offset, p.kept)
	}
	if p.kept < 0 && offset >= 0 {
		p.anchor = offset
	}
	p.kept = offset
}

// judgeMemory judges what a member holds: its budget, and one poll, which is a fetch of
// each broker.
func (w *World) judgeMemory(s sight) {
	most := s.stats.MemoryBudget + int64(w.plan.Brokers)*mostFetch
	if s.stats.HeldBytes > most {
		w.breach("memory", "%s: it holds %d bytes, of a budget of %d and one poll of %d brokers", s.m, s.stats.HeldBytes, s.stats.MemoryBudget, w.plan.Brokers)
	}
}

// mostFetch is what one fetch brings at most, and what its records cost besides.
const mostFetch = 4 << 20

// judgeLag judges a lag that a member says is known: it is to an end that the partition had
// in the last seconds.
func (w *World) judgeLag(m *member, row esm.PartitionStats, now time.Time) {
	if !row.LagKnown || w.recentlyRemade(row.Topic) {
		return
	}
	p := w.ledger.now(row.TopicPartition)
	if want := max(0, row.End-max(row.Frontier, 0)); row.Lag > want || p.gone == 0 && row.Lag < want {
		w.breach("lag", "%s: %v has a lag of %d, from %d to %d", m, row.TopicPartition, row.Lag, row.Frontier, row.End)
	}
	if low, high := p.endsSince(now.Add(-lagAge)); row.End < low || row.End > high {
		w.breach("lag", "%s: %v is said to end at %d, and in the last %s it ended between %d and %d", m, row.TopicPartition, row.End, lagAge, low, high)
	}
}

// endsSince are the ends that a partition had at a time and has now. It forgets what was
// before.
func (p *part) endsSince(then time.Time) (low, high int64) {
	for len(p.ends) > 1 && !p.ends[1].at.After(then) {
		p.ends = p.ends[1:]
	}
	if low = p.ends[0].offset; p.ends[0].at.After(then) {
		low = 0 // nobody looked before
	}
	return low, p.ends[len(p.ends)-1].offset
}

// judgeStill judges that something of a partition moves, or that it is named.
func (w *World) judgeStill(p *part, sights []sight, now time.Time) {
	if !p.waiting() {
		p.moved, p.named, p.owned = now, now, now
		return
	}
	owned := false
	for _, s := range sights {
		for _, row := range s.rows {
			if row.TopicPartition != p.at.TopicPartition {
				continue
			}
			owned = true
			if s.names(p, row) {
				p.named = now
			}
		}
	}
	if owned {
		p.owned = now
	} else {
		p.named = now // nobody could
	}
	still, since := now.Sub(p.moved), now.Sub(p.named)
	switch {
	case owned && still > mostStill && since > mostStill:
		w.breach("still", "%v stands still at %d for %s, and nobody has named it for %s: %s", p.at.TopicPartition, p.frontier(), still, since, describe(sights))
		p.moved, p.named = now, now
	case !owned && now.Sub(p.owned) > mostUnowned && len(sights) > 0:
		if !anyUnwell(sights) {
			w.breach("still", "%v is nobody's for %s, and nobody says that it is not well: %s", p.at.TopicPartition, now.Sub(p.owned), describe(sights))
			p.owned, p.moved = now, now
		}
	}
}

func anyUnwell(sights []sight) bool {
	for _, s := range sights {
		if s.unwell || len(s.problems) > 0 {
			return true
		}
	}
	return false
}

// names reports whether a member says why a partition does not move, or whether it does
// something about it.
func (s sight) names(p *part, row esm.PartitionStats) bool {
	if s.m.frozen.After(s.stats.At) || s.unwell || s.phase != esm.PhaseRunning || row.BatchID != "" || row.Blocker != nil || s.stats.MemoryLimited || s.stats.ThrottledUntil.After(s.stats.At) {
		return true
	}
	if row.State == "filling" || row.State == "ready" || row.State == "waiting" || row.State == "discarding" || row.State == "blocked" || row.State == "rereading" {
		return row.State != "ready" || s.stats.BusySlots > 0
	}
	tp := p.at.TopicPartition
	for _, with := range s.problems {
		switch with {
		case "group", "client", "commit", "function", "destination", "topic " + tp.Topic, "end of topic " + tp.Topic, fmt.Sprintf("topic %s partition %d", tp.Topic, tp.Partition):
			return true
		}
		if strings.HasPrefix(with, "connection to ") {
			return true
		}
	}
	return false
}

func describe(sights []sight) string {
	var b strings.Builder
	for _, s := range sights {
		fmt.Fprintf(&b, "%s is %s with %d partitions, problems %v, unwell %v; ", s.m, s.phase, len(s.rows), s.problems, s.unwell)
	}
	return b.String()
}
