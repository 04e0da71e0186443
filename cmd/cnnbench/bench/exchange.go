package bench

import (
	"context"

	"dlx.dev/dlx/cmd/cnnbench/nn"
)

// exchange is how towers bring their variables together in a step. Each method is called exactly once a step for each
// tower, on several goroutines at the same time; all calls of one method return before the next method is called. After
// an error the exchange is not used again.
//
// All an exchange needs of a tower is two flat slices, parameters and gradients, so that one which speaks to the parameter
// servers of other processes, see remoteVariables, looks like any other.
type exchange interface {
	// fetch brings the tower's parameters up to date before its forward pass.
	fetch(ctx context.Context, tower int) error
	// reduce is called when all towers have their gradients.
	reduce(ctx context.Context, tower int) error
	// apply is called when all towers have reduced.
	apply(ctx context.Context, tower int) error
}

// newExchange returns the exchange within the process that the flags ask for. The towers start with the same parameters.
func newExchange(o *options, nets []*nn.Net) (exchange, error) {
	size := len(nets[0].Params())
	shared := o.variableUpdate == updateServer && o.parameterDevice == "cpu"
	count := len(nets)
	if shared {
		count = 1
	}
	optimizers := make([]nn.Optimizer, count)
	for i := range optimizers {
		var err error
		if optimizers[i], err = nn.NewOptimizer(o.optimizer, size, o.learningRate, o.momentum); err != nil {
			return nil, err
		}
	}
	t := towers{nets: nets, mean: make([]float32, size), optimizers: optimizers}
	switch {
	case shared:
		x := &sharedCopy{towers: t, params: make([]float32, size)}
		copy(x.params, nets[0].Params())
		return x, nil
	case o.variableUpdate == updateServer:
		return &ownCopies{t}, nil
	case o.variableUpdate == updateReplicated:
		return &allReduce{t}, nil
	default:
		return &independent{t}, nil
	}
}

// towers is what the local exchanges have in common.
type towers struct {
	nets       []*nn.Net
	mean       []float32 // mean gradient
	optimizers []nn.Optimizer
}

// average sets mean[from:to] to the mean of the towers' gradients there, added in the order of the towers.
func (t *towers) average(from, to int) {
	mean := t.mean[from:to]
	copy(mean, t.nets[0].Grads()[from:to])
	if len(t.nets) == 1 {
		return
	}
	for _, n := range t.nets[1:] {
		for i, g := range n.Grads()[from:to] {
			mean[i] += g
		}
	}
	share := 1 / float32(len(t.nets))
	for i := range mean {
		mean[i] *= share
	}
}

// sharedCopy keeps one copy of the variables for all towers, like a parameter server on the host.
type sharedCopy struct {
	towers
	params []float32
}

func (x *sharedCopy) fetch(_ context.Context, tower int) error {
	copy(x.nets[tower].Params(), x.params)
	return nil
}

func (x *sharedCopy) reduce(_ context.Context, tower int) error {
	if tower == 0 {
		x.average(0, len(x.mean))
	}
	return nil
}

func (x *sharedCopy) apply(_ context.Context, tower int) error {
	if tower == 0 {
		x.optimizers[0].Apply(x.params, x.mean)
	}
	return nil
}

// ownCopies keeps the variables on each tower; the first tower takes the mean for all.
type ownCopies struct{ towers }

func (x *ownCopies) fetch(context.Context, int) error { return nil }

func (x *ownCopies) reduce(_ context.Context, tower int) error {
	if tower == 0 {
		x.average(0, len(x.mean))
	}
	return nil
}

func (x *ownCopies) apply(_ context.Context, tower int) error {
	x.optimizers[tower].Apply(x.nets[tower].Params(), x.mean)
	return nil
}

// allReduce keeps the variables on each tower; each tower takes the mean of an equal share.
type allReduce struct{ towers }

func (x *allReduce) fetch(context.Context, int) error { return nil }

func (x *allReduce) reduce(_ context.Context, tower int) error {
	size, n := len(x.mean), len(x.nets)
	x.average(tower*size/n, (tower+1)*size/n)
	return nil
}

func (x *allReduce) apply(_ context.Context, tower int) error {
	x.optimizers[tower].Apply(x.nets[tower].Params(), x.mean)
	return nil
}

// independent trains each tower alone.
type independent struct{ towers }

func (x *independent) fetch(context.Context, int) error  { return nil }
func (x *independent) reduce(context.Context, int) error { return nil }

func (x *independent) apply(_ context.Context, tower int) error {
	n := x.nets[tower]
	x.optimizers[tower].Apply(n.Params(), n.Grads())
	return nil
}
