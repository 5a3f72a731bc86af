package awsclients

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awsconfig"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/lambdaapi"
)

const (
	region     = "eu-central-1"
	account    = "123456789012"
	cluster    = "arn:aws:kafka:" + region + ":" + account + ":cluster/stock/0a1b2c3d-1"
	partitions = 4
)

// Each topic is there in each Kafka of these tests.
var topics = []string{"orders", "invoices", "stock", "returns"}

// The two keys that a host of these tests knows.
var (
	lasting = aws.Credentials{AccessKeyID: "AKIDLASTING", SecretAccessKey: "wedding/+="}
	session = aws.Credentials{AccessKeyID: "ASIASESSION", SecretAccessKey: "baptism", SessionToken: "IQoJb3JpZ2lu/+=="}
)

// An endpoint is a Host that runs its mappings and serves the API, with what it needs.
type endpoint struct {
	kafka  *esmtest.Kafka
	host   *lambdaapi.Host
	url    string
	book   *book
	config lambdaapi.Config

	mu       sync.Mutex
	requests []request
}

// A request is one that the endpoint got, and the status of the answer.
type request struct {
	method, uri string
	query       map[string][]string
	signed      bool
	status      int
}

// startEndpoint serves a Host, whose requests have to be signed if keys are given.
func startEndpoint(t *testing.T, keys ...aws.Credentials) *endpoint {
	t.Helper()
	var opts []esmtest.KafkaOption
	for _, topic := range topics {
		opts = append(opts, esmtest.Topic(topic, partitions))
	}
	e := &endpoint{kafka: esmtest.NewKafka(t, opts...), book: newBook()}
	e.config = lambdaapi.Config{
		Store: &lambdaapi.Memory{}, Client: e.kafka.Source("orders", "").Client, Region: region, Account: account, Secrets: "kafka/",
		Functions: func(_ context.Context, name lambdaapi.FunctionName, _ bool) (esm.Invoker, []esm.Option, error) {
			if name.Name != "billing" {
				return nil, nil, lambdaapi.ErrNoFunction
			}
			return e.book, nil, nil
		},
		Needs: awsconfig.Host{
			Cluster: func(_ context.Context, arn string) (awsconfig.Brokers, error) {
				if arn != cluster {
					return awsconfig.Brokers{}, errors.New("there is no such cluster")
				}
				return awsconfig.Brokers{Plaintext: strings.Join(e.kafka.Brokers(), ",")}, nil
			},
			Secrets:     secrets{},
			Destination: func(context.Context, string) (esm.Destination, error) { return esm.Drop, nil },
		},
	}
	if len(keys) > 0 {
		e.config.Keys = func(_ context.Context, id string) (aws.Credentials, error) {
			for _, k := range keys {
				if k.AccessKeyID == id {
					return k, nil
				}
			}
			return aws.Credentials{}, errors.New("there is no such key")
		}
	}
	e.host = startHost(t, e.config)
	s := httptest.NewServer(e)
	t.Cleanup(s.Close)
	e.url = s.URL
	return e
}

// startHost makes a Host, and runs it until the end of the test.
func startHost(t *testing.T, c lambdaapi.Config) *lambdaapi.Host {
	t.Helper()
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	h, err := lambdaapi.NewHost(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- h.Run(ctx) }()
	t.Cleanup(func() {
		end()
		select {
		case err := <-ran:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("after 30 seconds the Host still runs")
		}
	})
	return h
}

// ServeHTTP hands a request to the Host, and notes it.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	noted := &statusWriter{ResponseWriter: w}
	e.host.ServeHTTP(noted, r)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = append(e.requests, request{r.Method, r.RequestURI, r.URL.Query(), r.Header.Get("Authorization") != "", noted.status})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// took are the requests from the first so many on.
func (e *endpoint) took(from int) []request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.requests[from:])
}

// secrets has one secret of a login.
type secrets struct{}

func (secrets) Secret(_ context.Context, uri string) ([]byte, error) {
	if awsconfig.SecretName(uri) != "kafka/billing" {
		return nil, errors.New("there is no such secret")
	}
	return []byte(`{"username": "billing", "password": "x"}`), nil
}

// A place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// A book is a function that writes down what it got.
type book struct {
	mu    sync.Mutex
	next  map[place]int64 // the offset after the last record
	wrong []string
	more  chan struct{} // closed when something is written down
}

func newBook() *book { return &book{next: map[place]int64{}, more: make(chan struct{})} }

func (b *book) Invoke(_ context.Context, batch *esm.Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range batch.Records {
		at := place{r.Topic, r.Partition}
		if r.Offset != b.next[at] {
			b.wrong = append(b.wrong, fmt.Sprintf("%v got the offset %d, and not %d", at, r.Offset, b.next[at]))
		}
		b.next[at] = r.Offset + 1
	}
	close(b.more)
	b.more = make(chan struct{})
	return nil
}

// handles waits until so many records of a topic were handled.
func (b *book) handles(t *testing.T, topic string, n int64) {
	t.Helper()
	over := time.After(30 * time.Second)
	for {
		b.mu.Lock()
		more := b.more
		b.mu.Unlock()
		if b.handled(topic) >= n {
			return
		}
		select {
		case <-more:
		case <-over:
			t.Fatalf("after 30 seconds %d of %d records were handled", b.handled(topic), n)
		}
	}
}

// handled is how many records of a topic were handled, if each was once.
func (b *book) handled(topic string) (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, next := range b.next {
		if at.topic == topic {
			n += next
		}
	}
	return n
}

// check fails the test unless each record that was produced was handled once and in order,
// by a group that has committed that.
func (b *book) check(t *testing.T, k *esmtest.Kafka, group, topic string, produced int64) {
	t.Helper()
	if got := b.handled(topic); got != produced {
		t.Errorf("%d records of %d were handled", got, produced)
	}
	b.mu.Lock()
	wrong, next := slices.Clone(b.wrong), maps.Clone(b.next)
	b.mu.Unlock()
	if len(wrong) > 0 {
		t.Errorf("%d times it was not the next record: %s", len(wrong), wrong[0])
	}
	for p := range int32(partitions) {
		if got, want := k.Committed(group, topic, p), next[place{topic, p}]; got != want {
			t.Errorf("the partition %d is committed up to %d, and not %d", p, got, want)
		}
	}
}

// produce writes so many records to each partition of a topic.
func (e *endpoint) produce(topic string, each int) (n int64) {
	values := make([]string, each)
	for p := range int32(partitions) {
		e.kafka.ProduceTo(topic, p, values...)
	}
	return int64(partitions * each)
}

// until asks, as a client has to, until something is so.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	over := time.Now().Add(30 * time.Second)
	for !is() {
		if time.Now().After(over) {
			t.Fatalf("after 30 seconds: not %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
