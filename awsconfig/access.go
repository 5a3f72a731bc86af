package awsconfig

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seed429fd032/esm/internal/guard"
)

// An accessType is what AWS says of one type of SourceAccessConfiguration.
type accessType struct {
	login   bool   // only one of these may be there
	msk     bool   // it may be with an EventSourceArn
	several bool   // it may be there more than once
	uri     string // what the URI is: "" if there is none
	needs   []string
}

const (
	basicAuth          = "BASIC_AUTH"
	scram256Auth       = "SASL_SCRAM_256_AUTH"
	scram512Auth       = "SASL_SCRAM_512_AUTH"
	certificateAuth    = "CLIENT_CERTIFICATE_TLS_AUTH"
	rootCA             = "SERVER_ROOT_CA_CERTIFICATE"
	oauthBearerAuth    = "OAUTHBEARER_AUTH"
	iamAuth            = "IAM_AUTH"
	iamOAuthBearerAuth = "IAM_OAUTHBEARER_AUTH"
	oauthScope         = "OAUTHBEARER_SCOPE"
	oauthAudience      = "OAUTHBEARER_AUDIENCE"
	oauthCluster       = "OAUTHBEARER_LOGICAL_CLUSTER"
	oauthPool          = "OAUTHBEARER_IDENTITY_POOL"
	vpcSubnet          = "VPC_SUBNET"
	vpcGroup           = "VPC_SECURITY_GROUP"
)

const (
	aSecret = "names a secret"
	aValue  = "is the value itself"
)

var accessTypes = map[string]accessType{
	basicAuth:          {login: true, uri: aSecret},
	scram256Auth:       {login: true, uri: aSecret},
	scram512Auth:       {login: true, uri: aSecret, msk: true},
	certificateAuth:    {login: true, uri: aSecret, msk: true},
	oauthBearerAuth:    {login: true, uri: aSecret},
	iamAuth:            {login: true},
	iamOAuthBearerAuth: {login: true, needs: []string{oauthAudience}},
	rootCA:             {uri: aSecret},
	oauthScope:         {uri: aValue, needs: []string{oauthBearerAuth}},
	oauthAudience:      {uri: aValue, needs: []string{oauthBearerAuth, iamOAuthBearerAuth}},
	oauthCluster:       {uri: aValue, needs: []string{oauthBearerAuth}},
	oauthPool:          {uri: aValue, needs: []string{oauthBearerAuth}},
	vpcSubnet:          {uri: aValue, several: true, needs: []string{vpcGroup}},
	vpcGroup:           {uri: aValue, several: true, needs: []string{vpcSubnet}},
}

// elsewhere are types of other sources, and of what they are.
var elsewhere = map[string]string{"VIRTUAL_HOST": "RabbitMQ"}

// mostAccess is how many SourceAccessConfigurations there may be.
const mostAccess = 23

func (j *judge) access() {
	const field = "SourceAccessConfigurations"
	all := j.c.SourceAccessConfigurations
	if n := len(all); n > mostAccess {
		j.wrong(field, n, fmt.Sprintf("must be %d at most", mostAccess))
	}
	seen := map[string]int{} // type -> where it was first
	login := -1
	for i, a := range all {
		at := element(field, i)
		t, known := accessTypes[a.Type]
		switch {
		case a.Type == "":
			j.wrong(member(at, "Type"), nil, "is required")
			continue
		case elsewhere[a.Type] != "":
			j.wrong(member(at, "Type"), a.Type, "is a type of "+elsewhere[a.Type]+", and not of Kafka")
			continue
		case !known:
			j.wrong(member(at, "Type"), a.Type, "must be "+either(slices.Sorted(maps.Keys(accessTypes))))
			continue
		}
		first, again := seen[a.Type]
		switch {
		case again && !t.several:
			j.wrong(member(at, "Type"), a.Type, fmt.Sprintf("must not be there twice: it is %s too", element(field, first)))
		case j.c.EventSourceArn != "" && !t.msk:
			j.wrong(member(at, "Type"), a.Type, "is not for MSK: with an EventSourceArn the types are "+scram512Auth+" and "+certificateAuth+", and none is IAM")
		case t.login && login >= 0:
			j.wrong(member(at, "Type"), a.Type, fmt.Sprintf("must not be there beside %s: a client logs in once", all[login].Type))
		}
		if !again {
			seen[a.Type] = i
		}
		if t.login && login < 0 {
			login = i
		}
		j.uri(member(at, "URI"), a, t)
	}
	for _, name := range sortedNames(seen) {
		t := accessTypes[name]
		if len(t.needs) > 0 && !slices.ContainsFunc(t.needs, func(n string) bool { _, ok := seen[n]; return ok }) {
			j.wrong(member(element(field, seen[name]), "Type"), name, "needs "+either(t.needs)+" beside it")
		}
	}
}

// uri judges the URI of a type.
func (j *judge) uri(field string, a SourceAccessConfiguration, t accessType) {
	switch {
	case t.uri == "" && a.URI != "":
		j.wrong(field, nil, "must not be there: "+a.Type+" has no secret")
	case t.uri != "" && a.URI == "":
		j.wrong(field, nil, "is required: for "+a.Type+" it "+t.uri)
	case t.uri == "":
	case t.uri == aSecret:
		if n := utf8.RuneCountInString(a.URI); n > 200 { // perhaps it is the secret itself: it is not shown
			j.wrong(field, nil, fmt.Sprintf("must be 1 to 200 characters, and is %s: it %s", grouped(n), t.uri))
		} else if !uriPattern.MatchString(a.URI) {
			j.wrong(field, nil, "must have letters of a to z and A to Z, digits, spaces and -/*:_+=.@ only: it "+t.uri)
		}
	case !j.length(field, a.URI, 1, 200):
	case !uriPattern.MatchString(a.URI):
		j.wrong(field, a.URI, "must have letters of a to z and A to Z, digits, spaces and -/*:_+=.@ only")
	case a.Type == vpcSubnet && !strings.HasPrefix(a.URI, "subnet:"):
		j.wrong(field, a.URI, "must begin with subnet:")
	case a.Type == vpcGroup && !strings.HasPrefix(a.URI, "security_group:"):
		j.wrong(field, a.URI, "must begin with security_group:")
	}
}

// valueShown is how a value of Go is shown in a Mistake.
func valueShown(v any) string {
	switch v := v.(type) {
	case string:
		if v == "..." {
			return "" // it is there, and too long to be of use
		}
		return guard.Cut(fmt.Sprintf("%q", v), mostShown)
	}
	return guard.Cut(fmt.Sprint(v), mostShown)
}

// sortedNames are the names of a map, in order: what is said twice is said alike.
func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
