package lambdaapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awsconfig"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

const mappings = "/2015-03-31/event-source-mappings/"

// virtual runs a test in virtual time.
func virtual(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if !build.VirtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	synctest.Test(t, test)
}

// runs runs a Host until the test, or what it returns, ends it.
func runs(t *testing.T, h *Host) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(end)
	return end
}

// on is a mapping of this Kafka.
func on(source esm.Source, changes fields) string {
	is := fields{"SelfManagedEventSource": fields{"Endpoints": fields{"KAFKA_BOOTSTRAP_SERVERS": source.Brokers}}}
	for name, v := range changes {
		is[name] = v
	}
	return mapping(is)
}

// create makes a mapping and returns its UUID.
func create(t *testing.T, h *Host, body string) string {
	t.Helper()
	is := ask(t, h, "POST", mappings, body)
	if is.status != 202 || is.body["State"] != "Creating" {
		t.Fatalf("%d %v: %s", is.status, is.body["State"], is.text())
	}
	uuid, _ := is.body["UUID"].(string)
	return uuid
}

// state is what Get says of a mapping.
func state(t *testing.T, h *Host, uuid string) (state, result string) {
	t.Helper()
	is := ask(t, h, "GET", mappings+uuid, "")
	if is.status != 200 {
		return is.code, is.text()
	}
	state, _ = is.body["State"].(string)
	result, _ = is.body["LastProcessingResult"].(string)
	return state, result
}

// shows reports it if a mapping is in another state, or its result says something else.
func shows(t *testing.T, h *Host, uuid, wantState, says string) {
	t.Helper()
	if is, result := state(t, h, uuid); is != wantState || !strings.Contains(result, says) {
		t.Errorf("it is %s: %s; want %s: %s", is, result, wantState, says)
	}
}

// TestAMappingThatCannotStart says why, does not keep others from it, and starts when it can.
func TestAMappingThatCannotStart(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		k.Produce("orders", "a")
		source := k.Source("orders", "billing")
		var calls atomic.Int64
		var broken atomic.Bool
		var log bytes.Buffer
		h := newHost(t, func(c *Config) {
			c.Client, c.Logger = source.Client, slog.New(slog.NewTextHandler(&log, nil))
			c.Functions = func(context.Context, FunctionName, bool) (esm.Invoker, []esm.Option, error) {
				if broken.Load() {
					return nil, nil, errors.New("no connection to the function")
				}
				return esm.InvokerFunc(func(context.Context, *esm.Batch) error { calls.Add(1); return nil }), []esm.Option{esm.WithStartTimeout(10 * time.Second)}, nil
			}
		})
		end := runs(t, h)
		missing := create(t, h, on(source, fields{"Topics": []string{"shipments"}}))
		good := create(t, h, on(source, nil))
		time.Sleep(5 * time.Second)
		broken.Store(true)
		shows(t, h, good, "Enabled", "OK")
		if calls.Load() != 1 {
			t.Errorf("%d calls", calls.Load())
		}
		time.Sleep(10 * time.Second)
		shows(t, h, missing, "Enabled", "PROBLEM: ")
		if _, result := state(t, h, missing); !strings.Contains(result, "shipments") && !strings.Contains(result, "no connection") {
			t.Errorf("it says %s", result)
		}
		time.Sleep(2 * time.Minute)
		shows(t, h, missing, "Enabled", "no connection to the function")
		broken.Store(false)
		k.CreateTopic("shipments", 1)
		k.Produce("shipments", "b")
		time.Sleep(2 * time.Minute)
		shows(t, h, missing, "Enabled", "OK")
		if calls.Load() != 2 {
			t.Errorf("%d calls", calls.Load())
		}
		end()
		if n := strings.Count(log.String(), "a mapping cannot be started"); n == 0 || n > 3 {
			t.Errorf("the log says it %d times:\n%s", n, log.String())
		}
	})
}

