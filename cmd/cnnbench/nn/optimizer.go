package nn

import (
	"fmt"
	"math"
)

// Optimizer changes parameters by their gradients. One Optimizer serves one set of parameters; it keeps state of their size.
type Optimizer interface {
	// Apply changes params in place. Both slices have the length that the optimizer was made for.
	Apply(params, grads []float32)
}

// Upstream's constants for rmsprop.
const (
	rmspropDecay   = 0.9
	rmspropEpsilon = 1.0
)

// NewOptimizer makes an optimizer for size parameters: "sgd", "momentum" (heavy ball) or "rmsprop" (with momentum).
func NewOptimizer(name string, size int, learningRate, momentum float64) (Optimizer, error) {
	lr, m := float32(learningRate), float32(momentum)
	switch name {
	case "sgd":
		return &sgd{lr}, nil
	case "momentum":
		return &heavyBall{lr, m, make([]float32, size)}, nil
	case "rmsprop":
		r := &rmsprop{lr, m, make([]float32, size), make([]float32, size)}
		fill(r.square, 1) // TensorFlow starts the mean square at one
		return r, nil
	default:
		return nil, fmt.Errorf("unknown optimizer %q (known: momentum, rmsprop, sgd)", name)
	}
}

type sgd struct{ lr float32 }

func (o *sgd) Apply(params, grads []float32) { axpy(-o.lr, grads, params) }

type heavyBall struct {
	lr, momentum float32
	velocity     []float32
}

func (o *heavyBall) Apply(params, grads []float32) {
	for i, g := range grads {
		o.velocity[i] = o.momentum*o.velocity[i] + g
		params[i] -= o.lr * o.velocity[i]
	}
}

type rmsprop struct {
	lr, momentum     float32
	square, velocity []float32
}

func (o *rmsprop) Apply(params, grads []float32) {
	for i, g := range grads {
		o.square[i] = rmspropDecay*o.square[i] + (1-rmspropDecay)*g*g
		o.velocity[i] = o.momentum*o.velocity[i] + o.lr*g/float32(math.Sqrt(float64(o.square[i])+rmspropEpsilon))
		params[i] -= o.velocity[i]
	}
}
