package nn

// inception3 is a stem and blocks of parallel branches joined by channel: 1x1, 3x3 and factorised kernels (two 3x3 for a
// 5x5, 1x7 after 7x1, 1x3 beside 3x1) and a pool branch, every convolution with batch norm.
func inception3(b *builder, x *tensor) *tensor {
	x = b.convNorm("conv0", x, 8, square(3, 1))
	x = b.convNorm("conv1", x, 12, square(3, 1))
	x = b.maxPool(x, square(3, 2))
	x = b.inceptionA("mixed0", x)
	x = b.inceptionB("mixed1", x)
	x = b.reduction("mixed2", x)
	x = b.inceptionC("mixed3", x)
	x = b.globalPool(x)
	return b.bias("fc", b.dense("fc", x, b.classes))
}

// square is a k x k window with SAME padding.
func square(k, stride int) window { return window{kh: k, kw: k, stride: stride, same: true} }

// across is a kh x kw window with stride 1 and SAME padding.
func across(kh, kw int) window { return window{kh: kh, kw: kw, stride: 1, same: true} }

// inceptionA has a 1x1, a 5x5, a double 3x3 and a pool branch.
func (b *builder) inceptionA(name string, x *tensor) *tensor {
	one := b.convNorm(name+"/1x1", x, 12, square(1, 1))
	five := b.convNorm(name+"/5x5a", x, 8, square(1, 1))
	five = b.convNorm(name+"/5x5b", five, 12, square(5, 1))
	three := b.convNorm(name+"/3x3a", x, 8, square(1, 1))
	three = b.convNorm(name+"/3x3b", three, 12, square(3, 1))
	three = b.convNorm(name+"/3x3c", three, 12, square(3, 1))
	pool := b.convNorm(name+"/pool", b.avgPool(x, square(3, 1)), 12, square(1, 1))
	return b.concat(one, five, three, pool)
}

// inceptionB has a 1x1, a factorised 7x7, a doubly factorised 7x7 and a pool branch.
func (b *builder) inceptionB(name string, x *tensor) *tensor {
	one := b.convNorm(name+"/1x1", x, 12, square(1, 1))
	seven := b.convNorm(name+"/7x7a", x, 8, square(1, 1))
	seven = b.convNorm(name+"/7x7b", seven, 8, across(1, 7))
	seven = b.convNorm(name+"/7x7c", seven, 12, across(7, 1))
	twice := b.convNorm(name+"/7x7da", x, 8, square(1, 1))
	twice = b.convNorm(name+"/7x7db", twice, 8, across(7, 1))
	twice = b.convNorm(name+"/7x7dc", twice, 8, across(1, 7))
	twice = b.convNorm(name+"/7x7dd", twice, 8, across(7, 1))
	twice = b.convNorm(name+"/7x7de", twice, 12, across(1, 7))
	pool := b.convNorm(name+"/pool", b.avgPool(x, square(3, 1)), 12, square(1, 1))
	return b.concat(one, seven, twice, pool)
}

// reduction halves the size: a 3x3 and a double 3x3 branch with stride 2 and a max pool.
func (b *builder) reduction(name string, x *tensor) *tensor {
	three := b.convNorm(name+"/3x3a", x, 16, square(1, 1))
	three = b.convNorm(name+"/3x3b", three, 24, square(3, 2))
	twice := b.convNorm(name+"/3x3da", x, 16, square(1, 1))
	twice = b.convNorm(name+"/3x3db", twice, 16, square(3, 1))
	twice = b.convNorm(name+"/3x3dc", twice, 24, square(3, 2))
	return b.concat(three, twice, b.maxPool(x, square(3, 2)))
}

// inceptionC has a 1x1, a 1x3 beside 3x1, a 3x3 before 1x3 beside 3x1 and a pool branch.
func (b *builder) inceptionC(name string, x *tensor) *tensor {
	one := b.convNorm(name+"/1x1", x, 24, square(1, 1))
	three := b.convNorm(name+"/3x3a", x, 24, square(1, 1))
	wide := b.convNorm(name+"/1x3", three, 24, across(1, 3))
	high := b.convNorm(name+"/3x1", three, 24, across(3, 1))
	twice := b.convNorm(name+"/3x3da", x, 24, square(1, 1))
	twice = b.convNorm(name+"/3x3db", twice, 24, square(3, 1))
	wide2 := b.convNorm(name+"/3x3d1x3", twice, 24, across(1, 3))
	high2 := b.convNorm(name+"/3x3d3x1", twice, 24, across(3, 1))
	pool := b.convNorm(name+"/pool", b.avgPool(x, square(3, 1)), 24, square(1, 1))
	return b.concat(one, wide, high, wide2, high2, pool)
}
