package lambdapool

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// canTellOwner is whether ownSocket knows.
const canTellOwner = true

// ownSocket reports whether the other end of a connection is a socket of the
// user of this process: the kernel says whose a socket is. In doubt it is not.
//
// The kernel finds one socket in microseconds. Where it cannot be asked so, its
// list of all sockets is read, which takes milliseconds, and longer the more
// there are.
func ownSocket(c net.Conn) bool {
	local, remote, ok := ends(c)
	if !ok {
		return false
	}
	own, err := askOwner(remote, local)
	if err != nil {
		return sockets.own(remote, local)
	}
	return own
}

// perhapsOwnSocket is ownSocket where that takes no time, and otherwise false.
func perhapsOwnSocket(c net.Conn) bool {
	local, remote, ok := ends(c)
	if !ok {
		return false
	}
	own, err := askOwner(remote, local)
	return own && err == nil
}

// ends are the addresses of a connection.
func ends(c net.Conn) (local, remote *net.TCPAddr, ok bool) {
	local, ok1 := c.LocalAddr().(*net.TCPAddr)
	remote, ok2 := c.RemoteAddr().(*net.TCPAddr)
	return local, remote, ok1 && ok2 && local.IP.To4() != nil && remote.IP.To4() != nil
}

// established is the state of a connection that is open.
const established = 1

// mine reports whether a socket that is open is one of this user. One that its
// owner has closed already belongs to nobody, which the kernel tells with the
// number of root.
func mine(state, uid, inode uint32) bool {
	return state == established && inode != 0 && int64(uid) == int64(os.Geteuid())
}

// answers is whether the kernel has told of a socket. One that cannot says the
// same as one that does not find it.
var answers atomic.Bool

// askOwner asks the kernel about the socket with these addresses, by
// NETLINK_SOCK_DIAG (sock_diag(7)). An error is that it cannot be asked.
func askOwner(local, remote *net.TCPAddr) (own bool, err error) {
	const (
		netlinkSockDiag  = 4
		sockDiagByFamily = 20
		sizeOfRequest    = 72
		sizeOfAnswer     = 88
	)
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return false, err
	}
	defer func() { _ = syscall.Close(fd) }()
	kernel, network := binary.NativeEndian, binary.BigEndian
	// A struct nlmsghdr and a struct inet_diag_req_v2.
	request := make([]byte, sizeOfRequest)
	kernel.PutUint32(request[0:], sizeOfRequest)
	kernel.PutUint16(request[4:], sockDiagByFamily)
	kernel.PutUint16(request[6:], syscall.NLM_F_REQUEST)
	request[16], request[17] = syscall.AF_INET, syscall.IPPROTO_TCP
	kernel.PutUint32(request[20:], 1<<established)
	network.PutUint16(request[24:], uint16(local.Port))
	network.PutUint16(request[26:], uint16(remote.Port))
	copy(request[28:], local.IP.To4())
	copy(request[44:], remote.IP.To4())
	for i := 64; i < sizeOfRequest; i++ { // the cookie: any
		request[i] = 0xff
	}
	if err := syscall.Sendto(fd, request, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return false, err
	}
	// The answer is there when the request was taken.
	answer := make([]byte, 1024)
	n, _, err := syscall.Recvfrom(fd, answer, syscall.MSG_DONTWAIT)
	if err != nil {
		return false, err
	}
	answer = answer[:n]
	switch {
	case n >= 20 && kernel.Uint16(answer[4:]) == syscall.NLMSG_ERROR:
		errno := syscall.Errno(-int32(kernel.Uint32(answer[16:])))
		if errno == syscall.ENOENT && answers.Load() {
			return false, nil // there is no such socket: it was closed just now
		}
		return false, errno
	case n < sizeOfAnswer || kernel.Uint16(answer[4:]) != sockDiagByFamily:
		return false, errors.New("an answer that is none")
	}
	answers.Store(true)
	// A struct inet_diag_msg. The kernel gives a socket that listens where
	// there is none with both addresses.
	if network.Uint16(answer[20:]) != uint16(local.Port) || network.Uint16(answer[22:]) != uint16(remote.Port) {
		return false, nil
	}
	return mine(uint32(answer[17]), kernel.Uint32(answer[80:]), kernel.Uint32(answer[84:])), nil
}

// A census reads the kernel's list of sockets. One reading serves all who ask
// before it begins, so that many connections at once wait for two at most.
type census struct {
	turn sync.Mutex // held by who reads

	mu   sync.Mutex
	next *reading // which has not begun
}

var sockets census

type reading struct {
	once sync.Once
	open map[string]bool // what this user has open, by both addresses
}

// own reports whether there is a socket of this user with these addresses.
func (c *census) own(local, remote *net.TCPAddr) bool {
	c.mu.Lock()
	if c.next == nil {
		c.next = new(reading)
	}
	r := c.next
	c.mu.Unlock()
	r.once.Do(func() {
		c.turn.Lock()
		defer c.turn.Unlock()
		c.mu.Lock()
		c.next = nil
		c.mu.Unlock()
		r.open = map[string]bool{}
		// A client that speaks IPv6 too has the same addresses in another form.
		r.read("/proc/net/tcp", "")
		r.read("/proc/net/tcp6", "0000000000000000FFFF0000")
	})
	return r.open[hexAddress(local)+" "+hexAddress(remote)]
}

// read reads one of the kernel's lists, of addresses that begin with prefix.
func (r *reading) read(file, prefix string) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer f.Close()
	// A line of it: number, local address, remote address, state, queues,
	// timer, retransmissions, user, timeout, inode.
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			continue
		}
		state, err1 := strconv.ParseUint(fields[3], 16, 32)
		uid, err2 := strconv.ParseUint(fields[7], 10, 32)
		inode, err3 := strconv.ParseUint(fields[9], 10, 32)
		if err1 != nil || err2 != nil || err3 != nil || !mine(uint32(state), uint32(uid), uint32(inode)) {
			continue
		}
		local, ok1 := strings.CutPrefix(fields[1], prefix)
		remote, ok2 := strings.CutPrefix(fields[2], prefix)
		if ok1 && ok2 {
			r.open[local+" "+remote] = true
		}
	}
}

// hexAddress is an address as /proc/net/tcp has it: the four bytes as a number
// of the machine, then the port.
func hexAddress(a *net.TCPAddr) string {
	return fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(a.IP.To4()), a.Port)
}
