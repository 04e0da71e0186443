package bench

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// timing holds the duration of each timed step and computes upstream's three numbers of a step line, as its function
// get_perf_timing does (tensorflow/benchmarks, scripts/tf_cnn_benchmarks/benchmark_cnn.py):
//
//   - mean: pictures a step over the mean duration, a rate of totals since the end of warm-up;
//   - uncertainty: the population standard deviation of the steps' speeds over the root of their number;
//   - jitter: 1.4826 times the median distance of the steps' speeds from their median. The factor makes it an estimate of
//     the standard deviation for normal data.
type timing struct {
	batch   float64   // pictures a step, over all devices
	seconds []float64 // one a step
}

// madToSigma is 1/Φ⁻¹(3/4), rounded as upstream does.
const madToSigma = 1.4826

// newTiming returns a timing with room for steps steps.
func newTiming(batch, steps int) *timing {
	return &timing{batch: float64(batch), seconds: make([]float64, 0, steps)}
}

func (t *timing) add(d time.Duration) { t.seconds = append(t.seconds, d.Seconds()) }

// rates returns mean, uncertainty and jitter in images/s over at least one step.
func (t *timing) rates() (mean, uncertainty, jitter float64) {
	n := float64(len(t.seconds))
	speeds := make([]float64, len(t.seconds))
	var total, sum float64
	for i, s := range t.seconds {
		total += s
		speeds[i] = t.batch / s
		sum += speeds[i]
	}
	center, squares := sum/n, 0.0
	for _, v := range speeds {
		squares += (v - center) * (v - center)
	}
	mid := median(speeds)
	for i, v := range speeds {
		speeds[i] = math.Abs(v - mid)
	}
	return t.batch * n / total, math.Sqrt(squares/n) / math.Sqrt(n), madToSigma * median(speeds)
}

// median sorts v and returns its middle, or the mean of the two middle ones.
func median(v []float64) float64 {
	slices.Sort(v)
	h := len(v) / 2
	if len(v)%2 == 1 {
		return v[h]
	}
	return (v[h-1] + v[h]) / 2
}

// stepLine is the line of a step, which counts from 1.
func (t *timing) stepLine(step int, r result, accuracy bool) string {
	mean, uncertainty, jitter := t.rates()
	line := fmt.Sprintf("%d\timages/sec: %s +/- %s (jitter = %s)\t%s", step,
		decimal(mean, 1), decimal(uncertainty, 1), decimal(jitter, 1), decimal(r.loss, 3))
	if accuracy {
		line += "\t" + decimal(r.top1, 3) + "\t" + decimal(r.top5, 3)
	}
	return line
}

// decimal prints v with so many digits after the point, and what is no number as Python does.
func decimal(v float64, digits int) string {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 1):
		return "inf"
	case math.IsInf(v, -1):
		return "-inf"
	}
	return fmt.Sprintf("%.*f", digits, v)
}
