package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm/awsconfig"
	"github.com/seed429fd032/esm/lambdaapi"
)

// fewest and most are how many mappings a writer keeps, about.
const fewest, most = 20, 60

// change is the change that a writer makes in a step. It follows from the seed, the step
// and what there is, so that the parent knows it too, and the one that was under way when
// the writer was killed.
func change(seed uint64, step int, all map[string]lambdaapi.Record) lambdaapi.Change {
	rng := rand.New(rand.NewPCG(seed, uint64(step)))
	at := time.Unix(1_795_600_800+int64(step), int64(rng.IntN(1e9))).UTC()
	choice := rng.IntN(10)
	if n := len(all); n < fewest || n < most && choice < 4 {
		r := lambdaapi.Record{
			UUID:        fmt.Sprintf("%08x-%04x-4000-8000-%012x", rng.Uint32(), step&0xffff, rng.Uint64()&0xffff_ffff_ffff),
			FunctionArn: fmt.Sprintf("arn:aws:lambda:us-east-1:000000000000:function:f%d", step),
			Created:     at, LastModified: at, Reason: "USER_INITIATED",
			Config: awsconfig.Config{
				FunctionName: fmt.Sprint("f", step), Topics: []string{"orders"}, StartingPosition: "TRIM_HORIZON",
				SelfManagedEventSource: &awsconfig.SelfManagedEventSource{Endpoints: map[string][]string{"KAFKA_BOOTSTRAP_SERVERS": {"localhost:9092"}}},
				Tags:                   tags(rng, step),
			},
		}
		return lambdaapi.Change{UUID: r.UUID, Record: &r}
	}
	uuids := slices.Sorted(maps.Keys(all))
	uuid := uuids[rng.IntN(len(uuids))]
	if choice < 6 {
		return lambdaapi.Change{UUID: uuid}
	}
	// Many fields at once: none of them may come without the others.
	r := all[uuid]
	r.Version, r.Replaced, r.LastModified = r.Version+1, r.Replaced+2, at
	r.Config.BatchSize, r.Config.Tags = new(step%10_000+1), tags(rng, step)
	return lambdaapi.Change{UUID: uuid, Record: &r}
}

// tags make a mapping large.
func tags(rng *rand.Rand, step int) map[string]string {
	return map[string]string{"step": fmt.Sprint(step), "load": strings.Repeat("x", rng.IntN(200)), "more": strings.Repeat("y", 50+rng.IntN(200))}
}

// write is the part of a writer: it makes changes as fast as it can, and says which are made.
func write(ctx context.Context, p *part, s lambdaapi.Store) error {
	for step := 0; ctx.Err() == nil; step++ {
		err := s.Change(ctx, func(all map[string]lambdaapi.Record) (lambdaapi.Change, error) {
			c := change(p.Seed, step, all)
			say(deciding)
			return c, nil
		})
		if err != nil {
			return err
		}
		say(done, step)
	}
	return nil
}

// made is what there is after a change.
func made(all map[string]lambdaapi.Record, c lambdaapi.Change) map[string]lambdaapi.Record {
	all = maps.Clone(all)
	if c.Record == nil {
		delete(all, c.UUID)
	} else {
		all[c.UUID] = *c.Record
	}
	return all
}

// texts are mappings as they are stored, to compare them whole.
func texts(t *testing.T, all map[string]lambdaapi.Record) map[string]string {
	t.Helper()
	is := map[string]string{}
	for uuid, r := range all {
		if err := r.Unreadable(); err != nil {
			t.Errorf("mapping %s: %v", uuid, err)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		is[uuid] = string(text)
	}
	return is
}

// differ says how mappings differ from what is wanted.
func differ(got, want map[string]string) string {
	var b strings.Builder
	for _, uuid := range slices.Sorted(maps.Keys(want)) {
		if is, ok := got[uuid]; !ok {
			fmt.Fprintf(&b, "\n\tlacks %s", want[uuid])
		} else if is != want[uuid] {
			fmt.Fprintf(&b, "\n\thas %s\n\tnot %s", is, want[uuid])
		}
	}
	for _, uuid := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[uuid]; !ok {
			fmt.Fprintf(&b, "\n\thas %s", got[uuid])
		}
	}
	return b.String()
}
