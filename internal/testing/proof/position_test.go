package proof_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

func TestStartingPositions(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		k.Produce("orders", "monday")
		time.Sleep(time.Hour)
		noon := time.Now()
		k.Produce("orders", "tuesday")
		time.Sleep(time.Hour)
		for name, tt := range map[string]struct {
			at   esm.StartingPosition
			want string
		}{
			"horizon":   {esm.TrimHorizon(), "monday tuesday"},
			"latest":    {esm.Latest(), ""},
			"timestamp": {esm.AtTimestamp(noon), "tuesday"},
			"now":       {esm.AtTimestamp(time.Now()), ""},
			"zero":      {esm.StartingPosition{}, "monday tuesday"},
		} {
			source := k.Source("orders", name)
			source.Start = tt.at
			inv := esmtest.NewInvoker(t)
			m := esmtest.Start(t, source, inv, quiet())
			if at := k.Committed(name, "orders", 0); name == "latest" && at != k.End("orders", 0) {
				t.Errorf("the end was not committed when Start returned, but %d", at)
			}
			time.Sleep(2 * time.Second)
			if lag, known := m.Stats().OffsetLag.Sum(); !known || lag != 0 {
				t.Errorf("%s: lag %d, known %t", name, lag, known)
			}
			if got := strings.Join(inv.Values(), " "); got != tt.want {
				t.Errorf("%s: handled %q", name, got)
			}
			stop(t, m)
		}
		k.Produce("orders", "later")
		for _, name := range []string{"horizon", "latest", "timestamp", "now", "zero"} {
			source := k.Source("orders", name)
			source.Start = esm.Latest() // which is not used: there are commits, or nothing was handled
			if name == "now" {
				source.Start = esm.AtTimestamp(noon.Add(time.Minute))
			}
			inv := esmtest.NewInvoker(t)
			m := esmtest.Start(t, source, inv, quiet())
			time.Sleep(2 * time.Second)
			if got := strings.Join(inv.Values(), " "); got != "later" {
				t.Errorf("%s went on with %q", name, got)
			}
			stop(t, m)
		}
	})
}

// TestLatestLosesNothing produces all the time while processes start, die and
// take over from each other: from the moment that the first Start returned,
// every record must be handled.
func TestLatestLosesNothing(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions = 6
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		fill(k, "orders", partitions, 10)
		source := quick(k.Source("orders", "billing"))
		source.Start = esm.Latest()
		var members []*esm.Mapping
		invs := []*esmtest.Invoker{}
		for i := range 2 {
			inv := esmtest.NewInvoker(t)
			// Each dies before it has handled anything.
			if i == 0 {
				inv.Fail(1000, errBilling)
			}
			invs = append(invs, inv)
			members = append(members, esmtest.Start(t, source, inv, quiet(), esm.WithName(fmt.Sprint(i))))
			fill(k, "orders", partitions, 5)
			time.Sleep(300 * time.Millisecond)
		}
		stop(t, members[0])
		time.Sleep(20 * time.Second)
		got := len(invs[1].Values())
		if want := partitions * 10; got != want {
			t.Errorf("handled %d of the %d that came after the first start", got, want)
		}
		for _, c := range invs[1].Calls() {
			for _, r := range c.Batch.Records {
				if r.Offset < 10 {
					t.Fatalf("%s/%d offset %d is from before the start", r.Topic, r.Partition, r.Offset)
				}
			}
		}
	})
}

