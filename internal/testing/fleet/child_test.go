package fleet_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm/internal/testing/kafkatest"
	"github.com/seed429fd032/esm/lambdaapi"
)

// partVariable has the part that a child plays.
const partVariable = "ESM_FLEET_PART"

// A part is what a child is to do.
type part struct {
	Role string // a key of roles
	Name string // of a host
	// The Store is the file, or a topic of the brokers.
	File, Topic string
	Brokers     []string
	Seed        uint64 // of a writer's changes
	Writes      int    // of a counter
	Calls       string // the URL at which a host says what its function does
}

// roles are what a child can be. Each runs until it is done, or until ctx ends.
var roles = map[string]func(ctx context.Context, p *part, s lambdaapi.Store) error{
	"writer": write, "apiwriter": writeByAPI, "counter": count, "host": host,
}

// What children say on their standard output, each in a line.
const (
	opening  = "opening"
	opened   = "open"
	deciding = "deciding"
	done     = "done" // with what was done
)

// say writes a line with one call, so that a line is there whole or not at all.
func say(words ...any) { _, _ = io.WriteString(os.Stdout, fmt.Sprintln(words...)) }

// play plays a part. It ends with SIGTERM, and if the parent is gone or closes its end: not
// every system has SIGTERM.
func play(text string) (code int) {
	ctx, end := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer end()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end()
	}()
	var p part
	err := json.Unmarshal([]byte(text), &p)
	if err == nil {
		err = p.play(ctx)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", p.Role, p.Name, err)
		return 1
	}
	return 0
}

func (p *part) play(ctx context.Context) error {
	say(opening)
	var s lambdaapi.Store
	if p.File != "" {
		f, err := lambdaapi.OpenFile(p.File)
		if err != nil {
			return err
		}
		defer f.Close()
		s = f
	} else {
		t, err := lambdaapi.OpenTopic(ctx, p.Topic, kgo.SeedBrokers(p.Brokers...))
		if err != nil {
			return err
		}
		defer t.Close()
		s = t
	}
	say(opened)
	return roles[p.Role](ctx, p, s)
}

// A child is this program in another process, with a part to play.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer
	lines  chan string // what it says; closed when all is read
	exited chan error
}

func start(t *testing.T, p part) *child {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(self), lines: make(chan string, 10_000), exited: make(chan error, 1)}
	c.cmd.Env = append(os.Environ(), partVariable+"="+string(text))
	c.cmd.Stderr = os.Stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	// A pipe of our own: Wait closes the one of StdoutPipe, read or not.
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stdout = in
	ended := make(chan struct{})
	err = kafkatest.StartChild(c.cmd, func(err error) {
		c.exited <- err
		close(ended)
	})
	_ = in.Close() // the child has its own
	if err != nil {
		_ = out.Close()
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		defer out.Close()
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return // what it did not say to the end was not said
			}
			c.lines <- strings.TrimSuffix(line, "\n")
		}
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // most have ended
		<-ended
	})
	return c
}

// line is the next line, or "" if the child has ended.
func (c *child) line() string {
	c.t.Helper()
	select {
	case l := <-c.lines:
		return l
	case <-time.After(within):
		c.t.Fatalf("a child says nothing for %s", within)
		return ""
	}
}

// hears waits for a line that begins with a word, and returns the rest.
func (c *child) hears(word string) string {
	c.t.Helper()
	for {
		l := c.line()
		if l == "" {
			c.t.Fatalf("a child ended and did not say %q", word)
		}
		if rest, ok := strings.CutPrefix(l, word+" "); ok || l == word {
			return rest
		}
	}
}

// kill ends a child as a power cut would.
func (c *child) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatal(err)
	}
	<-c.exited
}

// stop asks a child to end, and waits until it has.
func (c *child) stop() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		_ = c.stdin.Close() // Windows has no SIGTERM
	}
	c.ends()
}

// ends waits for the end of a child that is to end well.
func (c *child) ends() {
	c.t.Helper()
	select {
	case err := <-c.exited:
		if err != nil {
			c.t.Errorf("a child ended: %v", err)
		}
	case <-time.After(within):
		c.t.Fatalf("a child did not end within %s", within)
	}
}
