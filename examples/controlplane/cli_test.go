package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed429fd032/esm/examples/internal/demotest"
)

// TestPrintedCommands gives the AWS CLI what the program prints, to the letter, in the order
// in which it prints it. ESM_AWS_CLI is the CLI's program.
func TestPrintedCommands(t *testing.T) {
	cli := os.Getenv("ESM_AWS_CLI")
	if cli == "" {
		t.Skip("needs ESM_AWS_CLI, the program aws of the AWS CLI")
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	played := make(chan struct{})
	out := onCommands(func(text string) {
		go func() {
			defer close(played)
			defer end()
			playPrinted(t, cli, text)
		}()
	})
	var s summary
	code := demotest.JSON(t, ctx, "controlplane", new(settings), out, &s, "-address", "127.0.0.1:0", "-records", "50000")
	<-played
	if code != 0 || !s.Good || s.Handled == 0 {
		t.Errorf("exit code %d: %+v", code, s)
	}
}

// onCommands is called with what explains the commands.
type onCommands func(text string)

func (o onCommands) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "Ctrl-C ends it") {
		o(string(p))
	}
	return len(p), nil
}

// playPrinted runs the commands.
func playPrinted(t *testing.T, cli, text string) {
	var export string
	var commands []string
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "")) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "export "):
			export = line
		case strings.HasPrefix(line, "aws "):
			commands = append(commands, line)
		}
	}
	if export == "" || len(commands) != 6 {
		t.Errorf("%q and %d commands", export, len(commands))
		return
	}
	states := map[string]string{"create": "Creating", "no-enabled": "Disabling", "enabled": "Enabling", "delete": "Deleting", "provisioned": "Updating"}
	uuid := ""
	for _, c := range commands {
		shell := exec.Command("sh", "-c", export+"\naws() { \"$CLI\" \"$@\"; }\n"+strings.ReplaceAll(c, "UUID", uuid))
		shell.Env = append(os.Environ(), "CLI="+cli)
		said, err := shell.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", c, err, said)
			return
		}
		var is struct {
			UUID, State             string
			EventSourceMappings     []any
			ProvisionedPollerConfig struct{ MinimumPollers, MaximumPollers int }
		}
		if err := json.Unmarshal(said, &is); err != nil {
			t.Errorf("%s prints %s", c, said)
			return
		}
		want := ""
		switch {
		case strings.Contains(c, "create-"):
			uuid, want = is.UUID, states["create"]
		case strings.Contains(c, "list-"):
			if len(is.EventSourceMappings) != 1 {
				t.Errorf("%s prints %s", c, said)
			}
		case strings.Contains(c, "delete-"):
			want = states["delete"]
		case strings.Contains(c, "--no-enabled"):
			want = states["no-enabled"]
		case strings.Contains(c, "--enabled"):
			want = states["enabled"]
		case strings.Contains(c, "--provisioned"):
			want = states["provisioned"]
			if p := is.ProvisionedPollerConfig; p.MinimumPollers != 10 || p.MaximumPollers != 20 {
				t.Errorf("%s prints %s", c, said)
			}
		}
		if is.State != want {
			t.Errorf("%s: State is %q, want %q", c, is.State, want)
		}
	}
}
