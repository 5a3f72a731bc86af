//go:build !unix

package lambdapool

import "net"

// pending cannot tell whether a connection has something that was not read.
func pending(net.Conn) bool { return false }
