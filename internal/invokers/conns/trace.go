package conns

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// A trace is what a request tells of its connection.
type trace struct {
	had      atomic.Pointer[had] // the last one that it had
	answered atomic.Bool         // a byte of an answer came
}

// A had is a connection that a request had.
type had struct {
	since time.Time
	used  bool // something had been sent in it, or it had been idle
	conn  net.Conn
}

func (t *trace) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) {
			t.had.Store(&had{since: time.Now(), used: c.Reused, conn: c.Conn})
		},
		GotFirstResponseByte: func() { t.answered.Store(true) },
	})
}

// idle reports whether a connection may have been idle before the request had it.
// Of HTTP/2 all may have been: when several calls begin at once each dials, one
// connection is enough for all, and that the others are used later for the first
// time is not told.
func (h *had) idle() bool {
	secure, ok := h.conn.(*tls.Conn)
	return h.used || ok && secure.ConnectionState().NegotiatedProtocol == "h2"
}

// atOnce is how soon a connection must end, after a request had it, to have ended
// for another reason than this request. A close that was on its way is there
// within a round trip, and so is the refusal of a device that has forgotten the
// connection. A function that takes its time and then dies is none: to call it
// again is the Mapping's to decide.
const atOnce = time.Second

// closedIdle reports whether a request failed because its connection, which was
// idle before, was closed when it was sent.
//
// It goes by what did not happen: no byte of an answer, no end of the context,
// no time to speak of. The errors themselves differ between HTTP/1.1 and HTTP/2
// and between systems, and some of them are not exported. Of HTTP/2 an error of
// the stream is left out: its connection goes on.
func (t *trace) closedIdle(ctx context.Context, err error) bool {
	h := t.had.Load()
	var stream streamError
	return h != nil && h.idle() && !t.answered.Load() && ctx.Err() == nil &&
		time.Since(h.since) < atOnce && !errors.As(err, &stream)
}

// outOfTime reports whether a call had a connection, and then no time any more:
// its own, or that of the transport or the kernel. The kernel tells only one of
// those who read and write that the time is over, so each connection that ended
// after as long a silence counts. A call without a connection says nothing of
// those that there are; and the one that is made for it, slower than the call
// allows, is for the next call.
func (t *trace) outOfTime(ctx context.Context, err error) bool {
	h := t.had.Load()
	if h == nil || err == nil {
		return false
	}
	var timeout net.Error
	return errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() ||
		!t.answered.Load() && time.Since(h.since) >= silence/2
}

// A streamError is the error of one stream of HTTP/2. That of net/http is not
// exported, and fills any struct with these fields (errors.As).
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

// Error is there so that errors.As takes the type.
func (e streamError) Error() string {
	return fmt.Sprintf("conns: stream %d: error %d", e.StreamID, e.Code)
}
