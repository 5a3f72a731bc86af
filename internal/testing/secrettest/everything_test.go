package secrettest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awslambda"
	"github.com/seed429fd032/esm/esmhttp"
	"github.com/seed429fd032/esm/esmtest"
	"github.com/seed429fd032/esm/internal/testing/lambdatest"
	"github.com/seed429fd032/esm/internal/testing/secrettest"
	"github.com/seed429fd032/esm/kafkadest"
	"github.com/seed429fd032/esm/lambdalocal"
)

func TestMain(m *testing.M) {
	code := m.Run()
	lambdatest.Clean()
	os.Exit(code)
}

// A stage is where a Mapping runs while an ear listens.
type stage struct {
	ear *secrettest.Ear

	mu     sync.Mutex // guards the Kafka, which is one test's
	kafka  *esmtest.Kafka
	topics int
}

// topic makes a topic with a record that says this.
func (s *stage) topic(value string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topics++
	name := fmt.Sprintf("orders-%d", s.topics)
	s.kafka.CreateTopic(name, 1)
	s.kafka.CreateTopic(name+"-failed", 1)
	s.kafka.Produce(name, value)
	return name
}

// play runs a Mapping until it has the outcome for a record, and with a
// destination until that has taken it or failed to, and listens to all it says.
func (s *stage) play(t *testing.T, inv esm.Invoker, want esm.Outcome, value string, dest func(topic string) esm.Destination) {
	t.Helper()
	topic := s.topic(value)
	into := topic + "-failed"
	if dest == nil {
		dest = func(string) esm.Destination {
			d, err := kafkadest.New(kafkadest.Config{Brokers: s.kafka.Brokers(), Topic: into, Client: []kgo.Opt{s.kafka.Dialer()}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.Close)
			return d
		}
	}
	ended, given := make(chan esm.Invocation, 1000), make(chan error, 1000)
	m, err := esm.New(s.kafka.Source(topic, topic), s.ear.Invoker(inv), s.ear.Options(
		esm.WithMaxRetries(0), esm.WithDestination(s.ear.Destination(dest(into))), esm.WithBatchWindow(0), esm.WithBackoff(esm.Constant(10*time.Millisecond)),
		esm.WithHooks(esm.Hooks{
			InvokeEnded:    func(i esm.Invocation) { ended <- i },
			Discarded:      func(i *esm.Discard) { given <- nil },
			DeliveryFailed: func(i *esm.Discard) { given <- i.DeliveryErr },
		}))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case i := <-ended:
		if i.Outcome != want {
			t.Errorf("%v, want %v: %v", i.Outcome, want, i.Err)
		}
	case <-time.After(time.Minute):
		t.Fatal("no call after a minute")
	}
	switch want {
	case esm.OutcomeFailure, esm.OutcomePermanent, esm.OutcomeTooLarge:
		select {
		case <-given:
		case <-time.After(time.Minute):
			t.Fatal("nothing was given up after a minute")
		}
	case esm.OutcomeHalt:
		select {
		case <-m.Done():
		case <-time.After(time.Minute):
			t.Fatal("it did not halt within a minute")
		}
	}
	s.ear.Mapping(m)
	s.ear.Hear("Stop", m.Stop(t.Context()))
	s.ear.Mapping(m)
	s.letters(t, into)
}

// letters listens to the dead letters in a topic.
func (s *stage) letters(t *testing.T, topic string) {
	t.Helper()
	s.mu.Lock()
	n := s.kafka.End(topic, 0)
	s.mu.Unlock()
	if n == 0 {
		return
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.kafka.Brokers()...), s.kafka.Dialer(), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for n > 0 {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		s.ear.Records(fetches.Records()...)
		n -= int64(fetches.NumRecords())
	}
}

// TestNothingThatIsSaidHasASecret runs a Mapping with each Invoker through each
// kind of outcome, with secrets in all addresses, headers, credentials,
// variables and settings, and listens to all that is said: the log, errors,
// State, Stats, hooks and dead letters.
func TestNothingThatIsSaidHasASecret(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	s := &stage{ear: secrettest.New(t), kafka: esmtest.NewKafka(t)}
	user, password, token, code, key := s.ear.Plant(), s.ear.Plant(), s.ear.Plant(), s.ear.Plant(), s.ear.Plant()
	with := func(target string) string {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		u.User, u.Path, u.RawQuery = url.UserPassword(user, password), "/"+token, "sig="+code
		return u.String()
	}
	// A server that says all that it was told.
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		status := 0
		_, _ = fmt.Sscanf(r.Header.Get("X-Status"), "%d", &status)
		w.Header().Set("Location", "https://elsewhere.test"+r.RequestURI)
		w.Header().Set("X-Amzn-Errortype", r.Header.Get("X-Code"))
		w.WriteHeader(status)
		text, err := json.Marshal(map[string]string{"message": fmt.Sprint(r.RequestURI, r.Header)})
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(text)
	}))
	t.Cleanup(echo.Close) // after the parallel tests
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	byHTTP := func(target string, opts ...esmhttp.Option) esm.Invoker {
		inv, err := esmhttp.New(with(target), append(opts, esmhttp.WithHeader("Authorization", "Bearer "+key))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = inv.Close() })
		return inv
	}
	status := func(n int) esmhttp.Option { return esmhttp.WithHeader("X-Status", fmt.Sprint(n)) }
	byLambda := func(target string, status int, code string) esm.Invoker {
		inv, err := awslambda.New(aws.Config{
			Region: "eu-north-1", BaseEndpoint: aws.String(with(target)),
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: password, SessionToken: key}, nil
			}),
			HTTPClient: doer(func(r *http.Request) (*http.Response, error) {
				r.Header.Set("X-Status", fmt.Sprint(status))
				r.Header.Set("X-Code", code)
				return http.DefaultClient.Do(r)
			}),
		}, "orders", awslambda.WithClientContext(map[string]string{"k": token}))
		if err != nil {
			t.Fatal(err)
		}
		return inv
	}
	process := func(opts ...lambdalocal.ProcessOption) esm.Invoker {
		p, err := lambdalocal.NewProcess([]string{lambdatest.Build(t, "function"), "--token=" + token}, append(opts,
			lambdalocal.WithEnv("PASSWORD="+password), lambdalocal.WithLogger(s.ear.Logger()), lambdalocal.WithTimeout(2*time.Second))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	inProcess, err := lambdalocal.Handler(func() error { return errors.New("told to fail") })
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		inv   esm.Invoker
		want  esm.Outcome
		value string
	}{
		"HTTP success":     {byHTTP(echo.URL, status(200)), esm.OutcomeSuccess, ""},
		"HTTP failure":     {byHTTP(echo.URL, status(500)), esm.OutcomeFailure, ""},
		"HTTP permanent":   {byHTTP(echo.URL, status(422)), esm.OutcomePermanent, ""},
		"HTTP too large":   {byHTTP(echo.URL, status(413)), esm.OutcomeTooLarge, ""},
		"HTTP throttle":    {byHTTP(echo.URL, status(429)), esm.OutcomeThrottled, ""},
		"HTTP halt":        {atOnce(byHTTP(echo.URL, status(404))), esm.OutcomeHalt, ""},
		"HTTP redirect":    {atOnce(byHTTP(echo.URL, status(307))), esm.OutcomeHalt, ""},
		"HTTP events":      {byHTTP(echo.URL, status(500), esmhttp.WithFormat(esmhttp.CloudEvent)), esm.OutcomePartial, ""},
		"HTTP no trust":    {byHTTP(secure.URL), esm.OutcomeThrottled, ""},
		"HTTP nobody":      {byHTTP(gone.URL), esm.OutcomeThrottled, ""},
		"HTTP no items":    {byHTTP(echo.URL, status(200), esmhttp.WithReportBatchItemFailures(true)), esm.OutcomeSuccess, ""},
		"Lambda failure":   {byLambda(echo.URL, 502, "BrandNewException"), esm.OutcomeFailure, ""},
		"Lambda too large": {byLambda(echo.URL, 413, "RequestTooLargeException"), esm.OutcomeTooLarge, ""},
		"Lambda throttle":  {byLambda(echo.URL, 429, "TooManyRequestsException"), esm.OutcomeThrottled, ""},
		"Lambda halt":      {atOnce(byLambda(echo.URL, 403, "InvalidSignatureException")), esm.OutcomeHalt, ""},
		"Lambda no trust":  {byLambda(secure.URL, 0, ""), esm.OutcomeThrottled, ""},
		"Lambda nobody":    {byLambda(gone.URL, 0, ""), esm.OutcomeThrottled, ""},
		"process success":  {process(), esm.OutcomeSuccess, ""},
		"process error":    {process(), esm.OutcomeFailure, "error"},
		"process panic":    {process(), esm.OutcomeFailure, "panic"},
		"process exit":     {process(), esm.OutcomeFailure, "exit"},
		"process timeout":  {process(), esm.OutcomeFailure, "hang"},
		"process init":     {process(lambdalocal.WithEnv("FUNCTION_INIT=exit")), esm.OutcomeFailure, ""},
		"process is gone":  {missing(t, s.ear, token), esm.OutcomeThrottled, ""},
		"handler":          {inProcess, esm.OutcomeFailure, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.play(t, tt.inv, tt.want, tt.value, nil)
		})
	}
	failing, err := lambdalocal.Handler(func() error { return errors.New("told to fail") })
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]kafkadest.Config{
		"destination without a topic": {Brokers: s.kafka.Brokers(), Topic: "nowhere", Client: []kgo.Opt{s.kafka.Dialer()}},
		"destination is not there": {Brokers: []string{"kafka.test:9092"}, Topic: "failed", Client: []kgo.Opt{
			kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()),
			kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }),
			kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
				return nil, fmt.Errorf("by %s: %w", with("socks5://proxy.test:1080"), io.ErrUnexpectedEOF)
			})}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.play(t, failing, esm.OutcomeFailure, "", func(string) esm.Destination {
				d, err := kafkadest.New(config)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(d.Close)
				return d
			})
		})
	}
}

