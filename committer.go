package esm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

// A committer is the only one that commits. It collects the lanes whose
// frontier moved, once a second, or when somebody asks it to and waits.
//
// # The invariant
//
// The committed offset of a partition never passes the frontier of the lane
// that owns it, and nothing is committed for a partition after its revoke
// callback returned.
//
// # Why it is checked twice
//
// The client fills in the member id and the generation when it builds the
// request, and waits for a rebalance before it sends one. Neither client nor
// broker checks who owns a partition. So an offset that was right when it was
// collected may be wrong when it is sent: the partition was lost, somebody
// else went on with it, it came back, and the request is sent under the new
// generation and rewinds the work of the other. Therefore every entry is
// looked at again in the moment before it is sent, and is dropped if its lane
// is dead.
//
// # Why requests are not cut short
//
// Cancelling a request that is under way closes the connection, and the next
// commit may overtake it on another. So a deadline stands on the wait of the
// one who asked, never on the request. It is cut short when nobody has its
// partitions any more: the client would ask again for as long as it is refused,
// and could succeed after the next owner has committed more. See pointless.
type committer struct {
	engine *engine
	every  time.Duration

	// commit sends offsets, after check took out of them what must not be
	// sent, and returns an error for each that was not committed. It is a
	// function so that the committer can be tested without a broker.
	commit func(ctx context.Context, entries []commitEntry, check func(partition.ID) bool) (map[partition.ID]error, error)

	asked chan *commitWait
	gone  chan struct{} // closed when nobody runs it any more

	// Guarded by the engine's lock.
	refusals map[partition.ID]uncommitted // what was not committed when it was tried last
	sending  *sentCommit                  // the request that has no answer yet, or nil
}

// A commitEntry is the frontier of a lane at one moment.
type commitEntry struct {
	lane        *lane
	at          int64
	leaderEpoch int32
}

// A commitWait is somebody who waits for everything to be committed that was
// settled before.
type commitWait struct {
	done chan error // gets one value
}

const commitEvery = time.Second

func newCommitter(e *engine, commit func(context.Context, []commitEntry, func(partition.ID) bool) (map[partition.ID]error, error)) *committer {
	return &committer{engine: e, every: commitEvery, commit: commit, asked: make(chan *commitWait), gone: make(chan struct{}), refusals: map[partition.ID]uncommitted{}}
}

// run commits until ctx ends. It then does not commit once more: who stops
// the Mapping asks for that before.
func (c *committer) run(ctx context.Context) {
	timer := time.NewTimer(c.every)
	defer timer.Stop()
	for {
		var waits []*commitWait
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.engine.commitBell:
		case w := <-c.asked:
			waits = append(waits, w)
		}
		// Whoever asked meanwhile is served by the same commit.
		for more := true; more; {
			select {
			case w := <-c.asked:
				waits = append(waits, w)
			default:
				more = false
			}
		}
		err := c.once(ctx)
		for _, w := range waits {
			w.done <- err
		}
		timer.Reset(c.every)
	}
}

// flush asks for a commit of all that is settled now and waits for it, but not
// longer than ctx, nor than there is a session to commit in: the commit goes
// on then.
func (c *committer) flush(ctx context.Context) error {
	c.engine.mu.Lock()
	lost := c.engine.sessionLost.wait()
	c.engine.unlock()
	w := &commitWait{done: make(chan error, 1)}
	asked := c.asked
	for {
		select {
		case asked <- w:
			asked = nil
		case err := <-w.done:
			return err
		case <-lost:
			return errSessionLost
		case <-c.gone:
			return ErrStopped
		case <-ctx.Done():
			return fmt.Errorf("it takes too long: %w", context.Cause(ctx))
		}
	}
}

var errSessionLost = errors.New("the session with the group was lost")

// once commits every dirty lane.
func (c *committer) once(ctx context.Context) error {
	entries := c.collect()
	if len(entries) == 0 {
		return nil
	}
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := c.await(entries, cancel, began)
	failed, err := c.commit(ctx, entries, c.check(entries))
	answered()
	refused := make([]refusedCommit, len(entries))
	for i, entry := range entries {
		of := err
		if of == nil {
			of = failed[entry.lane.ID]
		}
		refused[i] = refusalOf(of)
	}
	return c.conclude(entries, refused, time.Since(began))
}

// A refusedCommit is why an entry was not committed. It is looked at before the
// engine's lock is taken, because errors of connections can be the user's.
type refusedCommit struct {
	err       error // nil if it was
	gone      bool  // its lane had died
	transient bool
}

func refusalOf(err error) refusedCommit {
	if err == nil {
		return refusedCommit{}
	}
	return refusedCommit{err: guard.Keep(err), gone: errors.Is(err, errPartitionGone), transient: transient(err)}
}

// check returns a func that says of a partition, in the moment before the
// request is sent, whether its entry still holds.
func (c *committer) check(entries []commitEntry) func(partition.ID) bool {
	byPartition := make(map[partition.ID]*commitEntry, len(entries))
	for i := range entries {
		byPartition[entries[i].lane.ID] = &entries[i]
	}
	return func(tp partition.ID) bool {
		c.engine.mu.Lock()
		defer c.engine.unlock()
		e := byPartition[tp]
		return e != nil && !e.lane.dead && e.at <= e.lane.frontier()
	}
}

