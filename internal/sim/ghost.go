package sim

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A ghost is a member of the group that nobody is any more. A coordinator forgets it when
// its session ends. The one of the cluster does not, if the connection on which its
// JoinGroup waited was gone when that was answered: then no session ever ended, and its
// partitions were nobody's for good. So the world has such a member leave, when its
// session is over by what was heard of it. A join that is never answered, since the cluster
// has counted one of those who join twice, ends in the same time, as that of a client with
// a limit does.

// hears notes when a member was heard last, by its id.
func (w *World) hears() {
	cluster := w.kafka.Cluster()
	note := func(id string) {
		if id == "" {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.heard[id] = time.Now()
	}
	for _, key := range []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat} {
		cluster.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			switch r := r.(type) {
			case *kmsg.JoinGroupRequest:
				note(r.MemberID)
			case *kmsg.SyncGroupRequest:
				note(r.MemberID)
			case *kmsg.HeartbeatRequest:
				note(r.MemberID)
			}
			return nil, nil, false
		})
	}
}

// exorcise has ghosts leave.
func (w *World) exorcise(ctx context.Context) {
	if w.plan.Protocol == "kip-848" {
		return
	}
	info := w.kafka.Cluster().GroupInfo(group)
	if info == nil {
		return
	}
	most := time.Duration(w.plan.Session+w.plan.Options.RevokeTimeout) + 15*time.Second
	w.mu.Lock()
	if info.State == "Stable" || info.State == "Empty" || w.unstable.IsZero() {
		w.unstable = time.Now()
	}
	stuck := time.Since(w.unstable) > most+30*time.Second
	if stuck {
		w.unstable = time.Time{}
	}
	w.mu.Unlock()
	if stuck { // it has counted somebody who joins twice, and waits for one who is not there
		w.trace("the group is %s for too long", info.State)
		w.count("stuck groups", 1)
		for _, m := range info.Members {
			w.dismiss(ctx, m)
		}
		return
	}
	for _, m := range w.all() {
		m.net.each(-1, func(c *conn) {
			c.mu.Lock()
			since := c.joins
			c.mu.Unlock()
			if !since.IsZero() && time.Since(since) > most {
				w.trace("%s has joined for too long", m.name)
				w.count("ghosts", 1)
				_ = c.Close()
			}
		})
	}
	for _, m := range info.Members {
		w.mu.Lock()
		at, ok := w.heard[m.MemberID]
		if !ok {
			at = time.Now()
			w.heard[m.MemberID] = at
		}
		w.mu.Unlock()
		if time.Since(at) < most {
			continue
		}
		w.trace("a ghost leaves") // with an id that the seed does not draw
		w.count("ghosts", 1)
		w.dismiss(ctx, m)
	}
}

// dismiss has a member of a classic group leave, by somebody else's word.
func (w *World) dismiss(ctx context.Context, m kfake.GroupMember) {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.addresses...), w.kafka.Dialer())
	if err != nil {
		w.attempt(err)
		return
	}
	defer client.Close()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = group, m.MemberID
	member := kmsg.NewLeaveGroupRequestMember()
	member.MemberID, member.InstanceID = m.MemberID, m.InstanceID
	req.Members = append(req.Members, member)
	with, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	if _, err = req.RequestWith(with, client); err != nil {
		w.trace("%s does not leave: %v", m.ClientID, err) // a fault is in the way
	}
}

// forget has the coordinator forget a member, as when its session has ended and it could not
// hear of that: it goes on with what it has until it asks.
func (w *World) forget(name string) {
	info := w.kafka.Cluster().GroupInfo(group)
	if info == nil || w.plan.Protocol == "kip-848" {
		return
	}
	for _, m := range info.Members {
		if m.ClientID == name {
			w.dismiss(context.Background(), m)
		}
	}
}
