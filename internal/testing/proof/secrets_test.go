package proof_test

import (
	"context"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/testing/secrettest"
)

// TestSecretsInWrongBrokersAreNotSaid: people put logins into addresses, as they
// do for other things.
func TestSecretsInWrongBrokersAreNotSaid(t *testing.T) {
	ear := secrettest.New(t)
	password, token := ear.Plant(), ear.Plant()
	for _, broker := range []string{
		"sasl://user:" + password + "@kafka.test:9092", "user:" + password + "@kafka.test:9092", "user:" + password + "@kafka.test", password + "@kafka.test:9092",
		"kafka.test/" + token, "kafka.test:9092?sig=" + token, "user:" + password, "https://kafka.test/?code=" + token, "SASL_SSL://" + password + "/x@kafka.test:1",
		"kafka.test:9092," + password + "@kafka.test", "kafka.test:" + token,
	} {
		_, err := esm.New(esm.Source{Brokers: []string{"kafka.test", broker}, Topics: []string{"orders"}, Group: "billing"},
			esm.Each(func(context.Context, *kgo.Record) error { return nil }), ear.Options()...)
		if err == nil || !strings.Contains(err.Error(), "Source.Brokers: number 2") {
			t.Errorf("%q: %v", broker, err)
		}
		ear.Hear("New", err)
	}
}
