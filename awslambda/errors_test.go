package awslambda

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func TestRetryAfter(t *testing.T) {
	answer := func(header string) *smithyhttp.ResponseError {
		h := http.Header{}
		if header != "" {
			h.Set("Retry-After", header)
		}
		return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{Header: h}}}
	}
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "1e3": 0, "900": 15 * time.Minute, "86400": 15 * time.Minute,
	} {
		a := answer(text)
		if got := retryAfter(a, a); got != want {
			t.Errorf("header %q: %s, want %s", text, got, want)
		}
		if text == "" {
			continue
		}
		a = answer("99")
		if got := retryAfter(&types.TooManyRequestsException{RetryAfterSeconds: aws.String(text)}, a); got != want {
			t.Errorf("error %q: %s, want %s", text, got, want)
		}
	}
}

// notOfInvoke are the errors of the SDK that no invocation has: they are of the
// calls that make and change functions.
const notOfInvoke = ` AliasLimitExceeded CapacityProviderLimitExceeded CodeSigningConfigNotFound CodeStorageExceeded CodeVerificationFailed
	FunctionVersionsPerCapacityProviderLimitExceeded InvalidCodeSignature PolicyLengthExceeded PreconditionFailed
	ProvisionedConcurrencyConfigNotFound PublicPolicy ServiceQuotaExceeded `

// TestTableHasEveryModelledError: an error that a new SDK brings has to be put
// into the table, or among those that no invocation has.
func TestTableHasEveryModelledError(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2/service/lambda/types").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "errors.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.TypeSpec)
		if !ok {
			return true
		}
		n++
		name := strings.TrimSuffix(spec.Name.Name, "Exception")
		_, listed := kinds[spec.Name.Name]
		if other := strings.Contains(" "+strings.Join(strings.Fields(notOfInvoke), " ")+" ", " "+name+" "); listed == other {
			t.Errorf("%s: in the table %t, among the others %t", spec.Name.Name, listed, other)
		}
		return true
	})
	if n < 50 {
		t.Errorf("there are %d errors", n)
	}
}
