package esmemf

import (
	"errors"
	"io"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// writeWithin is how long a Flush waits for the writer.
const writeWithin = 10 * time.Second

// A pen writes lines with a writer of somebody else, which may panic, write too little or
// never return. It belongs to one goroutine at a time.
type pen struct {
	to   io.Writer
	torn bool // a part of a line may stand there without its end
}

// put writes a line that ends in a newline. It reports whether all of it stands there, even
// if there is an error too. It returns when the writer does.
func (p *pen) put(line []byte) (written bool, err error) {
	data := line
	if p.torn { // or this line would be the end of that one, and both would be lost
		data = append([]byte{'\n'}, line...)
	}
	var n int
	failure := guard.Call(func() {
		n, err = p.to.Write(data)
		err = guard.Keep(err)
	})
	switch {
	case failure != nil:
		p.torn = true // nobody knows
		return false, errors.New("the Writer did not return: " + failure.String())
	case err == nil && n < len(data):
		err = io.ErrShortWrite
	}
	p.torn = n < len(data) && (n > 0 || p.torn)
	return n >= len(data)-1, err // it is whole without its newline, too
}
