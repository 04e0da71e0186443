package nn

import (
	"math"
	"math/rand/v2"
	"testing"
)

// testClasses keeps the nets of layer tests small.
const testClasses = 5

// layerCases has a net for each kind of layer: what is under test, then a dense layer that gives the logits.
func layerCases() map[string]func(b *builder, x *tensor) *tensor {
	logits := func(b *builder, x *tensor) *tensor { return b.dense("out", x, b.classes) }
	return map[string]func(b *builder, x *tensor) *tensor{
		"dense alone": logits,
		"bias after dense": func(b *builder, x *tensor) *tensor {
			return b.bias("out", logits(b, x))
		},
		"convolution with same padding": func(b *builder, x *tensor) *tensor {
			return logits(b, b.conv("c", x, 4, square(3, 1)))
		},
		"convolution with stride 2 and same padding": func(b *builder, x *tensor) *tensor {
			return logits(b, b.conv("c", x, 4, square(3, 2)))
		},
		"convolution with valid padding": func(b *builder, x *tensor) *tensor {
			return logits(b, b.conv("c", x, 4, window{kh: 3, kw: 2, stride: 2}))
		},
		"convolution wider than its input": func(b *builder, x *tensor) *tensor {
			return logits(b, b.conv("d", b.conv("c", x, 2, across(1, 7)), 3, across(7, 1)))
		},
		"pointwise convolution": func(b *builder, x *tensor) *tensor {
			return logits(b, b.conv("d", b.conv("c", x, 4, square(1, 1)), 3, square(1, 2)))
		},
		"convolution, bias and rectifier": func(b *builder, x *tensor) *tensor {
			return logits(b, b.convBias("c", x, 4, square(3, 1)))
		},
		"batch norm": func(b *builder, x *tensor) *tensor {
			return logits(b, b.batchNorm("n", x))
		},
		"batch norm between convolutions": func(b *builder, x *tensor) *tensor {
			return logits(b, b.conv("d", b.convNorm("c", x, 4, square(3, 1)), 3, square(3, 1)))
		},
		"max pool with valid padding": func(b *builder, x *tensor) *tensor {
			return logits(b, b.maxPool(x, window{kh: 2, kw: 2, stride: 2}))
		},
		"overlapping max pool with same padding": func(b *builder, x *tensor) *tensor {
			return logits(b, b.maxPool(x, square(3, 2)))
		},
		"average pool with same padding": func(b *builder, x *tensor) *tensor {
			return logits(b, b.avgPool(x, square(3, 1)))
		},
		"global pool": func(b *builder, x *tensor) *tensor {
			return logits(b, b.globalPool(b.conv("c", x, 4, square(1, 1))))
		},
		"residual with a projected shortcut": func(b *builder, x *tensor) *tensor {
			return logits(b, b.bottleneck("r", x, 2, 2))
		},
		"residual with its input as shortcut": func(b *builder, x *tensor) *tensor {
			x = b.conv("c", x, 8, square(1, 1))
			return logits(b, b.bottleneck("s", b.bottleneck("r", x, 2, 1), 2, 1))
		},
		"branches of all kinds joined by channel": func(b *builder, x *tensor) *tensor {
			return logits(b, b.concat(
				b.conv("a", x, 2, square(1, 1)),
				b.conv("b", x, 2, square(3, 1)),
				b.avgPool(x, square(3, 1)),
				b.batchNorm("n", x),
				b.maxPool(x, square(3, 1))))
		},
		"one tensor read by dense layers and shortcuts": func(b *builder, x *tensor) *tensor {
			x = b.dense("a", x, 6)
			y := b.residual(b.dense("b", x, 6), x)
			return b.residual(b.dense("c", y, b.classes), b.dense("d", x, b.classes))
		},
	}
}

