package payload

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
)

func send(t *testing.T, p *Payload) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Send(r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBodyIsRead(t *testing.T) {
	p := Get()
	p.Bytes = append(p.Bytes, bytes.Repeat([]byte("abc"), 10_000)...)
	r := send(t, p)
	again, err := r.GetBody()
	if err != nil || r.ContentLength != 30_000 {
		t.Fatal(err, r.ContentLength)
	}
	for _, b := range []io.ReadCloser{r.Body, again} {
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, p.Bytes) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.Release()
	p.Release() // again does nothing
}

// TestBufferThatIsStillReadIsNotUsedAgain: a pool may drop what it gets, so what
// is asked is whether the bytes change.
func TestBufferThatIsStillReadIsNotUsedAgain(t *testing.T) {
	p := Get()
	p.Bytes = append(p.Bytes, "the body"...)
	late := send(t, p)
	p.Release()
	for range 100 {
		q := Get()
		q.Bytes = append(q.Bytes, "another!"...)
		q.Release()
	}
	if got, err := io.ReadAll(late.Body); err != nil || string(got) != "the body" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestRequestThatIsKeptKeepsNothing: an error may hold a request for long.
func TestRequestThatIsKeptKeepsNothing(t *testing.T) {
	p := Get()
	p.Bytes = append(p.Bytes, "the body"...)
	r := send(t, p)
	if err := r.Body.Close(); err != nil {
		t.Fatal(err)
	}
	p.Release()
	if p.Bytes != nil {
		t.Errorf("it still has %d bytes", len(p.Bytes))
	}
	if _, err := r.GetBody(); err == nil {
		t.Error("there is a body after the call")
	}
	if err := p.Send(r); err == nil {
		t.Error("it is sent after the call")
	}
}

func TestClosedBodyReadsNothing(t *testing.T) {
	p := Get()
	p.Bytes = append(p.Bytes, "the body"...)
	b := send(t, p).Body
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := b.Read(make([]byte, 8)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("read %d, %v", n, err)
	}
	if p.open != 0 {
		t.Errorf("%d bodies are open", p.open)
	}
}
