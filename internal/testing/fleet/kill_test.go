package fleet_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/testing/build"
	"github.com/seed429fd032/esm/lambdaapi"
)

var seedFlag = flag.Uint64("seed", 0, "of the kills; 0 is a new one")

// seeded is the seed of a test, which is printed if it fails.
func seeded(t *testing.T) (seed uint64, rng *rand.Rand) {
	seed = *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1_000_000) + 1
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("-seed %d", seed)
		}
	})
	return seed, rand.New(rand.NewPCG(seed, 0))
}

// A killer kills writers.
type killer struct {
	t     *testing.T
	rng   *rand.Rand
	write time.Duration // from the decision on a change to its end, about
}

// within is a random part of a time.
func (k *killer) within(d time.Duration) time.Duration {
	return time.Duration(k.rng.Int64N(int64(d) + 1))
}

// kill starts a writer and kills it at a random moment, and most often in the middle of a
// change. It returns how many changes were acknowledged, which are most, or few more.
func (k *killer) kill(p part, most int, meanwhile func()) (acknowledged int) {
	k.t.Helper()
	c := start(k.t, p)
	c.hears(opening)
	after := k.rng.IntN(most + 1)
	if after > 0 {
		c.hears(opened)
		meanwhile()
	}
	for ; acknowledged < after; acknowledged++ {
		c.hears(deciding)
		began := time.Now()
		c.hears(done)
		k.write = (9*k.write + time.Since(began)) / 10
	}
	// The pauses are the random moment. Nothing waits for them.
	switch choice := k.rng.IntN(4); {
	case after == 0: // while it opens the Store, or later
		time.Sleep(k.within(20 * time.Millisecond))
	case choice == 0: // at once: what was acknowledged has to be there already
	case choice == 1:
		time.Sleep(k.within(3 * k.write))
	default:
		c.hears(deciding)
		time.Sleep(k.within(k.write))
	}
	c.kill()
	for l := range c.lines { // said before it was killed, and read now
		if strings.HasPrefix(l, done) {
			acknowledged++
		}
	}
	return acknowledged
}

// An after is what a Store can have after a kill: what was acknowledged, or that with the
// change that was under way.
type after struct {
	without, with map[string]lambdaapi.Record
}

// following is what can be after so many changes of a writer.
func following(was map[string]lambdaapi.Record, seed uint64, acknowledged int) after {
	for step := range acknowledged {
		was = made(was, change(seed, step, was))
	}
	return after{was, made(was, change(seed, acknowledged, was))}
}

// judge says which of the states is there.
func (a after) judge(t *testing.T, got map[string]lambdaapi.Record) (is map[string]lambdaapi.Record, ok bool) {
	t.Helper()
	text := texts(t, got)
	switch {
	case maps.Equal(text, texts(t, a.without)):
		return a.without, true
	case maps.Equal(text, texts(t, a.with)):
		return a.with, true
	}
	t.Errorf("to what was acknowledged, the Store%s", differ(text, texts(t, a.without)))
	return nil, false
}

