package awsconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A value is one of a document of JSON or YAML, with where it stands, so that what is
// wrong with it can be said in the words of whoever wrote the document.
type value struct {
	path string
	line int // from 1; 0 if it is not known
	is   any // nil, bool, string, json.Number, []*value or *object
	// hidden is whether the document says that nobody is to see it.
	hidden bool
}

// An object is a JSON object or a mapping of YAML, in the order of the document.
type object struct {
	names []string
	of    map[string]*value
}

func newObject() *object { return &object{of: map[string]*value{}} }

// set adds a member, or replaces it where it is.
func (o *object) set(name string, v *value) {
	if _, there := o.of[name]; !there {
		o.names = append(o.names, name)
	}
	o.of[name] = v
}

// take removes a member and returns it, or nil.
func (o *object) take(name string) *value {
	v := o.of[name]
	delete(o.of, name)
	for i, n := range o.names {
		if n == name {
			o.names = append(o.names[:i:i], o.names[i+1:]...)
			break
		}
	}
	return v
}

// object returns the members of a value that is an object, and nil of others.
func (v *value) object() *object {
	if v == nil {
		return nil
	}
	o, _ := v.is.(*object)
	return o
}

// at returns a member of a value, or nil if the value is no object or has none.
func (v *value) at(names ...string) *value {
	for _, name := range names {
		o := v.object()
		if o == nil {
			return nil
		}
		v = o.of[name]
	}
	return v
}

// list returns the elements of a value that is a list, and nil of others.
func (v *value) list() []*value {
	if v == nil {
		return nil
	}
	l, _ := v.is.([]*value)
	return l
}

// text returns a value that is a string.
func (v *value) text() (s string, ok bool) {
	if v == nil {
		return "", false
	}
	s, ok = v.is.(string)
	return s, ok
}

// null reports whether a value is absent or null, which is the same to AWS.
func (v *value) null() bool { return v == nil || v.is == nil }

// blank reports whether a value says nothing: it is null, "", 0, or has nothing but
// those in it. The AWS CLI writes such values into the skeleton of its input.
func (v *value) blank() bool {
	if v.null() || v.is == "" || v.is == json.Number("0") {
		return true
	}
	if o := v.object(); o != nil {
		for _, m := range o.of {
			if !m.blank() {
				return false
			}
		}
		return true
	}
	list, is := v.is.([]*value)
	return is && !slices.ContainsFunc(list, func(e *value) bool { return !e.blank() })
}

// member is the path of a member of what stands at a path.
func member(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// element is the path of an element of the list at a path.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// hides reports whether a value, or one in it, is not to be seen.
func (v *value) hides() bool {
	if v == nil || v.hidden {
		return v != nil
	}
	if o := v.object(); o != nil {
		return slices.ContainsFunc(o.names, func(name string) bool { return o.of[name].hides() })
	}
	return slices.ContainsFunc(v.list(), (*value).hides)
}

// hide hides a value, and what is in it.
func (v *value) hide() {
	v.hidden = true
	for _, e := range v.list() {
		e.hide()
	}
	if o := v.object(); o != nil {
		for _, m := range o.of {
			m.hide()
		}
	}
}

// String shows a value as JSON, without what makes it long.
func (v *value) String() string {
	switch {
	case v == nil:
		return "null"
	case v.hidden:
		return "(hidden)"
	}
	switch is := v.is.(type) {
	case string:
		return strconv.Quote(is)
	case []*value:
		var all []string
		for _, e := range is {
			all = append(all, e.String())
		}
		return "[" + strings.Join(all, ", ") + "]"
	case *object:
		var all []string
		for _, name := range is.names {
			all = append(all, strconv.Quote(name)+": "+is.of[name].String())
		}
		return "{" + strings.Join(all, ", ") + "}"
	case nil:
		return "null"
	}
	return fmt.Sprint(v.is)
}

const (
	// mostNested is how deep a document may be.
	mostNested = 64
	// mostValues is how many values a document may have. An alias of YAML stands
	// for all that it names, so that a small document can have any number.
	mostValues = 1 << 20
	// mostPaths is how long the paths of all values may be together: each has the names
	// of all that it is in, so that a long name counts once for each value.
	mostPaths = 64 << 20
)

var (
	errNested = fmt.Errorf("awsconfig: the document is nested more than %d deep", mostNested)
	errValues = fmt.Errorf("awsconfig: the document has more than %d values", mostValues)
	errPaths  = errors.New("awsconfig: the document has too many values under names that are too long")
)

// A counter counts the values of a document.
type counter struct{ values, paths int }

// one counts a value, and says whether it is one too many.
func (c *counter) one(path string) error {
	c.values++
	c.paths += len(path)
	switch {
	case c.values > mostValues:
		return errValues
	case c.paths > mostPaths:
		return errPaths
	}
	return nil
}

// readDocument reads JSON, or YAML if it is that.
func readDocument(data []byte) (*value, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) > 0 && first[0] == '{' {
		if v, err := readJSON(data); err == nil {
			return v, nil
		} else if _, wrong := errors.AsType[*json.SyntaxError](err); !wrong {
			return nil, err
		}
		// A mapping of YAML in braces: it says better than JSON what is wrong.
	}
	return readYAML(data)
}

