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

// TestDisturbancesOfTwoTracksEnd: each by itself, whichever began first.
func TestDisturbancesOfTwoTracksEnd(t *testing.T) {
	ds := []disturbance{{from: 10, to: 15, fault: killBroker}, {from: 20, fault: killBroker}, {from: 30, fault: takeTopic}}
	end(ds, killBroker, 40)
	end(ds, killBroker, 45) // there is none
	if want := []int64{15, 40, 0}; ds[0].to != want[0] || ds[1].to != want[1] || ds[2].to != want[2] {
		t.Errorf("%+v", ds)
	}
	end(ds, takeTopic, 50)
	if ds[1].to != 40 || ds[2].to != 50 {
		t.Errorf("%+v", ds)
	}
}
