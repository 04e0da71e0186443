package nn

// dense is a fully connected layer without bias: y (out x n) = weights (out x in) x (in x n).
type dense struct {
	x, y    *tensor
	weights *param
	scratch *scratch
	acc     bool

	forwardMul, weightMul, inputMul *matmul
}

// dense adds a fully connected layer; x is flattened, which in CHWN order needs no copy.
func (b *builder) dense(name string, x *tensor, out int) *tensor {
	in := x.c * x.h * x.w
	y := b.tensor(out, 1, 1)
	l := &dense{x: x, y: y, scratch: &b.scratch}
	l.weights = b.param(name+"/weights", []int{out, in}, true, b.he(in))
	l.forwardMul = newMatmul(b.team, out, x.n, in)
	l.weightMul = newMatmulT(b.team, out, in, x.n)
	l.inputMul = newMatmul(b.team, in, x.n, out)
	b.scratch.need(0, in*out, 0)
	b.add(l, x)
	return y
}

func (l *dense) accumulate(add bool) { l.acc = add }

func (l *dense) forward(bool) { l.forwardMul.run(l.weights.value, l.x.data, l.y.data, 0) }

func (l *dense) backward() {
	in, out := l.inputMul.m, l.y.c
	l.weightMul.run(l.y.grad, l.x.data, l.weights.grad, 0)
	if l.x.grad == nil {
		return
	}
	wt := l.scratch.weights[:in*out]
	transpose(wt, l.weights.value, out, in)
	l.inputMul.run(wt, l.y.grad, l.x.grad, boolBeta(l.acc))
}

// bias adds one number a channel to its input, in place.
type bias struct {
	x       *tensor
	values  *param
	team    *team
	scratch *scratch
	row     func(i int)
}

// bias adds a bias layer; x is changed in place and returned.
func (b *builder) bias(name string, x *tensor) *tensor {
	l := &bias{x: x, team: b.team, scratch: &b.scratch}
	l.values = b.param(name+"/biases", []int{x.c}, true, nil)
	l.row = l.addRow
	b.scratch.need(0, 0, x.plane())
	b.addInPlace(l)
	return x
}

func (l *bias) forward(bool) { l.team.run(l.x.c, l.row) }

func (l *bias) addRow(c int) {
	p, v := l.x.plane(), l.values.value[c]
	row := l.x.data[c*p : (c+1)*p]
	for i := range row {
		row[i] += v
	}
}

func (l *bias) backward() {
	p := l.x.plane()
	for c := range l.x.c {
		l.values.grad[c] = dot(l.x.grad[c*p:(c+1)*p], l.scratch.ones[:p])
	}
}
