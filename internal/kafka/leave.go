package kafka

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// EndTimeout is how much longer than it was given the client, and then the
// goroutines that serve the engine, have to end. They wait for code of the
// user's: hooks, dialers, logins.
const EndTimeout = 2 * time.Second

// Close leaves the group and ends everything that start began. It is called
// once, even after a start that failed. When ctx ends it stops asking brokers
// that do not answer: the client would wait for them for minutes. It names what
// did not end in time.
func (c *Consumer) Close(ctx context.Context) (waiting []string, leaveErr error) {
	// ends reports whether f returned in time.
	ends := func(what string, f func()) bool {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		select {
		case <-done:
			return true
		case <-ctx.Done():
		}
		last := time.NewTimer(EndTimeout)
		defer last.Stop()
		select {
		case <-done:
			return true
		case <-last.C:
			waiting = append(waiting, what)
			return false
		}
	}
	if c.client != nil {
		defer c.abort()
		defer context.AfterFunc(ctx, c.abort)()
		// The revoked callback comes on the way and finds nothing to do.
		var err error
		if ends("the Kafka client, which does not leave the group", func() { err = c.leave(ctx) }) {
			leaveErr = err
		} else {
			leaveErr = context.Cause(ctx)
		}
	}
	if c.cancel != nil {
		c.cancel()
	}
	if c.client != nil {
		ends("the Kafka client, which does not close", c.client.Close)
	}
	ends("goroutines of the Mapping", c.group.Wait)
	return waiting, leaveErr
}

// leave leaves the group, or says that this static member will be back. The
// second is up to the client, which knows which protocol is spoken; but for
// KIP-848 it leaves out the instance (v1.22.3), and the broker refuses that.
// The partitions would then wait for the end of the session, and the member,
// restarted, would be refused for as long. So it is said again here.
func (c *Consumer) leave(ctx context.Context) error {
	member, _ := c.client.GroupMetadata()
	err := c.client.LeaveGroupContext(ctx)
	byBroker, _ := c.client.OptValue(kgo.ServerSideBalancer).(bool) // then it speaks KIP-848, unless the broker does not
	if c.source.InstanceID == "" && err == nil && member != "" && !byBroker {
		return c.left(ctx, member)
	}
	if c.source.InstanceID == "" || !errors.Is(err, kerr.InvalidRequest) {
		return err
	}
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.InstanceID = c.source.Group, member, &c.source.InstanceID
	req.MemberEpoch = staticMemberLeaves
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.ErrorCode)
}

// left asks again to leave a classic group: the client (v1.22.3) does not look at
// what the coordinator says of the member, only at what it says of the request. A
// coordinator that does not know the member any more is what is wanted.
func (c *Consumer) left(ctx context.Context, member string) error {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = c.source.Group, member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = member
	req.Members = append(req.Members, m)
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return err
	}
	code := resp.ErrorCode
	for _, m := range resp.Members {
		code = cmp.Or(code, m.ErrorCode)
	}
	err = kerr.ErrorForCode(code)
	if errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.GroupIDNotFound) {
		return nil
	}
	return err
}

// staticMemberLeaves is the epoch by which a static member says, in KIP-848,
// that it goes and will be back.
const staticMemberLeaves = -2
