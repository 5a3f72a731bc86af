package main

import "testing"

func TestTimeThatIsInNoDisturbance(t *testing.T) {
	for _, tc := range []struct {
		ds   []disturbance
		want int64
	}{
		{nil, 100},
		{[]disturbance{{from: 10, to: 20}}, 100},                                              // before
		{[]disturbance{{from: 300, to: 0}}, 100},                                              // after
		{[]disturbance{{from: 120, to: 130}}, 90},                                             // within
		{[]disturbance{{from: 50, to: 130}}, 70},                                              // over the beginning
		{[]disturbance{{from: 190, to: 230}}, 90},                                             // over the end
		{[]disturbance{{from: 150, to: 0}}, 50},                                               // goes on
		{[]disturbance{{from: 150, to: 160}, {from: 110, to: 155}}, 50},                       // two that overlap
		{[]disturbance{{from: 110, to: 190}, {from: 120, to: 130}, {from: 195, to: 196}}, 19}, // one within another
		{[]disturbance{{from: 50, to: 500}}, 0},                                               // all of it
		{[]disturbance{{from: 110, to: 120}, {from: 100, to: 110}, {from: 190, to: 0}}, 70},   // side by side
	} {
		if got := without(tc.ds, 100, 200); int64(got) != tc.want {
			t.Errorf("%+v: %d, want %d", tc.ds, got, tc.want)
		}
	}
}