// TestAStartIsGivenUp when the mapping is disabled or deleted meanwhile.
func TestAStartIsGivenUp(t *testing.T) {
	virtual(t, func(t *testing.T) {
		nowhere := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
		h := newHost(t, func(c *Config) { c.Client = []kgo.Opt{kgo.Dialer(nowhere)} })
		runs(t, h)
		uuid := create(t, h, mapping(nil))
		time.Sleep(3 * time.Second)
		shows(t, h, uuid, "Creating", "No records")
		began := time.Now()
		if is := ask(t, h, "PUT", mappings+uuid, `{"Enabled": false}`); is.body["State"] != "Disabling" {
			t.Errorf("%v", is.body)
		}
		for range 100 {
			if is, _ := state(t, h, uuid); is == "Disabled" {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		shows(t, h, uuid, "Disabled", "")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		ask(t, h, "PUT", mappings+uuid, `{"Enabled": true}`)
		time.Sleep(3 * time.Second)
		if is := ask(t, h, "DELETE", mappings+uuid, ""); is.status != 202 || is.body["State"] != "Deleting" {
			t.Errorf("%d %v", is.status, is.body)
		}
		time.Sleep(6 * time.Second)
		shows(t, h, uuid, "ResourceNotFoundException", "")
	})
}

// TestUpdatesReachTheMapping while it runs: it stays the same one, and what is cleared is as
// it was before.
func TestUpdatesReachTheMapping(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		source := k.Source("orders", "billing")
		var most, failing atomic.Int64
		var dropped atomic.Int64
		h := newHost(t, func(c *Config) {
			c.Client = source.Client
			c.Functions = func(context.Context, FunctionName, bool) (esm.Invoker, []esm.Option, error) {
				return esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
					most.Store(max(most.Load(), int64(len(b.Records))))
					if failing.Load() > 0 {
						failing.Add(-1)
						return errors.New("out of order")
					}
					return nil
				}), []esm.Option{esm.WithHooks(esm.Hooks{Discarded: func(*esm.Discard) { dropped.Add(1) }}), esm.WithBackoff(esm.Constant(time.Second))}, nil
			}
		})
		runs(t, h)
		uuid := create(t, h, on(source, nil))
		time.Sleep(5 * time.Second)
		m := h.Mapping(uuid)
		update := func(body string) {
			t.Helper()
			if is := ask(t, h, "PUT", mappings+uuid, body); is.status != 202 {
				t.Errorf("%d: %s", is.status, is.text())
			}
			time.Sleep(2 * time.Second)
			shows(t, h, uuid, "Enabled", "")
			if h.Mapping(uuid) != m {
				t.Error("it is another Mapping")
			}
		}
		update(`{"BatchSize": 3, "MaximumRetryAttempts": 1, "MaximumRecordAgeInSeconds": 60}`)
		failing.Store(2)
		for range 9 {
			k.Produce("orders", "a")
		}
		time.Sleep(10 * time.Second)
		if most.Load() != 3 || dropped.Load() != 3 {
			t.Errorf("batches of %d; %d records were thrown away", most.Load(), dropped.Load())
		}
		update(`{"BatchSize": 100, "MaximumRetryAttempts": -1, "MaximumRecordAgeInSeconds": -1}`)
		failing.Store(100)
		for range 9 {
			k.Produce("orders", "a")
		}
		time.Sleep(3 * time.Minute)
		if most.Load() < 4 || dropped.Load() != 3 || k.Committed(uuid, "orders", 0) != 18 {
			t.Errorf("batches of %d; %d records were thrown away; %d committed", most.Load(), dropped.Load(), k.Committed(uuid, "orders", 0))
		}
	})
}

// TestOnDemand: a mapping without bounds can be updated, and becomes a provisioned one by
// another Mapping.
func TestOnDemand(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		source := k.Source("orders", "billing")
		h := newHost(t, func(c *Config) {
			c.Client, c.Override = source.Client, []esm.Option{esm.WithPollerByteRate(esm.Unlimited)}
		})
		runs(t, h)
		uuid := create(t, h, on(source, fields{"ProvisionedPollerConfig": nil}))
		time.Sleep(5 * time.Second)
		m := h.Mapping(uuid)
		ask(t, h, "PUT", mappings+uuid, `{"BatchSize": 7}`)
		time.Sleep(5 * time.Second)
		shows(t, h, uuid, "Enabled", "No records processed")
		if m == nil || h.Mapping(uuid) != m {
			t.Error("a batch size takes another Mapping")
		}
		ask(t, h, "PUT", mappings+uuid, `{"ProvisionedPollerConfig": {"MinimumPollers": 3}}`)
		time.Sleep(5 * time.Second)
		shows(t, h, uuid, "Enabled", "No records processed")
		if is := h.Mapping(uuid); is == nil || is == m {
			t.Error("it is the same Mapping")
		}
		if all := h.Mappings(); len(all) != 1 || all[uuid] == nil {
			t.Errorf("%v run", all)
		}
	})
}

