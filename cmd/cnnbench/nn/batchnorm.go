package nn

import "math"

// Constants of upstream's batch norm layer: the share of the old running mean and variance that a step keeps, and the
// number added to a variance.
const (
	normKeep = 0.999
	normEps  = 0.001
)

// batchNorm brings each channel to mean 0 and variance 1 over the batch, then scales and shifts it. Out of training it
// uses the running mean and variance.
type batchNorm struct {
	x, y        *tensor
	gamma, beta *param
	team        *team
	scratch     *scratch
	acc         bool
	centered    []float32 // x minus the channel's mean
	inv         []float32 // 1/sqrt(variance + eps), one a channel
	mean, vari  []float32 // running values, one a channel
	train       bool
	fwd, back   func(i int)
}

// batchNorm adds a batch norm layer.
func (b *builder) batchNorm(name string, x *tensor) *tensor {
	y := b.tensor(x.c, x.h, x.w)
	l := &batchNorm{
		x: x, y: y, team: b.team, scratch: &b.scratch,
		centered: make([]float32, x.size()),
		inv:      make([]float32, x.c),
		mean:     make([]float32, x.c),
		vari:     make([]float32, x.c),
	}
	fill(l.vari, 1)
	l.gamma = b.param(name+"/gamma", []int{x.c}, false, func(v []float32) { fill(v, 1) })
	l.beta = b.param(name+"/beta", []int{x.c}, false, nil)
	l.fwd, l.back = l.forwardRow, l.backwardRow
	b.scratch.need(0, 0, x.plane())
	b.add(l, x)
	return y
}

func fill(v []float32, x float32) {
	for i := range v {
		v[i] = x
	}
}

func (l *batchNorm) accumulate(add bool) { l.acc = add }

func (l *batchNorm) forward(train bool) {
	l.train = train
	l.team.run(l.x.c, l.fwd)
}

func (l *batchNorm) backward() { l.team.run(l.x.c, l.back) }

func (l *batchNorm) forwardRow(c int) {
	p := l.x.plane()
	x, y, centered := l.x.data[c*p:(c+1)*p], l.y.data[c*p:(c+1)*p], l.centered[c*p:(c+1)*p]
	mean, vari := l.mean[c], l.vari[c]
	if l.train {
		mean = dot(x, l.scratch.ones[:p]) / float32(p)
	}
	for i, v := range x {
		centered[i] = v - mean
	}
	if l.train {
		vari = dot(centered, centered) / float32(p)
		l.mean[c] = normKeep*l.mean[c] + (1-normKeep)*mean
		l.vari[c] = normKeep*l.vari[c] + (1-normKeep)*vari
	}
	inv := float32(1 / math.Sqrt(float64(vari)+normEps))
	l.inv[c] = inv
	scale, shift := l.gamma.value[c]*inv, l.beta.value[c]
	for i, v := range centered {
		y[i] = scale*v + shift
	}
}

func (l *batchNorm) backwardRow(c int) {
	p := l.x.plane()
	dy, centered := l.y.grad[c*p:(c+1)*p], l.centered[c*p:(c+1)*p]
	inv := l.inv[c]
	sum, prod := dot(dy, l.scratch.ones[:p]), dot(dy, centered)
	l.beta.grad[c], l.gamma.grad[c] = sum, prod*inv
	if l.x.grad == nil {
		return
	}
	dx := l.x.grad[c*p : (c+1)*p]
	scale := l.gamma.value[c] * inv
	slope, shift := -scale*inv*inv*prod/float32(p), -scale*sum/float32(p)
	if l.acc {
		for i, g := range dy {
			dx[i] += scale*g + slope*centered[i] + shift
		}
		return
	}
	for i, g := range dy {
		dx[i] = scale*g + slope*centered[i] + shift
	}
}
