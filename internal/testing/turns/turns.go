// Package turns makes the Kafka of a process fair, as brokers are.
package turns

import (
	"cmp"
	"slices"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Take makes the partitions take turns, as they do in a broker (KIP-227): the one that
// records were sent of is the last to be looked at in the next fetch. Left alone,
// this Kafka looks at that one first, sends more of it, and others wait for seconds.
func Take(cluster *kfake.Cluster) {
	type partition struct {
		topic  string
		id     [16]byte
		number int32
	}
	type place struct {
		offset int64 // that was asked for
		since  int   // the first fetch that asked for it
	}
	fetches := 0
	line := map[partition]place{}
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		fetches++
		fetch := request.(*kmsg.FetchRequest)
		fetch.SessionEpoch = -1 // no session: then all partitions are in each request
		for i := range fetch.Topics {
			t := &fetch.Topics[i]
			of := func(p *kmsg.FetchRequestTopicPartition) partition { return partition{t.Topic, t.TopicID, p.Partition} }
			for j := range t.Partitions {
				p := &t.Partitions[j]
				if at, ok := line[of(p)]; !ok || at.offset != p.FetchOffset {
					line[of(p)] = place{p.FetchOffset, fetches}
				}
			}
			slices.SortStableFunc(t.Partitions, func(a, b kmsg.FetchRequestTopicPartition) int {
				return cmp.Compare(line[of(&a)].since, line[of(&b)].since)
			})
		}
		return nil, nil, false
	})
}
