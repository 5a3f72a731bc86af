package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/engine"
	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/mark"
	"github.com/seed429fd032/esm/internal/partition"
)

// A Committer is the only one that commits. It takes the frontiers that moved from
// the engine's books, once a second, or when somebody asks it to and waits, and
// sends them. The books say why each is looked at again in the moment before it is
// sent.
//
// # Why requests are not cut short
//
// Cancelling a request that is under way closes the connection, and the next
// commit may overtake it on another. So a deadline stands on the wait of the
// one who asked, never on the request. It is cut short when nobody has its
// partitions any more: the client would ask again for as long as it is refused,
// and could succeed after the next owner has committed more. See pointless.
type Committer struct {
	books  *engine.Books
	every  time.Duration
	commit commitFunc
	raise  func(with string, err error) // notes a problem, or with nil its end
	asked  chan *commitWait
	gone   chan struct{} // closed when nobody runs it any more

	limit int  // how long the metadata of a commit may be, as far as is known
	short bool // that it is less than the default was told, and nothing was sent since
}

// A commitFunc sends offsets, after check took out of them what must not be
// sent, and returns an error for each that was not committed. It is a function so
// that the committer can be tested without a broker.
type commitFunc func(ctx context.Context, os []offsetCommit, check commitCheck) (map[partition.ID]error, error)

// An offsetCommit is a frontier with what is written beside it.
type offsetCommit struct {
	engine.Frontier
	metadata string
}

// A commitCheck says of a partition, in the moment before a request is sent,
// whether its frontier may be committed still, as the member that sends it.
type commitCheck func(member string, id partition.ID) bool

// A commitWait is somebody who waits for everything to be committed that was
// settled before.
type commitWait struct {
	done chan error // gets one value
}

const commitEvery = time.Second

func newCommitter(b *engine.Books, commit commitFunc, raise func(with string, err error)) *Committer {
	return &Committer{books: b, every: commitEvery, commit: commit, raise: raise, asked: make(chan *commitWait), gone: make(chan struct{}), limit: mark.Most}
}

// run commits until ctx ends. It then does not commit once more: who stops
// the Mapping asks for that before.
func (c *Committer) run(ctx context.Context) {
	timer := time.NewTimer(c.every)
	defer timer.Stop()
	for {
		var waits []*commitWait
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.books.Bell:
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

// Flush asks for a commit of all that is settled now and waits for it, but not
// longer than ctx, nor than there is a session to commit in: the commit goes
// on then.
func (c *Committer) Flush(ctx context.Context) error {
	lost := c.books.Session()
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

// ErrStopped is told of a commit when no more are made.
var ErrStopped = errors.New("esm: the mapping was stopped")

var errSessionLost = errors.New("the session with the group was lost")

// once commits every frontier that moved, or above which something was settled.
func (c *Committer) once(ctx context.Context) error {
	began := time.Now()
	fs := c.books.Frontiers(c.limit > 0, began)
	if len(fs) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answered := c.await(cancel)
	answers := c.send(ctx, fs)
	answered()
	now := time.Now()
	return c.books.Committed(fs, answers, now.Sub(began), now)
}

// await gives the request that is under way up, by cancel, when it is for nobody
// any more, until the func that it returns is called.
func (c *Committer) await(cancel context.CancelFunc) (answered func()) {
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		look := time.NewTimer(time.Hour)
		defer look.Stop()
		for {
			pointless, changed, again := c.books.Await(time.Now())
			if pointless {
				cancel()
			}
			look.Reset(again)
			select {
			case <-done:
				return
			case <-changed:
			case <-look.C:
			}
		}
	}()
	return func() {
		close(done)
		<-watched
	}
}

// answerOf is what an error says of a frontier.
func answerOf(err error) engine.CommitAnswer {
	if err == nil {
		return engine.CommitAnswer{}
	}
	return engine.CommitAnswer{Err: guard.Keep(err), Unsent: errors.Is(err, errPartitionGone), Passing: transient(err)}
}

// check checks frontiers.
func (c *Committer) check(fs []engine.Frontier) commitCheck {
	byPartition := make(map[partition.ID]engine.Frontier, len(fs))
	for _, f := range fs {
		byPartition[f.ID] = f
	}
	return func(member string, id partition.ID) bool {
		f, ok := byPartition[id]
		return ok && c.books.MayCommit(f, member)
	}
}

// errPartitionGone is what became of a frontier whose lane died before it could
// be sent. That is no failure: the offset belongs to somebody else.
var errPartitionGone = errors.New("the partition belongs to somebody else")

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
func commitWith(cl *kgo.Client) commitFunc {
	return func(ctx context.Context, os []offsetCommit, check commitCheck) (map[partition.ID]error, error) {
		offsets, metadata := map[string]map[int32]kgo.EpochOffset{}, map[partition.ID]string{}
		for _, o := range os {
			t := offsets[o.Topic]
			if t == nil {
				t = map[int32]kgo.EpochOffset{}
				offsets[o.Topic] = t
			}
			t[o.Partition] = kgo.EpochOffset{Epoch: o.LeaderEpoch, Offset: o.At}
			if o.metadata != "" {
				metadata[o.ID] = o.metadata
			}
		}
		failed := map[partition.ID]error{}
		// The context of the committer, not of whoever waits: see there.
		ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
			topics := req.Topics[:0]
			for _, t := range req.Topics {
				kept := t.Partitions[:0]
				for _, p := range t.Partitions {
					if tp := (partition.ID{Topic: t.Topic, Partition: p.Partition}); check(req.MemberID, tp) {
						// The client writes its member id beside the offset.
						p.Metadata = kmsg.StringPtr(metadata[tp])
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
