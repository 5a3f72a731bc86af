package share

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seed429fd032/esm/internal/partition"
)

// TestTheOrderNeverChanges: processes of different versions are in one group.
func TestTheOrderNeverChanges(t *testing.T) {
	for id, want := range map[partition.ID]uint64{
		{Topic: "orders", Partition: 0}:      0x90990dc8cbb87aa1,
		{Topic: "orders", Partition: 1}:      0x11500c99f081a575,
		{Topic: "orders", Partition: 70000}:  0x47ff8c16c4d0a06,
		{Topic: "", Partition: 0}:            0x4d33a93727192487,
		{Topic: "überweisung", Partition: 3}: 0x577ce33423ac320a,
	} {
		if got := hash(id); got != want {
			t.Errorf("%v: %#x, want %#x", id, got, want)
		}
	}
	table := Of(map[string]int{"orders": 8, "refunds": 4})
	order := make([]string, 12)
	for id, i := range table.ranks {
		order[i] = fmt.Sprint(id.Topic[:1], id.Partition)
	}
	want := []string{"r3", "o1", "o4", "r2", "o0", "r0", "r1", "o7", "o6", "o3", "o5", "o2"}
	if !slices.Equal(order, want) {
		t.Errorf("%q, want %q", order, want)
	}
}

// naive is floor((i+1)M/P) - floor(iM/P) for each partition, by dealing out one place
// after the other: place k of M belongs to the partition i with iM/P <= k < (i+1)M/P,
// in fractions.
func naive(m, p int) []int {
	shares := make([]int, p)
	for k := 1; k <= m; k++ { // the kth place is reached by the first i with (i+1)M/P >= k
		i := 0
		for (i+1)*m < k*p {
			i++
		}
		shares[i]++
	}
	return shares
}

// TestSharesAddUp for all small numbers: to the bound, as a naive division has
// them, and never more at least than at most.
func TestSharesAddUp(t *testing.T) {
	for p := 1; p <= 24; p++ {
		table := Of(map[string]int{"a": p - p/3, "b": p / 3})
		for most := 1; most <= 60; most++ {
			want := naive(most, p)
			for least := 1; least <= most; least++ {
				var sum Share
				for id, i := range table.ranks {
					var s Share
					if !s.Add(table, id, least, most, most) {
						t.Fatalf("%v is not in its table", id)
					}
					if s.Most != want[i] || s.Calls != want[i] || s.Least > s.Most || s.Least < 0 {
						t.Fatalf("rank %d of %d has %+v of %d to %d, want %d", i, p, s, least, most, want[i])
					}
					sum.Least, sum.Most, sum.Calls = sum.Least+s.Least, sum.Most+s.Most, sum.Calls+s.Calls
				}
				if sum != (Share{least, most, most}) {
					t.Fatalf("the shares of %d partitions add up to %+v, want %d to %d", p, sum, least, most)
				}
			}
		}
	}
}

// TestSharesOfHugeBounds do not overflow.
func TestSharesOfHugeBounds(t *testing.T) {
	table := Of(map[string]int{"a": 100_003})
	var sum Share
	for id := range table.ranks {
		sum.Add(table, id, 200, 2000, math.MaxInt)
	}
	if sum != (Share{200, 2000, math.MaxInt}) {
		t.Errorf("%+v", sum)
	}
}