// TestKilledWithAFile: whenever a host is killed, its file has each change that was
// acknowledged, and at most the one that was under way beside them; nobody has the lock.
// A kill is no power cut: whether the disk has it, this cannot show.
func TestKilledWithAFile(t *testing.T) {
	rounds := build.Volume(50, 15)
	seed, rng := seeded(t)
	path := filepath.Join(t.TempDir(), "mappings.json")
	is := map[string]lambdaapi.Record{}
	changes, underWay := 0, 0
	k := &killer{t: t, rng: rng, write: time.Millisecond}
	for round := range uint64(rounds) {
		p := part{Role: "writer", File: path, Seed: seed + round}
		stop := reading(t, path)
		acknowledged := k.kill(p, 20, func() {
			if f, err := lambdaapi.OpenFile(path); err == nil {
				_ = f.Close()
				t.Error("two processes have the file")
			}
		})
		stop()
		f, err := lambdaapi.OpenFile(path)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		all, err := f.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		can := following(is, p.Seed, acknowledged)
		var ok bool
		if is, ok = can.judge(t, all); !ok {
			t.Fatalf("round %d, after %d changes", round, acknowledged)
		}
		if maps.Equal(texts(t, is), texts(t, can.with)) {
			underWay++
		}
		changes += acknowledged
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	// What a kill leaves beside the file must not pile up.
	if there, err := os.ReadDir(filepath.Dir(path)); err != nil || len(there) > 3 {
		t.Errorf("beside the file and its lock, one may be left of a write, and there is %v: %v", there, err)
	}
	t.Logf("%d changes were acknowledged, %d of %d kills left one that was not", changes, underWay, rounds)
}

// reading reads a file again and again until stop: whenever it is read, it is whole, since
// that is what a crash at that moment would leave.
func reading(t *testing.T, path string) (stop func()) {
	if runtime.GOOS == "windows" {
		return func() {} // a file that is open cannot be replaced there
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
			}
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil && !json.Valid(text) {
				t.Errorf("the file has %d bytes that are no JSON while it is written", len(text))
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(200 * time.Microsecond) // the writer needs a processor, too
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// TestKilledWithATopic is the same with a topic. There, what was under way may be
// committed after the kill, but not after another host has written.
func TestKilledWithATopic(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *kafka) {
		rounds := build.Volume(50, 15)
		seed, rng := seeded(t)
		name := k.compacted(t)
		is := map[string]lambdaapi.Record{}
		changes, underWay, longest := 0, 0, time.Duration(0)
		killer := &killer{t: t, rng: rng, write: 10 * time.Millisecond}
		for round := range uint64(rounds) {
			p := part{Role: "writer", Topic: name, Brokers: k.brokers, Seed: seed + round}
			acknowledged := killer.kill(p, 5, func() {})
			can := following(is, p.Seed, acknowledged)
			s, err := lambdaapi.OpenTopic(t.Context(), name, kgo.SeedBrokers(k.brokers...))
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			all, err := s.All(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			seen, ok := can.judge(t, all)
			// A writer takes over from the one that was killed. It is asked first what it
			// would write, and takes over if that is something; then it writes nothing.
			began, asked := time.Now(), 0
			err = s.Change(t.Context(), func(written map[string]lambdaapi.Record) (lambdaapi.Change, error) {
				all = written
				if asked++; asked == 1 {
					return lambdaapi.Change{UUID: "nobody"}, nil
				}
				return lambdaapi.Change{}, nil
			})
			if err == nil && asked == 1 {
				t.Error("it did not take over")
			}
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			longest = max(longest, time.Since(began))
			if ok {
				is, ok = can.judge(t, all)
			}
			if !ok {
				t.Fatalf("round %d, after %d changes", round, acknowledged)
			}
			with := texts(t, can.with)
			if maps.Equal(texts(t, is), with) {
				underWay++
			} else if maps.Equal(texts(t, seen), with) {
				t.Errorf("round %d: a change was seen, and is gone", round)
			}
			changes += acknowledged
			s.Close()
		}
		raw, records, aborted := k.raw(t, name)
		if want := texts(t, is); !maps.Equal(raw, want) {
			t.Errorf("to what the Store has, the topic%s", differ(raw, want))
		}
		if k.real && records >= changes+underWay {
			t.Errorf("there are %d records of %d changes: nothing was compacted", records, changes+underWay)
		}
		if longest > 10*time.Second {
			t.Errorf("the next writer waited for %s", longest)
		}
		t.Logf("%d changes were acknowledged, of which %d records are left, and %d that were aborted; %d of %d kills left a change that was not acknowledged; the next writer waited for %s at most", changes, records, aborted, underWay, rounds, longest.Round(time.Millisecond))
	})
}
