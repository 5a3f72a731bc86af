// Package share divides a bound of a whole consumer group among its processes,
// without a coordinator.
package share

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"

	"github.com/seed429fd032/esm/internal/partition"
)

// A Table gives each partition of the subscribed topics its share of a bound of the
// group. A process has the sum of the shares of the partitions that it owns.
//
// # The invariant
//
// The shares of a bound add up to the bound, whatever it is and however many
// partitions there are. A partition has one owner at a time. So what all processes
// have together is never more than the bound, whoever owns what, and none of them
// has to know of the others: only how many partitions there are, which Kafka tells
// all of them. What they do while partitions move is the engine's: see its bound.
//
// Partition i of P, in the order of the table, has of a bound M the places from
// floor(iM/P) on and before floor((i+1)M/P): each is one above, or equal to, the
// smallest share.
//
// # The order
//
// It is that of a hash of topic and partition. In the order of their numbers, the
// partitions with the larger share would lie at equal distances, and assignors deal
// partitions out at equal distances too: of 100 partitions, ten processes and a bound
// of ten, a round robin gives one process all ten places, and nine none. The scrambled
// order is blind to what an assignor goes by.
//
// All processes must have one order, whatever version each runs during a deploy. So
// the hash never changes: FNV-1a of 64 bits over the bytes of the topic's name and the
// partition as 32 bits, big end first, and then the finalizer of MurmurHash3 (fmix64),
// since FNV-1a hardly spreads its last bytes. Equal hashes go by topic and partition.
//
// # The rejected designs
//
// A share for each process (rank among the members) needs the list of the members,
// which only the leader of a classic group has, and changes with each that comes. A
// lease for each place needs somebody to ask, and a call would wait for that.
type Table struct {
	ranks map[partition.ID]int
}

// Of makes the table of topics with so many partitions each.
func Of(counts map[string]int) *Table {
	type place struct {
		partition.ID
		hash uint64
	}
	var all []place
	for topic, n := range counts {
		for p := range n {
			id := partition.ID{Topic: topic, Partition: int32(p)}
			all = append(all, place{id, hash(id)})
		}
	}
	slices.SortFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	t := &Table{ranks: make(map[partition.ID]int, len(all))}
	for i, p := range all {
		t.ranks[p.ID] = i
	}
	return t
}

// hash is where a partition stands. See the type: it never changes.
func hash(id partition.ID) uint64 {
	f := fnv.New64a()
	_, _ = f.Write(binary.BigEndian.AppendUint32([]byte(id.Topic), uint32(id.Partition))) // never fails
	h := f.Sum64()
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}

// A Share is what a partition, or all partitions of a process together, have of the
// bounds of the group.
type Share struct{ Least, Most, Calls int }

// Has reports whether a partition is in the table.
func (t *Table) Has(id partition.ID) bool {
	if t == nil {
		return false
	}
	_, known := t.ranks[id]
	return known
}

// Add adds the share that a partition has of at least so many and at most so many
// pollers, and of so many calls, which may be none (0 or less) where they are not
// bounded. It reports false for a partition that is not in the table: then the share
// is unknown.
//
// What there is at least is divided over the places of what there is at most: so no
// partition, and no process, has more of the one than of the other.
func (s *Share) Add(t *Table, id partition.ID, least, most, calls int) (known bool) {
	if t == nil {
		return false
	}
	i, known := t.ranks[id]
	if !known {
		return false
	}
	from, to := upTo(i, most, len(t.ranks)), upTo(i+1, most, len(t.ranks))
	s.Most += to - from
	s.Least += upTo(to, least, most) - upTo(from, least, most)
	if calls > 0 {
		s.Calls += upTo(i+1, calls, len(t.ranks)) - upTo(i, calls, len(t.ranks))
	}
	return true
}

// upTo is floor(i*m/p) for i of 0 to p, however large m is.
func upTo(i, m, p int) int { return i*(m/p) + i*(m%p)/p }