// TestWhatRunsGoesOn when the Store fails, or has a record that nobody can read.
func TestWhatRunsGoesOn(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		source := k.Source("orders", "billing")
		store := &moody{}
		var calls atomic.Int64
		var log bytes.Buffer
		h := newHost(t, func(c *Config) {
			c.Store, c.Client, c.Logger = store, source.Client, slog.New(slog.NewTextHandler(&log, nil))
			c.Functions = func(context.Context, FunctionName, bool) (esm.Invoker, []esm.Option, error) {
				return esm.InvokerFunc(func(context.Context, *esm.Batch) error { calls.Add(1); return nil }), nil, nil
			}
		})
		end := runs(t, h)
		uuid := create(t, h, on(source, nil))
		time.Sleep(5 * time.Second)
		store.fails.Store(true)
		if is := ask(t, h, "GET", mappings, ""); is.status != 500 || is.code != "ServiceException" || !strings.Contains(is.text(), "full") || is.body["Type"] != "Service" {
			t.Errorf("%d %s: %v", is.status, is.code, is.body)
		}
		time.Sleep(time.Minute)
		k.Produce("orders", "a")
		time.Sleep(5 * time.Second)
		store.fails.Store(false)
		time.Sleep(10 * time.Second)
		if calls.Load() != 1 {
			t.Errorf("%d calls", calls.Load())
		}
		m := h.Mapping(uuid)
		later := fmt.Sprintf(`{"UUID": %q, "Ghost": true}`, uuid)
		var r Record
		if err := json.Unmarshal([]byte(later), &r); err != nil || r.Unreadable() == nil {
			t.Fatalf("%v, %v", err, r.Unreadable())
		}
		if err := store.Change(t.Context(), func(map[string]Record) (Change, error) { return Change{uuid, &r}, nil }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		k.Produce("orders", "b")
		time.Sleep(5 * time.Second)
		shows(t, h, uuid, "Enabled", "PROBLEM: lambdaapi: the mapping that is stored cannot be read by this version")
		if calls.Load() != 2 || h.Mapping(uuid) != m {
			t.Errorf("%d calls; the same Mapping: %v", calls.Load(), h.Mapping(uuid) == m)
		}
		if is := ask(t, h, "PUT", mappings+uuid, `{"BatchSize": 7}`); is.status != 500 {
			t.Errorf("an update: %d %s", is.status, is.text())
		}
		all, _ := store.All(t.Context())
		is := all[uuid]
		if text, err := json.Marshal(is); string(text) != strings.ReplaceAll(later, " ", "") || err != nil {
			t.Errorf("it became %s: %v", text, err)
		}
		if is := ask(t, h, "DELETE", mappings+uuid, ""); is.status != 202 {
			t.Errorf("to delete it: %d %s", is.status, is.text())
		}
		time.Sleep(10 * time.Second)
		shows(t, h, uuid, "ResourceNotFoundException", "")
		if len(h.Mappings()) > 0 {
			t.Error("it runs")
		}
		end()
		if n := strings.Count(log.String(), "the mappings cannot be read"); n != 1 || !strings.Contains(log.String(), "can be read again") {
			t.Errorf("the log says it %d times:\n%s", n, log.String())
		}
	})
}

// A moody is a Memory that fails at times.
type moody struct {
	Memory
	fails atomic.Bool
}

func (m *moody) All(ctx context.Context) (map[string]Record, error) {
	if m.fails.Load() {
		return nil, errors.New("the disk is full")
	}
	return m.Memory.All(ctx)
}

