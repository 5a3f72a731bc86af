package esmtest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
)

// A subject is an Invoker that is tested, with what its target was asked and
// said.
type subject struct {
	esm.Invoker

	mu     sync.Mutex
	visits []visit
}

// A visit is a call of the target that has ended.
type visit struct {
	batch *esm.Batch // with where its records stand, and nothing else
	err   error      // errPanicked if it did not return
}

var errPanicked = errors.New("the target panicked")

// watch makes a target that notes its visits.
func (s *subject) watch(target esm.InvokerFunc) esm.InvokerFunc {
	return func(ctx context.Context, b *esm.Batch) error {
		v := visit{batch: &esm.Batch{}, err: errPanicked}
		for _, r := range b.Records {
			v.batch.Records = append(v.batch.Records, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset})
		}
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.visits = append(s.visits, v)
		}()
		v.err = target(ctx, b)
		return v.err
	}
}

// take returns the visits and forgets them.
func (s *subject) take() []visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.visits
	s.visits = nil
	return got
}

// spoken returns how often the target said anything but success.
func (s *subject) spoken() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.visits {
		if v.err != nil {
			n++
		}
	}
	return n
}

// invoker makes an Invoker to be tested.
func (c *conformance) invoker(t testing.TB, target esm.InvokerFunc) *subject {
	t.Helper()
	s := new(subject)
	s.Invoker = c.newInvoker(t, s.watch(target))
	if s.Invoker == nil {
		t.Fatal("newInvoker returned nil")
	}
	return s
}
