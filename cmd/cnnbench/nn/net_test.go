package nn

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// toySet is separable: the label decides the sign of the pictures' three colours.
func toySet(n, size int) (pixels []float32, labels []int32) {
	pixels, labels = noise(n*size*size*3, 11), make([]int32, n)
	for i := range labels {
		labels[i] = int32(i % 8)
		for p := range size * size {
			for c := range 3 {
				sign := float32(1)
				if labels[i]>>c&1 == 1 {
					sign = -1
				}
				at := (i*size*size+p)*3 + c
				pixels[at] = 0.3*pixels[at] + sign
			}
		}
	}
	return pixels, labels
}

// train takes steps on one toy batch and returns the loss before each.
func train(t *testing.T, m Model, optimizer string, batch, steps int, seed uint64) []float64 {
	t.Helper()
	net := m.New(batch, seed)
	opt, err := NewOptimizer(optimizer, len(net.Params()), m.LearningRate, 0.9)
	if err != nil {
		t.Fatal(err)
	}
	net.SetBatch(toySet(batch, m.Size))
	losses := make([]float64, steps)
	for i := range losses {
		losses[i] = net.Forward(true).Total
		net.Backward()
		opt.Apply(net.Params(), net.Grads())
	}
	return losses
}

func TestLossFallsOnASeparableSet(t *testing.T) {
	for _, tt := range []struct{ name, optimizer string }{
		{"alexnet", "sgd"}, {"alexnet", "momentum"}, {"alexnet", "rmsprop"},
		{"inception3", "sgd"}, {"resnet50", "sgd"}, {"lenet", "sgd"},
	} {
		t.Run(tt.name+" by "+tt.optimizer, func(t *testing.T) {
			m, _ := Lookup(tt.name)
			losses := train(t, m, tt.optimizer, 16, 10, 1)
			first, last := losses[0], losses[len(losses)-1]
			if !(last < 0.8*first) {
				t.Errorf("loss after %d steps: got %.3f; want less than 0.8 of the first, %.3f", len(losses), last, first)
			}
		})
	}
}

func TestSameSeedGivesSameLossesForEveryGOMAXPROCS(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, m := range Models() {
		t.Run(m.Name, func(t *testing.T) {
			runtime.GOMAXPROCS(1)
			want := train(t, m, "sgd", 9, 3, 5)
			for _, procs := range []int{1, 2, 3} {
				runtime.GOMAXPROCS(procs)
				if got := train(t, m, "sgd", 9, 3, 5); !slices.Equal(got, want) {
					t.Errorf("losses with GOMAXPROCS=%d: got %v; want %v", procs, got, want)
				}
			}
			if other := train(t, m, "sgd", 9, 3, 6); slices.Equal(other, want) {
				t.Errorf("losses with another seed: got the same %v; want others", other)
			}
		})
	}
}

func TestVariablesCoverTheParametersInOrder(t *testing.T) {
	for _, m := range Models() {
		net, at := m.New(1, 1), 0
		seen := map[string]bool{}
		for _, v := range net.Variables() {
			size := 1
			for _, d := range v.Shape {
				size *= d
			}
			if v.Offset != at || v.Size != size || seen[v.Name] {
				t.Errorf("%s: variable %+v; want offset %d, size %d and a name of its own", m.Name, v, at, size)
			}
			seen[v.Name] = true
			at += v.Size
		}
		if at != len(net.Params()) || at != len(net.Grads()) {
			t.Errorf("%s: variables cover %d floats; want %d parameters and %d gradients",
				m.Name, at, len(net.Params()), len(net.Grads()))
		}
	}
}

func TestNetsKeepTheOriginalsTraits(t *testing.T) {
	count := map[string]int{}
	dense := map[string]int{}
	for _, m := range Models() {
		for _, v := range m.New(1, 1).Variables() {
			count[m.Name] += v.Size
			if strings.HasPrefix(v.Name, "fc") {
				dense[m.Name] += v.Size
			}
		}
	}
	if count["alexnet"] <= count["resnet50"] || count["resnet50"] <= count["inception3"] {
		t.Errorf("parameters: got %v; want alexnet more than resnet50 more than inception3", count)
	}
	if got := float64(dense["alexnet"]) / float64(count["alexnet"]); got < 0.9 {
		t.Errorf("share of alexnet's parameters in dense layers: got %.2f; want 0.9 or more", got)
	}
	weights := 0
	resnet, _ := Lookup("resnet50")
	for _, v := range resnet.New(1, 1).Variables() {
		if strings.HasSuffix(v.Name, "/weights") && !strings.Contains(v.Name, "shortcut") {
			weights++
		}
	}
	if weights != 50 {
		t.Errorf("layers with weights in resnet50: got %d; want 50", weights)
	}
}

