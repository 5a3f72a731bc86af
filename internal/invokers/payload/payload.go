// Package payload keeps the buffers of request bodies. A body is as large as a
// batch, so a new one for each call would be most of what an invoker
// allocates.
//
// # Why it is not a sync.Pool alone
//
// An HTTP client may read a body after the call that sends it has returned: a
// server may answer before it has read all, and a call may be cancelled while
// another goroutine sends. What the client promises is to close the body. So a
// buffer is used again only if all its bodies are closed when its call ends. A
// body that was closed reads nothing more, and after the call there are no more
// bodies: who still has the request, in an error for example, keeps neither the
// buffer nor a way to read what another call has put into it.
package payload

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// A Payload is the body of a request.
type Payload struct {
	// Bytes are what is sent. They may change only before the first body.
	Bytes []byte

	mu       sync.Mutex
	open     int // bodies that are not closed
	released bool
}

// pool has the buffers, each as a pointer to a slice.
var pool = sync.Pool{New: func() any { return new([]byte) }}

// Get returns a payload without bytes, but often with room for them.
func Get() *Payload {
	return &Payload{Bytes: (*pool.Get().(*[]byte))[:0]}
}

// Release ends the use of a payload.
func (p *Payload) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return
	}
	p.released = true
	if p.open == 0 {
		free := p.Bytes
		pool.Put(&free)
		p.Bytes = nil
	}
}

// errReleased is why there is no body any more.
var errReleased = errors.New("payload: the call is over")

// body returns a reader of the bytes.
func (p *Payload) body() (io.ReadCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return nil, errReleased
	}
	p.open++
	return &body{of: p}, nil
}

// Send makes the payload the body of a request.
func (p *Payload) Send(r *http.Request) error {
	b, err := p.body()
	if err != nil {
		return err
	}
	r.Body = b
	r.ContentLength = int64(len(p.Bytes))
	r.GetBody = p.body
	return nil
}

type body struct {
	of   *Payload
	at   int
	done bool
}

// Read holds the lock, so that no byte is read after Close returned.
func (b *body) Read(dst []byte) (int, error) {
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	if b.done {
		return 0, http.ErrBodyReadAfterClose
	}
	n := copy(dst, b.of.Bytes[b.at:])
	b.at += n
	if b.at == len(b.of.Bytes) {
		return n, io.EOF
	}
	return n, nil
}

// Close ends the reading.
func (b *body) Close() error {
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	if !b.done {
		b.done = true
		b.of.open--
	}
	return nil
}
