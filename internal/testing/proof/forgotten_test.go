package proof_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// A forgotten member is one of two, whose session the coordinator ends while it
// hears nothing, as that of a process that was frozen. Its next heartbeat is a
// minute away, so it hears of that from something else: the client commits, is
// refused, and joins anew.
type forgotten struct {
	*anyKafka
	*told
	topic         string
	partition     int32 // what it has
	itself, other *esm.Mapping
	release       chan struct{} // its call of b returns
	shared        <-chan struct{}
}

// told is what happened, in order.
type told struct {
	mu      sync.Mutex
	all     []string
	changed chan struct{}
}

func (l *told) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, fmt.Sprintf(format, args...))
	close(l.changed)
	l.changed = make(chan struct{})
}

// since returns what was told after so many.
func (l *told) since(n int) ([]string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all[n:]), l.changed
}

// until waits until something is told after so much was told, and returns how
// much then was.
func (l *told) until(t *testing.T, n int, what string) int {
	t.Helper()
	for most := time.After(time.Minute); ; {
		all, changed := l.since(n)
		if i := slices.Index(all, what); i >= 0 {
			return n + i + 1
		}
		select {
		case <-changed:
		case <-most:
			all, _ := l.since(0)
			t.Fatalf("after a minute not %q, after %d of:\n%s", what, n, strings.Join(all, "\n"))
		}
	}
}

// heartbeats tell when one was answered.
type heartbeats struct{ *told }

func (h heartbeats) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == int16(kmsg.Heartbeat) && err == nil {
		h.say("itself hears")
	}
}

// newForgotten has two members share a topic. What comes is a for the one that
// will be forgotten, and then b for both: it has been called for that, and has not
// returned, when the other one has handled it and c to f, and has committed them.
func newForgotten(t *testing.T, k *anyKafka, kind string) *forgotten {
	f := &forgotten{anyKafka: k, told: &told{changed: make(chan struct{})}, topic: k.topic(2), release: make(chan struct{})}
	changed, watch := watchMoves()
	f.shared = changed
	member := func(name string, opts ...kgo.Opt) *esm.Mapping {
		s := k.source(f.topic, append(opts, protocols[kind]...)...)
		if kind == "static" {
			s.InstanceID = name
		}
		return esmtest.Start(t, s, esm.Each(func(ctx context.Context, r *kgo.Record) error {
			return f.call(ctx, name, string(r.Value))
		}), quiet(), watch, esm.WithName(name), esm.WithBatchSize(1), esm.WithRevokeTimeout(5*time.Second), esm.WithHooks(esm.Hooks{
			Assigned: func(i esm.Rebalance) { f.moved(name, "is assigned", i.Partitions) },
			Revoked: func(i esm.Rebalance) {
				if i.Lost {
					f.moved(name, "loses", i.Partitions)
				} else {
					f.moved(name, "gives up", i.Partitions)
				}
			},
			Committed: func(i esm.Commit) {
				for tp, at := range i.Offsets {
					f.say("%s commits %d up to %d", name, tp.Partition, at)
				}
			},
		}))
	}
	f.other = member("other", kgo.HeartbeatInterval(200*time.Millisecond))
	f.itself = member("itself", kgo.HeartbeatInterval(time.Minute), kgo.SessionTimeout(5*time.Minute), kgo.WithHooks(heartbeats{f.told}))
	waitUntilShared(t, changed, 1, f.other, f.itself)
	f.partition = f.itself.AppendPartitions(nil)[0].Partition

	f.write(f.topic, f.partition, "a")
	n := f.until(t, 0, fmt.Sprintf("itself commits %d up to 1", f.partition))
	if kind != "eager" {
		// A member of a cooperative group has its first heartbeat early.
		f.until(t, f.until(t, 0, fmt.Sprintf("itself is assigned %d", f.partition)), "itself hears")
	}
	f.forget(t)
	n = f.until(t, n, fmt.Sprintf("other is assigned %d", f.partition))
	f.write(f.topic, f.partition, "b", "c", "d", "e", "f")
	f.until(t, n, "itself begins b")
	f.until(t, n, fmt.Sprintf("other commits %d up to 6", f.partition))
	return f
}

func (f *forgotten) moved(name, how string, tps []esm.TopicPartition) {
	for _, tp := range tps {
		f.say("%s %s %d", name, how, tp.Partition)
	}
	if len(tps) == 0 {
		f.say("%s %s nothing", name, how)
	}
}

// call is the function of both. Of the one that is forgotten, b waits, and what
// comes then takes longer than it may have.
func (f *forgotten) call(ctx context.Context, name, value string) error {
	f.say("%s begins %s", name, value)
	if name == "itself" {
		switch value {
		case "b":
			<-f.release
		case "c", "d", "e", "f":
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(10 * time.Second):
			}
		}
	}
	f.say("%s ends %s", name, value)
	return nil
}

