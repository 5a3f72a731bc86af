package awsconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// noValue is what Ref of AWS::NoValue is: the member that has it is not there.
var noValue = &value{}

// resolved works out all intrinsic functions in a value. What cannot be is a mistake each,
// and then it reports false.
func (t *template) resolved(v *value) (out *value, ok bool) {
	before := len(t.mistakes)
	out = t.resolve(v, 0)
	return out, len(t.mistakes) == before
}

// resolve works out a value. It returns noValue for one that is not there.
func (t *template) resolve(v *value, depth int) *value {
	if depth > mostNested {
		t.failed(v, errNested)
		return v
	}
	if err := t.spend(1); err != nil {
		t.failed(v, err)
		return v
	}
	switch is := v.is.(type) {
	case string:
		if isDynamic(is) {
			t.failed(v, errDynamic)
		}
	case []*value:
		list := []*value{}
		for _, e := range is {
			if e = t.resolve(e, depth+1); e != noValue {
				list = append(list, e)
			}
		}
		return &value{path: v.path, line: v.line, is: list, hidden: v.hidden}
	case *object:
		if name := callOf(is); name != "" {
			out, err := t.call(name, is.of[name], depth)
			if err != nil {
				t.failed(v, err)
				return v
			}
			if out == noValue {
				return out
			}
			if s, ok := out.text(); ok && isDynamic(s) {
				t.failed(v, errDynamic)
				return v
			}
			return &value{path: v.path, line: v.line, is: out.is, hidden: out.hidden}
		}
		o := newObject()
		for _, name := range is.names {
			if m := t.resolve(is.of[name], depth+1); m != noValue {
				o.set(name, m)
			}
		}
		return &value{path: v.path, line: v.line, is: o}
	}
	return v
}

// errDynamic is about {{resolve:ssm:NAME}}, which is a value like any other until
// CloudFormation looks it up.
var errDynamic = errors.New("it is a dynamic reference, which only CloudFormation knows")

func isDynamic(s string) bool { return strings.Contains(s, "{{resolve:") }

// mostMade is how much text calls may make together, in bytes. A text that has another
// one twice, which has another one twice, is long soon.
const mostMade = 4 << 20

// spend counts what calls make: so much text, and a bit for each value.
func (t *template) spend(n int) error {
	if t.made += n; t.made > mostMade {
		return errors.New("the functions of the template make too much")
	}
	return nil
}

// callOf is the name of the intrinsic function that an object calls, or "".
func callOf(o *object) string {
	if len(o.names) != 1 {
		return ""
	}
	if name := o.names[0]; name == "Ref" || strings.HasPrefix(name, "Fn::") {
		return name
	}
	return ""
}

// call works out one call.
func (t *template) call(name string, argument *value, depth int) (*value, error) {
	switch name {
	case "Ref":
		if s, ok := argument.text(); ok {
			return t.ref(s, argument)
		}
	case "Fn::GetAtt":
		return t.attribute(argument)
	case "Fn::If":
		if list := argument.list(); len(list) == 3 {
			which, ok := list[0].text()
			if !ok {
				break
			}
			is, err := t.condition(which)
			if err != nil {
				return nil, err
			}
			if is {
				return t.resolve(list[1], depth+1), nil
			}
			return t.resolve(list[2], depth+1), nil
		}
	case "Fn::Sub":
		return t.sub(argument, depth)
	case "Fn::Join":
		return t.joined(argument, depth)
	case "Fn::Split", "Fn::Select", "Fn::FindInMap":
		before := len(t.mistakes)
		list := t.resolve(argument, depth+1).list()
		if len(t.mistakes) > before {
			return argument, nil // which was said
		}
		return t.pick(name, list)
	default:
		before := len(t.mistakes)
		out := t.resolve(argument, depth+1)
		if len(t.mistakes) > before {
			return argument, nil // which was said
		}
		return t.ask(name, out)
	}
	return nil, fmt.Errorf("%s has another argument than it takes", name)
}

