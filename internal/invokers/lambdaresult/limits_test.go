package lambdaresult

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"
)

// held is how much memory what make makes holds, in bytes for each of n.
func held[T any](n int, make func() T) int {
	var before, after runtime.MemStats
	all := []T{}
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		all = append(all, make())
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(all)
	return (int(after.HeapAlloc) - int(before.HeapAlloc)) / n
}

// TestOfALongErrorLittleIsKept: a function may say megabytes in each part of it.
func TestOfALongErrorLittleIsKept(t *testing.T) {
	const mega = 2 << 20
	long := strings.Repeat("ż", mega/2)
	for name, payload := range map[string]string{
		"message":          `{"errorType":"E","errorMessage":"` + long + `"}`,
		"type":             `{"errorType":"` + long + `","errorMessage":"m"}`,
		"a line":           `{"errorType":"E","stackTrace":["` + long + `"]}`,
		"100,000 lines":    `{"errorType":"E","stackTrace":["` + strings.Repeat(`at the line of a function","`, 100_000) + `the last"]}`,
		"lines of objects": `{"errorType":"E","trace":[` + strings.Repeat(`{"path":"p","line":1},`, 100_000) + `{}]}`,
		"no JSON":          long,
	} {
		e := ReadError([]byte(payload))
		size := len(e.Type) + len(e.Message)
		for _, line := range e.Stack {
			size += len(line)
			if !utf8.ValidString(line) {
				t.Errorf("%s: %q", name, line)
			}
		}
		if size > 25<<10 || len(e.Stack) > 101 || !utf8.ValidString(e.Type+e.Message) || len(e.String()) > 5000 {
			t.Errorf("%s: %d bytes, %d lines", name, size, len(e.Stack))
		}
		if n := len(e.Stack); n > 1 && !strings.HasSuffix(e.Stack[n-1], " lines more)") {
			t.Errorf("%s: the last line is %q", name, e.Stack[n-1])
		}
		if got := held(3, func() Error { return ReadError([]byte(payload)) }); got > 64<<10 {
			t.Errorf("%s: %d KiB are held of each", name, got>>10)
		}
	}
}

// TestOfALongAnswerLittleIsKept, and little said.
func TestOfALongAnswerLittleIsKept(t *testing.T) {
	long := strings.Repeat("9", 1<<20)
	for name, payload := range map[string]string{
		"no JSON":             long + "x",
		"a number":            `{"batchItemFailures":` + long + `}`,
		"a list in an answer": `{"batchItemFailures":{"x":"` + long + `"}}`,
		"an identifier":       `{"batchItemFailures":[{"itemIdentifier":"` + long + `"}]}`,
		"a partition":         `{"batchItemFailures":[{"itemIdentifier":{"partition":"` + long + `","offset":1}}]}`,
		"an offset":           `{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":` + long + `}}]}`,
		"a text as offset":    `{"batchItemFailures":[{"itemIdentifier":{"partition":"orders-0","offset":"` + long + `"}}]}`,
		"a wrong partition":   `{"batchItemFailures":[{"itemIdentifier":{"partition":` + long + `,"offset":1}}]}`,
		"a wrong identifier":  `{"batchItemFailures":[{"itemIdentifier":` + long + `}]}`,
		"500,000 items":       `{"batchItemFailures":[` + strings.Repeat("{},", 500_000) + `{}]}`,
	} {
		err := Items(mixed(), []byte(payload))
		if err == nil || failed(err) != nil || len(err.Error()) > 10<<10 {
			t.Errorf("%s: %.500v", name, err)
			continue
		}
		for part := err; part != nil; part = errors.Unwrap(part) {
			if len(part.Error()) > 10<<10 {
				t.Errorf("%s: a part of the error has %d bytes", name, len(part.Error()))
			}
		}
		if got := held(3, func() error { return Items(mixed(), []byte(payload)) }); got > 64<<10 {
			t.Errorf("%s: %d KiB are held of each", name, got>>10)
		}
	}
}

// TestOneRecordManyTimes: an answer takes no more memory than it has bytes.
func TestOneRecordManyTimes(t *testing.T) {
	payload := []byte(`{"batchItemFailures":[` + strings.Repeat(`{"itemIdentifier":"orders-0-5"},`, 100_000) + `{"itemIdentifier":"orders-0-5"}]}`)
	if !json.Valid(payload) {
		t.Fatal("the test is wrong")
	}
	err := Items(mixed(), payload)
	if got := failed(err); len(got) != 1 || got[0] != "orders/0/5" {
		t.Errorf("%d records failed", len(got))
	}
}
