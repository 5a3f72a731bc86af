// Command faults runs Mappings on a real Kafka of three brokers, breaks things
// at random, and checks every promise of the library meanwhile.
//
//	go run ./internal/testing/faults -for 3m
//
// starts the brokers, a producer, and hosts: processes with a Mapping each, in
// one consumer group, which reach the brokers through proxies. Then brokers are
// killed, the controller too, and frozen, leaders move, connections go silent,
// for a while or for good, or end within a response; hosts are killed, frozen
// for longer than their session, halted, lose rights and get them back, and
// join and leave; Mappings are paused, updated, halted for a while, throttled,
// and left without a destination; and retention takes what hosts have not read.
// What the functions see, what is committed, and what hosts name of what
// stands still is judged as it happens: see the type checker for what it is
// held to.
//
// It prints the seed and what it does, and ends with a summary: exit code 0 if
// no promise was broken, 1 if one was, or if three minutes did not have
// everything that is to be judged, 2 if it was called wrongly. The same
// seed and duration give the same plan again:
//
//	go run ./internal/testing/faults -for 3m -seed 17
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// A job is what the parent is to do.
type job struct {
	plan plan
	rate int
	logs string
	most int // calls of all hosts together, 0 if each has bounds of its own
}

func main() {
	var (
		s        job
		seed     = flag.Uint64("seed", 0, "of the plan; 0 is a new one")
		length   = flag.Duration("for", 3*time.Minute, "how long things break, 30s to 24h")
		protocol = flag.String("protocol", "", "how the hosts share partitions: cooperative, KIP-848 or static (default: by the seed)")
		show     = flag.Bool("plan", false, "print the plan, and do nothing")
		host     = flag.String("host", "", "be this host; for the parent's use")
	)
	flag.IntVar(&s.rate, "rate", 2000, "records that are produced a second, 100 to 20,000")
	flag.StringVar(&s.logs, "logs", "", "a directory for the logs of the hosts (debug) and brokers, and for all lines that were judged")
	flag.IntVar(&s.most, "together", 0, "the hosts share their bounds (esm.WithGroupBounds), and have so many calls together at most, 1 to 1,000 (default: each has its own)")
	flag.Parse()
	if *host != "" {
		if err := runHost(*host, os.Stdin, os.Stdout); err != nil {
			os.Exit(1) // it has said so
		}
		return
	}
	bad := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "faults: "+format+"\n", args...)
		os.Exit(2)
	}
	switch {
	case flag.NArg() > 0:
		bad("%q is not a flag", flag.Arg(0))
	case *length < 30*time.Second || *length > 24*time.Hour:
		bad("-for is %s, and must be 30s to 24h", *length)
	case s.rate < 100 || s.rate > 20_000:
		bad("-rate is %d, and must be 100 to 20,000", s.rate)
	case s.most < 0 || s.most > 1000:
		bad("-together is %d, and must be 1 to 1,000, or 0", s.most)
	case *protocol != "" && *protocol != cooperative && *protocol != serverSide && *protocol != static:
		bad("-protocol is %q, and must be %s, %s or %s", *protocol, cooperative, serverSide, static)
	}
	for *seed == 0 {
		*seed = rand.Uint64N(1_000_000)
	}
	s.plan = newPlan(*seed, *length, *protocol)
	if *show {
		fmt.Print(s.plan)
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second Ctrl-C ends it at once
	switch err := run(ctx, s); {
	case errors.Is(err, errBroken):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}
