package scaling_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed429fd032/esm/scaling"
)

// What a Mapping would have done with other bounds. Its hook Sampled wrote the
// trace:
//
//	esm.Hooks{Sampled: func(d scaling.Decision) { json.NewEncoder(f).Encode(d) }}
func ExampleReplay() {
	var f bytes.Buffer
	sample := scaling.Sample{
		At: time.Unix(0, 0), Pollers: 1, Concurrency: 1, Least: 1, Most: 2, Slots: 1, ByteRate: scaling.Unlimited, MaxConcurrency: scaling.Unlimited,
		Completed: 50, BatchTime: time.Second, BatchRecords: 100, BatchBytes: 20_000,
	}
	for p := range int32(10) {
		sample.Lanes = append(sample.Lanes, scaling.Lane{Topic: "orders", Partition: p, Lag: 50_000, End: 50_000})
	}
	_ = json.NewEncoder(&f).Encode(scaling.New(scaling.Provisioned).Decide(sample))

	var trace []scaling.Sample
	for in := json.NewDecoder(strings.NewReader(f.String())); in.More(); {
		var d scaling.Decision
		if err := in.Decode(&d); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d -> %d: %s\n", d.From, d.To, d.Reason)
		d.Sample.Most = 10
		trace = append(trace, d.Sample)
	}
	for d := range scaling.Replay(slices.Values(trace), scaling.Provisioned) {
		fmt.Printf("%d -> %d: %s\n", d.From, d.To, d.Reason)
	}
	// Output:
	// 1 -> 2: a lag of 500000 records in 10 partitions, 100 a second a slot: 10 pollers would do
	// 1 -> 4: a lag of 500000 records in 10 partitions, 100 a second a slot: 10 pollers would do; 4 at most for now (measuring)
}