// TestTwoHostsOfOneStore: each runs what it has the function of, and an update of one reaches
// the other.
func TestTwoHostsOfOneStore(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1), esmtest.Topic("bills", 1))
		source := k.Source("orders", "billing")
		store := &Memory{}
		host := func(function string) *Host {
			h := newHost(t, func(c *Config) {
				c.Store, c.Client, c.OtherHosts = store, source.Client, true
				c.Functions = func(_ context.Context, name FunctionName, _ bool) (esm.Invoker, []esm.Option, error) {
					if name.Name != function {
						return nil, nil, ErrNoFunction
					}
					return esm.InvokerFunc(does), nil, nil
				}
			})
			runs(t, h)
			return h
		}
		a, b := host("billing"), host("shipping")
		bills := create(t, a, on(source, nil))
		ships := create(t, a, on(source, fields{"FunctionName": "shipping", "Topics": []string{"bills"}}))
		time.Sleep(20 * time.Second)
		if a.Mapping(bills) == nil || a.Mapping(ships) != nil || b.Mapping(bills) != nil || b.Mapping(ships) == nil {
			t.Errorf("a runs %d, b %d", len(a.Mappings()), len(b.Mappings()))
		}
		shows(t, a, ships, "Enabled", "No records processed") // here
		shows(t, b, ships, "Enabled", "No records processed")
		ask(t, a, "PUT", mappings+ships, `{"Enabled": false}`)
		time.Sleep(20 * time.Second)
		if len(b.Mappings()) > 0 {
			t.Error("it runs")
		}
		shows(t, b, ships, "Disabled", "No records processed")
		ask(t, b, "DELETE", mappings+bills, "")
		time.Sleep(20 * time.Second)
		if len(a.Mappings()) > 0 {
			t.Error("it runs")
		}
		shows(t, a, bills, "ResourceNotFoundException", "")
	})
}

// TestAFunctionThatHaltsItsMapping has it tried again, and the API says why.
func TestAFunctionThatHaltsItsMapping(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		k.Produce("orders", "a")
		source := k.Source("orders", "billing")
		var calls atomic.Int64
		h := newHost(t, func(c *Config) {
			c.Client = source.Client
			c.Functions = func(context.Context, FunctionName, bool) (esm.Invoker, []esm.Option, error) {
				return esm.InvokerFunc(func(context.Context, *esm.Batch) error {
					if calls.Add(1) <= 6 {
						return esm.Halt(errors.New("the licence is over"))
					}
					return nil
				}), nil, nil
			}
		})
		runs(t, h)
		uuid := create(t, h, on(source, nil))
		time.Sleep(1500 * time.Millisecond)
		shows(t, h, uuid, "Enabled", "the licence is over")
		time.Sleep(30 * time.Second)
		if n := calls.Load(); n < 4 || n > 6 { // after 1, 2, 4, 8, 16 s
			t.Errorf("%d calls in half a minute", n)
		}
		shows(t, h, uuid, "Enabled", "the licence is over")
		time.Sleep(2 * time.Minute)
		shows(t, h, uuid, "Enabled", "OK")
		if calls.Load() != 7 {
			t.Errorf("%d calls", calls.Load())
		}
	})
}

// TestCarelessFunctions: what Functions does wrong is said, and ends nothing.
func TestCarelessFunctions(t *testing.T) {
	var none *careless
	for name, f := range map[string]func() (esm.Invoker, error){
		"it panicked: oh":  func() (esm.Invoker, error) { panic("oh") },
		"has no Invoker":   func() (esm.Invoker, error) { return nil, nil },
		"has no Invoker ":  func() (esm.Invoker, error) { return none, nil },
		"has no such file": func() (esm.Invoker, error) { return nil, errors.New("it has no such file") },
	} {
		h := newHost(t, func(c *Config) {
			c.Functions = func(context.Context, FunctionName, bool) (esm.Invoker, []esm.Option, error) {
				inv, err := f()
				return inv, nil, err
			}
		})
		is := ask(t, h, "POST", mappings, mapping(nil))
		if is.status != 500 || !strings.Contains(is.text(), strings.TrimSpace(name)) {
			t.Errorf("%s: %d %s", name, is.status, is.text())
		}
	}
}

