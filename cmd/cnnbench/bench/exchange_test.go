package bench

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// steps trains by the given flags and returns the loss of each step and the trainer.
func steps(t *testing.T, n int, args ...string) ([]float64, *trainer) {
	t.Helper()
	o, complaints, _ := parse(args)
	if len(complaints) > 0 {
		t.Fatal(complaints)
	}
	sources, err := openSources(o)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTrainer(t.Context(), o, sources)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.close(); err != nil {
			t.Error(err)
		}
	})
	var losses []float64
	for range n {
		r, err := tr.step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		losses = append(losses, r.loss)
	}
	return losses, tr
}

// updates are the flags of the synchronous exchanges.
func updates() [][]string {
	return [][]string{
		{"--variable_update=parameter_server", "--local_parameter_device=cpu"},
		{"--variable_update=parameter_server", "--local_parameter_device=gpu"},
		{"--variable_update=replicated"},
	}
}

func TestSynchronousUpdatesAllTrainAlike(t *testing.T) {
	for _, devices := range []int{1, 2, 3} {
		t.Run(fmt.Sprintf("%d devices", devices), func(t *testing.T) {
			args := []string{"--model=lenet", "--batch_size=4", "--optimizer=momentum", fmt.Sprintf("--num_gpus=%d", devices)}
			want, _ := steps(t, 4, append(args, updates()[0]...)...)
			for _, u := range updates()[1:] {
				if got, _ := steps(t, 4, append(args, u...)...); !slices.Equal(got, want) {
					t.Errorf("losses with %v: got %v; want those with %v, %v", u, got, updates()[0], want)
				}
			}
		})
	}
}

func TestDevicesKeepTheSameVariablesUnlessIndependent(t *testing.T) {
	args := []string{"--model=lenet", "--batch_size=4", "--num_gpus=3", "--num_inter_threads=2"}
	for _, u := range updates()[1:] {
		_, tr := steps(t, 3, append(args, u...)...)
		for i, n := range tr.nets[1:] {
			if !slices.Equal(n.Params(), tr.nets[0].Params()) {
				t.Errorf("%v: parameters of device %d: got others; want those of device 0", u, i+1)
			}
		}
	}
	_, tr := steps(t, 3, append(args, "--variable_update=independent")...)
	if slices.Equal(tr.nets[1].Params(), tr.nets[0].Params()) {
		t.Error("independent: parameters of device 1: got those of device 0; want others")
	}
}

func TestIndependentDeviceTrainsAsIfAlone(t *testing.T) {
	args := []string{"--model=lenet", "--batch_size=4", "--variable_update=independent"}
	_, alone := steps(t, 3, args...)
	_, three := steps(t, 3, append(args, "--num_gpus=3")...)
	if !slices.Equal(alone.nets[0].Params(), three.nets[0].Params()) {
		t.Error("parameters of device 0: got others beside two devices; want those alone")
	}
}

func TestDevicesHaveBatchesOfTheirOwn(t *testing.T) {
	_, tr := steps(t, 1, "--batch_size=4", "--num_gpus=2")
	if slices.Equal(tr.towers[0].pixels, tr.towers[1].pixels) {
		t.Error("pictures of device 1: got those of device 0; want others")
	}
}

func TestMeanOfTwoEqualBatchesIsThatOfOne(t *testing.T) {
	one, tr := steps(t, 0, "--model=lenet", "--batch_size=4", "--num_gpus=2")
	tr.sources = tr.sources[:1] // the second device keeps the first batch's copy below
	for range 3 {
		if _, err := tr.sources[0].Next(t.Context(), tr.towers[0].pixels, tr.towers[0].labels); err != nil {
			t.Fatal(err)
		}
		for _, w := range tr.towers {
			w.net.SetBatch(tr.towers[0].pixels, tr.towers[0].labels)
		}
		r, err := tr.step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		one = append(one, r.loss)
	}
	want, _ := steps(t, 3, "--model=lenet", "--batch_size=4")
	if !slices.Equal(one, want) {
		t.Errorf("losses of two devices with one batch: got %v; want those of one device, %v", one, want)
	}
}

func TestRunsAreTheSameForEveryGOMAXPROCS(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	args := []string{"--model=resnet50", "--batch_size=4", "--num_gpus=2", "--variable_update=replicated"}
	want, _ := steps(t, 2, args...)
	runtime.GOMAXPROCS(2)
	if got, _ := steps(t, 2, args...); !slices.Equal(got, want) {
		t.Errorf("losses with GOMAXPROCS=2: got %v; want %v", got, want)
	}
}

func TestForwardOnlyChangesNothing(t *testing.T) {
	losses, tr := steps(t, 2, "--model=lenet", "--batch_size=2", "--forward_only")
	o := tr.o
	if !slices.Equal(losses, []float64{0, 0}) || !slices.Equal(tr.nets[0].Params(), o.model.New(2, uint64(o.seed)).Params()) {
		t.Errorf("losses: got %v and perhaps other parameters; want 0 and the first parameters", losses)
	}
}

func TestBaseLossLacksThePenalty(t *testing.T) {
	total, _ := steps(t, 1, "--model=alexnet", "--batch_size=2")
	base, _ := steps(t, 1, "--model=alexnet", "--batch_size=2", "--loss_type_to_report=base_loss")
	if !(base[0] < total[0] && total[0] < base[0]+0.1) {
		t.Errorf("base loss %v, total loss %v; want a total that is a little larger", base, total)
	}
}

func TestOptimizerThatNobodyKnowsIsAnError(t *testing.T) {
	o, _, _ := parse([]string{"--optimizer=adam"})
	if _, err := newTrainer(t.Context(), o, nil); err == nil {
		t.Error("got no error; want one")
	}
}

// BenchmarkStep is one step of the program for each net at its own batch size.
func BenchmarkStep(b *testing.B) {
	for _, model := range []string{"alexnet", "inception3", "resnet50"} {
		o, _, _ := parse([]string{"--model", model})
		b.Run(fmt.Sprintf("%s-%d", model, o.batchSize), func(b *testing.B) {
			sources, err := openSources(o)
			if err != nil {
				b.Fatal(err)
			}
			tr, err := newTrainer(b.Context(), o, sources)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := tr.step(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(o.batchSize)*float64(b.N)/b.Elapsed().Seconds(), "images/s")
		})
	}
}
