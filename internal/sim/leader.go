package sim

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm"
)

// lead gives each partition the leader that the seed says: the cluster draws them
// from a generator that it shares with others.
func (w *World) lead() {
	for _, t := range w.plan.Topics {
		for n := range t.Partitions {
			w.move(t.Name, n, int32(w.dice.throw("lead", uint64(n))%uint64(w.plan.Brokers)))
		}
	}
}

// move gives a partition a leader, and with it an epoch, and keeps where that begins.
func (w *World) move(topic string, partition, broker int32) {
	cluster := w.kafka.Cluster()
	if err := cluster.MoveTopicPartition(topic, partition, broker); err != nil {
		w.attempt(err)
		return
	}
	info := cluster.PartitionInfo(topic, partition)
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.ledger.now(esm.TopicPartition{Topic: topic, Partition: partition})
	for int32(len(p.epochs)) < info.Epoch {
		p.epochs = append(p.epochs, mark{time.Now(), info.HighWatermark})
	}
}

// endsOfEpochs answers where epochs of leaders end, in the place of the cluster, which
// says of an epoch that ended without a record after it that it does not know it, and
// of one before its first record that it ended where the log starts: a client takes
// both for a loss of data. Only where all is in order: the cluster refuses by itself.
func (w *World) endsOfEpochs() {
	cluster := w.kafka.Cluster()
	cluster.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := r.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		w.mu.Lock()
		refused := w.refused[req.Key()] > 0
		w.mu.Unlock()
		for _, t := range req.Topics {
			st := kmsg.NewOffsetForLeaderEpochResponseTopic()
			st.Topic = t.Topic
			for _, in := range t.Partitions {
				info := cluster.PartitionInfo(t.Topic, in.Partition)
				if refused || info == nil || info.Leader != cluster.CurrentNode() || in.CurrentLeaderEpoch >= 0 && in.CurrentLeaderEpoch != info.Epoch || in.LeaderEpoch > info.Epoch {
					return nil, nil, false
				}
				sp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				sp.Partition, sp.LeaderEpoch, sp.EndOffset = in.Partition, in.LeaderEpoch, info.HighWatermark
				w.mu.Lock()
				p := w.ledger.now(esm.TopicPartition{Topic: t.Topic, Partition: in.Partition})
				if next := int(in.LeaderEpoch); next < len(p.epochs) {
					sp.EndOffset = p.epochs[next].offset
				}
				w.mu.Unlock()
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
}

// refuses notes that a fault refuses requests of a kind, or is over.
func (w *World) refuses(key int16, by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused[key] += by
}
