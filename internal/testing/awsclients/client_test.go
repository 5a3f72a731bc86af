package awsclients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"
)

// An object is one of JSON: what a client is given, and what it makes of the answer. Times
// are numbers of seconds in it.
type object = map[string]any

// A refusal is an error of the API as a client tells its user.
type refusal struct{ code, message string }

// A client makes calls of the API. op is the name of the operation.
type client interface {
	call(t *testing.T, op string, in object) (object, *refusal)
	// list has the UUIDs of all mappings, as the client's own paginator finds them.
	list(t *testing.T, pageSize int, in object) []string
}

// An access is where a client goes, and with which keys.
type access struct {
	url      string
	keys     aws.Credentials
	unsigned bool
}

// clients are all, by name. Each skips the test if it is not there.
var clients = map[string]func(*testing.T, access) client{
	"cli":    newCLI,
	"boto3":  newBoto3,
	"js":     newJS,
	"go-sdk": func(_ *testing.T, a access) client { return goSDK{newSDK(a)} },
}

// newSDK is a client of AWS's SDK for Go.
func newSDK(a access) *lambda.Client {
	o := lambda.Options{BaseEndpoint: &a.url, Region: region}
	if a.unsigned {
		o.Credentials = aws.AnonymousCredentials{}
	} else {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return a.keys, nil })
	}
	return lambda.New(o)
}

// A goSDK is AWS's SDK for Go.
type goSDK struct{ c *lambda.Client }

func (g goSDK) call(t *testing.T, op string, in object) (object, *refusal) {
	t.Helper()
	ctx := t.Context()
	switch op {
	case "CreateEventSourceMapping":
		return ask(t, ctx, in, g.c.CreateEventSourceMapping)
	case "GetEventSourceMapping":
		return ask(t, ctx, in, g.c.GetEventSourceMapping)
	case "ListEventSourceMappings":
		return ask(t, ctx, in, g.c.ListEventSourceMappings)
	case "UpdateEventSourceMapping":
		return ask(t, ctx, in, g.c.UpdateEventSourceMapping)
	case "DeleteEventSourceMapping":
		return ask(t, ctx, in, g.c.DeleteEventSourceMapping)
	case "ListTags":
		return ask(t, ctx, in, g.c.ListTags)
	case "TagResource":
		return ask(t, ctx, in, g.c.TagResource)
	case "UntagResource":
		return ask(t, ctx, in, g.c.UntagResource)
	}
	t.Fatalf("no operation %s", op)
	return nil, nil
}

// ask makes a call of the SDK. Its inputs and outputs have the names of the JSON as fields.
func ask[In, Out any](t *testing.T, ctx context.Context, in object, call func(context.Context, *In, ...func(*lambda.Options)) (*Out, error)) (object, *refusal) {
	t.Helper()
	given := maps.Clone(in)
	if at, ok := given["StartingPositionTimestamp"].(float64); ok {
		given["StartingPositionTimestamp"] = time.UnixMilli(int64(at * 1000)).UTC()
	}
	input := new(In)
	d := json.NewDecoder(bytes.NewReader(marshal(t, given)))
	d.DisallowUnknownFields()
	if err := d.Decode(input); err != nil {
		t.Fatal(err)
	}
	is, err := call(ctx, input)
	if err != nil {
		var e smithy.APIError
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		return nil, &refusal{e.ErrorCode(), e.ErrorMessage()}
	}
	out := object{}
	if err := json.Unmarshal(marshal(t, is), &out); err != nil {
		t.Fatal(err)
	}
	delete(out, "ResultMetadata")
	for _, name := range []string{"LastModified", "StartingPositionTimestamp"} {
		if s, ok := out[name].(string); ok {
			at, err := time.Parse(time.RFC3339, s)
			if err != nil {
				t.Fatal(err)
			}
			out[name] = float64(at.UnixMilli()) / 1000
		}
	}
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil }) // a field without a value
	return out, nil
}

