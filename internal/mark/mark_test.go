package mark

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/seed429fd032/esm/internal/offset"
	"github.com/seed429fd032/esm/internal/partition"
	"github.com/seed429fd032/esm/internal/testing/build"
)

var orders7 = partition.ID{Topic: "orders", Partition: 7}

// some makes runs above an offset whose lengths come from two sources.
func some(at int64, n int, open, done func() int64) (runs []offset.Run) {
	for range n {
		lo := at + open()
		at = lo + done()
		runs = append(runs, offset.Run{Lo: lo, Hi: at})
	}
	return runs
}

// anyRuns makes runs of any kind: few or many, alike or not, small or huge.
func anyRuns(rng *rand.Rand, at int64, most int) []offset.Run {
	lengths := func() func() int64 {
		large := 1 + rng.Int64N(1<<rng.IntN(40))
		rare := rng.IntN(50)
		return func() int64 {
			if rng.IntN(50) < rare {
				return 1 + rng.Int64N(3)
			}
			return 1 + rng.Int64N(large)
		}
	}
	runs := some(at, 1+rng.IntN(most), lengths(), lengths())
	if rng.IntN(8) == 0 { // it may begin at the offset itself
		runs[0].Lo = at
	}
	return runs
}

func same(t *testing.T, at int64, m Mark, limit int) {
	t.Helper()
	text, said := Write(orders7, at, m, limit)
	if len(text) > limit {
		t.Fatalf("%d characters, and the limit is %d", len(text), limit)
	}
	got, err := Read(orders7, at, text)
	if err != nil {
		t.Fatal(err)
	}
	if said == 0 {
		if text != "" || len(m.Runs) > 0 && limit >= Least {
			t.Fatalf("nothing of %d runs is said in %d characters: %q", len(m.Runs), limit, text)
		}
		return
	}
	if got.Epoch != m.Epoch || !slices.Equal(got.Runs, m.Runs[:said]) {
		t.Fatalf("limit %d, %d runs said:\n%v\n%v", limit, said, m, got)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for seed := range uint64(build.Volume(3_000, 300)) {
		rng := rand.New(rand.NewPCG(seed, 1))
		at := rng.Int64N(1 << rng.IntN(62))
		m := Mark{Epoch: rng.Int32N(1<<rng.IntN(31)) - 1, Runs: anyRuns(rng, at, 1+rng.IntN(300))}
		if m.Runs[len(m.Runs)-1].Hi < at { // over the end of all offsets
			continue
		}
		same(t, at, m, rng.IntN(2*Most))
	}
}

// TestEveryLimit: what fits is written, up to the character, and never less of it
// because there is more room.
func TestEveryLimit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	m := Mark{Epoch: 5, Runs: anyRuns(rng, 100, 1)}
	m.Runs = append(m.Runs, some(m.Runs[0].Hi, 4000, func() int64 { return 1 + rng.Int64N(5) }, func() int64 { return 1 + rng.Int64N(100) })...)
	was := 0
	for limit := 0; limit < Most+100; limit += 1 + limit/64 {
		same(t, 100, m, limit)
		text, said := Write(orders7, 100, m, limit)
		if said < was {
			t.Fatalf("%d characters say %d runs, and one less said %d", limit, said, was)
		}
		if was = said; said == 0 {
			continue
		}
		if _, more := Write(orders7, 100, Mark{m.Epoch, m.Runs[:said+1]}, len(text)); more > said {
			t.Fatalf("%d characters have room for %d runs, and %d are said", len(text), more, said)
		}
	}
}

// TestExtremes: the largest numbers that there are.
func TestExtremes(t *testing.T) {
	const end = math.MaxInt64
	for _, tt := range []struct {
		at   int64
		m    Mark
		says bool
	}{
		{0, Mark{math.MaxInt32, []offset.Run{{Lo: end / 2, Hi: end - 1}}}, true},
		{end - 3, Mark{-1, []offset.Run{{Lo: end - 2, Hi: end - 1}}}, true},
		{0, Mark{0, []offset.Run{{Lo: 1, Hi: end - 1}}}, true},
		{0, Mark{0, []offset.Run{{Lo: 0, Hi: 1}}}, true},
		{5, Mark{0, nil}, false},
	} {
		same(t, tt.at, tt.m, Least)
		if text, said := Write(orders7, tt.at, tt.m, Least); (said > 0) != tt.says {
			t.Errorf("%v: %q says %d runs", tt.m, text, said)
		}
	}
}