// TestWhatDoesNotReturn holds up nobody else, neither other mappings nor the end of Run.
func TestWhatDoesNotReturn(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1), esmtest.Topic("bills", 1))
		source := k.Source("orders", "billing")
		over := make(chan struct{})
		var hangs atomic.Bool
		hang := func() {
			if hangs.Load() {
				<-over
			}
		}
		defer close(over)
		store := &slow{hang: hang}
		h := newHost(t, func(c *Config) {
			c.Store, c.Client, c.Logger = store, source.Client, slog.New(slowLog{slog.DiscardHandler, hang})
			c.Functions = func(_ context.Context, name FunctionName, _ bool) (esm.Invoker, []esm.Option, error) {
				if name.Name == "shipping" {
					hang()
				}
				return esm.InvokerFunc(does), nil, nil
			}
			c.Needs.Destination = func(context.Context, string) (esm.Destination, error) {
				hang()
				return esm.Drop, nil
			}
		})
		end := runs(t, h)
		bills := create(t, h, on(source, nil))
		ships := create(t, h, on(source, fields{"FunctionName": "shipping", "Topics": []string{"bills"}, "Enabled": false}))
		time.Sleep(5 * time.Second)
		hangs.Store(true)
		for name, body := range map[string]string{
			"Config.Functions did not return":        on(source, fields{"FunctionName": "shipping:PROD"}),
			"Host.Destination did not return":        on(source, fields{"FunctionName": "billing:A", "DestinationConfig": fields{"OnFailure": fields{"Destination": "kafka://failed"}}}),
			"lambdaapi: Store.Change did not return": on(source, fields{"FunctionName": "billing:B"}),
		} {
			store.stuck.Store(strings.Contains(name, "Store"))
			if is := ask(t, h, "POST", mappings, body); is.status < 400 || !strings.Contains(is.text(), name) {
				t.Errorf("%s: %d %s", name, is.status, is.text())
			}
		}
		store.stuck.Store(false)
		if is := ask(t, h, "PUT", mappings+ships, `{"Enabled": true}`); is.status != 500 {
			t.Errorf("it is enabled: %d", is.status)
		}
		if err := store.Change(t.Context(), func(all map[string]Record) (Change, error) { // by another host
			r, enabled := all[ships], true
			r.Config.Enabled, r.Version = &enabled, r.Version+1
			return Change{ships, &r}, nil
		}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		shows(t, h, ships, "Enabled", "Config.Functions did not return")
		ask(t, h, "PUT", mappings+bills, `{"BatchSize": 7}`)
		time.Sleep(5 * time.Second)
		shows(t, h, bills, "Enabled", "No records processed")
		store.stuck.Store(true)
		began := time.Now()
		end()
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("Run ended after %s", took)
		}
	})
}

// A slow is a Memory that does not return if it is stuck.
type slow struct {
	Memory
	stuck atomic.Bool
	hang  func()
}

func (s *slow) All(ctx context.Context) (map[string]Record, error) {
	if s.stuck.Load() {
		s.hang()
	}
	return s.Memory.All(ctx)
}

func (s *slow) Change(ctx context.Context, decide func(map[string]Record) (Change, error)) error {
	if s.stuck.Load() {
		s.hang()
	}
	return s.Memory.Change(ctx, decide)
}

type slowLog struct {
	slog.Handler
	hang func()
}

func (s slowLog) Enabled(context.Context, slog.Level) bool  { return true }
func (s slowLog) Handle(context.Context, slog.Record) error { s.hang(); return nil }
func (s slowLog) WithAttrs(attrs []slog.Attr) slog.Handler  { return s }
func (s slowLog) WithGroup(name string) slog.Handler        { return s }

type careless struct{}

func (*careless) Invoke(context.Context, *esm.Batch) error { return nil }

