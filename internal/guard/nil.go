package guard

import "reflect"

// IsNil reports whether there is nothing to call in an interface: a nil func, or
// a nil pointer, which is hardly ever meant.
func IsNil(v any) bool {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Func, reflect.Pointer, reflect.Map, reflect.Slice, reflect.Chan, reflect.Interface:
		return r.IsNil()
	}
	return false
}
