package lambdaapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
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
			var mu sync.Mutex
			wrote := map[int64]int{} // how often each number was acknowledged
			for host, s := range all {
				writers.Go(func() {
					for range each {
						var number int64
						err := s.Change(t.Context(), func(all map[string]Record) (Change, error) {
							r := all[uuid]
							r.UUID, r.Replaced = uuid, r.Replaced+1
							number = r.Replaced
							r.LastModified = time.Unix(int64(r.Replaced), 0).UTC()
							r.Config = configOf(fmt.Sprint("host-", host))
							return Change{uuid, &r}, nil
						})
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						wrote[number]++
						mu.Unlock()
						if err := s.Change(t.Context(), func(map[string]Record) (Change, error) { return Change{}, refused }); !errors.Is(err, refused) {
							t.Errorf("a change that is refused: %v", err)
						}
					}
				})
			}
			writers.Wait()
			for number, times := range wrote {
				if times != 1 {
					t.Errorf("the change %d was acknowledged %d times", number, times)
				}
			}
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

// put writes a mapping.
func put(t *testing.T, s Store, r Record) error {
	t.Helper()
	return s.Change(t.Context(), func(map[string]Record) (Change, error) { return Change{r.UUID, &r}, nil })
}

// TestATopicThatWasMadeAnew is not gone by, and not written to, by who read the old one.
func TestATopicThatWasMadeAnew(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	seeds := kgo.SeedBrokers(k.ListenAddrs()...)
	open := func() *Topic {
		is, err := OpenTopic(t.Context(), "mappings", seeds)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(is.Close)
		return is
	}
	old := open()
	for range 3 {
		if err := put(t, old, Record{UUID: newUUID(), Config: configOf("billing")}); err != nil {
			t.Fatal(err)
		}
	}
	cl, err := kgo.NewClient(seeds)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).DeleteTopics(t.Context(), "mappings"); err != nil {
		t.Fatal(err)
	}
	fresh := open()
	for range 5 { // it gets longer than the old one was
		if err := put(t, fresh, Record{UUID: newUUID(), Config: configOf("billing")}); err != nil {
			t.Fatal(err)
		}
		if all, err := old.All(t.Context()); err == nil || !strings.Contains(err.Error(), "was made anew") {
			t.Fatalf("%d mappings: %v", len(all), err)
		}
		if err := put(t, old, Record{UUID: newUUID(), Config: configOf("billing")}); err == nil {
			t.Fatal("it was written to")
		}
	}
	if all, err := fresh.All(t.Context()); err != nil || len(all) != 5 {
		t.Errorf("%d mappings: %v", len(all), err)
	}
}

// TestATopicThatWillNotDo is refused, and why is said.
func TestATopicThatWillNotDo(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	seeds := kgo.SeedBrokers(k.ListenAddrs()...)
	cl, err := kgo.NewClient(seeds)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	for name, tt := range map[string]struct {
		partitions int32
		policy     string
		says       string
	}{
		"two":     {2, "compact", "has 2 partitions and must have one"},
		"deletes": {1, "delete", "has cleanup.policy=delete, which throws mappings away"},
		"both":    {1, "compact,delete", "has cleanup.policy=compact,delete, which throws mappings away"},
		"good":    {1, "compact", ""},
	} {
		if _, err := admin.CreateTopic(t.Context(), tt.partitions, 1, map[string]*string{"cleanup.policy": &tt.policy}, name); err != nil {
			t.Fatal(err)
		}
		is, err := OpenTopic(t.Context(), name, seeds)
		if err == nil {
			is.Close()
		}
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhatOthersWroteIntoATopic is the business of that mapping alone, and is kept.
func TestWhatOthersWroteIntoATopic(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	seeds := kgo.SeedBrokers(k.ListenAddrs()...)
	is, err := OpenTopic(t.Context(), "mappings", seeds)
	if err != nil {
		t.Fatal(err)
	}
	defer is.Close()
	good := Record{UUID: newUUID(), Config: configOf("billing")}
	if err := put(t, is, good); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(seeds, kgo.DefaultProduceTopic("mappings"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for key, value := range map[string]string{"nonsense": "{", "text": `"a"`, "later": `{"UUID": "later", "Ghost": 1}`, "": "7"} {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Key: []byte(key), Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	all, err := is.All(t.Context())
	if err != nil || len(all) != 5 {
		t.Fatalf("%d mappings: %v", len(all), err)
	}
	for uuid, r := range all {
		if (r.Unreadable() == nil) != (uuid == good.UUID) || r.UUID != uuid {
			t.Errorf("%q: %v", uuid, r.Unreadable())
		}
	}
	if err := is.Change(t.Context(), func(map[string]Record) (Change, error) { return Change{UUID: "nonsense"}, nil }); err != nil {
		t.Error(err)
	}
	if all, err := is.All(t.Context()); err != nil || len(all) != 4 {
		t.Errorf("%d mappings: %v", len(all), err)
	}
}

// TestAFileThatIsBroken is left as it is, and one mapping that is harms no other.
func TestAFileThatIsBroken(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(dir, "mappings.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for text, says := range map[string]string{
		"{\"Format\": 1,\n\"Mappings\": {}}\n {\"Format\": 1}\n": "behind its object of JSON, in line 3 (byte 32), there is more: ",
		`{"Format": 1}}`:             "in line 1 (byte 14)",
		`{"Format": 1} and a remark`: `there is more: "and a remark"`,
		"{\"Format\": 1}\x00":        "there is more",
		``:                           "cannot be read", `{`: "cannot be read", `[]`: "cannot be read", `{"Format": 2}`: "has the format 2", `{"Format": 1, "More": 1}`: "cannot be read",
	} {
		path := write(text)
		if _, err := OpenFile(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
		if is, err := os.ReadFile(path); err != nil || string(is) != text {
			t.Errorf("%q became %q", text, is)
		}
	}
	f, err := OpenFile(write(`{"Format": 1, "Mappings": {"later": {"Ghost": 1}}}`))
	if err != nil {
		t.Fatal(err)
	}
	good := Record{UUID: newUUID(), Config: configOf("billing")}
	if err := put(t, f, good); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := put(t, f, good); err == nil {
		t.Error("it is written to after it was closed")
	}
	if f, err = OpenFile(f.path); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := f.All(t.Context())
	later, is := all["later"], all[good.UUID]
	if text, _ := json.Marshal(later); err != nil || string(text) != `{"Ghost":1}` || later.Unreadable() == nil || later.UUID != "later" || is.Unreadable() != nil {
		t.Errorf("%s, %v, %v: %v", text, later.Unreadable(), is.Unreadable(), err)
	}
}

// TestWhatIsStoredIsNotJudgedByTheClock, nor by rules that came later: the mapping says so
// when it is to start.
func TestWhatIsStoredIsNotJudgedByTheClock(t *testing.T) {
	r := Record{UUID: newUUID(), Config: configOf("billing")}
	tomorrow, size := time.Now().Add(24*time.Hour), 20_000
	r.Config.StartingPosition, r.Config.StartingPositionTimestamp, r.Config.BatchSize = "AT_TIMESTAMP", &tomorrow, &size
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again Record
	if err := json.Unmarshal(text, &again); err != nil || again.Unreadable() != nil || *again.Config.BatchSize != size {
		t.Errorf("%v, %v", err, again.Unreadable())
	}
	if _, err := again.Config.Plan(r.UUID); err == nil || !strings.Contains(err.Error(), "10,000") || !strings.Contains(err.Error(), "future") {
		t.Errorf("it is taken: %v", err)
	}
}
