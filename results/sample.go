package results

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// Confidence is the level asked of intervals.
const Confidence = 0.95

// Summarize computes the statistics of a sample. kind is the metric's: "rate" has the harmonic
// mean, "cost" the arithmetic one. Values must be finite; none gives a zero Sample.
//
// The interval is a rank confidence interval of the median, which assumes nothing of the
// distribution; see [RankInterval]. Below 6 values none exists at 95 %: Lo and Hi then equal the
// median, Level is 0, and a warning says so.
func Summarize(values []float64, repeats []int, kind string) Sample {
	s := Sample{Values: values, Repeats: repeats, N: len(values)}
	if s.N == 0 {
		return s
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	s.Center = median(sorted)
	s.Lo, s.Hi = s.Center, s.Center
	if lo, hi, level := RankInterval(s.N, Confidence); level > 0 {
		s.Lo, s.Hi, s.Level = sorted[lo-1], sorted[hi-1], level
	} else {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d values allow no %.0f %% confidence interval of the median: it takes 6", s.N, 100*Confidence))
	}
	s.Mean = stat.Mean(values, nil)
	if s.Harmonic = kind == "rate" && sorted[0] > 0; s.Harmonic {
		s.Mean = stat.HarmonicMean(values, nil)
	}
	if s.N > 1 {
		s.SD = stat.StdDev(values, nil)
	}
	return s
}

// median of values in ascending order, at least one.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return sorted[n/2-1]/2 + sorted[n/2]/2 // the sum might overflow
}