// TestLatestInTwoProcessesThatStartTogether: neither may take the other's first
// commits for the sign that its own partitions are new.
func TestLatestInTwoProcessesThatStartTogether(t *testing.T) {
	virtual(t, func(t *testing.T) {
		const partitions = 8
		k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
		fill(k, "orders", partitions, 100)
		source := k.Source("orders", "billing")
		source.Start = esm.Latest()
		inv := esmtest.NewInvoker(t)
		done := make(chan error, 2)
		for i := range 2 {
			m := esmtest.New(t, source, inv, quiet(), esm.WithName(fmt.Sprint(i)))
			go func() { done <- m.Start(context.Background()) }()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		if got := len(inv.Values()); got != 0 {
			t.Errorf("read %d records from before the start", got)
		}
		fill(k, "orders", partitions, 3)
		time.Sleep(10 * time.Second)
		if got := len(inv.Values()); got != 3*partitions {
			t.Errorf("handled %d", got)
		}
	})
}

func TestRecordsThatRetentionTookAreReported(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		fill(k, "orders", 2, 1)
		before := esmtest.NewInvoker(t)
		m := esmtest.Start(t, k.Source("orders", "billing"), before, quiet())
		time.Sleep(2 * time.Second)
		stop(t, m)
		fill(k, "orders", 2, 99)
		if err := k.Cluster().DeleteRecords("orders", 0, 60); err != nil {
			t.Fatal(err)
		}
		var losses list[esm.Gap]
		inv := esmtest.NewInvoker(t)
		m = esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(10),
			esm.WithHooks(esm.Hooks{RecordsLost: losses.add}))
		time.Sleep(time.Minute)
		lost := losses.all()
		if len(lost) != 1 || lost[0].Partition != 0 || lost[0].From != 1 || lost[0].To != 60 {
			t.Errorf("%+v", lost)
		}
		if got := len(inv.Values()); got != 99+40 {
			t.Errorf("handled %d", got)
		}
		if s := m.Stats(); s.LostEventCount != 59 {
			t.Errorf("counted %d", s.LostEventCount)
		}
		for p := range int32(2) {
			if got := k.Committed("billing", "orders", p); got != 100 {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
	})
}

// TestRetentionOvertakesASlowPartition: what is queued in memory is handled all
// the same, and only what was never read is lost.
func TestRetentionOvertakesASlowPartition(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		var losses list[esm.Gap]
		inv := esmtest.NewInvoker(t).Takes(time.Second)
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(10), esm.WithMemoryBudget(8<<20),
			esm.WithHooks(esm.Hooks{RecordsLost: losses.add}))
		value := strings.Repeat("x", 10_000)
		for range 30 {
			var rs []*kgo.Record
			for range 100 {
				rs = append(rs, &kgo.Record{Topic: "orders", Value: []byte(value)})
			}
			k.ProduceRecords(rs...)
		}
		time.Sleep(5 * time.Second)
		read := m.AppendPartitions(nil)[0].Position
		if read >= 3000 {
			t.Fatalf("all of %d records fit into the budget", read)
		}
		if err := k.Cluster().DeleteRecords("orders", 0, 2500); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		lost := losses.all()
		if len(lost) != 1 || lost[0].To != 2500 || lost[0].From < read {
			t.Fatalf("read to %d, lost %+v", read, lost)
		}
		if got := len(inv.Values()); int64(got) != 3000-(lost[0].To-lost[0].From) {
			t.Errorf("handled %d, lost %+v", got, lost)
		}
		if got := k.Committed("billing", "orders", 0); got != 3000 {
			t.Errorf("committed %d", got)
		}
	})
}

// TestDataLossGoesBackAndCommitsBackward: the broker answers that an offset is
// out of range, and the client cannot know where the logs diverged.
func TestDataLossGoesBackAndCommitsBackward(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		book := newLedger()
		var seen list[esm.Gap]
		inv := esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			time.Sleep(100 * time.Millisecond)
			book.handled("m", b)
			return nil
		})
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(),
			esm.WithHooks(esm.Hooks{PositionReset: seen.add}))
		fill(k, "orders", 2, 50)
		time.Sleep(3 * time.Minute) // so that a rewind of a minute finds the rest
		fill(k, "orders", 2, 50)
		time.Sleep(5 * time.Second)
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "orders", Partitions: []int32{1}, Err: kerr.OffsetOutOfRange})
		fill(k, "orders", 2, 50)
		time.Sleep(20 * time.Second)
		resets := seen.all()
		if len(resets) != 1 || resets[0].Partition != 1 || resets[0].To >= resets[0].From || resets[0].Err == nil {
			t.Fatalf("%+v", resets)
		}
		if n := book.missing("orders", 2, 150); n != 0 {
			t.Errorf("%d missing: %s", n, book)
		}
		if got, want := book.repeated(), resets[0].From-resets[0].To; got != want {
			t.Errorf("%d repeats, want the %d that were rewound: %s", got, want, book)
		}
		for p := range int32(2) {
			if got := k.Committed("billing", "orders", p); got != 150 {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
		if s := m.Stats(); s.ResetCount != 1 {
			t.Errorf("counted %d resets", s.ResetCount)
		}
	})
}

