package results

import (
	"fmt"
	"math"

	"golang.org/x/perf/benchmath"
	"gonum.org/v1/gonum/stat"
)

// confidence is the level asked of intervals.
const confidence = 0.95

// Summarize computes the statistics of a sample. kind is the metric's: "rate" has the harmonic
// mean, "cost" the arithmetic one. Values must be finite; none gives a zero Sample.
//
// The interval is a rank confidence interval of the median (golang.org/x/perf/benchmath, which
// assumes nothing of the distribution). Below 6 values none exists at 95 %: Lo and Hi then equal
// the median, Level is 0, and a warning says so.
func Summarize(values []float64, repeats []int, kind string) Sample {
	s := Sample{Values: values, Repeats: repeats, N: len(values)}
	if s.N == 0 {
		return s
	}
	sum := benchmath.AssumeNothing.Summary(benchmath.NewSample(append([]float64(nil), values...), &benchmath.DefaultThresholds), confidence)
	s.Center, s.Lo, s.Hi, s.Level = sum.Center, sum.Lo, sum.Hi, sum.Confidence
	if math.IsInf(s.Lo, 0) || math.IsInf(s.Hi, 0) {
		s.Lo, s.Hi, s.Level = s.Center, s.Center, 0
	}
	for _, w := range sum.Warnings {
		s.Warnings = append(s.Warnings, w.Error())
	}
	if s.Level == 0 && len(s.Warnings) == 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d values allow no %.0f %% confidence interval of the median", s.N, 100*confidence))
	}
	s.Mean = stat.Mean(values, nil)
	if kind == "rate" && positive(values) {
		s.Mean = stat.HarmonicMean(values, nil)
	}
	if s.N > 1 {
		s.SD = stat.StdDev(values, nil)
	}
	return s
}

func positive(values []float64) bool {
	for _, v := range values {
		if v <= 0 {
			return false
		}
	}
	return true
}
