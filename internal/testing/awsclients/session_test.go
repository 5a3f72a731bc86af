package awsclients

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seed429fd032/esm"
)

// A talk is one of a client with an endpoint.
type talk struct {
	*testing.T
	e    *endpoint
	c    client
	uuid string // of the mapping of orders
}

// do makes a call that must succeed.
func (s *talk) do(op string, in object) object {
	s.Helper()
	out, r := s.c.call(s.T, op, in)
	if r != nil {
		s.Fatalf("%s: %+v", op, *r)
	}
	return out
}

// refused makes a call that must not, and returns what the client says.
func (s *talk) refused(code string, status int, op string, in object) (message string) {
	s.Helper()
	from := len(s.e.took(0))
	out, r := s.c.call(s.T, op, in)
	if r == nil {
		s.Fatalf("%s was answered with %v, and not with %s", op, out, code)
	}
	took := s.e.took(from)
	if r.code != code || len(took) != 1 || took[0].status != status {
		s.Errorf("%s: %+v, of %+v; the code must be %s and the status %d", op, *r, took, code, status)
	}
	return r.message
}

// is fails the test unless an answer has a value at a path.
func (s *talk) is(answer object, path string, want any) {
	s.Helper()
	got := at(answer, path)
	if n, ok := want.(int); ok {
		want = float64(n)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.Errorf("%s is %v, and not %v", path, got, want)
	}
}

// becomes waits until a mapping has a state. Only some others may come before.
func (s *talk) becomes(uuid, state string, before ...string) (answer object) {
	s.Helper()
	until(s.T, state, func() bool {
		answer = s.do("GetEventSourceMapping", object{"UUID": uuid})
		now, _ := answer["State"].(string)
		if now != state && !slices.Contains(before, now) {
			s.Fatalf("it is %s before it is %s", now, state)
		}
		return now == state
	})
	return answer
}

// gone waits until a mapping is no more.
func (s *talk) gone(uuid string) {
	s.Helper()
	until(s.T, "gone", func() bool {
		out, r := s.c.call(s.T, "GetEventSourceMapping", object{"UUID": uuid})
		if r == nil && out["State"] != "Deleting" {
			s.Fatalf("it was deleted, and is %v", out["State"])
		}
		if r != nil && r.code != "ResourceNotFoundException" {
			s.Fatal(*r)
		}
		return r != nil
	})
}

// tags fails the test unless a mapping has these tags.
func (s *talk) tags(arn string, want object) {
	s.Helper()
	got, _ := s.do("ListTags", object{"Resource": arn})["Tags"].(object)
	if !maps.Equal(got, want) {
		s.Errorf("the tags are %v, and not %v", got, want)
	}
}

// running is what runs of the mapping of orders.
func (s *talk) running() *esm.Mapping { return s.e.host.Mapping(s.uuid) }

// TestSession is a whole one of each client, with all eight operations, signed by a key with
// a session token: the mapping runs meanwhile, and each record is handled once and in order.
func TestSession(t *testing.T) {
	for name, open := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEndpoint(t, lasting, session)
			c := open(t, access{url: e.url, keys: session})
			s := &talk{T: t, e: e, c: c}
			produced := s.create()
			s.refusals()
			s.paging()
			produced = s.updates(produced)
			s.tagging()
			s.is(s.do("DeleteEventSourceMapping", object{"UUID": s.uuid}), "State", "Deleting")
			s.gone(s.uuid)
			if s.running() != nil {
				t.Error("it was deleted, and runs")
			}
			e.produce("orders", 1)
			e.book.check(t, e.kafka, "billing group", "orders", produced)
			s.signatures()
		})
	}
}

// orders is the mapping that runs.
func (s *talk) orders() object {
	return object{
		"FunctionName": "billing", "Topics": []string{"orders"}, "StartingPosition": "TRIM_HORIZON", "BatchSize": 50,
		"SelfManagedEventSource":            object{"Endpoints": object{"KAFKA_BOOTSTRAP_SERVERS": s.e.kafka.Brokers()}},
		"SelfManagedKafkaEventSourceConfig": object{"ConsumerGroupId": "billing group"},
		"ProvisionedPollerConfig":           object{"MinimumPollers": 1, "MaximumPollers": 3},
		"Tags":                              object{"team": "orders", "cost centre/1+2=3@x": "a/b=c+d"},
	}
}

