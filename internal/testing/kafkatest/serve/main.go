// Command serve runs a real Kafka on this machine until it is interrupted, for
// trying things by hand:
//
//	go run ./internal/testing/kafkatest/serve -brokers 3
//
// It prints the addresses of the brokers in one line.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/seed429fd032/esm/internal/testing/kafkatest"
)

func main() {
	var c kafkatest.Config
	flag.IntVar(&c.Brokers, "brokers", 1, "number of brokers")
	flag.StringVar(&c.Memory, "memory", "384m", "heap of one broker")
	flag.BoolVar(&c.Fast, "fast", false, "fast rather than small")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k, err := kafkatest.Start(ctx, c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
	fmt.Println(strings.Join(k.Addrs, ","))
	<-ctx.Done()
	if err := k.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}