// TestDataLossDuringAnInvocation: what was read before the point of the loss
// will not be read again, so it must be kept, and a call that runs for the
// partition must not get company.
func TestDataLossDuringAnInvocation(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		inv := esmtest.NewInvoker(t).Takes(30 * time.Second) // fails the test at two calls at once
		m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithBatchSize(10))
		fill(k, "orders", 1, 50)
		time.Sleep(2 * time.Minute)
		fill(k, "orders", 1, 50)
		time.Sleep(10 * time.Second)
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "orders", Err: kerr.OffsetOutOfRange})
		fill(k, "orders", 1, 50)
		time.Sleep(20 * time.Minute)
		seen := map[int64]bool{}
		for _, c := range inv.Calls() {
			if c.Err == nil {
				for _, r := range c.Batch.Records {
					seen[r.Offset] = true
				}
			}
		}
		if len(seen) != 150 {
			t.Errorf("handled %d offsets", len(seen))
		}
		if got := k.Committed("billing", "orders", 0); got != 150 {
			t.Errorf("committed %d", got)
		}
		if s := m.Stats(); s.HeldBytes != 0 || s.ResetCount != 1 {
			t.Errorf("%d held, %d resets", s.HeldBytes, s.ResetCount)
		}
	})
}

// TestCommitBeyondTheEndOfTheLog: a log that was truncated while nobody read
// it.
func TestCommitBeyondTheEndOfTheLog(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		fill(k, "orders", 1, 10)
		var offsets kadm.Offsets
		offsets.AddOffset("orders", 0, 500, -1)
		if err := kadm.NewClient(k.Client()).CommitAllOffsets(t.Context(), "billing", offsets); err != nil {
			t.Fatal(err)
		}
		if got := k.Committed("billing", "orders", 0); got != 500 {
			t.Fatalf("committed %d", got)
		}
		inv := esmtest.NewInvoker(t)
		var seen list[esm.Gap]
		esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(),
			esm.WithHooks(esm.Hooks{PositionReset: seen.add}))
		time.Sleep(10 * time.Second)
		if got := len(inv.Values()); got != 10 {
			t.Errorf("handled %d", got)
		}
		resets := seen.all()
		if len(resets) != 1 || resets[0].From != 500 {
			t.Errorf("%+v", resets)
		}
		if got := k.Committed("billing", "orders", 0); got != 10 {
			t.Errorf("committed %d", got)
		}
	})
}

func TestTopicThatIsDeletedAndMadeAgain(t *testing.T) {
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				// One topic: where another one is on the same broker, kgo asks
				// again at once, which in virtual time is for ever.
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
				source := quick(k.Source("orders", "billing"))
				source.Start = esm.Latest()
				source.Client = append(source.Client, opts...)
				inv := esmtest.NewInvoker(t)
				m := esmtest.Start(t, source, inv, quiet())
				fill(k, "orders", 2, 20)
				time.Sleep(5 * time.Second)
				if err := k.Cluster().DeleteTopic("orders"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(90 * time.Second) // it is said for as long as it lasts
				problem := ""
				for _, p := range m.State().Problems {
					if strings.Contains(p.With, "orders") {
						problem += p.Err.Error()
					}
				}
				if !strings.Contains(problem, "UNKNOWN_TOPIC") {
					t.Errorf("a deleted topic: %+v", m.State().Problems)
				}
				k.CreateTopic("orders", 3)
				time.Sleep(6 * time.Second)
				for p := range int32(3) {
					k.ProduceTo("orders", p, "again")
				}
				time.Sleep(2 * time.Minute)
				values := inv.Values()[40:]
				if len(values) != 3 {
					t.Errorf("handled %v of the new topic: %+v", values, m.State())
				}
				for p := range int32(3) {
					if got := k.Committed("billing", "orders", p); got != 1 {
						t.Errorf("partition %d: committed %d: what belonged to the old topic was committed for the new one, or nothing", p, got)
					}
				}
				if ps := m.State().Problems; len(ps) != 0 {
					t.Errorf("problems that are over: %+v", ps)
				}
			})
		})
	}
}

