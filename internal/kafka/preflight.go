package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/partition"
)

// NewProbe makes a client that never connects, to be asked about its options.
func NewProbe(opts ...kgo.Opt) (*kgo.Client, error) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	return kgo.NewClient(append(opts[:len(opts):len(opts)], kgo.WithContext(over))...)
}

// preflight checks that the cluster, the topics and the group are there and may
// be used, and finds out where Latest is.
func (c *Consumer) preflight(ctx context.Context) error {
	answered := c.sayUnanswered()
	partitions, err := c.checkTopics(ctx)
	answered()
	if err != nil {
		return err
	}
	var any bool
	err = c.insist(ctx, "find the group", func() (err error) {
		any, err = groupCommits(ctx, c.client, c.source.Group)
		if unclear := (*refusal)(nil); errors.As(err, &unclear) && !c.source.Start.Latest {
			return nil // only Latest has to know whether there is any
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := c.runChecks(ctx); err != nil || !c.source.Start.Latest || any {
		return err
	}
	return c.findEnds(ctx, partitions)
}

// slowAnswer is how long Start waits for the first answer before it says that there
// is none. A client waits for ten seconds and more: for a connection to a host that
// swallows packets, and for an answer on one that is open.
const slowAnswer = 1500 * time.Millisecond

// sayUnanswered says that no broker has answered, if that takes long and nobody has
// said why, until answered is called.
func (c *Consumer) sayUnanswered() (answered func()) {
	said := make(chan struct{})
	timer := time.AfterFunc(slowAnswer, func() {
		defer close(said)
		if c.disconnected() {
			return
		}
		c.raise("start", fmt.Errorf("no broker has answered yet. Source.Brokers is %s: is that the listener of a broker, and does a firewall let connections through? Start goes on trying",
			guard.Cut(strings.Join(c.source.Brokers, ", "), 300)))
	})
	return func() {
		if !timer.Stop() {
			<-said
			c.clear("start")
		}
	}
}

// electionTimeout is how long Start with Latest waits for partitions to get a
// leader: those of a topic that was just made have none for a moment.
const electionTimeout = 2 * time.Second

// endsTimeout is how long it waits for leaders that do not answer.
const endsTimeout = 10 * time.Second

// findEnds finds out where Latest is. If most of the partitions can be read, it
// does not wait long for the others: see positions.
func (c *Consumer) findEnds(ctx context.Context, open []partition.ID) error {
	began, all := time.Now(), len(open)
	var owed map[partition.ID]owedEnd
	var refused error
	err := c.insist(ctx, "find the starting position", func() error {
		limited, done := context.WithTimeout(ctx, endsTimeout)
		defer done()
		var left []partition.ID
		refused = nil
		for tp, l := range listOffsets(limited, c.client, open, listEnd, c.positions.readCommitted) {
			if l.err == nil {
				c.positions.remember(tp, l.offset)
				continue
			}
			left = append(left, tp)
			if refused == nil || final(l.err) {
				refused = fmt.Errorf("%s/%d: %w", tp.Topic, tp.Partition, l.err)
			}
		}
		if open = left; len(open) == 0 {
			return nil
		}
		took := time.Since(began)
		if final(refused) || took < electionTimeout {
			return refused
		}
		leaders, err := leadersOf(ctx, c.client, open)
		if err != nil {
			return err
		}
		leaderless := 0
		owed = make(map[partition.ID]owedEnd, len(open))
		for _, tp := range open {
			o := owedEnd{since: began, epoch: -1}
			if p, ok := leaders[tp]; ok && p.ErrorCode == kerr.LeaderNotAvailable.Code {
				o.epoch = p.LeaderEpoch
				leaderless++
			}
			owed[tp] = o
		}
		if leaderless < len(open) && (took < endsTimeout || len(open) == all) {
			return refused
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, tp := range open {
		c.positions.owe(tp, owed[tp])
		why := "its leader does not say where it ends"
		if owed[tp].epoch >= 0 {
			why = "it has no leader"
		}
		c.watch.StartsLate(tp, why, guard.Keep(refused))
	}
	return nil
}

// runChecks runs what the user wants checked.
func (c *Consumer) runChecks(ctx context.Context) error {
	for _, check := range c.source.Checks {
		var err error
		ended := make(chan *guard.Failure, 1)
		guard.Go(func() { err = guard.Keep(check(ctx)) }, func(f *guard.Failure) { ended <- f })
		select {
		case f := <-ended:
			if f != nil {
				err = errors.New(f.String())
			}
		case <-ctx.Done():
			return &StartFailure{Doing: checkName, Err: context.Cause(ctx), Last: errors.New("it has not returned")}
		}
		if err != nil {
			return &StartFailure{Doing: checkName, Err: err}
		}
	}
	return nil
}

const checkName = "pass a check (WithStartCheck)"

// checkTopics asks for the topics until all of them are there, and lists their
// partitions.
func (c *Consumer) checkTopics(ctx context.Context) ([]partition.ID, error) {
	var partitions []partition.ID
	missing, hungUp, strange := 0, 0, 0
	err := c.insist(ctx, "read the topics", func() error {
		topics, err := c.metadata(ctx, c.source.Topics)
		if eof := (*kgo.ErrFirstReadEOF)(nil); errors.As(err, &eof) {
			// The brokers may want TLS or a login, and say so only by ending
			// the connection. One that is cut off looks the same, once. When
			// the topics are known, all that is spoken is right.
			hungUp++
			return &refusal{err, hungUp >= 4}
		}
		if err != nil && strings.HasPrefix(diagnose(guard.Keep(err)).what, "is no Kafka") {
			strange++
			return &refusal{err, strange >= 4}
		}
		if err != nil {
			return err
		}
		partitions = partitions[:0]
		var errs []error
		unknown, refused := false, false
		for _, t := range topics {
			err := kerr.ErrorForCode(t.ErrorCode)
			if err == nil && !mayRead(t) {
				err = kerr.TopicAuthorizationFailed
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("topic %q: %w%s", *t.Topic, err, advice(err)))
				isUnknown := errors.Is(err, kerr.UnknownTopicOrPartition)
				unknown = unknown || isUnknown
				refused = refused || !isUnknown && !kerr.IsRetriable(err)
				continue
			}
			c.mu.Lock()
			c.topicIDs[*t.Topic] = t.TopicID
			c.mu.Unlock()
			for _, p := range t.Partitions {
				partitions = append(partitions, partition.ID{Topic: *t.Topic, Partition: p.Partition})
			}
		}
		if len(errs) == 0 {
			c.count(topics)
			return nil
		}
		// A topic that was just made is not known to every broker yet.
		if unknown {
			missing++
		}
		return &refusal{errors.Join(errs...), refused || missing >= 4}
	})
	return partitions, err
}

// mayRead reports whether the cluster would let a topic be read. Without the
// right to read, one may still be allowed to see the topic and to join the
// group, and would hear of it only from the first fetch. It is true also where
// the cluster does not say: before Kafka 2.3, and where the answer leaves out
// even the right to see the topic, which it proves.
func mayRead(t kmsg.MetadataResponseTopic) bool {
	may := func(op kmsg.ACLOperation) bool { return t.AuthorizedOperations&(1<<op) != 0 }
	return t.AuthorizedOperations < 0 || may(kmsg.ACLOperationRead) || !may(kmsg.ACLOperationDescribe)
}

// advice is what to do about a topic, where that is not plain.
func advice(err error) string {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return " Create it, or change Source.Topics."
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return " Reading needs the rights Describe and Read."
	}
	return ""
}

// metadata asks the cluster for topics, without making them.
func (c *Consumer) metadata(ctx context.Context, topics []string) ([]kmsg.MetadataResponseTopic, error) {
	return topicMetadata(ctx, c.client, topics)
}

func topicMetadata(ctx context.Context, cl *kgo.Client, topics []string) ([]kmsg.MetadataResponseTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	found := resp.Topics[:0]
	for _, t := range resp.Topics {
		if t.Topic != nil {
			found = append(found, t)
		}
	}
	return found, nil
}

// A refusal is an answer of which is known whether asking again makes sense.
type refusal struct {
	err   error
	final bool
}

func (r *refusal) Error() string { return r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

// insist does something until it succeeds, is refused for good, or ctx ends. A
// cluster that cannot be reached may be about to start; a wrong password does
// not become right.
func (c *Consumer) insist(ctx context.Context, doing string, f func() error) error {
	var last error
	for wait := fetchMaxWait; ; wait = min(2*wait, 2*time.Second) {
		err := f()
		if err == nil {
			c.clear("start")
			return nil
		}
		if ctx.Err() != nil {
			if why, ok := c.network.last(func(breakdown) bool { return true }); ok {
				last = why
			} else if last == nil {
				last = c.lastProblem()
			}
			return &StartFailure{Doing: doing, Err: context.Cause(ctx), Last: last}
		}
		if final(err) {
			if r := (*refusal)(nil); errors.As(err, &r) {
				err = r.err
			}
			return &StartFailure{Doing: doing, Err: c.network.of(err)}
		}
		last = err
		if !c.disconnected() {
			c.raise("start", c.network.of(err))
		}
		pause(ctx, wait)
	}
}

// final reports whether an error will stay whatever is done: a broker said no,
// or the two sides do not agree on TLS. Not being able to connect is not final.
func final(err error) bool {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r.final
	}
	if k := (*kerr.Error)(nil); errors.As(err, &k) {
		for _, passing := range []error{
			kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.MemberIDRequired, kerr.RebalanceInProgress,
			kerr.FencedMemberEpoch, kerr.StaleMemberEpoch, kerr.UnknownServerError,
			// A static member that crashed is held until its session is over.
			kerr.UnreleasedInstanceID,
		} {
			if errors.Is(err, passing) {
				return false
			}
		}
		return !k.Retriable
	}
	return isTLS(err)
}

// isTLS reports whether a connection failed because the two sides do not agree
// on TLS, or do not trust each other.
func isTLS(err error) bool {
	if op := (*net.OpError)(nil); errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error") {
		return true // an alert of the TLS layer
	}
	msg := err.Error()
	for _, sign := range []string{"tls: ", "x509: ", "tls alert record"} {
		if strings.Contains(msg, sign) {
			return true
		}
	}
	return false
}
