// Package proof has the tests of a whole Mapping, on a Kafka in memory and on a
// real one: what it promises, seen from outside.
package proof