func (s *talk) create() (produced int64) {
	produced = s.e.produce("orders", 200)
	begin := time.Now()
	made := s.do("CreateEventSourceMapping", s.orders())
	s.uuid, _ = made["UUID"].(string)
	s.is(made, "State", "Creating")
	s.is(made, "FunctionArn", "arn:aws:lambda:"+region+":"+account+":function:billing")
	s.is(made, "EventSourceMappingArn", "arn:aws:lambda:"+region+":"+account+":event-source-mapping:"+s.uuid)
	s.is(made, "StateTransitionReason", "USER_INITIATED")
	if at, ok := made["LastModified"].(float64); !ok || at < float64(begin.Unix()) || at > float64(time.Now().Unix()+1) {
		s.Errorf("LastModified is %v", made["LastModified"])
	}
	got := s.becomes(s.uuid, "Enabled", "Creating")
	for path, want := range map[string]any{
		"UUID": s.uuid, "BatchSize": 50, "Topics": []any{"orders"}, "StartingPosition": "TRIM_HORIZON",
		"ProvisionedPollerConfig.MinimumPollers": 1, "ProvisionedPollerConfig.MaximumPollers": 3,
		"SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS": s.e.kafka.Brokers(),
		"SelfManagedKafkaEventSourceConfig.ConsumerGroupId":        "billing group",
		"EventSourceArn": nil, "MaximumBatchingWindowInSeconds": nil, "MaximumRetryAttempts": nil, "Tags": nil,
	} {
		s.is(got, path, want)
	}
	s.e.book.handles(s.T, "orders", produced)
	until(s.T, "OK", func() bool {
		return s.do("GetEventSourceMapping", object{"UUID": s.uuid})["LastProcessingResult"] == "OK"
	})
	return produced
}

// refusals are what the API must say no to.
func (s *talk) refusals() {
	said := s.refused("ResourceConflictException", 409, "CreateEventSourceMapping", s.orders())
	if !strings.HasSuffix(said, " "+s.uuid) {
		s.Errorf("the UUID is not the last word: %s", said)
	}
	for field, in := range map[string]object{
		"BatchSize":    {"UUID": s.uuid, "BatchSize": 20_000},
		"FunctionName": {"UUID": s.uuid, "FunctionName": "stranger"},
		"SelfManagedKafkaEventSourceConfig.ConsumerGroupId": {"UUID": s.uuid, "SelfManagedKafkaEventSourceConfig": object{"ConsumerGroupId": "another"}},
	} {
		if said := s.refused("InvalidParameterValueException", 400, "UpdateEventSourceMapping", in); !strings.Contains(said, field) {
			s.Errorf("it does not name %s: %s", field, said)
		}
	}
	const stranger = "11111111-2222-4333-8444-555555555555"
	if said := s.refused("ResourceNotFoundException", 404, "GetEventSourceMapping", object{"UUID": stranger}); !strings.Contains(said, stranger) {
		s.Errorf("it does not name the UUID: %s", said)
	}
}

// paging lists more mappings than a page has, and filters them.
func (s *talk) paging() {
	since := time.Now().Add(-time.Hour).Truncate(time.Second).Add(250 * time.Millisecond)
	invoices := s.orders()
	delete(invoices, "SelfManagedKafkaEventSourceConfig")
	delete(invoices, "ProvisionedPollerConfig")
	delete(invoices, "BatchSize")
	invoices["Topics"], invoices["Enabled"] = []string{"invoices"}, false
	invoices["StartingPosition"], invoices["StartingPositionTimestamp"] = "AT_TIMESTAMP", float64(since.UnixMilli())/1000
	second := s.do("CreateEventSourceMapping", invoices)
	s.is(second, "State", "Creating")
	s.is(second, "BatchSize", 100)
	s.is(second, "SelfManagedKafkaEventSourceConfig.ConsumerGroupId", second["UUID"])
	if got := second["StartingPositionTimestamp"]; !near(got, since) {
		s.Errorf("StartingPositionTimestamp is %v, and not %d", got, since.Unix())
	}
	third := s.do("CreateEventSourceMapping", object{"FunctionName": "billing:PROD", "EventSourceArn": cluster, "Topics": []string{"stock"}, "StartingPosition": "LATEST", "Enabled": false})
	s.is(third, "EventSourceArn", cluster)
	s.is(third, "FunctionArn", "arn:aws:lambda:"+region+":"+account+":function:billing:PROD")
	all := []string{s.uuid, second["UUID"].(string), third["UUID"].(string)}
	for _, uuid := range all[1:] {
		s.is(s.becomes(uuid, "Disabled", "Creating", "Disabling"), "LastProcessingResult", "No records processed")
	}

	from := len(s.e.took(0))
	if got := s.c.list(s.T, 2, object{}); !slices.Equal(got, all) {
		s.Errorf("listed are %v, and not %v", got, all)
	}
	pages := s.e.took(from)
	if len(pages) != 2 || fmt.Sprint(pages[0].query["MaxItems"], pages[1].query["MaxItems"]) != "[2] [2]" || len(pages[1].query["Marker"]) != 1 {
		s.Errorf("pages of 2: %+v", pages)
	}
	for want, in := range map[string]object{
		all[2]: {"EventSourceArn": cluster}, all[2] + " by its function": {"FunctionName": "billing:PROD"},
	} {
		if got := s.c.list(s.T, 2, in); len(got) != 1 || !strings.HasPrefix(want, got[0]) {
			s.Errorf("%v: %v, and not %s", in, got, want)
		}
	}
	one := s.do("ListEventSourceMappings", object{"MaxItems": 1})
	if _, isCLI := s.c.(*cli); isCLI {
		// The CLI cuts the pages itself, and its token is its own.
		more := s.do("ListEventSourceMappings", object{"MaxItems": 5, "StartingToken": one["NextToken"]})
		s.is(object{"n": len(more["EventSourceMappings"].([]any))}, "n", 2)
	} else {
		more := s.do("ListEventSourceMappings", object{"Marker": one["NextMarker"]})
		s.is(object{"n": len(more["EventSourceMappings"].([]any))}, "n", 2)
		s.is(more, "NextMarker", nil)
	}
}

