//go:build synctests

package sim

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

type plan struct {
	Seed   uint64  `json:"seed"`
	Note   string  `json:"note"`
	Faults []fault `json:"faults"`
}

type fault struct {
	Kind string `json:"kind"`
	At   int    `json:"at"`
}

func TestSeed(t *testing.T) {
	number := func(name string, other uint64) uint64 {
		n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
		if err != nil {
			return other
		}
		return n
	}
	if text := os.Getenv("ESM_SIM_PLAN"); text != "" {
		var p plan
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		one(t, p)
		return
	}
	from, n := number("ESM_SIM_SEED", 0), uint64(1)
	if from == 0 {
		from, n = number("ESM_SIM_FROM", 0), number("ESM_SIM_SEEDS", 0)
	}
	for seed := from; seed < from+n; seed++ {
		p := plan{Seed: seed, Note: "a < b"}
		for i := range 20 {
			kinds := []string{"kill", "freeze", "throttle"}
			p.Faults = append(p.Faults, fault{kinds[i%3], i})
		}
		one(t, p)
	}
}

// one is a run. The last digit of the seed is how it ends.
func one(t *testing.T, p plan) {
	text, _ := json.Marshal(p)
	fmt.Printf("sim: begin %d %s\n", p.Seed, text)
	fmt.Fprintln(os.Stderr, "the log of seed", p.Seed)
	var broken []string
	has := func(at int) bool { return slices.ContainsFunc(p.Faults, func(f fault) bool { return f.At == at }) }
	hash := fnv.New64a()
	began := time.Now()
	var virtual time.Duration
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		// Timers due at the same instant, in an order that nobody promises.
		order := make(chan int, 100)
		for i := range 100 {
			time.AfterFunc(time.Minute, func() { order <- i })
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for range 100 {
			fmt.Fprint(hash, <-order)
		}
		virtual = time.Since(began)
		if p.Seed%10 == 6 {
			go func() { <-make(chan int) }()
		}
	})
	var unseeded [8]byte
	rand.Read(unseeded[:])
	fmt.Fprint(hash, p.Seed, unseeded, time.Since(began))
	switch p.Seed % 10 {
	case 3:
		if has(5) && has(13) {
			broken = append(broken, "lost: a record of partition 1")
		}
	case 4:
		panic("as seed 4 does")
	case 5:
		for {
		}
	case 7:
		os.Exit(0)
	case 8:
		if has(2) && runtime.GOOS == "wasip1" {
			broken = append(broken, "order: of one schedule")
		}
	}
	if !kept() && p.Seed%10 == 2 {
		broken = append(broken, "mutant: found")
	}
	for !ends() {
	}
	line, _ := json.Marshal(map[string]any{
		"seed": p.Seed, "hash": fmt.Sprintf("%016x", hash.Sum64()), "broken": broken, "plan": p,
		"text": fmt.Sprintf("seed %d\nfaults %d\n", p.Seed, len(p.Faults)), "virtual": virtual.String(), "virtualNs": virtual,
		"faults": map[string]int{"kill": 2}, "counts": map[string]int{"records": 10},
	})
	fmt.Printf("sim: %s\n", line)
	if len(broken) > 0 {
		t.Fail()
	}
}
