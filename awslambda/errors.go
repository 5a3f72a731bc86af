package awslambda

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/seed429fd032/esm"
	"github.com/seed429fd032/esm/internal/redact"
)

// A FunctionError is what became of a batch whose function failed.
type FunctionError struct {
	// Type and Message are what the runtime of the function reports:
	// errorType, such as "errorString" or "Runtime.ExitError", and
	// errorMessage, such as "Task timed out after 3.00 seconds": at most 256
	// bytes and 4 KiB of it.
	Type, Message string
	// Stack is its stackTrace, a line each, at most 100 lines and 16 KiB. What is
	// in a line depends on the language.
	Stack []string
	// Handled is whether Lambda calls the error handled, which only some
	// runtimes do.
	Handled bool
	// Version is the version of the function that failed, and RequestID the
	// invocation, as the function's log has it.
	Version, RequestID string
}

// Error is the type and the message in one line.
func (e *FunctionError) Error() string {
	s := "the function failed: "
	if e.Type != "" && e.Type != e.Message {
		s += e.Type + ": "
	}
	s += e.Message
	if e.RequestID != "" {
		s += " (request " + e.RequestID + ")"
	}
	return s
}

// MarshalText is what Error says, for JSON and logs.
func (e *FunctionError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// A kind is what a Mapping has to make of an error of Lambda.
type kind int

const (
	failed    kind = iota // nobody knows whether the function ran: an attempt
	throttled             // the function was not called, and may be later: no attempt
	busy                  // the same, and what is in the event has nothing to do with it
	tooLarge              // fewer records may do
	refused               // no call can succeed until somebody changes something
)

// kinds says what each error of Lambda means, by its code. Where a status is
// all there is, see kindOf.
//
// The rule is: an error that says what this account, this function or this
// caller lacks is a refusal, because each later call would say the same, and no
// retry should use up the attempts of records. An error of Lambda's own, of a network
// or of a file system that the function waits for, is a throttle: AWS counts no
// attempt either for a batch that did not reach the function. Where it names a
// cause that no event has, such as a quota, it never counts against one. What
// Lambda fails with and does not explain may come of an event.
var kinds = map[string]kind{
	"TooManyRequestsException": busy,
	"ThrottlingException":      busy,
	"Throttling":               busy,
	"RequestLimitExceeded":     busy,
	"ServiceException":         throttled,
	"InternalFailure":          throttled,
	"ServiceUnavailable":       throttled,

	// The function cannot start just now.
	"CodeArtifactUserPendingException":      busy,
	"EC2ThrottledException":                 busy,
	"EC2UnexpectedException":                busy,
	"EFSIOException":                        busy,
	"EFSMountConnectivityException":         busy,
	"EFSMountTimeoutException":              busy,
	"ENILimitReachedException":              busy,
	"ENINotReadyException":                  busy,
	"ResourceConflictException":             busy, // it is being updated
	"ResourceInUseException":                busy,
	"ResourceNotReadyException":             busy,
	"S3FilesMountConnectivityException":     busy,
	"S3FilesMountTimeoutException":          busy,
	"SnapStartNotReadyException":            busy,
	"SnapStartRegenerationFailureException": busy,
	"SnapStartTimeoutException":             busy,
	"SubnetIPAddressLimitReachedException":  busy,

	// Credentials that are about to be renewed.
	"ExpiredToken":          busy,
	"ExpiredTokenException": busy,
	"RequestExpired":        busy,

	"RequestTooLargeException":                 tooLarge,
	"SerializedRequestEntityTooLargeException": tooLarge,

	// What somebody has to change.
	"AccessDenied":                     refused,
	"AccessDeniedException":            refused,
	"CodeArtifactUserDeletedException": refused,
	"CodeArtifactUserFailedException":  refused,
	"EC2AccessDeniedException":         refused,
	"EFSMountFailureException":         refused, // "due to a permission or configuration issue"
	"IncompleteSignature":              refused,
	"InvalidClientTokenId":             refused,
	"InvalidParameterValueException":   refused,
	"InvalidRuntimeException":          refused,
	"InvalidSecurityGroupIDException":  refused,
	"InvalidSignatureException":        refused,
	"InvalidSubnetIDException":         refused,
	"InvalidZipFileException":          refused,
	"KMSAccessDeniedException":         refused,
	"KMSDisabledException":             refused,
	"KMSInvalidStateException":         refused,
	"KMSNotFoundException":             refused,
	"MissingAuthenticationToken":       refused,
	"ModeNotSupportedException":        refused,
	"NoPublishedVersionException":      refused,
	"NotAuthorized":                    refused,
	"OptInRequired":                    refused,
	"RecursiveInvocationException":     refused,
	"ResourceNotFoundException":        refused,
	"S3FilesMountFailureException":     refused,
	"UnrecognizedClientException":      refused,
	"UnsupportedMediaTypeException":    refused,
	"ValidationError":                  refused,
	"ValidationException":              refused,

	// The event is always JSON, so this is damage on the way; if it is a record
	// that Lambda's parser does not take, bisection finds it.
	"InvalidRequestContentException": failed,

	"SnapStartException":                      failed, // a hook of the function failed
	"CallbackTimeoutException":                failed,
	"DurableExecutionAlreadyStartedException": failed,
}

// kindOf says what a code or, if it is unknown, a status means. An unknown code
// is one of a newer Lambda, or none: an answer of a proxy on the way, which may
// have given up waiting while the function ran.
func kindOf(code string, status int) kind {
	if k, ok := kinds[code]; ok {
		return k
	}
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return throttled
	case http.StatusRequestEntityTooLarge:
		return tooLarge
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return refused
	}
	return failed
}