// updates changes the mapping while it runs, disables and enables it.
func (s *talk) updates(produced int64) int64 {
	update := func(in object, state string) object {
		s.Helper()
		in["UUID"] = s.uuid
		changed := s.do("UpdateEventSourceMapping", in)
		s.is(changed, "State", state)
		return changed
	}
	run := s.running()
	changed := update(object{"ProvisionedPollerConfig": object{"MinimumPollers": 3}}, "Updating")
	s.is(changed, "ProvisionedPollerConfig.MinimumPollers", 3)
	s.is(changed, "ProvisionedPollerConfig.MaximumPollers", 3)
	s.is(changed, "BatchSize", 50)
	s.becomes(s.uuid, "Enabled", "Updating")
	until(s.T, "three pollers", func() bool { return run.Stats().ProvisionedPollers == 3 })
	if s.running() != run {
		s.Error("for more pollers another Mapping was made")
	}

	update(object{"Enabled": false}, "Disabling")
	s.becomes(s.uuid, "Disabled", "Disabling")
	if s.running() != nil {
		s.Error("it is disabled, and runs")
	}
	more := s.e.produce("orders", 100)
	update(object{}, "Updating")
	if got := s.e.book.handled("orders"); got != produced {
		s.Errorf("%d records were handled while it was disabled", got-produced)
	}
	produced += more
	update(object{"Enabled": true}, "Enabling")
	s.becomes(s.uuid, "Enabled", "Enabling")
	s.e.book.handles(s.T, "orders", produced)

	run = s.running()
	s.is(update(object{"ProvisionedPollerConfig": object{}}, "Updating"), "ProvisionedPollerConfig", nil)
	s.is(s.becomes(s.uuid, "Enabled", "Updating", "Enabling"), "ProvisionedPollerConfig", nil)
	if is := s.running(); is == nil || is == run {
		s.Error("on demand it is the same Mapping as with bounds")
	}
	produced += s.e.produce("orders", 100)
	s.e.book.handles(s.T, "orders", produced)
	return produced
}

func (s *talk) tagging() {
	arn, _ := s.do("GetEventSourceMapping", object{"UUID": s.uuid})["EventSourceMappingArn"].(string)
	s.tags(arn, object{"team": "orders", "cost centre/1+2=3@x": "a/b=c+d"})
	s.do("TagResource", object{"Resource": arn, "Tags": object{"stage": "test", "team": "billing"}})
	s.tags(arn, object{"team": "billing", "cost centre/1+2=3@x": "a/b=c+d", "stage": "test"})
	s.do("UntagResource", object{"Resource": arn, "TagKeys": []string{"cost centre/1+2=3@x", "stage", "none"}})
	s.tags(arn, object{"team": "billing"})
	s.refused("ResourceNotFoundException", 404, "ListTags", object{"Resource": strings.Replace(arn, s.uuid, "11111111-2222-4333-8444-555555555555", 1)})
}

// signatures fails the test unless the client has signed everything, among it a path with an
// ARN that is percent-encoded, and the keys of tags in a query.
func (s *talk) signatures() {
	arns, queries, statuses := 0, 0, map[string]map[int]bool{}
	for _, r := range s.e.took(0) {
		if !r.signed {
			s.Errorf("not signed: %+v", r)
		}
		if strings.Contains(r.uri, "/tags/arn%3A") {
			arns++
		}
		if len(r.query["tagKeys"]) == 3 {
			queries++
		}
		if statuses[r.method] == nil {
			statuses[r.method] = map[int]bool{}
		}
		statuses[r.method][r.status] = true
	}
	if arns < 6 || queries != 1 {
		s.Errorf("%d requests had a percent-encoded ARN, and %d three keys of tags", arns, queries)
	}
	want := map[string]map[int]bool{
		"GET": {200: true, 404: true}, "POST": {202: true, 204: true, 409: true}, "PUT": {202: true, 400: true}, "DELETE": {202: true, 204: true},
	}
	if !maps.EqualFunc(statuses, want, maps.Equal) {
		s.Errorf("the answers had the statuses %v, and not %v", statuses, want)
	}
}