// TestTheFormat stays as it is: other versions have to read it, or to see that they
// cannot.
func TestTheFormat(t *testing.T) {
	for _, tt := range []struct {
		at   int64
		m    Mark
		text string
	}{
		{10, Mark{3, []offset.Run{{Lo: 11, Hi: 20}}}, "esm1:AAIEAbDsykz9"},
		{0, Mark{-1, []offset.Run{{Lo: 0, Hi: 1}}}, "esm1:AAAAAQDE7AFz"},
		{10, Mark{3, []offset.Run{{Lo: 11, Hi: 20}, {Lo: 25, Hi: 900}}}, "esm1:AREEAlGfXoDtBBR7"},
		{1 << 40, Mark{70_000, []offset.Run{{Lo: 1<<40 + 1, Hi: 1<<40 + 1_000_001}, {Lo: 1<<40 + 1_000_002, Hi: 1<<40 + 1_000_003}, {Lo: 1<<40 + 1_000_004, Hi: 1<<40 + 1_000_010}}},
			"esm1:AA7xogQDv__3QkEL47wZUw"},
	} {
		if text, said := Write(orders7, tt.at, tt.m, Most); text != tt.text || said != len(tt.m.Runs) {
			t.Errorf("%v above %d is written as %s, not %s", tt.m, tt.at, text, tt.text)
		}
		if m, err := Read(orders7, tt.at, tt.text); err != nil || m.Epoch != tt.m.Epoch || !slices.Equal(m.Runs, tt.m.Runs) {
			t.Errorf("%s is read as %v, %v", tt.text, m, err)
		}
	}
}

// TestCapacity is how far a commit sees with 4,096 characters.
func TestCapacity(t *testing.T) {
	const at = 1 << 40
	rng := rand.New(rand.NewPCG(1, 2))
	fixed := func(n int64) func() int64 { return func() int64 { return n } }
	// random is that each offset is settled or not by itself.
	random := func(unsettled float64) func(int) []offset.Run {
		run := func(p float64) func() int64 {
			return func() int64 { return 1 + int64(rng.ExpFloat64()/-math.Log(1-p)) }
		}
		return func(n int) []offset.Run { return some(at, n, run(1-unsettled), run(unsettled)) }
	}
	for _, tt := range []struct {
		what    string
		make    func(n int) []offset.Run
		offsets int64 // at least
		pairs   int
	}{
		{"in turn", func(n int) []offset.Run { return some(at, n, fixed(1), fixed(1)) }, 24_470, 12_235},
		{"pairs in turn", func(n int) []offset.Run { return some(at, n, fixed(2), fixed(2)) }, 24_460, 6_115},
		{"half at random", random(.5), 24_400, 6_090},
		{"a tenth unsettled", random(.1), 46_000, 4_130},
		{"a twentieth unsettled", random(.05), 75_000, 3_530},
		{"a hundredth unsettled", random(.01), 268_000, 2_640},
		{"a thousandth unsettled", random(.001), 1_900_000, 1_930},
	} {
		m := Mark{Epoch: 40, Runs: tt.make(MostRuns)}
		text, said := Write(orders7, at, m, Most)
		if said < tt.pairs || m.Runs[said-1].Hi-at < tt.offsets {
			t.Errorf("%s: %d characters say %d pairs, which are %d offsets", tt.what, len(text), said, m.Runs[said-1].Hi-at)
		}
		same(t, at, m, Most)
	}
	stuck := Mark{Epoch: 40, Runs: []offset.Run{{Lo: at + 1, Hi: at + 1_000_000}}}
	if text, _ := Write(orders7, at, stuck, Most); len(text) > 21 {
		t.Errorf("one that is stuck takes %d characters", len(text))
	}
	// Ten batches of a hundred are in flight, which end in any order.
	for _, tt := range []struct{ batches, most int }{{10, 180}, {100, 1_600}} {
		done, runs := make([]bool, 100*tt.batches), []offset.Run(nil)
		for i := range done {
			done[i] = rng.IntN(6) > 0
		}
		for i := 0; i < len(done); i++ {
			if i > 0 && done[i] && !done[i-1] {
				runs = append(runs, offset.Run{Lo: at + int64(i), Hi: at + int64(i)})
			}
			if done[i] && len(runs) > 0 {
				runs[len(runs)-1].Hi++
			}
		}
		if text, said := Write(orders7, at, Mark{40, runs}, Most); said != len(runs) || len(text) > tt.most {
			t.Errorf("%d batches: %d of %d pairs in %d characters", tt.batches, said, len(runs), len(text))
		}
	}
}

