package fleet_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/lambdaapi"
)

// statsPath is where a child tells the esm.Stats of its mappings, by UUID.
const statsPath = "/stats"

// serving begins the line with the URL of the API.
const serving = "serving"

// host is the part of a host: it serves the API and runs the mappings until it is to end,
// and then stops them well. Its function billing tells the judge of each call.
func host(ctx context.Context, p *part, s lambdaapi.Store) error {
	h, err := lambdaapi.NewHost(lambdaapi.Config{
		Store:  s,
		Client: []kgo.Opt{kgo.HeartbeatInterval(100 * time.Millisecond)}, // a rebalance takes about one
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level()})),
		Functions: func(_ context.Context, name lambdaapi.FunctionName, _ bool) (esm.Invoker, []esm.Option, error) {
			if name.Name != "billing" {
				return nil, nil, lambdaapi.ErrNoFunction
			}
			return esm.InvokerFunc(p.bill), nil, nil
		},
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc(statsPath, func(w http.ResponseWriter, _ *http.Request) {
		stats := map[string]esm.Stats{}
		for uuid, m := range h.Mappings() {
			stats[uuid] = m.Stats()
		}
		_ = json.NewEncoder(w).Encode(stats)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: within}
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(l) })
	defer running.Wait()
	defer server.Close()
	say(serving, "http://"+l.Addr().String())
	return h.Run(ctx)
}

// level is that of the log: what goes wrong, or all with ESM_TEST_LOG.
func level() slog.Level {
	if os.Getenv("ESM_TEST_LOG") != "" {
		return slog.LevelDebug
	}
	return slog.LevelError
}

// bill is a function. It takes a while, so that it is called when the host is to end.
func (p *part) bill(ctx context.Context, b *esm.Batch) error {
	c := call{Host: p.Name, Offsets: map[int32][]int64{}}
	for _, r := range b.Records {
		c.Offsets[r.Partition] = append(c.Offsets[r.Partition], r.Offset)
	}
	if err := p.tell(ctx, &c); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(5 * time.Millisecond):
	}
	c.Ends = true
	return p.tell(ctx, &c)
}

// tell tells the judge, and waits for its answer.
func (p *part) tell(ctx context.Context, c *call) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Calls, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the judge says %s", resp.Status)
	}
	return nil
}
