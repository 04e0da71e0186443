package bench

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMistakesAreRefusedWithOneMessageEach(t *testing.T) {
	tests := map[string]struct {
		args string
		want []string // each after "cnnbench: "
	}{
		"an unknown model": {
			"--model=vgg16", []string{`--model: unknown model "vgg16" (known: alexnet, inception3, lenet, resnet50, trivial)`},
		},
		"an unknown flag with a value of its own": {"--foo=1", []string{"--foo: unknown flag"}},
		"an unknown flag and its value":           {"--foo bar", []string{"--foo: unknown flag"}},
		"an unknown negated flag":                 {"--nofoo", []string{"--nofoo: unknown flag"}},
		"a negated flag that is no boolean":       {"--nomodel", []string{"--nomodel: unknown flag"}},
		"a stray argument":                        {"train", []string{`stray argument "train"; write flags as --flag=value`}},
		"a lone dash":                             {"-", []string{`stray argument "-"; write flags as --flag=value`}},
		"an end of flags":                         {"-- x", []string{`stray argument "--"; write flags as --flag=value`, `stray argument "x"; write flags as --flag=value`}},
		"a boolean with its value apart": {
			"--distortions False",
			[]string{"--distortions False: the value of a boolean flag needs an equals sign, or it is read as a stray argument; write --distortions=False"},
		},
		"a flag without its value":       {"--model", []string{"--model: value is missing; write --model=value"}},
		"a batch size that is no number": {"--batch_size=many", []string{`--batch_size: "many" is not a whole number of at least 0`}},
		"a negative batch size":          {"--batch_size=-1", []string{`--batch_size: "-1" is not a whole number of at least 0`}},
		"no devices":                     {"--num_gpus=0", []string{`--num_gpus: "0" is not a whole number of at least 1`}},
		"no steps":                       {"--num_batches=0", []string{`--num_batches: "0" is not a whole number of at least 1`}},
		"no steps between lines":         {"--display_every 0", []string{`--display_every: "0" is not a whole number of at least 1`}},
		"an infinite learning rate":      {"--learning_rate=inf", []string{`--learning_rate: "inf" is not a number of at least 0`}},
		"a momentum that is no number":   {"--momentum=nan", []string{`--momentum: "nan" is not a number of at least 0`}},
		"a boolean that is neither":      {"--xla=maybe", []string{`--xla: "maybe" is neither true nor false`}},
		"batches and epochs":             {"--num_batches=5 --num_epochs=1", []string{"--num_batches and --num_epochs exclude each other; give one"}},
		"an unknown optimizer":           {"--optimizer=adam", []string{`--optimizer: unknown value "adam" (known: sgd, momentum, rmsprop)`}},
		"an unknown kind of loss":        {"--loss_type_to_report=loss", []string{`--loss_type_to_report: unknown value "loss" (known: total_loss, base_loss)`}},
		"accuracy without training":      {"--forward_only --print_training_accuracy", []string{"--print_training_accuracy: there is no training with --forward_only; leave one out"}},
		"a gpu":                          {"--device=gpu", []string{"--device=gpu: cnnbench computes on CPUs only; use --device=cpu"}},
		"an unknown device":              {"--device=tpu", []string{`--device: unknown value "tpu" (known: cpu)`}},
		"pictures channels first":        {"--data_format=NCHW", []string{"--data_format=NCHW: --device=cpu needs --data_format=NHWC"}},
		"an unknown order of pictures":   {"--data_format=HWCN", []string{`--data_format: unknown value "HWCN" (known: NHWC)`}},
		"an unknown parameter device":    {"--local_parameter_device=tpu", []string{`--local_parameter_device: unknown value "tpu" (known: cpu, gpu)`}},
		"an unknown variable update":     {"--variable_update=gossip", []string{`--variable_update: unknown value "gossip" (known: parameter_server, replicated, independent, distributed_replicated)`}},
		"horovod":                        {"--variable_update=horovod", []string{"--variable_update=horovod: not supported (known: parameter_server, replicated, independent, distributed_replicated)"}},
		"an all-reduce of several hosts": {"--variable_update=distributed_all_reduce", []string{"--variable_update=distributed_all_reduce: not supported (known: parameter_server, replicated, independent, distributed_replicated)"}},
		"distributed_replicated alone":   {"--variable_update=distributed_replicated", []string{"--variable_update=distributed_replicated: needs --job_name=ps or worker; use replicated for one process"}},
		"a job without its hosts": {
			"--job_name=worker", []string{"--job_name=worker: needs --ps_hosts", "--job_name=worker: needs --worker_hosts"},
		},
		"an unknown job": {
			"--job_name=controller --ps_hosts=a:1 --worker_hosts=b:1", []string{`--job_name: unknown value "controller" (known: ps, worker)`},
		},
		"hosts without ports": {
			"--job_name=ps --ps_hosts=a --worker_hosts=b:1,,c", []string{`--ps_hosts: "a" is not host:port`, `--worker_hosts: "" is not host:port`, `--worker_hosts: "c" is not host:port`},
		},
		"a task beyond the list": {
			"--job_name=worker --ps_hosts=a:1 --worker_hosts=b:1,c:1 --task_index=2", []string{"--task_index=2: --worker_hosts has 2 entries, so at most 1"},
		},
		"a job without sync": {
			"--variable_update=distributed_replicated --job_name=worker --ps_hosts=a:1 --worker_hosts=b:1 --cross_replica_sync=False",
			[]string{"--cross_replica_sync=false: not supported: devices and workers are always in step; leave it out"},
		},
		"a job of forward passes": {
			"--forward_only --job_name=worker --ps_hosts=a:1 --worker_hosts=b:1", []string{"--forward_only: workers have nothing to exchange; leave --job_name or --forward_only out"},
		},
		"a job that makes a set": {
			"--make_data=d --job_name=ps --ps_hosts=a:1 --worker_hosts=b:1", []string{"--make_data and --job_name exclude each other"},
		},
		"replicated as a job":           {"--variable_update=replicated --job_name=worker", []string{`--variable_update=replicated: cannot have a --job_name (found "worker"); leave it out`}},
		"independent as a job":          {"--variable_update=independent --job_name=worker", []string{`--variable_update=independent: cannot have a --job_name (found "worker"); leave it out`}},
		"hosts without a job":           {"--ps_hosts=a:1 --worker_hosts=b:1", []string{"--ps_hosts=a:1: is of use with --job_name only; leave it out", "--worker_hosts=b:1: is of use with --job_name only; leave it out"}},
		"a second task":                 {"--task_index=1", []string{"--task_index=1: is of use with --job_name only; leave it out"}},
		"no sync":                       {"--nocross_replica_sync", []string{"--cross_replica_sync=false: not supported: devices and workers are always in step; leave it out"}},
		"another protocol":              {"--server_protocol=rdma", []string{"--server_protocol=rdma: not supported; leave it out"}},
		"a directory without its name":  {"--data_dir=d", []string{"--data_dir=d: needs --data_name as well; add --data_name=imagenet"}},
		"a name without its directory":  {"--data_name=imagenet", []string{"--data_name=imagenet: needs --data_dir as well; leave both out for synthetic data"}},
		"an unknown data set":           {"--data_dir=d --data_name=coco", []string{`--data_name: unknown value "coco" (known: imagenet)`}},
		"making a set and reading one":  {"--make_data=d --data_dir=e --data_name=imagenet", []string{"--make_data and --data_dir exclude each other; make the set first, then train on it"}},
		"a number of pictures for none": {"--make_images=3", []string{"--make_images: is of use with --make_data only"}},
		"what upstream can and this cannot": {
			"--use_fp16 --xla=true --staged_vars=True --eval --distortions --train_dir=t --trace_file=f --num_warmup_batches=1 --all_reduce_spec=nccl --controller_host=h:1 " +
				"--benchmark_log_dir=l --benchmark_test_id=i --summary_verbosity=1 --gpu_memory_frac_for_testing=0.5",
			[]string{
				"--trace_file=f: the last but one warm-up step is traced, and --num_warmup_batches is 1; use 2 or more",
				"--all_reduce_spec=nccl: not supported: there is one way to reduce; leave it out",
				"--controller_host=h:1: not supported: there is one process only; leave it out",
				"--train_dir=t: not supported: nothing is saved; leave it out",
				"--benchmark_log_dir=l: not supported: results go to stdout only; leave it out",
				"--benchmark_test_id=i: not supported: results go to stdout only; leave it out",
				"--distortions=true: not supported: pictures are resized only; use --distortions=false",
				"--use_fp16=true: not supported: the arithmetic is float32; use --use_fp16=false",
				"--xla=true: not supported: there is no XLA here; use --xla=false",
				"--staged_vars=true: not supported: variables are not staged; use --staged_vars=false",
				"--eval=true: not supported: there is training only; use --eval=false",
				"--summary_verbosity=1: not supported: no summaries are written; use 0",
				"--gpu_memory_frac_for_testing=0.5: not supported: there is no GPU; use 0",
			},
		},
		"several mistakes at once": {
			"--foo --model=vgg16 x --batch_size=q --device=gpu --num_gpus",
			[]string{
				"--foo: unknown flag",
				`stray argument "x"; write flags as --flag=value`,
				"--num_gpus: value is missing; write --num_gpus=value",
				`--batch_size: "q" is not a whole number of at least 0`,
				`--model: unknown model "vgg16" (known: alexnet, inception3, lenet, resnet50, trivial)`,
				"--device=gpu: cnnbench computes on CPUs only; use --device=cpu",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := runMain(t, strings.Fields(tt.args)...)
			if code != 2 || stdout != "" {
				t.Errorf("got code %d, stdout %q; want 2 and nothing", code, stdout)
			}
			want := ""
			for _, w := range tt.want {
				want += "cnnbench: " + w + "\n"
			}
			if diff := cmp.Diff(want, stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlagsAreReadInAllTheirForms(t *testing.T) {
	for name, args := range map[string]string{
		"with an equals sign": "--model=lenet --batch_size=7 --forward_only=True --xla=False --sync_on_finish=1",
		"with a blank":        "--model lenet --batch_size 7 --forward_only --noxla --sync_on_finish",
		"with one dash":       "-model=lenet -batch_size 7 -forward_only -xla=false -sync_on_finish=true",
		"the last one counts": "--model=alexnet --batch_size=1 --noforward_only --xla --model=lenet --batch_size=7 --forward_only=t --xla=0 --sync_on_finish",
	} {
		t.Run(name, func(t *testing.T) {
			o, complaints, _ := parse(strings.Fields(args))
			if len(complaints) > 0 || o.model.Name != "lenet" || o.batchSize != 7 || !o.forwardOnly || o.xla || !o.syncOnFinish {
				t.Errorf("got %+v, %q; want lenet, 7, forward only, without xla", o, complaints)
			}
		})
	}
}
