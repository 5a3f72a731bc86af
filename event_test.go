package esm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
)

// TestEventSaysWhereItIsFrom: a function gets the brokers and the ARN of the
// Source, also from a copy of its batch, and a literal has none.
func TestEventSaysWhereItIsFrom(t *testing.T) {
	const arn = "arn:aws:kafka:eu-north-1:000011112222:cluster/parcels/0f0f"
	type event struct {
		EventSource, EventSourceArn, BootstrapServers string
		Records                                       map[string][]struct{ Offset int64 }
	}
	for _, of := range []string{"", arn} {
		k := esmtest.NewKafka(t, esmtest.Topic("orders", 1), esmtest.Brokers(2))
		source := k.Source("orders", "billing")
		source.ARN = of
		got := make(chan [2][]byte, 1)
		esmtest.Start(t, source, esm.InvokerFunc(func(_ context.Context, b *esm.Batch) error {
			got <- [2][]byte{b.AppendJSON([]byte("<")), b.With(b.Records).AppendJSON(nil)}
			return nil
		}))
		k.Produce("orders", "tea")
		texts := <-got
		text, found := strings.CutPrefix(string(texts[0]), "<")
		if !found || text != string(texts[1]) {
			t.Errorf("it does not append, or a copy differs: %s, %s", texts[0], texts[1])
		}
		var e event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		kind := "SelfManagedKafka"
		if of != "" {
			kind = "aws:kafka"
		}
		if e.EventSource != kind || e.EventSourceArn != of || e.BootstrapServers != strings.Join(source.Brokers, ",") || len(e.Records["orders-0"]) != 1 {
			t.Errorf("%s", text)
		}
	}
	literal := &esm.Batch{Records: []*kgo.Record{{Topic: "orders"}}}
	if text := string(literal.AppendJSON(nil)); !strings.HasPrefix(text, `{"eventSource":"SelfManagedKafka","bootstrapServers":"","records":{"orders-0":[`) {
		t.Error(text)
	}
}

func TestARNIsOne(t *testing.T) {
	for arn, good := range map[string]bool{
		"": true, "arn:aws:kafka:eu-north-1:000011112222:cluster/parcels/0f0f-1": true, "arn:aws-cn:kafka:cn-north-1:1:cluster/a/b": true,
		"parcels": false, "arn:aws:kafka": false, "kafka:arn:a:b:c:d": false,
	} {
		_, err := esm.New(esm.Source{Brokers: []string{"localhost"}, Topics: []string{"orders"}, Group: "billing", ARN: arn},
			esm.Each(func(context.Context, *kgo.Record) error { return nil }))
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "Source.ARN") {
			t.Errorf("%q: %v", arn, fmt.Sprint(err))
		}
	}
}
