package flags

import (
	"slices"
	"strings"
	"testing"
)

// set makes settings of "name=value" words.
func set(words string) []Setting {
	var out []Setting
	for w := range strings.FieldsSeq(words) {
		name, value, _ := strings.Cut(w, "=")
		out = append(out, Setting{name, value})
	}
	return out
}

func TestCheckFlags(t *testing.T) {
	const tf, cnn = TFCNN, CNNBench
	for _, c := range []struct {
		name, kind, flags string
		want              []string // flag of each problem, with "+missing"
	}{
		{"nothing is fine", tf, "", nil},
		{"the paper's single mode", tf, "model=resnet50 num_gpus=2 variable_update=parameter_server local_parameter_device=cpu data_format=NHWC", nil},
		{"the paper's distributed mode", tf, "variable_update=distributed_replicated job_name=worker ps_hosts=a:1 worker_hosts=b:1,c:1 task_index=1", nil},
		{"unknown flag", tf, "num_batchs=1", []string{"num_batchs"}},
		{"unknown value", tf, "optimizer=sdg", []string{"optimizer"}},
		{"no number", tf, "num_batches=x learning_rate=NaN momentum=0x1p3", []string{"num_batches", "learning_rate", "momentum"}},
		{"too small", tf, "num_batches=0 learning_rate=-1", []string{"num_batches", "learning_rate"}},
		{"no boolean", tf, "use_fp16=1", []string{"use_fp16"}},
		{"replicated with job_name", tf, "variable_update=replicated job_name=worker", []string{"variable_update"}},
		{"independent with job_name", tf, "variable_update=independent job_name=worker", []string{"variable_update"}},
		{"horovod with job_name and two GPUs", tf, "variable_update=horovod job_name=worker num_gpus=2", []string{"num_gpus", "variable_update"}},
		{"horovod with one GPU", tf, "variable_update=horovod num_gpus=1", nil},
		{"distributed_replicated alone", tf, "variable_update=distributed_replicated", []string{"variable_update+job_name"}},
		{"distributed_replicated, asynchronous", tf, "variable_update=distributed_replicated job_name=ps cross_replica_sync=false", []string{"cross_replica_sync"}},
		{"distributed_all_reduce alone", tf, "variable_update=distributed_all_reduce", []string{"variable_update+controller_host"}},
		{"distributed_all_reduce with ps", tf, "variable_update=distributed_all_reduce controller_host=a:1 ps_hosts=b:1", []string{"variable_update"}},
		{"controller without all-reduce", tf, "controller_host=a:1", []string{"controller_host"}},
		{"CPU in the default format", tf, "device=cpu", []string{"device+data_format"}},
		{"CPU in NCHW", tf, "device=cpu data_format=NCHW", []string{"data_format"}},
		{"CPU in NCHW by MKL", tf, "device=cpu data_format=NCHW mkl=true", nil},
		{"data without name", tf, "data_dir=/x", []string{"data_dir+data_name"}},
		{"name without data", tf, "data_name=imagenet", []string{"data_name+data_dir"}},
		{"batches and epochs", tf, "num_batches=1 num_epochs=1", []string{"num_epochs"}},
		{"staged variables", tf, "staged_vars=true variable_update=replicated", []string{"staged_vars"}},
		{"accuracy without training", tf, "forward_only=true print_training_accuracy=true", []string{"print_training_accuracy"}},
		{"the last value counts", tf, "num_batches=0 num_batches=1", nil},
		{"cnnbench on a GPU", cnn, "device=gpu data_format=NCHW variable_update=horovod", []string{"device", "data_format", "variable_update"}},
		{"cnnbench as upstream's GPU program", cnn, "use_fp16=true xla=true eval=true distortions=true staged_vars=true", []string{"use_fp16", "xla", "distortions", "staged_vars", "eval"}},
		{"cnnbench without them", cnn, "use_fp16=false xla=false summary_verbosity=0", nil},
		{"cnnbench with upstream's flag", cnn, "mkl=true", []string{"mkl"}},
		{"cnnbench that writes", cnn, "train_dir=/x summary_verbosity=1", []string{"train_dir", "summary_verbosity"}},
		{"cnnbench with a trace of no step", cnn, "trace_file=f num_warmup_batches=1", []string{"trace_file"}},
		{"cnnbench with a trace", cnn, "trace_file=f num_warmup_batches=2", nil},
		{"cnnbench with all-reduce", cnn, "controller_host=a all_reduce_spec=nccl", []string{"controller_host", "all_reduce_spec"}},
		{"cnnbench with workers", cnn, "variable_update=distributed_replicated job_name=worker ps_hosts=a:1 worker_hosts=b:1 task_index=0", nil},
		{"cnnbench, asynchronous", cnn, "variable_update=distributed_replicated job_name=ps cross_replica_sync=false", []string{"cross_replica_sync"}},
		{"cnnbench with workers that only run forward", cnn, "job_name=worker forward_only=true", []string{"forward_only"}},
		{"a command's flags are its own", "command", "num_batches=x", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range CheckFlags(c.kind, set(c.flags)) {
				f := p.Flag
				if p.Missing != "" {
					f += "+" + p.Missing
				}
				got = append(got, f)
				if p.Msg == "" || strings.HasSuffix(p.Msg, ".") {
					t.Errorf("message %q", p.Msg)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v; want %v", got, c.want)
			}
		})
	}
}

func TestCnnbenchHasNoFlagThatUpstreamLacks(t *testing.T) {
	for _, n := range Names(CNNBench) {
		if _, ok := Lookup(TFCNN, n); !ok {
			t.Errorf("cnnbench has %s; want it in tf_cnn_benchmarks too, so that one study serves both", n)
		}
	}
	if Names("command") != nil || Known("command") {
		t.Error("flags of a command are known; want none")
	}
}

func FuzzCheckFlags(f *testing.F) {
	f.Add("tf_cnn_benchmarks", "variable_update=horovod num_gpus=2 device=cpu")
	f.Add("cnnbench", "use_fp16=true job_name= data_dir=/x num_batches=99999999999999999999")
	f.Fuzz(func(t *testing.T, kind, words string) {
		in := set(words)
		for _, p := range CheckFlags(kind, in) {
			for _, name := range append(p.With, p.Flag) {
				if !slices.ContainsFunc(in, func(s Setting) bool { return s.Name == name }) {
					t.Errorf("problem of %q, which is not set: %+v", name, p)
				}
			}
		}
	})
}
