package awslambda

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/seed429fd032/esm/internal/guard"
	"github.com/seed429fd032/esm/internal/invokers/lambdaresult"
	"github.com/seed429fd032/esm/internal/redact"
)

// said makes an error of one of the SDK that may be kept and told: of the same
// types, as far as they are the SDK's, but with short texts that name hosts only
// and have no secret of the request, and without the response, with which the
// SDK keeps the connection.
func said(err error, secrets *redact.Secrets) error {
	return slim(err, secrets, maxDepth)
}

// maxDepth is how deep an error may be that is taken apart. Those of the SDK have
// five levels.
const maxDepth = 20

func slim(err error, secrets *redact.Secrets, depth int) error {
	if err == nil {
		return nil
	}
	if depth == 0 {
		return redact.Error(err, secrets)
	}
	inner := func(err error) error { return slim(err, secrets, depth-1) }
	switch e := err.(type) {
	case *smithy.OperationError:
		return &smithy.OperationError{ServiceID: e.ServiceID, OperationName: e.OperationName, Err: inner(e.Err)}
	case *awshttp.ResponseError:
		return &awshttp.ResponseError{
			ResponseError: &smithyhttp.ResponseError{Response: slimResponse(e.ResponseError), Err: inner(e.Err)},
			RequestID:     lambdaresult.Short(e.RequestID, lambdaresult.MaxName),
		}
	case *smithyhttp.ResponseError:
		return &smithyhttp.ResponseError{Response: slimResponse(e), Err: inner(e.Err)}
	case *smithyhttp.RequestSendError:
		return &smithyhttp.RequestSendError{Err: inner(e.Err)}
	case *smithy.DeserializationError:
		return &smithy.DeserializationError{Err: inner(e.Err)}
	case *smithy.SerializationError:
		return &smithy.SerializationError{Err: inner(e.Err)}
	case *smithy.CanceledError:
		return &smithy.CanceledError{Err: inner(e.Err)}
	case smithy.APIError:
		if v := reflect.ValueOf(e); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct && errors.Unwrap(err) == nil {
			return slimAPI(v, secrets)
		}
	}
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) {
		return redact.Error(err, secrets)
	}
	// Somebody else's, around one of the SDK: that credentials cannot be had, for
	// example.
	w := &wrapped{text: redact.Error(err, secrets).Error()}
	parts, _ := guard.Parts(err)
	for _, part := range parts {
		w.parts = append(w.parts, inner(part))
	}
	return w
}

// wrapped is an error with a short text around others.
type wrapped struct {
	text  string
	parts []error
}

func (w *wrapped) Error() string   { return w.text }
func (w *wrapped) Unwrap() []error { return w.parts }

// slimResponse is what is kept of a response: its status.
func slimResponse(e *smithyhttp.ResponseError) *smithyhttp.Response {
	kept := &http.Response{}
	if e != nil && e.Response != nil && e.Response.Response != nil {
		kept.StatusCode = e.Response.StatusCode
		kept.Status = lambdaresult.Short(e.Response.Status, lambdaresult.MaxName)
	}
	return &smithyhttp.Response{Response: kept}
}

// slimAPI makes a copy of an error of an API with short texts. All of those of
// the SDK are structs of texts.
func slimAPI(e reflect.Value, secrets *redact.Secrets) error {
	kept := reflect.New(e.Type().Elem())
	short := func(s string) string { return lambdaresult.Short(secrets.Text(s), guard.TextLimit) }
	for i := range e.Elem().NumField() {
		to, from := kept.Elem().Field(i), e.Elem().Field(i)
		switch {
		case !to.CanSet():
		case from.Kind() == reflect.String:
			to.SetString(short(from.String()))
		case from.Kind() == reflect.Pointer && from.Type().Elem().Kind() == reflect.String:
			if !from.IsNil() {
				text := reflect.New(from.Type().Elem())
				text.Elem().SetString(short(from.Elem().String()))
				to.Set(text)
			}
		case from.Kind() == reflect.Int || from.Kind() == reflect.Int32 || from.Kind() == reflect.Bool:
			to.Set(from)
		}
	}
	return kept.Interface().(error)
}

const (
	// maxAnswer is how many bytes are read of the answer of a function, for which
	// Lambda's quota is 6 MB, and maxError of any other answer.
	maxAnswer = 8 << 20
	maxError  = 64 << 10
	// maxHeader is how large the header of an answer may be.
	maxHeader = 64 << 10
)

// limited is the body of an answer, which the SDK reads as far as it goes.
type limited struct {
	io.ReadCloser
	most, left int
}

func newLimited(body io.ReadCloser, most int) *limited { return &limited{body, most, most} }

func (l *limited) Read(b []byte) (int, error) {
	if l.left < 0 {
		return 0, fmt.Errorf("awslambda: the answer has more than %d bytes", l.most)
	}
	// One more than what may be left shows that there is more.
	n, err := l.ReadCloser.Read(b[:min(len(b), l.left+1)])
	if l.left -= n; l.left < 0 {
		return n - 1, nil
	}
	return n, err
}
