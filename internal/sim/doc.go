// Package sim runs the whole library by seed: Mappings with real clients in one
// consumer group, brokers in memory, producers, functions and destinations, in
// virtual time, with faults; and judges what comes of it.
//
// A [Plan] is drawn from the seed before the run, and nothing is drawn while it runs:
// what a function does, and how long a message is on its way, follows from the seed
// and from which record, which attempt or which message it is. So the same plan has
// the same faults each time. Which goroutine comes first, Go decides: natively not
// twice in the same way, compiled to WebAssembly with a host that gives entropy by seed always
// in the same way, to the nanosecond.
//
// A [World] is one run of a Plan. What happens is noted by the judges the moment it
// happens, under one lock, which is a leaf: the ledger knows each record, and what
// was done with it; a tenure, what one member did with a partition while it had it.
package sim
