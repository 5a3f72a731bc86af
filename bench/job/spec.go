package job

import (
	"flag"
	"time"
)

// A Spec is what one run asks of a contender. It comes as flags, so that a
// contender in any language can read it.
type Spec struct {
	Brokers string
	Topic   string
	Group   string
	// Mode chooses between the settings of a contender that has several.
	Mode string
	// Run is the letter of the run, for settings that differ between runs.
	Run string
	// Records is how many good records there are; with 0 the run ends when the
	// parent says so, or when Cut is over.
	Records int64
	// Partitions is how many the topic has.
	Partitions int
	// Batch is how many records a call gets at most.
	Batch int
	// Window is how long a batch that is not full waits for more. A Mapping does
	// not go by it: see its settings.
	Window time.Duration
	// Function is how long a call takes.
	Function time.Duration
	// Poison is the offset, in each partition, of a record that fails its call
	// for ever; -1 for none.
	Poison int64
	// Retry is the pause before a call that failed is made again, and Retries
	// how often that is done by those who give up.
	Retry   time.Duration
	Retries int
	// Cut ends the run so long after its first call; 0 for never.
	Cut time.Duration
	// Detail asks for what became of each partition.
	Detail bool
	// Latency asks for the time from the send time that values begin with.
	Latency bool
	// Echo asks for a line at the end of each call.
	Echo bool
	// Budget is the memory budget of a Mapping, in bytes.
	Budget int64
	// CPUProfile and HeapProfile are files to write profiles to.
	CPUProfile, HeapProfile string
}

// Flags makes flags of the fields.
func (s *Spec) Flags(f *flag.FlagSet) {
	f.StringVar(&s.Brokers, "brokers", "", "brokers")
	f.StringVar(&s.Topic, "topic", "", "topic")
	f.StringVar(&s.Group, "group", "", "consumer group")
	f.StringVar(&s.Mode, "mode", "", "which settings of the contender")
	f.StringVar(&s.Run, "run", "", "which run")
	f.Int64Var(&s.Records, "records", 0, "good records; 0: until told")
	f.IntVar(&s.Partitions, "partitions", 0, "partitions of the topic")
	f.IntVar(&s.Batch, "batch", 100, "records of a call")
	f.DurationVar(&s.Window, "window", 0, "how long a batch waits to be full")
	f.DurationVar(&s.Function, "function", 0, "how long a call takes")
	f.Int64Var(&s.Poison, "poison", -1, "offset of the poison record of each partition")
	f.DurationVar(&s.Retry, "retry", time.Second, "pause before a retry")
	f.IntVar(&s.Retries, "retries", 3, "retries of those who give up")
	f.DurationVar(&s.Cut, "cut", 0, "end of the run, after its first call")
	f.BoolVar(&s.Detail, "detail", false, "report each partition")
	f.BoolVar(&s.Latency, "latency", false, "report latencies")
	f.BoolVar(&s.Echo, "echo", false, "write a line at the end of each call")
	f.Int64Var(&s.Budget, "budget", 128<<20, "memory budget of a Mapping")
	f.StringVar(&s.CPUProfile, "cpuprofile", "", "file for a CPU profile")
	f.StringVar(&s.HeapProfile, "heapprofile", "", "file for a profile of allocations")
}

// Args are the flags that say s, without those that have their zero value.
func (s *Spec) Args() (args []string) {
	var with Spec
	set := flag.NewFlagSet("", flag.ContinueOnError)
	with.Flags(set)
	with = *s
	set.VisitAll(func(f *flag.Flag) {
		if v := f.Value.String(); v != f.DefValue {
			args = append(args, "-"+f.Name+"="+v)
		}
	})
	return args
}