// readJSON reads one JSON value.
func readJSON(data []byte) (*value, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	r := jsonReader{d: d, data: data}
	v, err := r.value("", 0)
	if err == nil {
		if _, after := d.Token(); !errors.Is(after, io.EOF) {
			err = fmt.Errorf("awsconfig: line %d: there is more after the document", lineAt(data, d.InputOffset()))
		}
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("awsconfig: the document ends too early")
	case err == nil:
		return v, nil
	}
	if wrong, ok := errors.AsType[*json.SyntaxError](err); ok {
		return nil, fmt.Errorf("awsconfig: line %d: %w", lineAt(data, wrong.Offset), err)
	}
	return nil, err
}

// lineAt is the line of an offset, from 1.
func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), int64(len(data)))], []byte("\n"))
}

// A jsonReader counts what it makes, and lines as it comes to them.
type jsonReader struct {
	d    *json.Decoder
	data []byte
	counter
	lines int   // that were before at
	at    int64 // an offset
}

// line is the line that was come to, from 1.
func (r *jsonReader) line() int {
	now := r.d.InputOffset()
	r.lines += bytes.Count(r.data[r.at:now], []byte("\n"))
	r.at = now
	return 1 + r.lines
}

func (r *jsonReader) value(path string, depth int) (*value, error) {
	if err := r.one(path); err != nil {
		return nil, err
	}
	if depth > mostNested {
		return nil, errNested
	}
	d := r.d
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	v := &value{path: path, line: r.line()}
	switch t {
	default:
		v.is = t
		return v, nil
	case json.Delim('{'):
		o := newObject()
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			key := name.(string) // or the decoder would have refused it
			if _, twice := o.of[key]; twice {
				return nil, twiceSaid(member(path, key), r.line())
			}
			m, err := r.value(member(path, key), depth+1)
			if err != nil {
				return nil, err
			}
			o.set(key, m)
		}
		v.is = o
	case json.Delim('['):
		list := []*value{}
		for d.More() {
			e, err := r.value(element(path, len(list)), depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, e)
		}
		v.is = list
	}
	_, err = d.Token() // its end
	return v, err
}

// twiceSaid is the error of a member that an object has twice: which of them counts
// depends on who reads it.
func twiceSaid(path string, line int) error {
	return &Mistake{Path: path, Line: line, Bound: "is there twice"}
}

// readYAML reads one document of YAML, with the short forms of the intrinsic functions
// of CloudFormation.
func readYAML(data []byte) (*value, error) {
	var doc yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(data))
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("awsconfig: the document is empty")
	case err != nil:
		return nil, fmt.Errorf("awsconfig: %w", err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("awsconfig: there is more than one document of YAML")
	}
	y := yamlReader{}
	return y.value(doc.Content[0], "", 0)
}

