package esmhttp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmhttp"
)

func ExampleNew() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Println(r.Header.Get("Content-Type"), string(body), err)
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	inv, err := esmhttp.New(server.URL,
		esmhttp.WithFormat(esmhttp.CloudEventBatch),
		esmhttp.WithEventType("order.placed"),
		esmhttp.WithJSONData(true),
		esmhttp.WithHeader("Authorization", "Bearer ..."),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer inv.Close()
	// A Mapping does this: esm.New(source, inv, esm.WithBatchWindow(100*time.Millisecond)).
	err = inv.Invoke(context.Background(), &esm.Batch{Records: []*kgo.Record{{Topic: "orders", Offset: 7, Timestamp: time.UnixMilli(0), Value: []byte(`{"cents":250}`)}}})
	fmt.Println(err)
	// Output:
	// application/cloudevents-batch+json [{"specversion":"1.0","id":"orders/0/7","source":"kafka:orders","type":"order.placed","time":"1970-01-01T00:00:00.000Z","kafkatopic":"orders","kafkapartition":0,"kafkaoffset":"7","datacontenttype":"application/json","data":{"cents":250}}] <nil>
	// esm: the function is throttled: esmhttp: 503 Service Unavailable
}
