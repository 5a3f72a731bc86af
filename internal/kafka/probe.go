package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/partition"
)

// A probe asks the leader of a partition for what comes next, beside the client:
// it finds out why a lane stands still, whatever the client knows or says.
//
// It goes through the client's own connection for fetches, behind the fetch that
// is under way. So what it says is newer than all that the client was sent
// before, and a slow answer is not taken for none.
type probe struct {
	client        *kgo.Client
	decompressor  kgo.Decompressor
	unchecked     bool // the checksums of batches are not looked at
	readCommitted bool
}

func newProbeOf(cl *kgo.Client, d kgo.Decompressor, readCommitted bool) *probe {
	p := &probe{client: cl, decompressor: sturdy{d}, readCommitted: readCommitted}
	p.unchecked, _ = cl.OptValue(kgo.DisableFetchCRCValidation).(bool)
	return p
}

const (
	// probeTimeout is how long a leader has to answer.
	probeTimeout = 10 * time.Second
	// probeBytes is how much it sends at most, but for the first batch, which it
	// sends whole. It is to be enough for the beginning of the next one.
	probeBytes = 64 << 10
)

// ask asks for what comes at a position.
func (p *probe) ask(ctx context.Context, tp partition.ID, id [16]byte, position int64) engine.Finding {
	asked := time.Now()
	f := p.request(ctx, tp, id, position)
	f.Asked = asked
	f.Refused = f.Err != nil && !errors.Is(f.Err, kerr.OffsetOutOfRange) && !errors.Is(f.Err, errSendsNothing)
	return f
}

func (p *probe) request(ctx context.Context, tp partition.ID, id [16]byte, position int64) engine.Finding {
	leader, _, err := p.client.PartitionLeader(tp.Topic, tp.Partition)
	switch {
	case err != nil:
		return engine.Finding{Err: err, End: -1}
	case leader < 0:
		return engine.Finding{Err: kerr.LeaderNotAvailable, End: -1}
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 0, 1, probeBytes
	req.SessionEpoch = -1 // without a session: that is the client's
	if p.readCommitted {
		req.IsolationLevel = 1
	}
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = tp.Topic, id
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = tp.Partition, position, probeBytes
	part.CurrentLeaderEpoch, part.LastFetchedEpoch, part.LogStartOffset = -1, -1, -1
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	ctx, done := context.WithTimeout(ctx, probeTimeout)
	defer done()
	answer, err := p.client.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("broker %d, which leads it, does not answer: %w", leader, err)
		}
		return engine.Finding{Err: err, End: -1}
	}
	resp, ok := answer.(*kmsg.FetchResponse)
	if ok && resp.ErrorCode != 0 {
		return engine.Finding{Err: kerr.ErrorForCode(resp.ErrorCode), End: -1}
	}
	if !ok || len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return engine.Finding{Err: errNotAnswered, End: -1}
	}
	return p.read(tp, position, &resp.Topics[0].Partitions[0])
}

// read makes a finding of an answer.
func (p *probe) read(tp partition.ID, position int64, answer *kmsg.FetchResponseTopicPartition) engine.Finding {
	f := engine.Finding{End: answer.HighWatermark}
	level := kgo.ReadUncommitted()
	if p.readCommitted {
		level, f.End = kgo.ReadCommitted(), answer.LastStableOffset
	}
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return engine.Finding{Err: err, End: -1}
	}
	sent := answer.RecordBatches
	opts := kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, DisableCRCValidation: p.unchecked, Offset: position, IsolationLevel: level,
		Topic: tp.Topic, Partition: tp.Partition,
	}
	got, next := kgo.ProcessFetchPartition(opts, answer, p.decompressor, nil)
	var tooLarge *kgo.ErrDecompressTooLarge
	switch {
	case len(got.Records) > 0: // it can be read
	case errors.As(got.Err, &tooLarge):
		f.Unreadable = &engine.Unreadable{From: next, To: max(tooLarge.NextOffset, next+1), Err: got.Err}
	case got.Err != nil:
		to := batchEnd(sent, next)
		if end := answer.HighWatermark; end > next {
			to = min(to, end) // however corrupt it is, it holds nothing that was not written
		}
		f.Unreadable = &engine.Unreadable{From: next, To: to, Err: got.Err}
	case next > position:
		f.To = next
	case f.End > position:
		f.Err = fmt.Errorf("%w: %d bytes without a record at or after offset %d", errSendsNothing, len(sent), position)
	}
	return f
}

// errSendsNothing: the leader says that there is more, and does not send it.
var errSendsNothing = errors.New("its leader sends nothing of it")

// batchEnd finds the batch that holds an offset, or the first one after it, in what
// a broker sent, and returns the offset after its last one. It does not trust the
// batch more than it must, since that may be corrupt: where it begins and how long
// it is are written by the broker and are not part of its checksum. So where it
// ends is taken from the beginning of the next batch if there is one.
func batchEnd(sent []byte, offset int64) int64 {
	const header, lengthAt, lastAt, lengthFrom = 27, 8, 23, 12
	for len(sent) >= header {
		base := int64(binary.BigEndian.Uint64(sent))
		length := int64(int32(binary.BigEndian.Uint32(sent[lengthAt:]))) + lengthFrom
		last := int64(int32(binary.BigEndian.Uint32(sent[lastAt:])))
		if length < header || int64(len(sent)) < length+lengthAt {
			if base < 0 || last < 0 {
				break
			}
			return max(base+last+1, offset+1)
		}
		sent = sent[length:]
		if next := int64(binary.BigEndian.Uint64(sent)); next > offset {
			return next
		}
	}
	return offset + 1
}
