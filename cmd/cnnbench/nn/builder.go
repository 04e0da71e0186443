package nn

import (
	"math"
	"math/rand/v2"
)

// layer is one step of a net. backward is called after forward, in the opposite order of layers; it sets the gradients of
// the layer's parameters and sets, or adds to, the gradients of its input.
type layer interface {
	forward(train bool)
	backward()
}

// accumulator is a layer with an input of its own that others may use too: all but the last user of a tensor, which is
// the first in the backward pass, must add to its gradient.
type accumulator interface {
	accumulate(add bool)
}

// builder collects the layers of a net.
type builder struct {
	n       int // pictures in a batch
	classes int
	layers  []layer
	params  []*param
	rng     *rand.Rand
	team    *team
	scratch scratch
	last    map[*tensor]accumulator // the last user so far of each tensor
}

// tensor returns a zero tensor with a gradient.
func (b *builder) tensor(c, h, w int) *tensor {
	t := &tensor{c: c, h: h, w: w, n: b.n}
	t.data, t.grad = make([]float32, t.size()), make([]float32, t.size())
	return t
}

// add appends a layer that reads x. Earlier users of x have to add to its gradient from now on.
func (b *builder) add(l interface {
	layer
	accumulator
}, x *tensor) {
	if before := b.last[x]; before != nil {
		before.accumulate(true)
	}
	b.last[x] = l
	b.layers = append(b.layers, l)
}

// addInPlace appends a layer that changes its input in place; such a layer must come before every reader of that input.
func (b *builder) addInPlace(l layer) { b.layers = append(b.layers, l) }

// param declares a variable; a nil init leaves it zero.
func (b *builder) param(name string, shape []int, decay bool, init func(v []float32)) *param {
	p := &param{name: name, shape: shape, size: 1, decay: decay, init: init}
	for _, d := range shape {
		p.size *= d
	}
	b.params = append(b.params, p)
	return p
}

// he returns an initialiser for weights with the given number of inputs before a rectifier: normal with variance
// 2/inputs (He et al. 2015, arXiv:1502.01852, eq. 10).
func (b *builder) he(inputs int) func(v []float32) {
	sigma := math.Sqrt(2 / float64(inputs))
	return func(v []float32) {
		for i := range v {
			v[i] = float32(b.rng.NormFloat64() * sigma)
		}
	}
}