// judge says what an error of a call means for the Mapping.
func (c *call) judge(ctx context.Context, err error) error {
	told := said(err, redact.NewSecrets(c.secrets...))
	kept := fmt.Errorf("awslambda: %w", told)
	if !c.sent {
		// What failed is something before it, the credentials for example: an
		// answer in there is not Lambda's.
		return notReached(ctx, told)
	}
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.HTTPStatusCode() == 0 {
		switch {
		case !c.trace.Reached(err, c.plain):
			return notReached(ctx, told)
		case ctx.Err() != nil:
			return fmt.Errorf("awslambda: %w: %w", context.Cause(ctx), told)
		}
		return kept
	}
	var code string
	if api := smithy.APIError(nil); errors.As(err, &api) {
		code = api.ErrorCode()
	}
	// The SDK has learned from this answer that the clock is wrong, and signs
	// the next call for the right time.
	var again interface{ RetryableError() bool }
	if errors.As(err, &again) && again.RetryableError() {
		return esm.Busy(0, kept)
	}
	switch kindOf(code, answer.HTTPStatusCode()) {
	case throttled:
		return esm.Throttled(retryAfter(err, answer), kept)
	case tooLarge:
		return esm.TooLarge(kept)
	case busy:
		return esm.Busy(retryAfter(err, answer), kept)
	case refused:
		return esm.Refused(kept)
	}
	return kept
}

// notReached is the error of a call that did not reach Lambda, whoever ended it.
func notReached(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return esm.Busy(0, fmt.Errorf("awslambda: the call did not reach Lambda: %w", err))
}

// retryAfter is how long Lambda asks to be left alone, 0 if it does not say.
func retryAfter(err error, answer *smithyhttp.ResponseError) time.Duration {
	var busy *types.TooManyRequestsException
	text := ""
	switch {
	case errors.As(err, &busy) && busy.RetryAfterSeconds != nil:
		text = *busy.RetryAfterSeconds
	case answer.Response != nil:
		text = answer.Response.Header.Get("Retry-After")
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}

// maxRetryAfter keeps an answer that makes no sense from stopping a Mapping for
// a day.
const maxRetryAfter = 15 * time.Minute
