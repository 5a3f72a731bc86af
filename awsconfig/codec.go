package awsconfig

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/seed429fd032/esm/internal/guard"
)

// mostShown is how much of a value a Mistake shows, in bytes.
const mostShown = 100

// A reader makes structs with AWS's names of documents, and collects what is wrong.
type reader struct {
	// loose is for documents in which numbers and booleans may be text, as in templates.
	loose bool
	// places has what each field was read from.
	places   map[string]*value
	mistakes []*Mistake
}

// wrong adds a mistake about a field, at what it was read from.
func (r *reader) wrong(field string, v *value, bound string) *Mistake {
	m := &Mistake{Path: field, Field: field, Bound: bound}
	if v != nil {
		m.Path, m.Line = v.path, v.line
		if !mayHoldSecret(field) {
			m.Value = guard.Cut(v.String(), mostShown)
		}
	}
	r.mistakes = append(r.mistakes, m)
	return m
}

// mayHoldSecret reports whether a field has or is in credentials: who does not know that
// they are the names of secrets may have written a secret there.
func mayHoldSecret(field string) bool {
	return strings.Contains(field, "AccessConfig") && !strings.HasSuffix(field, "].Type")
}

var (
	timeType = reflect.TypeFor[time.Time]()
	intType  = reflect.TypeFor[int]()
)

// read reads a value into a field. Null is the same as nothing, and so are a list and a
// map that are empty.
func (r *reader) read(v *value, into reflect.Value, field string) {
	if v.null() {
		return
	}
	if field != "" {
		r.places[field] = v
	}
	switch {
	case into.Kind() == reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		r.read(v, into.Elem(), field)
	case into.Type() == timeType:
		if at, ok := r.time(v); ok {
			into.Set(reflect.ValueOf(at))
		} else {
			r.wrong(field, v, "must be a time, as a number of seconds since 1970")
		}
	case into.Kind() == reflect.Struct:
		r.fields(v, into, field)
	case into.Kind() == reflect.Slice:
		list, ok := v.is.([]*value)
		if !ok {
			r.wrong(field, v, "must be a list")
			return
		}
		if len(list) == 0 {
			return
		}
		all := reflect.MakeSlice(into.Type(), len(list), len(list))
		for i, e := range list {
			at := element(field, i)
			if e.null() {
				r.wrong(at, e, "must not be null")
				continue
			}
			r.read(e, all.Index(i), at)
		}
		into.Set(all)
	case into.Kind() == reflect.Map:
		o := v.object()
		if o == nil {
			r.wrong(field, v, "must be an object")
			return
		}
		if len(o.names) == 0 {
			return
		}
		all := reflect.MakeMap(into.Type())
		for _, name := range o.names {
			one := reflect.New(into.Type().Elem()).Elem()
			r.read(o.of[name], one, member(field, name))
			all.SetMapIndex(reflect.ValueOf(name), one)
		}
		into.Set(all)
	case into.Kind() == reflect.String:
		s, ok := v.text()
		if n, number := v.is.(json.Number); number && r.loose {
			s, ok = n.String(), true
		}
		if !ok {
			r.wrong(field, v, "must be text")
			return
		}
		into.SetString(s)
	case into.Kind() == reflect.Bool:
		b, ok := v.is.(bool)
		if s, text := v.text(); text && r.loose {
			b, ok = truth(s)
		}
		if !ok {
			r.wrong(field, v, "must be true or false")
			return
		}
		into.SetBool(b)
	case into.Type() == intType:
		n, ok := v.is.(json.Number)
		if s, text := v.text(); text && r.loose {
			n, ok = json.Number(s), true
		}
		i, whole := integer(n)
		if !ok || !whole {
			r.wrong(field, v, "must be a whole number")
			return
		}
		into.SetInt(i)
	default:
		panic(fmt.Sprintf("awsconfig: a field of type %s", into.Type()))
	}
}

// truth is a boolean that is written as text. Templates are of YAML 1.1, in which yes and
// no are booleans too.
func truth(s string) (b, ok bool) {
	switch strings.ToLower(s) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

// integer is a number that is whole, however it is written: 1e2 is 100. What is beyond
// 32 bits is beyond every bound too, and stays that.
func integer(n json.Number) (i int64, ok bool) {
	if i, err := strconv.ParseInt(n.String(), 10, 32); err == nil {
		return i, true
	}
	if len(n) > 40 {
		return 0, false
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || f != float64(int64(f)) {
		return 0, false
	}
	return min(max(int64(f), -1<<31), 1<<31-1), true
}

// time reads a time: seconds, and in templates the text of one too.
func (r *reader) time(v *value) (at time.Time, ok bool) {
	switch is := v.is.(type) {
	case json.Number:
		return timeOf(is)
	case string:
		if at, err := time.Parse(time.RFC3339, is); err == nil && r.loose {
			return at.UTC(), true
		}
		if r.loose {
			return timeOf(json.Number(is))
		}
	}
	return at, false
}

// timeOf is the time of so many seconds since 1970, to the nanosecond.
func timeOf(seconds json.Number) (at time.Time, ok bool) {
	whole, fraction, _ := strings.Cut(seconds.String(), ".")
	s, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || s < 0 || s > 253402300799 || len(fraction) > 0 && strings.Trim(fraction, "0123456789") != "" { // the end of the year 9999
		return at, false
	}
	nanos, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return time.Unix(s, nanos).UTC(), true
}

// secondsOf is timeOf the other way round.
func secondsOf(at time.Time) json.Number {
	s := strconv.FormatInt(at.Unix(), 10)
	if n := at.Nanosecond(); n > 0 {
		s += strings.TrimRight(fmt.Sprintf(".%09d", n), "0")
	}
	return json.Number(s)
}

// fields reads the members of an object into the fields of a struct that have their
// names.
func (r *reader) fields(v *value, into reflect.Value, field string) {
	o := v.object()
	if o == nil {
		r.wrong(field, v, "must be an object")
		return
	}
	for _, name := range o.names {
		f := into.FieldByName(name)
		if !f.IsValid() {
			r.unknown(member(field, name), o.of[name], into.Type())
			continue
		}
		r.read(o.of[name], f, member(field, name))
	}
}

// unknown says of a member that no field has its name. That is an error, and not a
// note: a mapping would do something else than its author wrote.
func (r *reader) unknown(field string, v *value, of reflect.Type) {
	if of := sources[field]; of != "" {
		if o := v.object(); o != nil && field == "DocumentDBEventSourceConfig" && v.at("FullDocument") != nil {
			// The skeleton of the AWS CLI has one of the words there that it may be.
			rest := newObject()
			for _, name := range o.names {
				rest.set(name, o.of[name])
			}
			rest.take("FullDocument")
			if (&value{is: rest}).blank() {
				return
			}
		}
		if !v.blank() {
			r.wrong(field, v, "is a parameter of "+of+", and not of Kafka")
		}
		return
	}
	name := field[strings.LastIndexByte(field, '.')+1:]
	for i := range of.NumField() {
		if known := of.Field(i).Name; strings.EqualFold(known, name) {
			r.wrong(field, v, "is not known: write "+known)
			return
		}
	}
	r.wrong(field, v, "is not known")
}

// sources are parameters of CreateEventSourceMapping that Kafka does not have, and of
// what they are.
var sources = map[string]string{
	"ParallelizationFactor":       "Kinesis and DynamoDB streams",
	"TumblingWindowInSeconds":     "Kinesis and DynamoDB streams",
	"Queues":                      "Amazon MQ",
	"ScalingConfig":               "SQS",
	"DocumentDBEventSourceConfig": "DocumentDB",
}
