package bench

import (
	"math"
	"testing"
	"time"
)

func TestRatesAreUpstreams(t *testing.T) {
	tests := map[string]struct {
		batch                     int
		milliseconds              []int
		mean, uncertainty, jitter float64
	}{
		"one step has no spread": {64, []int{500}, 128, 0, 0},
		"two steps":              {10, []int{100, 200}, 20 / 0.3, 25 / math.Sqrt2, 1.4826 * 25},
		// Speeds 100, 50, 25, 20: mean 48.75, squares 2626.5625+1.5625+564.0625+826.5625 = 4018.75, median 37.5,
		// distances 62.5, 12.5, 12.5, 17.5, their median 15.
		"four steps, the mean is of totals": {10, []int{100, 200, 400, 500}, 40 / 1.2, math.Sqrt(4018.75/4) / 2, 1.4826 * 15},
		// Speeds 10, 10, 100: median 10, distances 0, 0, 90.
		"a lone fast step leaves no jitter": {1, []int{100, 100, 10}, 3 / 0.21, math.Sqrt(1800) / math.Sqrt(3), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			times := newTiming(tt.batch, 4)
			for _, ms := range tt.milliseconds {
				times.add(time.Duration(ms) * time.Millisecond)
			}
			mean, uncertainty, jitter := times.rates()
			for _, v := range []struct {
				name      string
				got, want float64
			}{{"mean", mean, tt.mean}, {"uncertainty", uncertainty, tt.uncertainty}, {"jitter", jitter, tt.jitter}} {
				if math.Abs(v.got-v.want) > 1e-9 {
					t.Errorf("%s: got %v; want %v", v.name, v.got, v.want)
				}
			}
		})
	}
}

func TestStepLineHasUpstreamsForm(t *testing.T) {
	times := newTiming(10, 2)
	times.add(100 * time.Millisecond)
	times.add(200 * time.Millisecond)
	tests := map[string]struct {
		result   result
		accuracy bool
		want     string
	}{
		"loss":               {result{loss: 7.3126}, false, "2\timages/sec: 66.7 +/- 17.7 (jitter = 37.1)\t7.313"},
		"loss and accuracy":  {result{loss: 0.5, top1: 0.25, top5: 1}, true, "2\timages/sec: 66.7 +/- 17.7 (jitter = 37.1)\t0.500\t0.250\t1.000"},
		"no number":          {result{loss: math.NaN()}, false, "2\timages/sec: 66.7 +/- 17.7 (jitter = 37.1)\tnan"},
		"infinite":           {result{loss: math.Inf(1)}, false, "2\timages/sec: 66.7 +/- 17.7 (jitter = 37.1)\tinf"},
		"negative, infinite": {result{loss: math.Inf(-1)}, false, "2\timages/sec: 66.7 +/- 17.7 (jitter = 37.1)\t-inf"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := times.stepLine(2, tt.result, tt.accuracy); got != tt.want {
				t.Errorf("got %q; want %q", got, tt.want)
			}
		})
	}
}
