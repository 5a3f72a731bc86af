package awsconfig

import (
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// ParseJSON reads the input of CreateEventSourceMapping: what the AWS CLI takes with
// --cli-input-json. Of a skeleton, the empty parameters of other sources may stay. It
// says everything that is wrong at once: see [Mistakes].
func ParseJSON(data []byte) (Config, error) {
	v, err := readJSON(data)
	if err != nil {
		return Config{}, err
	}
	return configOf(v, false)
}

// FromInput takes the input of the SDK for Go.
func FromInput(in *lambda.CreateEventSourceMappingInput) (Config, error) {
	if in == nil {
		return Config{}, errors.New("awsconfig: the input is nil")
	}
	return configOf(ofGo(reflect.ValueOf(in), ""), false)
}

// configOf reads a Config, and judges it. loose is for documents in which numbers and
// booleans may be text.
func configOf(v *value, loose bool) (c Config, err error) {
	c, r := readConfig(v, loose)
	if v.object() == nil {
		return c, join(r.mistakes)
	}
	broken := map[string]bool{} // what could not be read is not judged too
	for _, m := range r.mistakes {
		broken[m.Field] = true
	}
	for _, m := range c.judge(time.Now(), func(field string) *value { return r.places[field] }) {
		if !within(broken, m.Field) {
			r.mistakes = append(r.mistakes, m)
		}
	}
	return c, join(r.mistakes)
}

// readConfig reads a Config, and judges nothing but its form.
func readConfig(v *value, loose bool) (c Config, r *reader) {
	r = &reader{loose: loose, places: map[string]*value{"": v}}
	if v.object() == nil {
		r.wrong("", v, "must be an object")
	} else {
		r.read(v, reflect.ValueOf(&c).Elem(), "")
	}
	return c, r
}

// within reports whether a field, or one that it is in, is one of some.
func within(fields map[string]bool, field string) bool {
	for field != "" && !fields[field] {
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return field != ""
}

// ofGo is a struct of the SDK as a document: a member for each field that is set.
func ofGo(v reflect.Value, path string) *value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return ofGo(v.Elem(), path)
	case reflect.Struct:
		if at, ok := v.Interface().(time.Time); ok {
			return &value{path: path, is: secondsOf(at)}
		}
		o := newObject()
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() || f.Name == "ResultMetadata" || f.Anonymous {
				continue
			}
			if m := ofGo(v.Field(i), member(path, f.Name)); m != nil {
				o.set(f.Name, m)
			}
		}
		return &value{path: path, is: o}
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		list := []*value{}
		for i := range v.Len() {
			list = append(list, ofGo(v.Index(i), element(path, i)))
		}
		return &value{path: path, is: list}
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		o := newObject()
		for _, name := range sortedNames(keysOf(v)) {
			o.set(name, ofGo(v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key())), member(path, name)))
		}
		return &value{path: path, is: o}
	case reflect.String:
		if v.String() == "" && v.Type() != reflect.TypeFor[string]() {
			return nil // an enumeration that is not set
		}
		return &value{path: path, is: v.String()}
	case reflect.Bool:
		return &value{path: path, is: v.Bool()}
	case reflect.Int32, reflect.Int64, reflect.Int:
		return &value{path: path, is: json.Number(strconv.FormatInt(v.Int(), 10))}
	}
	panic("awsconfig: a field of type " + v.Type().String())
}

// keysOf are the names of a map whose keys are a kind of string.
func keysOf(v reflect.Value) map[string]struct{} {
	names := map[string]struct{}{}
	for _, k := range v.MapKeys() {
		names[k.String()] = struct{}{}
	}
	return names
}