// TestTopicMadeAgainIsAssignedOnce: if a group of KIP-848 assigns a topic
// before the client knows its partitions, the client (v1.22.3) assigns it a
// second time, while it fetches already. Slow metadata brings that about.
func TestTopicMadeAgainIsAssignedOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 2))
		source := quick(k.Source("orders", "billing"))
		source.Client = append(source.Client, kgo.ServerSideBalancer())
		inv := esmtest.NewInvoker(t)
		// An assignment begins with the client asking for committed offsets.
		var asked list[time.Time]
		k.Cluster().ControlKey(int16(kmsg.OffsetFetch), func(kmsg.Request) (kmsg.Response, error, bool) {
			k.Cluster().KeepControl()
			asked.add(time.Now())
			return nil, nil, false
		})
		takenAway := time.Time{}
		m := esmtest.Start(t, source, inv, quiet(), esm.WithHooks(esm.Hooks{Revoked: func(esm.Rebalance) { asked.add(takenAway) }}))
		fill(k, "orders", 2, 20)
		time.Sleep(7 * time.Second) // between the heartbeats
		if err := k.Cluster().DeleteTopic("orders"); err != nil {
			t.Fatal(err)
		}
		k.Cluster().ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
			k.Cluster().KeepControl()
			k.Cluster().SleepControl(func() { time.Sleep(100 * time.Millisecond) })
			return nil, nil, false
		})
		created := time.Now()
		k.CreateTopic("orders", 3)
		for p := range int32(3) {
			k.ProduceTo("orders", p, "again")
		}
		time.Sleep(time.Minute)
		if values := inv.Values()[40:]; len(values) != 3 {
			t.Errorf("handled %v of the new topic: %+v", values, m.State())
		}
		assigned := asked.all()
		for i := 1; i < len(assigned); i++ {
			// Start asks too. The old topic can be assigned once more, and is
			// taken away, or purged with the next look, seconds later.
			if at, was := assigned[i], assigned[i-1]; was.After(created) && at.Sub(was) < time.Second && at != takenAway {
				t.Errorf("assigned, and %v later again", at.Sub(was))
			}
		}
		if last := assigned[len(assigned)-1]; !last.After(created) {
			t.Errorf("assigned %v, and the topic was made again at %v", assigned, created)
		}
		for p := range int32(3) {
			if got := k.Committed("billing", "orders", p); got != 1 {
				t.Errorf("partition %d: committed %d", p, got)
			}
		}
	})
}

func TestTransactionsAreReadToTheirEnd(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		tx, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), k.Dialer(), kgo.TransactionalID("tx"), kgo.ProducerLinger(0), kgo.DefaultProduceTopic("orders"))
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Close()
		write := func(commit kgo.TransactionEndTry, values ...string) {
			t.Helper()
			if err := tx.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				if err := tx.ProduceSync(t.Context(), kgo.StringRecord(v)).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			if err := tx.EndTransaction(t.Context(), commit); err != nil {
				t.Fatal(err)
			}
		}
		source := k.Source("orders", "billing")
		source.Client = append(source.Client, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		inv := esmtest.NewInvoker(t)
		m := esmtest.Start(t, source, inv, quiet())
		write(kgo.TryCommit, "a", "b")
		write(kgo.TryAbort, "no", "no", "no")
		time.Sleep(5 * time.Second)
		if got := strings.Join(inv.Values(), ""); got != "ab" {
			t.Errorf("handled %q", got)
		}
		end := k.End("orders", 0)
		if got := k.Committed("billing", "orders", 0); got != end {
			t.Errorf("committed %d of %d: the markers hold the lag up", got, end)
		}
		if lag, known := m.Stats().OffsetLag.Sum(); lag != 0 || !known {
			t.Errorf("lag %d, known %t", lag, known)
		}
		// An open transaction: nothing behind it can be read, and it is no lag.
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ProduceSync(t.Context(), kgo.StringRecord("open")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		k.Produce("orders", "behind")
		time.Sleep(10 * time.Second)
		if lag, known := m.Stats().OffsetLag.Sum(); lag != 0 || !known || len(inv.Values()) != 2 {
			t.Errorf("lag %d, known %t, handled %v", lag, known, inv.Values())
		}
		if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := strings.Join(inv.Values(), " "); got != "a b open behind" {
			t.Errorf("handled %q", got)
		}
	})
}

