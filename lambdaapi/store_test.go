package lambdaapi

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/awsconfig"
)

func configOf(function string) awsconfig.Config {
	return awsconfig.Config{
		FunctionName: function, Topics: []string{"orders"}, StartingPosition: "TRIM_HORIZON",
		SelfManagedEventSource: &awsconfig.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": {"localhost:9092"}}},
	}
}

// TestNoChangeIsLost in a Store, however many write at once.
func TestNoChangeIsLost(t *testing.T) {
	const hosts, each = 4, 15
	stores := map[string]func(t *testing.T) [hosts]Store{
		"memory": func(*testing.T) (all [hosts]Store) {
			one := &Memory{}
			for i := range all {
				all[i] = one
			}
			return all
		},
		"file": func(t *testing.T) (all [hosts]Store) {
			one, err := OpenFile(filepath.Join(t.TempDir(), "mappings.json"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = one.Close() })
			for i := range all {
				all[i] = one
			}
			return all
		},
		"topic": func(t *testing.T) (all [hosts]Store) {
			k, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(k.Close)
			for i := range all {
				one, err := OpenTopic(t.Context(), "mappings", kgo.SeedBrokers(k.ListenAddrs()...))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(one.Close)
				all[i] = one
			}
			return all
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			all := open(t)
			uuid := newUUID()
			refused := errors.New("refused")
			var writers sync.WaitGroup
			for host, s := range all {
				writers.Go(func() {
					for range each {
						err := s.Change(t.Context(), func(all map[string]Record) (Change, error) {
							r := all[uuid]
							r.UUID, r.Replaced = uuid, r.Replaced+1
							r.LastModified = time.Unix(int64(r.Replaced), 0).UTC()
							r.Config = configOf(fmt.Sprint("host-", host))
							return Change{uuid, &r}, nil
						})
						if err != nil {
							t.Error(err)
						}
						if err := s.Change(t.Context(), func(map[string]Record) (Change, error) { return Change{}, refused }); !errors.Is(err, refused) {
							t.Errorf("a change that is refused: %v", err)
						}
					}
				})
			}
			writers.Wait()
			for host, s := range all {
				is, err := s.All(t.Context())
				if err != nil || is[uuid].Replaced != hosts*each || !is[uuid].LastModified.Equal(time.Unix(hosts*each, 0)) {
					t.Errorf("host %d sees %d changes of %d: %v", host, is[uuid].Replaced, hosts*each, err)
				}
			}
			if err := all[0].Change(t.Context(), func(map[string]Record) (Change, error) { return Change{UUID: uuid}, nil }); err != nil {
				t.Error(err)
			}
			for _, s := range all {
				if is, err := s.All(t.Context()); err != nil || len(is) != 0 {
					t.Errorf("%d are left: %v", len(is), err)
				}
			}
		})
	}
}

// TestAFileIsReadAgain as it was written, and belongs to one process.
func TestAFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mappings.json")
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_795_600_800, 250_000_000).UTC()
	want := Record{UUID: newUUID(), FunctionArn: "arn", Created: at, LastModified: at, Reason: "USER_INITIATED", Config: configOf("billing")}
	if err := f.Change(t.Context(), func(map[string]Record) (Change, error) { return Change{want.UUID, &want}, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path); err == nil {
		t.Error("two have it")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	all, err := again.All(t.Context())
	if got := all[want.UUID]; err != nil || fmt.Sprintf("%+v", got.Config.SelfManagedEventSource) != fmt.Sprintf("%+v", want.Config.SelfManagedEventSource) || !got.Created.Equal(at) || got.FunctionArn != "arn" {
		t.Errorf("%+v: %v", got, err)
	}
}
