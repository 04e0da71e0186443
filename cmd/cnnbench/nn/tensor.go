package nn

// tensor is an activation of shape C x H x W x N, the picture number n running fastest, and the gradient of the loss by it.
type tensor struct {
	c, h, w, n int
	data       []float32 // value, length c*h*w*n
	grad       []float32 // same shape; nil where nobody needs it, as for the pictures
}

// size is the number of elements.
func (t *tensor) size() int { return t.c * t.h * t.w * t.n }

// plane is the number of elements of one channel.
func (t *tensor) plane() int { return t.h * t.w * t.n }

// param is one trainable variable; value and grad are parts of the net's two flat slices.
type param struct {
	name        string
	shape       []int
	size        int
	decay       bool // whether weight decay counts it: yes but for batch norm, as upstream
	init        func(v []float32)
	value, grad []float32
}

// Variable names a part of a net's parameters.
type Variable struct {
	Name   string // such as "conv1/weights"
	Shape  []int  // outputs first: [out, in, kh, kw] for a convolution, [out, in] for a dense layer
	Offset int    // index of its first element in [Net.Params] and [Net.Grads]
	Size   int    // number of elements
}
