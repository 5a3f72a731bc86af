package kafkatest

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// TestLoginOfThreeBrokers: who logs in may do what an ACL says, and nothing
// after it was taken away, and the brokers among themselves all.
func TestLoginOfThreeBrokers(t *testing.T) {
	if !Wanted() {
		t.Skip(NotWanted)
	}
	k, err := Start(t.Context(), Config{Brokers: 3, Secure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	}()
	client := func(seeds []string, opts ...kgo.Opt) *kadm.Client {
		cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(seeds...))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cl.Close)
		return kadm.NewClient(cl)
	}
	all := client(k.Addrs)
	app := client(k.Security.Login, kgo.SASL(plain.Auth{User: User, Pass: Password}.AsMechanism()))
	right := kadm.NewACLs().Allow("User:" + User).AllowHosts().Groups("g").ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpRead)
	allowed := func(want error) {
		t.Helper()
		for until := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) { // each broker hears of it by itself
			_, err := app.FetchOffsets(t.Context(), "g")
			if errors.Is(err, want) {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("%v, want %v", err, want)
			}
		}
	}
	allowed(kerr.GroupAuthorizationFailed)
	if _, err := all.CreateACLs(t.Context(), right); err != nil {
		t.Fatal(err)
	}
	allowed(nil)
	if _, err := all.DeleteACLs(t.Context(), right); err != nil {
		t.Fatal(err)
	}
	allowed(kerr.GroupAuthorizationFailed)
}
