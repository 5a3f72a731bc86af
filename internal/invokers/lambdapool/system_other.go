//go:build !linux

package lambdapool

import "net"

// CanLimitMemory is whether residentMemory knows.
const CanLimitMemory = false

func residentMemory(int) int64 { return 0 }

// canTellOwner is whether ownSocket knows.
const canTellOwner = false

// ownSocket cannot tell whose a connection is.
func ownSocket(net.Conn) bool { return false }

func perhapsOwnSocket(net.Conn) bool { return false }
