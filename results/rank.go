package results

import "math"

// RankInterval returns which values, counted from 1 in ascending order, bound the confidence
// interval of the median of n values: the narrowest pair lo, n+1-lo whose exact level,
// 1 - 2 P(Binomial(n, 1/2) < lo), is at least the confidence. Where not even the least and the
// greatest value reach it, level is 0.
//
// Note: golang.org/x/perf/benchmath takes the narrowest interval, symmetric or not, and of two
// equally good ones the lower (at n = 8 the 1st to the 7th value): its error bars lean. It also
// approximates above n = 30.
func RankInterval(n int, confidence float64) (lo, hi int, level float64) {
	// terms of the binomial distribution from below, in logarithms: 2^-n underflows early
	logp := -float64(n) * math.Ln2
	below := 0.0 // P(Binomial(n, 1/2) < k)
	for k := 1; k <= n/2; k++ {
		below += math.Exp(logp)
		logp += math.Log(float64(n-k+1)) - math.Log(float64(k))
		if 1-2*below < confidence {
			break
		}
		lo, hi, level = k, n+1-k, 1-2*below
	}
	return lo, hi, level
}
