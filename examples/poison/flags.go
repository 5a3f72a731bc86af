package main

import "github.com/seed429fd032/esm/examples/internal/demo"

type settings struct {
	records, poison int
}

// Flags defines the flags.
func (s *settings) Flags(f *demo.Flags) {
	f.Number(&s.records, "records", 40_000, 1000, 1_000_000, "how many records there are, with the poison; 40,000 take 3 s if there is none")
	f.Number(&s.poison, "poison", 3, 0, 100, "how many of them are poison, in 2 of the 4 partitions; one holds its partition up for about 1.7 s")
	f.JSON()
}

// places says at which offsets the poison is. It is in two partitions, so that
// the others show that they do not wait, and in the first quarter of these, so
// that the others still have records then. 37 keeps it away from where the
// halves of a batch end.
func (s *settings) places() map[int32][]int64 {
	of := [...]struct {
		partition int32
		n         int
	}{{2, (s.poison + 1) / 2}, {1, s.poison / 2}}
	at := map[int32][]int64{}
	for _, p := range of {
		for i := range p.n {
			at[p.partition] = append(at[p.partition], int64(37+(2*i+1)*(s.records/partitions/4)/(2*p.n)))
		}
	}
	return at
}

// ends says how many records each partition has.
func (s *settings) ends() map[int32]int64 {
	ends := map[int32]int64{}
	for p := range partitions {
		ends[int32(p)] = int64((s.records + partitions - 1 - p) / partitions)
	}
	return ends
}
