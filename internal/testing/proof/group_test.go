package proof_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

// protocols are the ways in which a group can agree on who has what.
var protocols = map[string][]kgo.Opt{
	"cooperative": nil,
	"eager":       {kgo.Balancers(kgo.RangeBalancer())},
	"kip-848":     {kgo.ServerSideBalancer()},
}

// stall makes the poll loop stand still now and then, after the client took
// records from its buffers and before it hands them over: the moment in which
// a partition can go and come back.
type stall struct {
	every   int64
	d       time.Duration
	n       atomic.Int64
	stalled atomic.Bool // in this poll
}

func (s *stall) OnPollStart(context.Context) { s.stalled.Store(false) }

func (s *stall) OnFetchRecordUnbuffered(_ *kgo.Record, polled bool) {
	if polled && s.n.Add(1)%s.every == 0 && !s.stalled.Swap(true) {
		time.Sleep(s.d)
	}
}

func TestMembersThatComeAndGoLoseAndRepeatNothing(t *testing.T) {
	for name, opts := range protocols {
		for _, stalled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stalled=%t", name, stalled), func(t *testing.T) {
				virtual(t, func(t *testing.T) { churn(t, opts, stalled, build.Volume(20, 10), int64(build.Volume(32_000, 16_000))) })
			})
		}
	}
}

// churn has members join and leave while records are handled.
func churn(t *testing.T, opts []kgo.Opt, stalled bool, changes int, records int64) {
	const partitions = 16
	k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
	book := newLedger()
	source := k.Source("orders", "billing")
	source.Client = append(source.Client, opts...)
	source.Client = append(source.Client, kgo.HeartbeatInterval(500*time.Millisecond))
	if stalled {
		source.Client = append(source.Client, kgo.WithHooks(&stall{every: 701, d: 1500 * time.Millisecond}))
	}
	start := func(i int) *esm.Mapping {
		name := fmt.Sprint("member", i)
		m, err := esm.New(source, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			time.Sleep(time.Duration(5+rand.IntN(20)) * time.Millisecond)
			book.handled(name, b)
			return nil
		}), quiet(), esm.WithName(name), esm.WithBatchSize(20), esm.WithBatchWindow(20*time.Millisecond),
			esm.WithHooks(esm.Hooks{Assigned: func(i esm.Rebalance) { book.reassigned(name, i.Partitions) }}))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		return m
	}
	each := records / partitions
	done := make(chan struct{})
	go func() {
		defer close(done)
		for o := range each { // over all of the time that the changes take
			var rs []*kgo.Record
			for p := range int32(partitions) {
				rs = append(rs, esmtest.At(p, &kgo.Record{Topic: "orders", Value: fmt.Append(nil, o)}))
			}
			k.ProduceRecords(rs...)
			time.Sleep(time.Duration(changes) * 3 * time.Second / time.Duration(each))
		}
	}()
	members := []*esm.Mapping{start(0)}
	for i := 1; i <= changes; i++ {
		time.Sleep(3 * time.Second)
		if i%2 == 1 || len(members) == 1 {
			members = append(members, start(i))
			continue
		}
		n := rand.IntN(len(members))
		stop(t, members[n])
		members = append(members[:n], members[n+1:]...)
	}
	<-done
	waitFor(t, time.Minute, "all records handled", func() bool { return book.missing("orders", partitions, each) == 0 })
	for _, m := range members {
		stop(t, m)
	}
	if book.repeats > 0 || book.backward > 0 {
		t.Error(book)
	}
	for p := range int32(partitions) {
		if got := k.Committed("billing", "orders", p); got != each {
			t.Errorf("partition %d: committed %d of %d", p, got, each)
		}
	}
}