// pick works out what takes a list of resolved arguments.
func (t *template) pick(name string, list []*value) (*value, error) {
	switch {
	case name == "Fn::Split" && len(list) == 2:
		by, ok := list[0].text()
		s, ok2 := list[1].text()
		if !ok || !ok2 || by == "" {
			break
		}
		parts := []*value{}
		for i, p := range strings.Split(s, by) {
			at := element(list[1].path, i)
			if err := t.spend(len(p) + len(at)); err != nil {
				return nil, err
			}
			parts = append(parts, &value{path: at, line: list[1].line, is: p, hidden: list[1].hidden})
		}
		return &value{is: parts}, nil
	case name == "Fn::Select" && len(list) == 2:
		n, ok := list[0].is.(json.Number)
		if s, text := list[0].text(); text {
			n, ok = json.Number(s), true
		}
		i, whole := integer(n)
		of := list[1].list()
		if !ok || !whole || of == nil {
			break
		}
		if i < 0 || i >= int64(len(of)) {
			return nil, fmt.Errorf("there is no element %d of %d", i, len(of))
		}
		return of[i], nil
	case name == "Fn::FindInMap" && (len(list) == 3 || len(list) == 4):
		names := []string{"Mappings"}
		for _, v := range list[:3] {
			s, ok := v.text()
			if n, number := v.is.(json.Number); number {
				s, ok = n.String(), true
			}
			if !ok {
				return nil, errors.New("a key is no text")
			}
			names = append(names, s)
		}
		if v := t.doc.at(names...); v != nil {
			return v, nil
		}
		if d := list[len(list)-1].at("DefaultValue"); len(list) == 4 && d != nil {
			return d, nil
		}
		return nil, fmt.Errorf("the template has no %s", strings.Join(names, "."))
	}
	return nil, fmt.Errorf("%s has another argument than it takes", name)
}

// ref works out Ref of a name.
func (t *template) ref(name string, at *value) (v *value, err error) {
	if name == "AWS::NoValue" {
		return noValue, nil
	}
	if p := t.doc.at("Parameters", name); p != nil {
		kind, _ := p.at("Type").text()
		s, given := t.values.Parameters[name]
		d := p.at("Default")
		if !given && strings.HasPrefix(kind, "AWS::SSM::Parameter::Value") {
			// The default is the name of the value, and not the value.
			return t.ask("Ref", at)
		}
		if never := p.at("NoEcho"); !never.null() && (never.is == true || never.is == "true") {
			defer func() {
				if v != nil {
					v = &value{path: v.path, line: v.line, is: v.is}
					v.hide()
				}
			}()
		}
		switch {
		case !given && d == nil:
			return nil, fmt.Errorf("the parameter %s has no default: give it a value", name)
		case !given && !strings.Contains(kind, "List"):
			return d, nil
		case !given:
			if s, given = d.text(); !given {
				return d, nil
			}
		}
		if !strings.Contains(kind, "List") {
			return &value{is: s}, nil
		}
		list := []*value{}
		for i, e := range strings.Split(s, ",") {
			list = append(list, &value{path: element(at.path, i), line: at.line, is: strings.TrimSpace(e)})
		}
		return &value{is: list}, nil
	}
	if s, is, err := t.functionRef(name); is || err != nil {
		return &value{is: s}, err
	}
	return t.ask("Ref", at)
}

// functionRef is what Ref of a function is, or of an alias of one.
func (t *template) functionRef(name string) (s string, is bool, err error) {
	r := t.resources.of[name]
	switch kind, _ := r.at("Type").text(); kind {
	case typeFunction, typeSAM:
		s, err := t.functionName(name)
		return s, true, err
	case typeAlias:
		var parts []string
		for _, property := range []string{"FunctionName", "Name"} {
			v := r.at("Properties", property)
			if v.null() {
				return "", true, fmt.Errorf("%s has no %s", name, property)
			}
			out, ok, err := t.named(v)
			s, text := out.text()
			switch {
			case err != nil:
				return "", true, err
			case !ok, !text:
				return "", true, fmt.Errorf("the %s of %s is not known", property, name)
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ":"), true, nil
	}
	return "", false, nil
}

// named works out a name, which others may have in theirs: that of a function or an alias.
func (t *template) named(v *value) (out *value, ok bool, err error) {
	if t.naming[v] {
		return nil, false, errors.New("its name depends on itself")
	}
	t.naming[v] = true
	defer delete(t.naming, v)
	out, ok = t.resolved(v)
	return out, ok, nil
}

// functionName is the name of a function of the template: its own, or its logical ID.
func (t *template) functionName(id string) (string, error) {
	v := t.resources.of[id].at("Properties", "FunctionName")
	if v.null() {
		return id, nil
	}
	out, ok, err := t.named(v)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", errors.New("its name is not known")
	}
	if out == noValue {
		return id, nil
	}
	s, ok := out.text()
	if !ok {
		return "", errors.New("its name is no text")
	}
	return s, nil
}

// attribute works out Fn::GetAtt.
func (t *template) attribute(argument *value) (*value, error) {
	list := argument.list()
	if s, ok := argument.text(); ok { // as in Fn::Sub
		name, attribute, _ := strings.Cut(s, ".")
		list = []*value{{is: name}, {is: attribute}}
	}
	if len(list) != 2 {
		return nil, errors.New("Fn::GetAtt takes a name and an attribute")
	}
	name, _ := list[0].text()
	attribute, _ := list[1].text()
	kind, _ := t.resources.of[name].at("Type").text()
	if attribute == "Arn" && (kind == typeFunction || kind == typeSAM) {
		s, err := t.functionName(name)
		return &value{is: s}, err
	}
	return t.ask("Fn::GetAtt", &value{path: argument.path, line: argument.line, is: list})
}

