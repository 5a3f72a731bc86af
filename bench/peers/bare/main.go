// Command bare reads a topic with nothing but the client: what no library over
// that client can be faster than.
package main

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/bench/job"
)

func main() {
	job.Main(func(ctx context.Context, j *job.Job) error {
		j.About.Versions = job.Versions("github.com/twmb/franz-go")
		j.About.Settings = []string{"all defaults, in a group, without commits: a loop over PollFetches that calls the function with what each partition had"}
		cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(j.Brokers, ",")...), kgo.ConsumeTopics(j.Topic),
			kgo.ConsumerGroup(j.Group), kgo.DisableAutoCommit(),
			kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { j.Assigned() }))
		if err != nil {
			return err
		}
		defer cl.Close()
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			for _, e := range fetches.Errors() {
				if ctx.Err() == nil {
					return e.Err
				}
			}
			fetches.EachPartition(func(p kgo.FetchTopicPartition) {
				if len(p.Records) > 0 {
					_ = job.Call(j, p.Records, func(r *kgo.Record) (int32, int64, []byte) { return r.Partition, r.Offset, r.Value })
				}
			})
		}
		return nil
	})
}