// checkGradients compares the gradient by each variable and by the pictures with central differences of the loss.
func checkGradients(t *testing.T, m Model, batch int) {
	t.Helper()
	net := build(m, batch, 3, true)
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range net.params { // away from zero biases and unit scales, which hide mistakes
		net.params[i] += float32(0.1 * rng.NormFloat64())
	}
	net.SetBatch(noise(batch*m.Size*m.Size*3, 7), labels(batch, m.classes()))
	net.Forward(true)
	net.Backward()
	freeze(net)
	for _, v := range net.Variables() {
		span := net.params[v.Offset : v.Offset+v.Size]
		checkDirection(t, net, v.Name, span, net.grads[v.Offset:v.Offset+v.Size])
	}
	checkDirection(t, net, "pictures", net.input.data, net.input.grad)
}

// freeze makes the rectifiers and max pools of a net keep the choices of its last forward pass, where there are so many
// that any step of use for differences would cross a kink. A net with few of them is checked as it is.
func freeze(net *Net) {
	rectifiers := 0
	for _, l := range net.layers {
		if _, ok := l.(*relu); ok {
			rectifiers++
		}
	}
	if rectifiers < 2 {
		return
	}
	for i, l := range net.layers {
		switch l := l.(type) {
		case *relu:
			f := &frozenRelu{relu: l, open: make([]bool, l.x.size())}
			for at, v := range l.x.data {
				f.open[at] = v > 0
			}
			net.layers[i] = f
		case *maxPool:
			net.layers[i] = &frozenMaxPool{maxPool: l}
		}
	}
}

type frozenRelu struct {
	*relu
	open []bool
}

func (l *frozenRelu) forward(bool) {
	for at, open := range l.open {
		if !open {
			l.x.data[at] = 0
		}
	}
}

type frozenMaxPool struct{ *maxPool }

func (l *frozenMaxPool) forward(bool) {
	n := l.x.n
	for at, place := range l.arg {
		c := at / l.y.plane()
		l.y.data[at] = l.x.data[c*l.x.plane()+int(place)*n+at%n]
	}
}

// checkDirection compares the slope of the loss along the gradient, which the gradient's own length predicts, and along a
// random direction with central differences. A single precision loss allows about three digits.
func checkDirection(t *testing.T, net *Net, name string, at, grad []float32) {
	t.Helper()
	g := append([]float32(nil), grad...)
	length := math.Sqrt(float64(dot(g, g)))
	if length < 1e-5 {
		return // for instance a convolution before batch norm on a plane of equal pixels
	}
	random := noise(len(at), 9)
	norm := math.Sqrt(float64(dot(random, random)))
	for i := range random {
		random[i] = random[i]/float32(norm) + g[i]/float32(length)
	}
	want := float64(dot(g, random))
	old := append([]float32(nil), at...)
	tolerance := 0.02*math.Abs(want) + 2e-4
	best, got := math.Inf(1), 0.0
	// Each size of step changes the loss by about this much. A kink, the curvature or the rounding may spoil one size; a
	// mistake spoils all.
	for _, change := range []float64{1e-2, 1e-3} {
		eps := min(change/math.Abs(want), 0.02)
		axpy(float32(eps), random, at)
		up := net.Forward(true).Total
		axpy(float32(-2*eps), random, at)
		down := net.Forward(true).Total
		copy(at, old)
		slope := (up - down) / (2 * eps)
		if d := math.Abs(slope - want); d < best {
			best, got = d, slope
		}
		if best <= tolerance {
			return
		}
	}
	t.Errorf("%s: slope of the loss: got %g by differences; want %g by the gradient", name, got, want)
}

func TestGradientOfEachLayerAgreesWithDifferences(t *testing.T) {
	for name, layers := range layerCases() {
		t.Run(name, func(t *testing.T) {
			checkGradients(t, Model{Size: 5, layers: layers, numClasses: testClasses}, 6)
		})
	}
}

func TestGradientOfEachNetAgreesWithDifferences(t *testing.T) {
	for _, m := range Models() {
		t.Run(m.Name, func(t *testing.T) {
			checkGradients(t, m, 4)
		})
	}
}