// TestWhatAHostNeeds is said when it is made.
func TestWhatAHostNeeds(t *testing.T) {
	functions := func(context.Context, FunctionName, bool) (esm.Invoker, []esm.Option, error) {
		return esm.InvokerFunc(does), nil, nil
	}
	var none *Memory
	for _, tt := range []struct {
		c    Config
		says string
	}{
		{Config{Functions: functions}, "Config.Store"},
		{Config{Store: none, Functions: functions}, "Config.Store"},
		{Config{Store: &Memory{}}, "Config.Functions"},
		{Config{Store: &Memory{}, Functions: functions, Region: "Frankfurt"}, "Config.Region"},
		{Config{Store: &Memory{}, Functions: functions, Account: "1"}, "Config.Account"},
		{Config{Store: &Memory{}, Functions: functions, Hostnames: []string{"mappings.example.com:9001"}}, "Config.Hostnames"},
		{Config{Store: &Memory{}, Functions: functions, Secrets: "arn:aws:secretsmanager:us-east-1:123456789012:secret:kafka/"}, "Config.Secrets"},
	} {
		if _, err := NewHost(tt.c); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("it says %v, want %s", err, tt.says)
		}
	}
	h := newHost(t, nil)
	ctx, end := context.WithCancel(t.Context())
	end()
	if err := h.Run(ctx); err != nil {
		t.Error(err)
	}
	if err := h.Run(ctx); err == nil {
		t.Error("it ran twice")
	}
}

// TestBrokersThatMayHaveTheIdentity of the host, by the ends of their names.
func TestBrokersThatMayHaveTheIdentity(t *testing.T) {
	h := newHost(t, func(c *Config) {
		c.IAMBrokers = []string{"", ".kafka.eu-central-1.amazonaws.com"}
		c.Needs.Credentials, c.Needs.Region = aws.AnonymousCredentials{}, "eu-central-1"
	})
	for server, may := range map[string]bool{
		"b-1.orders.kafka.eu-central-1.amazonaws.com:9098": true, "B-1.Orders.Kafka.EU-central-1.amazonaws.com:9098": true,
		"kafka.eu-central-1.amazonaws.com.evil.example.com:9098": false, "xkafka.eu-central-1.amazonaws.com:9098": false, "localhost:9098": false,
	} {
		servers := []string{"b-2.orders.kafka.eu-central-1.amazonaws.com:9098", server}
		is := ask(t, h, "POST", mappings, mapping(fields{"SelfManagedEventSource": fields{"Endpoints": fields{"KAFKA_BOOTSTRAP_SERVERS": servers}}, "Topics": []string{"orders-" + strings.ReplaceAll(server, ":", "-")}, "SourceAccessConfigurations": []fields{{"Type": "IAM_AUTH"}}}))
		if (is.status != 400 || !strings.Contains(is.text(), "IAMBrokers")) != may {
			t.Errorf("%s: %d %s", server, is.status, is.text())
		}
	}
}

// TestAnUnreadableMappingIsOnAPage, however many there are.
func TestAnUnreadableMappingIsOnAPage(t *testing.T) {
	h := newHost(t, nil)
	for range 3 {
		var r Record
		uuid := newUUID()
		if err := json.Unmarshal([]byte(`{"Ghost": 1}`), &r); err != nil {
			t.Fatal(err)
		}
		r.UUID = uuid
		if err := put(t, h.store, r); err != nil {
			t.Fatal(err)
		}
	}
	seen, marker := 0, ""
	for range 3 {
		is := ask(t, h, "GET", mappings+"?MaxItems=1&Marker="+url.QueryEscape(marker), "")
		page, _ := is.body["EventSourceMappings"].([]any)
		seen += len(page)
		marker, _ = is.body["NextMarker"].(string)
	}
	if seen != 3 || marker != "" {
		t.Errorf("%d of 3, and %q", seen, marker)
	}
}

// TestNoRequestNamesASecret where the host has no prefix for them.
func TestNoRequestNamesASecret(t *testing.T) {
	h := newHost(t, func(c *Config) { c.Secrets = "" })
	for _, uri := range []string{"kafka/login", "login"} {
		is := ask(t, h, "POST", mappings, mapping(fields{"SourceAccessConfigurations": []fields{{"Type": "BASIC_AUTH", "URI": uri}}}))
		if is.status != 400 || !strings.Contains(is.text(), "Config.Secrets") {
			t.Errorf("%d %s", is.status, is.text())
		}
	}
}

