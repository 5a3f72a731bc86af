package awslambda_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed429fd032/esm/awslambda"
)

// serverVariable makes this test program a server that answers at once, so that
// its work is not counted as that of the client.
const serverVariable = "AWSLAMBDA_BENCH_SERVER"

func benchServer() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent ends
		os.Exit(0)
	}()
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "null")
	}))
}

// startServer starts that server, and returns its URL.
func startServer(b *testing.B) string {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverVariable+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return "http://" + strings.TrimSpace(line)
}

// parallelism is how many calls run at once, for each processor.
const parallelism = 50

// BenchmarkInvoke is invocations of a function that returns at once: by this
// package, and by a plain POST of the same body, which is what it costs at
// least. cpu-us/op is the processor time of this process, without the server.
func BenchmarkInvoke(b *testing.B) {
	for _, size := range []struct {
		name          string
		records, each int
	}{{"100B", 1, 10}, {"140KB", 100, 1000}} {
		batch := batch(size.records, size.each)
		b.Run("sdk/"+size.name, func(b *testing.B) {
			inv, err := awslambda.New(config(startServer(b)), "orders")
			if err != nil {
				b.Fatal(err)
			}
			defer inv.Close()
			measure(b, func() error { return inv.Invoke(b.Context(), batch) })
		})
		b.Run("post/"+size.name, func(b *testing.B) {
			url := startServer(b)
			body := batch.AppendJSON(nil)
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
			defer client.CloseIdleConnections()
			measure(b, func() error {
				resp, err := client.Post(url, "application/json", bytes.NewReader(body))
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				_, err = io.Copy(io.Discard, resp.Body)
				return err
			})
		})
	}
}

func measure(b *testing.B, call func() error) {
	b.ReportAllocs()
	b.SetParallelism(parallelism)
	began := cpuSeconds()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := call(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric((cpuSeconds()-began)*1e6/float64(b.N), "cpu-us/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "invocations/s")
}
