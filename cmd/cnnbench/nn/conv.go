package nn

import "fmt"

// window is the geometry of a layer that looks at kh x kw places of its input for each place of its output.
type window struct {
	kh, kw, stride  int
	same            bool // padded as TensorFlow's SAME, else VALID
	padTop, padLeft int  // set by fit
}

// fit returns the height and width of the output over an input of h x w, and sets the padding.
func (g *window) fit(h, w int) (oh, ow int) {
	if !g.same {
		return (h-g.kh)/g.stride + 1, (w-g.kw)/g.stride + 1
	}
	oh, ow = (h+g.stride-1)/g.stride, (w+g.stride-1)/g.stride
	g.padTop = max((oh-1)*g.stride+g.kh-h, 0) / 2
	g.padLeft = max((ow-1)*g.stride+g.kw-w, 0) / 2
	return oh, ow
}

// span returns the output columns [lo, hi) whose input column at kernel column kw lies inside an input of width w.
func (g *window) span(kw, w, ow int) (lo, hi int) {
	for lo < ow && lo*g.stride+kw-g.padLeft < 0 {
		lo++
	}
	hi = ow
	for hi > lo && (hi-1)*g.stride+kw-g.padLeft >= w {
		hi--
	}
	return lo, hi
}

// conv is a convolution without bias computed as one matrix product: y (oc x P) = weights (oc x K) cols (K x P), where
// K = c*kh*kw and P = oh*ow*n.
type conv struct {
	window
	x, y    *tensor
	weights *param
	cols    []float32 // K x P; x itself where the kernel is 1x1 with stride 1
	team    *team
	scratch *scratch
	acc     bool // add to x's gradient instead of setting it
	pw      bool // pointwise: cols is x

	forwardMul, weightMul, inputMul *matmul
	gather, scatter                 func(i int)
}

// scratch is memory that the layers of one net use in turn.
type scratch struct {
	cols    []float32 // gradients of cols
	weights []float32 // transposed weights
	ones    []float32 // ones, to take sums by inner products
}

// need makes the parts of s at least as long as asked.
func (s *scratch) need(cols, weights, ones int) {
	s.cols = grow(s.cols, cols)
	s.weights = grow(s.weights, weights)
	for i := len(s.ones); i < ones; i++ {
		s.ones = append(s.ones, 1)
	}
}

func grow(v []float32, n int) []float32 {
	if n > len(v) {
		return make([]float32, n)
	}
	return v
}

// conv adds a convolution with oc output channels.
func (b *builder) conv(name string, x *tensor, oc int, g window) *tensor {
	oh, ow := g.fit(x.h, x.w)
	y := b.tensor(oc, oh, ow)
	k, p := x.c*g.kh*g.kw, y.plane()
	l := &conv{window: g, team: b.team, x: x, y: y, scratch: &b.scratch, pw: g.kh == 1 && g.kw == 1 && g.stride == 1}
	l.weights = b.param(name+"/weights", []int{oc, x.c, g.kh, g.kw}, true, b.he(k))
	l.forwardMul = newMatmul(b.team, oc, p, k)
	l.weightMul = newMatmulT(b.team, oc, k, p)
	l.inputMul = newMatmul(b.team, k, p, oc)
	l.gather, l.scatter = l.gatherRow, l.scatterChannel
	if l.pw {
		b.scratch.need(0, k*oc, 0)
	} else {
		l.cols = make([]float32, k*p)
		b.scratch.need(k*p, k*oc, 0)
	}
	b.add(l, x)
	return y
}

func (l *conv) String() string {
	return fmt.Sprintf("conv %dx%d/%d %d->%d on %dx%d", l.kh, l.kw, l.stride, l.x.c, l.y.c, l.x.h, l.x.w)
}

func (l *conv) accumulate(add bool) { l.acc = add }

func (l *conv) forward(bool) {
	cols := l.x.data
	if !l.pw {
		cols = l.cols
		l.team.run(l.x.c*l.kh*l.kw, l.gather)
	}
	l.forwardMul.run(l.weights.value, cols, l.y.data, 0)
}

func (l *conv) backward() {
	k, oc := l.x.c*l.kh*l.kw, l.y.c
	cols := l.cols
	if l.pw {
		cols = l.x.data
	}
	l.weightMul.run(l.y.grad, cols, l.weights.grad, 0)
	if l.x.grad == nil {
		return
	}
	wt := l.scratch.weights[:k*oc]
	transpose(wt, l.weights.value, oc, k)
	if l.pw {
		l.inputMul.run(wt, l.y.grad, l.x.grad, boolBeta(l.acc))
		return
	}
	l.inputMul.run(wt, l.y.grad, l.scratch.cols[:k*l.y.plane()], 0)
	l.team.run(l.x.c, l.scatter)
}

// boolBeta is the factor of the old value in a product that adds to it or replaces it.
func boolBeta(acc bool) float32 {
	if acc {
		return 1
	}
	return 0
}

// gatherRow fills row r of cols: the input at one kernel place of one channel, zero where that is padding.
func (l *conv) gatherRow(r int) {
	c, kh, kw := r/(l.kh*l.kw), r/l.kw%l.kh, r%l.kw
	x, n, ow := l.x, l.x.n, l.y.w
	src := x.data[c*x.plane() : (c+1)*x.plane()]
	dst := l.cols[r*l.y.plane() : (r+1)*l.y.plane()]
	lo, hi := l.span(kw, x.w, ow)
	for oh := range l.y.h {
		row := dst[oh*ow*n : (oh+1)*ow*n]
		ih := oh*l.stride + kh - l.padTop
		if ih < 0 || ih >= x.h {
			clear(row)
			continue
		}
		clear(row[:lo*n])
		clear(row[hi*n:])
		in := src[ih*x.w*n : (ih+1)*x.w*n]
		if l.stride == 1 && lo < hi {
			copy(row[lo*n:hi*n], in[(lo+kw-l.padLeft)*n:])
			continue
		}
		for o := lo; o < hi; o++ {
			copy(row[o*n:(o+1)*n], in[(o*l.stride+kw-l.padLeft)*n:])
		}
	}
}

// scatterChannel adds the gradients of the rows of cols that came from channel c to that channel's gradient.
func (l *conv) scatterChannel(c int) {
	x, n, ow, p := l.x, l.x.n, l.y.w, l.y.plane()
	dst := x.grad[c*x.plane() : (c+1)*x.plane()]
	if !l.acc {
		clear(dst)
	}
	for place := range l.kh * l.kw {
		kh, kw := place/l.kw, place%l.kw
		r := c*l.kh*l.kw + place
		src := l.scratch.cols[r*p : (r+1)*p]
		lo, hi := l.span(kw, x.w, ow)
		for oh := range l.y.h {
			ih := oh*l.stride + kh - l.padTop
			if ih < 0 || ih >= x.h || lo >= hi {
				continue
			}
			row, out := src[oh*ow*n:(oh+1)*ow*n], dst[ih*x.w*n:(ih+1)*x.w*n]
			if l.stride == 1 {
				at := (lo + kw - l.padLeft) * n
				axpy(1, row[lo*n:hi*n], out[at:at+(hi-lo)*n])
				continue
			}
			for o := lo; o < hi; o++ {
				at := (o*l.stride + kw - l.padLeft) * n
				axpy(1, row[o*n:(o+1)*n], out[at:at+n])
			}
		}
	}
}
