package awsconfig

import (
	"errors"
	"fmt"
	"slices"
)

// A condition is one of a template, and what it comes to.
type condition struct {
	is   bool
	err  error
	busy bool // it is being worked out
}

// condition works out a condition of the template.
func (t *template) condition(name string) (bool, error) {
	c := t.conditions[name]
	if c == nil {
		c = &condition{busy: true}
		t.conditions[name] = c
		if v := t.doc.at("Conditions", name); v == nil {
			c.err = fmt.Errorf("the template has no condition %s", name)
		} else {
			c.is, c.err = t.holds(v, 0)
		}
		c.busy = false
	}
	if c.busy {
		return false, fmt.Errorf("the condition %s depends on itself", name)
	}
	return c.is, c.err
}

// holds works out an expression of conditions.
func (t *template) holds(v *value, depth int) (bool, error) {
	o := v.object()
	if o == nil || len(o.names) != 1 || depth > mostNested {
		return false, errors.New("it is no condition")
	}
	name := o.names[0]
	argument := o.of[name]
	if name == "Condition" {
		s, ok := argument.text()
		if !ok {
			return false, errors.New("the function Condition takes a name")
		}
		return t.condition(s)
	}
	list := argument.list()
	switch {
	case name == "Fn::Equals" && len(list) == 2:
		var sides []string
		for _, e := range list {
			before := len(t.mistakes)
			out := t.resolve(e, depth+1)
			if len(t.mistakes) > before {
				return false, errors.New("a side of it is not known")
			}
			s, err := asText(out)
			if err != nil {
				return false, err
			}
			sides = append(sides, s)
		}
		return sides[0] == sides[1], nil
	case name == "Fn::Not" && len(list) == 1:
		is, err := t.holds(list[0], depth+1)
		return !is, err
	case (name == "Fn::And" || name == "Fn::Or") && len(list) >= 2:
		var all []bool
		for _, e := range list {
			is, err := t.holds(e, depth+1)
			if err != nil {
				return false, err
			}
			all = append(all, is)
		}
		if name == "Fn::Or" {
			return slices.Contains(all, true), nil
		}
		return !slices.Contains(all, false), nil
	}
	return false, fmt.Errorf("%s is no condition, or has another argument than it takes", name)
}
