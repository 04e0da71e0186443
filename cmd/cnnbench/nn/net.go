package nn

import (
	"fmt"
	"math/rand/v2"
)

// WeightDecay is upstream's default factor of the L2 penalty in the total loss.
const WeightDecay = 4e-5

// Classes is the number of labels that the nets tell apart.
const Classes = 100

// Net is a model for one batch size with all its parameters and buffers. It is not safe for use by several goroutines.
type Net struct {
	model         Model
	batch         int
	input         *tensor
	layers        []layer
	team          *team
	loss          *softmax
	vars          []*param
	params, grads []float32
}

// Loss is what a forward pass found, in nats a picture.
type Loss struct {
	Base  float64 // mean cross entropy
	Total float64 // Base plus the L2 penalty of the weights
}

// New makes a net of model m for batches of batch pictures. The same seed gives the same parameters.
func (m Model) New(batch int, seed uint64) *Net {
	return build(m, batch, seed, false)
}

// build is New; inputGrad asks for the gradient by the pictures as well, which only tests want.
func build(m Model, batch int, seed uint64, inputGrad bool) *Net {
	b := &builder{
		n: batch, classes: m.classes(),
		rng:  rand.New(rand.NewPCG(seed, 0)),
		team: newTeam(),
		last: map[*tensor]accumulator{},
	}
	in := b.tensor(3, m.Size, m.Size)
	if !inputGrad {
		in.grad = nil
	}
	logits := m.layers(b, in)
	net := &Net{model: m, batch: batch, input: in, layers: b.layers, team: b.team, loss: newSoftmax(logits), vars: b.params}
	total := 0
	for _, p := range b.params {
		total += p.size
	}
	net.params, net.grads = make([]float32, total), make([]float32, total)
	at := 0
	for _, p := range b.params {
		p.value, p.grad = net.params[at:at+p.size:at+p.size], net.grads[at:at+p.size:at+p.size]
		at += p.size
		if p.init != nil {
			p.init(p.value)
		}
	}
	return net
}

// Params returns all parameters of the net, not a copy: writing to the slice changes the net. The order is that of
// [Net.Variables] and depends on the model alone.
func (n *Net) Params() []float32 { return n.params }

// Grads returns the gradients that the last [Net.Backward] left, in the order of Params, not a copy.
func (n *Net) Grads() []float32 { return n.grads }

// Variables returns the names and places of the net's parameters in the order of [Net.Params].
func (n *Net) Variables() []Variable {
	vars, at := make([]Variable, len(n.vars)), 0
	for i, p := range n.vars {
		vars[i] = Variable{Name: p.name, Shape: p.shape, Offset: at, Size: p.size}
		at += p.size
	}
	return vars
}

// SetBatch takes a batch in: pictures in NHWC order, batch*size*size*3 floats, and one label a picture in [0, Classes).
// It panics if the lengths or a label do not fit.
func (n *Net) SetBatch(pictures []float32, labels []int32) {
	pixels := n.input.h * n.input.w
	if len(pictures) != n.batch*pixels*3 || len(labels) != n.batch {
		panic(fmt.Sprintf("nn: batch of %d floats and %d labels; want %d and %d",
			len(pictures), len(labels), n.batch*pixels*3, n.batch))
	}
	for _, l := range labels {
		if l < 0 || int(l) >= n.loss.x.c {
			panic(fmt.Sprintf("nn: label %d; want 0 to %d", l, n.loss.x.c-1))
		}
	}
	copy(n.loss.labels, labels)
	for c := range 3 {
		for p := range pixels {
			row := n.input.data[(c*pixels+p)*n.batch:][:n.batch]
			for i := range row {
				row[i] = pictures[(i*pixels+p)*3+c]
			}
		}
	}
}

// Forward runs the net on the batch that [Net.SetBatch] took in. In training, batch norm uses the batch's own statistics
// and keeps running ones; else it uses the running ones.
func (n *Net) Forward(train bool) Loss {
	n.team.start()
	defer n.team.stop()
	for _, l := range n.layers {
		l.forward(train)
	}
	loss := Loss{Base: n.loss.forward()}
	loss.Total = loss.Base
	for _, p := range n.vars {
		if p.decay {
			loss.Total += WeightDecay / 2 * float64(dot(p.value, p.value))
		}
	}
	return loss
}

// Backward sets the gradients of the total loss of the last [Net.Forward], which must have been one in training.
func (n *Net) Backward() {
	n.team.start()
	defer n.team.stop()
	n.loss.backward()
	for i := len(n.layers) - 1; i >= 0; i-- {
		n.layers[i].backward()
	}
	for _, p := range n.vars {
		if p.decay {
			axpy(WeightDecay, p.value, p.grad)
		}
	}
}

// Accuracy returns the share of the last batch's pictures whose label came first, and among the first five.
func (n *Net) Accuracy() (top1, top5 float64) { return n.loss.accuracy() }
