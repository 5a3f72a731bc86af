package esm

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/plan"
)

// SettledOf returns which records of a batch a call settles that got this
// context and this batch and returned this error: those that do not come again
// for it. It is for an [Invoker] that wraps another one and acts on what is done
// with: counts it, remembers it to drop repeats, ends its traces. The engine uses
// the same code.
//
//   - nil: all of them.
//   - the error of a [Failures]: all but those that it names, and but those after
//     a [Failures.StopAt] in the same partition. If it is said of one of them
//     that the function is throttled or halts the Mapping, the others are settled
//     even so. If one of them is no record of the batch, none is settled.
//   - any other error: none.
//
// A record that the call gives up ([Permanent], [TooLarge]) is not settled by
// it: its Destination comes first. Nor is anything settled by an error that is
// returned after the engine cancelled ctx, for which ctx is there, as in
// [Classify].
//
// A batch that the call passed on in part ([Batch.With]) is given here whole:
// what was left out, and is not named by the error, is settled. Records of a
// partition that belongs to another process meanwhile come again there, whatever
// is returned.
//
// Which partition a record is of is what it says now, so ask before it is
// forwarded if that matters, as it does for StopAt. The records of a partition are
// in offset order. The slice may be that of the batch; do not change it.
func SettledOf(ctx context.Context, b *Batch, err error) []*kgo.Record {
	if err == nil {
		return b.Records
	}
	v := judge(err, context.Cause(ctx))
	shares, tried := sharesOf(b)
	v.resolve(shares)
	var settled []*kgo.Record
	for i, s := range plan.After(v.Verdict, tried, plan.Policy{MaxRetries: -1}, time.Time{}).Sequels { // none, unless each partition goes on for itself
		for _, r := range s.Settled {
			settled = append(settled, shares[i].kafka[r.Content])
		}
	}
	return settled
}

// sharesOf is what each partition has in an invocation of this batch, as its
// records say now. Which record an error names is for resolve to say.
func sharesOf(b *Batch) (shares []share, tried []plan.Portion) {
	at := map[TopicPartition]int{}
	for tp, records := range b.ByPartition() {
		i, known := at[tp]
		if !known {
			i = len(shares)
			at[tp] = i
			shares = append(shares, share{ID: partition.ID(tp)})
		}
		// The records of a partition stand together and in order, but a function
		// may have sorted its batch.
		shares[i].kafka = append(shares[i].kafka, records...)
	}
	for i := range shares {
		s := &shares[i]
		slices.SortStableFunc(s.kafka, func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
		for j, k := range s.kafka {
			// Some may be of one offset by now, so content, which is of no use here,
			// is the place.
			s.records = append(s.records, plan.Record{Offset: k.Offset, Content: uint32(j)})
		}
		tried = append(tried, plan.Portion{Records: s.records})
	}
	return shares, tried
}
