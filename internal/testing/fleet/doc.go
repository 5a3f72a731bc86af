// Package fleet has the tests of package lambdaapi with several processes: what its stores
// keep when a host is killed, what hosts write at once, and hosts that restart one after
// another.
package fleet
