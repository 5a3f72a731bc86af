package main

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// TestRightsAreTakenOfOneThing: and given back.
func TestRightsAreTakenOfOneThing(t *testing.T) {
	k, err := kfake.NewCluster(kfake.EnableACLs(), kfake.EnableSASL(), kfake.Superuser("PLAIN", "admin", "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.SASL(plain.Auth{User: "admin", Pass: "a"}.AsMechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	p := &parent{admin: kadm.NewClient(cl), judge: newJudge(storySeed)}
	there := func() (names []string) {
		t.Helper()
		for _, a := range []*kadm.ACLBuilder{rights{topics: topicNames()}.acl(), rights{groups: []string{group}}.acl()} {
			found, err := p.admin.DescribeACLs(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				for _, d := range f.Described {
					names = append(names, d.Name)
				}
			}
		}
		slices.Sort(names)
		return names
	}
	if err := p.giveRights(t.Context(), allRights()); err != nil {
		t.Fatal(err)
	}
	all := []string{"billing", "ledger", "orders", "prices"}
	if got := there(); !slices.Equal(got, all) {
		t.Fatalf("%q", got)
	}
	for _, f := range []fault{{Kind: takeGroup}, {Kind: takeTopic, Topic: "orders"}} {
		took := f.Topic
		if took == "" {
			took = group
		}
		r := rightsOf(f)
		if err := p.removeRights(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got, want := there(), slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == took }); !slices.Equal(got, want) {
			t.Errorf("%s: %q are left", f, got)
		}
		if err := p.giveRights(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if got := there(); !slices.Equal(got, all) {
			t.Errorf("after %s: %q", f, got)
		}
	}
}
