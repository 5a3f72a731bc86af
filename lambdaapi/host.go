package lambdaapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/awsconfig"
	"github.com/seed429fd032/esm/internal/guard"
)

// A Config is what a [Host] needs.
type Config struct {
	// Store keeps the mappings. Required.
	Store Store
	// Functions finds the Invoker of a function, and options of its Mappings, as hooks or a
	// memory budget; what the mapping says itself comes after them. A function that this
	// host does not have is ErrNoFunction. It is called whenever a mapping is made, starts
	// or changes: make an Invoker once, and return it each time. Required.
	Functions func(ctx context.Context, name FunctionName, reportBatchItemFailures bool) (esm.Invoker, []esm.Option, error)
	// OtherHosts takes mappings of functions that this host does not have, since another
	// host of the same Store has them. Without it they are refused.
	OtherHosts bool
	// Override are options that come after those of each mapping, as
	// [esm.WithPollerByteRate](esm.Unlimited) where AWS's 5 MB/s are too few. Only options
	// that can be updated.
	Override []esm.Option
	// Needs is what mappings need otherwise: secrets, clusters, destinations.
	Needs awsconfig.Host
	// Client are options of the Kafka client of every mapping: see [esm.Source]. A request
	// says which brokers it speaks to: put no password in it.
	Client []kgo.Opt
	// Secrets is what the name of every secret must begin with, as kafka/, so that a request
	// cannot have any other one sent to brokers of its own. Of an ARN, the name counts, and
	// neither account nor region: what Needs.Secrets may read bounds these. Where it is
	// awsconfig.SecretsFromEnv, for which kafka/a and kafka-a are the same, its own prefix
	// is the bound. "" lets no request name a secret.
	Secrets string
	// IAMBrokers are ends of the names of hosts, as .kafka.eu-central-1.amazonaws.com: a
	// request may have only these logged in to with the host's own identity (IAM_AUTH,
	// IAM_OAUTHBEARER_AUTH). Whoever gets such a login can use it for a quarter of an hour.
	// None lets no request do it. An MSK cluster is Needs.Cluster's to know, and needs none.
	IAMBrokers []string
	// Region and Account are what ARNs have: by default us-east-1 and 000000000000. If
	// Region is set, requests must be signed for it.
	Region, Account string
	// Keys finds the secret key of an access key. Requests are taken from anywhere then, if
	// they are signed with one. Without it they are taken from this machine only, and not if
	// a proxy says that it passed them on.
	Keys func(ctx context.Context, accessKeyID string) (aws.Credentials, error)
	// AllowRemote takes requests that nobody has signed from anywhere. Whoever reaches the
	// endpoint can then have every topic that the host can read handled by its functions.
	AllowRemote bool
	// Hostnames are the names under which the endpoint is reached, beside localhost and
	// addresses.
	Hostnames []string
	// MaxMappings is how many mappings the Store may have: a create beyond it is refused, by
	// each host with its own bound, so give all hosts of a Store the same. Those that are
	// disabled count, since they can be enabled, and those that are being deleted do until
	// they have stopped. Each that runs has a Kafka client and a memory budget of its own
	// ([esm.WithMemoryBudget]), 128 MiB by default: the default, 100, may hold 12.5 GiB, and
	// is what one page of a list shows. [esm.Unlimited] sets no bound.
	MaxMappings int
	// Logger is told what goes wrong. Default: slog.Default().
	Logger *slog.Logger
}

// ErrNoFunction says that a host does not have a function.
var ErrNoFunction = errors.New("lambdaapi: this host has no such function")

// A Host serves the API, and runs the mappings of its Store whose functions it has.
type Host struct {
	config   Config
	store    Store
	verifier *verifier
	since    time.Time // when it was made
	bell     bell
	runs     atomic.Bool

	mu      sync.Mutex // guards runners; that of a runner is taken after it
	runners map[string]*runner
}

var _ http.Handler = (*Host)(nil)

