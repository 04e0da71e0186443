package results

import (
	"math"
	"testing"

	"golang.org/x/perf/benchmath"
)

// TestIntervalsHoldAtLeastTheLevelOfBenchmath compares with golang.org/x/perf/benchmath, which
// takes the narrowest interval, symmetric or not: ours is symmetric, so it is never narrower, and
// the same where the narrowest is symmetric.
func TestIntervalsHoldAtLeastTheLevelOfBenchmath(t *testing.T) {
	for n := 1; n <= 30; n++ {
		values := make([]float64, n)
		repeats := make([]int, n)
		for i := range values {
			values[i], repeats[i] = float64(i+1), i+1
		}
		want := benchmath.AssumeNothing.Summary(benchmath.NewSample(append([]float64(nil), values...), &benchmath.DefaultThresholds), Confidence)
		got := Summarize(values, repeats, "cost")
		if got.Center != want.Center {
			t.Errorf("n=%d: median %g; benchmath %g", n, got.Center, want.Center)
		}
		if none := math.IsInf(want.Lo, 0) || math.IsInf(want.Hi, 0); none != (got.Level == 0) {
			t.Errorf("n=%d: interval %g..%g at %g; benchmath %g..%g", n, got.Lo, got.Hi, got.Level, want.Lo, want.Hi)
			continue
		} else if none {
			continue
		}
		if got.Lo > want.Lo || got.Hi < want.Hi || got.Level < Confidence {
			t.Errorf("n=%d: interval %g..%g at %g is narrower than benchmath's %g..%g at %g", n, got.Lo, got.Hi, got.Level, want.Lo, want.Hi, want.Confidence)
		}
		if want.Hi == float64(n+1)-want.Lo && (got.Lo != want.Lo || math.Abs(got.Level-want.Confidence) > 1e-9) {
			t.Errorf("n=%d: interval %g..%g at %g; benchmath %g..%g at %g", n, got.Lo, got.Hi, got.Level, want.Lo, want.Hi, want.Confidence)
		}
	}
}
