package kafkatest

import (
	"context"
	"fmt"
	"os"
	"sync"
)

// A Shared is a cluster for all tests of a package: the first one that asks
// for it starts it, and Main stops it.
type Shared struct {
	// Config says what to start.
	Config Config

	once    sync.Once
	cluster *Cluster
	err     error
}

// T is what Shared needs of a *testing.T.
type T interface {
	Helper()
	Skip(args ...any)
	Fatal(args ...any)
}

// Get returns the cluster. It skips the test if no real Kafka is wanted, and
// fails it if there is none to be had.
func (s *Shared) Get(t T) *Cluster {
	t.Helper()
	if !Wanted() {
		t.Skip(NotWanted)
	}
	s.once.Do(func() { s.cluster, s.err = Start(context.Background(), s.Config) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.cluster
}

// Main runs the tests of a package, stops the clusters that they started, and
// returns the exit code. It is for TestMain.
func Main(tests interface{ Run() int }, clusters ...*Shared) int {
	code := tests.Run()
	for _, s := range clusters {
		if s.cluster == nil {
			continue
		}
		if err := s.cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}
