package nn

// alexnet is a few convolutions with bias and max pools, then large dense layers. As in the original, nearly all
// parameters are in the dense layers and each is used once a picture: many bytes, few operations.
func alexnet(b *builder, x *tensor) *tensor {
	x = b.convBias("conv1", x, 8, window{kh: 5, kw: 5, stride: 2, same: true})
	x = b.maxPool(x, window{kh: 2, kw: 2, stride: 2})
	x = b.convBias("conv2", x, 16, window{kh: 3, kw: 3, stride: 1, same: true})
	x = b.convBias("conv3", x, 16, window{kh: 3, kw: 3, stride: 1, same: true})
	x = b.maxPool(x, window{kh: 2, kw: 2, stride: 2})
	x = b.relu(b.bias("fc1", b.dense("fc1", x, 320)))
	x = b.relu(b.bias("fc2", b.dense("fc2", x, 320)))
	return b.bias("fc3", b.dense("fc3", x, b.classes))
}

// lenet is two convolutions with max pools and two dense layers.
func lenet(b *builder, x *tensor) *tensor {
	x = b.convBias("conv1", x, 8, window{kh: 5, kw: 5, stride: 1, same: true})
	x = b.maxPool(x, window{kh: 2, kw: 2, stride: 2})
	x = b.convBias("conv2", x, 16, window{kh: 5, kw: 5, stride: 1, same: true})
	x = b.maxPool(x, window{kh: 2, kw: 2, stride: 2})
	x = b.relu(b.bias("fc1", b.dense("fc1", x, 64)))
	return b.bias("fc2", b.dense("fc2", x, b.classes))
}

// trivial is two dense layers: it costs next to nothing and shows the overhead of a step.
func trivial(b *builder, x *tensor) *tensor {
	x = b.relu(b.bias("fc1", b.dense("fc1", x, 1)))
	return b.bias("fc2", b.dense("fc2", x, b.classes))
}

// convBias is a convolution, a bias and a rectifier.
func (b *builder) convBias(name string, x *tensor, oc int, g window) *tensor {
	return b.relu(b.bias(name, b.conv(name, x, oc, g)))
}
