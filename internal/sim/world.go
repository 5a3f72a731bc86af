package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// group is that of all members.
const group = "billing"

// A World is one run of a plan.
type World struct {
	t         testing.TB
	plan      Plan
	dice      dice
	kafka     *esmtest.Kafka
	addresses []string
	began     time.Time
	work      sync.WaitGroup // streams, and what users do

	mu       sync.Mutex // a leaf: what it guards is looked at and changed, and nothing waits
	ledger   *ledger
	members  []*member
	broken   []string
	sum      uint64               // of the trace
	log      io.Writer            // gets the trace, or nil
	down     map[int32]int        // faults that keep a broker away
	heard    map[string]time.Time // members of the group, by id
	unstable time.Time            // since when the group is not stable
	refused  map[Fault]bool       // faults that refuse requests, now
	faults   map[Kind]int         // what was done
	counts   map[string]int       // what happened
	breaks   int                  // faults that keep destinations from taking anything
	peaceful bool                 // all faults are over
}

// A Result is what came of a run.
type Result struct {
	Seed    uint64         `json:"seed"`
	Hash    string         `json:"hash"`
	Broken  []string       `json:"broken,omitempty"`
	Plan    Plan           `json:"plan"`
	Text    string         `json:"text"`
	Virtual string         `json:"virtual"`
	Ns      int64          `json:"virtualNs"`
	Faults  map[Kind]int   `json:"faults"`
	Counts  map[string]int `json:"counts"`
}

// Run runs a plan. It must be called in a bubble of testing/synctest.
func Run(t testing.TB, p Plan) Result {
	w := newWorld(t, p)
	w.run()
	took := time.Since(w.began)
	w.mu.Lock()
	defer w.mu.Unlock()
	return Result{
		Seed: p.Seed, Hash: fmt.Sprintf("%016x", w.sum), Broken: w.broken, Plan: p, Text: p.String(),
		Virtual: took.String(), Ns: int64(took), Faults: w.faults, Counts: w.counts,
	}
}

func newWorld(t testing.TB, p Plan) *World {
	w := &World{
		t: t, plan: p, dice: dice(mix(p.Seed)), began: time.Now(), ledger: newLedger(), down: map[int32]int{}, refused: map[Fault]bool{}, heard: map[string]time.Time{},
		faults: map[Kind]int{}, counts: map[string]int{},
	}
	if os.Getenv("ESM_SIM_LOG") != "" {
		w.log = os.Stderr
	}
	return w
}

func (w *World) run() {
	opts := []esmtest.KafkaOption{esmtest.Brokers(w.plan.Brokers)}
	for _, t := range w.plan.Topics {
		opts = append(opts, esmtest.Topic(t.Name, int(t.Partitions)))
	}
	w.kafka = esmtest.NewKafka(w.t, opts...)
	w.addresses = w.kafka.Brokers()
	w.lead()
	w.observe()
	for i, s := range w.plan.Streams {
		w.work.Go(func() { w.stream(i, s) })
	}
	for _, m := range w.plan.Members {
		w.work.Go(func() {
			time.Sleep(time.Duration(m.Joins))
			w.join(m.Name)
		})
	}
	ctx, over := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		w.watch(ctx)
	}()
	for _, f := range w.plan.Faults {
		time.Sleep(time.Until(w.began.Add(time.Duration(f.At))))
		w.work.Go(func() { w.fault(f) })
	}
	time.Sleep(time.Until(w.began.Add(time.Duration(w.plan.Length))))
	w.work.Wait()
	w.peace()
	w.settles()
	w.end()
	// A client that was closed while it opened a connection waits for that no longer than this.
	time.Sleep(15 * time.Second)
	over()
	<-watched
	synctest.Wait()
	w.judgeEnd()
}

