package esmemf

import (
	"strings"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/guard"
)

// A Subject is what lines say of a Mapping that it does not say itself. All of it may be
// empty.
type Subject struct {
	// UUID is the dimension EventSourceMappingUUID, and the mapping in logs. Default: the
	// Mapping's name ([esm.WithName]), which is the UUID where package lambdaapi made it.
	UUID string
	// FunctionName is the dimension of the metrics that AWS has for a function. Without it
	// there are none.
	FunctionName string
	// Source is what the Mapping reads. Logs have its brokers and ARN, and nothing of its
	// Client; the topics and the group they have anyway.
	Source esm.Source
	// SecurityProtocol and SASLMechanism are how it logs in, in Kafka's words, as SASL_SSL
	// and SCRAM-SHA-512.
	SecurityProtocol, SASLMechanism string
}

// uuid is the UUID of a Mapping with this name.
func (s *Subject) uuid(name string) string {
	if s.UUID != "" {
		return s.UUID
	}
	return guard.Cut(name, longestName)
}

// known keeps what is needed of a Subject, and nothing that has secrets: not the options of
// the client, and no user that is written before a broker.
func (s Subject) known() Subject {
	short := func(text string) string { return guard.Cut(text, longestName) }
	is := Subject{
		UUID: short(s.UUID), FunctionName: short(s.FunctionName), SecurityProtocol: short(s.SecurityProtocol), SASLMechanism: short(s.SASLMechanism),
		Source: esm.Source{Topics: append([]string(nil), s.Source.Topics...), Group: short(s.Source.Group), ARN: short(s.Source.ARN)},
	}
	for _, b := range s.Source.Brokers {
		is.Source.Brokers = append(is.Source.Brokers, b[strings.LastIndex(b, "@")+1:])
	}
	return is
}

// longestName is how many bytes of a name are written: CloudWatch bounds lines.
const longestName = 2048

// stopped reports whether a Mapping has stopped: its Stats are the last then.
func stopped(m *esm.Mapping) bool {
	select {
	case <-m.Done():
		return true
	default:
		return false
	}
}