// TestWhatDoesNotBelongHereIsRefused.
func TestWhatDoesNotBelongHereIsRefused(t *testing.T) {
	m := Mark{Epoch: 3, Runs: []offset.Run{{Lo: 11, Hi: 20}, {Lo: 25, Hi: 900}}}
	text, _ := Write(orders7, 10, m, Most)
	if got, err := Read(orders7, 10, text); err != nil || !slices.Equal(got.Runs, m.Runs) {
		t.Fatalf("%v, %v", got, err)
	}
	for what, tt := range map[string]struct {
		id   partition.ID
		at   int64
		text string
		want error
	}{
		"another offset":         {orders7, 11, text, ErrOther},
		"no offset":              {orders7, -1, text, ErrOther},
		"another partition":      {partition.ID{Topic: "orders", Partition: 8}, 10, text, ErrOther},
		"another topic":          {partition.ID{Topic: "order", Partition: 7}, 10, text, ErrOther},
		"another version":        {orders7, 10, "esm2:" + text[5:], ErrVersion},
		"a later version":        {orders7, 10, "esm17:anything", ErrVersion},
		"a member id":            {orders7, 10, "kgo-1b7bd4ee-4a9f-4a0f-a49f-0f0f0f0f0f0f", ErrForeign},
		"Kafka Streams":          {orders7, 10, "AgAAAYxT1Qk=", ErrForeign},
		"something like ours":    {orders7, 10, "esm:1", ErrForeign},
		"only the prefix":        {orders7, 10, "esm1:", ErrOther},
		"a line break in it":     {orders7, 10, text[:10] + "\n" + text[10:], ErrOther},
		"what comes behind it":   {orders7, 10, text + "AAAA", ErrOther},
		"padding":                {orders7, 10, text + "=", ErrOther},
		"more than a broker has": {orders7, 10, "esm1:" + strings.Repeat("A", math.MaxInt16), ErrOther},
	} {
		if got, err := Read(tt.id, tt.at, tt.text); !errors.Is(err, tt.want) || len(got.Runs) > 0 {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	if got, err := Read(orders7, 10, ""); err != nil || len(got.Runs) > 0 {
		t.Errorf("an empty text: %v, %v", got, err)
	}
	body, err := base64.RawURLEncoding.DecodeString(text[len(prefix):])
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(body) {
		flipped := slices.Clone(body)
		flipped[i/8] ^= 1 << (i % 8)
		if got, err := Read(orders7, 10, prefix+base64.RawURLEncoding.EncodeToString(flipped)); err == nil {
			t.Errorf("bit %d is another one, and it says %v", i, got)
		}
	}
	for i := range text {
		for b := range 8 {
			flipped := []byte(text)
			flipped[i] ^= 1 << b
			if got, err := Read(orders7, 10, string(flipped)); err == nil {
				t.Errorf("bit %d of character %d is another one, and it says %v", b, i, got)
			}
		}
	}
}

// sealed is a text with a right checksum, whatever is in it.
func sealed(id partition.ID, at int64, body []byte) string {
	return prefix + base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(slices.Clip(body), checksum(id, at, body)))
}

// judge is what holds for anything that is read.
func judge(t *testing.T, at int64, text string) {
	t.Helper()
	m, err := Read(orders7, at, text)
	if err != nil {
		if len(m.Runs) > 0 {
			t.Fatalf("%v, and %d runs", err, len(m.Runs))
		}
		return
	}
	if len(m.Runs) > 4*len(text) {
		t.Fatalf("%d runs of %d characters", len(m.Runs), len(text))
	}
	end := at - 1
	for _, r := range m.Runs {
		if r.Lo <= end || r.Hi <= r.Lo {
			t.Fatalf("run %v after %d", r, end)
		}
		end = r.Hi
	}
	if len(m.Runs) > 0 && m.Epoch < -1 {
		t.Fatalf("epoch %d", m.Epoch)
	}
}

// TestABombIsRefused: what claims to be much is not made room for.
func TestABombIsRefused(t *testing.T) {
	for _, pairs := range []uint64{1 << 62, 1 << 40, 30_000_000, 200_000} {
		body := binary.AppendUvarint([]byte{0, 0, 1}, pairs)
		body = append(body, make([]byte, 20_000)...)
		text := sealed(orders7, 10, body)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := Read(orders7, 10, text)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%d pairs: %d runs", pairs, len(m.Runs))
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
			t.Errorf("%d pairs take %d bytes", pairs, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	text, _ := Write(orders7, 10, Mark{Epoch: 3, Runs: []offset.Run{{Lo: 11, Hi: 20}, {Lo: 25, Hi: 900}}}, Most)
	f.Add(int64(10), text, []byte{13, 13, 4, 2, 9})
	f.Add(int64(0), "esm1:", []byte{0, 0, 1, 1, 0})
	f.Add(int64(math.MaxInt64-5), "esm2:AAAA", []byte{25, 25, 0, 1, 255, 255, 255})
	f.Fuzz(func(t *testing.T, at int64, text string, body []byte) {
		judge(t, at, text)
		if at < 0 || len(body) > 1<<14 {
			return
		}
		sealed := sealed(orders7, at, body) // or nothing would come past the checksum
		judge(t, at, sealed)
		m, err := Read(orders7, at, sealed)
		if err == nil {
			same(t, at, m, 2*len(sealed)+Least)
		}
	})
}

func BenchmarkMark(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	m := Mark{Epoch: 3, Runs: some(1000, 2_700, func() int64 { return 1 }, func() int64 { return 1 + rng.Int64N(200) })}
	text, said := Write(orders7, 1000, m, Most)
	b.Run(fmt.Sprintf("write/%d", said), func(b *testing.B) {
		for b.Loop() {
			Write(orders7, 1000, m, Most)
		}
	})
	b.Run(fmt.Sprintf("read/%d", said), func(b *testing.B) {
		for b.Loop() {
			_, _ = Read(orders7, 1000, text)
		}
	})
}
