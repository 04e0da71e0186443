package data

import (
	"context"
	"math/rand/v2"
)

// ImagenetLen is the number of training pictures of ImageNet (ILSVRC 2012), of which upstream's synthetic data pretends
// to be a part.
const ImagenetLen = 1281167

// Synthetic is one batch of noise with random labels that is used for every step, as upstream's synthetic data is: it
// takes reading and decoding out of the measurement.
type Synthetic struct {
	rng     *rand.Rand
	classes int
	done    bool
}

// NewSynthetic makes a synthetic source with labels below classes. The same seed gives the same batch.
func NewSynthetic(classes int, seed uint64) *Synthetic {
	return &Synthetic{rng: rand.New(rand.NewPCG(seed, 2)), classes: classes}
}

// Next implements [Source].
func (s *Synthetic) Next(_ context.Context, pixels []float32, labels []int32) (bool, error) {
	if s.done {
		return false, nil
	}
	s.done = true
	// Upstream draws from a normal distribution with mean 127 and deviation 60 out of 0..255, cut at two deviations.
	for i := range pixels {
		v := s.rng.NormFloat64()
		for v < -2 || v > 2 {
			v = s.rng.NormFloat64()
		}
		pixels[i] = float32(v * 60 / 127.5)
	}
	for i := range labels {
		labels[i] = int32(s.rng.IntN(s.classes))
	}
	return true, nil
}

// Len implements [Source].
func (s *Synthetic) Len() int { return ImagenetLen }

// Close implements [Source].
func (s *Synthetic) Close() error { return nil }
