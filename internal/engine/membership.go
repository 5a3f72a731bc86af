package engine

import (
	"maps"
	"slices"
	"time"

	"github.com/seed429fd032/esm/internal/partition"
)

// A membership is what the group knows this process by, and what of its
// partitions came to it under that.
//
// # Why an id says whose the partitions are
//
// The coordinator of a classic group makes an id for each member, and forgets it
// for good when the member's session ends. As long as it knows the id, it gives
// the member's partitions to nobody else: a rebalance waits for each member, and
// one that does not come is forgotten. So lanes end with the id of the member that
// got them, whatever callback says so, or none. In a KIP-848 group the id is the
// client's own, and before it goes on with it, or with another one, it tells that
// all is lost.
//
// # Why that is not left to the callbacks
//
// A cooperative client (v1.22.3) tells of a lost session only if a heartbeat, or a
// question for commits, says so. If it is its joining that is refused, with
// UNKNOWN_MEMBER_ID, it joins as a new member and tells nobody. That comes when a
// process is frozen, or cut off, after a heartbeat has told it to rejoin; and when
// a commit is refused before a heartbeat is, because the client then rejoins at
// once. As a new member it may commit, and it has partitions that somebody else
// has, or had meanwhile. It revokes those that it does not get again, as if they
// had been its own up to now: our frontiers would be committed behind the other's.
// Those that it does get again keep their place, and no callback names them: what
// the other did would be done again.
//
// The rejected design is to have the client lose the session, by an error of a
// group balancer of ours. The group would have to rebalance twice, and a client in a
// KIP-848 group chooses what it asks of the broker by the type of its balancer.
type membership struct {
	id string // "" while there is none, or its partitions are lost
	// forgotten are partitions that were lost with an id, and that the client
	// may have still. It does not ask where they begin.
	forgotten map[partition.ID]bool
}

// Member is the id of the member that the lanes belong to.
func (e *Engine) Member() string {
	e.mu.Lock()
	defer e.unlock()
	return e.membership.id
}

// Join notes by which id the group gives partitions from now on.
func (e *Engine) Join(id string) {
	e.mu.Lock()
	defer e.unlock()
	e.membership.id = id
}

// Forget drops all partitions, since the group does not know the member any more
// that got them. Nothing happens if they were lost before, or if the lanes are of
// another member by now. Those that the client says nothing of until the next
// assignment begin anew then, as what is assigned does.
func (e *Engine) Forget(id string, now time.Time) {
	e.mu.Lock()
	defer e.unlock()
	if id == "" || e.membership.id != id {
		return
	}
	lost := slices.SortedFunc(maps.Keys(e.lanes), partition.ID.Compare)
	for _, tp := range lost {
		e.membership.forgotten[tp] = true
	}
	e.lose(lost, now)
}

// recall takes partitions out of those that were lost with an id: the client says
// what becomes of them. It returns the others. The lock is held.
func (e *Engine) recall(ids []partition.ID) (others []partition.ID) {
	for _, id := range ids {
		if !e.membership.forgotten[id] {
			others = append(others, id)
		}
		delete(e.membership.forgotten, id)
	}
	return others
}

// forgotten takes all of them. The lock is held.
func (e *Engine) forgotten() []partition.ID {
	ids := slices.SortedFunc(maps.Keys(e.membership.forgotten), partition.ID.Compare)
	clear(e.membership.forgotten)
	return ids
}
