package lambdalocal_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
	"github.com/seed429fd032/esm/lambdalocal"
)

// BenchmarkProcess is invocations of a function that returns at once, in
// processes on this machine: what the way there and back costs, and what the
// function does with the event.
func BenchmarkProcess(b *testing.B) {
	for _, size := range []struct {
		name          string
		records, each int
	}{{"100B", 1, 10}, {"140KB", 100, 1000}} {
		b.Run(size.name, func(b *testing.B) {
			batch := &esm.Batch{ID: "b", Attempt: 1, Mapping: "bench"}
			for i := range size.records {
				batch.Records = append(batch.Records, &kgo.Record{Topic: "orders", Offset: int64(i), Value: make([]byte, size.each)})
			}
			p, err := lambdalocal.NewProcess([]string{lambdatest.Build(b, "function")}, lambdalocal.WithMaxConcurrency(4), lambdalocal.WithLogger(silent()))
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			if err := p.Invoke(b.Context(), batch); err != nil { // a cold start
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetParallelism(4)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := p.Invoke(b.Context(), batch); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "invocations/s")
		})
	}
}
