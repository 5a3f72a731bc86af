package proof_test

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/testing/build"
)

// How this test was built.
const (
	virtualTime = build.VirtualTime
	raceEnabled = build.Race
)

// primeClient uses a lock of the Kafka client that all clients of a program
// share: that of the session of a client without topics. With the build tag it
// is a channel that is made when it is used first, and one made in a bubble
// ends the program when it is used in another. An assignment that comes when
// its only topic was purged is what uses it.
func primeClient() {
	if !virtualTime {
		return // no bubble has a client
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		panic(err)
	}
	defer cluster.Close()
	var once sync.Once
	assigned := make(chan struct{})
	var cl *kgo.Client
	cl, err = kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumerGroup("g"),
		kgo.AdjustFetchOffsetsFn(func(_ context.Context, o map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			cl.PurgeTopicsFromConsuming("t")
			return o, nil
		}),
		// The end of the session comes after it.
		kgo.OnPartitionsRevoked(func(context.Context, *kgo.Client, map[string][]int32) { once.Do(func() { close(assigned) }) }))
	if err != nil {
		panic(err)
	}
	defer cl.Close()
	cl.AddConsumeTopics("t") // now that cl is set
	select {
	case <-assigned:
	case <-time.After(time.Minute):
		panic("the client was assigned nothing")
	}
}
