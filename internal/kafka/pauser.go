package kafka

import (
	"sync"

	"github.com/seed429fd032/esm/internal/partition"
)

// A pauser keeps the client from fetching some partitions. It is told nothing
// but that something may have changed, and then makes what the client was told
// equal to what is wanted: both are read and the client is called under one
// mutex. So a pause and a resume that are decided at the same moment on two
// goroutines cannot reach the client in the wrong order.
//
// The client's own list of paused partitions outlives the assignment. A
// partition that is not wanted paused any more, also because it was revoked,
// is always resumed.
type pauser struct {
	mu     sync.Mutex // held while calling the client, which does not wait
	wanted func() map[partition.ID]bool
	client interface {
		PauseFetchPartitions(map[string][]int32) map[string][]int32
		ResumeFetchPartitions(map[string][]int32)
	}
	told map[partition.ID]bool
}

// reconcile brings the client in line with what is wanted now.
func (p *pauser) reconcile() {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := p.wanted()
	if len(wanted) == 0 && len(p.told) == 0 {
		return
	}
	pause, resume := map[string][]int32{}, map[string][]int32{}
	for tp := range wanted {
		if !p.told[tp] {
			pause[tp.Topic] = append(pause[tp.Topic], tp.Partition)
		}
	}
	for tp := range p.told {
		if !wanted[tp] {
			resume[tp.Topic] = append(resume[tp.Topic], tp.Partition)
		}
	}
	if len(pause) > 0 {
		p.client.PauseFetchPartitions(pause)
	}
	if len(resume) > 0 {
		p.client.ResumeFetchPartitions(resume)
	}
	p.told = wanted
}
