package nn

// relu sets negative elements to zero, in place. The layer before it must not need its own output for its gradient; no
// layer of this package does.
type relu struct {
	x         *tensor
	team      *team
	fwd, back func(i int)
}

// relu adds a rectifier; x is changed in place and returned.
func (b *builder) relu(x *tensor) *tensor {
	l := &relu{x: x, team: b.team}
	l.fwd, l.back = l.forwardRow, l.backwardRow
	b.addInPlace(l)
	return x
}

func (l *relu) forward(bool) { l.team.run(l.x.c, l.fwd) }
func (l *relu) backward()    { l.team.run(l.x.c, l.back) }

func (l *relu) forwardRow(c int) {
	p := l.x.plane()
	row := l.x.data[c*p : (c+1)*p]
	for i, v := range row {
		row[i] = max(v, 0) // keeps NaN, which the loss must show
	}
}

func (l *relu) backwardRow(c int) {
	p := l.x.plane()
	row, grad := l.x.data[c*p:(c+1)*p], l.x.grad[c*p:(c+1)*p]
	for i, v := range row {
		if v == 0 {
			grad[i] = 0
		}
	}
}

// residual adds the shortcut to x, in place in x.
type residual struct {
	x, shortcut *tensor
	acc         bool
}

// residual adds the sum of x and shortcut, two tensors of the same shape; x is changed in place and returned.
func (b *builder) residual(x, shortcut *tensor) *tensor {
	l := &residual{x: x, shortcut: shortcut}
	b.add(l, shortcut)
	return x
}

func (l *residual) accumulate(add bool) { l.acc = add }

func (l *residual) forward(bool) { axpy(1, l.shortcut.data, l.x.data) }

func (l *residual) backward() {
	if l.acc {
		axpy(1, l.x.grad, l.shortcut.grad)
		return
	}
	copy(l.shortcut.grad, l.x.grad)
}

// concat joins branches of the same height and width by channel. In CHWN order the result is the branches one after
// another, so each branch is made to write its part of the result and no layer is needed.
func (b *builder) concat(branches ...*tensor) *tensor {
	c := 0
	for _, t := range branches {
		c += t.c
	}
	y := b.tensor(c, branches[0].h, branches[0].w)
	at := 0
	for _, t := range branches {
		t.data, t.grad = y.data[at:at+t.size()], y.grad[at:at+t.size()]
		at += t.size()
	}
	return y
}
