//go:build synctests

package esmtest

// tagged is whether this is built with -tags synctests, which makes the Kafka
// client's locks understandable to testing/synctest.
const tagged = true
