package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The values of -mode, and those of -kafka that are no addresses.
const (
	onDemand    = "on-demand"
	provisioned = "provisioned"
	all         = "all"

	embedded = "embedded"
	local    = "local"
)

const (
	embeddedRecords = 200_000
	embeddedBytes   = 4_000_000_000 // that a Kafka in memory may take
)

type settings struct {
	scenario
	modes []mode
	kafka string
	plot  string
	json  bool
}

// errUsage says that the flag package has said what was wrong.
var errUsage = errors.New("usage")

func parse(args []string, stderr io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("drain", flag.ContinueOnError)
	f.SetOutput(stderr)
	name := f.String("mode", provisioned, "on-demand, provisioned, or all: on-demand, and provisioned with a minimum of 1, 10 and 100")
	least := f.Int("min", 1, "the minimum of pollers, with -mode provisioned")
	most := f.Int("max", 200, "the maximum of pollers, with -mode provisioned or all")
	f.Int64Var(&s.Records, "records", 0, "how many `records` there are (default 2,000,000; with -kafka embedded 200,000)")
	f.IntVar(&s.Size, "size", scenarioOfAWS.Size, "how many `bytes` the value of each has")
	f.IntVar(&s.Partitions, "partitions", scenarioOfAWS.Partitions, "how many partitions they are in")
	f.IntVar(&s.Batch, "batch", scenarioOfAWS.Batch, "how many records a batch has at most")
	f.DurationVar(&s.Function, "function", scenarioOfAWS.Function, "how long the function takes for a batch")
	f.StringVar(&s.kafka, "kafka", embedded, "embedded: a Kafka in memory; local: an Apache Kafka that is started here, with Java 17 and Maven; or the addresses HOST:PORT,... of one that is there")
	f.StringVar(&s.plot, "plot", "", "draw lag, pollers, invocations and throughput into this `file`, as SVG")
	f.BoolVar(&s.json, "json", false, "print each run as one line of JSON, and everything else to stderr")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return s, err
		}
		return s, errUsage
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["records"] {
		s.Records = scenarioOfAWS.Records
		if s.kafka == embedded {
			s.Records = embeddedRecords
		}
	}
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is not a flag", f.Arg(0))
	case *name != provisioned && given["min"]:
		return s, errors.New("-min is for -mode provisioned")
	case *name == onDemand && given["max"]:
		return s, errors.New("-max is for -mode provisioned or all")
	case *least < 1 || *least > 200:
		return s, fmt.Errorf("-min is %d, and must be 1 to 200", *least)
	case *most < 1 || *most > 2000:
		return s, fmt.Errorf("-max is %d, and must be 1 to 2,000", *most)
	case s.Records < 1 || s.Records > 100_000_000:
		return s, fmt.Errorf("-records is %d, and must be 1 to 100,000,000", s.Records)
	case s.Size < 1 || s.Size > 1_000_000:
		return s, fmt.Errorf("-size is %d, and must be 1 to 1,000,000", s.Size)
	case s.Partitions < 1 || s.Partitions > 2000:
		return s, fmt.Errorf("-partitions is %d, and must be 1 to 2,000", s.Partitions)
	case s.Batch < 1 || s.Batch > 10_000:
		return s, fmt.Errorf("-batch is %d, and must be 1 to 10,000", s.Batch)
	case s.Function < 0 || s.Function > 10*time.Second:
		return s, fmt.Errorf("-function is %s, and must be 0 to 10s", s.Function)
	case s.kafka == embedded && s.Records*int64(s.Size) > embeddedBytes:
		return s, fmt.Errorf("-records %d with -size %d is %.1f GB, and a Kafka in memory takes 4: use -kafka local", s.Records, s.Size, float64(s.Records*int64(s.Size))/1e9)
	}
	switch *name {
	case onDemand:
		s.modes = []mode{{OnDemand: true}}
	case provisioned:
		s.modes = []mode{{Min: *least, Max: *most}}
	case all:
		s.modes = []mode{{OnDemand: true}, {Min: 1, Max: *most}, {Min: 10, Max: *most}, {Min: 100, Max: *most}}
	default:
		return s, fmt.Errorf("-mode is %q, and must be on-demand, provisioned or all", *name)
	}
	for _, m := range s.modes {
		if m.Min > m.Max {
			return s, fmt.Errorf("-max is %d, and must be at least the minimum of pollers, which is %d", m.Max, m.Min)
		}
	}
	if s.kafka != embedded && s.kafka != local {
		for addr := range strings.SplitSeq(s.kafka, ",") {
			if err := address(addr); err != nil {
				return s, fmt.Errorf("-kafka is %q, and must be embedded, local or HOST:PORT,...: %w", s.kafka, err)
			}
		}
	}
	if s.plot != "" {
		// Better now than after the run.
		if dir, err := os.Stat(filepath.Dir(s.plot)); err != nil || !dir.IsDir() {
			return s, fmt.Errorf("-plot is %q, and must be a file in a directory that is there", s.plot)
		}
	}
	return s, nil
}

func address(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(port, 10, 16); host == "" || err != nil || n == 0 {
		return fmt.Errorf("address %s: no host, or no port from 1 to 65535", addr)
	}
	return nil
}