// forget has the coordinator forget it.
func (f *forgotten) forget(t *testing.T) {
	t.Helper()
	groups, err := f.admin.DescribeGroups(t.Context(), f.topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range groups[f.topic].Members {
		a, _ := m.Assigned.AsConsumer()
		if len(a.Topics) != 1 || !slices.Contains(a.Topics[0].Partitions, f.partition) {
			continue
		}
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Group, req.MemberID = f.topic, m.MemberID
		member := kmsg.NewLeaveGroupRequestMember()
		member.MemberID, member.InstanceID = m.MemberID, m.InstanceID
		req.Members = append(req.Members, member)
		if resp, err := req.RequestWith(t.Context(), f.client); err != nil || resp.ErrorCode != 0 {
			t.Fatalf("%+v, %v", resp, err)
		}
		return
	}
	t.Fatalf("nobody has %d: %+v", f.partition, groups)
}

// committed is how far the partition is.
func (f *forgotten) committed(t *testing.T) int64 {
	t.Helper()
	offsets, err := f.admin.FetchOffsets(t.Context(), f.topic)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := offsets.Lookup(f.topic, f.partition)
	return o.At
}

// wantNot fails the test if something was told after so much was.
func (f *forgotten) wantNot(t *testing.T, n int, what ...string) {
	t.Helper()
	all, _ := f.since(n)
	for _, w := range what {
		if slices.Contains(all, w) {
			t.Errorf("%s:\n%s", w, strings.Join(all, "\n"))
		}
	}
}

// The kinds of members of classic groups. One of KIP-848 has no other way to join
// than by the heartbeats that say that it is forgotten.
var classic = []string{"cooperative", "eager", "static"}

// TestForgottenMemberCommitsNothingBehindTheNextOwner: the client (v1.22.3) of a
// cooperative group joins as a new member and revokes what it does not get again.
// As that member it may commit.
func TestForgottenMemberCommitsNothingBehindTheNextOwner(t *testing.T) {
	t.Parallel()
	for _, kind := range classic {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			everyKafka(t, func(t *testing.T, k *anyKafka) {
				t.Parallel()
				f := newForgotten(t, k, kind)
				n := len(f.all)
				close(f.release) // b is settled, and will be committed
				how := "loses"
				if kind == "eager" {
					how = "gives up" // with a commit that is refused
				}
				n = f.until(t, n, fmt.Sprintf("itself %s %d", how, f.partition))
				if got := f.committed(t); got != 6 {
					t.Errorf("when it knows that it lost the partition, %d is committed, and the next owner had committed 6", got)
				}
				// Whoever has it then goes on.
				waitUntilShared(t, f.shared, 1, f.itself, f.other)
				f.write(f.topic, f.partition, "g")
				who := "itself"
				if f.itself.AppendPartitions(nil)[0].Partition != f.partition {
					who = "other"
				}
				f.until(t, n, fmt.Sprintf("%s commits %d up to 7", who, f.partition))
				f.wantNot(t, n, "itself begins b", "itself begins c", "itself begins d", "other begins b", "other begins c", "other begins d")
			})
		})
	}
}

// TestForgottenMemberThatGetsItsPartitionAgainBeginsWithTheCommit: no callback of
// the client names a partition that it gets again.
func TestForgottenMemberThatGetsItsPartitionAgainBeginsWithTheCommit(t *testing.T) {
	t.Parallel()
	for _, kind := range classic {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			everyKafka(t, func(t *testing.T, k *anyKafka) {
				t.Parallel()
				f := newForgotten(t, k, kind)
				stop(t, f.other)
				n := len(f.all)
				close(f.release)
				f.until(t, n, fmt.Sprintf("itself is assigned %d", f.partition))
				f.write(f.topic, f.partition, "g")
				f.until(t, n, fmt.Sprintf("itself commits %d up to 7", f.partition))
				f.wantNot(t, n, "itself ends c", "itself begins d", "itself begins e", "itself begins f")
			})
		})
	}
}

// TestForgottenMemberThatStopsCommitsNothing: the partition is lost by then, or the
// last commit is refused, or it hears that its session is lost while the stop waits for
// that commit. The stop says so.
func TestForgottenMemberThatStopsCommitsNothing(t *testing.T) {
	t.Parallel()
	everyKafka(t, func(t *testing.T, k *anyKafka) {
		t.Parallel()
		f := newForgotten(t, k, "cooperative")
		stopped := make(chan error, 1)
		go func() { stopped <- f.itself.Stop(context.Background()) }()
		close(f.release)
		if err := <-stopped; err != nil && !errors.Is(err, kerr.UnknownMemberID) && !strings.Contains(err.Error(), "the session with the group was lost") {
			t.Errorf("stop: %v", err)
		}
		if got := f.committed(t); got != 6 {
			t.Errorf("after its stop %d is committed, and the next owner had committed 6", got)
		}
	})
}
