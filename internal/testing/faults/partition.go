package main

import (
	"fmt"
	"math"
	"sort"
	"time"
)

// A partitionView is what is known of one partition, whoever has it.
type partitionView struct {
	n     int32
	kind  holes
	times []uint8 // how often each offset was handled
	below int64   // all offsets below it were handled, or passed over
	grew  []mark  // when that was how much
	// passed are offsets that somebody passed over, as without a record, when
	// nobody had handled one there.
	passed map[int64]passing
	// ahead are offsets that were done with while one below was not: a commit may
	// have said so, and who begins after it passes them over.
	ahead   map[int64]bool
	commits []mark            // that hosts were told of
	logged  int64             // the furthest that the brokers wrote down
	all     []*assignmentView // in the order in which they began
	books   books

	end   int64            // as far as was told
	led   map[string]int64 // when a broker led it, by address
	taken int64            // retention took all below it, or is about to
	took  []mark           // when it was about to take up to where
	told  [][2]int64       // what hosts called lost: first and last

	// repeats are how often a record was handled again, and mayRepeat is how
	// many had been handled and not committed when an assignment ended.
	repeats, mayRepeat int64

	recent []string // the last lines, for who looks for the cause
}

// A mark is an offset at a time.
type mark struct{ at, offset int64 }

// A passing says who passed over an offset, and when.
type passing struct {
	at  int64
	who string
}

// books are what is known of a partition with transactions.
type books struct {
	shown   map[int64]int64  // the numbers of records that were shown, by offset
	at      map[int64]int64  // and the other way round
	outcome map[int64]string // of records' transactions, by number
	offset  map[int64]int64  // where records of committed transactions are, by number
	last    int64            // the largest of those, -1 if there is none
}

func newPartitionView(n int32) *partitionView {
	return &partitionView{n: n, kind: topicOf(n).kind, passed: map[int64]passing{}, ahead: map[int64]bool{}, led: map[string]int64{},
		books: books{map[int64]int64{}, map[int64]int64{}, map[int64]string{}, map[int64]int64{}, -1}}
}

// note keeps what a line says of the partition.
func (p *partitionView) note(l line, in part) {
	s := fmt.Sprintf("%s %-3s %s", clock(l.At), l.Host, l.Kind)
	switch l.Kind {
	case lineCall, lineEnd, lineReset, lineDeliver:
		s += fmt.Sprintf(" %s %v %s%s", l.Call, in.Spans, l.Outcome, l.Reason)
	case lineCommitted, lineLogged:
		s += fmt.Sprintf(" %d", in.Offset)
	case lineRevoked:
		s += fmt.Sprintf(" lost=%v cancelled=%d again=%d %s", l.Lost, l.Cancelled, l.Again, l.Err)
	case lineDiscarded:
		s += fmt.Sprintf(" %v %s", in.Spans, l.Reason)
	case lineGone:
		s += fmt.Sprintf(" %v", in.Spans)
	case lineTaken:
		s += fmt.Sprintf(" all below %d", in.Offset)
	case lineTransaction, lineEnds:
		return // there are many
	}
	if len(p.recent) == 60 {
		p.recent = p.recent[1:]
	}
	p.recent = append(p.recent, s)
}

func clock(at int64) string { return time.Unix(0, at).Format("15:04:05.000") }

// handled reports whether somebody handled what is at an offset.
func (p *partitionView) handled(o int64) bool { return o < int64(len(p.times)) && p.times[o] > 0 }

// beyond is the first offset from one on that is not ahead, and that nobody called
// lost.
func (p *partitionView) beyond(o int64) int64 {
	for {
		at := p.over(o)
		for p.ahead[at] {
			at++
		}
		if at == o {
			return at
		}
		o = at
	}
}

// count notes that an offset was handled, and says whether it was before.
func (p *partitionView) count(o, at int64) (again bool) {
	for int64(len(p.times)) <= o {
		p.times = append(p.times, 0)
	}
	again = p.times[o] > 0
	if p.times[o] < math.MaxUint8 {
		p.times[o]++
	}
	p.grow(at)
	return again
}

// grow moves below over what was handled or passed over.
func (p *partitionView) grow(at int64) {
	was := p.below
	for p.handled(p.below) || p.passed[p.below].at > 0 {
		p.below++
	}
	if p.below > was {
		if n := len(p.grew); n > 0 { // one that the log brought late
			at = max(at, p.grew[n-1].at)
		}
		p.grew = append(p.grew, mark{at, p.below})
	}
}

// belowAt is what below was at a time.
func (p *partitionView) belowAt(at int64) int64 {
	i := sort.Search(len(p.grew), func(i int) bool { return p.grew[i].at > at })
	if i == 0 {
		return 0
	}
	return p.grew[i-1].offset
}