// collect takes the dirty lanes.
func (c *committer) collect() []commitEntry {
	e := c.engine
	e.mu.Lock()
	defer e.unlock()
	entries := make([]commitEntry, 0, len(e.dirty))
	for _, l := range e.dirty {
		l.dirty = false
		at := l.frontier()
		if l.dead || at < 0 || at == l.committed && !l.anchor {
			continue
		}
		entries = append(entries, commitEntry{l, at, l.leaderEpoch})
	}
	e.dirty = e.dirty[:0]
	if len(entries) == 0 {
		c.review(time.Now()) // there may be nothing any more that could be refused
	}
	return entries
}

// errPartitionGone is what became of an entry whose lane died before it could
// be sent. That is no failure: the offset belongs to somebody else.
var errPartitionGone = errors.New("the partition belongs to somebody else")

// conclude books what was committed, and marks as dirty again what was not.
func (c *committer) conclude(entries []commitEntry, refused []refusedCommit, took time.Duration) error {
	e := c.engine
	e.mu.Lock()
	defer e.unlock()
	info := CommittedInfo{Mapping: e.watch.name, Offsets: map[TopicPartition]int64{}, Failed: map[TopicPartition]int64{}, Took: took}
	now := time.Now()
	for i, entry := range entries {
		l := entry.lane
		if refused[i].gone || l.dead {
			continue
		}
		if err := refused[i].err; err != nil {
			info.Failed[TopicPartition(l.ID)] = entry.at
			if info.Err == nil {
				info.Err = err
			}
			c.refuse(l.ID, refused[i], took, now)
			e.soil(l)
			continue
		}
		delete(c.refusals, l.ID)
		info.Offsets[TopicPartition(l.ID)] = entry.at
		if l.committed >= 0 && entry.at > l.committed {
			e.counts.committed += entry.at - l.committed
		} else if l.committed < 0 && !l.anchor {
			e.counts.committed += entry.at - l.start
		}
		l.committed, l.anchor = entry.at, false
	}
	c.review(now)
	if len(info.Offsets)+len(info.Failed) == 0 {
		return nil
	}
	if info.Err != nil {
		e.counts.commitErrors++
	}
	e.later(func() { fire(e.watch, func(h *Hooks) func(CommittedInfo) { return h.Committed }, info) })
	return info.Err
}

// transient reports whether a failed commit is of the kind that a rebalance or
// a move of the coordinator brings, and that goes away by itself. If it does not
// within passingFor, it is a problem like any other.
func transient(err error) bool {
	for _, t := range []error{
		kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.StaleMemberEpoch, kerr.FencedMemberEpoch,
		kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, context.Canceled, kgo.ErrClientClosed,
	} {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// commitWith sends offsets as a member of the client's group. A commit that
// has to wait for a rebalance waits: that is no error.
func commitWith(cl *kgo.Client) func(context.Context, []commitEntry, func(partition.ID) bool) (map[partition.ID]error, error) {
	return func(ctx context.Context, entries []commitEntry, check func(partition.ID) bool) (map[partition.ID]error, error) {
		offsets := map[string]map[int32]kgo.EpochOffset{}
		for _, e := range entries {
			t := offsets[e.lane.Topic]
			if t == nil {
				t = map[int32]kgo.EpochOffset{}
				offsets[e.lane.Topic] = t
			}
			t[e.lane.Partition] = kgo.EpochOffset{Epoch: e.leaderEpoch, Offset: e.at}
		}
		failed := map[partition.ID]error{}
		// The context of the committer, not of whoever waits: see there.
		ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
			topics := req.Topics[:0]
			for _, t := range req.Topics {
				kept := t.Partitions[:0]
				for _, p := range t.Partitions {
					if tp := (partition.ID{Topic: t.Topic, Partition: p.Partition}); check(tp) {
						// The client writes its member id beside the offset,
						// for which a broker may not have the room.
						p.Metadata = kmsg.StringPtr("")
						kept = append(kept, p)
					} else {
						failed[tp] = errPartitionGone
					}
				}
				if t.Partitions = kept; len(kept) > 0 {
					topics = append(topics, t)
				}
			}
			if req.Topics = topics; len(topics) == 0 {
				return errPartitionGone
			}
			return nil
		})
		var err error
		cl.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, e error) {
			if err = e; e != nil {
				return
			}
			names := map[[16]byte]string{}
			for _, t := range req.Topics {
				names[t.TopicID] = t.Topic
			}
			for _, t := range resp.Topics {
				if t.Topic == "" {
					t.Topic = names[t.TopicID]
				}
				for _, p := range t.Partitions {
					if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
						failed[partition.ID{Topic: t.Topic, Partition: p.Partition}] = e
					}
				}
			}
		})
		if errors.Is(err, errPartitionGone) {
			err = nil // and all of failed says so
		}
		return failed, err
	}
}
