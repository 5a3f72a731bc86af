package lambdalocal_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
	"github.com/seed429fd032/esm/internal/testing/secrettest"
	"github.com/seed429fd032/esm/lambdalocal"
)

// TestSecretsAreNotSaid: those in variables and arguments, right and wrong ones.
func TestSecretsAreNotSaid(t *testing.T) {
	ear := secrettest.New(t)
	password, token := ear.Plant(), ear.Plant()
	for _, env := range []string{password, "=" + password, "PASSWORD=" + password + "\x00", "PASS\x00WORD=" + password, "\x00" + password} {
		_, err := lambdalocal.NewProcess([]string{"sh"}, lambdalocal.WithEnv("A=b", env))
		if err == nil || !strings.Contains(err.Error(), "WithEnv") {
			t.Errorf("%q: %v", env, err)
		}
		ear.Hear("WithEnv", err)
	}
	for _, program := range []string{"no-such-program --token=" + token, "TOKEN=" + token + " ./bootstrap", "no-such-program\t" + token} {
		_, err := lambdalocal.NewProcess([]string{program})
		if err == nil || !strings.Contains(err.Error(), "the program") {
			t.Errorf("%q: %v", program, err)
		}
		ear.Hear("NewProcess", err)
		// With a folder it is looked for when it is started.
		p := process(t, []string{"./" + program}, lambdalocal.WithDir(t.TempDir()))
		if err = p.Invoke(t.Context(), lambdatest.Tell("")); !errors.Is(err, esm.ErrThrottled) {
			t.Errorf("%q: %v", program, err)
		}
		ear.Hear("Invoke", err)
	}
	p := process(t, []string{lambdatest.Build(t, "function"), "--token=" + token}, lambdalocal.WithEnv("PASSWORD="+password), lambdalocal.WithTimeout(2*time.Second),
		lambdalocal.WithLogger(ear.Logger()))
	for _, what := range []string{"error", "panic", "exit", "hang", "large"} {
		err := p.Invoke(t.Context(), lambdatest.Tell(what))
		if err == nil {
			t.Errorf("%s: a success", what)
		}
		ear.Hear(what, err)
	}
}

func TestErrorsAreTextInJSON(t *testing.T) {
	text, err := json.Marshal(map[string]error{"err": &lambdalocal.FunctionError{Type: "E", Message: "m", RequestID: "r"}})
	if err != nil || string(text) != `{"err":"the function failed: E: m (request r)"}` {
		t.Errorf("%s, %v", text, err)
	}
}
