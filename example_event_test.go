package esm_test

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// The event that AWS Lambda makes of records, for an Invoker of your own.
func ExampleBatch_AppendJSON() {
	b := &esm.Batch{Records: []*kgo.Record{{Topic: "orders", Partition: 3, Offset: 15, Timestamp: time.UnixMilli(1545084650987), Value: []byte("Hello"),
		Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte{1, 255}}}}}}
	fmt.Println(string(b.AppendJSON(nil)))
	// Output:
	// {"eventSource":"SelfManagedKafka","bootstrapServers":"","records":{"orders-3":[{"topic":"orders","partition":3,"offset":15,"timestamp":1545084650987,"timestampType":"CREATE_TIME","key":null,"value":"SGVsbG8=","headers":[{"trace":[1,-1]}]}]}}
}
