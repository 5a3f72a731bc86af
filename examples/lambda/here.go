package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/invokers/lambdapool"
	"github.com/seed429fd032/esm/internal/testing/lambdafront"
)

// A lambda is a Lambda in this process.
type lambda struct {
	pool   *lambdapool.Pool
	server *http.Server
	url    string
	dir    string
	seen   string // what the function got
}

// startLambda builds the function, and starts a front end for it.
func startLambda(ctx context.Context) (l *lambda, err error) {
	dir, err := os.MkdirTemp("", "lambda-")
	if err != nil {
		return nil, err
	}
	l = &lambda{dir: dir, seen: filepath.Join(dir, "seen")}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	program := filepath.Join(dir, "bootstrap")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/seed429fd032/esm/examples/lambda/function").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the function: %w: %s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.pool = lambdapool.New(lambdapool.Config{
		Command: []string{program}, Name: "billing", Most: processes, Timeout: time.Minute, Start: 10 * time.Second, Idle: time.Minute,
		Env: []string{"SEEN=" + l.seen}, Logger: slog.New(slog.DiscardHandler),
	})
	front := lambdafront.New()
	front.Add("billing", processes, l.pool)
	l.server = &http.Server{Handler: http.NewCrossOriginProtection().Handler(front), ReadHeaderTimeout: 5 * time.Second}
	l.url = "http://" + listener.Addr().String()
	go func() { _ = l.server.Serve(listener) }() // close ends it
	return l, nil
}

func (l *lambda) close() {
	_ = l.server.Close()
	l.pool.Close()
	_ = os.RemoveAll(l.dir)
}

// killer returns what kills a process of the function once so many records are
// handled. It does nothing to a function in AWS.
func (l *lambda) killer(records int, w io.Writer) func(*esm.Mapping) {
	killed := l == nil
	return func(m *esm.Mapping) {
		if killed || m.Stats().SettledEventCount <= int64(records) {
			return
		}
		killed = true
		if l.pool.Kill() {
			fmt.Fprintln(w, "killed a process of the function")
		}
	}
}
