package esm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// A saying is an error that a function may return, with what it should settle,
// said independently of the engine.
type saying struct {
	err     error
	settles map[*kgo.Record]bool
}

// saysOf makes a random saying about the records of a batch.
func saysOf(rng *rand.Rand, b *Batch) saying {
	none, all := map[*kgo.Record]bool{}, map[*kgo.Record]bool{}
	for _, r := range b.Records {
		all[r] = true
	}
	plain := errors.New("no")
	whole := []error{plain, Throttled(0, plain), ErrThrottled, Halt(plain), Permanent(plain), TooLarge(nil)}
	switch rng.IntN(8) {
	case 0:
		return saying{nil, all}
	case 1:
		return saying{whole[rng.IntN(len(whole))], none}
	}
	var two [2]Failures // which may be joined
	settles, stranger := all, false
	stops := map[partition.ID]int64{}
	for range 1 + rng.IntN(4) {
		f := &two[0]
		if rng.IntN(5) == 0 {
			f = &two[1]
		}
		r := b.Records[rng.IntN(len(b.Records))]
		err := whole[rng.IntN(len(whole))]
		switch {
		case rng.IntN(15) == 0:
			stranger = true
			switch rng.IntN(3) {
			case 0:
				r = nil
			case 1:
				r = &kgo.Record{Topic: r.Topic, Partition: r.Partition + 100, Offset: r.Offset}
			case 2:
				r = &kgo.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset + 1_000_000}
			}
		case rng.IntN(10) == 0:
			f.Add(r, nil) // says nothing
			continue
		}
		if r != nil {
			delete(settles, r)
		}
		if rng.IntN(3) > 0 {
			f.Add(r, err)
			continue
		}
		f.StopAt(r, err)
		if r != nil {
			tp := partition.ID{Topic: r.Topic, Partition: r.Partition}
			if at, twice := stops[tp]; !twice || r.Offset < at {
				stops[tp] = r.Offset
			}
		}
	}
	for r := range settles {
		if at, stopped := stops[partition.ID{Topic: r.Topic, Partition: r.Partition}]; stopped && r.Offset > at {
			delete(settles, r)
		}
	}
	if stranger {
		settles = none
	}
	err := errors.Join(two[0].Err(), two[1].Err())
	switch rng.IntN(6) {
	case 0:
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
	case 1: // said of the whole call besides
		beside := whole[rng.IntN(len(whole))]
		err, settles = errors.Join(err, beside), none
	}
	return saying{err, settles}
}

// randomBatch has a few partitions with gaps. torn is whether the records of a
// partition may stand apart.
func randomBatch(rng *rand.Rand, torn bool) *Batch {
	b := &Batch{}
	for p := range int32(1 + rng.IntN(3)) {
		offset := int64(rng.IntN(100))
		for range 1 + rng.IntN(5) {
			b.Records = append(b.Records, &kgo.Record{Topic: "orders", Partition: p, Offset: offset})
			offset += 1 + int64(rng.IntN(3))
		}
	}
	if torn {
		slices.SortStableFunc(b.Records, func(a, b *kgo.Record) int { return int(a.Offset - b.Offset) })
	}
	return b
}

// TestSettledOfAgreesWithTheEngine: for random errors, under every policy, it
// names what the engine's own plan settles, and what the rules in its
// documentation do, which are told here once more.
func TestSettledOfAgreesWithTheEngine(t *testing.T) {
	outcomes := map[Outcome]int{}
	for seed := range uint64(10_000) {
		rng := rand.New(rand.NewPCG(seed, 16))
		b := randomBatch(rng, rng.IntN(5) == 0)
		said := saysOf(rng, b)
		ctx, cancel := context.WithCancelCause(t.Context())
		switch {
		case rng.IntN(5) > 0:
		case said.err == nil: // which counts, whatever became of the context
			cancel(ErrStopping)
		default:
			causes := []error{ErrStopping, ErrRevoked, ErrInvokeTimeout, errors.New("the function's own")}
			n := rng.IntN(len(causes))
			if n < 3 {
				said.settles = nil
			}
			cancel(causes[n])
		}
		got := SettledOf(ctx, b, said.err)
		v := judge(said.err, context.Cause(ctx))
		cancel(nil)
		outcomes[Outcome(v.Outcome)]++

		var shares []engine.Share // as a call has them
		var tried []plan.Portion
		for _, n := range []int32{0, 1, 2} {
			var all []*kgo.Record
			for _, r := range b.Records {
				if r.Partition == n {
					all = append(all, r)
				}
			}
			if len(all) > 0 {
				numbers := make([]plan.Record, len(all))
				for i, r := range all {
					numbers[i].Offset = r.Offset
				}
				shares = append(shares, engine.Share{ID: partition.ID{Topic: "orders", Partition: n}, Records: numbers, Kafka: all})
				tried = append(tried, plan.Portion{Records: numbers})
			}
		}
		v.resolve(shares)
		p := plan.Policy{MaxRetries: rng.IntN(3) - 1, Bisect: rng.IntN(2) == 0, Discards: rng.IntN(2) == 0, Backoff: time.Second}
		var want []*kgo.Record
		for i, s := range plan.After(v.Verdict, tried, p, time.Unix(1_000_000, 0)).Sequels {
			for _, r := range s.Settled {
				j, _ := plan.Find(shares[i].Records, r.Offset)
				want = append(want, shares[i].Kafka[j])
			}
		}

		fail := func(what string) {
			t.Fatalf("seed %d: %s\nerror: %v\nsettled: %s\nof: %s", seed, what, said.err, places(got), places(b.Records))
		}
		if len(got) != len(want) {
			fail(fmt.Sprintf("the engine settles %s under %+v", places(want), p))
		}
		for _, r := range got {
			if !slices.Contains(want, r) {
				fail(fmt.Sprintf("the engine does not settle %d/%d", r.Partition, r.Offset))
			}
			if !said.settles[r] {
				fail(fmt.Sprintf("by the rules %d/%d is not settled", r.Partition, r.Offset))
			}
		}
		if len(got) != len(said.settles) {
			fail(fmt.Sprintf("by the rules %d are settled", len(said.settles)))
		}
		last := map[int32]int64{}
		for _, r := range got {
			if at, ok := last[r.Partition]; ok && r.Offset <= at {
				fail("not in order")
			}
			last[r.Partition] = r.Offset
		}
	}
	for o := OutcomeSuccess; o <= OutcomePermanent; o++ {
		if outcomes[o] < 20 {
			t.Errorf("%d of the errors were %q: the test proves nothing of them", outcomes[o], o)
		}
	}
}

func places(records []*kgo.Record) (s string) {
	for _, r := range records {
		s += fmt.Sprintf(" %d/%d", r.Partition, r.Offset)
	}
	return s
}