func (g goSDK) list(t *testing.T, pageSize int, in object) (uuids []string) {
	t.Helper()
	var input lambda.ListEventSourceMappingsInput
	if err := json.Unmarshal(marshal(t, in), &input); err != nil {
		t.Fatal(err)
	}
	pages := lambda.NewListEventSourceMappingsPaginator(g.c, &input, func(o *lambda.ListEventSourceMappingsPaginatorOptions) {
		o.Limit, o.StopOnDuplicateToken = int32(pageSize), true // or it would ask for ever
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.EventSourceMappings {
			uuids = append(uuids, *m.UUID)
		}
	}
	return uuids
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// variable is what the environment says of a client that is no Go.
func variable(t *testing.T, name, what string) string {
	t.Helper()
	is := os.Getenv(name)
	if is == "" {
		t.Skipf("%s is not set: it names %s; see the comment of the package", name, what)
	}
	return is
}

// environment is that of a client: nothing of the user's own configuration of AWS, nor a
// proxy, which would be asked for the endpoint.
func environment(t *testing.T) []string {
	t.Helper()
	home := t.TempDir()
	env := []string{"HOME=" + home, "AWS_CONFIG_FILE=" + home + "/none", "AWS_SHARED_CREDENTIALS_FILE=" + home + "/none", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER="}
	for _, name := range []string{"PATH", "PYTHONPATH", "TMPDIR", "SYSTEMROOT"} {
		if is, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+is)
		}
	}
	return env
}

// A cli is the AWS CLI.
type cli struct {
	program string
	url     string
	env     []string
	more    []string
}

func newCLI(t *testing.T, a access) client {
	t.Helper()
	c := &cli{program: variable(t, "ESM_AWS_CLI", "the program aws of the AWS CLI"), url: a.url, env: environment(t)}
	if a.unsigned {
		c.more = []string{"--no-sign-request"}
	} else {
		c.env = append(c.env, "AWS_ACCESS_KEY_ID="+a.keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+a.keys.SecretAccessKey)
		if a.keys.SessionToken != "" {
			c.env = append(c.env, "AWS_SESSION_TOKEN="+a.keys.SessionToken)
		}
	}
	return c
}

// refused is what the CLI says when the API has refused something.
var refused = regexp.MustCompile(`^\s*(?:aws: \[ERROR\]: )?An error occurred \((\w+)\) when calling the \w+ operation: (.*)\n`)

// run runs the program, and returns what it prints. An error of the API is exit code 255.
func (c *cli) run(t *testing.T, args ...string) ([]byte, *refusal) {
	t.Helper()
	args = slices.Concat([]string{"lambda"}, args, []string{"--endpoint-url", c.url, "--region", region, "--output", "json"}, c.more)
	t.Logf("aws %s", strings.Join(args, " "))
	ctx, done := context.WithTimeout(t.Context(), 30*time.Second)
	defer done()
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Env = c.env
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if err == nil {
		return out.Bytes(), nil
	}
	said := refused.FindStringSubmatch(errOut.String())
	var exit *exec.ExitError
	if said == nil || !errors.As(err, &exit) || exit.ExitCode() != 255 {
		t.Fatalf("%v\n%s%s", err, out.Bytes(), errOut.Bytes())
	}
	return nil, &refusal{said[1], said[2]}
}

// call writes each member as people do on a command line.
func (c *cli) call(t *testing.T, op string, in object) (object, *refusal) {
	t.Helper()
	args := []string{kebab(op)}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		args = append(args, option(t, name, in[name])...)
	}
	printed, r := c.run(t, args...)
	if r != nil {
		return nil, r
	}
	out := object{}
	if len(printed) > 0 {
		if err := json.Unmarshal(printed, &out); err != nil {
			t.Fatalf("%v: %s", err, printed)
		}
	}
	return out, nil
}

func (c *cli) list(t *testing.T, pageSize int, in object) (uuids []string) {
	t.Helper()
	args := []string{"list-event-source-mappings", "--page-size", strconv.Itoa(pageSize), "--query", "EventSourceMappings[].UUID"}
	for name, v := range in {
		args = append(args, option(t, name, v)...)
	}
	printed, r := c.run(t, args...)
	if r != nil {
		t.Fatal(*r)
	}
	if err := json.Unmarshal(printed, &uuids); err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	return uuids
}

