package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/examples/internal/demo"
	"github.com/seed429fd032/esm/examples/internal/demotest"
	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// TestMain: the process of the Mapping is this program once more, and here that
// is the test.
func TestMain(m *testing.M) {
	if isChild() {
		os.Exit(serve(os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// results runs the command with -json and returns what it says.
func results(t *testing.T, ctx context.Context, stderr io.Writer, args ...string) (all []summary, exitCode int) {
	t.Helper()
	var out bytes.Buffer
	exitCode = run(ctx, append([]string{"-json"}, args...), &out, stderr)
	for line := range strings.Lines(out.String()) {
		var s summary
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("stdout %q: %v", out.String(), err)
		}
		all = append(all, s)
	}
	return all, exitCode
}

// sane checks what is so in every run that came to its end.
func sane(t *testing.T, s *summary, records int64) {
	t.Helper()
	if !s.good() || s.Records != records || s.Interrupted {
		t.Errorf("%+v", s)
	}
	if s.Seconds <= 0 || s.FirstSeconds <= 0 || s.PollersMax < 1 || s.Invocations < 1 || s.Rebalances != 0 {
		t.Errorf("%+v", s)
	}
	if s.StoredBytes == nil || *s.StoredBytes < records*1024 || s.ReadBytes < records*1024 || s.ReadBytes > *s.StoredBytes*2 {
		t.Errorf("%d bytes read, stored %v", s.ReadBytes, s.StoredBytes)
	}
	if cpu, rss := usage(); (cpu == nil) != (s.CPUSeconds == nil) || (rss == nil) != (s.PeakRSS == nil) {
		t.Errorf("CPU %v and memory %v; here they are %v and %v", s.CPUSeconds, s.PeakRSS, cpu, rss)
	}
	if s.CPUSeconds != nil && *s.CPUSeconds <= 0 || s.PeakRSS != nil && *s.PeakRSS < 1<<20 {
		t.Errorf("CPU %v, memory %v", *s.CPUSeconds, *s.PeakRSS)
	}
	if s.AWSSeconds != nil {
		t.Errorf("AWS published %v s for another scenario", *s.AWSSeconds)
	}
}

func TestProvisioned(t *testing.T) {
	t.Parallel()
	all, code := results(t, t.Context(), t.Output(), "-records", "10000", "-partitions", "10", "-batch", "50", "-function", "10ms", "-min", "2", "-max", "7")
	if code != 0 || len(all) != 1 {
		t.Fatalf("exit code %d: %+v", code, all)
	}
	s := all[0]
	sane(t, &s, 10000)
	if s.Mode != "provisioned" || s.Min == nil || *s.Min != 2 || s.Max == nil || *s.Max != 7 || s.PollersMax < 2 || s.PollersMax > 7 {
		t.Errorf("%+v", s)
	}
	if s.FloorSeconds != 0.2 || s.Seconds < s.FloorSeconds || s.Invocations < 200 {
		t.Errorf("%v seconds and %d invocations, and the function alone takes %v", s.Seconds, s.Invocations, s.FloorSeconds)
	}
}

func TestOnDemand(t *testing.T) {
	t.Parallel()
	all, code := results(t, t.Context(), t.Output(), "-records", "2003", "-partitions", "4", "-function", "1ms", "-mode", "on-demand")
	if code != 0 || len(all) != 1 {
		t.Fatalf("exit code %d: %+v", code, all)
	}
	sane(t, &all[0], 2003)
	if s := all[0]; s.Mode != "on-demand" || s.Min != nil || s.Max != nil || s.PollersMax != 1 {
		t.Errorf("%+v", s)
	}
}

// TestAllModes also looks at what is for people.
func TestAllModes(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "drain.svg")
	var errs bytes.Buffer
	all, code := results(t, t.Context(), &errs, "-records", "1000", "-partitions", "3", "-function", "0", "-mode", "all", "-plot", file)
	t.Log(errs.String())
	if code != 0 || len(all) != 4 {
		t.Fatalf("exit code %d: %+v", code, all)
	}
	for i, least := range []int{0, 1, 10, 100} {
		sane(t, &all[i], 1000)
		if i == 0 && all[i].Mode != onDemand || i > 0 && *all[i].Min != least {
			t.Errorf("run %d: %+v", i, all[i])
		}
	}
	for _, want := range []string{
		"writing 1,000 records of 1,024 bytes into 3 partitions", "all are written", "records/s",
		"on-demand ", "provisioned, 100 to 200 pollers ", " 7 min* ", " 3.5 min* ", " 2.5 min* ", " 1.5 min* ", "cold starts", "* AWS published this for 2,000,000",
		"on-demand: missing 0, duplicates 0, out of order 0, not committed 0: all is well", "the curves are in " + file,
	} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	picture, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parse := parsePlot(t, picture)
	if parse.panels != 4 || parse.curves != 4*5 { // one each in the legend
		t.Errorf("%+v", parse)
	}
}

func TestTableForPeople(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if code := run(t.Context(), []string{"-records", "500", "-partitions", "2", "-function", "0"}, &out, t.Output()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if s := out.String(); strings.Contains(s, "{") || !strings.Contains(s, "all is well") {
		t.Error(s)
	}
}

// TestInterruptCommitsWhatWasHandled: Ctrl-C in the middle loses nothing and
// says what was done.
func TestInterruptCommitsWhatWasHandled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var said bytes.Buffer
	// The first such line comes after a second, of ten; the one of writing ends
	// otherwise.
	watching := demotest.OnText(&said, "records/s", cancel)
	all, code := results(t, ctx, watching, "-records", "20000", "-partitions", "1", "-function", "50ms", "-mode", "all")
	t.Log(said.String())
	if code != 0 || len(all) != 1 {
		t.Fatalf("exit code %d: %+v", code, all)
	}
	if s := all[0]; !s.Interrupted || s.Records == 0 || s.Records == 20000 || !s.good() || s.AWSSeconds != nil {
		t.Errorf("%+v", s)
	}
	for _, want := range []string{"interrupted: letting the invocations end", "on-demand: interrupted, ", " of 20,000 records handled"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

func TestInterruptWhileWriting(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var errs bytes.Buffer
	stderr := demotest.OnText(&errs, "writing ", cancel)
	all, code := results(t, ctx, stderr, "-records", "1000000")
	if code != 1 || len(all) != 0 || !strings.Contains(errs.String(), "interrupted while writing: ") {
		t.Errorf("exit code %d, %+v: %s", code, all, errs.String())
	}
	errs.Reset()
	all, code = results(t, ctx, &errs, "-records", "1000000") // it has ended
	if code != 1 || len(all) != 0 || !strings.Contains(errs.String(), "interrupted before anything was written") {
		t.Errorf("exit code %d, %+v: %s", code, all, errs.String())
	}
}

// TestAnyKafka leaves nothing behind in a Kafka that was there before.
func TestAnyKafka(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		cluster, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(1, "orders"))
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		testAnyKafka(t, cluster.ListenAddrs())
	})
	t.Run("real", func(t *testing.T) {
		if !kafkatest.Wanted() {
			t.Skip(kafkatest.NotWanted)
		}
		cluster, err := kafkatest.Start(t.Context(), kafkatest.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := cluster.Stop(); err != nil {
				t.Error(err)
			}
		}()
		testAnyKafka(t, cluster.Addrs)
	})
}

func testAnyKafka(t *testing.T, brokers []string) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	before, err := kadm.NewClient(cl).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, code := results(t, t.Context(), t.Output(), "-kafka", strings.Join(brokers, ","), "-records", "1000", "-partitions", "5", "-function", "1ms")
	if code != 0 || len(all) != 1 {
		t.Fatalf("exit code %d: %+v", code, all)
	}
	sane(t, &all[0], 1000)
	after, err := kadm.NewClient(cl).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before) {
		t.Errorf("topics before %v, after %v", before.Names(), after.Names())
	}
}

