package nn

import (
	"fmt"
	"testing"
)

// BenchmarkStep is one forward pass, backward pass and update of each net at its default batch size.
func BenchmarkStep(b *testing.B) {
	for _, m := range Models() {
		b.Run(fmt.Sprintf("%s-%d", m.Name, m.Batch), func(b *testing.B) {
			net := m.New(m.Batch, 1)
			net.SetBatch(noise(m.Batch*m.Size*m.Size*3, 2), labels(m.Batch, Classes))
			opt, err := NewOptimizer("sgd", len(net.Params()), m.LearningRate, 0)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				net.Forward(true)
				net.Backward()
				opt.Apply(net.Params(), net.Grads())
			}
			b.ReportMetric(float64(m.Batch)*float64(b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
