package nn

import "math/rand/v2"

// noise returns n standard normal numbers.
func noise(n int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// labels returns n labels that go round all classes.
func labels(n, classes int) []int32 {
	v := make([]int32, n)
	for i := range v {
		v[i] = int32(i * 7 % classes)
	}
	return v
}
