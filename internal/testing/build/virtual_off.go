//go:build !synctests

package build

// VirtualTime is whether synctest knows the locks of the Kafka client, which takes
// -tags synctests. Without it a bubble with a client in it stands still.
const VirtualTime = false
