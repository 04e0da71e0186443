package nn

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// one returns a builder for single pictures and a 1-channel tensor of size x size with the given values.
func one(size int, v ...float32) (*builder, *tensor) {
	b := &builder{n: 1, classes: 2, team: newTeam(), last: map[*tensor]accumulator{}}
	x := b.tensor(1, size, size)
	copy(x.data, v)
	return b, x
}

func TestWindowFollowsTensorFlowsPadding(t *testing.T) {
	tests := map[string]struct {
		g            window
		in           int
		out, padding int
	}{
		"same, 3 on 8":             {square(3, 1), 8, 8, 1},
		"same, 3/2 on 8 pads last": {square(3, 2), 8, 4, 0},
		"same, 3/2 on 7":           {square(3, 2), 7, 4, 1},
		"same, 7 on 2":             {square(7, 1), 2, 2, 3},
		"same, 1/2 on 8":           {square(1, 2), 8, 4, 0},
		"valid, 2/2 on 5":          {window{kh: 2, kw: 2, stride: 2}, 5, 2, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			oh, ow := tt.g.fit(tt.in, tt.in)
			if oh != tt.out || ow != tt.out || tt.g.padTop != tt.padding || tt.g.padLeft != tt.padding {
				t.Errorf("got %dx%d with padding %d, %d; want %d with %d", oh, ow, tt.g.padTop, tt.g.padLeft, tt.out, tt.padding)
			}
		})
	}
}

func TestLayersComputeByHand(t *testing.T) {
	in := []float32{1, -2, 3, 4, 5, -6, 7, 8, 9}
	tests := map[string]struct {
		layer func(b *builder, x *tensor) *tensor
		want  []float32
	}{
		"max pool 2/1 valid": {
			func(b *builder, x *tensor) *tensor { return b.maxPool(x, window{kh: 2, kw: 2, stride: 1}) },
			[]float32{5, 5, 8, 9},
		},
		"average pool 3 same leaves padding out": {
			func(b *builder, x *tensor) *tensor { return b.avgPool(x, square(3, 1)) },
			[]float32{2, 5.0 / 6, 0, 23.0 / 6, 29.0 / 9, 17.0 / 6, 6, 27.0 / 6, 4},
		},
		"global pool": {
			func(b *builder, x *tensor) *tensor { return b.globalPool(x) },
			[]float32{29.0 / 9},
		},
		"rectifier": {
			func(b *builder, x *tensor) *tensor { return b.relu(x) },
			[]float32{1, 0, 3, 4, 5, 0, 7, 8, 9},
		},
		"sum kernel 3 same": {
			func(b *builder, x *tensor) *tensor {
				y := b.conv("c", x, 1, square(3, 1))
				b.params[0].value = []float32{1, 1, 1, 1, 1, 1, 1, 1, 1}
				return y
			},
			[]float32{8, 5, 0, 23, 29, 17, 24, 27, 16},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b, x := one(3, in...)
			y := tt.layer(b, x)
			for _, l := range b.layers {
				l.forward(true)
			}
			near := cmp.Comparer(func(a, b float32) bool { return a-b < 1e-5 && b-a < 1e-5 })
			if diff := cmp.Diff(tt.want, y.data, near); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProductsAgreeWithTheDefinition(t *testing.T) {
	const m, n, k = 70, 200, 600 // more than a tile in each direction
	a, b, bt := noise(m*k, 1), noise(k*n, 2), make([]float32, n*k)
	transpose(bt, b, k, n)
	want := make([]float32, m*n)
	for i := range m {
		for j := range n {
			var sum float64
			for l := range k {
				sum += float64(a[i*k+l]) * float64(b[l*n+j])
			}
			want[i*n+j] = float32(sum) + 1
		}
	}
	for name, product := range map[string]func(c []float32){
		"plain":      func(c []float32) { newMatmul(newTeam(), m, n, k).run(a, b, c, 1) },
		"transposed": func(c []float32) { newMatmulT(newTeam(), m, n, k).run(a, bt, c, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			c := make([]float32, m*n)
			fill(c, 1)
			product(c)
			for i, v := range c {
				if d := v - want[i]; d > 1e-3 || d < -1e-3 {
					t.Fatalf("element %d: got %v; want %v", i, v, want[i])
				}
			}
		})
	}
}

func TestOptimizersComputeByHand(t *testing.T) {
	tests := map[string]struct {
		name string
		want []float32 // after two steps with gradients 1 and 2, from 1
	}{
		"plain descent takes the gradient":               {"sgd", []float32{1 - 0.1*1 - 0.1*2}},
		"momentum keeps half of the velocity":            {"momentum", []float32{1 - 0.1*1 - 0.1*(0.5*1+2)}},
		"rmsprop divides by the root of the mean square": {"rmsprop", []float32{1 - 0.0707107 - (0.5*0.0707107 + 0.1*2/1.5165751)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := NewOptimizer(tt.name, 1, 0.1, 0.5)
			if err != nil {
				t.Fatal(err)
			}
			got := []float32{1}
			o.Apply(got, []float32{1})
			o.Apply(got, []float32{2})
			if d := got[0] - tt.want[0]; d > 1e-5 || d < -1e-5 {
				t.Errorf("parameter after two steps: got %v; want %v", got, tt.want)
			}
		})
	}
}
