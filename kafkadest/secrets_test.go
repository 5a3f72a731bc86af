package kafkadest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/seed429fd032/esm/internal/testing/secrettest"
	"github.com/seed429fd032/esm/kafkadest"
)

// TestSecretsAreNotSaid: those in addresses that are wrong, and what a dialer of
// the host says.
func TestSecretsAreNotSaid(t *testing.T) {
	ear := secrettest.New(t)
	password, token := ear.Plant(), ear.Plant()
	for _, broker := range []string{
		"sasl://user:" + password + "@kafka.test:9092", "user:" + password + "@kafka.test:9092", "user:" + password + "@kafka.test", password + "@kafka.test:9092",
		"kafka.test/" + token, "kafka.test:9092?sig=" + token, "user:" + password, "https://kafka.test/?code=" + token, "SASL_SSL://" + password + "/x@kafka.test:1",
	} {
		_, err := kafkadest.New(kafkadest.Config{Brokers: []string{"kafka.test", broker}, Topic: "failed"})
		if err == nil || !strings.Contains(err.Error(), "Brokers: number 2") {
			t.Errorf("%q: %v", broker, err)
		}
		ear.Hear("New", err)
	}
	for _, topic := range []string{"kafka://user:" + password + "@kafka.test/failed", "kafka://failed?sig=" + token} {
		_, err := kafkadest.New(kafkadest.Config{Brokers: []string{"kafka.test"}, Topic: topic})
		if err == nil {
			t.Errorf("it took %q", topic)
		}
		ear.Hear("New", err)
	}
	for name, said := range map[string]error{
		"a proxy": fmt.Errorf("dial socks5://user:%s@proxy.test:1080/?sig=%s: %w", password, token, &net.OpError{Op: "dial", Err: errors.New("refused")}),
		"a long":  fmt.Errorf("%s https://user:%s@proxy.test", strings.Repeat("x", 5<<20), password),
	} {
		dest, err := kafkadest.New(kafkadest.Config{Brokers: []string{"kafka.test:9092"}, Topic: "failed", Client: []kgo.Opt{
			kgo.SASL(plain.Auth{User: "user", Pass: password}.AsMechanism()),
			kgo.Dialer(func(context.Context, string, string) (net.Conn, error) { return nil, said }),
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, done := context.WithTimeout(t.Context(), time.Second)
		err = dest.Deliver(ctx, discard(1, "v"))
		done()
		if err == nil || len(err.Error()) > 10_000 {
			t.Errorf("%s: %.500v", name, err)
		}
		ear.Hear(name, err)
		if !strings.Contains(err.Error(), "kafka.test:9092") {
			t.Errorf("%s: the broker is not named: %.500v", name, err)
		}
		dest.Close()
	}
}

// TestOfALongErrorLittleIsKept by the Destination and by what it returns.
func TestOfALongErrorLittleIsKept(t *testing.T) {
	dest, err := kafkadest.New(kafkadest.Config{Brokers: []string{"kafka.test:9092"}, Topic: "failed", Client: []kgo.Opt{
		kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New(strings.Repeat("x", 10<<20))
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer dest.Close()
	var errs []error
	for i := range int64(10) {
		ctx, done := context.WithTimeout(t.Context(), 500*time.Millisecond)
		errs = append(errs, dest.Deliver(ctx, discard(i, "v")))
		done()
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	// The client keeps the last error of its own.
	if m.HeapAlloc > 60<<20 {
		t.Errorf("%d MiB of heap for %d errors of 10 MiB", m.HeapAlloc>>20, len(errs))
	}
	runtime.KeepAlive(errs)
}
