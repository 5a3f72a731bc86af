package lambdalocal_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
	"github.com/seed429fd032/esm/lambdalocal"
)

func TestMain(m *testing.M) {
	code := m.Run()
	lambdatest.Clean()
	os.Exit(code)
}

// silent is a logger of functions that say what nobody wants to read.
func silent() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// process makes a Process, which is closed after the test.
func process(t testing.TB, command []string, opts ...lambdalocal.ProcessOption) *lambdalocal.Process {
	t.Helper()
	p, err := lambdalocal.NewProcess(command, append([]lambdalocal.ProcessOption{lambdalocal.WithLogger(silent())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Processes != 0 {
			t.Errorf("after Close there are %d processes", s.Processes)
		}
	})
	return p
}

// options are those of settings.
func options(s lambdatest.Settings) []lambdalocal.ProcessOption {
	opts := []lambdalocal.ProcessOption{lambdalocal.WithTimeout(s.Timeout), lambdalocal.WithMaxConcurrency(s.Most), lambdalocal.WithEnv(s.Env...)}
	if s.Report {
		opts = append(opts, lambdalocal.WithReportBatchItemFailures(true))
	}
	return opts
}

func TestGoFunction(t *testing.T) {
	lambdatest.Behave(t, func(t *testing.T, s lambdatest.Settings) esm.Invoker {
		return process(t, []string{lambdatest.Build(t, "function")}, options(s)...)
	})
}

// TestPythonFunction needs Python with awslambdaric.
func TestPythonFunction(t *testing.T) {
	if out, err := exec.Command("python3", "-c", "import awslambdaric, runtime_client").CombinedOutput(); err != nil {
		t.Skipf("pip install awslambdaric: %v: %s", err, out)
	}
	lambdatest.Behave(t, func(t *testing.T, s lambdatest.Settings) esm.Invoker {
		return process(t, []string{"python3", "-m", "awslambdaric", "app.handler"},
			append(options(s), lambdalocal.WithDir(lambdatest.Testdata()))...)
	})
}

// TestNodeFunction needs Node with aws-lambda-ric, in the folder that
// ESM_NODE_RIC names.
func TestNodeFunction(t *testing.T) {
	ric := os.Getenv("ESM_NODE_RIC")
	if ric == "" {
		t.Skip("npm install aws-lambda-ric, and set ESM_NODE_RIC to its index.mjs")
	}
	lambdatest.Behave(t, func(t *testing.T, s lambdatest.Settings) esm.Invoker {
		return process(t, []string{"node", ric},
			append(options(s), lambdalocal.WithDir(lambdatest.Testdata()), lambdalocal.WithHandler("app.handler"), lambdalocal.WithPlainAddress(true))...)
	})
}

func TestProcessConforms(t *testing.T) {
	esmtest.TestInvoker(t, func(t testing.TB, target esm.InvokerFunc) esm.Invoker {
		return process(t, []string{lambdatest.Build(t, "forward")}, lambdalocal.WithEnv("FUNCTION_ASKS="+lambdatest.Asked(t, target)),
			lambdalocal.WithReportBatchItemFailures(true))
	}, esmtest.NoThrottle, esmtest.NoHalt, esmtest.NoPermanent, esmtest.NoTooLarge, esmtest.NoStopAt, esmtest.NoBatchInfo)
}

func TestHandlerConforms(t *testing.T) {
	esmtest.TestInvoker(t, func(t testing.TB, target esm.InvokerFunc) esm.Invoker {
		inv, err := lambdalocal.Handler(func(ctx context.Context, event json.RawMessage) (json.RawMessage, error) {
			b, err := lambdatest.Decode(event)
			if err != nil {
				return nil, err
			}
			err = target(ctx, b)
			if errors.Is(err, esm.ErrThrottled) || esm.Classify(context.Background(), err) != esm.OutcomePartial {
				return nil, err
			}
			return lambdatest.Items(b, err)
		}, lambdalocal.WithReportBatchItemFailures(true))
		if err != nil {
			t.Fatal(err)
		}
		return inv
	}, esmtest.NoPermanent, esmtest.NoTooLarge, esmtest.NoStopAt, esmtest.NoBatchInfo)
}
