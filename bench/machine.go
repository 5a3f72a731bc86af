package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

// A machine is what the numbers depend on, without its name.
type machine struct {
	Processors int    `json:"processors"`
	CPU        string `json:"cpu,omitempty"`
	MemoryMiB  int64  `json:"memory_mib,omitempty"`
	OS         string `json:"os"`
	Go         string `json:"go"`
	Kafka      string `json:"kafka"`
	Java       string `json:"java,omitempty"`
}

// thisMachine asks the running system; what it does not tell is left out.
func thisMachine(ctx context.Context) machine {
	m := machine{
		Processors: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: strings.TrimPrefix(runtime.Version(), "go"), Kafka: kafkatest.Version,
	}
	m.CPU = field("/proc/cpuinfo", "model name")
	var kib int64
	if n, _ := fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kib); n == 1 {
		m.MemoryMiB = kib >> 10
	}
	if name := strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`); name != "" {
		m.OS = name + ", " + m.OS
	}
	// Its version is in quotes in the first line.
	if out, err := exec.CommandContext(ctx, "java", "-version").CombinedOutput(); err == nil {
		if parts := strings.Split(string(out), `"`); len(parts) > 1 {
			m.Java = parts[1]
		}
	}
	return m
}

// field is the value of a line "name : value" or "name=value" of a file.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok {
			continue
		}
		return strings.TrimSpace(strings.TrimLeft(rest, " \t:="))
	}
	return ""
}

func (m machine) String() string {
	s := fmt.Sprintf("%d processors", m.Processors)
	if m.CPU != "" {
		s += " (" + m.CPU + ")"
	}
	if m.MemoryMiB > 0 {
		s += fmt.Sprintf(", %.0f GiB of memory", float64(m.MemoryMiB)/1024)
	}
	s += fmt.Sprintf(", %s; Go %s, Apache Kafka %s", m.OS, m.Go, m.Kafka)
	if m.Java != "" {
		s += ", Java " + m.Java
	}
	return s + "; broker and contenders on this one machine"
}
