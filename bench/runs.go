package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/bench/job"
)

// sizes are the sizes of the runs; flags make them smaller for a try.
type sizes struct {
	records      int64
	size         int
	stored       int
	partitions   int
	skewed       int64
	poisoned     int64
	cut          time.Duration
	poisonFor    time.Duration
	churnFor     time.Duration
	trickleFor   time.Duration
	firsts       int64
	singles      int
	idleParts    int
	trickleParts int
	idle         int64
}

const (
	poisonParts = 20
	tricklePer  = 10 * time.Millisecond // a record each
	singleParts = 8
	hotParts    = 1000
	hotBrokers  = 3
	warmUp      = 50 // single records that are not counted
	batchSize   = 100
	// window is how long the peers wait for a full batch, but not in run F. A full
	// batch drains fastest. In B to E a Mapping has its default, which is not to
	// wait.
	window = 500 * time.Millisecond
)

// A bench runs contenders against one Kafka.
type bench struct {
	sizes
	brokers  string
	topic    string
	into     string              // folder of programs
	commands map[string][]string // of each peer
	extra    job.Spec            // what is passed on to a Mapping
	filled   map[string]int64    // stored bytes of topics that are there
}

// fill writes a topic if this has not been done, and returns its name. each is how
// many records a partition has that is not hot.
func (b *bench) fill(ctx context.Context, suffix string, sh shape, each int64) (string, error) {
	name := fmt.Sprintf("%s%s-%d-%d", b.topic, suffix, sh.Partitions, sh.Stored)
	if _, ok := b.filled[name]; ok {
		return name, nil
	}
	program, err := build(ctx, "fill", b.into)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program[0], "-brokers", b.brokers, "-topic", name, "-partitions", strconv.Itoa(sh.Partitions),
		"-each", strconv.FormatInt(each, 10), "-hot", strconv.FormatInt(sh.Hot, 10), "-hots", strconv.Itoa(max(1, sh.Hots)),
		"-replicas", strconv.Itoa(max(1, sh.Replicas)), "-size", strconv.Itoa(sh.Size), "-batch", strconv.Itoa(max(1, sh.Stored)), "-codec", sh.Codec)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("fill %s: %w", name, err)
	}
	var f struct {
		Stored int64 `json:"stored_bytes"`
	}
	if err := json.Unmarshal(out, &f); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "topic %s: %d partitions, %d MiB\n", name, sh.Partitions, f.Stored>>20)
	b.filled[name] = f.Stored
	return name, nil
}

// spec is what all runs have in common.
func (b *bench) spec(c contender, run, topic string, sh shape) job.Spec {
	s := job.Spec{
		Brokers: b.brokers, Topic: topic, Run: run, Mode: c.mode, Partitions: sh.Partitions,
		Group: fmt.Sprintf("bench-%s-%s-%d", c.name, run, time.Now().UnixNano()),
		Batch: sh.Batch, Window: window, Function: sh.Function, Cut: sh.Limit,
		Poison: -1, Retry: time.Second, Retries: 3, Budget: b.extra.Budget,
	}
	if c.peer == "esm" {
		s.CPUProfile, s.HeapProfile = b.extra.CPUProfile, b.extra.HeapProfile
	}
	return s
}

// alone runs one process from its start to its end.
func (b *bench) alone(ctx context.Context, c contender, s job.Spec) (r result, err error) {
	p, err := start(ctx, b.commands[c.peer], s)
	if err != nil {
		return r, err
	}
	defer p.tell()
	if err := p.begun(ctx); err != nil {
		return r, err
	}
	if err := p.end(ctx, s.Cut+endLimit+2*time.Minute); err != nil {
		return r, err
	}
	r.Report = p.report
	r.CPUSeconds, r.PeakRSS = p.used()
	return r, nil
}

// results runs one contender in one run, or in all variants of it.
func (b *bench) results(ctx context.Context, run string, c contender) iter.Seq2[result, error] {
	if run == "M" {
		return b.memory(ctx, c)
	}
	return func(yield func(result, error) bool) { yield(b.run(ctx, run, c)) }
}

// run runs one contender in one run.
func (b *bench) run(ctx context.Context, run string, c contender) (result, error) {
	sh := b.shape(run)
	var r result
	var err error
	switch run {
	case "A", "B":
		r, err = b.drain(ctx, run, c, sh)
	case "C":
		r, err = b.skew(ctx, c, sh)
	case "D":
		r, err = b.poison(ctx, c, sh)
	case "E":
		r, err = b.churn(ctx, c, sh)
	case "F":
		r, err = b.trickle(ctx, c, sh)
	case "G", "H":
		r, err = b.firstSeconds(ctx, run, c, sh)
	case "J":
		r, err = b.single(ctx, c, sh)
	case "K":
		r, err = b.hot(ctx, c, sh)
	case "I":
		r, err = b.watchIdle(ctx, c, sh)
	}
	r.Shape = sh
	return r, err
}

