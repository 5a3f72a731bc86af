package fleet_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/lambdaapi"
)

// counted is the mapping that counters count in.
const counted = "00000000-0000-4000-8000-000000000001"

// count is the part of a counter: it adds one to a number of a mapping again and again.
func count(ctx context.Context, p *part, s lambdaapi.Store) error {
	for range p.Writes {
		var at int64
		tries := 0
		err := s.Change(ctx, func(all map[string]lambdaapi.Record) (lambdaapi.Change, error) {
			tries++
			r := change(0, 0, nil).Record
			if is, ok := all[counted]; ok {
				*r = is
			}
			r.UUID, r.Replaced = counted, r.Replaced+1
			at = r.Replaced
			return lambdaapi.Change{UUID: counted, Record: r}, nil
		})
		if err != nil {
			return err
		}
		say(done, at, tries)
		// What it has written it reads.
		if all, err := s.All(ctx); err != nil || all[counted].Replaced < at {
			return fmt.Errorf("after %d was written, %d is read: %w", at, all[counted].Replaced, err)
		}
	}
	return nil
}

// TestNoUpdateIsLost of four hosts that write one mapping at once. A fifth that reads sees
// what was acknowledged before it asked, and never less than before.
func TestNoUpdateIsLost(t *testing.T) {
	everyKafka(t, func(t *testing.T, k *kafka) {
		const hosts = 4
		each := either(k, 15, 250)
		name := k.compacted(t)
		s, err := lambdaapi.OpenTopic(t.Context(), name, kgo.SeedBrokers(k.brokers...))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var (
			mu     sync.Mutex
			by     = map[int64]int{} // which host wrote a number
			top    int64
			tries  int // with those that another host took over from
			events sync.WaitGroup
		)
		began := time.Now()
		for host := range hosts {
			c := start(t, part{Role: "counter", Topic: name, Brokers: k.brokers, Writes: each})
			events.Go(func() {
				last := int64(0)
				for l := range c.lines {
					l, ok := strings.CutPrefix(l, done+" ")
					if !ok {
						continue
					}
					var at int64
					var tried int
					_, err := fmt.Sscan(l, &at, &tried)
					mu.Lock()
					tries += tried
					if other, ok := by[at]; ok || err != nil || at <= last {
						t.Errorf("host %d wrote %d after %d; so did host %d: %v", host, at, last, other, err)
					}
					by[at], last, top = host, at, max(top, at)
					mu.Unlock()
				}
				if err := <-c.exited; err != nil {
					t.Errorf("host %d: %v", host, err)
				}
			})
		}
		over := make(chan struct{})
		go func() {
			events.Wait()
			close(over)
		}()
		read, reads := int64(0), 0
		for reading := true; reading; reads++ {
			select {
			case <-over:
				reading = false
			case <-s.Changed():
			case <-time.After(time.Second):
			}
			mu.Lock()
			least := max(top, read)
			mu.Unlock()
			all, err := s.All(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if read = all[counted].Replaced; read < least {
				t.Errorf("%d is read after %d was acknowledged or read", read, least)
			}
		}
		took := time.Since(began)
		if want := int64(hosts * each); read != want || len(by) != hosts*each || top != want {
			t.Errorf("of %d writes %d numbers were acknowledged, the highest is %d, and %d is there", want, len(by), top, read)
		}
		t.Logf("%d writes of %d hosts took %s, %s each, and were decided %d times; they were read %d times meanwhile", hosts*each, hosts, took.Round(time.Millisecond), (took / time.Duration(hosts*each)).Round(time.Microsecond), tries, reads)
	})
}