// TestUnknownIsNotZero: of a partition that is not in the table nothing is said.
func TestUnknownIsNotZero(t *testing.T) {
	id := partition.ID{Topic: "a", Partition: 3}
	for name, table := range map[string]*Table{"none": nil, "no topic": Of(nil), "fewer partitions": Of(map[string]int{"a": 3})} {
		s := Share{1, 2, 3}
		if s.Add(table, id, 1, 10, 10) || s != (Share{1, 2, 3}) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// The shapes in which partitions of topics come to members.
var shapes = map[string]func(counts []int, members int) [][]partition.ID{
	"range": func(counts []int, members int) [][]partition.ID {
		has := make([][]partition.ID, members)
		for topic, n := range counts {
			at := 0
			for m := range members {
				for range n/members + b2i(m < n%members) {
					has[m] = append(has[m], id(topic, at))
					at++
				}
			}
		}
		return has
	},
	"round robin": func(counts []int, members int) [][]partition.ID {
		has := make([][]partition.ID, members)
		i := 0
		for topic, n := range counts {
			for p := range n {
				has[i%members] = append(has[i%members], id(topic, p))
				i++
			}
		}
		return has
	},
	// What is left after members came and went, each time with as few moves as a
	// balance allows.
	"sticky": func(counts []int, members int) [][]partition.ID {
		rng := rand.New(rand.NewPCG(uint64(members), uint64(len(counts))))
		var all []partition.ID
		for topic, n := range counts {
			for p := range n {
				all = append(all, id(topic, p))
			}
		}
		has := [][]partition.ID{all}
		balance := func() {
			for {
				few, many := 0, 0
				for m := range has {
					if len(has[m]) < len(has[few]) {
						few = m
					}
					if len(has[m]) > len(has[many]) {
						many = m
					}
				}
				if len(has[many])-len(has[few]) <= 1 {
					return
				}
				last := len(has[many]) - 1
				has[few] = append(has[few], has[many][last])
				has[many] = has[many][:last:last]
			}
		}
		for range 3 * members {
			if len(has) < members || rng.IntN(2) == 0 {
				has = append(has, nil)
			} else if m := rng.IntN(len(has)); len(has) > 1 {
				orphans := has[m]
				has = slices.Delete(has, m, m+1)
				has[0] = append(has[0], orphans...)
			}
			balance()
		}
		for len(has) > members {
			orphans := has[members]
			has = slices.Delete(has, members, members+1)
			has[0] = append(has[0], orphans...)
		}
		for len(has) < members {
			has = append(has, nil)
		}
		balance()
		return has
	},
}

func id(topic, p int) partition.ID {
	return partition.ID{Topic: fmt.Sprint("topic", topic), Partition: int32(p)}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func table(counts []int) *Table {
	m := map[string]int{}
	for topic, n := range counts {
		m[fmt.Sprint("topic", topic)] = n
	}
	return Of(m)
}

// TestMembersShareTheBound: below, equal to and above the numbers of members and of
// partitions, for what assignors make of them, the members have exactly the bound.
func TestMembersShareTheBound(t *testing.T) {
	for name, deal := range shapes {
		for _, counts := range [][]int{{1}, {7}, {20}, {100}, {12, 30, 5}, {1000}} {
			partitions := 0
			for _, n := range counts {
				partitions += n
			}
			table := table(counts)
			for _, members := range []int{1, 2, 3, 10, 50} {
				has := deal(counts, members)
				dealt := 0
				for _, ids := range has {
					dealt += len(ids)
				}
				if len(has) != members || dealt != partitions {
					t.Fatalf("%s: %d members have %d of %d", name, len(has), dealt, partitions)
				}
				for _, most := range []int{1, members - 1, members, members + 1, partitions - 1, partitions, partitions + 1, 3*partitions + 7, 2000} {
					if most < 1 {
						continue
					}
					for _, least := range []int{1, (most + 1) / 2, most} {
						var sum Share
						for _, ids := range has {
							var s Share
							for _, id := range ids {
								if !s.Add(table, id, least, most, most) {
									t.Fatalf("%v is not in its table", id)
								}
							}
							if s.Least > s.Most {
								t.Errorf("%s: at least %d of %d", name, s.Least, s.Most)
							}
							// No more than a place a partition away from what is fair.
							if fair := len(ids) * most / partitions; s.Most < len(ids)*(most/partitions) || s.Most > fair+len(ids) {
								t.Errorf("%s: %d of %d partitions have %d of %d", name, len(ids), partitions, s.Most, most)
							}
							sum.Least, sum.Most, sum.Calls = sum.Least+s.Least, sum.Most+s.Most, sum.Calls+s.Calls
						}
						if sum != (Share{least, most, most}) {
							t.Errorf("%s: %d members share %+v of %d to %d", name, members, sum, least, most)
						}
					}
				}
			}
		}
	}
}

// TestNoAliasing: ten processes, 100 partitions. Where places lie at equal distances,
// a round robin gives one process all of them; here each has some, and none all. The
// log has the spread.
func TestNoAliasing(t *testing.T) {
	const members, partitions = 10, 100
	for name, deal := range shapes {
		for _, most := range []int{10, 20, 30, 50, 90, 110, 150, 250} {
			for _, plain := range []bool{true, false} {
				lowest, highest, none, sumSquares := math.MaxInt, 0, 0, 0.0
				var runs int
				for topic := range 20 { // names of topics, or one would be luck
					counts := map[string]int{fmt.Sprint("events-", topic): partitions}
					table := Of(counts)
					for _, ids := range deal([]int{partitions}, members) {
						has := 0
						for _, i := range ids {
							if plain {
								has += upTo(int(i.Partition)+1, most, partitions) - upTo(int(i.Partition), most, partitions)
								continue
							}
							var s Share
							s.Add(table, partition.ID{Topic: fmt.Sprint("events-", topic), Partition: i.Partition}, 1, most, 0)
							has += s.Most
						}
						lowest, highest = min(lowest, has), max(highest, has)
						none += b2i(has == 0)
						d := float64(has) - float64(most)/members
						sumSquares += d * d
						runs++
					}
				}
				deviation := math.Sqrt(sumSquares / float64(runs))
				fair := float64(most) / members
				order := "scrambled"
				if plain {
					order = "plain"
				}
				t.Logf("%-11s %-9s a bound of %3d: %4.1f each is fair; %d to %d, a deviation of %.1f, none %d of %d",
					name, order, most, fair, lowest, highest, deviation, none, runs)
				switch {
				case plain && name == "round robin" && most == 10 && (highest != most || none != runs-runs/members):
					t.Errorf("the order that is rejected gives %d of %d to one: the test does not see what it is for", highest, most)
				case !plain && (highest >= most || deviation > 2):
					t.Errorf("%s: %d of %d, a deviation of %.1f", name, highest, most, deviation)
				case !plain && most >= 50 && none > 0:
					t.Errorf("%s: none of %d, %d times", name, most, none)
				case !plain && most < 50 && float64(none)/float64(runs) > 1.3*math.Pow(1-float64(most)/partitions, partitions/members)+0.02:
					t.Errorf("%s: none of %d, %d times of %d", name, most, none, runs) // more than chance has it
				}
			}
		}
	}
}
