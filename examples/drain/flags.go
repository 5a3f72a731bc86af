package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/seed429fd032/esm/examples/internal/demo"
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

// flags defines the flags.
func (s *settings) flags(f *demo.Flags) {
	name := f.String("mode", provisioned, "on-demand, provisioned, or all: on-demand, and provisioned with a minimum of 1, 10 and 100")
	var least, most, records int
	f.Check(func() error {
		if !f.Given("records") {
			records = int(scenarioOfAWS.Records)
			if s.kafka == embedded {
				records = embeddedRecords
			}
		}
		switch {
		case *name != provisioned && f.Given("min"):
			return errors.New("-min is for -mode provisioned")
		case *name == onDemand && f.Given("max"):
			return errors.New("-max is for -mode provisioned or all")
		}
		return nil
	})
	f.Number(&least, "min", 1, 1, 200, "the minimum of pollers, with -mode provisioned")
	f.Number(&most, "max", 200, 1, 2000, "the maximum of pollers, with -mode provisioned or all")
	f.Number(&records, "records", 0, 1, 100_000_000, "how many `records` there are (default 2,000,000; with -kafka embedded 200,000)")
	f.Number(&s.Size, "size", scenarioOfAWS.Size, 1, 1_000_000, "how many `bytes` the value of each has")
	f.Number(&s.Partitions, "partitions", scenarioOfAWS.Partitions, 1, 2000, "how many partitions they are in")
	f.Number(&s.Batch, "batch", scenarioOfAWS.Batch, 1, 10_000, "how many records a batch has at most")
	f.Time(&s.Function, "function", scenarioOfAWS.Function, 0, 10*time.Second, "how long the function takes for a batch")
	f.StringVar(&s.kafka, "kafka", embedded, "embedded: a Kafka in memory; local: an Apache Kafka that is started here, with Java 17 and Maven; or the addresses HOST:PORT,... of one that is there")
	f.StringVar(&s.plot, "plot", "", "draw lag, pollers, invocations and throughput into this `file`, as SVG")
	f.BoolVar(&s.json, "json", false, "print each run as one line of JSON, and everything else to stderr")
	f.Check(func() error {
		s.Records = int64(records)
		if n := s.Records * int64(s.Size); s.kafka == embedded && n > embeddedBytes {
			return fmt.Errorf("-records %d with -size %d is %.1f GB, and a Kafka in memory takes 4: use -kafka local", s.Records, s.Size, float64(n)/1e9)
		}
		return s.check(*name, least, most)
	})
}

// check takes the modes from the flags, and looks at the Kafka and the plot.
func (s *settings) check(name string, least, most int) error {
	switch name {
	case onDemand:
		s.modes = []mode{{OnDemand: true}}
	case provisioned:
		s.modes = []mode{{Min: least, Max: most}}
	case all:
		s.modes = []mode{{OnDemand: true}, {Min: 1, Max: most}, {Min: 10, Max: most}, {Min: 100, Max: most}}
	default:
		return fmt.Errorf("-mode is %q, and must be on-demand, provisioned or all", name)
	}
	for _, m := range s.modes {
		if m.Min > m.Max {
			return fmt.Errorf("-max is %d, and must be at least the minimum of pollers, which is %d", m.Max, m.Min)
		}
	}
	if s.kafka != embedded && s.kafka != local {
		for addr := range strings.SplitSeq(s.kafka, ",") {
			if err := address(addr); err != nil {
				return fmt.Errorf("-kafka is %q, and must be embedded, local or HOST:PORT,...: %w", s.kafka, err)
			}
		}
	}
	if s.plot != "" {
		// Better now than after the run.
		if dir, err := os.Stat(filepath.Dir(s.plot)); err != nil || !dir.IsDir() {
			return fmt.Errorf("-plot is %q, and must be a file in a directory that is there", s.plot)
		}
	}
	return nil
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
