package awsconfig

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheNameOfASecret(t *testing.T) {
	for uri, want := range map[string]string{
		"kafka-login": "kafka-login",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:kafka-login-AbCdEf":      "kafka-login",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:team/kafka-login-AbCdEf": "team/kafka-login",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:kafka":                   "kafka",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:a-AbCdEf":                "a",
		"arn:aws:s3:::bucket": "arn:aws:s3:::bucket",
		"":                    "",
	} {
		if got := SecretName(uri); got != want {
			t.Errorf("of %q it is %q, want %q", uri, got, want)
		}
	}
}

func TestSecretsOfTheEnvironment(t *testing.T) {
	t.Setenv("ESM_TEAM_KAFKA_LOGIN", "secret")
	s := SecretsFromEnv("ESM_")
	for _, uri := range []string{"team/kafka-login", "TEAM_KAFKA_LOGIN", "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/kafka-login-AbCdEf"} {
		if text, err := s.Secret(t.Context(), uri); err != nil || string(text) != "secret" {
			t.Errorf("of %q it is %q, %v", uri, text, err)
		}
	}
	if _, err := s.Secret(t.Context(), "PATH"); err == nil || !strings.Contains(err.Error(), "ESM_PATH") {
		t.Errorf("of another variable it says %v", err)
	}
}

func TestSecretsOfAFolder(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "other"), []byte("not for you"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(outside, "secrets")
	if err := os.MkdirAll(filepath.Join(dir, "team"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "team", "login"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "long"), make([]byte, mostSecret+100), 0o600); err != nil {
		t.Fatal(err)
	}
	// Kubernetes mounts secrets as links within the folder.
	links := os.Symlink("team/login", filepath.Join(dir, "inside")) == nil && os.Symlink("../other", filepath.Join(dir, "outside")) == nil
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s := SecretsFromDir(root)
	for _, uri := range []string{"team/login", "inside", "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/login-AbCdEf"} {
		if uri == "inside" && !links {
			continue
		}
		if text, err := s.Secret(t.Context(), uri); err != nil || string(text) != "secret" {
			t.Errorf("of %q it is %q, %v", uri, text, err)
		}
	}
	for _, uri := range []string{"../other", "/etc/passwd", filepath.Join(outside, "other"), "outside", "team", "", ".", "none"} {
		if text, err := s.Secret(t.Context(), uri); err == nil {
			t.Errorf("of %q it is %q", uri, text)
		}
	}
	if text, err := s.Secret(t.Context(), "long"); err != nil || len(text) != mostSecret+1 {
		t.Errorf("of a large one %d bytes are read, %v", len(text), err)
	}
	if _, err := SecretsFromDir(nil).Secret(t.Context(), "a"); err == nil {
		t.Error("there is a secret without a folder")
	}
}

// TestASecretIsAskedForOnce by connections that begin together, and again later; what it
// was is used while it cannot be had.
func TestASecretIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var text, failure atomic.Value
		text.Store("one")
		k := &keeper{kept: map[string]*kept{}, secrets: SecretsFunc(func(context.Context, string) ([]byte, error) {
			asked.Add(1)
			time.Sleep(100 * time.Millisecond)
			if err, _ := failure.Load().(error); err != nil {
				return nil, err
			}
			return []byte(text.Load().(string)), nil
		})}
		get := func() string {
			got, err := k.get(t.Context(), "login")
			if err != nil {
				t.Error(err)
			}
			return string(got)
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { get() })
		}
		wg.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("it is asked for %d times", n)
		}
		text.Store("two")
		time.Sleep(secretFor)
		if got := get(); got != "two" || asked.Load() != 2 {
			t.Errorf("after it was changed it is %q, asked for %d times", got, asked.Load())
		}
		failure.Store(errors.New("the store is down"))
		time.Sleep(secretFor)
		if got := get(); got != "two" || asked.Load() != 3 {
			t.Errorf("while the store is down it is %q, asked for %d times", got, asked.Load())
		}
	})
}

// TestSecretsThatMisbehave: what is wrong is said, and nothing waits for ever.
func TestSecretsThatMisbehave(t *testing.T) {
	for _, tt := range []struct {
		what string
		is   Secrets
		want string
	}{
		{"none", nil, "no Secrets"},
		{"an error", SecretsFunc(func(context.Context, string) ([]byte, error) { return nil, errors.New("no such secret") }), "no such secret"},
		{"nothing", SecretsFunc(func(context.Context, string) ([]byte, error) { return nil, nil }), "is empty"},
		{"too much", SecretsFunc(func(context.Context, string) ([]byte, error) { return make([]byte, mostSecret+1), nil }), "more than 65,536 bytes"},
		{"a panic", SecretsFunc(func(context.Context, string) ([]byte, error) { panic("no") }), "panicked: no"},
		{"an exit", SecretsFunc(func(context.Context, string) ([]byte, error) { runtime.Goexit(); return nil, nil }), "Goexit"},
		{"a wait", SecretsFunc(func(ctx context.Context, _ string) ([]byte, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}), "deadline"},
		{"a wait for ever", SecretsFunc(func(context.Context, string) ([]byte, error) {
			time.Sleep(time.Hour)
			return []byte("late"), nil
		}), "did not return"},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := &keeper{kept: map[string]*kept{}, secrets: tt.is}
			began := time.Now()
			if _, err := k.get(t.Context(), "login"); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: it says %v", tt.what, err)
			}
			if took := time.Since(began); took > secretWithin+2*time.Second {
				t.Errorf("%s: it takes %s", tt.what, took)
			}
			time.Sleep(2 * time.Hour) // until what was left behind has ended
		})
	}
}

// TestAKeeperKeepsNoOtherBytes: who gave a secret may write over it afterwards.
func TestAKeeperKeepsNoOtherBytes(t *testing.T) {
	theirs := []byte("secret")
	k := &keeper{kept: map[string]*kept{}, secrets: SecretsFunc(func(context.Context, string) ([]byte, error) { return theirs, nil })}
	first, err := k.get(t.Context(), "login")
	if err != nil {
		t.Fatal(err)
	}
	clear(theirs)
	if again, err := k.get(t.Context(), "login"); err != nil || string(again) != "secret" || string(first) != "secret" {
		t.Errorf("it is %q and %q, %v", first, again, err)
	}
}
