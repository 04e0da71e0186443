package results

import (
	"math"
	"slices"
	"testing"

	"golang.org/x/perf/benchmath"
)

func TestTheRanksOfFewValuesAreThoseComputedByHand(t *testing.T) {
	for _, c := range []struct {
		name      string
		n, lo, hi int
		level     float64
	}{
		{"no value has no interval", 0, 0, 0, 0},
		{"one value has none", 1, 0, 0, 0},
		{"three have none: 1 - 2/8 is too little", 3, 0, 0, 0},
		{"five have none: 1 - 2/32 is too little", 5, 0, 0, 0},
		{"six: least to greatest, 1 - 2/64", 6, 1, 6, 0.96875},
		{"seven: least to greatest, 1 - 2/128", 7, 1, 7, 0.984375},
		{"nine: 2nd to 8th, 1 - 2 (1 + 9)/512", 9, 2, 8, 0.9609375},
	} {
		t.Run(c.name, func(t *testing.T) {
			lo, hi, level := RankInterval(c.n, Confidence)
			if lo != c.lo || hi != c.hi || math.Abs(level-c.level) > 1e-12 {
				t.Errorf("got %d..%d at %v; want %d..%d at %v", lo, hi, level, c.lo, c.hi, c.level)
			}
		})
	}
}

func TestTheLevelsOfSixAndSevenValuesAreThoseOfBenchmath(t *testing.T) {
	for _, values := range [][]float64{{3, 1, 4, 1.5, 9, 2.6}, {2, 7, 1, 8, 2.8, 1.8, 4}} {
		want := benchmath.AssumeNothing.Summary(benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds), Confidence)
		got := Summarize(values, make([]int, len(values)), "cost")
		if got.Center != want.Center || got.Lo != want.Lo || got.Hi != want.Hi || math.Abs(got.Level-want.Confidence) > 1e-12 {
			t.Errorf("n = %d: got %g in %g..%g at %v; want %g in %g..%g at %v",
				len(values), got.Center, got.Lo, got.Hi, got.Level, want.Center, want.Lo, want.Hi, want.Confidence)
		}
	}
}

func TestSummarizeLeavesTheValuesInTheOrderOfTheRepeats(t *testing.T) {
	values := []float64{3, 1, 2}
	if got := Summarize(values, []int{1, 2, 5}, "cost"); !slices.Equal(got.Values, []float64{3, 1, 2}) || !slices.Equal(got.Repeats, []int{1, 2, 5}) {
		t.Errorf("got %v of repeats %v; want 3, 1, 2 of 1, 2, 5", got.Values, got.Repeats)
	}
}

func TestTheMeanOfARateIsTheRateOfTheWhole(t *testing.T) {
	// the same distance once at 40 and once at 60: 2 / (1/40 + 1/60) = 48
	for _, c := range []struct {
		name, kind string
		values     []float64
		want       float64
		harmonic   bool
	}{
		{"a rate has the harmonic mean", "rate", []float64{40, 60}, 48, true},
		{"a cost has the arithmetic mean", "cost", []float64{40, 60}, 50, false},
		{"a rate below 0 has the arithmetic mean", "rate", []float64{-40, 60}, 10, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Summarize(c.values, []int{1, 2}, c.kind)
			if math.Abs(got.Mean-c.want) > 1e-12 || got.Harmonic != c.harmonic {
				t.Errorf("got %v (harmonic %v); want %v (%v)", got.Mean, got.Harmonic, c.want, c.harmonic)
			}
		})
	}
}
