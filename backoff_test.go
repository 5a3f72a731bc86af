package esm

import (
	"sync"
	"testing"
	"time"
)

// TestBackoffIsAskedByManyAtOnce: that it is being asked is no reason not to.
func TestBackoffIsAskedByManyAtOnce(t *testing.T) {
	release, got := make(chan struct{}), make(chan time.Duration, 20)
	var asked sync.WaitGroup
	asked.Add(20)
	b := backoffs{of: func(int) time.Duration { asked.Done(); <-release; return time.Hour }}
	for range 20 {
		go func() {
			got <- b.after(1)
		}()
	}
	asked.Wait()
	close(release)
	for range 20 {
		if d := <-got; d != time.Hour {
			t.Errorf("%s", d)
		}
	}
	if n := b.behind.Load(); n != 0 {
		t.Errorf("%d are behind", n)
	}
}
