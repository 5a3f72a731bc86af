package lambdaapi

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awsconfig"
)

// TestAMappingCanBeDisabledWhateverIsGone: the secret, the function, or the right to name the
// secret. What it would need is asked for again when it is to run.
func TestAMappingCanBeDisabledWhateverIsGone(t *testing.T) {
	const mappings = "/2015-03-31/event-source-mappings/"
	for name, take := range map[string]func(c *Config, gone *atomic.Bool){
		"the secret": func(c *Config, gone *atomic.Bool) {
			c.Needs.Secrets = awsconfig.SecretsFunc(func(context.Context, string) ([]byte, error) {
				if gone.Load() {
					return nil, os.ErrNotExist
				}
				return []byte(`{"username": "billing", "password": "wedding"}`), nil
			})
		},
		"the function": func(c *Config, gone *atomic.Bool) {
			c.Functions = func(context.Context, FunctionName, bool) (esm.Invoker, []esm.Option, error) {
				if gone.Load() {
					return nil, nil, ErrNoFunction
				}
				return esm.InvokerFunc(does), nil, nil
			}
		},
		"what finds functions": func(c *Config, gone *atomic.Bool) {
			c.Functions = func(context.Context, FunctionName, bool) (esm.Invoker, []esm.Option, error) {
				if gone.Load() {
					panic("oh")
				}
				return esm.InvokerFunc(does), nil, nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var gone atomic.Bool
			h := newHost(t, func(c *Config) { take(c, &gone) })
			uuid := create(t, h, mapping(fields{"SourceAccessConfigurations": []fields{{"Type": "SASL_SCRAM_512_AUTH", "URI": "kafka/login"}}}))
			gone.Store(true)
			put := func(body string, status int, says string) {
				t.Helper()
				if is := ask(t, h, "PUT", mappings+uuid, body); is.status != status || !strings.Contains(is.text(), says) {
					t.Errorf("%s: %d %s; want %d %s", body, is.status, is.text(), status, says)
				}
			}
			refused := 400
			if name == "what finds functions" {
				refused = 500
			}
			put(`{"BatchSize": 10}`, refused, "")
			put(`{"Enabled": false, "FunctionName": "billing:PROD"}`, refused, "")
			put(`{"Enabled": false, "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": "kafka/other"}]}`, refused, "")
			put(`{"Enabled": false, "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": "admin/login"}]}`, 400, "admin/login")
			put(`{"Enabled": false, "DestinationConfig": {"OnFailure": {"Destination": "kafka://elsewhere"}}}`, refused, "")
			put(`{"Enabled": false, "BatchSize": 20000}`, 400, "10,000")
			if all, _ := h.store.All(t.Context()); all[uuid].Version != 0 {
				t.Errorf("it has the version %d", all[uuid].Version)
			}
			put(`{"Enabled": false}`, 202, "")
			put(`{"Enabled": false, "BatchSize": 10}`, 202, "")
			put(`{"BatchSize": 11}`, 202, "") // it does not run, and is not to
			put(`{"BatchSize": 0}`, 400, "BatchSize")
			put(`{"Enabled": true}`, refused, "")
			put(`{"Enabled": true, "BatchSize": 12}`, refused, "")
			shows(t, h, uuid, "Disabled", "")
			all, _ := h.store.All(t.Context())
			r := all[uuid]
			if r.enabled() || *r.Config.BatchSize != 11 || r.Version != 3 || r.Replaced != 0 {
				text, _ := json.Marshal(r)
				t.Errorf("it is %s", text)
			}
			gone.Store(false)
			put(`{"Enabled": true}`, 202, "")
		})
	}
}

// TestAMappingCanBeDisabledByANarrowerHost, which would not let it be made, and by a version
// with other rules.
func TestAMappingCanBeDisabledByANarrowerHost(t *testing.T) {
	h := newHost(t, func(c *Config) { c.Secrets, c.Account = "", "123456789012" })
	r := Record{UUID: newUUID(), Config: configOf("billing"), FunctionArn: "arn:aws:lambda:us-east-1:000000000000:function:billing"}
	size := 20_000
	r.Config.BatchSize, r.Config.SourceAccessConfigurations = &size, []awsconfig.SourceAccessConfiguration{{Type: "BASIC_AUTH", URI: "kafka/login"}}
	if err := put(t, h.store, r); err != nil {
		t.Fatal(err)
	}
	if is := ask(t, h, "PUT", mappings+r.UUID, `{"Enabled": false, "MaximumRetryAttempts": null}`); is.status != 202 || is.body["State"] != "Disabling" {
		t.Errorf("%d %s", is.status, is.text())
	}
	all, _ := h.store.All(t.Context())
	if is := all[r.UUID]; is.enabled() || is.FunctionArn != r.FunctionArn || is.Replaced != 0 || is.Version != 1 {
		t.Errorf("it is %+v", is)
	}
	for body, says := range map[string]string{`{"Enabled": true}`: "10,000", `{"BatchSize": 10, "Enabled": true}`: "Config.Secrets"} {
		if is := ask(t, h, "PUT", mappings+r.UUID, body); is.status != 400 || !strings.Contains(is.text(), says) {
			t.Errorf("%s: %d %s", body, is.status, is.text())
		}
	}
}
