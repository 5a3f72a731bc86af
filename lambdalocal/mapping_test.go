package lambdalocal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
	"github.com/seed429fd032/esm/lambdalocal"
)

// seenByPartition says which offsets a function got, in the order in which it
// did, by partition.
func seenByPartition(t *testing.T, file string) map[string][]int64 {
	t.Helper()
	offsets := map[string][]int64{}
	for _, s := range lambdatest.Seen(t, file) {
		for name, records := range s.Event.Records {
			for _, r := range records {
				offsets[name] = append(offsets[name], r.Offset)
			}
		}
	}
	return offsets
}

// TestMappingWithProcess: 100,000 records through processes of a function, each
// once and in order; and again, with one that is killed in the middle: nothing
// is lost, and first attempts stay in order.
func TestMappingWithProcess(t *testing.T) {
	const partitions, each = 10, 10_000
	if testing.Short() {
		t.Skip("-short")
	}
	k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
	for p := range int32(partitions) {
		records := make([]*kgo.Record, each)
		for i := range records {
			records[i] = esmtest.At(p, &kgo.Record{Topic: "orders", Value: []byte("sleep 2ms")})
		}
		k.ProduceRecords(records...)
	}
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("kill=%t", kill), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "seen")
			p := function(t, lambdalocal.WithMaxConcurrency(4), lambdalocal.WithEnv("FUNCTION_SEEN="+file))
			group := fmt.Sprintf("billing-%t", kill)
			m := esmtest.Start(t, k.Source("orders", group), p, esm.WithMaxConcurrency(4), esm.WithBackoff(esm.Constant(0)))
			if kill {
				until(t, "a tenth is handled", func() bool { return m.Stats().SettledEventCount > partitions*each/10 })
				files, err := filepath.Glob(file + ".*") // one for each process, with its number
				if err != nil || len(files) == 0 {
					t.Fatal(err, files)
				}
				pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(files[0]), "."))
				if err != nil {
					t.Fatal(err)
				}
				victim, err := os.FindProcess(pid)
				if err != nil {
					t.Fatal(err)
				}
				if err := victim.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			until(t, "all is handled", func() bool { return m.Stats().SettledEventCount == partitions*each })
			if kill {
				until(t, "the killed one is counted", func() bool { return p.Stats().Restarts == 1 })
			} else if s := p.Stats(); s.Restarts != 0 {
				t.Errorf("%+v", s)
			}
			for name, offsets := range seenByPartition(t, file) {
				next := int64(0) // the offset that comes for the first time
				repeats := 0
				for _, o := range offsets {
					switch {
					case o == next:
						next++
					case o > next:
						t.Fatalf("%s: offset %d comes before %d", name, o, next)
					default:
						repeats++
					}
				}
				if next != each {
					t.Errorf("%s: it ends at %d", name, next)
				}
				if repeats > 0 && !kill || repeats > 100 {
					t.Errorf("%s: %d records came twice", name, repeats)
				}
			}
		})
	}
}

// TestWaitingForAPlaceIsNoAttempt: one place for twelve partitions has most
// invocations wait for longer than one may take. None of them is charged for it,
// cut short, or makes the Mapping hold off; no poller is added that would only
// wait; and the process goes on to be the same one.
func TestWaitingForAPlaceIsNoAttempt(t *testing.T) {
	const partitions, each, took = 12, 2, 300 * time.Millisecond
	handler, err := lambdalocal.Handler(func() { <-time.After(took) })
	if err != nil {
		t.Fatal(err)
	}
	p := function(t, lambdalocal.WithMaxConcurrency(1))
	if err := p.Invoke(t.Context(), lambdatest.Tell("")); err != nil { // a cold start is not the subject
		t.Fatal(err)
	}
	for name, inv := range map[string]esm.Invoker{"handler": handler, "process": p} {
		t.Run(name, func(t *testing.T) {
			k := esmtest.NewKafka(t, esmtest.Topic("orders", partitions))
			for p := range int32(partitions) {
				for range each {
					k.ProduceRecords(esmtest.At(p, &kgo.Record{Topic: "orders", Value: []byte("sleep " + took.String())}))
				}
			}
			m := esmtest.Start(t, k.Source("orders", "billing"), inv, esm.WithBatchSize(1), esm.WithMinPollers(3),
				esm.WithInvokeTimeout(2*time.Second), esm.WithMaxRetries(0), esm.WithDestination(esm.Drop))
			until(t, "some wait", func() bool { return m.Stats().WaitingSlots > partitions/2 })
			until(t, "all is settled", func() bool { return m.Stats().SettledEventCount == partitions*each })
			if s := m.Stats(); s.DroppedEventCount > 0 || s.ThrottleCount > 0 || s.AbandonedCount > 0 || s.ProvisionedPollers != 3 {
				t.Errorf("%d dropped, %d throttles, %d abandoned, %d pollers", s.DroppedEventCount, s.ThrottleCount, s.AbandonedCount, s.ProvisionedPollers)
			}
		})
	}
	if s := p.Stats(); s.ColdStarts != 1 || s.Invocations != 1+partitions*each {
		t.Errorf("%+v", s)
	}
}
