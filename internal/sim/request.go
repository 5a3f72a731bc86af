package sim

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A request is one that members make, and where in its answer an error can stand.
type request struct {
	key    kmsg.Key
	only   string // the protocol, "" for any
	levels []string
}

var requests = []request{
	{key: kmsg.Metadata, levels: []string{"topic", "partition"}},
	{key: kmsg.FindCoordinator, levels: []string{"group"}},
	{key: kmsg.JoinGroup, only: "classic", levels: []string{"top"}},
	{key: kmsg.SyncGroup, only: "classic", levels: []string{"top"}},
	{key: kmsg.Heartbeat, only: "classic", levels: []string{"top"}},
	{key: kmsg.LeaveGroup, only: "classic", levels: []string{"top"}},
	{key: kmsg.ConsumerGroupHeartbeat, only: "kip-848", levels: []string{"top"}},
	{key: kmsg.OffsetFetch, levels: []string{"group", "partition"}},
	{key: kmsg.OffsetCommit, levels: []string{"group", "partition"}},
	{key: kmsg.ListOffsets, levels: []string{"topic", "partition"}},
	{key: kmsg.OffsetForLeaderEpoch, levels: []string{"topic", "partition"}},
	{key: kmsg.Fetch, levels: []string{"top", "topic", "partition"}},
}

// requestsOf are those of a group of this protocol.
func requestsOf(protocol string) (all []request) {
	kind := "classic"
	if protocol == "kip-848" {
		kind = protocol
	}
	for _, r := range requests {
		if r.only == "" || r.only == kind {
			all = append(all, r)
		}
	}
	return all
}

// misleading are codes that make a client believe what is not so, and do what is
// right then: a partition is read from another place. What they do is judged by the
// sweep of package proof.
var misleading = map[int16]bool{kerr.OffsetOutOfRange.Code: true}

// codes are all that the client knows, and one that it does not.
func codes() (all []int16) {
	for code := int16(-1); code < 1000; code++ {
		if err := kerr.TypedErrorForCode(code); err != nil && err.Code == code && !misleading[code] {
			all = append(all, code)
		}
	}
	return append(all, 30_000)
}

func typed(code int16) *kerr.Error {
	if err := kerr.TypedErrorForCode(code); err != nil && err.Code == code {
		return err
	}
	return &kerr.Error{Message: "NOT_KNOWN", Code: code}
}

func codeName(code int16) string { return typed(code).Message }

func nameOf(key int16) string { return kmsg.NameForKey(key) }

// refusal is what the cluster is told to answer.
func (f Fault) refusal(group string) kfake.Fault {
	r := kfake.Fault{Keys: []kmsg.Key{kmsg.Key(f.Key)}, Err: typed(f.Code), Count: -1}
	if f.N > 0 {
		r.Count = f.N
	}
	switch f.Level {
	case "top":
		r.TopLevel = true
	case "group":
		r.Group = group
	case "topic":
		r.Topic = f.Topic
	case "partition":
		r.Topic, r.Partitions = f.Topic, []int32{f.Partition}
	default:
		panic(fmt.Sprintf("sim: a fault at level %q", f.Level))
	}
	return r
}
