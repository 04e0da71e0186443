package nn

import "math"

// softmax turns logits (classes x n) into the mean cross entropy against labels, and its gradient.
type softmax struct {
	x      *tensor
	labels []int32
	probs  []float32 // classes x n
	top    []float32 // one a picture: largest logit, then 1/sum
}

func newSoftmax(x *tensor) *softmax {
	return &softmax{x: x, labels: make([]int32, x.n), probs: make([]float32, x.size()), top: make([]float32, x.n)}
}

// forward returns the mean cross entropy in nats.
func (l *softmax) forward() float64 {
	n := l.x.n
	copy(l.top, l.x.data[:n])
	for c := 1; c < l.x.c; c++ {
		for i, v := range l.x.data[c*n : (c+1)*n] {
			l.top[i] = max(l.top[i], v)
		}
	}
	var loss float64
	for i := range n {
		var sum float32
		for at := i; at < len(l.probs); at += n {
			e := float32(math.Exp(float64(l.x.data[at] - l.top[i])))
			l.probs[at] = e
			sum += e
		}
		chosen := l.x.data[int(l.labels[i])*n+i] - l.top[i]
		loss += math.Log(float64(sum)) - float64(chosen)
		l.top[i] = 1 / sum
	}
	for at := range l.probs {
		l.probs[at] *= l.top[at%n]
	}
	return loss / float64(n)
}

// backward sets the gradient of the logits.
func (l *softmax) backward() {
	n := l.x.n
	share := 1 / float32(n)
	for at, p := range l.probs {
		l.x.grad[at] = p * share
	}
	for i, c := range l.labels {
		l.x.grad[int(c)*n+i] -= share
	}
}

// accuracy returns the share of pictures whose label is the first, and among the first five, of the probabilities.
func (l *softmax) accuracy() (top1, top5 float64) {
	n := l.x.n
	for i, label := range l.labels {
		own, above := l.x.data[int(label)*n+i], 0
		for at := i; at < len(l.x.data); at += n {
			if !(l.x.data[at] <= own) { // NaN counts as above
				above++
			}
		}
		if above < 1 {
			top1++
		}
		if above < 5 {
			top5++
		}
	}
	return top1 / float64(n), top5 / float64(n)
}