// farthest is how many offsets without a record can lie one beside the other
// here: more than there are in a run.
const farthest = 1 << 20

// takenAt is what taken was at a time.
func (p *partitionView) takenAt(at int64) (upto int64) {
	for _, t := range p.took {
		if t.at <= at {
			upto = max(upto, t.offset)
		}
	}
	return upto
}

// pass notes that somebody took all below an offset for done with. It
// returns false if that cannot be: nobody had handled an offset, which is p.below,
// and there is no hole. Whether there is one, is known later (see whole).
func (p *partitionView) pass(upto, at int64, who string) bool {
	if upto <= p.below {
		return true
	}
	if p.kind == noHoles {
		for o := p.below; o < min(upto, p.taken); o++ {
			if !p.handled(o) && p.passed[o].at == 0 {
				p.passed[o] = passing{at, who}
			}
		}
		p.grow(at)
		return upto <= p.below
	}
	if upto-p.below > farthest {
		return false
	}
	for o := p.below; o < upto; o++ {
		if !p.handled(o) {
			p.passed[o] = passing{at, who}
		}
	}
	p.grow(at)
	return true
}

// skip notes that an assignment went from one record to another and saw
// nothing in between.
func (p *partitionView) skip(from, to, at int64, who string) {
	for o := from; o < to; o++ {
		// What was handled before may have been taken by compaction since. Of
		// transactions nothing is taken.
		if p.kind == transactionHoles || !p.handled(o) {
			p.passed[o] = passing{at, who}
		}
	}
	p.grow(at)
}

// show notes that a record was shown to a function, by the number that is
// written in it. It returns what is wrong with that.
func (p *partitionView) show(o, seq int64) string {
	if p.kind != transactionHoles {
		return ""
	}
	if was, ok := p.books.shown[o]; ok && was != seq {
		return fmt.Sprintf("offset %d shows record %d, and showed %d before", o, seq, was)
	}
	p.books.shown[o], p.books.at[seq] = seq, o
	return p.bookedAsShown(seq)
}

// ends notes how the transaction of a record ended, and says what is
// wrong with what was shown of it.
func (p *partitionView) ends(o, seq int64, outcome string) string {
	p.books.outcome[seq] = outcome
	if outcome == committed {
		p.books.offset[seq] = o
		p.books.last = max(p.books.last, o)
	}
	if _, shown := p.books.at[seq]; shown {
		return p.bookedAsShown(seq)
	}
	return ""
}

// bookedAsShown compares what was shown of a record with what is known of its
// transaction.
func (p *partitionView) bookedAsShown(seq int64) string {
	at := p.books.at[seq]
	switch p.books.outcome[seq] {
	case aborted:
		return fmt.Sprintf("offset %d shows record %d, whose transaction was aborted", at, seq)
	case committed:
		if is := p.books.offset[seq]; is != at {
			return fmt.Sprintf("offset %d shows record %d, which is at %d", at, seq, is)
		}
	}
	return ""
}

// whole says what is missing below the end of the partition, and how many
// offsets had no record to handle.
func (p *partitionView) whole(seed uint64, end int64) (missing string, without int) {
	for o := range end {
		if !p.handled(o) {
			without++
		}
	}
	switch p.kind {
	case noHoles:
		if !p.pass(min(end, p.taken), math.MaxInt64, "") || p.below < end {
			return fmt.Sprintf("%d was never handled, and the end is %d", p.below, end), without
		}
		for o := range end {
			if !p.handled(o) && p.over(o) == o {
				return fmt.Sprintf("%d was never handled%s: retention took it, and no host called it lost", o, p.passed[o]), without
			}
		}
	case compactionHoles:
		last := map[string]int64{}
		for o := range end {
			last[string(recordOf(seed, p.n, o).Key)] = o
		}
		for key, o := range last {
			if !p.handled(o) {
				return fmt.Sprintf("%d was never handled%s, and nothing with its key %q came after it", o, p.passed[o], key), without
			}
		}
	case transactionHoles:
		for seq, o := range p.books.offset {
			switch passed, ok := p.passed[o]; {
			case ok:
				return fmt.Sprintf("%d has record %d of a transaction that was committed, and was not shown%s", o, seq, passed), without
			case !p.handled(o):
				return fmt.Sprintf("%d was never handled", o), without
			}
		}
	}
	if p.logged > end {
		return fmt.Sprintf("%d is committed, and the end is %d", p.logged, end), without
	}
	return "", without
}

func (p passing) String() string {
	if p.at == 0 || p.at == math.MaxInt64 {
		return "" // nobody did
	}
	return fmt.Sprintf(" (%s %s)", p.who, clock(p.at))
}
