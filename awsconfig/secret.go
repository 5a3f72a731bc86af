package awsconfig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// Secrets finds what the URI of a SourceAccessConfiguration names. It is asked while a
// Mapping is made, and again for its connections, so that a secret that was changed is
// used by the next one: see [Plan.Connect].
type Secrets interface {
	// Secret returns the text of a secret, 65,536 bytes at most, as AWS Secrets Manager has
	// it: JSON. An error must not hold the secret. It is called from several goroutines,
	// and must return when ctx ends.
	Secret(ctx context.Context, uri string) ([]byte, error)
}

// SecretsFunc makes Secrets of a function, such as a call of AWS Secrets Manager.
type SecretsFunc func(ctx context.Context, uri string) ([]byte, error)

// Secret calls f.
func (f SecretsFunc) Secret(ctx context.Context, uri string) ([]byte, error) { return f(ctx, uri) }

// mostSecret is how large a secret may be, in bytes: AWS's limit.
const mostSecret = 65_536

// SecretName is the name of a secret: what the ARN of one calls it, without the six
// characters that AWS adds, or the URI itself if it is no such ARN.
func SecretName(uri string) string {
	parts := arnPattern.FindStringSubmatch(uri)
	if parts == nil || parts[2] != "secretsmanager" {
		return uri
	}
	name, ok := strings.CutPrefix(parts[5], "secret:")
	if !ok {
		return uri
	}
	if n := len(name) - 7; n > 0 && name[n] == '-' {
		return name[:n]
	}
	return name
}

// SecretsFromEnv takes secrets from the environment: that of the secret kafka-login is in
// prefix + KAFKA_LOGIN, with _ for what is neither a letter nor a digit: kafka/login is the
// same. With a prefix, a configuration cannot name other variables of the process; give one.
func SecretsFromEnv(prefix string) Secrets {
	return SecretsFunc(func(_ context.Context, uri string) ([]byte, error) {
		variable := prefix + strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z':
				return r - 'a' + 'A'
			case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
				return r
			}
			return '_'
		}, SecretName(uri))
		s, ok := os.LookupEnv(variable)
		if !ok {
			return nil, fmt.Errorf("the environment has no %s", variable)
		}
		return []byte(s), nil
	})
}

// SecretsFromDir takes secrets from the files of a folder, as Kubernetes mounts them: that
// of kafka/login is in login of the folder kafka. Nothing outside of the folder is read,
// whatever a configuration names.
func SecretsFromDir(root *os.Root) Secrets {
	return SecretsFunc(func(_ context.Context, uri string) ([]byte, error) {
		if root == nil {
			return nil, errors.New("there is no folder of secrets")
		}
		name := filepath.FromSlash(SecretName(uri))
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("%q is no name of a file in the folder of secrets", SecretName(uri))
		}
		// To open what is no file can wait for ever.
		if is, err := root.Stat(name); err != nil {
			return nil, fmt.Errorf("there is no such file in the folder of secrets: %w", err)
		} else if !is.Mode().IsRegular() {
			return nil, fmt.Errorf("%q is no file", name)
		}
		f, err := root.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, mostSecret+1))
	})
}

const (
	// secretFor is for how long a secret is used without being asked for again: many
	// connections begin at once when a broker restarts.
	secretFor = time.Second
	// secretWithin is how long a question for a secret may take.
	secretWithin = 10 * time.Second
)

// A keeper asks for secrets, once at a time for each, and keeps what it was told last: a
// store of secrets that does not answer for a while must not end what works.
type keeper struct {
	secrets Secrets
	mu      sync.Mutex // guards kept
	kept    map[string]*kept
}

// A kept is one secret. Who has its turn may look at it and ask for it.
type kept struct {
	turn chan struct{}
	text []byte
	at   time.Time
}

// get returns a secret.
func (k *keeper) get(ctx context.Context, uri string) ([]byte, error) {
	k.mu.Lock()
	s := k.kept[uri]
	if s == nil {
		s = &kept{turn: make(chan struct{}, 1)}
		k.kept[uri] = s
	}
	k.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s.text != nil && time.Since(s.at) < secretFor {
		return s.text, nil
	}
	text, err := k.ask(ctx, uri)
	switch {
	case err == nil:
		s.text = text
	case s.text == nil || ctx.Err() != nil:
		return nil, err
	}
	s.at = time.Now()
	return s.text, nil
}

// ask asks the user's Secrets, which may panic, not return, or say nothing.
func (k *keeper) ask(ctx context.Context, uri string) ([]byte, error) {
	if k.secrets == nil {
		return nil, errors.New("the host has no Secrets")
	}
	text, err := guard.Ask(ctx, secretWithin, "Secrets", func(ctx context.Context) ([]byte, error) {
		theirs, err := k.secrets.Secret(ctx, uri)
		return append([]byte{}, theirs...), err
	})
	switch {
	case err != nil:
		return nil, err
	case len(text) > mostSecret:
		return nil, fmt.Errorf("it has more than %s bytes", grouped(mostSecret))
	case len(text) == 0:
		return nil, errors.New("it is empty")
	}
	return text, nil
}
