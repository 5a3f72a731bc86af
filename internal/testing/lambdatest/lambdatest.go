// Package lambdatest has what the tests of all invokers of Lambda functions
// share: functions in Go, Python and Node, and what to expect of them.
package lambdatest

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// An Event is what a function gets, as encoding/json reads it: it tells null
// from empty, which events.KafkaEvent of aws-lambda-go does not.
type Event struct {
	Source    string              `json:"eventSource"`
	SourceARN string              `json:"eventSourceArn,omitempty"`
	Servers   string              `json:"bootstrapServers"`
	Records   map[string][]Record `json:"records"`
}

// A Record is one of an [Event].
type Record struct {
	Topic         string              `json:"topic"`
	Partition     int32               `json:"partition"`
	Offset        int64               `json:"offset"`
	Timestamp     int64               `json:"timestamp"`
	TimestampType string              `json:"timestampType"`
	Key           *string             `json:"key"`
	Value         *string             `json:"value"`
	Headers       []map[string][]int8 `json:"headers"`
}

// Batch makes a batch of the records.
func (e *Event) Batch() (*esm.Batch, error) {
	var b esm.Batch
	for name, records := range e.Records {
		for _, r := range records {
			if want := r.Topic + "-" + strconv.Itoa(int(r.Partition)); want != name {
				return nil, fmt.Errorf("a record of %s stands below %q", want, name)
			}
			k := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: time.UnixMilli(r.Timestamp)}
			var err error
			if k.Key, err = unbase64(r.Key); err != nil {
				return nil, err
			}
			if k.Value, err = unbase64(r.Value); err != nil {
				return nil, err
			}
			for _, h := range r.Headers {
				if len(h) != 1 {
					return nil, fmt.Errorf("a header has %d fields", len(h))
				}
				for key, signed := range h {
					value := make([]byte, len(signed))
					for i, c := range signed {
						value[i] = byte(c)
					}
					k.Headers = append(k.Headers, kgo.RecordHeader{Key: key, Value: value})
				}
			}
			b.Records = append(b.Records, k)
		}
	}
	return &b, nil
}

func unbase64(s *string) ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(*s)
	if b == nil {
		b = []byte{} // empty is not null
	}
	return b, err
}

// Decode makes a batch of an event.
func Decode(event []byte) (*esm.Batch, error) {
	var e Event
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, err
	}
	return e.Batch()
}

// Items is the answer of a function for records that failed, or the error that
// it fails with if the target said something that no function can say. A record
// that was not tried is one that failed: there is no other word for it.
func Items(b *esm.Batch, err error) (answer []byte, _ error) {
	if esm.Classify(context.Background(), err) != esm.OutcomePartial {
		return nil, err
	}
	type identifier struct {
		Partition string `json:"partition"`
		Offset    int64  `json:"offset"`
	}
	type item struct {
		Identifier identifier `json:"itemIdentifier"`
	}
	var said struct {
		Items []item `json:"batchItemFailures"`
	}
	add := func(tp esm.TopicPartition, offset int64) {
		said.Items = append(said.Items, item{identifier{fmt.Sprintf("%s-%d", tp.Topic, tp.Partition), offset}})
	}
	for _, f := range esm.FailuresOf(err) {
		add(f.TopicPartition, f.Offset)
		if !f.Stopped {
			continue
		}
		for _, r := range b.Records {
			if r.Topic == f.Topic && r.Partition == f.Partition && r.Offset > f.Offset {
				add(f.TopicPartition, r.Offset)
			}
		}
	}
	answer, err = json.Marshal(said)
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// Asked starts a server that the function in forward asks what to do, and which
// does what target says. It returns its URL.
func Asked(t testing.TB, target esm.InvokerFunc) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var order struct {
			Answer json.RawMessage `json:"answer,omitempty"`
			Err    string          `json:"error,omitempty"`
			Panic  string          `json:"panic,omitempty"`
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the function was killed
		}
		b, err := Decode(body)
		if err != nil {
			order.Err = err.Error()
		} else {
			func() {
				defer func() {
					if v := recover(); v != nil {
						order.Panic = fmt.Sprint(v)
					}
				}()
				if order.Answer, err = Items(b, target(r.Context(), b)); err != nil {
					order.Err = err.Error()
				}
			}()
		}
		_ = json.NewEncoder(w).Encode(order) // the function may have been killed
	}))
	t.Cleanup(server.Close)
	return server.URL
}

var builds struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

// Build builds one of the functions in Go, once for all tests of a package, and
// returns its path. A package that calls it has a TestMain with [Clean].
func Build(t testing.TB, name string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if p := builds.paths[name]; p != "" {
		return p
	}
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "esm-functions-")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o755); err != nil { // another user may have to run them
			t.Fatal(err)
		}
		builds.dir, builds.paths = dir, map[string]string{}
	}
	path := filepath.Join(builds.dir, name)
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	out, err := exec.Command("go", "build", "-o", path, "github.com/seed429fd032/esm/internal/testing/lambdatest/"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	builds.paths[name] = path
	return path
}

// Clean removes what was built, after all tests.
func Clean() {
	builds.Lock()
	defer builds.Unlock()
	_ = os.RemoveAll(builds.dir) // "" is nothing
}

// Testdata is the folder with the functions in Python and Node.
func Testdata() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "testdata")
}

// A Sight is what a function remembers of an invocation.
type Sight struct {
	Request  string            `json:"request"`
	ARN      string            `json:"arn"`
	Custom   map[string]string `json:"custom"`
	Deadline bool              `json:"deadline"`
	PID      int               `json:"pid"`
	At       int64             `json:"at"` // nanoseconds of the clock
	Event    Event             `json:"event"`
}

// Seen reads what all processes of a function remember, in the order of time. A
// line that is being written, or whose process was killed then, is left out.
func Seen(t testing.TB, file string) (sights []Sight) {
	t.Helper()
	files, err := filepath.Glob(file + ".*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasSuffix(line, "\n") {
				continue
			}
			var s Sight
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			sights = append(sights, s)
		}
	}
	slices.SortStableFunc(sights, func(a, b Sight) int { return cmp.Compare(a.At, b.At) })
	return sights
}

// Tell makes a batch of one record that tells the function in function what to
// do, and more records after it.
func Tell(what string, more ...*kgo.Record) *esm.Batch {
	first := &kgo.Record{Topic: "orders", Partition: 3, Offset: 100, Timestamp: time.UnixMilli(1_700_000_000_123), Value: []byte(what)}
	return &esm.Batch{Records: append([]*kgo.Record{first}, more...), ID: "batch", Attempt: 1, Mapping: "tests"}
}
