package main

import "testing"

func TestSpreadIsMedianLeastAndMost(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   spread
		text   string
	}{
		{nil, spread{}, "-"},
		{[]float64{3}, spread{3, 3, 3, 1}, "3.0"},
		{[]float64{3, 1, 2}, spread{2, 1, 3, 3}, "2.0 (1.0 - 3.0)"},
		{[]float64{4, 1, 2, 3}, spread{2.5, 1, 4, 4}, "2.5 (1.0 - 4.0)"},
		{[]float64{1.015625, 1.03125}, spread{1.0234375, 1.015625, 1.03125, 2}, "1.0"},
	} {
		got := spreadOf(test.values)
		if got != test.want {
			t.Errorf("spreadOf(%v) = %+v", test.values, got)
		}
		if text := got.format(1); text != test.text {
			t.Errorf("%v is written as %q", test.values, text)
		}
	}
}

func TestNumbersHaveCommasBetweenThousands(t *testing.T) {
	for _, test := range []struct {
		v      float64
		digits int
		want   string
	}{
		{0, 0, "0"}, {999, 0, "999"}, {1000, 0, "1,000"}, {1234567.891, 2, "1,234,567.89"}, {-1234.5, 1, "-1,234.5"}, {-0.001, 2, "0.00"},
	} {
		if got := number(test.v, test.digits); got != test.want {
			t.Errorf("number(%v, %d) = %q", test.v, test.digits, got)
		}
	}
}
