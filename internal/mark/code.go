package mark

import "math/bits"

// A code writes a number as bits. There are two kinds, with a parameter k each
// that says how many of the lowest bits are written as they are; the rest is
//
//   - of a Rice code that many ones and a zero: Rice with k 0 is a bit map, and
//     the larger k is, the more it is like a length of fixed size;
//   - of an exponential Golomb code its length in ones, and then itself: a huge
//     number among small ones costs little.
//
// So one family is good for any pattern, where a bit map, lengths of two and four
// bytes, and compression of each would be needed otherwise.
type code uint8

const (
	parameters = 13 // k is 0 to 12
	codes      = 2 * parameters
)

// split divides a number into what is written as ones, or as a length and itself,
// and how many bits are written as they are.
func (c code) split(v uint64) (rest uint64, low uint, exponential bool) {
	low = uint(c)
	if exponential = low >= parameters; exponential {
		low -= parameters
	}
	return v >> low, low, exponential
}

// sums are how many bits all codes would take for some numbers.
type sums [codes]uint64

// tooMuch is more bits than fit into anything, and far from overflow.
const tooMuch = 1 << 40

func (s *sums) add(v uint64) {
	for k := range uint64(parameters) {
		rest := v >> k
		s[k] += min(rest, tooMuch) + 1 + k
		s[parameters+k] += uint64(2*bits.Len64(rest+1)-1) + k
	}
}

// least is the code that takes the least, and what it takes.
func (s *sums) least() (best code, bits uint64) {
	bits = s[0]
	for c, n := range s {
		if n < bits {
			best, bits = code(c), n
		}
	}
	return best, bits
}

// A writer writes bits, the highest of a byte first.
type writer struct {
	b    []byte
	room uint // bits of the last byte
}

// low writes the n lowest bits of a number.
func (w *writer) low(v uint64, n uint) {
	for n > 0 {
		if w.room == 0 {
			w.b, w.room = append(w.b, 0), 8
		}
		some := min(n, w.room)
		n -= some
		w.room -= some
		w.b[len(w.b)-1] |= byte(v >> n & (1<<some - 1) << w.room)
	}
}

// ones writes so many ones and a zero.
func (w *writer) ones(n uint64) {
	for ; n >= 32; n -= 32 {
		w.low(1<<32-1, 32)
	}
	w.low(1<<(n+1)-2, uint(n+1))
}

func (w *writer) put(c code, v uint64) {
	rest, low, exponential := c.split(v)
	if exponential {
		n := uint(bits.Len64(rest + 1)) // whose highest bit is a one
		w.ones(uint64(n - 1))
		w.low(rest+1, n-1)
	} else {
		w.ones(rest)
	}
	w.low(v, low)
}

// A reader reads bits.
type reader struct {
	b  []byte
	at uint // in bits
}

// left is how many bits are not read.
func (r *reader) left() uint { return 8*uint(len(r.b)) - r.at }

// low reads n bits, 63 at most.
func (r *reader) low(n uint) (v uint64, ok bool) {
	if n > r.left() {
		return 0, false
	}
	for n > 0 {
		here := 8 - r.at%8
		some := min(n, here)
		v = v<<some | uint64(r.b[r.at/8])>>(here-some)&(1<<some-1)
		n -= some
		r.at += some
	}
	return v, true
}

// ones reads ones up to a zero.
func (r *reader) ones() (n uint64, ok bool) {
	for r.left() > 0 {
		here := 8 - r.at%8
		row := uint(bits.LeadingZeros8(^(r.b[r.at/8] << (r.at % 8))))
		if row < here {
			r.at += row + 1
			return n + uint64(row), true
		}
		n += uint64(here)
		r.at += here
	}
	return 0, false
}

// get reads a number. It is false where there is none, or one that is larger than
// any offset.
func (r *reader) get(c code) (v uint64, ok bool) {
	_, low, exponential := c.split(0)
	rest, ok := r.ones()
	if ok && exponential {
		if rest >= 63 {
			return 0, false
		}
		n := uint(rest)
		rest, ok = r.low(n)
		rest += 1<<n - 1
	}
	if !ok || bits.Len64(rest)+int(low) > 63 {
		return 0, false
	}
	v, ok = r.low(low)
	return rest<<low | v, ok
}

// ended reports whether only what fills the last byte is left.
func (r *reader) ended() bool {
	left := r.left()
	fill, _ := r.low(min(left, 8))
	return left < 8 && fill == 0
}
