package lambdaapi_test

import (
	"context"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/lambdaapi"
)

func bill(ctx context.Context, r *kgo.Record) error { return nil }

// A host of functions in Go, with its mappings in a file. In another terminal:
//
//	export AWS_ENDPOINT_URL_LAMBDA=http://127.0.0.1:9001
//	aws lambda create-event-source-mapping --function-name billing --topics orders ...
func ExampleHost() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, map[string]esm.Invoker{"billing": esm.Each(bill)}); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, functions map[string]esm.Invoker) error {
	store, err := lambdaapi.OpenFile("mappings.json")
	if err != nil {
		return err
	}
	defer store.Close()
	host, err := lambdaapi.NewHost(lambdaapi.Config{
		Store: store,
		Functions: func(_ context.Context, name lambdaapi.FunctionName, _ bool) (esm.Invoker, []esm.Option, error) {
			f, ok := functions[name.Name]
			if !ok {
				return nil, nil, lambdaapi.ErrNoFunction
			}
			return f, nil, nil
		},
	})
	if err != nil {
		return err
	}
	server := &http.Server{Addr: "127.0.0.1:9001", Handler: host, ReadTimeout: 10 * time.Second}
	go func() { log.Print(server.ListenAndServe()) }()
	defer server.Close()
	return host.Run(ctx) // until SIGTERM; then every mapping commits and leaves its group
}

// Several hosts share their mappings by a compacted topic, and check signatures.
func ExampleOpenTopic() {
	ctx := context.Background()
	store, err := lambdaapi.OpenTopic(ctx, "esm-mappings", kgo.SeedBrokers("localhost:9092"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	_, err = lambdaapi.NewHost(lambdaapi.Config{
		Store:      store,
		OtherHosts: true, // a function of another host is no mistake
		Keys: func(_ context.Context, accessKeyID string) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: accessKeyID, SecretAccessKey: "that of this key, from where it is kept"}, nil
		},
		Functions: func(context.Context, lambdaapi.FunctionName, bool) (esm.Invoker, []esm.Option, error) {
			return esm.Each(bill), nil, nil
		},
		Hostnames: []string{"mappings.example.com"},
	})
	if err != nil {
		log.Fatal(err)
	}
}
