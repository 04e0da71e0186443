package results

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRatioIntervalsObeyTheirScale compares exactly: the scales are powers of 2, which lose no
// bits.
func TestRatioIntervalsObeyTheirScale(t *testing.T) {
	a := []float64{12, 11, 13, 12.5, 11.5, 12.2, 12.9}
	b := []float64{10, 9.5, 10.5, 10.2, 9.8, 10.1}
	lo, hi, level := RatioInterval(a, b)
	ratio := 12.2 / 10.05
	if level != Confidence || lo > ratio || hi < ratio || lo == hi {
		t.Fatalf("got %g..%g at %g; want an interval around %g", lo, hi, level, ratio)
	}
	scaled := func(v []float64, by float64) []float64 {
		out := slices.Clone(v)
		for i := range out {
			out[i] *= by
		}
		return out
	}
	reversed := slices.Clone(a)
	slices.Reverse(reversed)
	for _, c := range []struct {
		name string
		a, b []float64
		by   float64
	}{
		{"the same values in another order", reversed, b, 1},
		{"both in another unit", scaled(a, 1024), scaled(b, 1024), 1},
		{"a alone in another unit", scaled(a, 4), b, 4},
		{"b alone in another unit", a, scaled(b, 4), 0.25},
	} {
		t.Run(c.name, func(t *testing.T) {
			if l, h, _ := RatioInterval(c.a, c.b); l != lo*c.by || h != hi*c.by {
				t.Errorf("got %v..%v; want %v..%v", l, h, lo*c.by, hi*c.by)
			}
		})
	}
}

func TestARatioIntervalHoldsTheRatio(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 20 {
		draw := func() []float64 {
			v := make([]float64, ratioValues+r.IntN(4))
			for i := range v {
				v[i] = math.Exp(r.NormFloat64())
			}
			return v
		}
		a, b := draw(), draw()
		keptA, keptB := slices.Clone(a), slices.Clone(b)
		lo, hi, level := RatioInterval(a, b)
		if !slices.Equal(a, keptA) || !slices.Equal(b, keptB) {
			t.Fatal("the values were put in another order")
		}
		slices.Sort(a)
		slices.Sort(b)
		if ratio := median(a) / median(b); level != Confidence || lo > ratio || hi < ratio {
			t.Errorf("got %v..%v at %v of %v over %v; want an interval around %v", lo, hi, level, a, b, ratio)
		}
		if l, h := a[0]/b[len(b)-1], a[len(a)-1]/b[0]; lo < l || hi > h {
			t.Errorf("got %v..%v of %v over %v; want it within the extremes %v..%v", lo, hi, a, b, l, h)
		}
	}
}

func TestWithoutSixValuesOnEitherSideARatioHasNoInterval(t *testing.T) {
	six := []float64{1, 2, 3, 4, 5, 6}
	for _, c := range []struct {
		name string
		a, b []float64
		want float64
	}{
		{"one and one", []float64{3}, []float64{2}, 1.5},
		{"five over six", six[:5], six, 3 / 3.5},
		{"six over five", six, six[:5], 3.5 / 3},
		{"a baseline with a 0", six, []float64{0, 1, 2, 3, 4, 5}, 3.5 / 2.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			if lo, hi, level := RatioInterval(c.a, c.b); lo != c.want || hi != c.want || level != 0 {
				t.Errorf("got %v..%v at %v; want %v..%v at 0", lo, hi, level, c.want, c.want)
			}
		})
	}
}