// peace ends what goes on, and sees to it that there is a member.
func (w *World) peace() {
	w.mu.Lock()
	w.peaceful = true
	clear(w.down)
	w.mu.Unlock()
	w.trace("peace")
	for _, m := range w.all() {
		m.net.peace()
	}
	if len(w.alive()) == 0 {
		w.join("last")
	}
}

// mostUnsettled is how long it takes at most until all is handled when nothing is
// wrong any more: a session of 45 s that has to end, a rebalance, a back-off, and a few
// hundred records of one partition, each in a call of its own, of which some fail or hang.
const mostUnsettled = 10 * time.Minute

// settles waits until all that was written was handled, what was handled is committed, and
// all members are well.
func (w *World) settles() {
	why := "nobody looked"
	for end := time.Now().Add(mostUnsettled); time.Now().Before(end) && why != ""; time.Sleep(500 * time.Millisecond) {
		why = w.unsettled()
	}
	if why != "" {
		w.fails("end", "%s after all faults were over: %s", mostUnsettled, why)
	}
}

// unsettled is what is not well yet, "" if all is.
func (w *World) unsettled() string {
	if why := w.unhandled(); why != "" {
		return why
	}
	// The client does not leave while it joins, and that may take as long as the session
	// of a member that is gone.
	if info := w.kafka.Cluster().GroupInfo(group); info != nil && info.State != "Stable" {
		return "the group is " + info.State
	}
	for _, m := range w.alive() {
		if m.net.joins() {
			return m.String() + " joins"
		}
		if err := errors.Join(m.m.Ready(), m.m.Healthy()); err != nil {
			return fmt.Sprintf("%s: %v", m, err)
		}
	}
	return ""
}

// unhandled is what is not handled yet, or not committed.
func (w *World) unhandled() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.ledger.sorted() {
		last := p.lastDone()
		switch {
		case p.at.incarnation != w.ledger.incarnation[p.at.Topic]:
		case p.waiting() && !w.mayMiss(p.records[p.frontier()]):
			return fmt.Sprintf("%v is not handled", p.at.TopicPartition)
		case last >= p.gone && p.kept <= last && !w.recentlyRemade(p.at.Topic):
			return fmt.Sprintf("%v is committed up to %d, and offset %d was handled", p.at.TopicPartition, p.kept, last)
		}
	}
	return ""
}

// trace adds a line to the trace, with its time.
func (w *World) trace(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.traced(format, args...)
}

// traced is trace for who has the lock.
func (w *World) traced(format string, args ...any) {
	line := fmt.Sprintf("%d ", time.Since(w.began)) + fmt.Sprintf(format, args...)
	w.sum = hashOf(w.sum, line)
	if w.log != nil {
		_, _ = fmt.Fprintln(w.log, line) // for people
	}
}

// mostBroken is how much is kept of what is broken.
const mostBroken = 10

// breach notes a broken promise. The lock is held.
func (w *World) breach(judge, format string, args ...any) {
	s := fmt.Sprintf("%s: at %s: ", judge, time.Since(w.began)) + fmt.Sprintf(format, args...)
	w.traced("BROKEN %s", s)
	if len(w.broken) < mostBroken {
		w.broken = append(w.broken, s)
	}
}

// fails notes a broken promise.
func (w *World) fails(judge, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.breach(judge, format, args...)
}

func (w *World) count(what string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what] += n
}

// all are all members that ever were.
func (w *World) all() []*member {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.members)
}

// alive are those that were not killed and do not stop.
func (w *World) alive() (some []*member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.members {
		if !m.dead && !m.leaving {
			some = append(some, m)
		}
	}
	return some
}

// find is the newest member of that name that is alive, or nil.
func (w *World) find(name string) *member {
	alive := w.alive()
	for _, m := range slices.Backward(alive) {
		if m.name == name {
			return m
		}
	}
	return nil
}

func (w *World) brokerAt(address string) int32 { return int32(slices.Index(w.addresses, address)) }

func (w *World) addressOf(broker int32) string { return w.addresses[broker] }

func (w *World) isDown(broker int32) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down[broker] > 0
}

