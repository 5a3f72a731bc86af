// Package mark writes what is settled above a committed offset into the metadata
// of the commit, and reads it there.
//
// # The format
//
//	esm1:BASE64URL( codes(2) uvarint(epoch+1) uvarint(pairs) bits... crc32c(4) )
//
// Pairs are a run of offsets that are not settled and the run behind it of offsets
// that are, from the committed offset on. Both have a length of 1 at least, but for
// the very first, of 0: what an earlier owner settled may begin at the committed
// offset, and is not passed by it before it was fetched. Each of
// the two kinds has the code of the family that is the shortest for it: see code.
// The epoch is the largest of the leaders that wrote what is settled, -1 if it is
// not known.
//
// The checksum is over topic, partition, committed offset and all before it. So
// what somebody else wrote is not believed, nor what was copied beside another
// offset: MirrorMaker keeps the metadata of a commit and translates its offset.
//
// Brokers count the characters of the metadata and refuse a commit with too many
// of them (offset.metadata.max.bytes, 4,096 by default). The first pairs that fit
// are written then.
package mark

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"strings"

	"github.com/seed429fd032/esm/internal/offset"
	"github.com/seed429fd032/esm/internal/partition"
)

const (
	// Most is how long a mark is at most where a broker has its default.
	Most = 4096
	// Least is the limit from which on any pair fits.
	Least = 64
	// MostRuns is more than fits into Most.
	MostRuns = 3 * Most

	prefix = "esm1:"
	// read is how long a text may be that is looked at. A broker keeps its length
	// in 16 bits.
	read = math.MaxInt16
)

var (
	encoding = base64.RawURLEncoding.Strict()
	table    = crc32.MakeTable(crc32.Castagnoli)
)

// A Mark is what a commit says beside its offset.
type Mark struct {
	Epoch int32        // no record that is settled is of a later one
	Runs  []offset.Run // what is settled above the committed offset: they are in order, and do not touch
}

// Why a text is no mark. None is a reason to do anything but to go on without.
var (
	ErrForeign = errors.New("it is not of this library")
	ErrVersion = errors.New("it is of another version of this library")
	ErrOther   = errors.New("it does not belong to this offset of this partition, or is damaged")
)

// Write is the metadata of a commit: at most limit characters. It returns how
// many of the runs it says, the first ones. If it says none, it is empty.
func Write(id partition.ID, at int64, m Mark, limit int) (text string, said int) {
	epoch := uint64(int64(max(m.Epoch, -1)) + 1)
	var opens, dones sums // of the runs that are not settled, and of those that are
	var open, done code
	size := 0
	from := at - 1 // the first may have a length of 0
	for _, r := range m.Runs {
		opens.add(uint64(r.Lo - from - 1))
		dones.add(uint64(r.Hi - r.Lo - 1))
		from = r.Hi
		o, a := opens.least()
		d, b := dones.least()
		bytes := 2 + uvarint(epoch) + uvarint(uint64(said+1)) + int(a+b+7)/8 + crc32.Size
		if len(prefix)+encoding.EncodedLen(bytes) > limit {
			break // and what comes after it takes more
		}
		open, done, size = o, d, bytes
		said++
	}
	if said == 0 {
		return "", 0
	}
	w := writer{b: append(make([]byte, 0, size), byte(open), byte(done))}
	w.b = binary.AppendUvarint(w.b, epoch)
	w.b = binary.AppendUvarint(w.b, uint64(said))
	from = at - 1
	for _, r := range m.Runs[:said] {
		w.put(open, uint64(r.Lo-from-1))
		w.put(done, uint64(r.Hi-r.Lo-1))
		from = r.Hi
	}
	w.b = binary.BigEndian.AppendUint32(w.b, checksum(id, at, w.b))
	return prefix + encoding.EncodeToString(w.b), said
}

// Read is what the metadata of a commit says. An empty text says nothing, and so
// does one of somebody else, with an error.
func Read(id partition.ID, at int64, text string) (m Mark, err error) {
	if text == "" {
		return m, nil
	}
	encoded, ours := strings.CutPrefix(text, prefix)
	switch {
	case !ours && versioned(text):
		return m, ErrVersion
	case !ours:
		return m, ErrForeign
	case len(text) > read || strings.ContainsAny(encoded, "\r\n"): // which the decoder passes over
		return m, ErrOther
	}
	body, err := encoding.DecodeString(encoded)
	if err != nil || len(body) < crc32.Size || at < 0 {
		return m, ErrOther
	}
	body, sum := body[:len(body)-crc32.Size], binary.BigEndian.Uint32(body[len(body)-crc32.Size:])
	if checksum(id, at, body) != sum {
		return m, ErrOther
	}
	m, err = parse(at, body)
	if err != nil {
		return Mark{}, fmt.Errorf("%w: %w", ErrOther, err)
	}
	return m, nil
}

// parse reads what the checksum was right for.
func parse(at int64, body []byte) (m Mark, err error) {
	if len(body) < 2 || body[0] >= codes || body[1] >= codes {
		return m, errors.New("there are no codes")
	}
	open, done, body := code(body[0]), code(body[1]), body[2:]
	epoch, n := binary.Uvarint(body)
	if n <= 0 || epoch > math.MaxInt32+1 {
		return m, errors.New("there is no epoch")
	}
	body = body[n:]
	pairs, n := binary.Uvarint(body)
	if body = body[max(n, 0):]; n <= 0 || pairs == 0 || pairs > uint64(len(body))*8/2 { // a run takes a bit at least
		return m, errors.New("there are no pairs")
	}
	m.Epoch, m.Runs = int32(int64(epoch)-1), make([]offset.Run, pairs)
	r := reader{b: body}
	at-- // see Write
	for i := range m.Runs {
		for k, c := range [...]code{open, done} {
			length, ok := r.get(c)
			if !ok || length >= uint64(math.MaxInt64-at) {
				return m, fmt.Errorf("pair %d is none", i)
			}
			if at += int64(length) + 1; k == 0 {
				m.Runs[i].Lo = at
			} else {
				m.Runs[i].Hi = at
			}
		}
	}
	if !r.ended() {
		return m, errors.New("something comes after it")
	}
	return m, nil
}

// versioned reports whether a text is what another version of this library may
// write: esm, a number and a colon.
func versioned(text string) bool {
	rest, ours := strings.CutPrefix(text, "esm")
	number, _, ends := strings.Cut(rest, ":")
	return ours && ends && number != "" && strings.Trim(number, "0123456789") == ""
}

// uvarint is how many bytes a number takes.
func uvarint(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// checksum is over all that a mark belongs to, and what it says.
func checksum(id partition.ID, at int64, body []byte) uint32 {
	b := binary.AppendUvarint(make([]byte, 0, len(id.Topic)+32), uint64(len(id.Topic)))
	b = append(b, id.Topic...)
	b = binary.BigEndian.AppendUint32(b, uint32(id.Partition))
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	return crc32.Update(crc32.Checksum(b, table), table, body)
}
