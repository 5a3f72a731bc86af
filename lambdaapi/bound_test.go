package lambdaapi

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed429fd032/esm"
)

// TestAStoreHasSoManyMappingsAtMost, whoever makes them, and however many at once.
func TestAStoreHasSoManyMappingsAtMost(t *testing.T) {
	const most, tries = 5, 20
	store := &Memory{}
	var hosts [2]*Host
	for i := range hosts {
		hosts[i] = newHost(t, func(c *Config) { c.Store, c.MaxMappings = store, most })
	}
	topic := func(i int) string { return mapping(fields{"Topics": []string{fmt.Sprintf("orders-%d", i)}}) }
	var made atomic.Int64
	var uuid atomic.Value
	var all sync.WaitGroup
	for i := range tries {
		all.Go(func() {
			is := ask(t, hosts[i%2], "POST", mappings, topic(i))
			switch {
			case is.status == 202:
				made.Add(1)
				uuid.Store(is.body["UUID"])
			case is.status != 400 || is.code != "InvalidParameterValueException" || !strings.Contains(is.text(), "5 event source mappings") || !strings.Contains(is.text(), "Config.MaxMappings"):
				t.Errorf("%d %s: %s", is.status, is.code, is.text())
			}
		})
	}
	all.Wait()
	if is, _ := store.All(t.Context()); made.Load() != most || len(is) != most {
		t.Errorf("%d were made, and %d are stored", made.Load(), len(is))
	}
	one, _ := uuid.Load().(string)
	if is := ask(t, hosts[0], "PUT", mappings+one, `{"BatchSize": 7}`); is.status != 202 {
		t.Errorf("an update: %d %s", is.status, is.text())
	}
	// One that is being deleted may still run.
	if is := ask(t, hosts[0], "DELETE", mappings+one, ""); is.status != 202 {
		t.Errorf("a delete: %d %s", is.status, is.text())
	}
	if is := ask(t, hosts[1], "POST", mappings, topic(tries)); is.status != 400 {
		t.Errorf("while one is deleted: %d %s", is.status, is.text())
	}
	if err := store.Change(t.Context(), func(map[string]Record) (Change, error) { return Change{UUID: one}, nil }); err != nil {
		t.Fatal(err)
	}
	if is := ask(t, hosts[1], "POST", mappings, topic(tries)); is.status != 202 {
		t.Errorf("when it is deleted: %d %s", is.status, is.text())
	}
	// A client that did not hear the answer asks again, and hears which one it has made.
	if is := ask(t, hosts[0], "POST", mappings, topic(tries)); is.status != 409 {
		t.Errorf("the same one again: %d %s", is.status, is.text())
	}
}

// TestTheBoundOfMappings is 100 by default, and can be lifted.
func TestTheBoundOfMappings(t *testing.T) {
	for _, tt := range []struct{ is, most int }{{0, 100}, {1, 1}, {esm.Unlimited, 101}} {
		h := newHost(t, func(c *Config) { c.MaxMappings = tt.is })
		for i := range 101 {
			is := ask(t, h, "POST", mappings, mapping(fields{"Topics": []string{fmt.Sprintf("orders-%d", i)}}))
			if (is.status == 202) != (i < tt.most) {
				t.Fatalf("bound %d, mapping %d: %d %s", tt.is, i+1, is.status, is.text())
			}
		}
	}
	if _, err := NewHost(Config{Store: &Memory{}, Functions: newHost(t, nil).config.Functions, MaxMappings: -2}); err == nil || !strings.Contains(err.Error(), "Config.MaxMappings is -2") {
		t.Errorf("it says %v", err)
	}
}
