package lambdaapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/build"
)

// A direct asks a handler without a network.
type direct struct{ http.Handler }

func (d direct) Do(r *http.Request) (*http.Response, error) {
	r.RemoteAddr, r.Host = "127.0.0.1:1", r.URL.Host
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

// A book is a function that writes down what it got.
type book struct {
	mu    sync.Mutex
	next  map[int32]int64
	wrong []string
	calls int
	most  int
}

// Invoke writes down first: a call that is cut short has its records come again.
func (b *book) Invoke(ctx context.Context, batch *esm.Batch) error {
	b.write(batch)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

func (b *book) write(batch *esm.Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	b.most = max(b.most, len(batch.Records))
	for _, r := range batch.Records {
		if r.Offset != b.next[r.Partition] {
			b.wrong = append(b.wrong, fmt.Sprintf("%d/%d, not %d", r.Partition, r.Offset, b.next[r.Partition]))
		}
		b.next[r.Partition] = r.Offset + 1
	}
}

func (b *book) handled() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range b.next {
		n += at
	}
	return n
}

// TestAMappingLivesByTheAPI: created, scaled, disabled, enabled, given another function and
// deleted, with each record handled once and in order.
func TestAMappingLivesByTheAPI(t *testing.T) {
	if !build.VirtualTime {
		t.Skip("needs virtual time: go test -tags synctests")
	}
	synctest.Test(t, func(t *testing.T) {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 4))
		source := k.Source("orders", "billing")
		function := &book{next: map[int32]int64{}}
		h, err := NewHost(Config{
			Store: &Memory{}, Client: source.Client, Logger: quiet,
			Functions: func(_ context.Context, name FunctionName, _ bool) (esm.Invoker, []esm.Option, error) {
				if name.Name != "billing" {
					return nil, nil, ErrNoFunction
				}
				return function, nil, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = h.Run(ctx) })
		defer func() {
			end()
			running.Wait()
		}()
		c := lambda.New(lambda.Options{BaseEndpoint: aws.String("http://localhost:1"), Region: "us-east-1", Credentials: staticKeys(keys), HTTPClient: direct{h}})
		produced := int64(0)
		produce := func(n int) {
			for i := range n {
				k.ProduceTo("orders", int32(i%4), fmt.Sprint(i))
			}
			produced += int64(n)
		}
		is := func(uuid *string) string {
			got, err := c.GetEventSourceMapping(t.Context(), &lambda.GetEventSourceMappingInput{UUID: uuid})
			if err != nil {
				return err.Error()
			}
			return *got.State
		}
		settle := func() {
			time.Sleep(20 * time.Second)
			synctest.Wait()
		}
		produce(1000)
		in := input()
		in.SelfManagedEventSource.Endpoints["KAFKA_BOOTSTRAP_SERVERS"] = source.Brokers
		made, err := c.CreateEventSourceMapping(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		settle()
		if got := function.handled(); got != produced || is(made.UUID) != "Enabled" {
			t.Errorf("%d of %d, %s", got, produced, is(made.UUID))
		}
		update := func(in *lambda.UpdateEventSourceMappingInput) {
			in.UUID = made.UUID
			if _, err := c.UpdateEventSourceMapping(t.Context(), in); err != nil {
				t.Error(err)
			}
		}
		update(&lambda.UpdateEventSourceMappingInput{BatchSize: aws.Int32(7), ProvisionedPollerConfig: &types.ProvisionedPollerConfig{MinimumPollers: aws.Int32(4)}})
		function.mu.Lock()
		function.most = 0
		function.mu.Unlock()
		settle()
		produce(500)
		settle()
		if got := function.handled(); got != produced || function.most > 7 {
			t.Errorf("%d of %d, batches of %d", got, produced, function.most)
		}
		produce(2000)
		time.Sleep(time.Second) // calls are under way
		update(&lambda.UpdateEventSourceMappingInput{Enabled: aws.Bool(false)})
		settle()
		was := function.handled()
		produce(300)
		settle()
		if got := function.handled(); got != was || is(made.UUID) != "Disabled" {
			t.Errorf("%d were handled while it is %s", got-was, is(made.UUID))
		}
		shows(t, h, *made.UUID, "Disabled", "OK") // what it was when it ran
		update(&lambda.UpdateEventSourceMappingInput{Enabled: aws.Bool(true)})
		settle()
		if got := function.handled(); got != produced {
			t.Errorf("%d of %d", got, produced)
		}
		update(&lambda.UpdateEventSourceMappingInput{FunctionName: aws.String("billing:PROD")})
		produce(300)
		settle()
		if got := function.handled(); got != produced {
			t.Errorf("%d of %d", got, produced)
		}
		if _, err := c.DeleteEventSourceMapping(t.Context(), &lambda.DeleteEventSourceMappingInput{UUID: made.UUID}); err != nil {
			t.Error(err)
		}
		settle()
		_, err = c.GetEventSourceMapping(t.Context(), &lambda.GetEventSourceMappingInput{UUID: made.UUID})
		var none *types.ResourceNotFoundException
		if !errors.As(err, &none) {
			t.Errorf("deleted: %v", err)
		}
		produce(10)
		settle()
		if got := function.handled(); got != produced-10 || len(function.wrong) > 0 {
			t.Errorf("%d of %d; %v", got, produced-10, function.wrong)
		}
	})
}