// TestMarkerOfALaterLeader: a record is of one leader's time, and the marker of
// its transaction of the next one's. A commit that is after the marker, and says
// that the last thing before it is of the first leader's time, would make who
// begins there believe that the broker lost the marker.
func TestMarkerOfALaterLeader(t *testing.T) {
	for name, before := range map[string]bool{"after its record was handled": true, "with its record": false} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
				tx, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), k.Dialer(), kgo.TransactionalID("tx"), kgo.ProducerLinger(0), kgo.DefaultProduceTopic("orders"))
				if err != nil {
					t.Fatal(err)
				}
				defer tx.Close()
				var resets list[esm.Gap]
				inv := esmtest.NewInvoker(t).Takes(time.Second) // the marker is there before its record is settled
				run := func() (committed int64) {
					m := esmtest.Start(t, k.Source("orders", "billing"), inv, quiet(), esm.WithHooks(esm.Hooks{PositionReset: resets.add}))
					time.Sleep(10 * time.Second)
					if err := m.Stop(t.Context()); err != nil {
						t.Fatal(err)
					}
					return k.Committed("billing", "orders", 0)
				}
				if err := tx.BeginTransaction(); err != nil {
					t.Fatal(err)
				}
				if err := tx.ProduceSync(t.Context(), kgo.StringRecord("a")).FirstErr(); err != nil {
					t.Fatal(err)
				}
				if before {
					run()
				}
				if err := k.Cluster().MoveTopicPartition("orders", 0, k.Cluster().LeaderFor("orders", 0)); err != nil {
					t.Fatal(err)
				}
				if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if got := run(); got != 2 {
						t.Errorf("committed %d", got)
					}
				}
				if got := resets.all(); len(got) > 0 {
					t.Errorf("%+v", got)
				}
				if got := inv.Values(); len(got) != 1 {
					t.Errorf("handled %v", got)
				}
			})
		})
	}
}

func TestSourceThatIsWrong(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		good := k.Source("orders", "billing")
		with := func(opts ...kgo.Opt) func(*esm.Source) {
			return func(s *esm.Source) { s.Client = append(s.Client, opts...) }
		}
		for name, tt := range map[string]struct {
			change func(*esm.Source)
			want   string
		}{
			"group":     {with(kgo.ConsumerGroup("mine")), "kgo.ConsumerGroup"},
			"topics":    {with(kgo.ConsumeTopics("mine")), "kgo.ConsumeTopics"},
			"block":     {with(kgo.BlockRebalanceOnPoll()), "kgo.BlockRebalanceOnPoll"},
			"marks":     {with(kgo.AutoCommitMarks()), "kgo.AutoCommitMarks"},
			"start":     {with(kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd())), "kgo.ConsumeStartOffset"},
			"reset":     {with(kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd())), "kgo.ConsumeResetOffset"},
			"fetch":     {with(kgo.FetchMaxBytes(1 << 20)), "kgo.FetchMaxBytes"},
			"rebalance": {with(kgo.RebalanceTimeout(time.Second)), "kgo.RebalanceTimeout"},
			"instance":  {with(kgo.InstanceID("i")), "kgo.InstanceID"},
			"tx":        {with(kgo.TransactionalID("t")), "kgo.TransactionalID"},
			"two":       {with(kgo.ConsumeRegex(), kgo.GreedyAutoCommit()), "kgo.ConsumeRegex"},
			"share":     {with(kgo.ShareGroup("s")), "ShareGroup"},
			"invalid":   {with(kgo.SessionTimeout(-1)), "Source.Client: session timeout"},
		} {
			s := good
			s.Client = append([]kgo.Opt(nil), s.Client...)
			tt.change(&s)
			m := esmtest.New(t, s, esmtest.NewInvoker(t), quiet())
			err := m.Start(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want something about %s", name, err, tt.want)
			}
		}
		s := good
		s.Client = append(s.Client, kgo.DisableAutoCommit(), kgo.KeepControlRecords(), kgo.SessionTimeout(20*time.Second), kgo.ClientID("me"), kgo.Rack("a"))
		m := esmtest.New(t, s, esmtest.NewInvoker(t), quiet())
		if err := m.Start(t.Context()); err != nil {
			t.Errorf("options that are the user's: %v", err)
		}
	})
}