// sub works out Fn::Sub: a text with names in it, or that and their values.
func (t *template) sub(argument *value, depth int) (*value, error) {
	s, ok := argument.text()
	own := newObject()
	if list := argument.list(); len(list) == 2 {
		s, ok = list[0].text()
		own = list[1].object()
	}
	if !ok || own == nil {
		return nil, errors.New("Fn::Sub takes a text, or a text and an object")
	}
	var b strings.Builder
	hidden := false
	for {
		before, rest, found := strings.Cut(s, "${")
		b.WriteString(before)
		if !found {
			return &value{is: b.String(), hidden: hidden}, t.spend(len(before))
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, errors.New("a ${ has no end")
		}
		s = after
		if literal, is := strings.CutPrefix(name, "!"); is {
			b.WriteString("${" + literal + "}")
			continue
		}
		name = strings.TrimSpace(name)
		var v *value
		var err error
		switch {
		case own.of[name] != nil:
			v = t.resolve(own.of[name], depth+1)
		case strings.Contains(name, ".") && !strings.Contains(name, "::"):
			v, err = t.attribute(&value{path: argument.path, line: argument.line, is: name})
		default:
			v, err = t.ref(name, &value{path: argument.path, line: argument.line, is: name})
		}
		if err != nil {
			return nil, fmt.Errorf("${%s}: %w", name, err)
		}
		text, err := asText(v)
		if err != nil {
			return nil, fmt.Errorf("${%s}: %w", name, err)
		}
		if err := t.spend(len(before) + len(text)); err != nil {
			return nil, err
		}
		hidden = hidden || v.hidden
		b.WriteString(text)
	}
}

// joined works out Fn::Join.
func (t *template) joined(argument *value, depth int) (*value, error) {
	list := argument.list()
	if len(list) != 2 {
		return nil, errors.New("Fn::Join takes a text and a list")
	}
	by, ok := list[0].text()
	of := t.resolve(list[1], depth+1)
	if !ok || of.list() == nil {
		return nil, errors.New("Fn::Join takes a text and a list")
	}
	var parts []string
	for _, e := range of.list() {
		s, err := asText(e)
		if err == nil {
			err = t.spend(len(by) + len(s))
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, s)
	}
	return &value{is: strings.Join(parts, by), hidden: of.hides()}, nil
}

// asText is a value in the middle of a text.
func asText(v *value) (string, error) {
	switch is := v.is.(type) {
	case string:
		return is, nil
	case json.Number:
		return is.String(), nil
	case bool:
		return fmt.Sprint(is), nil
	}
	return "", errors.New("it is no text")
}

// ask asks the user for what the template does not say.
func (t *template) ask(name string, argument *value) (*value, error) {
	if t.values.Resolve == nil {
		return nil, fmt.Errorf("%s of %s is not in the template", name, shownValue(argument))
	}
	is, err := t.values.Resolve(Intrinsic{argument.path, name, asGo(argument)})
	if err != nil {
		return nil, err
	}
	return ofAny(is, argument, 0)
}

// asGo is a value as encoding/json has it.
func asGo(v *value) any {
	switch is := v.is.(type) {
	case []*value:
		list := []any{}
		for _, e := range is {
			list = append(list, asGo(e))
		}
		return list
	case *object:
		m := map[string]any{}
		for name, e := range is.of {
			m[name] = asGo(e)
		}
		return m
	}
	return v.is
}

// ofAny is asGo the other way round, of what the user said.
func ofAny(is any, at *value, depth int) (*value, error) {
	v := &value{path: at.path, line: at.line}
	switch is := is.(type) {
	case nil, string, bool, json.Number:
		v.is = is
		return v, nil
	case int, int32, int64:
		v.is = json.Number(fmt.Sprint(is))
		return v, nil
	case float64:
		b, err := json.Marshal(is)
		v.is = json.Number(b)
		return v, err
	case []string:
		list := []*value{}
		for i, s := range is {
			list = append(list, &value{path: element(at.path, i), line: at.line, is: s})
		}
		v.is = list
		return v, nil
	case []any:
		list := []*value{}
		for i, e := range is {
			one, err := ofAny(e, &value{path: element(at.path, i), line: at.line}, depth+1)
			if err != nil || depth > mostNested {
				return nil, errors.Join(err, errNested)
			}
			list = append(list, one)
		}
		v.is = list
		return v, nil
	case map[string]any:
		o := newObject()
		for _, name := range sortedNames(is) {
			one, err := ofAny(is[name], &value{path: member(at.path, name), line: at.line}, depth+1)
			if err != nil || depth > mostNested {
				return nil, errors.Join(err, errNested)
			}
			o.set(name, one)
		}
		v.is = o
		return v, nil
	}
	return nil, fmt.Errorf("the func Resolve of Values returned a %T", is)
}
