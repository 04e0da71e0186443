package nn

import "fmt"

// resnet50 is a stem, the original's 3, 4, 6 and 3 bottleneck blocks of three convolutions with shortcuts and batch norm,
// and one dense layer: 50 layers with weights. Each stage is half the size of the one before and wider.
func resnet50(b *builder, x *tensor) *tensor {
	x = b.convNorm("conv0", x, 16, window{kh: 3, kw: 3, stride: 2, same: true})
	widths := [...]int{8, 12, 16, 24}
	for stage, blocks := range [...]int{3, 4, 6, 3} {
		for block := range blocks {
			stride := 1
			if block == 0 && stage > 0 {
				stride = 2
			}
			x = b.bottleneck(fmt.Sprintf("stage%d/block%d", stage+1, block+1), x, widths[stage], stride)
		}
	}
	x = b.globalPool(x)
	return b.bias("fc", b.dense("fc", x, b.classes))
}

// bottleneck is a 1x1, a 3x3 and a 1x1 convolution of width, width and 4*width channels, added to the shortcut. The
// shortcut is projected where the shape changes. The stride is on the first convolution, as in the first version of the
// net.
func (b *builder) bottleneck(name string, x *tensor, width, stride int) *tensor {
	shortcut := x
	if stride != 1 || x.c != 4*width {
		shortcut = b.norm(name+"/shortcut", x, 4*width, window{kh: 1, kw: 1, stride: stride, same: true})
	}
	y := b.convNorm(name+"/conv1", x, width, window{kh: 1, kw: 1, stride: stride, same: true})
	y = b.convNorm(name+"/conv2", y, width, window{kh: 3, kw: 3, stride: 1, same: true})
	y = b.norm(name+"/conv3", y, 4*width, window{kh: 1, kw: 1, stride: 1, same: true})
	return b.relu(b.residual(y, shortcut))
}

// norm is a convolution and batch norm.
func (b *builder) norm(name string, x *tensor, oc int, g window) *tensor {
	return b.batchNorm(name, b.conv(name, x, oc, g))
}

// convNorm is a convolution, batch norm and a rectifier.
func (b *builder) convNorm(name string, x *tensor, oc int, g window) *tensor {
	return b.relu(b.norm(name, x, oc, g))
}