// TestNoAnswerHasASecret, whatever is made, listed, changed or wrong.
func TestNoAnswerHasASecret(t *testing.T) {
	var log bytes.Buffer
	h := newHost(t, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c.Needs.Secrets = awsconfig.SecretsFunc(func(context.Context, string) ([]byte, error) {
			return []byte(`{"username": "billing", "password": "wedding"}`), nil
		})
	})
	uuid := create(t, h, mapping(fields{"SourceAccessConfigurations": []fields{{"Type": "SASL_SCRAM_512_AUTH", "URI": "kafka/login"}}}))
	all, _ := h.store.All(t.Context())
	stored, _ := json.Marshal(all)
	text := string(stored) + log.String() + fmt.Sprintf("%+v", all)
	for _, r := range []reply{
		ask(t, h, "GET", mappings+uuid, ""), ask(t, h, "GET", mappings, ""), ask(t, h, "PUT", mappings+uuid, `{"BatchSize": 0}`),
		ask(t, h, "POST", mappings, mapping(fields{"Topics": []string{"bills"}, "SourceAccessConfigurations": []fields{{"Type": "CLIENT_CERTIFICATE_TLS_AUTH", "URI": "kafka/login"}}})),
	} {
		body, _ := json.Marshal(r.body)
		text += string(body)
	}
	if strings.Contains(text, "wedding") {
		t.Errorf("a secret is in %s", text)
	}
}

// TestAMappingIsThereUntilItsLastCallHasEnded, whichever host took it out of the Store.
func TestAMappingIsThereUntilItsLastCallHasEnded(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		k.Produce("orders", "a")
		source := k.Source("orders", "billing")
		store := &Memory{}
		var ended atomic.Bool
		h := newHost(t, func(c *Config) {
			c.Store, c.Client = store, source.Client
			c.Functions = func(context.Context, FunctionName, bool) (esm.Invoker, []esm.Option, error) {
				return esm.InvokerFunc(func(context.Context, *esm.Batch) error {
					time.Sleep(10 * time.Second)
					ended.Store(true)
					return nil
				}), nil, nil
			}
		})
		runs(t, h)
		uuid := create(t, h, on(source, nil))
		time.Sleep(3 * time.Second)
		if err := store.Change(t.Context(), func(map[string]Record) (Change, error) { return Change{UUID: uuid}, nil }); err != nil { // another host
			t.Fatal(err)
		}
		for !ended.Load() {
			shows(t, h, uuid, "Deleting", "")
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		shows(t, h, uuid, "ResourceNotFoundException", "")
	})
}

// TestWhatEndsByItselfIsNotAskedForEver while its record cannot be read.
func TestWhatEndsByItselfIsNotAskedForEver(t *testing.T) {
	virtual(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1))
		source := k.Source("orders", "billing")
		store := &Memory{}
		h := newHost(t, func(c *Config) {
			c.Store, c.Client = store, source.Client
			c.Functions = func(context.Context, FunctionName, bool) (esm.Invoker, []esm.Option, error) {
				return esm.InvokerFunc(func(context.Context, *esm.Batch) error { return esm.Halt(errors.New("the licence is over")) }), nil, nil
			}
		})
		runs(t, h)
		uuid := create(t, h, on(source, nil))
		time.Sleep(3 * time.Second)
		var r Record
		if err := json.Unmarshal([]byte(`{"Ghost": 1}`), &r); err != nil {
			t.Fatal(err)
		}
		r.UUID = uuid
		if err := put(t, store, r); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		k.Produce("orders", "a")
		time.Sleep(time.Hour) // which would not end
		shows(t, h, uuid, "Enabled", "PROBLEM")
		if len(h.Mappings()) > 0 {
			t.Error("it runs")
		}
	})
}

// TestAHostWithoutTheFunctionAsksForNothing that the mapping needs.
func TestAHostWithoutTheFunctionAsksForNothing(t *testing.T) {
	virtual(t, func(t *testing.T) {
		var asked atomic.Int64
		store := &Memory{}
		h := newHost(t, func(c *Config) {
			c.Store, c.OtherHosts = store, true
			c.Needs.Destination = func(context.Context, string) (esm.Destination, error) {
				asked.Add(1)
				return nil, errors.New("no such destination")
			}
		})
		runs(t, h)
		uuid := create(t, h, mapping(fields{"FunctionName": "shipping", "DestinationConfig": fields{"OnFailure": fields{"Destination": "kafka://failed"}}}))
		time.Sleep(5 * time.Minute)
		shows(t, h, uuid, "Enabled", "No records processed")
		if asked.Load() > 0 {
			t.Errorf("it asked %d times", asked.Load())
		}
	})
}