// option is a member as options of the CLI.
func option(t *testing.T, name string, v any) []string {
	t.Helper()
	name = "--" + kebab(name)
	switch v := v.(type) {
	case bool:
		if !v {
			name = "--no-" + name[2:]
		}
		return []string{name}
	case string:
		return []string{name, v}
	case int:
		return []string{name, strconv.Itoa(v)}
	case float64:
		return []string{name, strconv.FormatFloat(v, 'f', -1, 64)}
	case []string:
		return append([]string{name}, v...)
	case object:
		var pairs []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			switch of := v[key].(type) {
			case string:
				if strings.ContainsAny(key, " =") {
					continue // the shorthand has none in a key
				}
				pairs = append(pairs, key+"="+of)
			case int:
				pairs = append(pairs, key+"="+strconv.Itoa(of))
			}
		}
		if len(v) > 0 && len(pairs) == len(v) {
			return []string{name, strings.Join(pairs, ",")} // the shorthand
		}
		return []string{name, string(marshal(t, v))}
	}
	t.Fatalf("%s: %T", name, v)
	return nil
}

var (
	wordEnds = regexp.MustCompile(`([a-z])([A-Z])`)
	capsEnd  = regexp.MustCompile(`([A-Z])([A-Z][a-z])`)
)

func kebab(s string) string {
	return strings.ToLower(capsEnd.ReplaceAllString(wordEnds.ReplaceAllString(s, "$1-$2"), "$1-$2"))
}

// A script is a client in another language, that takes calls on its standard input.
type script struct {
	in  io.Writer
	out *bufio.Reader
}

func newBoto3(t *testing.T, a access) client {
	t.Helper()
	return newScript(t, a, variable(t, "ESM_AWS_PYTHON", "a python3 that can import boto3"), "testdata/client.py")
}

func newJS(t *testing.T, a access) client {
	t.Helper()
	return newScript(t, a, "node", "testdata/client.mjs", variable(t, "ESM_AWS_NODE", "a folder whose node_modules has @aws-sdk/client-lambda"))
}

func newScript(t *testing.T, a access, name string, args ...string) client {
	t.Helper()
	ctx, end := context.WithTimeout(context.WithoutCancel(t.Context()), 80*time.Second)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environment(t)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		end()
	})
	s := &script{in, bufio.NewReader(out)}
	is, _ := s.ask(t, object{"URL": a.url, "Region": region, "Key": a.keys.AccessKeyID, "Secret": a.keys.SecretAccessKey, "Token": a.keys.SessionToken, "Unsigned": a.unsigned})
	t.Logf("version %v", is["Version"])
	return s
}

// ask writes a line, and reads one.
func (s *script) ask(t *testing.T, asked object) (object, *refusal) {
	t.Helper()
	if _, err := s.in.Write(append(marshal(t, asked), '\n')); err != nil {
		t.Fatal(err)
	}
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Out                   object
		Code, Message, Broken string
	}
	if err := json.Unmarshal(line, &said); err != nil || said.Broken != "" {
		t.Fatalf("%v: %s", err, line)
	}
	if said.Code != "" {
		return nil, &refusal{said.Code, said.Message}
	}
	return said.Out, nil
}

func (s *script) call(t *testing.T, op string, in object) (object, *refusal) {
	t.Helper()
	return s.ask(t, object{"Op": op, "In": in})
}

func (s *script) list(t *testing.T, pageSize int, in object) (uuids []string) {
	t.Helper()
	out, r := s.ask(t, object{"Op": "paginate", "PageSize": pageSize, "In": in})
	if r != nil {
		t.Fatal(*r)
	}
	all, ok := out["UUIDs"].([]any)
	if !ok {
		t.Fatal(out)
	}
	for _, one := range all {
		uuids = append(uuids, one.(string))
	}
	return uuids
}

// at is the member of an object at a path, with dots in it, or nil.
func at(o object, path string) any {
	name, rest, more := strings.Cut(path, ".")
	if !more {
		return o[name]
	}
	inner, _ := o[name].(object)
	return at(inner, rest)
}

// near reports whether a number of seconds is a time, as a client has it that may cut the
// fraction off.
func near(v any, want time.Time) bool {
	got, ok := v.(float64)
	return ok && math.Abs(got-float64(want.UnixMilli())/1000) < 1
}