// NewHost makes a Host. [Host.Run] runs its mappings.
func NewHost(c Config) (*Host, error) {
	switch {
	case c.Store == nil || guard.IsNil(c.Store):
		return nil, errors.New("lambdaapi: Config.Store is required")
	case c.Functions == nil:
		return nil, errors.New("lambdaapi: Config.Functions is required")
	}
	for _, name := range c.Hostnames {
		if name == "" || strings.ContainsAny(name, ":/") {
			return nil, fmt.Errorf("lambdaapi: Config.Hostnames has %q: give it names without scheme and port, as mappings.example.com", name)
		}
	}
	if strings.HasPrefix(c.Secrets, "arn:") {
		return nil, fmt.Errorf("lambdaapi: Config.Secrets %q is an ARN: give it the beginning of names, as kafka/", c.Secrets)
	}
	if c.MaxMappings < esm.Unlimited {
		return nil, fmt.Errorf("lambdaapi: Config.MaxMappings is %d: it must be 1 or more, 0 for %d, or esm.Unlimited", c.MaxMappings, defaultMaxMappings)
	}
	h := &Host{config: c, store: c.Store, since: time.Now(), runners: map[string]*runner{}}
	if c.Keys != nil {
		h.verifier = &verifier{keys: c.Keys, region: c.Region, now: time.Now, log: func(text string, err error) {
			h.say(slog.LevelWarn, text, "error", guard.Text(err))
		}}
	}
	if c.Region == "" {
		h.config.Region = "us-east-1"
	}
	if c.Account == "" {
		h.config.Account = "000000000000"
	}
	arn := FunctionName{Partition: "aws", Region: h.config.Region, Account: h.config.Account, Name: "f"}.String()
	if _, ok := nameOf(arn); !ok {
		return nil, fmt.Errorf("lambdaapi: Config.Region %q or Config.Account %q is none: they are as us-east-1 and 123456789012", c.Region, c.Account)
	}
	if c.MaxMappings == 0 {
		h.config.MaxMappings = defaultMaxMappings
	}
	if c.Logger == nil {
		h.config.Logger = slog.Default()
	}
	return h, nil
}

// defaultMaxMappings is the default of Config.MaxMappings.
const defaultMaxMappings = 100

// full says why no mapping can be made beside so many.
func (h *Host) full(mappings int) error {
	if most := h.config.MaxMappings; most != esm.Unlimited && mappings >= most {
		return tooMany(mappings, most)
	}
	return nil
}

// arn fills in what a name of a function does not say.
func (h *Host) arn(n FunctionName) string {
	return n.in("aws", h.config.Region, h.config.Account).String()
}

