package results

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestSamplesAgreeWithWhatWasComputedByHand(t *testing.T) {
	repeats := func(n int) []int {
		var out []int
		for i := range n {
			out = append(out, i+1)
		}
		return out
	}
	for _, c := range []struct {
		name   string
		values []float64
		kind   string
		want   Sample
	}{
		{"none", nil, "rate", Sample{}},
		{"one", []float64{5}, "rate", Sample{Center: 5, Lo: 5, Hi: 5, Mean: 5, Harmonic: true}},
		{"three, harmonic", []float64{60, 30, 20}, "rate", Sample{Center: 30, Lo: 30, Hi: 30, Mean: 30, Harmonic: true, SD: 20.8166599946613}}, // 3 / (1/60 + 2/60 + 3/60)
		{"three, arithmetic", []float64{60, 30, 21}, "cost", Sample{Center: 30, Lo: 30, Hi: 30, Mean: 37, SD: 20.4205778566621}},               // variance (23^2 + 7^2 + 16^2) / 2
		{"a rate of 0 has no harmonic mean", []float64{0, 2, 4}, "rate", Sample{Center: 2, Lo: 2, Hi: 2, Mean: 2, SD: 2}},
		{"five allow no interval", []float64{5, 4, 3, 2, 1}, "cost", Sample{Center: 3, Lo: 3, Hi: 3, Mean: 3, SD: 1.58113883008419}},
		{"six: least to greatest, 1 - 2/64", []float64{6, 5, 4, 3, 2, 1}, "cost", Sample{Center: 3.5, Lo: 1, Hi: 6, Level: 0.96875, Mean: 3.5, SD: 1.87082869338697}},
		{"seven: least to greatest, 1 - 2/128", []float64{7, 1, 6, 2, 5, 3, 4}, "cost", Sample{Center: 4, Lo: 1, Hi: 7, Level: 0.984375, Mean: 4, SD: 2.16024689946929}},
		{"eight: still so, 1 - 2/256, since 2nd to 7th is 0.93", []float64{1, 2, 3, 4, 5, 6, 7, 8}, "cost", Sample{Center: 4.5, Lo: 1, Hi: 8, Level: 0.9921875, Mean: 4.5, SD: 2.44948974278318}},
		{"nine: 2nd to 8th, 1 - 20/512", []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}, "cost", Sample{Center: 5, Lo: 2, Hi: 8, Level: 0.9609375, Mean: 5, SD: 2.73861278752583}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := len(c.values)
			c.want.Values, c.want.Repeats, c.want.N = c.values, repeats(n), n
			got := Summarize(c.values, c.want.Repeats, c.kind)
			if warned := len(got.Warnings) > 0; warned != (n > 0 && n < 6) {
				t.Errorf("got warnings %q", got.Warnings)
			}
			got.Warnings = nil
			if d := cmp.Diff(c.want, got, cmpopts.EquateApprox(1e-12, 0)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// The exact levels of symmetric rank intervals stand in tables of the sign test.
func TestRankIntervalsAreThoseOfTheTables(t *testing.T) {
	for _, c := range []struct {
		n, lo int
		level float64
	}{{5, 0, 0}, {6, 1, 0.9688}, {10, 2, 0.9785}, {15, 4, 0.9648}, {20, 6, 0.9586}, {30, 10, 0.9572}, {50, 18, 0.9672}, {100, 40, 0.9648}} {
		lo, hi, level := RankInterval(c.n, Confidence)
		if lo != c.lo || lo > 0 && hi != c.n+1-lo || math.Abs(level-c.level) > 5e-5 {
			t.Errorf("n = %d: got %d..%d at %.4f; want %d..%d at %.4f", c.n, lo, hi, level, c.lo, c.n+1-c.lo, c.level)
		}
	}
	if lo, hi, level := RankInterval(100_000, Confidence); level < Confidence || level > 0.9551 || lo < 49_600 || hi > 50_400 {
		t.Errorf("n = 100000: got %d..%d at %v", lo, hi, level)
	}
}

func TestMediansOfResamplesAreThoseOfTheirValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 12).Draw(t, "values")
		seed := rapid.Uint64().Draw(t, "seed")
		slices.Sort(from)
		s := resampler{from: from, count: make([]int32, len(from))}
		got := s.median(rand.New(rand.NewPCG(seed, 0)))
		r := rand.New(rand.NewPCG(seed, 0))
		drawn := make([]float64, len(from))
		for i := range drawn {
			drawn[i] = from[r.IntN(len(from))]
		}
		slices.Sort(drawn)
		if want := median(drawn); got != want {
			t.Fatalf("got %v; want %v", got, want)
		}
	})
}

// TestRatioIntervalsCoverTheTruth draws samples whose true ratio is known. The bound is three
// standard errors below 95 %.
func TestRatioIntervalsCoverTheTruth(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	const tries, n, truth = 60, 7, 0.9
	covered := 0
	for range tries {
		a, b := make([]float64, n), make([]float64, n)
		for i := range n {
			a[i], b[i] = truth*100*math.Exp(0.1*r.NormFloat64()), 100*math.Exp(0.1*r.NormFloat64())
		}
		if lo, hi, _ := RatioInterval(a, b); lo <= truth && truth <= hi {
			covered++
		}
	}
	if share := float64(covered) / tries; share < Confidence-3*math.Sqrt(Confidence*(1-Confidence)/tries) {
		t.Errorf("%.1f %% of the intervals hold the true ratio", 100*share)
	}
}