// TestAccess is a short session of each client and each way to sign: a lasting key without a
// session, and nobody's key or none where the host checks no signature.
func TestAccess(t *testing.T) {
	for name, open := range clients {
		for way, of := range map[string]struct {
			checks bool // the host checks signatures
			signed bool
			access
		}{
			"a lasting key":                      {true, true, access{keys: lasting}},
			"nobody's key and no check":          {false, true, access{keys: session}},
			"no signature and no check of a key": {false, false, access{unsigned: true}},
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				var e *endpoint
				if of.checks {
					e = startEndpoint(t, lasting, session)
				} else {
					e = startEndpoint(t)
				}
				of.url = e.url
				s := &talk{T: t, e: e, c: open(t, of.access)}
				in := s.orders()
				in["Enabled"] = false
				made := s.do("CreateEventSourceMapping", in)
				s.tags(made["EventSourceMappingArn"].(string), object{"team": "orders", "cost centre/1+2=3@x": "a/b=c+d"})
				if _, isCLI := s.c.(*cli); !isCLI { // each call of that takes a second
					s.do("DeleteEventSourceMapping", object{"UUID": made["UUID"]})
				}
				for _, r := range e.took(0) {
					if r.signed != of.signed {
						t.Errorf("signed is %v: %+v", r.signed, r)
					}
				}
			})
		}
	}
}

// with is a key with another secret and another session token.
func with(k aws.Credentials, secret, token string) aws.Credentials {
	k.SecretAccessKey, k.SessionToken = secret, token
	return k
}

// TestWrongKeysAreRefused with an error that each client understands, and nothing is changed.
func TestWrongKeysAreRefused(t *testing.T) {
	for name, open := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEndpoint(t, lasting, session)
			for what, a := range map[string]access{
				"another secret": {keys: with(lasting, "funeral", "")},
				"no session":     {keys: with(session, session.SecretAccessKey, "")},
				"no signature":   {unsigned: true},
			} {
				a.url = e.url
				s := &talk{T: t, e: e, c: open(t, a)}
				if said := s.refused("InvalidSignatureException", 403, "CreateEventSourceMapping", s.orders()); strings.Contains(said, lasting.SecretAccessKey) {
					t.Errorf("%s: it shows the secret: %s", what, said)
				}
			}
			all, err := e.config.Store.All(t.Context())
			if err != nil || len(all) > 0 {
				t.Errorf("%d mappings are there: %v", len(all), err)
			}
		})
	}
}

// TestCommandLine is what people type, word by word.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	e := startEndpoint(t)
	c := newCLI(t, access{url: e.url, unsigned: true}).(*cli)
	run := func(line string) (out object) {
		t.Helper()
		printed, r := c.run(t, strings.Fields(line)...)
		if r != nil {
			t.Fatalf("%s: %+v", line, *r)
		}
		if len(printed) > 0 {
			if err := json.Unmarshal(printed, &out); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	made := run(`create-event-source-mapping --function-name billing --topics orders --starting-position TRIM_HORIZON
		--self-managed-event-source {"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["` + e.kafka.Brokers()[0] + `"]}}
		--source-access-configurations Type=VPC_SUBNET,URI=subnet:subnet-0a Type=VPC_SECURITY_GROUP,URI=security_group:sg-0b
		--provisioned-poller-config MinimumPollers=1,MaximumPollers=10 --maximum-retry-attempts 3
		--destination-config {"OnFailure":{"Destination":"kafka://returns"}} --tags team=orders --no-enabled`)
	access, _ := made["SourceAccessConfigurations"].([]any)
	if at(made, "DestinationConfig.OnFailure.Destination") != "kafka://returns" || made["MaximumRetryAttempts"] != 3. || len(access) != 2 {
		t.Errorf("%v", made)
	}
	uuid := made["UUID"].(string)
	if got := run(`update-event-source-mapping --uuid ` + uuid + ` --destination-config {} --maximum-retry-attempts -1 --batch-size 10`); got["DestinationConfig"] != nil || got["MaximumRetryAttempts"] != -1. || got["BatchSize"] != 10. {
		t.Errorf("%v", got)
	}
}
