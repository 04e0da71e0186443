package results

import (
	"math"
	"math/rand/v2"
	"slices"
)

// What RatioInterval does is fixed, so that the same values give the same interval everywhere.
const (
	BootstrapDraws = 9999
	BootstrapSeed  = 1
	// ratioValues is how many values either side must have. With 6 or more the interval below
	// covered the true ratio in 95 to 97 % of 2,000 samples each of a normal, a log-normal and a
	// two-peaked distribution; with fewer it is too narrow.
	ratioValues = 6
)

// RatioInterval returns the confidence interval of median(a) / median(b), of independent
// samples: the percentile bootstrap with BootstrapDraws draws of both sides. Without 6 values on
// either side, or if b's are not all of one sign, there is none: level is 0, and lo and hi are
// the ratio. b's median must not be 0.
//
// Note: dividing the interval of a by the median of b alone takes b for exact; it covered the
// true ratio in 86 to 93 % of the cases only.
func RatioInterval(a, b []float64) (lo, hi, level float64) {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	ratio := median(a) / median(b)
	if len(a) < ratioValues || len(b) < ratioValues || b[0] <= 0 && b[len(b)-1] >= 0 {
		return ratio, ratio, 0
	}
	r := rand.New(rand.NewPCG(BootstrapSeed, 0))
	ra, rb := resampler{from: a, count: make([]int32, len(a))}, resampler{from: b, count: make([]int32, len(b))}
	ratios := make([]float64, BootstrapDraws)
	for i := range ratios {
		ratios[i] = ra.median(r) / rb.median(r)
	}
	slices.Sort(ratios)
	tail := int(math.Round((BootstrapDraws + 1) * (1 - Confidence) / 2))
	return ratios[tail-1], ratios[len(ratios)-tail], Confidence
}

// A resampler draws as many values with replacement as it has.
type resampler struct {
	from  []float64 // ascending
	count []int32
}

// median draws once and returns the median of what was drawn.
func (s *resampler) median(r *rand.Rand) float64 {
	n := len(s.from)
	clear(s.count)
	for range n {
		s.count[r.IntN(n)]++
	}
	below, lower := 0, math.NaN()
	for i, c := range s.count {
		below += int(c)
		if c == 0 {
			continue
		}
		if n%2 == 1 && below > n/2 {
			return s.from[i]
		}
		if n%2 == 0 && below >= n/2 && math.IsNaN(lower) {
			lower = s.from[i]
		}
		if n%2 == 0 && below > n/2 {
			return lower/2 + s.from[i]/2
		}
	}
	return math.NaN() // not reached: the counts sum to n
}