// shape is the shape of a run.
func (b *bench) shape(run string) shape {
	sh := shape{Records: b.records, Size: b.size, Stored: b.stored, Partitions: b.partitions, Batch: batchSize, Limit: b.cut}
	switch run {
	case "A":
		sh.Function = 100 * time.Millisecond
	case "C":
		// Whole batches everywhere, so that no last one waits for more.
		each := b.skewed * 8 / 10 / int64(b.partitions) / batchSize * batchSize
		sh.Hot = b.skewed / 5
		sh.Records = each*int64(b.partitions-1) + sh.Hot
		sh.Function = 20 * time.Millisecond
	case "D":
		sh.Records, sh.Partitions, sh.Limit = b.poisoned, poisonParts, b.poisonFor
		sh.Function = 5 * time.Millisecond
	case "E":
		sh.Batch, sh.Function, sh.Limit = 10, 20*time.Millisecond, b.churnFor
	case "F":
		sh.Records, sh.Stored, sh.Partitions, sh.Limit = int64(b.trickleFor/tricklePer), 0, b.trickleParts, b.trickleFor
	case "G", "H":
		sh.Partitions = map[string]int{"G": 8, "H": 20}[run]
		sh.Records = b.firsts / int64(sh.Partitions) * int64(sh.Partitions)
	case "J":
		sh.Records, sh.Stored, sh.Partitions = int64(b.singles), 0, singleParts
	case "K":
		// A fifth of the partitions has four fifths of the records, in whole batches.
		sh.Partitions, sh.Hots, sh.Replicas, sh.Function = hotParts, hotParts/5, hotBrokers, 100*time.Millisecond
		cold := b.records / 5 / int64(hotParts-sh.Hots) / batchSize * batchSize
		sh.Hot = b.records * 4 / 5 / int64(sh.Hots) / batchSize * batchSize
		sh.Records = sh.Hot*int64(sh.Hots) + cold*int64(hotParts-sh.Hots)
	case "I":
		sh.Records, sh.Partitions, sh.Batch, sh.Function = b.idle, b.idleParts, 10, time.Second
	}
	return sh
}

func (b *bench) drain(ctx context.Context, run string, c contender, sh shape) (result, error) {
	topic, err := b.fill(ctx, "", sh, sh.Records/int64(sh.Partitions))
	if err != nil {
		return result{}, err
	}
	s := b.spec(c, run, topic, sh)
	s.Records = sh.Records
	r, err := b.alone(ctx, c, s)
	b.compareRead(&r, topic)
	return r, err
}

// compareRead compares what was read with what the topic has.
func (b *bench) compareRead(r *result, topic string) {
	if stored := b.filled[topic]; r.Extra["read_bytes"] > 0 && stored > 0 {
		r.Extra["read_over_stored"] = r.Extra["read_bytes"] / float64(stored)
	}
}

// hot drains a topic of many partitions, some of them hot, from several brokers.
func (b *bench) hot(ctx context.Context, c contender, sh shape) (result, error) {
	cold := (sh.Records - sh.Hot*int64(sh.Hots)) / int64(sh.Partitions-sh.Hots)
	topic, err := b.fill(ctx, "-hot", sh, cold)
	if err != nil {
		return result{}, err
	}
	s := b.spec(c, "K", topic, sh)
	s.Records, s.Detail = sh.Records, true
	r, err := b.alone(ctx, c, s)
	b.compareRead(&r, topic)
	if err == nil && !r.Cut {
		r.WaitedSeconds = longestWait(r.Partitions, sh.Function)
	}
	return r, err
}

// firstSeconds reads a topic from the first assignment on.
func (b *bench) firstSeconds(ctx context.Context, run string, c contender, sh shape) (result, error) {
	topic, err := b.fill(ctx, "-first", sh, sh.Records/int64(sh.Partitions))
	if err != nil {
		return result{}, err
	}
	s := b.spec(c, run, topic, sh)
	s.Records, s.Window = sh.Records, 0
	return b.alone(ctx, c, s)
}

func (b *bench) skew(ctx context.Context, c contender, sh shape) (result, error) {
	each := (sh.Records - sh.Hot) / int64(sh.Partitions-1)
	topic, err := b.fill(ctx, "-skewed", sh, each)
	if err != nil {
		return result{}, err
	}
	s := b.spec(c, "C", topic, sh)
	s.Records, s.Detail = sh.Records, true
	r, err := b.alone(ctx, c, s)
	if err == nil {
		r.Others = othersOf(r.Partitions, sh.Records-sh.Hot)
	}
	return r, err
}

func (b *bench) poison(ctx context.Context, c contender, sh shape) (result, error) {
	each := sh.Records / int64(sh.Partitions)
	topic, err := b.fill(ctx, "-poisoned", sh, each)
	if err != nil {
		return result{}, err
	}
	s := b.spec(c, "D", topic, sh)
	s.Poison, s.Detail = each/2, true
	r, err := b.alone(ctx, c, s)
	if err != nil {
		return r, err
	}
	committed, err := b.committed(ctx, s.Group, topic, sh.Partitions)
	if err != nil {
		return r, err
	}
	r.Poison = poisonOf(r.Partitions, committed, each, s.Poison, sh.Limit.Seconds())
	return r, nil
}

// committed are the committed offsets of a group, 0 where there is none.
func (b *bench) committed(ctx context.Context, group, topic string, partitions int) ([]int64, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(b.brokers, ",")...))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	offsets, err := kadm.NewClient(cl).FetchOffsets(ctx, group)
	if err != nil {
		return nil, err
	}
	at := make([]int64, partitions)
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topic && o.At > 0 {
			at[o.Partition] = o.At
		}
	})
	return at, nil
}

func (b *bench) watchIdle(ctx context.Context, c contender, sh shape) (result, error) {
	topic, err := b.fill(ctx, "-idle", sh, sh.Records/int64(sh.Partitions))
	if err != nil {
		return result{}, err
	}
	s := b.spec(c, "I", topic, sh)
	s.Records, s.Cut = sh.Records, 0
	return b.alone(ctx, c, s)
}

// buildPeers builds the programs of contenders. One that cannot be built here
// is left out, and that is said.
func (b *bench) buildPeers(ctx context.Context, cs []contender) error {
	for _, c := range append(cs[:len(cs):len(cs)], bare) {
		if _, ok := b.commands[c.peer]; ok {
			continue
		}
		command, err := build(ctx, filepath.Join("peers", c.peer), b.into)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", c.peer, err)
		}
		b.commands[c.peer] = command // nil if it is left out
	}
	return ctx.Err()
}