// A yamlReader counts what it makes.
type yamlReader struct{ counter }

func (y *yamlReader) value(n *yaml.Node, path string, depth int) (*value, error) {
	if err := y.one(path); err != nil {
		return nil, err
	}
	if depth > mostNested {
		return nil, errNested
	}
	if n.Kind == yaml.AliasNode {
		return y.value(n.Alias, path, depth+1) // one that holds itself is too deep
	}
	if name, short := intrinsicOf(n.Tag); short {
		return y.intrinsic(n, name, path, depth)
	}
	v := &value{path: path, line: n.Line}
	switch n.Kind {
	case yaml.MappingNode:
		o := newObject()
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind == yaml.AliasNode {
				key = key.Alias
			}
			switch {
			case key.Kind != yaml.ScalarNode:
				return nil, &Mistake{Path: path, Line: key.Line, Bound: "has a name that is no text"}
			case key.Tag == "!!merge":
				return nil, &Mistake{Path: path, Line: key.Line, Value: "<<", Bound: "is not supported, and CloudFormation does not take it either: write the members out"}
			}
			if _, twice := o.of[key.Value]; twice {
				return nil, twiceSaid(member(path, key.Value), key.Line)
			}
			m, err := y.value(n.Content[i+1], member(path, key.Value), depth+1)
			if err != nil {
				return nil, err
			}
			o.set(key.Value, m)
		}
		v.is = o
	case yaml.SequenceNode:
		list := []*value{}
		for i, c := range n.Content {
			e, err := y.value(c, element(path, i), depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, e)
		}
		v.is = list
	default:
		is, err := scalar(n)
		if err != nil {
			return nil, &Mistake{Path: path, Line: n.Line, Value: n.Value, Bound: "is no value that JSON has: " + err.Error()}
		}
		v.is = is
	}
	return v, nil
}

// scalar is what a scalar of YAML is in JSON.
func scalar(n *yaml.Node) (any, error) {
	switch n.Tag {
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		err := n.Decode(&b)
		return b, err
	case "!!int":
		var i int64
		if err := n.Decode(&i); err != nil {
			return nil, err
		}
		return json.Number(strconv.FormatInt(i, 10)), nil
	case "!!float":
		var f float64
		if err := n.Decode(&f); err != nil {
			return nil, err
		}
		b, err := json.Marshal(f)
		return json.Number(b), err
	case "!!str", "!!timestamp": // the version of a template looks like a time
		return n.Value, nil
	}
	return nil, fmt.Errorf("it has the tag %s", n.Tag)
}

// intrinsicOf returns the full name of an intrinsic function whose short form is a tag.
func intrinsicOf(tag string) (name string, ok bool) {
	short, ok := strings.CutPrefix(tag, "!")
	if !ok || short == "" || strings.HasPrefix(short, "!") {
		return "", false
	}
	if short == "Ref" || short == "Condition" {
		return short, true
	}
	return "Fn::" + short, true
}

// intrinsic writes the short form of an intrinsic function out.
func (y *yamlReader) intrinsic(n *yaml.Node, name, path string, depth int) (*value, error) {
	bare := *n
	bare.Tag = ""
	if n.Kind == yaml.ScalarNode {
		bare.Tag = "!!str"
	}
	argument, err := y.value(&bare, member(path, name), depth+1)
	if err != nil {
		return nil, err
	}
	if s, ok := argument.text(); ok && name == "Fn::GetAtt" {
		resource, attribute, _ := strings.Cut(s, ".")
		argument.is = []*value{
			{path: element(argument.path, 0), line: n.Line, is: resource},
			{path: element(argument.path, 1), line: n.Line, is: attribute},
		}
	}
	o := newObject()
	o.set(name, argument)
	return &value{path: path, line: n.Line, is: o}, nil
}
