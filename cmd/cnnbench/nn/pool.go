package nn

// maxPool keeps the largest element of each window.
type maxPool struct {
	window
	x, y      *tensor
	team      *team
	arg       []int32 // for each output element, the place ih*w+iw of its source in the channel
	acc       bool
	fwd, back func(i int)
}

// maxPool adds a max pool; padding never wins.
func (b *builder) maxPool(x *tensor, g window) *tensor {
	oh, ow := g.fit(x.h, x.w)
	y := b.tensor(x.c, oh, ow)
	l := &maxPool{window: g, team: b.team, x: x, y: y, arg: make([]int32, y.size())}
	l.fwd, l.back = l.forwardChannel, l.backwardChannel
	b.add(l, x)
	return y
}

func (l *maxPool) accumulate(add bool) { l.acc = add }
func (l *maxPool) forward(bool)        { l.team.run(l.x.c, l.fwd) }
func (l *maxPool) backward()           { l.team.run(l.x.c, l.back) }

func (l *maxPool) forwardChannel(c int) {
	x, n := l.x, l.x.n
	src := x.data[c*x.plane() : (c+1)*x.plane()]
	for o := range l.y.h * l.y.w {
		at := c*l.y.plane() + o*n
		dst, arg := l.y.data[at:at+n], l.arg[at:at+n]
		first := true
		top, left := o/l.y.w*l.stride-l.padTop, o%l.y.w*l.stride-l.padLeft
		for ih := max(top, 0); ih < min(top+l.kh, x.h); ih++ {
			for iw := max(left, 0); iw < min(left+l.kw, x.w); iw++ {
				place := ih*x.w + iw
				in := src[place*n : (place+1)*n]
				if first {
					first = false
					copy(dst, in)
					for i := range arg {
						arg[i] = int32(place)
					}
					continue
				}
				for i, v := range in {
					if v > dst[i] {
						dst[i], arg[i] = v, int32(place)
					}
				}
			}
		}
	}
}

func (l *maxPool) backwardChannel(c int) {
	n := l.x.n
	dst := l.x.grad[c*l.x.plane() : (c+1)*l.x.plane()]
	if !l.acc {
		clear(dst)
	}
	for o := range l.y.h * l.y.w {
		at := c*l.y.plane() + o*n
		arg := l.arg[at : at+n]
		for i, g := range l.y.grad[at : at+n] {
			dst[int(arg[i])*n+i] += g
		}
	}
}

// avgPool takes the mean of each window over the places that are not padding.
type avgPool struct {
	window
	x, y      *tensor
	team      *team
	acc       bool
	fwd, back func(i int)
}

// avgPool adds an average pool. A window of the whole input with VALID padding is a global pool.
func (b *builder) avgPool(x *tensor, g window) *tensor {
	oh, ow := g.fit(x.h, x.w)
	l := &avgPool{window: g, team: b.team, x: x, y: b.tensor(x.c, oh, ow)}
	l.fwd, l.back = l.forwardChannel, l.backwardChannel
	b.add(l, x)
	return l.y
}

// globalPool adds the mean of each channel.
func (b *builder) globalPool(x *tensor) *tensor {
	return b.avgPool(x, window{kh: x.h, kw: x.w, stride: 1})
}

func (l *avgPool) accumulate(add bool) { l.acc = add }
func (l *avgPool) forward(bool)        { l.team.run(l.x.c, l.fwd) }
func (l *avgPool) backward()           { l.team.run(l.x.c, l.back) }

func (l *avgPool) forwardChannel(c int) {
	clear(l.y.data[c*l.y.plane() : (c+1)*l.y.plane()])
	l.each(c, l.x.data, l.y.data, false)
}

func (l *avgPool) backwardChannel(c int) {
	if !l.acc {
		clear(l.x.grad[c*l.x.plane() : (c+1)*l.x.plane()])
	}
	l.each(c, l.x.grad, l.y.grad, true)
}

// each adds, for each pair of an output place and an input place in its window, the one to the other in shares.
func (l *avgPool) each(c int, in, out []float32, toInput bool) {
	x, n := l.x, l.x.n
	in = in[c*x.plane() : (c+1)*x.plane()]
	out = out[c*l.y.plane() : (c+1)*l.y.plane()]
	for o := range l.y.h * l.y.w {
		top, left := o/l.y.w*l.stride-l.padTop, o%l.y.w*l.stride-l.padLeft
		h0, h1, w0, w1 := max(top, 0), min(top+l.kh, x.h), max(left, 0), min(left+l.kw, x.w)
		share := 1 / float32((h1-h0)*(w1-w0))
		b := out[o*n : (o+1)*n]
		for ih := h0; ih < h1; ih++ {
			for iw := w0; iw < w1; iw++ {
				a := in[(ih*x.w+iw)*n : (ih*x.w+iw+1)*n]
				if toInput {
					axpy(share, b, a)
				} else {
					axpy(share, a, b)
				}
			}
		}
	}
}
