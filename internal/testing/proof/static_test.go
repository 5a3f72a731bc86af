package proof_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
)

// TestStaticMemberThatRestartsDisturbsNobody: within its session it gets its
// partitions back, and the other member hears nothing of it.
func TestStaticMemberThatRestartsDisturbsNobody(t *testing.T) {
	t.Parallel()
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyKafka(t, func(t *testing.T, k *anyKafka) {
				t.Parallel()
				if name == "cooperative" && !k.real {
					t.Skip("the one in memory rebalances if a member owns other partitions than before")
				}
				const partitions, each = 8, 2000
				topic := k.topic(partitions)
				c := newCrew(t, partitions*each)
				half := c.after(partitions * each / 2)
				c.each = func() { pause(15 * time.Millisecond) } // 100 batches a partition
				source := k.source(topic, opts...)
				source.Client = append(source.Client, kgo.SessionTimeout(30*time.Second)) // nothing waits for its end
				changed, watch := watchMoves()
				member := func(id string) *esm.Mapping {
					s := source
					s.InstanceID = id
					return c.join(id, s, watch, esm.WithBatchSize(20))
				}
				stays, restarts := member("stays"), member("restarts")
				waitUntilShared(t, changed, partitions/2, stays, restarts)
				// By the time that half is handled, the end of the rebalance
				// has come to both.
				k.fill(topic, partitions, 0, each)
				c.waitFor(half)
				had := assignedTo(restarts)
				before := stays.Stats().RebalanceCount
				stop(t, restarts)
				restarts = member("restarts")
				c.wait()
				if got := stays.Stats().RebalanceCount; got != before {
					t.Errorf("the other member saw %d rebalances", got-before)
				}
				if got := assignedTo(restarts); got != had {
					t.Errorf("it had %s and got %s", had, got)
				}
				stop(t, restarts)
				stop(t, stays)
				c.judge(topic, partitions, each)
				k.wantCommitted(topic, topic, partitions, each)
			})
		})
	}
}

// watchMoves says when partitions come to or go from the members that have the
// option.
func watchMoves() (<-chan struct{}, esm.Option) {
	changed := make(chan struct{}, 1000)
	return changed, esm.WithHooks(esm.Hooks{
		Assigned: func(esm.Rebalance) { changed <- struct{}{} },
		Revoked:  func(esm.Rebalance) { changed <- struct{}{} },
	})
}

// waitUntilShared waits until each of two members has so many partitions.
func waitUntilShared(t *testing.T, changed <-chan struct{}, each int, a, b *esm.Mapping) {
	t.Helper()
	for most := time.After(time.Minute); a.Stats().Partitions != each || b.Stats().Partitions != each; {
		select {
		case <-changed:
		case <-most:
			t.Fatalf("%d and %d partitions, and each should have %d", a.Stats().Partitions, b.Stats().Partitions, each)
		}
	}
}

// TestStaticMemberThatStaysAwayIsReplaced: when its session is over, the other
// member takes its partitions, where it left them.
func TestStaticMemberThatStaysAwayIsReplaced(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"cooperative", "kip-848"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everyKafka(t, func(t *testing.T, k *anyKafka) {
				t.Parallel()
				topic := k.topic(4)
				c := newCrew(t, 800)
				half := c.after(400)
				source := k.source(topic, protocols[name]...)
				changed, watch := watchMoves()
				member := func(id string) *esm.Mapping {
					s := source
					s.InstanceID = id
					return c.join(id, s, watch)
				}
				stays, goes := member("stays"), member("goes")
				waitUntilShared(t, changed, 2, stays, goes)
				k.fill(topic, 4, 0, 100)
				c.waitFor(half)
				k.endSessionsOfThoseWhoLeft()
				stop(t, goes)
				if got := stays.Stats().Partitions; got != 2 {
					t.Errorf("it has %d partitions before the session of the other one is over", got)
				}
				k.fill(topic, 4, 100, 200)
				c.wait()
				c.judge(topic, 4, 200)
			})
		})
	}
}

// TestStaticMemberThatCrashedComesBackAfterItsSession: with KIP-848 the broker
// does not let it in before, and that is no reason to give up.
func TestStaticMemberThatCrashedComesBackAfterItsSession(t *testing.T) {
	t.Parallel()
	k := theRealKafka(t)
	topic := k.topic(2)
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.InstanceID = topic, topic, kmsg.StringPtr("crashes")
	req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 60_000, []string{topic}
	req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	ctx, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	for {
		resp, err := req.RequestWith(ctx, k.client)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil || !kerr.IsRetriable(err) {
			t.Fatal(err)
		}
		pause(50 * time.Millisecond) // the cluster's first group needs a coordinator, which takes a moment
	}
	k.fill(topic, 2, 0, 100)
	c := newCrew(t, 200)
	source := k.source(topic, kgo.ServerSideBalancer())
	source.InstanceID = "crashes"
	m := c.join("m", source)
	c.wait()
	stop(t, m)
	c.judge(topic, 2, 100)
}

// assignedTo names the partitions that a member has.
func assignedTo(m *esm.Mapping) string {
	var names []string
	for _, p := range m.AppendPartitions(nil) {
		names = append(names, fmt.Sprintf("%s/%d", p.Topic, p.Partition))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