// atOnce halts the Mapping at the first refusal, for which it would wait a minute.
func atOnce(inv esm.Invoker) esm.Invoker {
	return esm.InvokerFunc(func(ctx context.Context, b *esm.Batch) error {
		err := inv.Invoke(ctx, b)
		if esm.Classify(ctx, err) == esm.OutcomeHalt {
			return esm.Halt(err)
		}
		return err
	})
}

// doer is an HTTP client of the host.
type doer func(r *http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// missing is a process whose program is not there, given as a line of a shell.
func missing(t *testing.T, ear *secrettest.Ear, token string) esm.Invoker {
	p, err := lambdalocal.NewProcess([]string{"./no-such-program --token=" + token}, lambdalocal.WithDir(t.TempDir()), lambdalocal.WithLogger(ear.Logger()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// TestNothingThatIsWrongIsSaid by what makes things, of what it was given.
func TestNothingThatIsWrongIsSaid(t *testing.T) {
	ear := secrettest.New(t)
	password, token := ear.Plant(), ear.Plant()
	target := "https://user:" + password + "@billing.test:port/" + token + "?sig=" + token
	for name, make := range map[string]func() error{
		"esm.New": func() error {
			_, err := esm.New(esm.Source{Brokers: []string{"sasl://user:" + password + "@kafka.test:9092", "kafka.test?sig=" + token, "user:" + password, password + "@kafka.test"},
				Topics: []string{"orders"}, Group: "g"}, esm.Each(func(context.Context, *kgo.Record) error { return nil }))
			return err
		},
		"esmhttp.New": func() error { _, err := esmhttp.New(target); return err },
		"awslambda.New": func() error {
			_, err := awslambda.New(aws.Config{BaseEndpoint: &target}, "", awslambda.WithClientContext(map[string]string{"k": strings.Repeat(token, 500)}))
			return err
		},
		"kafkadest.New": func() error {
			_, err := kafkadest.New(kafkadest.Config{Brokers: []string{target}, Topic: target})
			return err
		},
		"lambdalocal.NewProcess": func() error {
			_, err := lambdalocal.NewProcess([]string{"no-such-program --token=" + token}, lambdalocal.WithEnv(password, "="+password, "PASSWORD="+password+"\x00", "A\x00="+password))
			return err
		},
	} {
		err := make()
		if err == nil {
			t.Errorf("%s took it", name)
		}
		ear.Hear(name, err)
	}
}

// TestALoginThatIsRefusedIsNotSaid by Start.
func TestALoginThatIsRefusedIsNotSaid(t *testing.T) {
	ear := secrettest.New(t)
	right, wrong := ear.Plant(), ear.Plant()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "someone", right), kfake.SeedTopics(1, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	timeouts := map[string]time.Duration{"right": 30 * time.Second, "wrong": 2 * time.Second}
	for name, password := range map[string]string{"right": right, "wrong": wrong} {
		m, err := esm.New(esm.Source{Brokers: cluster.ListenAddrs(), Topics: []string{"orders"}, Group: name, Client: []kgo.Opt{
			kgo.SASL(plain.Auth{User: "someone", Pass: password}.AsMechanism()),
		}}, esm.Each(func(context.Context, *kgo.Record) error { return nil }), ear.Options(esm.WithStartTimeout(timeouts[name]))...)
		if err != nil {
			t.Fatal(err)
		}
		err = m.Start(t.Context())
		if (err == nil) != (name == "right") {
			t.Errorf("%s: %v", name, err)
		}
		ear.Hear("Start", err)
		ear.Mapping(m)
		ear.Hear("Stop", m.Stop(t.Context()))
	}
}
