package lambdapool

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// CanLimitMemory is whether residentMemory knows.
const CanLimitMemory = true

// residentMemory is how much memory a process has in RAM, 0 if it has ended.
func residentMemory(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// sameUser is a listener that takes only connections of the user of this
// process: the kernel says whose a socket is.
func sameUser(l net.Listener) net.Listener { return userListener{l} }

type userListener struct{ net.Listener }

func (l userListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if ownSocket(c) {
			return c, nil
		}
		_ = c.Close()
	}
}

// ownSocket reports whether the other end of a connection is a socket of this
// user. In doubt it is not.
func ownSocket(c net.Conn) bool {
	local, ok1 := c.LocalAddr().(*net.TCPAddr)
	remote, ok2 := c.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return false
	}
	from, to := hexAddress(remote), hexAddress(local)
	// A client that speaks IPv6 too has the same addresses in another form.
	const mapped = "0000000000000000FFFF0000"
	return listed("/proc/net/tcp", from, to) || listed("/proc/net/tcp6", mapped+from, mapped+to)
}

// listed reports whether the kernel's list has a connection that is open, with a
// socket of this user. One that its owner has closed already belongs to nobody,
// which the list tells with the number of root.
func listed(file, from, to string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	const established = "01"
	// A line of it: number, local address, remote address, state, queues,
	// timer, retransmissions, user, timeout, inode.
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[1] == from && fields[2] == to {
			uid, err := strconv.Atoi(fields[7])
			return err == nil && uid == os.Geteuid() && fields[3] == established && fields[9] != "0"
		}
	}
	return false
}

// hexAddress is an address as /proc/net/tcp has it: the four bytes as a number
// of the machine, then the port.
func hexAddress(a *net.TCPAddr) string {
	ip := a.IP.To4()
	if ip == nil {
		return ""
	}
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(ip), a.Port)
}