// stream writes what one producer has.
func (w *World) stream(number int, s Stream) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(w.addresses...), w.kafka.Dialer(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.UnknownTopicRetries(-1),
	}
	if s.Transactions > 0 {
		opts = append(opts, kgo.TransactionalID(fmt.Sprintf("stream-%d", number)))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		w.fails("world", "a producer: %v", err)
		return
	}
	defer client.Close()
	time.Sleep(time.Duration(s.From))
	d := func(what string, n int) uint64 { return w.dice.throw(what, uint64(number), uint64(n)) }
	for n := 0; n < s.Records; {
		some := min(1+int(d("burst", n)%20), s.Records-n)
		if s.Transactions > 0 {
			some = min(s.Transactions, s.Records-n)
		}
		w.write(client, s, d, n, some)
		n += some
		left := time.Until(w.began.Add(time.Duration(s.Until)))
		if rest := s.Records - n; rest > 0 && left > 0 {
			time.Sleep(time.Duration(d("pause", n) % uint64(2*int64(left)*int64(some)/int64(rest+some)+1)))
		}
	}
}

// write writes some records at once, and in one transaction if the stream has those.
func (w *World) write(client *kgo.Client, s Stream, d func(string, int) uint64, from, some int) {
	w.mu.Lock()
	partitions := w.partitions(s.Topic)
	incarnation := w.ledger.incarnation[s.Topic]
	var records []*kgo.Record
	entries := map[*kgo.Record]*entry{}
	for n := from; n < from+some; n++ {
		var key []byte
		partition := int32(d("partition", n) % uint64(partitions))
		if s.Keys > 0 {
			k := d("key", n) % uint64(s.Keys)
			key, partition = fmt.Appendf(nil, "key-%d", k), int32(mix(k)%uint64(partitions))
		}
		r, e := w.ledger.make(s, key, 8+int(d("size", n)%uint64(s.Size)), time.Now().Add(time.Duration(s.Skew)))
		r.Partition = partition
		records = append(records, r)
		entries[r] = e
	}
	w.mu.Unlock()
	ctx, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	if s.Transactions > 0 {
		if err := client.BeginTransaction(); err != nil {
			w.trace("begin a transaction: %v", err)
			return
		}
	}
	results := client.ProduceSync(ctx, records...)
	commit := d("commit", from)%3 != 0 && results.FirstErr() == nil
	unsure := false
	if s.Transactions > 0 {
		if err := client.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
			w.trace("end a transaction: %v", err)
			unsure = true // and so is its stream, for good
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range results {
		e := entries[r.Record]
		if s.Transactions > 0 {
			switch {
			case unsure:
				e.gone = true // whoever handles it may, and nobody has to
			case commit:
				e.fate = committed
			default:
				e.fate = aborted
			}
		}
		if r.Err != nil {
			w.traced("not written: %v", r.Err)
			continue
		}
		at := place{esm.TopicPartition{Topic: r.Record.Topic, Partition: r.Record.Partition}, incarnation}
		w.ledger.settle(e, at, r.Record.Offset)
		w.counts["records"]++
		if p := w.ledger.part(at); r.Record.Offset < p.asked && !e.done() && w.ledger.incarnation[s.Topic] == incarnation {
			w.breach("commit", "%v was asked to be committed up to %d, and offset %d was not done with", at.TopicPartition, p.asked, r.Record.Offset)
		}
	}
}

// topics are those that there are, as they are now.
func (w *World) topics() []Topic {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.plan.Topics // which is replaced, and not changed: see resize
}

// partitions is how many a topic has now. The lock is held.
func (w *World) partitions(topic string) int32 {
	for _, t := range w.plan.Topics {
		if t.Name == topic {
			return t.Partitions
		}
	}
	panic("sim: a topic that there is not: " + topic)
}

// logger is for the members.
func (w *World) logger(name string) *slog.Logger {
	if w.log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("member", name)
}
