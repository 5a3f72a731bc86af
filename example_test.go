package esm_test

import (
	"context"
	"io"
	"log"
	"os"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// startKafka starts a Kafka in this process for an example to run against,
// with the topic "orders" and records with these values in it, and an empty topic "orders-out". Tests use
// esmtest.NewKafka, which stops by itself.
//
// Until it is stopped nothing is logged: an example shows what it prints.
func startKafka(partitions int32, values ...string) (brokers []string, stop func()) {
	log.SetOutput(io.Discard)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "orders"), kfake.SeedTopics(1, "orders-out"))
	if err != nil {
		panic(err)
	}
	brokers = cluster.ListenAddrs()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: "orders", Value: []byte(v)})
	}
	if err := client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		panic(err)
	}
	return brokers, func() {
		cluster.Close()
		log.SetOutput(os.Stderr)
	}
}
