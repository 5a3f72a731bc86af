package lambdaapi

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/seed429fd032/esm/internal/guard"
)

// A problem is an error as AWS's clients read it: its code in a header, and its text under
// the key that the code has.
type problem struct {
	status int
	code   string
	text   string
}

func (p *problem) Error() string { return p.code + ": " + p.text }

func invalid(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "InvalidParameterValueException", fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "ValidationException", fmt.Sprintf(format, args...)}
}

func denied(format string, args ...any) error {
	return &problem{http.StatusForbidden, "AccessDeniedException", fmt.Sprintf(format, args...)}
}

func missing(what string) error {
	if len(what) != 36 {
		return malformed("%q is no UUID: one has 36 characters", guard.Cut(what, 100))
	}
	return &problem{http.StatusNotFound, "ResourceNotFoundException", "there is no event source mapping " + what}
}

// conflict ends with the UUID of the mapping that is there: people and scripts cut it out
// of AWS's text, too.
func conflict(uuid string) error {
	return &problem{http.StatusConflict, "ResourceConflictException", "an event source mapping of this function and topic, or of this group, is there already: UUID " + uuid}
}

// tooMany has the code of a parameter that is wrong. AWS names no other one for a quota of
// mappings, and clients try again what is throttled (TooManyRequestsException) or in conflict,
// which would not help.
func tooMany(are, most int) error {
	return invalid("there are %d event source mappings, and %d are the most (Config.MaxMappings): delete one, wait until it is gone, and try again", are, most)
}

func unknownOperation() error {
	return &problem{http.StatusNotFound, "UnknownOperationException", "there is no such operation: this endpoint has those of event source mappings and their tags"}
}

func failed(err error) *problem {
	return &problem{http.StatusInternalServerError, "ServiceException", guard.Text(err)}
}

// write answers with it.
func (p *problem) write(w http.ResponseWriter) {
	key := "message"
	if p.code == "ResourceNotFoundException" || p.code == "ServiceException" || p.code == "ResourceInUseException" {
		key = "Message"
	}
	kind := "User"
	if p.status >= 500 {
		kind = "Service"
	}
	w.Header().Set("x-amzn-ErrorType", p.code)
	answer(w, p.status, map[string]string{"Type": kind, key: p.text})
}

// answer writes JSON.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("x-amzn-RequestId", newUUID())
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	data, err := json.Marshal(body)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"Type":"Service","Message":"the answer cannot be written"}`)
		w.Header().Set("x-amzn-ErrorType", "ServiceException")
	}
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// newUUID is a random one (version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