// allowed says why a request may not name what it does.
func (h *Host) allowed(c *awsconfig.Config) error {
	for _, a := range c.SourceAccessConfigurations {
		switch a.Type {
		case "OAUTHBEARER_SCOPE", "OAUTHBEARER_AUDIENCE", "OAUTHBEARER_LOGICAL_CLUSTER", "OAUTHBEARER_IDENTITY_POOL", "VPC_SUBNET", "VPC_SECURITY_GROUP":
			continue // no secret
		case "IAM_AUTH", "IAM_OAUTHBEARER_AUTH":
			for _, server := range (&Record{Config: *c}).servers() {
				if name, _, err := net.SplitHostPort(server); err != nil || !slices.ContainsFunc(h.config.IAMBrokers, func(end string) bool {
					return end != "" && strings.HasSuffix(strings.ToLower(name), strings.ToLower(end))
				}) {
					return invalid("SourceAccessConfigurations: %s logs in with the identity of this host, and Config.IAMBrokers does not have the broker %q", a.Type, server)
				}
			}
			continue
		}
		// A name that is not clean, as kafka/../admin, can be another one's.
		name := awsconfig.SecretName(a.URI)
		if !strings.HasPrefix(name, h.config.Secrets) || name != path.Clean(name) || strings.ContainsAny(name, `\`) {
			return invalid("SourceAccessConfigurations: the secret %q is not one that requests may name: they begin with %q", a.URI, h.config.Secrets)
		}
		if h.config.Secrets == "" {
			return invalid("SourceAccessConfigurations: this host lets no request name a secret: it has no Config.Secrets")
		}
	}
	return nil
}

// possible says why this host could not run a mapping: what AWS looks at when one is made.
func (h *Host) possible(ctx context.Context, r *Record) error {
	plan, err := r.Config.Plan(r.UUID)
	if err != nil {
		return said(err)
	}
	if err := h.allowed(&r.Config); err != nil {
		return err // and no secret is asked for
	}
	_, _, err = h.function(ctx, r, &plan)
	elsewhere := errors.Is(err, ErrNoFunction)
	if err != nil && !elsewhere {
		return failed(err)
	}
	if elsewhere && h.config.OtherHosts {
		return nil // that one has what it needs, too
	}
	err = plan.Connect(ctx, h.config.Needs)
	switch {
	case elsewhere && err != nil:
		return invalid("FunctionName: this host has no function %s; %s", r.FunctionArn, texts(err))
	case elsewhere:
		return invalid("FunctionName: this host has no function %s", r.FunctionArn)
	case err != nil:
		return said(err)
	}
	return nil
}

// hostWithin is how long what the host gives may take: Functions, Keys.
const hostWithin = 15 * time.Second

// function finds the function of a mapping.
func (h *Host) function(ctx context.Context, r *Record, plan *awsconfig.Plan) (esm.Invoker, []esm.Option, error) {
	type found struct {
		inv  esm.Invoker
		opts []esm.Option
	}
	name, _ := nameOf(r.FunctionArn)
	is, err := guard.Ask(ctx, hostWithin, "lambdaapi: Config.Functions", func(ctx context.Context) (f found, err error) {
		f.inv, f.opts, err = h.config.Functions(ctx, name, plan.Needs.ReportBatchItemFailures)
		return f, err
	})
	if err == nil && (is.inv == nil || guard.IsNil(is.inv)) {
		err = fmt.Errorf("lambdaapi: Config.Functions has no Invoker of %s, and no error", r.FunctionArn)
	}
	return is.inv, is.opts, err
}

// say logs. A logger that does not return holds nobody up for long.
func (h *Host) say(level slog.Level, text string, args ...any) {
	guard.Within(time.Second, func() { h.config.Logger.Log(context.Background(), level, text, args...) })
}

// all asks the Store for all mappings.
func (h *Host) all(ctx context.Context) (map[string]Record, error) {
	return guard.Ask(ctx, storeWithin, "lambdaapi: Store.All", h.store.All)
}

// change has the Store change a mapping.
func (h *Host) change(ctx context.Context, decide func(all map[string]Record) (Change, error)) error {
	_, err := guard.Ask(ctx, storeWithin, "lambdaapi: Store.Change", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, h.store.Change(ctx, decide)
	})
	return err
}

// lookEvery is how often Run looks at a Store that does not ring.
const lookEvery = 5 * time.Second

// Run runs the mappings until ctx ends, and then stops them all: they leave their groups
// with everything committed that was handled. It runs once.
func (h *Host) Run(ctx context.Context) error {
	if h.runs.Swap(true) {
		return errors.New("lambdaapi: Run was called before")
	}
	var all sync.WaitGroup
	defer func() {
		all.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		clear(h.runners) // nothing runs, and nothing is tried
	}()
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	trouble := false
	for ctx.Err() == nil {
		err := h.reconcile(ctx, &all)
		switch {
		case ctx.Err() != nil:
		case err != nil && !trouble:
			h.say(slog.LevelError, "the mappings cannot be read; those that run go on", "error", guard.Text(err))
		case err == nil && trouble:
			h.say(slog.LevelInfo, "the mappings can be read again")
		}
		trouble = err != nil
		select {
		case <-ctx.Done():
		case <-h.bell.rung():
		case <-h.store.Changed():
		case <-every.C:
		}
	}
	return nil
}

// storeWithin is how long a Store may take.
const storeWithin = 20 * time.Second

// reconcile has a runner for each mapping, and tells each what is to be.
func (h *Host) reconcile(ctx context.Context, all *sync.WaitGroup) error {
	is, err := h.all(ctx)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for uuid, r := range is {
		one := h.runners[uuid]
		if one == nil {
			one = &runner{host: h, uuid: uuid}
			h.runners[uuid] = one
			all.Go(func() { one.run(ctx) })
		}
		one.tell(&r)
	}
	for uuid, one := range h.runners {
		if _, ok := is[uuid]; !ok {
			one.tell(nil)
		}
	}
	return nil
}

// noRecords is AWS's LastProcessingResult before the first call.
const noRecords = "No records processed"

// observed is what this host sees of a mapping.
func (h *Host) observed(r *Record) (state, result string) {
	h.mu.Lock()
	one := h.runners[r.UUID]
	h.mu.Unlock()
	var is observation
	if one != nil {
		is = one.observed()
	}
	result = is.result
	if result == "" {
		result = noRecords
	}
	if err := r.unreadable; err != nil {
		result = "PROBLEM: " + guard.Text(err)
	}
	switch {
	case r.Deleting:
		return "Deleting", result
	case !r.enabled() && is.runs:
		return "Disabling", result
	case !r.enabled():
		return "Disabled", result
	case is.tried && is.version >= r.Version || r.unreadable != nil:
		return "Enabled", result // with a problem too, as in AWS
	case is.started:
		return "Updating", result
	case r.Version == 0 && !r.Created.Before(h.since):
		return "Creating", result
	}
	return "Enabling", result
}

// leaving is a mapping that is deleted, by another host, and runs here for a moment yet.
func (h *Host) leaving(uuid string) *Record {
	h.mu.Lock()
	one := h.runners[uuid]
	h.mu.Unlock()
	if one == nil {
		return nil
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.m == nil || one.of == nil {
		return nil
	}
	r := *one.of
	r.Deleting = true
	return &r
}

// Mapping is what runs of a mapping in this host, nil if nothing does.
func (h *Host) Mapping(uuid string) *esm.Mapping {
	h.mu.Lock()
	one := h.runners[uuid]
	h.mu.Unlock()
	if one == nil {
		return nil
	}
	return one.mapping()
}

// Mappings are those that run in this host, by UUID.
func (h *Host) Mappings() map[string]*esm.Mapping {
	h.mu.Lock()
	runners := maps.Clone(h.runners)
	h.mu.Unlock()
	running := map[string]*esm.Mapping{}
	for uuid, one := range runners {
		if m := one.mapping(); m != nil {
			running[uuid] = m
		}
	}
	return running
}