func TestStepMakesNoGarbageOnOneThread(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, m := range Models() {
		net := m.New(4, 1)
		net.SetBatch(toySet(4, m.Size))
		opt, err := NewOptimizer("momentum", len(net.Params()), 0.01, 0.9)
		if err != nil {
			t.Fatal(err)
		}
		allocs := testing.AllocsPerRun(2, func() {
			net.Forward(true)
			net.Backward()
			opt.Apply(net.Params(), net.Grads())
		})
		if allocs > 0 {
			t.Errorf("%s: allocations a step: got %v; want 0", m.Name, allocs)
		}
	}
}

func TestForwardWithoutTrainingUsesRunningStatistics(t *testing.T) {
	m, _ := Lookup("inception3")
	net := m.New(4, 1)
	pixels, classes := toySet(4, m.Size)
	net.SetBatch(pixels, classes)
	before := net.Forward(false)
	if again := net.Forward(false); again != before {
		t.Errorf("loss of a second pass: got %v; want the first, %v", again, before)
	}
	net.Forward(true)
	if after := net.Forward(false); after == before {
		t.Errorf("loss after a pass in training: got %v again; want another", after)
	}
}

func TestLossOfEqualLogitsIsTheLogarithmOfTheClasses(t *testing.T) {
	m, _ := Lookup("lenet")
	net := m.New(3, 1)
	clear(net.Params())
	net.SetBatch(toySet(3, m.Size))
	got := net.Forward(true)
	if want := math.Log(Classes); math.Abs(got.Base-want) > 1e-5 || got.Total != got.Base {
		t.Errorf("loss with all parameters zero: got %+v; want %.5f for both", got, want)
	}
}

func TestAccuracyCountsPicturesByRank(t *testing.T) {
	b := &builder{n: 4}
	l := newSoftmax(b.tensor(7, 1, 1))
	for c := range 7 {
		for i := range 4 {
			l.x.data[c*4+i] = float32(c)
		}
	}
	copy(l.labels, []int32{6, 5, 2, 0}) // ranks 1, 2, 5, 7
	if top1, top5 := l.accuracy(); top1 != 0.25 || top5 != 0.75 {
		t.Errorf("accuracy: got %v and %v; want 0.25 and 0.75", top1, top5)
	}
}

func TestNaNReachesTheLoss(t *testing.T) {
	m, _ := Lookup("alexnet")
	net := m.New(2, 1)
	net.SetBatch(toySet(2, m.Size))
	fill(net.Params(), float32(math.NaN()))
	if got := net.Forward(true).Total; !math.IsNaN(got) {
		t.Errorf("loss: got %v; want NaN", got)
	}
	if top1, _ := net.Accuracy(); top1 != 0 {
		t.Errorf("accuracy: got %v; want 0", top1)
	}
}

func TestSetBatchRefusesWhatDoesNotFit(t *testing.T) {
	m, _ := Lookup("trivial")
	tests := map[string]struct {
		pixels int
		labels []int32
	}{
		"too few pixels":    {10, []int32{1, 2}},
		"too few labels":    {2 * 16 * 16 * 3, []int32{1}},
		"a label too large": {2 * 16 * 16 * 3, []int32{1, Classes}},
		"a negative label":  {2 * 16 * 16 * 3, []int32{-1, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("SetBatch: got no panic; want one")
				}
			}()
			m.New(2, 1).SetBatch(make([]float32, tt.pixels), tt.labels)
		})
	}
}

func TestUnknownNamesAreRefused(t *testing.T) {
	if _, ok := Lookup("vgg16"); ok {
		t.Error("Lookup of vgg16: got a model; want none")
	}
	_, err := NewOptimizer("adam", 1, 0.1, 0)
	if want := `unknown optimizer "adam" (known: momentum, rmsprop, sgd)`; err == nil || err.Error() != want {
		t.Errorf("NewOptimizer: got %v; want %s", err, want)
	}
}
