package sim

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
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
// both for a loss of data.
func (w *World) endsOfEpochs() {
	cluster := w.kafka.Cluster()
	cluster.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := r.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, t := range req.Topics {
			st := kmsg.NewOffsetForLeaderEpochResponseTopic()
			st.Topic = t.Topic
			for _, in := range t.Partitions {
				sp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				sp.Partition = in.Partition
				if code := w.refusesEpoch(t.Topic, in, cluster); code != 0 {
					sp.ErrorCode = code
				} else {
					sp.LeaderEpoch, sp.EndOffset = in.LeaderEpoch, w.endOfEpoch(t.Topic, in, cluster)
				}
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
}

// refusesEpoch is the code of the error that the cluster would answer, 0 if it would not.
func (w *World) refusesEpoch(topic string, in kmsg.OffsetForLeaderEpochRequestTopicPartition, cluster *kfake.Cluster) int16 {
	w.mu.Lock()
	for f := range w.refused {
		if f.Key == int16(kmsg.OffsetForLeaderEpoch) && f.Topic == topic && (f.Level == "topic" || f.Partition == in.Partition) {
			w.mu.Unlock()
			return f.Code
		}
	}
	w.mu.Unlock()
	info := cluster.PartitionInfo(topic, in.Partition)
	switch epoch := in.CurrentLeaderEpoch; {
	case info == nil:
		return kerr.UnknownTopicOrPartition.Code
	case info.Leader != cluster.CurrentNode():
		return kerr.NotLeaderForPartition.Code
	case epoch >= 0 && epoch < info.Epoch:
		return kerr.FencedLeaderEpoch.Code
	case epoch > info.Epoch, in.LeaderEpoch > info.Epoch:
		return kerr.UnknownLeaderEpoch.Code
	}
	return 0
}

// endOfEpoch is where the next epoch began, or where the partition ends.
func (w *World) endOfEpoch(topic string, in kmsg.OffsetForLeaderEpochRequestTopicPartition, cluster *kfake.Cluster) int64 {
	info := cluster.PartitionInfo(topic, in.Partition)
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.ledger.now(esm.TopicPartition{Topic: topic, Partition: in.Partition})
	if next := int(in.LeaderEpoch); next >= 0 && next < len(p.epochs) {
		return p.epochs[next].offset
	}
	return info.HighWatermark
}

// refuses notes that a fault refuses requests, or is over.
func (w *World) refuses(f Fault, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused[f] = true; !on {
		delete(w.refused, f)
	}
}
