package bench

import (
	"fmt"
	"net"

	"dlx.dev/dlx/cmd/cnnbench/nn"
)

// check fills in what depends on other flags and returns a complaint for each flag, or pair of flags, that would not be
// honoured: a run that differs from its command line is worse than none.
func (o *options) check() []string {
	var c complaints
	var ok bool
	if o.model, ok = nn.Lookup(o.modelName); !ok {
		c.add("--model: unknown model %q (known: %s)", o.modelName, nn.Names())
	}
	if o.batchSize == 0 {
		o.batchSize = o.model.Batch
	}
	if o.learningRate == 0 {
		o.learningRate = o.model.LearningRate
	}
	o.checkMachine(&c)
	o.checkUpdate(&c)
	o.checkData(&c)
	c.note(oneOf("optimizer", o.optimizer, "sgd", "momentum", "rmsprop"))
	c.note(oneOf("loss_type_to_report", o.lossType, "total_loss", "base_loss"))
	if o.given["num_batches"] && o.given["num_epochs"] {
		c.add("--num_batches and --num_epochs exclude each other; give one")
	}
	if o.forwardOnly && o.accuracy {
		c.add("--print_training_accuracy: there is no training with --forward_only; leave one out")
	}
	if o.traceFile != "" && o.warmup < tracedStep {
		c.add("--trace_file=%s: the last but one warm-up step is traced, and --num_warmup_batches is %d; use 2 or more", o.traceFile, o.warmup)
	}
	o.checkUnsupported(&c)
	return c
}

type complaints []string

func (c *complaints) add(format string, args ...any) { *c = append(*c, fmt.Sprintf(format, args...)) }

// note adds s unless it is empty.
func (c *complaints) note(s string) {
	if s != "" {
		*c = append(*c, s)
	}
}

func (o *options) checkMachine(c *complaints) {
	switch o.device {
	case "cpu":
	case "gpu":
		c.add("--device=gpu: cnnbench computes on CPUs only; use --device=cpu")
	default:
		c.note(oneOf("device", o.device, "cpu"))
	}
	switch o.dataFormat {
	case "NHWC":
	case "NCHW":
		c.add("--data_format=NCHW: --device=cpu needs --data_format=NHWC")
	default:
		c.note(oneOf("data_format", o.dataFormat, "NHWC"))
	}
}

func (o *options) checkUpdate(c *complaints) {
	c.note(oneOf("local_parameter_device", o.parameterDevice, "cpu", "gpu"))
	switch o.variableUpdate {
	case updateServer:
	case updateReplicated, updateIndependent:
		if o.jobName != "" {
			c.add("--variable_update=%s: cannot have a --job_name (found %q); leave it out", o.variableUpdate, o.jobName)
			return
		}
	case updateDistributed:
		if o.jobName == "" {
			c.add("--variable_update=distributed_replicated: needs --job_name=ps or worker; use replicated for one process")
		}
	case "distributed_all_reduce", "collective_all_reduce", "horovod":
		c.add("--variable_update=%s: not supported (known: %s)", o.variableUpdate, knownUpdates)
	default:
		c.add("--variable_update: unknown value %q (known: %s)", o.variableUpdate, knownUpdates)
	}
	o.checkJob(c)
	if o.serverProtocol != "grpc" {
		c.add("--server_protocol=%s: not supported; leave it out", o.serverProtocol)
	}
}

const knownUpdates = updateServer + ", " + updateReplicated + ", " + updateIndependent + ", " + updateDistributed

// checkJob checks the flags of runs with several processes.
func (o *options) checkJob(c *complaints) {
	if !o.crossReplicaSync {
		c.add("--cross_replica_sync=false: not supported: devices and workers are always in step; leave it out")
	}
	lists := []struct{ job, name, value string }{{jobServer, "ps_hosts", o.psHosts}, {jobWorker, "worker_hosts", o.workerHosts}}
	if o.jobName == "" {
		for _, l := range lists {
			if l.value != "" {
				c.add("--%s=%s: is of use with --job_name only; leave it out", l.name, l.value)
			}
		}
		if o.taskIndex != 0 {
			c.add("--task_index=%d: is of use with --job_name only; leave it out", o.taskIndex)
		}
		return
	}
	c.note(oneOf("job_name", o.jobName, jobServer, jobWorker))
	for _, l := range lists {
		if l.value == "" {
			c.add("--job_name=%s: needs --%s", o.jobName, l.name)
			continue
		}
		for _, host := range hosts(l.value) {
			if _, _, err := net.SplitHostPort(host); err != nil {
				c.add("--%s: %q is not host:port", l.name, host)
			}
		}
		if n := len(hosts(l.value)); l.job == o.jobName && o.taskIndex >= n {
			c.add("--task_index=%d: --%s has %d entries, so at most %d", o.taskIndex, l.name, n, n-1)
		}
	}
	if o.forwardOnly {
		c.add("--forward_only: workers have nothing to exchange; leave --job_name or --forward_only out")
	}
	if o.makeDir != "" {
		c.add("--make_data and --job_name exclude each other")
	}
}

func (o *options) checkData(c *complaints) {
	switch {
	case o.dataDir != "" && o.dataName == "":
		c.add("--data_dir=%s: needs --data_name as well; add --data_name=imagenet", o.dataDir)
	case o.dataDir == "" && o.dataName != "":
		c.add("--data_name=%s: needs --data_dir as well; leave both out for synthetic data", o.dataName)
	case o.dataName != "":
		c.note(oneOf("data_name", o.dataName, "imagenet"))
	}
	if o.makeDir != "" && o.dataDir != "" {
		c.add("--make_data and --data_dir exclude each other; make the set first, then train on it")
	}
	if o.makeDir == "" && o.given["make_images"] {
		c.add("--make_images: is of use with --make_data only")
	}
}

// checkUnsupported refuses upstream's flags that would have no effect here, unless they ask for none.
func (o *options) checkUnsupported(c *complaints) {
	for _, f := range []struct {
		name, value, why string
		set              bool
	}{
		{"all_reduce_spec", o.allReduceSpec, "there is one way to reduce; leave it out", o.allReduceSpec != ""},
		{"controller_host", o.controllerHost, "there is one process only; leave it out", o.controllerHost != ""},
		{"train_dir", o.trainDir, "nothing is saved; leave it out", o.trainDir != ""},
		{"benchmark_log_dir", o.benchLogDir, "results go to stdout only; leave it out", o.benchLogDir != ""},
		{"benchmark_test_id", o.benchID, "results go to stdout only; leave it out", o.benchID != ""},
		{"distortions", "true", "pictures are resized only; use --distortions=false", o.distortions},
		{"use_fp16", "true", "the arithmetic is float32; use --use_fp16=false", o.useFP16},
		{"xla", "true", "there is no XLA here; use --xla=false", o.xla},
		{"staged_vars", "true", "variables are not staged; use --staged_vars=false", o.stagedVars},
		{"eval", "true", "there is training only; use --eval=false", o.eval},
		{"summary_verbosity", fmt.Sprint(o.summaryVerbosity), "no summaries are written; use 0", o.summaryVerbosity != 0},
		{"gpu_memory_frac_for_testing", fmt.Sprint(o.gpuMemoryFraction), "there is no GPU; use 0", o.gpuMemoryFraction != 0},
	} {
		if f.set {
			c.add("--%s=%s: not supported: %s", f.name, f.value, f.why)
		}
	}
}