func TestLocalKafka(t *testing.T) {
	if !kafkatest.Wanted() {
		t.Skip(kafkatest.NotWanted)
	}
	all, code := results(t, t.Context(), t.Output(), "-kafka", "local", "-records", "5000", "-partitions", "5", "-function", "5ms", "-mode", "all")
	if code != 0 || len(all) != 4 {
		t.Fatalf("exit code %d: %+v", code, all)
	}
	for i := range all {
		sane(t, &all[i], 5000)
	}
}

func TestLargestRecord(t *testing.T) {
	t.Parallel()
	all, code := results(t, t.Context(), t.Output(), "-records", "3", "-size", "1000000", "-partitions", "1", "-function", "0")
	if code != 0 || len(all) != 1 || all[0].Records != 3 {
		t.Errorf("exit code %d: %+v", code, all)
	}
}

func TestUnreachableKafkaIsNamed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var errs bytes.Buffer
	code := run(t.Context(), []string{"-kafka", addr, "-records", "5"}, io.Discard, &errs)
	if code != 1 || !strings.Contains(errs.String(), addr) {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

func TestBadFlags(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-what", "flag provided but not defined"},
		{"here", `"here" is not a flag`},
		{"-mode fast", `-mode is "fast", and must be on-demand, provisioned or all`},
		{"-mode on-demand -min 1", "-min is for -mode provisioned"},
		{"-mode all -min 1", "-min is for -mode provisioned"},
		{"-mode on-demand -max 1", "-max is for -mode provisioned or all"},
		{"-min 0", "-min is 0, and must be 1 to 200"},
		{"-min 201", "must be 1 to 200"},
		{"-max 0", "must be 1 to 2,000"},
		{"-max 2001", "must be 1 to 2,000"},
		{"-min 5 -max 4", "-max is 4, and must be at least the minimum of pollers, which is 5"},
		{"-mode all -max 99", "-max is 99, and must be at least the minimum of pollers, which is 100"},
		{"-records 0", "must be 1 to 100,000,000"},
		{"-records many", "invalid value"},
		{"-size 0", "must be 1 to 1,000,000"},
		{"-size 1000001", "must be 1 to 1,000,000"},
		{"-partitions 0", "must be 1 to 2,000"},
		{"-batch 0", "must be 1 to 10,000"},
		{"-batch 10001", "must be 1 to 10,000"},
		{"-function -1s", "must be 0 to 10s"},
		{"-function 11s", "must be 0 to 10s"},
		{"-records 5000000", "is 5.1 GB, and a Kafka in memory takes 4: use -kafka local"},
		{"-kafka there", `-kafka is "there", and must be embedded, local or HOST:PORT`},
		{"-kafka localhost:9092,", "must be embedded, local or HOST:PORT"},
		{"-kafka localhost:kafka", "no port from 1 to 65535"},
		{"-kafka :9092", "no host"},
		{"-plot nowhere/at/all.svg", "must be a file in a directory that is there"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), strings.Fields(tt.args), &out, &errs); code != 2 || !strings.Contains(errs.String(), tt.want) || out.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, %q", tt.args, code, errs.String(), out.String())
		}
	}
	if code := run(t.Context(), []string{"-h"}, io.Discard, io.Discard); code != 0 {
		t.Errorf("-h: exit code %d", code)
	}
}

func TestDefaultsAreThePublishedScenario(t *testing.T) {
	for args, records := range map[string]int64{"": 200_000, "-kafka local": 2_000_000, "-kafka a:1,[::1]:2": 2_000_000} {
		var s settings
		if _, _, ok := demo.Parse("drain", strings.Fields(args), t.Output(), s.flags); !ok {
			t.FailNow()
		}
		want := scenario{Records: records, Size: 1024, Partitions: 100, Batch: 100, Function: 100 * time.Millisecond}
		if s.scenario != want || len(s.modes) != 1 || s.modes[0] != (mode{Min: 1, Max: 200}) {
			t.Errorf("%q: %+v", args, s)
		}
	}
}
