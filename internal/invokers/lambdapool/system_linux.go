package lambdapool

import (
	"os"
	"strconv"
	"strings"
)

// CanLimitMemory is whether residentMemory knows.
const CanLimitMemory = true

// residentMemory is how much memory a process has in RAM, 0 if it has ended.
func residentMemory(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
